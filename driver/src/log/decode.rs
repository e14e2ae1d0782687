//! Decoding log entries.
//!
//! An entry is copied out of the range piece by piece, checked, and becomes an [`Entry`]: every
//! length in it fits the entry, every name keeps the rules of names, every number is in its range.

use crate::error::{Error, Result};
use crate::log::entry::{
    Changes, Entry, Inode, Name, NewInode, Operation, WriteSource, MAX_FILE_SIZE, MAX_INO,
    MAX_SEQUENCE,
};
use crate::region::{Backing, Region};
use daxfs_format::log::{
    self, EntryHeader, EntryType, NameFlags, NewFlags, RenameFlags, SetattrValid, WriteFlags,
    ENTRY_ALIGN, HEADER_SIZE,
};
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::{
    BranchId, Ino, LogPosition, RegionOffset, SegmentIndex, Timestamp, BLOCK_SIZE, NAME_MAX,
    SYMLINK_MAX,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// An entry as it was found in a log.
#[derive(Clone, Copy)]
pub struct Decoded<'w> {
    /// What it says; its names are in the window.
    pub entry: Entry<'w>,
    /// Bytes of it in the log.
    pub size: u64,
    /// Whether its bytes without a meaning are what this driver writes: zero, and no more than
    /// padding needs.
    pub tidy: bool,
}

/// Where an entry is copied to.
pub struct Window([u8; WINDOW]);

impl Default for Window {
    fn default() -> Self {
        Self([0; WINDOW])
    }
}

impl Window {
    /// Copies bytes `held..wanted` of the entry at `at`, which has `available` bytes, or as many as there
    /// are; says how many it holds then.
    fn hold<B: Backing>(
        &mut self,
        region: &Region<B>,
        (at, available): (RegionOffset, u64),
        (held, wanted): (usize, usize),
    ) -> Result<usize> {
        let end = usize::try_from(available).map_or(wanted, |there| there.min(wanted));
        let Some(part) = self.0.get_mut(held..end) else { return Ok(held) };
        let from = at.checked_add(held as u64);
        region.copy_out(from.ok_or(Error::OutOfBounds { offset: at.get(), len: 0 })?, part)?;
        Ok(end)
    }
}

/// Takes an entry's payload apart from front to back; never past its end.
struct Payload<'r, 'w, B: Backing> {
    region: &'r Region<B>,
    entry: RegionOffset,
    at: RegionOffset,
    left: u64,
    tidy: bool,
    /// A copy of the entry's start.
    window: &'w [u8],
}

/// Holds every entry but for the targets and data at the end of some: a rename with two longest
/// names.
const WINDOW: usize = size_of::<EntryHeader>() + size_of::<log::Rename>() + 2 * NAME_MAX;
/// Copied first: most entries are no longer.
const FIRST: usize = 128;

impl<'w, B: Backing> Payload<'_, 'w, B> {
    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { what, at: self.entry.get() }
    }

    /// Skips `len` bytes and says where they are.
    fn skip(&mut self, len: u64) -> Result<RegionOffset> {
        let at = self.at;
        self.left = self.left.checked_sub(len).ok_or(self.corrupt("log entry too short"))?;
        self.at = at.checked_add(len).ok_or(self.corrupt("log entry too short"))?;
        Ok(at)
    }

    /// Bytes of the entry, which have been skipped, if the window holds them.
    fn held(&self, at: RegionOffset, len: usize) -> Option<&'w [u8]> {
        let start = usize::try_from(at.checked_since(self.entry)?).ok()?;
        self.window.get(start..start.checked_add(len)?)
    }

    fn take<T: FromBytes + FromZeros + IntoBytes>(&mut self) -> Result<T> {
        let at = self.skip(size_of::<T>() as u64)?;
        let mut value = T::new_zeroed();
        match self.held(at, size_of::<T>()) {
            Some(held) => value.as_mut_bytes().copy_from_slice(held),
            None => self.region.copy_out(at, value.as_mut_bytes())?,
        }
        Ok(value)
    }

    fn name(&mut self, len: u16) -> Result<Name<'w>> {
        let at = self.skip(u64::from(len))?;
        // Longer ones than the window has room for are too long.
        let name = self.held(at, usize::from(len));
        let name = name.ok_or(self.corrupt("name length in a log entry"))?;
        Name::new(name).map_err(|_| self.corrupt("name in a log entry"))
    }

    fn owner(&mut self, flags: u16) -> Result<log::Owner> {
        let flags = NewFlags::from_bits(flags).ok_or(self.corrupt("flags of a log entry"))?;
        if !flags.contains(NewFlags::OWNER) {
            return Ok(log::Owner::new_zeroed());
        }
        let owner: log::Owner = self.take()?;
        self.expect_zero(owner.reserved.get());
        Ok(owner)
    }

    /// A field without a meaning.
    fn expect_zero(&mut self, field: impl Into<u64>) {
        self.tidy &= field.into() == 0;
    }

    /// Whether everything without a meaning is zero, and what is left is padding.
    fn is_tidy(&self) -> Result<bool> {
        let mut padding = [0; ENTRY_ALIGN as usize];
        let Some(padding) = padding.get_mut(..self.left as usize) else { return Ok(false) };
        self.region.copy_out(self.at, padding)?;
        Ok(self.tidy && self.left < u64::from(ENTRY_ALIGN) && padding.iter().all(|&b| b == 0))
    }
}

/// Decodes the entry at `at`, of which `available` bytes lie in the log, by way of `window`: replay has
/// millions of them.
///
/// # Errors
///
/// [`Error::Corrupt`] naming the rule it breaks.
pub fn decode<'w, B: Backing>(
    region: &Region<B>,
    at: RegionOffset,
    available: u64,
    window: &'w mut Window,
) -> Result<Decoded<'w>> {
    let corrupt = |what| Error::Corrupt { what, at: at.get() };
    if available < u64::from(HEADER_SIZE) {
        return Err(corrupt("log ends inside an entry header"));
    }
    let mut held = window.hold(region, (at, available), (0, FIRST))?;
    let header = window.0.get(..size_of::<EntryHeader>()).unwrap_or(&[]);
    let header = EntryHeader::read_from_bytes(header).map_err(|_| corrupt("entry header"))?;
    let size = u64::from(header.total_size.get());
    if size < u64::from(HEADER_SIZE) || size > available {
        return Err(corrupt("size of a log entry"));
    }
    let kind = EntryType::from_raw(header.kind.get()).ok_or(corrupt("type of a log entry"))?;
    let ino = Ino::new(header.ino.get());
    if size > FIRST as u64 {
        held = window.hold(region, (at, size), (held, WINDOW))?;
    }
    let window = window.0.get(..held).unwrap_or(&[]);
    let mut payload = Payload { region, entry: at, at, left: size, tidy: true, window };
    payload.skip(u64::from(HEADER_SIZE))?;
    let operation = match kind {
        EntryType::Write => decode_write(&mut payload)?,
        EntryType::Create | EntryType::Mkdir => decode_create(&mut payload, kind, ino)?,
        EntryType::Symlink => decode_symlink(&mut payload, ino)?,
        EntryType::Delete => {
            let raw: log::Delete = payload.take()?;
            payload.expect_zero(raw.flags.get());
            payload.expect_zero(raw.reserved.get());
            let name = payload.name(raw.name_len.get())?;
            Operation::Delete { parent: Ino::new(raw.parent_ino.get()), name }
        }
        EntryType::Truncate => {
            let raw: log::Truncate = payload.take()?;
            Operation::Truncate { size: checked_size(raw.new_size.get(), corrupt)? }
        }
        EntryType::Hole => {
            let raw: log::Hole = payload.take()?;
            let (offset, len) = (raw.offset.get(), raw.len.get());
            let pages = offset % BLOCK_SIZE == 0 && len % BLOCK_SIZE == 0 && len > 0;
            let end = offset.checked_add(len).filter(|&end| end <= MAX_PAGES_END);
            if !pages || end.is_none() {
                return Err(corrupt("range of a hole entry"));
            }
            Operation::Hole { offset, len }
        }
        EntryType::Rename => decode_rename(&mut payload, ino)?,
        EntryType::Setattr => decode_setattr(&mut payload)?,
        EntryType::Inode => decode_inode(&mut payload)?,
        EntryType::Name => {
            let raw: log::NameEntry = payload.take()?;
            let flags = NameFlags::from_bits(raw.flags.get());
            let flags = flags.ok_or(corrupt("flags of a name entry"))?;
            if raw.sequence.get() >= MAX_SEQUENCE {
                return Err(corrupt("place of a name entry"));
            }
            payload.expect_zero(raw.reserved.get());
            Operation::Name {
                parent: Ino::new(raw.parent_ino.get()),
                name: payload.name(raw.name_len.get())?,
                sequence: raw.sequence.get(),
                whiteout: flags.contains(NameFlags::WHITEOUT),
            }
        }
        EntryType::Extent => {
            let raw: log::Extent = payload.take()?;
            let (page, pages) = (raw.page.get(), raw.pages.get());
            let end = page.checked_add(pages);
            if pages == 0 || end.is_none_or(|end| end > MAX_FILE_SIZE.div_ceil(BLOCK_SIZE)) {
                return Err(corrupt("pages of an extent entry"));
            }
            let at = RegionOffset::new(raw.reference.get());
            let bytes = pages.checked_mul(BLOCK_SIZE);
            if !at.is_aligned(BLOCK_SIZE) || bytes.is_none_or(|len| !region.contains(at, len)) {
                return Err(corrupt("reference of an extent entry"));
            }
            Operation::Extent { page, pages, at }
        }
        EntryType::SnapshotEnd => {
            let raw: log::SnapshotEnd = payload.take()?;
            if raw.next_ino.get() >= MAX_INO {
                return Err(corrupt("next inode number in a snapshot"));
            }
            payload.tidy &= ino == Ino::ROOT;
            Operation::SnapshotEnd {
                next_ino: Ino::new(raw.next_ino.get()),
                inodes: raw.inodes.get(),
                names: raw.names.get(),
            }
        }
        EntryType::Link => {
            let raw: log::Link = payload.take()?;
            let head =
                u32::try_from(raw.head.get()).map_err(|_| corrupt("segment in a link entry"))?;
            if raw.next_ino.get() >= MAX_INO {
                return Err(corrupt("next inode number in a link entry"));
            }
            payload.tidy &= ino == Ino::ROOT;
            Operation::Link {
                branch: BranchId::new(raw.branch_id.get()),
                head: SegmentIndex::new(head),
                published: LogPosition::new(raw.published.get()),
                next_ino: Ino::new(raw.next_ino.get()),
            }
        }
    };
    let time = Timestamp::from_nanos(header.timestamp.get());
    Ok(Decoded { entry: Entry { ino, time, operation }, size, tidy: payload.is_tidy()? })
}

/// Where the last page of the largest file ends.
const MAX_PAGES_END: u64 = MAX_FILE_SIZE.next_multiple_of(BLOCK_SIZE);

fn checked_size(size: u64, corrupt: impl Fn(&'static str) -> Error) -> Result<u64> {
    if size > MAX_FILE_SIZE {
        return Err(corrupt("file size in a log entry"));
    }
    Ok(size)
}

fn decode_write<'w, B: Backing>(payload: &mut Payload<'_, 'w, B>) -> Result<Operation<'w>> {
    let raw: log::Write = payload.take()?;
    let flags =
        WriteFlags::from_bits(raw.flags.get()).ok_or(payload.corrupt("flags of a write entry"))?;
    let (offset, len) = (raw.offset.get(), raw.len.get());
    if len == 0 || offset.checked_add(u64::from(len)).is_none_or(|end| end > MAX_FILE_SIZE) {
        return Err(payload.corrupt("range of a write entry"));
    }
    let source = if flags.contains(WriteFlags::BY_REFERENCE) {
        let at: zerocopy::little_endian::U64 = payload.take()?;
        let at = RegionOffset::new(at.get());
        // The pages from the one that holds the first byte to the one that holds the last.
        let bytes = (offset % BLOCK_SIZE + u64::from(len)).div_ceil(BLOCK_SIZE) * BLOCK_SIZE;
        if !at.is_aligned(BLOCK_SIZE) || !payload.region.contains(at, bytes) {
            return Err(payload.corrupt("reference of a write entry"));
        }
        WriteSource::Pages(at)
    } else {
        WriteSource::Inline(payload.skip(u64::from(len))?)
    };
    Ok(Operation::Write { offset, len, source })
}

fn decode_create<'w, B: Backing>(
    payload: &mut Payload<'_, 'w, B>,
    entry_type: EntryType,
    ino: Ino,
) -> Result<Operation<'w>> {
    let raw: log::Create = payload.take()?;
    let owner = payload.owner(raw.flags.get())?;
    let name = payload.name(raw.name_len.get())?;
    if raw.new_ino.get() != ino.get() {
        return Err(payload.corrupt("inode number of a create entry"));
    }
    let mode = raw.mode.get();
    let kind = match (FileType::from_mode(mode), entry_type) {
        // The reference writes bare permissions in some entries; the type says the rest.
        (None, EntryType::Mkdir) if mode <= PERMISSIONS => FileType::Directory,
        (None, EntryType::Create) if mode <= PERMISSIONS => FileType::Regular,
        (Some(FileType::Directory), EntryType::Mkdir) => FileType::Directory,
        (Some(kind), EntryType::Create)
            if kind != FileType::Directory && kind != FileType::Symlink && mode >> 16 == 0 =>
        {
            kind
        }
        _ => return Err(payload.corrupt("mode of a create entry")),
    };
    if !kind.is_device() {
        payload.expect_zero(owner.rdev.get());
    }
    Ok(Operation::Create {
        parent: Ino::new(raw.parent_ino.get()),
        name,
        new: NewInode {
            mode: kind.mode_bits() | (mode & PERMISSIONS),
            uid: owner.uid.get(),
            gid: owner.gid.get(),
            rdev: if kind.is_device() { owner.rdev.get() } else { 0 },
        },
    })
}

fn decode_symlink<'w, B: Backing>(
    payload: &mut Payload<'_, 'w, B>,
    ino: Ino,
) -> Result<Operation<'w>> {
    let raw: log::Symlink = payload.take()?;
    let flags = u16::try_from(raw.flags.get())
        .map_err(|_| payload.corrupt("flags of a symbolic link entry"))?;
    let owner = payload.owner(flags)?;
    let name = payload.name(raw.name_len.get())?;
    payload.expect_zero(owner.rdev.get());
    if raw.new_ino.get() != ino.get() {
        return Err(payload.corrupt("inode number of a symbolic link entry"));
    }
    let target_len = raw.target_len.get();
    if target_len == 0 || usize::from(target_len) > SYMLINK_MAX {
        return Err(payload.corrupt("target length of a symbolic link entry"));
    }
    let target = payload.skip(u64::from(target_len))?;
    let terminator: u8 = payload.take()?;
    if terminator != 0 {
        return Err(payload.corrupt("symbolic link without NUL"));
    }
    Ok(Operation::Symlink {
        parent: Ino::new(raw.parent_ino.get()),
        name,
        new: NewInode {
            mode: FileType::Symlink.mode_bits() | 0o777,
            uid: owner.uid.get(),
            gid: owner.gid.get(),
            rdev: 0,
        },
        target,
        target_len,
    })
}

fn decode_rename<'w, B: Backing>(
    payload: &mut Payload<'_, 'w, B>,
    ino: Ino,
) -> Result<Operation<'w>> {
    let raw: log::Rename = payload.take()?;
    let flags = RenameFlags::from_bits(raw.flags.get())
        .ok_or(payload.corrupt("flags of a rename entry"))?;
    let old_name = payload.name(raw.old_name_len.get())?;
    let new_name = payload.name(raw.new_name_len.get())?;
    if raw.ino.get() != ino.get() {
        return Err(payload.corrupt("inode number of a rename entry"));
    }
    Ok(Operation::Rename {
        old_parent: Ino::new(raw.old_parent.get()),
        old_name,
        new_parent: Ino::new(raw.new_parent.get()),
        new_name,
        exchange: flags.contains(RenameFlags::EXCHANGE),
    })
}

fn decode_setattr<'w, B: Backing>(payload: &mut Payload<'_, 'w, B>) -> Result<Operation<'w>> {
    let raw: log::Setattr = payload.take()?;
    let valid = SetattrValid::from_bits(raw.valid.get())
        .ok_or(payload.corrupt("valid bits of a setattr entry"))?;
    let times: log::Times = if valid.intersects(SetattrValid::ATIME | SetattrValid::MTIME) {
        payload.take()?
    } else {
        log::Times::new_zeroed()
    };
    expect_only(payload, valid, &raw, &times);
    let size = checked_size(raw.size.get(), |what| payload.corrupt(what));
    let field = |bit, value| valid.contains(bit).then_some(value);
    Ok(Operation::Setattr(Changes {
        mode: field(SetattrValid::MODE, raw.mode.get() & PERMISSIONS),
        uid: field(SetattrValid::UID, raw.uid.get()),
        gid: field(SetattrValid::GID, raw.gid.get()),
        size: if valid.contains(SetattrValid::SIZE) { Some(size?) } else { None },
        atime: valid
            .contains(SetattrValid::ATIME)
            .then(|| Timestamp::new(times.atime_sec.get(), times.atime_nsec.get())),
        mtime: valid
            .contains(SetattrValid::MTIME)
            .then(|| Timestamp::new(times.mtime_sec.get(), times.mtime_nsec.get())),
    }))
}

fn decode_inode<'w, B: Backing>(payload: &mut Payload<'_, 'w, B>) -> Result<Operation<'w>> {
    let raw: log::Inode = payload.take()?;
    let mode = raw.mode.get();
    let kind = FileType::from_mode(mode).filter(|_| mode >> 16 == 0);
    let kind = kind.ok_or(payload.corrupt("mode of an inode entry"))?;
    let target_len = raw.target_len.get();
    if usize::from(target_len) > SYMLINK_MAX || (target_len > 0 && kind != FileType::Symlink) {
        return Err(payload.corrupt("target length of an inode entry"));
    }
    let mut target = RegionOffset::new(0);
    if target_len > 0 {
        target = payload.skip(u64::from(target_len))?;
        let terminator: u8 = payload.take()?;
        if terminator != 0 {
            return Err(payload.corrupt("symbolic link without NUL"));
        }
    }
    payload.tidy &= raw.reserved.iter().all(|&b| b == 0)
        && (kind.is_device() || raw.rdev.get() == 0)
        && (kind == FileType::Directory || raw.nlink.get() <= 1)
        && (kind == FileType::Regular || raw.base_valid.get() == 0)
        && (target_len == 0 || raw.size.get() == u64::from(target_len))
        && [raw.atime_nsec.get(), raw.mtime_nsec.get(), raw.ctime_nsec.get()]
            .iter()
            .all(|&nsec| nsec < Timestamp::NANOS);
    let size = checked_size(raw.size.get(), |what| payload.corrupt(what))?;
    let base_valid = checked_size(raw.base_valid.get(), |what| payload.corrupt(what))?;
    let parent = Ino::new(raw.parent_ino.get());
    Ok(Operation::Inode(Inode {
        new: NewInode {
            mode,
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            rdev: if kind.is_device() { raw.rdev.get() } else { 0 },
        },
        size,
        parent: (parent.get() != 0).then_some(parent),
        base_valid,
        atime: Timestamp::new(raw.atime_sec.get(), raw.atime_nsec.get()),
        mtime: Timestamp::new(raw.mtime_sec.get(), raw.mtime_nsec.get()),
        ctime: Timestamp::new(raw.ctime_sec.get(), raw.ctime_nsec.get()),
        nlink: raw.nlink.get(),
        target,
        target_len,
    }))
}

/// What `valid` does not name has no meaning.
fn expect_only<B: Backing>(
    payload: &mut Payload<'_, '_, B>,
    valid: SetattrValid,
    raw: &log::Setattr,
    times: &log::Times,
) {
    let atime = (times.atime_sec.get() as u64, times.atime_nsec.get());
    let mtime = (times.mtime_sec.get() as u64, times.mtime_nsec.get());
    for (bit, value) in [
        (SetattrValid::MODE, u64::from(raw.mode.get())),
        (SetattrValid::UID, raw.uid.get().into()),
        (SetattrValid::GID, raw.gid.get().into()),
        (SetattrValid::SIZE, raw.size.get()),
        (SetattrValid::ATIME, atime.0 | u64::from(atime.1)),
        (SetattrValid::MTIME, mtime.0 | u64::from(mtime.1)),
    ] {
        if !valid.contains(bit) {
            payload.expect_zero(value);
        }
    }
    payload.expect_zero(raw.mode.get() & !PERMISSIONS);
    payload.expect_zero(times.reserved.get());
    payload.tidy &= atime.1 < Timestamp::NANOS && mtime.1 < Timestamp::NANOS;
}
