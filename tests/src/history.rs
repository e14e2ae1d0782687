//! Images with logs.

use crate::builder::{ImageBuilder, Kind, ino};
use crate::image::{Image, TestMount, read_write};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    FileType, Geometry, Ino, Mount, NewInode, Region, RenameMode, SetAttributes, Timestamp,
};
use daxfs_format::branch::{BranchName, BranchRecord, BranchState};
use daxfs_format::log::{
    Create, Delete, EntryHeader, EntryType, Rename, Setattr, SetattrValid, Symlink, Truncate, Write,
};
use daxfs_format::superblock::Superblock;
use daxfs_format::{Slot, log};
use std::fs::File;
use zerocopy::{FromZeros, IntoBytes};

/// The branch that was committed into `main`; its log lives on behind a link entry.
pub const COMMITTED: &str = "done";
/// A live child of `main`.
pub const CHILD: &str = "b";
/// A live child of [`CHILD`].
pub const GRANDCHILD: &str = "c";

/// A segmented image whose branches have logs with every type of entry, one of two segments, and one
/// that was committed. All were made by real operations on mounts.
#[must_use]
pub fn segmented() -> Image {
    let file = ImageBuilder::new(Kind::Segmented).build().file();
    let main = mount(&file, None);
    operations(&main, "m").expect("operations of main");
    long_log(&main).expect("a log of two segments");
    main.unmount().expect("unmount");

    let done = mount(&file, Some(COMMITTED));
    operations(&done, "d").expect("operations of a branch");
    done.commit().expect("commit");
    done.unmount().expect("unmount");

    let child = mount(&file, Some(CHILD));
    operations(&child, "b").expect("operations of a child");
    child.create_branch(&crate::image::name(GRANDCHILD), None).expect("a grandchild");
    operations(&child, "c").expect("operations of a grandchild");
    inherited(&child).expect("changes of what was inherited");
    child.unmount().expect("unmount");
    Image::of_file(&file)
}

/// [`segmented`], with the log of [`GRANDCHILD`] replaced by a snapshot and gone on from there.
#[must_use]
pub fn compacted() -> Image {
    let file = segmented().file();
    let grandchild = mount(&file, Some(GRANDCHILD));
    grandchild.compact().expect("room for a snapshot");
    operations(&grandchild, "e").expect("operations on a snapshot");
    grandchild.unmount().expect("unmount");
    Image::of_file(&file)
}

fn mount(file: &File, branch: Option<&str>) -> TestMount {
    let region = Region::new(MappedFile::new(file, true).expect("mapping a file"));
    Mount::new(StdPlatform, region, &read_write(branch)).expect("a good image")
}

/// Every operation that leaves an entry, with names that start with `prefix`.
fn operations(mount: &TestMount, prefix: &str) -> daxfs::Result<()> {
    let named = |what: &str| format!("{prefix}-{what}").into_bytes();
    let new = |kind: FileType| NewInode {
        mode: kind.mode_bits() | 0o640,
        uid: 11,
        gid: 12,
        rdev: if kind.is_device() { 0x0103 } else { 0 },
    };
    let root = Ino::ROOT;
    let file = mount.create(root, &named("file"), &new(FileType::Regular))?.ino;
    let dir = mount.create(root, &named("dir"), &new(FileType::Directory))?.ino;
    let other = mount.create(root, &named("other"), &new(FileType::Directory))?.ino;
    mount.create(dir, &named("device"), &new(FileType::CharDevice))?;
    mount.create(dir, &named("fifo"), &new(FileType::Fifo))?;
    mount.symlink(root, &named("link"), &named("dir"), 13, 14)?;
    mount.write(file, 100, &[b'a'; 5000])?;
    mount.append(file, &[b'b'; 5000])?;
    mount.write(Ino::new(ino::DIR_FILE), 4090, &[b'c'; 20])?;
    let time = Some(Timestamp::new(1_600_000_000, 5));
    for changes in [
        SetAttributes { size: Some(3000), ..SetAttributes::default() },
        SetAttributes { size: Some(9000), ..SetAttributes::default() },
        SetAttributes { mode: Some(0o4751), ..SetAttributes::default() },
        SetAttributes { uid: Some(15), gid: Some(16), ..SetAttributes::default() },
        SetAttributes { atime: time, mtime: time, ..SetAttributes::default() },
    ] {
        mount.setattr(file, &changes)?;
    }
    mount.punch(file, 0, 4096, &|| Ok(()))?;
    mount.rename(root, &named("file"), dir, &named("moved"), RenameMode::NoReplace)?;
    mount.rename(root, &named("link"), dir, &named("moved"), RenameMode::Exchange)?;
    mount.rename(dir, &named("device"), dir, &named("fifo"), RenameMode::Replace)?;
    mount.rename(root, &named("other"), dir, &named("inner"), RenameMode::Replace)?;
    mount.create(other, &named("gone"), &new(FileType::Socket))?;
    mount.unlink(other, &named("gone"))?;
    mount.rmdir(dir, &named("inner"))
}

/// Links with long targets, until the log has gone on in a second segment.
fn long_log(mount: &TestMount) -> daxfs::Result<()> {
    let name = |i: u32| format!("long-{i:02}").into_bytes();
    for i in 0..16 {
        mount.symlink(Ino::ROOT, &name(i), &[b't'; 4095], 0, 0)?;
    }
    for i in 1..16 {
        mount.unlink(Ino::ROOT, &name(i))?;
    }
    Ok(())
}

/// Changes of what the base, and the branches above, have made.
fn inherited(mount: &TestMount) -> daxfs::Result<()> {
    let find = |name: &[u8]| mount.resolve(name, daxfs::LastLink::Keep);
    let (dir, inner) = (find(b"b-dir")?.ino, Ino::new(ino::DIR));
    mount.unlink(dir, b"b-fifo")?;
    mount.rename(inner, b"sub", dir, b"sub", RenameMode::Replace)?;
    mount.unlink(Ino::ROOT, b"fifo")?;
    // Files by now: the exchange gave them the links' names.
    mount.write(find(b"m-link")?.ino, 10, &[b'i'; 10])?;
    mount.write(find(b"b-link")?.ino, 10, &[b'i'; 10])?;
    Ok(())
}

/// A plain v3 image with a log in `main`, as a v3 driver writes it: data inline, nothing padded to
/// eight bytes, no owners.
#[must_use]
pub fn plain() -> Image {
    let mut image = ImageBuilder::new(Kind::Plain).build();
    let mut log = PlainLog::default();
    log.name_entries();
    let geometry = Geometry::read(&image.region()).expect("a good image");
    let daxfs::Delta::Plain(delta) = geometry.delta else { unreachable!("made plain") };
    let mut record = BranchRecord::new_zeroed();
    record.branch_id = 1.into();
    record.delta_log_offset = delta.start.get().into();
    record.delta_log_size = (log.bytes.len() as u64).into();
    record.delta_log_capacity = (1 << 16).into();
    record.state = BranchState::Active.raw().into();
    record.next_local_ino = log.next_ino.into();
    record.name = BranchName::main().to_field();
    image.put(geometry.branch_record(Slot::new(0)).expect("a first slot").get(), &record);
    let mut superblock: Superblock = image.get(0);
    superblock.active_branches = 1.into();
    superblock.next_branch_id = 2.into();
    superblock.delta_alloc_offset = (delta.start.get() + (1 << 16)).into();
    image.put(0, &superblock);
    image.put(delta.start.get(), log.bytes.as_slice());
    image
}

/// A v3 log in the making.
#[derive(Default)]
struct PlainLog {
    bytes: Vec<u8>,
    next_ino: u64,
}

impl PlainLog {
    /// Entries of every type v3 has.
    fn name_entries(&mut self) {
        let first = ino::COUNT + 1;
        let (file, dir, link) = (first, first + 1, first + 2);
        self.next_ino = first + 3;
        let regular = FileType::Regular.mode_bits() | 0o644;
        self.create(EntryType::Create, file, regular, b"file");
        // The reference leaves the type out of a directory's mode.
        self.create(EntryType::Mkdir, dir, 0o755, b"new");
        self.add(
            EntryType::Symlink,
            link,
            &[
                Symlink {
                    parent_ino: 1.into(),
                    new_ino: link.into(),
                    name_len: 3.into(),
                    target_len: 4.into(),
                    flags: 0.into(),
                }
                .as_bytes(),
                b"sym",
                b"file",
                b"\0",
            ],
        );
        for (ino, offset, data) in
            [(file, 10, vec![b'x'; 100]), (ino::DIR_FILE, 4000, vec![b'y'; 200])]
        {
            let len = data.len() as u32;
            let raw = Write { offset: offset.into(), len: len.into(), flags: 0.into() };
            self.add(EntryType::Write, ino, &[raw.as_bytes(), &data]);
        }
        self.add(EntryType::Truncate, file, &[Truncate { new_size: 60.into() }.as_bytes()]);
        let valid = SetattrValid::MODE | SetattrValid::UID | SetattrValid::GID | SetattrValid::SIZE;
        let raw = Setattr {
            mode: 0o600.into(),
            uid: 5.into(),
            gid: 6.into(),
            valid: valid.bits().into(),
            size: 5000.into(),
        };
        self.add(EntryType::Setattr, file, &[raw.as_bytes()]);
        let raw = Rename {
            old_parent: 1.into(),
            new_parent: dir.into(),
            ino: file.into(),
            old_name_len: 4.into(),
            new_name_len: 5.into(),
            flags: 0.into(),
        };
        self.add(EntryType::Rename, file, &[raw.as_bytes(), b"file", b"moved"]);
        let raw = Delete {
            parent_ino: 1.into(),
            name_len: 4.into(),
            flags: 0.into(),
            reserved: 0.into(),
        };
        self.add(EntryType::Delete, ino::FIFO, &[raw.as_bytes(), b"fifo"]);
    }

    fn create(&mut self, kind: EntryType, ino: u64, mode: u32, name: &[u8]) {
        let raw = Create {
            parent_ino: 1.into(),
            new_ino: ino.into(),
            mode: mode.into(),
            name_len: (name.len() as u16).into(),
            flags: 0.into(),
        };
        self.add(kind, ino, &[raw.as_bytes(), name]);
    }

    fn add(&mut self, kind: EntryType, ino: u64, payload: &[&[u8]]) {
        self.bytes.extend_from_slice(&entry(kind, ino, payload));
    }
}

/// The bytes of a log entry, not padded.
#[must_use]
pub fn entry(kind: EntryType, ino: u64, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let header = EntryHeader {
        kind: kind.raw().into(),
        total_size: (log::HEADER_SIZE + payload.len() as u32).into(),
        ino: ino.into(),
        timestamp: 1_650_000_000_000_000_000.into(),
    };
    [header.as_bytes(), &payload].concat()
}
