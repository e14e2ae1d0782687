//! A catalogue of every field of every structure in an image.

use crate::entries::{LogEntry, log_entries, log_segments, segments};
use crate::image::Image;
use daxfs::Geometry;
use daxfs_format::Slot;
use daxfs_format::base::{BaseDirent, BaseInode, BaseSuperblock, DIRENT_SIZE, INODE_SIZE};
use daxfs_format::branch::BranchRecord;
use daxfs_format::coordination::{CoordinationBlock, MEMBER_SIZE, MemberRecord};
use daxfs_format::extension::{EXTENSION_OFFSET, ExtensionHeader};
use daxfs_format::log::{
    Create, Delete, EntryHeader, EntryType, Extent, Hole, Inode, Link, NameEntry, NewFlags, Owner,
    Rename, Setattr, SetattrValid, SnapshotEnd, Symlink, Times, Truncate, Write, WriteFlags,
};
use daxfs_format::mode::FileType;
use daxfs_format::segment::LogSegmentHeader;
use daxfs_format::superblock::Superblock;
use std::collections::HashSet;
use std::fmt;

/// A structure of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are those of the format's structures")]
pub enum Structure {
    Superblock,
    Extension,
    BaseSuperblock,
    Inode { ino: u64, kind: FileType },
    Dirent { dir: u64, index: u64 },
    Record { slot: u32 },
    Coordination,
    Member { place: u64 },
    MapWord { segment: u32 },
    LogHeader { segment: u32, is_head: bool, has_next: bool },
    Entry { at: u64, kind: EntryType },
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The structure it is in.
    pub structure: Structure,
    /// Its name there.
    pub name: &'static str,
    /// Region offset of its first byte that is looked at.
    pub at: u64,
    /// Its bytes, at most 8. Of a byte string the first, the middle and the last byte are fields.
    pub width: usize,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{} at {:#x}", self.structure, self.name, self.at)
    }
}

/// The size of the field that `_pick` picks.
const fn width<S, F>(_pick: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

struct Catalogue<'i> {
    image: &'i Image,
    fields: Vec<Field>,
}

/// Adds the named fields of a structure of type `$ty` at `$at`.
macro_rules! fields {
    ($catalogue:expr, $structure:expr, $at:expr, $ty:ident { $($name:ident),* $(,)? }) => {
        $($catalogue.add(
            $structure,
            concat!(stringify!($ty), ".", stringify!($name)),
            $at + core::mem::offset_of!($ty, $name) as u64,
            width(|s: &$ty| &s.$name),
        );)*
    };
}

/// Every field of every structure in `image`, which must be good. Of log entries, the first of each
/// shape in each log is taken.
#[must_use]
pub fn fields(image: &Image) -> Vec<Field> {
    let geometry = Geometry::read(&image.region()).expect("a good image");
    let mut catalogue = Catalogue { image, fields: Vec::new() };
    catalogue.superblock();
    catalogue.base(geometry.base.start.get());
    for slot in 0..geometry.branch_slots {
        let at = geometry.branch_record(Slot::new(slot)).expect("a slot").get();
        let record: BranchRecord = image.get(at);
        // Of the free records one stands for all.
        if record.state.get() != 0 {
            catalogue.record(slot, at);
        }
    }
    catalogue.delta();
    catalogue.entries();
    catalogue.fields
}

impl Catalogue<'_> {
    fn add(&mut self, structure: Structure, name: &'static str, at: u64, width: usize) {
        if width <= 8 {
            self.fields.push(Field { structure, name, at, width });
            return;
        }
        let width = width as u64;
        for at in [at, at + width / 2, at + width - 1] {
            self.fields.push(Field { structure, name, at, width: 1 });
        }
    }

    fn superblock(&mut self) {
        let s = Structure::Superblock;
        fields!(
            self,
            s,
            0,
            Superblock {
                magic,
                version,
                flags,
                block_size,
                total_size,
                base_offset,
                base_size,
                branch_table_offset,
                branch_table_entries,
                active_branches,
                next_branch_id,
                next_inode_id,
                delta_region_offset,
                delta_region_size,
                delta_alloc_offset,
                reserved_before,
                reserved_after,
            }
        );
        let s = Structure::Extension;
        fields!(
            self,
            s,
            EXTENSION_OFFSET,
            ExtensionHeader {
                magic,
                revision,
                compat,
                ro_compat,
                incompat,
                uuid,
                coordination_offset,
                member_table_offset,
                segment_map_offset,
                segments_offset,
                segment_count,
                segment_shift,
                member_count,
                lease_ms,
                reserved,
            }
        );
    }

    fn base(&mut self, start: u64) {
        let s = Structure::BaseSuperblock;
        fields!(
            self,
            s,
            start,
            BaseSuperblock {
                magic,
                version,
                flags,
                block_size,
                total_size,
                inode_offset,
                inode_count,
                root_inode,
                data_offset,
                features_magic,
                features,
                reserved,
            }
        );
        let raw: BaseSuperblock = self.image.get(start);
        for index in 0..u64::from(raw.inode_count.get()) {
            let at = start + raw.inode_offset.get() + index * INODE_SIZE;
            let inode: BaseInode = self.image.get(at);
            let kind = FileType::from_mode(inode.mode.get()).expect("a good inode");
            let s = Structure::Inode { ino: index + 1, kind };
            fields!(
                self,
                s,
                at,
                BaseInode {
                    ino,
                    mode,
                    uid,
                    gid,
                    size,
                    data_offset,
                    nlink,
                    rdev,
                    mtime_sec,
                    mtime_nsec,
                    reserved,
                }
            );
            if kind == FileType::Directory {
                self.dirents(index + 1, start + inode.data_offset.get(), inode.size.get());
            }
        }
    }

    fn dirents(&mut self, dir: u64, start: u64, size: u64) {
        for index in 0..size / DIRENT_SIZE {
            let at = start + index * DIRENT_SIZE;
            let s = Structure::Dirent { dir, index };
            fields!(self, s, at, BaseDirent { ino, mode, name_len, reserved, name });
        }
    }

    fn record(&mut self, slot: u32, at: u64) {
        let s = Structure::Record { slot };
        fields!(
            self,
            s,
            at,
            BranchRecord {
                branch_id,
                parent_id,
                delta_log_offset,
                delta_log_size,
                delta_log_capacity,
                state,
                refcount,
                next_local_ino,
                name,
                log,
                reserved,
            }
        );
    }

    fn delta(&mut self) {
        let Some(segments) = segments(self.image) else { return };
        let s = Structure::Coordination;
        fields!(
            self,
            s,
            segments.coordination.start.get(),
            CoordinationBlock { magic, revision, pad0, tree, slots_used, reserved }
        );
        for place in [0, u64::from(segments.member_count) - 1] {
            let at = segments.members.start.get() + place * MEMBER_SIZE;
            let s = Structure::Member { place };
            fields!(
                self,
                s,
                at,
                MemberRecord {
                    state,
                    kernel,
                    name,
                    reserved0,
                    heartbeat,
                    acknowledged,
                    following,
                    position,
                    knows,
                    reserved1,
                }
            );
        }
        for segment in 0..segments.count {
            let at = segments.map.start.get() + u64::from(segment) * 8;
            self.add(Structure::MapWord { segment }, "word", at, 8);
        }
        for log in log_segments(self.image) {
            let (segment, has_next) = (log.index, log.has_next);
            let s = Structure::LogHeader { segment, is_head: log.at == log.head, has_next };
            fields!(
                self,
                s,
                log.at,
                LogSegmentHeader {
                    magic,
                    ordinal,
                    writer,
                    reserved0,
                    next,
                    end,
                    published,
                    reserved,
                }
            );
        }
    }

    fn entries(&mut self) {
        let mut seen = HashSet::new();
        for entry in log_entries(self.image) {
            // Entries of one type differ in what follows the fixed part; sizes tell that well.
            if seen.insert((entry.kind, entry.size, entry.end_word)) {
                self.entry(&entry);
            }
        }
    }

    fn entry(&mut self, entry: &LogEntry) {
        let LogEntry { at, kind, .. } = *entry;
        let s = Structure::Entry { at, kind };
        fields!(self, s, at, EntryHeader { kind, total_size, ino, timestamp });
        let at = at + size_of::<EntryHeader>() as u64;
        match kind {
            EntryType::Write => {
                fields!(self, s, at, Write { offset, len, flags });
                let raw: Write = self.image.get(at);
                if raw.flags.get() & WriteFlags::BY_REFERENCE.bits() != 0 {
                    self.add(s, "reference", at + size_of::<Write>() as u64, 8);
                }
            }
            EntryType::Create | EntryType::Mkdir => {
                fields!(self, s, at, Create { parent_ino, new_ino, mode, name_len, flags });
                let raw: Create = self.image.get(at);
                let behind = at + size_of::<Create>() as u64;
                self.owner_and_name(s, behind, raw.flags.get(), raw.name_len.get());
            }
            EntryType::Symlink => {
                fields!(self, s, at, Symlink { parent_ino, new_ino, name_len, target_len, flags });
                let raw: Symlink = self.image.get(at);
                let behind = at + size_of::<Symlink>() as u64;
                let flags = raw.flags.get() as u16;
                let name = self.owner_and_name(s, behind, flags, raw.name_len.get());
                let target = name + u64::from(raw.name_len.get());
                self.add(s, "target", target, 1);
                self.add(s, "target's NUL", target + u64::from(raw.target_len.get()), 1);
            }
            EntryType::Delete => {
                fields!(self, s, at, Delete { parent_ino, name_len, flags, reserved });
                self.add(s, "old name", at + size_of::<Delete>() as u64, 1);
            }
            EntryType::Truncate => {
                fields!(self, s, at, Truncate { new_size });
            }
            EntryType::Hole => {
                fields!(self, s, at, Hole { offset, len });
            }
            EntryType::Rename => {
                fields!(
                    self,
                    s,
                    at,
                    Rename { old_parent, new_parent, ino, old_name_len, new_name_len, flags }
                );
                let raw: Rename = self.image.get(at);
                let name = at + size_of::<Rename>() as u64;
                self.add(s, "old name", name, 1);
                self.add(s, "name", name + u64::from(raw.old_name_len.get()), 1);
            }
            EntryType::Setattr => {
                fields!(self, s, at, Setattr { mode, uid, gid, valid, size });
                let raw: Setattr = self.image.get(at);
                let times = SetattrValid::ATIME | SetattrValid::MTIME;
                if raw.valid.get() & times.bits() != 0 {
                    let at = at + size_of::<Setattr>() as u64;
                    fields!(
                        self,
                        s,
                        at,
                        Times { atime_sec, mtime_sec, atime_nsec, mtime_nsec, reserved }
                    );
                }
            }
            EntryType::Link => {
                fields!(self, s, at, Link { branch_id, head, published, next_ino });
            }
            EntryType::Inode => {
                fields!(
                    self,
                    s,
                    at,
                    Inode {
                        mode,
                        uid,
                        gid,
                        rdev,
                        size,
                        parent_ino,
                        base_valid,
                        ctime_sec,
                        mtime_sec,
                        atime_sec,
                        ctime_nsec,
                        mtime_nsec,
                        atime_nsec,
                        nlink,
                        target_len,
                        reserved,
                    }
                );
                let raw: Inode = self.image.get(at);
                if raw.target_len.get() > 0 {
                    let target = at + size_of::<Inode>() as u64;
                    self.add(s, "target", target, 1);
                    self.add(s, "target's NUL", target + u64::from(raw.target_len.get()), 1);
                }
            }
            EntryType::Name => {
                fields!(self, s, at, NameEntry { parent_ino, sequence, name_len, flags, reserved });
                self.add(s, "name", at + size_of::<NameEntry>() as u64, 1);
            }
            EntryType::Extent => {
                fields!(self, s, at, Extent { page, pages, reference });
            }
            EntryType::SnapshotEnd => {
                fields!(self, s, at, SnapshotEnd { next_ino, inodes, names });
            }
        }
    }

    /// Adds the owner, where there is one, and the name; returns where the name starts.
    fn owner_and_name(&mut self, s: Structure, at: u64, flags: u16, name_len: u16) -> u64 {
        let mut name = at;
        if flags & NewFlags::OWNER.bits() != 0 {
            fields!(self, s, at, Owner { uid, gid, rdev, reserved });
            name += size_of::<Owner>() as u64;
        }
        self.add(s, "name", name, 1);
        self.add(s, "name", name + u64::from(name_len) - 1, 1);
        name
    }
}
