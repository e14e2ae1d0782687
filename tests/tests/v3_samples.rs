//! Images made by the v3 reference tool: everything in them is read as what it is, and the writable
//! one can be written to.

use daxfs::{Attributes, Delta, Error, FileType, Geometry, Ino, LastLink, NewInode, SetAttributes};
use daxfs_format::base::BaseSuperblock;
use daxfs_format::superblock::Superblock;
use daxfs_tests::image::{Image, Scratch, TestMount, problems, read_only, read_write};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn sample(name: &str) -> Image {
    let mut packed = BufReader::new(fs::File::open(golden(name)).unwrap());
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut packed, &mut bytes).unwrap();
    Image { bytes }
}

/// What the tree that both samples were made of was like, by path.
struct Manifest {
    files: BTreeMap<String, Expected>,
}

struct Expected {
    kind: FileType,
    permissions: u32,
    owner: (u32, u32),
    size: u64,
    target: String,
    sha256: Option<String>,
}

impl Manifest {
    fn read() -> Self {
        let text = fs::read_to_string(golden("manifest.tsv")).unwrap();
        let mut files: BTreeMap<String, Expected> = text.lines().map(Self::line).collect();
        for line in fs::read_to_string(golden("sha256.txt")).unwrap().lines() {
            let (hash, path) = line.split_once("  ./").unwrap();
            files.get_mut(path).unwrap().sha256 = Some(hash.to_owned());
        }
        Self { files }
    }

    fn line(line: &str) -> (String, Expected) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [path, kind, permissions, owner, size, target] = fields[..] else {
            panic!("{line:?} has not six fields");
        };
        let (uid, gid) = owner.split_once(':').unwrap();
        let expected = Expected {
            kind: match kind {
                "d" => FileType::Directory,
                "f" => FileType::Regular,
                "l" => FileType::Symlink,
                other => panic!("type {other:?}"),
            },
            permissions: u32::from_str_radix(permissions, 8).unwrap(),
            owner: (uid.parse().unwrap(), gid.parse().unwrap()),
            size: size.parse().unwrap(),
            target: target.to_owned(),
            sha256: None,
        };
        (path.to_owned(), expected)
    }

    /// Compares a mounted image with the tree, both ways.
    fn expect(&self, mount: &TestMount) {
        let mut found = BTreeMap::new();
        let mut todo = vec![(String::new(), Ino::ROOT)];
        while let Some((directory, ino)) = todo.pop() {
            for (name, child) in entries(mount, ino) {
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                let attributes = mount.getattr(child).unwrap();
                if attributes.kind == FileType::Directory {
                    todo.push((path.clone(), child));
                }
                found.insert(path, attributes);
            }
        }
        assert!(found.keys().eq(self.files.keys()), "the image holds {:?}", found.keys());
        for (path, attributes) in &found {
            self.files[path].compare(mount, path, attributes);
        }
    }
}

impl Expected {
    fn compare(&self, mount: &TestMount, path: &str, found: &Attributes) {
        assert_eq!(found.kind, self.kind, "{path}");
        assert_eq!(found.mode & 0o7777, self.permissions, "{path}");
        assert_eq!((found.uid, found.gid), self.owner, "{path}");
        let resolved = mount.resolve(path.as_bytes(), LastLink::Keep).unwrap();
        assert_eq!(resolved, *found, "by its path: {path}");
        match self.kind {
            FileType::Regular => {
                assert_eq!(found.size, self.size, "{path}");
                assert_eq!(found.nlink, 1, "{path}");
                assert_eq!(Some(sha256(mount, found)), self.sha256, "{path}");
            }
            FileType::Symlink => {
                assert_eq!(found.size, self.size, "{path}");
                let mut target = [0; 100];
                let len = mount.readlink(found.ino, &mut target).unwrap();
                assert_eq!(&target[..len], self.target.as_bytes(), "{path}");
            }
            _ => {
                let children = entries(mount, found.ino);
                let below = |(_, ino): &&(String, Ino)| {
                    mount.getattr(*ino).unwrap().kind == FileType::Directory
                };
                assert_eq!(found.nlink as usize, 2 + children.iter().filter(below).count());
            }
        }
    }
}

fn entries(mount: &TestMount, directory: Ino) -> Vec<(String, Ino)> {
    let mut entries = Vec::new();
    mount
        .readdir(directory, 0, &mut |entry| {
            entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.ino));
            true
        })
        .unwrap();
    entries
}

fn content(mount: &TestMount, file: &Attributes) -> Vec<u8> {
    let mut bytes = vec![0; file.size as usize + 1];
    let len = mount.read(file.ino, 0, &mut bytes).unwrap();
    assert_eq!(len as u64, file.size);
    bytes.truncate(len);
    bytes
}

fn sha256(mount: &TestMount, file: &Attributes) -> String {
    Sha256::digest(content(mount, file)).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_structures_lie_where_the_format_says() {
    let image = sample("static.v3.daxfs.xz");
    let superblock: Superblock = image.get(0);
    assert_eq!(superblock.magic.get(), 0x6461_7833);
    assert_eq!(superblock.version.get(), 3);
    assert_eq!(superblock.block_size.get(), 4096);
    assert_eq!(superblock.total_size.get(), image.bytes.len() as u64);
    assert_eq!(superblock.base_offset.get(), 0x1000);
    assert_eq!(superblock.branch_table_entries.get(), 0);
    assert_eq!(superblock.delta_region_size.get(), 0);
    let base: BaseSuperblock = image.get(0x1000);
    assert_eq!(base.magic.get(), 0x6464_6179);
    assert_eq!(base.total_size.get(), superblock.base_size.get());
    assert_eq!(base.root_inode.get(), 1);
    assert_eq!(u64::from(base.inode_count.get()), Manifest::read().files.len() as u64 + 1);

    let image = sample("writable.v3.daxfs.xz");
    let superblock: Superblock = image.get(0);
    assert_eq!(superblock.branch_table_offset.get(), 0x1000);
    assert_eq!(superblock.branch_table_entries.get(), 256);
    assert_eq!(superblock.base_offset.get(), 0x9000);
    assert_eq!(superblock.next_branch_id.get(), 1);
    assert_eq!(superblock.next_inode_id.get(), u64::from(base.inode_count.get()) + 1);
    assert_eq!(superblock.delta_alloc_offset.get(), superblock.delta_region_offset.get());
    let delta_end = superblock.delta_region_offset.get() + superblock.delta_region_size.get();
    assert_eq!(delta_end, image.bytes.len() as u64);
}

#[test]
fn everything_in_them_is_read_as_what_it_is() {
    let manifest = Manifest::read();
    for name in ["static.v3.daxfs.xz", "writable.v3.daxfs.xz"] {
        let image = sample(name);
        assert_eq!(image.problems(), [""; 0], "{name}");
        for validate in [false, true] {
            let options = daxfs::MountOptions { validate, ..read_only(None) };
            manifest.expect(&image.mount(&options).unwrap());
        }
    }
}

#[test]
fn looking_at_a_writable_sample_changes_nothing() {
    let image = sample("writable.v3.daxfs.xz");
    let region = image.region();
    let mount =
        daxfs::Mount::new(daxfs::std_platform::StdPlatform, region, &read_only(None)).unwrap();
    Manifest::read().expect(&mount);
    assert!(matches!(mount.volume().geometry().delta, Delta::Plain(_)));
    assert!(Image::of_region(mount.volume().region()).bytes == image.bytes);
}

#[test]
fn a_static_sample_cannot_be_written_to() {
    let image = sample("static.v3.daxfs.xz");
    assert_eq!(image.mount(&read_write(None)).err(), Some(Error::ReadOnly));
    assert_eq!(image.mount(&read_write(Some("b"))).err(), Some(Error::ReadOnly));
}

#[test]
fn the_first_writable_mount_upgrades_and_what_it_writes_is_found_again() {
    let manifest = Manifest::read();
    let memory = Scratch::new();
    memory.fill(&sample("writable.v3.daxfs.xz"));
    let base = Image::of_region(&memory.region()).bytes[0x9000..0x75000].to_vec();

    let mount = memory.mount(&read_write(None)).unwrap();
    assert!(matches!(Geometry::read(&memory.region()).unwrap().delta, Delta::Segmented(_)));
    manifest.expect(&mount);

    // Something of each kind, on base files and new ones.
    let find = |path: &str| mount.resolve(path.as_bytes(), LastLink::Keep).unwrap();
    let hello = find("hello.txt");
    assert_eq!(mount.write(hello.ino, 0, b"HELLO").unwrap(), 5);
    let linked = find("bin/n5");
    let changes = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    assert_eq!(mount.setattr(linked.ino, &changes).unwrap().nlink, 1);
    mount.append(find("one-page-plus-one").ino, b"tail").unwrap();
    mount.unlink(find("bin").ino, b"n60").unwrap();
    let new = NewInode { mode: 0o100_640, uid: 1, gid: 2, rdev: 0 };
    let made = mount.create(find("empty").ino, b"new", &new).unwrap();
    let data: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(mount.write(made.ino, 0, &data).unwrap(), data.len());
    mount.unmount().unwrap();
    assert_eq!(problems(&memory.region()), [""; 0]);

    let check = |mount: &TestMount| {
        let find = |path: &str| mount.resolve(path.as_bytes(), LastLink::Keep);
        assert!(content(mount, &find("hello.txt").unwrap()).starts_with(b"HELLO"));
        assert_eq!(find("bin/n5").unwrap().mode, 0o100_600);
        assert_eq!(find("bin/n5-hardlink").unwrap().mode, 0o100_644);
        assert_eq!(find("one-page-plus-one").unwrap().size, 4101);
        assert_eq!(find("bin/n60").err(), Some(Error::NotFound));
        let new = find("empty/new").unwrap();
        assert_eq!((new.mode, new.uid, new.gid), (0o100_640, 1, 2));
        assert!(content(mount, &new) == data);
        // The rest is as it was.
        for (path, expected) in &manifest.files {
            if !["hello.txt", "bin/n5", "one-page-plus-one", "bin/n60"].contains(&path.as_str()) {
                expected.compare(mount, path, &find(path).unwrap());
            }
        }
    };
    check(&memory.mount(&read_only(None)).unwrap());
    let again = memory.mount(&read_write(None)).unwrap();
    check(&again);
    again.unmount().unwrap();
    let after = Image::of_region(&memory.region());
    assert!(after.bytes[0x9000..0x75000] == base, "the base image is never written to");
}
