//! Encoding log entries, always in the segmented image's form: owners included, data by reference,
//! padded to eight bytes.

use crate::error::{Error, Result};
use crate::log::entry::{Entry, Operation, WriteSource};
use daxfs_format::log::{
    self, EntryHeader, NameFlags, NewFlags, RenameFlags, SetattrValid, WriteFlags, ENTRY_ALIGN,
};
use daxfs_format::{Ino, NAME_MAX};
use zerocopy::{Immutable, IntoBytes};

/// Largest part of an entry in front of a symbolic link's target: a rename with two longest names.
const MAX_FRONT: usize = (size_of::<EntryHeader>() + size_of::<log::Rename>() + 2 * NAME_MAX)
    .next_multiple_of(ENTRY_ALIGN as usize);

/// An encoded entry, whole; but a symbolic link's target, its NUL and the padding follow what is here:
/// kernels have small stacks, and the target is in memory already.
pub struct Encoded {
    front: [u8; MAX_FRONT],
    len: usize,
    total: u32,
}

impl Default for Encoded {
    /// A place for an entry.
    fn default() -> Self {
        Self { front: [0; MAX_FRONT], len: 0, total: 0 }
    }
}

impl Encoded {
    /// The entry's bytes; those in front of a target, if it has one.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.front.get(..self.len).unwrap_or(&[])
    }

    /// Bytes of the whole entry, target and padding included.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len + bytes.len();
        self.front.get_mut(self.len..end).ok_or(Error::NameTooLong)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn put<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<()> {
        self.put_bytes(value.as_bytes())
    }
}

/// Encodes `entry` into a place of the caller's, leaving room for a symbolic link's target.
///
/// # Errors
///
/// [`Error::InvalidArgument`] for an inline write, which this driver reads but never writes.
pub fn encode(entry: &Entry<'_>, out: &mut Encoded) -> Result<()> {
    out.len = size_of::<EntryHeader>();
    let mut behind = 0;
    let ino = entry.ino.get();
    match &entry.operation {
        Operation::Write { offset, len, source } => {
            let WriteSource::Pages(at) = source else {
                return Err(Error::InvalidArgument("inline write"));
            };
            let flags = WriteFlags::BY_REFERENCE.bits().into();
            out.put(&log::Write { offset: (*offset).into(), len: (*len).into(), flags })?;
            out.put(&zerocopy::little_endian::U64::new(at.get()))?;
        }
        Operation::Create { parent, name, new } => {
            out.put(&log::Create {
                parent_ino: parent.get().into(),
                new_ino: ino.into(),
                mode: new.mode.into(),
                name_len: name_len(name.as_bytes()),
                flags: NewFlags::OWNER.bits().into(),
            })?;
            out.put(&owner(new))?;
            out.put_bytes(name.as_bytes())?;
        }
        Operation::Symlink { parent, name, new, target_len, .. } => {
            out.put(&log::Symlink {
                parent_ino: parent.get().into(),
                new_ino: ino.into(),
                name_len: name_len(name.as_bytes()),
                target_len: (*target_len).into(),
                flags: u32::from(NewFlags::OWNER.bits()).into(),
            })?;
            out.put(&owner(new))?;
            out.put_bytes(name.as_bytes())?;
            behind = u32::from(*target_len) + 1;
        }
        Operation::Delete { parent, name } => {
            out.put(&log::Delete {
                parent_ino: parent.get().into(),
                name_len: name_len(name.as_bytes()),
                flags: 0.into(),
                reserved: 0.into(),
            })?;
            out.put_bytes(name.as_bytes())?;
        }
        Operation::Truncate { size } => {
            out.put(&log::Truncate { new_size: (*size).into() })?;
        }
        Operation::Hole { offset, len } => {
            out.put(&log::Hole { offset: (*offset).into(), len: (*len).into() })?;
        }
        Operation::Rename { old_parent, old_name, new_parent, new_name, exchange } => {
            let flags = if *exchange { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
            out.put(&log::Rename {
                old_parent: old_parent.get().into(),
                new_parent: new_parent.get().into(),
                ino: ino.into(),
                old_name_len: name_len(old_name.as_bytes()),
                new_name_len: name_len(new_name.as_bytes()),
                flags: flags.bits().into(),
            })?;
            out.put_bytes(old_name.as_bytes())?;
            out.put_bytes(new_name.as_bytes())?;
        }
        Operation::Setattr(changes) => {
            let mut valid = SetattrValid::empty();
            valid.set(SetattrValid::MODE, changes.mode.is_some());
            valid.set(SetattrValid::UID, changes.uid.is_some());
            valid.set(SetattrValid::GID, changes.gid.is_some());
            valid.set(SetattrValid::SIZE, changes.size.is_some());
            valid.set(SetattrValid::ATIME, changes.atime.is_some());
            valid.set(SetattrValid::MTIME, changes.mtime.is_some());
            out.put(&log::Setattr {
                mode: changes.mode.unwrap_or(0).into(),
                uid: changes.uid.unwrap_or(0).into(),
                gid: changes.gid.unwrap_or(0).into(),
                valid: valid.bits().into(),
                size: changes.size.unwrap_or(0).into(),
            })?;
            if valid.intersects(SetattrValid::ATIME | SetattrValid::MTIME) {
                let atime = changes.atime.unwrap_or_default();
                let mtime = changes.mtime.unwrap_or_default();
                out.put(&log::Times {
                    atime_sec: atime.sec.into(),
                    mtime_sec: mtime.sec.into(),
                    atime_nsec: atime.nsec.into(),
                    mtime_nsec: mtime.nsec.into(),
                    reserved: 0.into(),
                })?;
            }
        }
        Operation::Inode(inode) => {
            out.put(&log::Inode {
                mode: inode.new.mode.into(),
                uid: inode.new.uid.into(),
                gid: inode.new.gid.into(),
                rdev: inode.new.rdev.into(),
                size: inode.size.into(),
                parent_ino: inode.parent.map_or(0, Ino::get).into(),
                base_valid: inode.base_valid.into(),
                ctime_sec: inode.ctime.sec.into(),
                mtime_sec: inode.mtime.sec.into(),
                atime_sec: inode.atime.sec.into(),
                ctime_nsec: inode.ctime.nsec.into(),
                mtime_nsec: inode.mtime.nsec.into(),
                atime_nsec: inode.atime.nsec.into(),
                nlink: inode.nlink.into(),
                target_len: inode.target_len.into(),
                reserved: [0; 14],
            })?;
            if inode.target_len > 0 {
                behind = u32::from(inode.target_len) + 1;
            }
        }
        Operation::Name { parent, name, sequence, whiteout } => {
            let flags = if *whiteout { NameFlags::WHITEOUT } else { NameFlags::empty() };
            out.put(&log::NameEntry {
                parent_ino: parent.get().into(),
                sequence: (*sequence).into(),
                name_len: name_len(name.as_bytes()),
                flags: flags.bits().into(),
                reserved: 0.into(),
            })?;
            out.put_bytes(name.as_bytes())?;
        }
        Operation::Extent { page, pages, at } => {
            let (page, pages) = ((*page).into(), (*pages).into());
            out.put(&log::Extent { page, pages, reference: at.get().into() })?;
        }
        Operation::SnapshotEnd { next_ino, inodes, names } => {
            let (inodes, names) = ((*inodes).into(), (*names).into());
            out.put(&log::SnapshotEnd { next_ino: next_ino.get().into(), inodes, names })?;
        }
        Operation::Link { branch, head, published, next_ino } => {
            out.put(&log::Link {
                branch_id: branch.get().into(),
                head: u64::from(head.get()).into(),
                published: published.get().into(),
                next_ino: next_ino.get().into(),
            })?;
        }
    }
    out.total = (out.len as u32 + behind).next_multiple_of(ENTRY_ALIGN);
    if behind == 0 {
        let end = out.total as usize;
        out.front.get_mut(out.len..end).ok_or(Error::NameTooLong)?.fill(0);
        out.len = end;
    }
    let header = EntryHeader {
        kind: entry.operation.entry_type().raw().into(),
        total_size: out.total.into(),
        ino: ino.into(),
        timestamp: entry.time.to_nanos().into(),
    };
    let size = size_of::<EntryHeader>();
    out.front.get_mut(..size).ok_or(Error::NameTooLong)?.copy_from_slice(header.as_bytes());
    Ok(())
}

/// The length field of a checked name, which has at most 128 bytes.
fn name_len(name: &[u8]) -> zerocopy::little_endian::U16 {
    (name.len() as u16).into()
}

fn owner(new: &crate::log::entry::NewInode) -> log::Owner {
    log::Owner {
        uid: new.uid.into(),
        gid: new.gid.into(),
        rdev: new.rdev.into(),
        reserved: 0.into(),
    }
}
