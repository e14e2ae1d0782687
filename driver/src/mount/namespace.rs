//! Names: lookup, listing, creation, removal, renaming.

use super::Mount;
use crate::error::{Error, Result};
use crate::index::inode::Attributes;
use crate::index::names::DirEntry;
use crate::log::entry::{Entry, Name, NewInode, Operation};
use crate::log::writer::Reserve;
use crate::platform::Platform;
use crate::storage::TryVec;
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::{Ino, RegionOffset, SYMLINK_MAX};

/// What renaming does with a name that exists already.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RenameMode {
    /// It is replaced, in one step.
    #[default]
    Replace,
    /// It is an error.
    NoReplace,
    /// The two names change places, in one step.
    Exchange,
}

impl<P: Platform> Mount<P> {
    /// What `name` in directory `dir` refers to. "." and ".." are no names here.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NameTooLong`],
    /// [`Error::InvalidName`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Attributes> {
        let name = Name::new(name)?;
        self.reading(|current| {
            let view = self.volume.view();
            let found = current.index.lookup(view, dir, name.as_bytes())?;
            let (ino, _) = found.ok_or(Error::NotFound)?;
            current.index.attributes(view, ino)
        })
    }

    /// Calls `emit` for the entries of directory `dir` behind `cookie` (0: from the start); stops
    /// when it says `false`. "." and ".." are not listed. Cookies stay good while the directory
    /// changes: an entry that is there all the time is listed exactly once.
    ///
    /// `emit` runs under this mount's lock: it must not call back.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn readdir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.reading(|current| current.index.read_directory(self.volume.view(), dir, cookie, emit))
    }

    /// Makes a file, directory, fifo, socket or device node.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotDirectory`], [`Error::InvalidArgument`] for a mode without a
    /// type or with a symbolic link's, [`Error::InvalidName`], [`Error::NameTooLong`],
    /// [`Error::ReadOnly`], [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`].
    pub fn create(&self, dir: Ino, name: &[u8], new: &NewInode) -> Result<Attributes> {
        let name = Name::new(name)?;
        let kind = FileType::from_mode(new.mode).filter(|&kind| kind != FileType::Symlink);
        let kind = kind.ok_or(Error::InvalidArgument("file type"))?;
        let new = NewInode {
            mode: kind.mode_bits() | (new.mode & PERMISSIONS),
            rdev: if kind.is_device() { new.rdev } else { 0 },
            ..*new
        };
        let operation = Operation::Create { parent: dir, name, new };
        self.make(operation, TryVec::new())
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    ///
    /// As [`Self::create`]; [`Error::NameTooLong`] for a target of more than 4095 bytes,
    /// [`Error::NotFound`] for an empty one, [`Error::InvalidArgument`] for one with a NUL.
    pub fn symlink(
        &self,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        uid: u32,
        gid: u32,
    ) -> Result<Attributes> {
        let name = Name::new(name)?;
        if target.is_empty() {
            return Err(Error::NotFound);
        }
        if target.len() > SYMLINK_MAX {
            return Err(Error::NameTooLong);
        }
        if target.contains(&0) {
            return Err(Error::InvalidArgument("NUL in a symbolic link"));
        }
        let operation = Operation::Symlink {
            parent: dir,
            name,
            new: NewInode { mode: FileType::Symlink.mode_bits() | 0o777, uid, gid, rdev: 0 },
            // Where the log puts it; known to the log alone.
            target: RegionOffset::new(0),
            target_len: target.len() as u16,
        };
        self.make(operation, TryVec::from_slice(target)?)
    }

    fn make(&self, operation: Operation<'_>, target: TryVec<u8>) -> Result<Attributes> {
        self.writing(|current, company| {
            let ino = current.index.next_ino();
            let entry = Entry { ino, time: self.volume.platform.now(), operation };
            current.record(&self.volume, company, &entry, target, Reserve::Keep)?;
            current.index.attributes(self.volume.view(), ino)
        })
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::ReadOnly`],
    /// [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result<()> {
        self.remove(dir, name, |kind| match kind {
            FileType::Directory => Err(Error::IsDirectory),
            _ => Ok(()),
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::NotDirectory`], [`Error::ReadOnly`],
    /// [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<()> {
        self.remove(dir, name, |kind| match kind {
            FileType::Directory => Ok(()),
            _ => Err(Error::NotDirectory),
        })
    }

    fn remove(
        &self,
        dir: Ino,
        name: &[u8],
        check: impl FnOnce(FileType) -> Result<()>,
    ) -> Result<()> {
        let name = Name::new(name)?;
        self.writing(|current, company| {
            let found = current.index.lookup(self.volume.view(), dir, name.as_bytes())?;
            let (ino, kind) = found.ok_or(Error::NotFound)?;
            check(kind)?;
            let time = self.volume.platform.now();
            let operation = Operation::Delete { parent: dir, name };
            let entry = Entry { ino, time, operation };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Use)
        })
    }

    /// Moves a name, in one step: whoever looks, also after a crash, finds the complete old or the
    /// complete new state.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::NotEmpty`], [`Error::IsDirectory`],
    /// [`Error::NotDirectory`], [`Error::InvalidArgument`] for a directory that would go below
    /// itself, [`Error::ReadOnly`], [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`].
    pub fn rename(
        &self,
        old_dir: Ino,
        old_name: &[u8],
        new_dir: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let (old_name, new_name) = (Name::new(old_name)?, Name::new(new_name)?);
        self.writing(|current, company| {
            let view = self.volume.view();
            let (ino, _) =
                current.index.lookup(view, old_dir, old_name.as_bytes())?.ok_or(Error::NotFound)?;
            let target = current.index.lookup(view, new_dir, new_name.as_bytes())?;
            if mode == RenameMode::NoReplace && target.is_some() {
                return Err(Error::Exists);
            }
            if target.is_some_and(|(target, _)| target == ino) {
                return Ok(());
            }
            let entry = Entry {
                ino,
                time: self.volume.platform.now(),
                operation: Operation::Rename {
                    old_parent: old_dir,
                    old_name,
                    new_parent: new_dir,
                    new_name,
                    exchange: mode == RenameMode::Exchange,
                },
            };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)
        })
    }
}
