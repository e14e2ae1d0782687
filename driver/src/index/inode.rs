//! Changed inodes: private copies of what a branch and its ancestors changed or made.

use crate::base;
use crate::error::{Error, Result};
use crate::index::names::DirectoryId;
use crate::index::pages::PageMap;
use crate::log::entry::NewInode;
use crate::storage::TryVec;
use core::sync::atomic::{AtomicU64, Ordering};
use daxfs_format::base::DIRENT_SIZE;
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::{Ino, RegionOffset, Timestamp, BLOCK_SIZE};

/// What `stat` says about an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileType,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Link count.
    pub nlink: u32,
    /// Device number.
    pub rdev: u32,
    /// Access time.
    pub atime: Timestamp,
    /// Modification time.
    pub mtime: Timestamp,
    /// Change time.
    pub ctime: Timestamp,
    /// Space used, in units of 512 bytes; base data counts, though it is shared.
    pub blocks: u64,
}

impl Attributes {
    /// What `stat` says about a base inode that was never changed.
    #[must_use]
    pub fn of_base(inode: &base::Inode) -> Self {
        let (size, bytes) = match inode.kind {
            FileType::Regular => (inode.size, inode.size.div_ceil(BLOCK_SIZE) * BLOCK_SIZE),
            FileType::Directory => directory_size(inode.entries()),
            FileType::Symlink => (inode.size, BLOCK_SIZE),
            _ => (inode.size, 0),
        };
        Self {
            ino: inode.ino,
            kind: inode.kind,
            mode: inode.kind.mode_bits() | inode.permissions,
            uid: inode.uid,
            gid: inode.gid,
            size,
            nlink: inode.nlink.max(1),
            rdev: inode.rdev,
            atime: inode.mtime,
            mtime: inode.mtime,
            ctime: inode.mtime,
            blocks: bytes / 512,
        }
    }
}

/// Size of a directory, and the space that counts for it, in bytes.
fn directory_size(entries: u64) -> (u64, u64) {
    let size = entries.saturating_mul(DIRENT_SIZE);
    (size, size.div_ceil(BLOCK_SIZE).saturating_mul(BLOCK_SIZE))
}

/// The part of a file's content that still is the base's.
#[derive(Clone, Copy, Debug)]
pub struct BaseContent {
    /// Where it starts.
    pub data: RegionOffset,
    /// Bytes of it that are visible; zeros follow up to the file's size.
    pub valid: u64,
}

/// What is particular to the kind of inode.
pub enum Content {
    /// A regular file: pages changed, and what lies under them.
    File {
        /// Changed pages.
        pages: PageMap,
        /// The base's content, for a base inode.
        base: Option<BaseContent>,
    },
    /// A directory: its names are in [`Names`](crate::index::names::Names).
    Directory(DirectoryId),
    /// A symbolic link made by a branch; its target.
    Symlink(TryVec<u8>),
    /// Nothing of its own: a base symbolic link, a fifo, a socket, a device.
    None,
}

/// A changed or new inode.
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileType,
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Link count; 0 for a base inode that was deleted.
    pub nlink: u32,
    /// Device number.
    pub rdev: u32,
    /// The directory it was last put in by a branch; `None` while it is where the base has it.
    pub parent: Option<Ino>,
    /// Access time.
    pub atime: Timestamp,
    /// Modification time, as the log has it.
    pub mtime: Timestamp,
    /// Change time, as the log has it.
    pub ctime: Timestamp,
    /// When its content was last written to in place, in nanoseconds since the epoch, if the log does
    /// not say so (such writes leave no entry); 0: it does, or it was not. Those who share the lock may
    /// set it.
    written: AtomicU64,
    /// Whether it has no name any more and is kept for who still uses it. Only this mount knows it.
    pub orphan: bool,
    /// What is particular to its kind.
    pub content: Content,
}

impl Inode {
    /// Whether it was removed, and nobody uses it.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.nlink == 0 && !self.orphan
    }

    /// Its content was written to in place.
    pub fn note_write(&self, time: Timestamp) {
        // Relaxed: a value by itself; whoever logs it has the index to itself.
        self.written.store(time.to_nanos().max(1), Ordering::Relaxed);
    }

    /// When it was last written to, if the log does not say so.
    #[must_use]
    pub fn unlogged_write(&self) -> Option<Timestamp> {
        match self.written.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Timestamp::from_nanos(nanos)),
        }
    }

    /// The log says when it was last written to.
    pub fn set_logged(&mut self) {
        *self.written.get_mut() = 0;
    }

    /// Its modification time.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.unlogged_write().unwrap_or(self.mtime)
    }

    /// Its change time.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        self.unlogged_write().map_or(self.ctime, |written| written.max(self.ctime))
    }

    /// A private copy of a base inode.
    #[must_use]
    pub fn from_base(inode: &base::Inode, content: Content) -> Self {
        Self {
            ino: inode.ino,
            kind: inode.kind,
            permissions: inode.permissions,
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            nlink: inode.nlink.max(1),
            rdev: inode.rdev,
            parent: None,
            atime: inode.mtime,
            mtime: inode.mtime,
            ctime: inode.mtime,
            written: AtomicU64::new(0),
            orphan: false,
            content,
        }
    }

    /// A new inode in `parent`.
    #[must_use]
    pub fn new(
        (ino, kind): (Ino, FileType),
        new: &NewInode,
        parent: Ino,
        time: Timestamp,
        content: Content,
    ) -> Self {
        let size = match &content {
            Content::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        Self {
            ino,
            kind,
            permissions: new.mode & PERMISSIONS,
            uid: new.uid,
            gid: new.gid,
            size,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            rdev: new.rdev,
            parent: Some(parent),
            atime: time,
            mtime: time,
            ctime: time,
            written: AtomicU64::new(0),
            orphan: false,
            content,
        }
    }

    /// Its names, if it is a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`].
    pub const fn directory(&self) -> Result<DirectoryId> {
        match self.content {
            Content::Directory(id) => Ok(id),
            _ => Err(Error::NotDirectory),
        }
    }

    /// What `stat` says about it. `entries` counts a directory's.
    #[must_use]
    pub fn attributes(&self, entries: u64) -> Attributes {
        let (size, bytes) = match &self.content {
            Content::File { pages, base } => {
                let base = base.map_or(0, |b| b.valid.div_ceil(BLOCK_SIZE));
                // Changed pages lie over base pages as a rule: the larger of the two is close.
                (self.size, pages.pages().max(base) * BLOCK_SIZE)
            }
            Content::Directory(_) => directory_size(entries),
            Content::Symlink(_) => (self.size, BLOCK_SIZE),
            Content::None if self.kind == FileType::Symlink => (self.size, BLOCK_SIZE),
            Content::None => (self.size, 0),
        };
        Attributes {
            ino: self.ino,
            kind: self.kind,
            mode: self.kind.mode_bits() | self.permissions,
            uid: self.uid,
            gid: self.gid,
            size,
            nlink: self.nlink,
            rdev: self.rdev,
            atime: self.atime,
            mtime: self.modified(),
            ctime: self.changed(),
            blocks: bytes / 512,
        }
    }
}
