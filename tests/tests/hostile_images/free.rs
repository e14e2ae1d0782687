//! Values that are any image's right: no rule of the format tells them from what was meant.

use daxfs::{Delta, Geometry, MAX_FILE_SIZE, Slot};
use daxfs_format::base::{BaseFeatures, BaseInode, BaseSuperblock};
use daxfs_format::branch::{BranchRecord, BranchWord, LogWord};
use daxfs_format::coordination::{LEASE_RANGE, MemberWord, TreeWord};
use daxfs_format::log::{EntryType, Extent, SetattrValid, Write};
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::segment::SegmentWord;
use daxfs_format::superblock::Superblock;
use daxfs_format::{BranchId, RegionOffset, Timestamp};
use daxfs_tests::entries::{log_entries, log_segments, segments};
use daxfs_tests::field::{Field, Structure};
use daxfs_tests::image::Image;

/// Why `field` of the good image `image` may have `value`; `None` if a rule forbids it.
pub fn free(image: &Image, field: &Field, value: u64) -> Option<&'static str> {
    let old = image.number(field.at, field.width);
    let plain = matches!(geometry(image).delta, Delta::Plain(_));
    let name = field.name.rsplit('.').next().unwrap_or(field.name);
    let reason = |holds: bool, reason| holds.then_some(reason);
    match field.structure {
        Structure::Superblock => superblock(image, name, value, plain),
        Structure::Extension => extension(image, name, old, value),
        Structure::BaseSuperblock => reason(
            name == "features" && value == BaseFeatures::INODE_EXTRA.bits().into(),
            "sorting is an offer, not a duty",
        ),
        Structure::Inode { ino, kind } => inode(image, (ino, kind), field, value),
        Structure::Dirent { .. } => reason(name == "name" && is_name_byte(value), "another name"),
        Structure::Record { slot } => record(image, slot, name, value, plain),
        Structure::Coordination => match name {
            "tree" => reason(
                TreeWord::from_word(value).is_some(),
                "any number of changes, and one in progress",
            ),
            "slots_used" => {
                let used = records(image).iter().all(|(slot, _)| u64::from(*slot) < value);
                let slots = u64::from(geometry(image).branch_slots);
                reason(used && value <= slots, "slots that were used once")
            }
            _ => None,
        },
        Structure::Member { .. } => match name {
            "state" => reason(MemberWord::from_word(value).is_some(), "a living member"),
            "reserved0" | "reserved1" => None,
            _ => Some("what a member says of itself"),
        },
        Structure::MapWord { segment } => map_word(image, segment, value),
        Structure::LogHeader { has_next, .. } => match name {
            "writer" => reason(
                value > 0 && value < u64::from(next_branch_id(image) as u32),
                "who wrote the last chain of a log may be gone",
            ),
            "next" => reason(
                !has_next && segments(image).is_some_and(|s| value <= s.count.into()),
                "an append may have been interrupted",
            ),
            _ => None,
        },
        Structure::Entry { kind, at } => entry(image, (kind, at), field, value, plain),
    }
}

fn geometry(image: &Image) -> Geometry {
    Geometry::read(&image.region()).expect("a good image")
}

fn next_branch_id(image: &Image) -> u64 {
    image.get::<Superblock>(0).next_branch_id.get()
}

fn is_name_byte(value: u64) -> bool {
    value != 0 && value != b'/'.into()
}

fn is_time(name: &str, value: u64) -> bool {
    name.ends_with("_sec") || (name.ends_with("_nsec") && value < Timestamp::NANOS.into())
}

/// The records that are not free.
fn records(image: &Image) -> Vec<(u32, BranchRecord)> {
    let geometry = geometry(image);
    (0..geometry.branch_slots)
        .map(|slot| {
            let at = geometry.branch_record(Slot::new(slot)).expect("a slot");
            (slot, image.get::<BranchRecord>(at.get()))
        })
        .filter(|(_, record)| record.state.get() != 0)
        .collect()
}

fn superblock(image: &Image, name: &str, value: u64, plain: bool) -> Option<&'static str> {
    let records = records(image);
    let covered = records.iter().all(|(slot, _)| u64::from(*slot) < value);
    let unused = records.iter().all(|(_, record)| record.branch_id.get() < value);
    match name {
        "active_branches" if plain => Some("v3's count is informational"),
        "branch_table_entries" if covered && value > 0 => Some("a smaller table"),
        "next_branch_id" if unused && value > 0 && value <= BranchId::MAX.get() => {
            Some("ids may be skipped")
        }
        "delta_alloc_offset" if plain => Some("any place in the delta region"),
        _ => None,
    }
}

fn extension(image: &Image, name: &str, old: u64, value: u64) -> Option<&'static str> {
    let segments = segments(image);
    match name {
        "compat" => Some("unknown compatible features are ignored"),
        "ro_compat" => Some("unknown features forbid writing only"),
        "uuid" => Some("any identity"),
        "lease_ms" if u32::try_from(value).is_ok_and(|ms| LEASE_RANGE.contains(&ms)) => {
            Some("another lease")
        }
        "member_count" if value > 0 && value < old => Some("a smaller table"),
        "segment_count" if value > 0 && value < old => {
            let map = segments?.map.start.get();
            let unused = (value..old).all(|index| image.number(map + index * 8, 1) == 0);
            unused.then_some("fewer segments than there is room for")
        }
        _ => None,
    }
}

fn inode(
    image: &Image,
    (ino, kind): (u64, FileType),
    field: &Field,
    value: u64,
) -> Option<&'static str> {
    let base = geometry(image).base.start.get();
    let raw: BaseSuperblock = image.get(base);
    let inode: BaseInode = image.get(base + raw.inode_offset.get() + (ino - 1) * 64);
    let inside = |offset: u64, size: u64| {
        offset.checked_add(size).is_some_and(|end| end <= raw.total_size.get())
    };
    let name = field.name.rsplit('.').next().unwrap_or(field.name);
    match name {
        "mode" if ino == 1 && FileType::from_mode(value as u32) == Some(kind) => {
            Some("no entry repeats the root's mode")
        }
        "uid" | "gid" => Some("any owner"),
        "rdev" if kind.is_device() => Some("any device"),
        "size" if kind == FileType::Regular && inside(inode.data_offset.get(), value) => {
            Some("any size inside the data area")
        }
        "data_offset" if inode.size.get() == 0 && inside(value, 0) => {
            Some("where nothing is does not matter")
        }
        _ if is_time(name, value) => Some("any time"),
        _ => None,
    }
}

fn record(image: &Image, slot: u32, name: &str, value: u64, plain: bool) -> Option<&'static str> {
    let (_, raw) = *records(image).iter().find(|(s, _)| *s == slot)?;
    let is_root = raw.parent_id.get() == 0;
    match name {
        "name" if (plain || !is_root) && value > b' '.into() => Some("another name"),
        // The width of the field is that of the word's high half.
        "refcount" if !plain => {
            let word = BranchWord::from_word((value << 32) | u64::from(raw.state.get()))?;
            word.owner.is_none().then_some("any generation")
        }
        "log" => {
            let head = |record: &BranchRecord| LogWord::from_word(record.log.get()).head;
            let parent = raw.parent_id.get();
            let parent = records(image).into_iter().find(|(_, r)| r.branch_id.get() == parent);
            match LogWord::from_word(value).head {
                new if new == head(&raw) => Some("any generation"),
                None => Some("a branch without a log says what its parent says"),
                new if parent.is_some_and(|(_, parent)| head(&parent) == new) => {
                    Some("a branch may say what its parent says")
                }
                Some(_) => None,
            }
        }
        "branch_id" | "refcount" | "next_local_ino" | "delta_log_capacity" if plain => {
            Some("v3 only")
        }
        "delta_log_offset" | "delta_log_size" if plain && value == 0 => Some("no log"),
        "state" if plain && value == 0 => Some("a branch that ended"),
        "state" if value == 2 || value == 3 => Some("a branch that has just ended"),
        _ => None,
    }
}

fn map_word(image: &Image, segment: u32, value: u64) -> Option<&'static str> {
    let segments = segments(image)?;
    let start = segments.area.start.get() + (u64::from(segment) << segments.shift);
    let inside = |at: u64| at >= start && at < start + segments.size();
    let is_log = log_segments(image).iter().any(|log| log.index == segment);
    let is_data = log_entries(image).iter().any(|entry| {
        let payload = entry.at + 24;
        match entry.kind {
            EntryType::Write => {
                let by_reference = image.get::<Write>(payload).flags.get() != 0;
                by_reference && inside(image.number(payload + 16, 8))
            }
            EntryType::Extent => inside(image.get::<Extent>(payload).reference.get()),
            _ => false,
        }
    });
    let word = SegmentWord::from_word(value)?;
    let old = SegmentWord::from_word(image.number(
        segments.map_word(daxfs::SegmentIndex::new(segment)).unwrap_or(RegionOffset::new(0)).get(),
        8,
    ))?;
    if word.state == old.state {
        return Some("any generation");
    }
    (!is_log && !is_data && value == 0).then_some("a segment that is not used")
}

fn entry(
    image: &Image,
    (kind, at): (EntryType, u64),
    field: &Field,
    value: u64,
    plain: bool,
) -> Option<&'static str> {
    let old = image.number(field.at, field.width);
    let (_, name) = field.name.rsplit_once('.').unwrap_or(("", field.name));
    let permissions = |value: u64| value <= u64::from(PERMISSIONS);
    let is_inode = value > 0 && value < 1 << 16;
    let mode = image.number(at + 24, 4) as u32;
    match (kind, name) {
        (_, "timestamp" | "uid" | "gid") => Some("any time, any owner"),
        (_, "name" | "old name") if is_name_byte(value) => Some("another name"),
        (_, "target") if value != 0 => Some("another target"),
        (EntryType::Write | EntryType::Truncate | EntryType::Hole | EntryType::Setattr, "ino")
            if is_inode =>
        {
            Some("another inode that exists")
        }
        (EntryType::Create | EntryType::Mkdir, "mode") => {
            let same = FileType::from_mode(value as u32) == FileType::from_mode(old as u32);
            let known = value >> 16 == 0;
            ((same && known) || permissions(value)).then_some("any permissions")
        }
        (_, "parent_ino" | "new_parent") if is_inode && kind != EntryType::Delete => {
            Some("another directory that exists")
        }
        (EntryType::Create, "rdev") => Some("any device"),
        (EntryType::Setattr, "mode") if plain || permissions(value) => Some("any permissions"),
        (EntryType::Setattr, "valid") => SetattrValid::from_bits(value as u32)
            .map(|_| "a choice of attributes; their sizes have to fit"),
        (EntryType::Setattr, "size") if plain && value <= MAX_FILE_SIZE => Some("any size"),
        (EntryType::Truncate, "new_size") if value <= MAX_FILE_SIZE => Some("any size"),
        (EntryType::Hole, "offset" | "len") if value <= MAX_FILE_SIZE => Some("any pages"),
        (EntryType::Write, "offset" | "len") if value <= MAX_FILE_SIZE => Some("any place"),
        (EntryType::Link | EntryType::SnapshotEnd, "next_ino") if value > old => {
            Some("inode numbers may be skipped")
        }
        (EntryType::SnapshotEnd, "next_ino") if value + 1 == old => {
            Some("the last inode is gone, and its number")
        }
        (EntryType::Inode, "mode") => {
            let same = FileType::from_mode(value as u32) == FileType::from_mode(mode);
            same.then_some("any permissions")
        }
        (EntryType::Inode, "size" | "base_valid") => {
            let regular = FileType::from_mode(mode) == Some(FileType::Regular);
            (regular && value <= MAX_FILE_SIZE).then_some("any size that holds its pages")
        }
        (EntryType::Inode, "nlink") => {
            let directory = FileType::from_mode(mode) == Some(FileType::Directory);
            (directory && value > 0).then_some("nobody counts on a directory's link count")
        }
        (EntryType::Name, "sequence") => Some("any order"),
        (EntryType::Extent, "page") => Some("another place in the file"),
        // To a v3 driver whatever follows a payload is padding.
        (EntryType::Rename, "kind") if plain => Some("another entry, and padding"),
        (EntryType::Delete, "flags" | "reserved") if plain => Some("v3 ignores them"),
        (_, "name_len" | "new_name_len") if plain && value > 0 && value < old => {
            Some("a shorter name, and padding")
        }
        _ if is_time(name, value) => Some("any time"),
        _ => None,
    }
}
