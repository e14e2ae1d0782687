//! What log entries say.
//!
//! Every number in an [`Entry`] is in its range, every name keeps the rules of names. Whether an entry
//! makes sense for the state of the file system is the index's business.

use crate::error::Result;
use daxfs_format::base::check_name;
use daxfs_format::log::EntryType;
use daxfs_format::mode::FileType;
use daxfs_format::{BranchId, Ino, LogPosition, RegionOffset, SegmentIndex, Timestamp};

/// Inode numbers stay below this: numbers only grow, and a log must not be able to use them up.
pub const MAX_INO: u64 = 1 << 48;

/// Places in the listing of a directory stay below this.
pub const MAX_SEQUENCE: u64 = 1 << 60;

/// Largest file size: what a signed 64-bit offset can name.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// A checked name. Its bytes are private memory: the caller's, or what was copied out of a log.
#[derive(Clone, Copy)]
pub struct Name<'n>(&'n [u8]);

impl<'n> Name<'n> {
    /// A name from a caller.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](crate::Error::InvalidName) or [`NameTooLong`](crate::Error::NameTooLong).
    pub fn new(name: &'n [u8]) -> Result<Self> {
        check_name(name)?;
        Ok(Self(name))
    }

    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'n [u8] {
        self.0
    }
}

/// Where the bytes of a write are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteSource {
    /// In the log entry itself, at this place.
    Inline(RegionOffset),
    /// In data pages; this is the page that holds the write's first byte.
    Pages(RegionOffset),
}

/// Attributes a setattr entry changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// File size.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<Timestamp>,
    /// Modification time.
    pub mtime: Option<Timestamp>,
}

/// What a new inode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewInode {
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, for device nodes.
    pub rdev: u32,
}

/// A changed inode, as a snapshot holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Type, permissions, owner, group, device number.
    pub new: NewInode,
    /// Bytes of content.
    pub size: u64,
    /// The directory a branch put it in.
    pub parent: Option<Ino>,
    /// How much of the base's content is still visible below changed pages, in bytes.
    pub base_valid: u64,
    /// Access time.
    pub atime: Timestamp,
    /// Modification time.
    pub mtime: Timestamp,
    /// Change time.
    pub ctime: Timestamp,
    /// Link count; 0 for a base inode that was deleted.
    pub nlink: u32,
    /// Where the target of a symbolic link is in the log; the start of the range otherwise.
    pub target: RegionOffset,
    /// Bytes of the target.
    pub target_len: u16,
}

/// What an entry records.
#[derive(Clone, Copy)]
pub enum Operation<'n> {
    /// Bytes of a file.
    Write {
        /// File offset of the first.
        offset: u64,
        /// How many, at least 1.
        len: u32,
        /// Where they are.
        source: WriteSource,
    },
    /// A new file or directory.
    Create {
        /// The directory it is in.
        parent: Ino,
        /// Its name there.
        name: Name<'n>,
        /// What it is; never a symbolic link.
        new: NewInode,
    },
    /// A new symbolic link.
    Symlink {
        /// The directory it is in.
        parent: Ino,
        /// Its name there.
        name: Name<'n>,
        /// Owner and group; the mode is a symbolic link's.
        new: NewInode,
        /// Where its target is in the log.
        target: RegionOffset,
        /// Bytes of the target.
        target_len: u16,
    },
    /// A name removed.
    Delete {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Name<'n>,
    },
    /// A new size.
    Truncate {
        /// The size.
        size: u64,
    },
    /// Pages that are no more: zeros, which take no space.
    Hole {
        /// File offset of the first.
        offset: u64,
        /// Bytes: whole pages, at least one.
        len: u64,
    },
    /// A name moved.
    Rename {
        /// The directory it leaves.
        old_parent: Ino,
        /// Its name there.
        old_name: Name<'n>,
        /// The directory it enters.
        new_parent: Ino,
        /// Its name there.
        new_name: Name<'n>,
        /// Whether the two names change places.
        exchange: bool,
    },
    /// New attributes.
    Setattr(Changes),
    /// Snapshot: an inode as it is.
    Inode(Inode),
    /// Snapshot: a name as it is. The entry's inode is what it refers to.
    Name {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Name<'n>,
        /// Its place in the listing of the directory.
        sequence: u64,
        /// Whether it refers to nothing and hides an entry of the base.
        whiteout: bool,
    },
    /// Snapshot: pages of a file as they are.
    Extent {
        /// The first page of the file.
        page: u64,
        /// How many, at least 1.
        pages: u64,
        /// Where the first is.
        at: RegionOffset,
    },
    /// The snapshot is complete.
    SnapshotEnd {
        /// The lowest inode number never used.
        next_ino: Ino,
        /// Inode entries before this.
        inodes: u64,
        /// Name entries before this.
        names: u64,
    },
    /// Another branch's log.
    Link {
        /// Whose.
        branch: BranchId,
        /// The first segment of its chain.
        head: SegmentIndex,
        /// How much of it counts.
        published: LogPosition,
        /// The lowest inode number it did not use.
        next_ino: Ino,
    },
}

/// One decoded entry.
#[derive(Clone, Copy)]
pub struct Entry<'n> {
    /// The inode it is about (the new one of a create).
    pub ino: Ino,
    /// When.
    pub time: Timestamp,
    /// What.
    pub operation: Operation<'n>,
}

impl Operation<'_> {
    /// The entry type that records it.
    #[must_use]
    pub const fn entry_type(&self) -> EntryType {
        match self {
            Self::Write { .. } => EntryType::Write,
            Self::Create { new, .. } => match FileType::from_mode(new.mode) {
                Some(FileType::Directory) => EntryType::Mkdir,
                _ => EntryType::Create,
            },
            Self::Symlink { .. } => EntryType::Symlink,
            Self::Delete { .. } => EntryType::Delete,
            Self::Truncate { .. } => EntryType::Truncate,
            Self::Hole { .. } => EntryType::Hole,
            Self::Rename { .. } => EntryType::Rename,
            Self::Setattr(_) => EntryType::Setattr,
            Self::Link { .. } => EntryType::Link,
            Self::Inode(_) => EntryType::Inode,
            Self::Name { .. } => EntryType::Name,
            Self::Extent { .. } => EntryType::Extent,
            Self::SnapshotEnd { .. } => EntryType::SnapshotEnd,
        }
    }

    /// Whether it changes what was said before it.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !self.is_snapshot() && !matches!(self, Self::Link { .. })
    }

    /// Whether it is part of a snapshot.
    #[must_use]
    pub const fn is_snapshot(&self) -> bool {
        matches!(
            self,
            Self::Inode(_) | Self::Name { .. } | Self::Extent { .. } | Self::SnapshotEnd { .. }
        )
    }
}
