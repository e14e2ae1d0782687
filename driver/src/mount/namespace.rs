//! Names: lookup, listing, creation, removal, renaming.

use super::locked::{Changing, Looking};
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
        self.looking(|look| look.lookup(dir, name))
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
        self.looking(|look| look.readdir(dir, cookie, emit))
    }

    /// Makes a file, directory, fifo, socket or device node.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotDirectory`], [`Error::InvalidArgument`] for a mode without a
    /// type or with a symbolic link's, [`Error::InvalidName`], [`Error::NameTooLong`],
    /// [`Error::ReadOnly`], [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`].
    pub fn create(&self, dir: Ino, name: &[u8], new: &NewInode) -> Result<Attributes> {
        self.changing(|change| change.create(dir, name, new))
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
        self.changing(|change| change.symlink(dir, name, target, (uid, gid)))
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::ReadOnly`],
    /// [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result<()> {
        self.changing(|change| change.unlink(dir, name).map(|_| ()))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::NotDirectory`], [`Error::ReadOnly`],
    /// [`Error::Frozen`], [`Error::NoSpace`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<()> {
        self.changing(|change| change.rmdir(dir, name))
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
        self.changing(|change| change.rename((old_dir, old_name), (new_dir, new_name), mode))
    }
}

impl<P: Platform> Looking<'_, P> {
    /// As [`Mount::lookup`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Attributes> {
        let (name, view) = (Name::new(name)?, self.mount.volume.view());
        let found = self.current.index.lookup_attributes(view, dir, name.as_bytes())?;
        found.ok_or(Error::NotFound)
    }

    /// As [`Mount::readdir`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn readdir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.current.index.read_directory(self.mount.volume.view(), dir, cookie, emit)
    }
}

impl<P: Platform> Changing<'_, P> {
    /// As [`Mount::create`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(&mut self, dir: Ino, name: &[u8], new: &NewInode) -> Result<Attributes> {
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

    /// As [`Mount::symlink`]; `owner` is user and group.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn symlink(
        &mut self,
        dir: Ino,
        name: &[u8],
        target: &[u8],
        (uid, gid): (u32, u32),
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

    fn make(&mut self, operation: Operation<'_>, target: TryVec<u8>) -> Result<Attributes> {
        let ino = self.current.index.next_ino();
        self.record(ino, operation, target, Reserve::Keep)?;
        self.look().getattr(ino)
    }

    /// As [`Mount::unlink`]; says which inode had the name.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn unlink(&mut self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.remove(dir, name, |kind| match kind {
            FileType::Directory => Err(Error::IsDirectory),
            _ => Ok(()),
        })
    }

    /// As [`Mount::rmdir`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rmdir(&mut self, dir: Ino, name: &[u8]) -> Result<()> {
        let removed = self.remove(dir, name, |kind| match kind {
            FileType::Directory => Ok(()),
            _ => Err(Error::NotDirectory),
        });
        removed.map(|_| ())
    }

    fn remove(
        &mut self,
        dir: Ino,
        name: &[u8],
        fits: impl FnOnce(FileType) -> Result<()>,
    ) -> Result<Ino> {
        let (name, volume) = (Name::new(name)?, &self.mount.volume);
        let ino = self.current.index.check_delete(volume.view(), dir, name, fits)?;
        let operation = Operation::Delete { parent: dir, name };
        let entry = Entry { ino, time: volume.platform.now(), operation };
        let (target, reserve) = (TryVec::new(), Reserve::Use);
        self.current.record_checked(volume, self.company, &entry, target, reserve)?;
        Ok(ino)
    }

    /// As [`Mount::rename`]; a name comes with its directory.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rename(
        &mut self,
        (old_parent, old_name): (Ino, &[u8]),
        (new_parent, new_name): (Ino, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        let (old_name, new_name) = (Name::new(old_name)?, Name::new(new_name)?);
        let (view, index) = (self.mount.volume.view(), &self.current.index);
        let found = index.lookup(view, old_parent, old_name.as_bytes())?;
        let (ino, _) = found.ok_or(Error::NotFound)?;
        let target = index.lookup(view, new_parent, new_name.as_bytes())?;
        if mode == RenameMode::NoReplace && target.is_some() {
            return Err(Error::Exists);
        }
        if target.is_some_and(|(target, _)| target == ino) {
            return Ok(());
        }
        let exchange = mode == RenameMode::Exchange;
        let operation = Operation::Rename { old_parent, old_name, new_parent, new_name, exchange };
        self.record(ino, operation, TryVec::new(), Reserve::Keep)
    }

    fn record(
        &mut self,
        ino: Ino,
        operation: Operation<'_>,
        target: TryVec<u8>,
        reserve: Reserve,
    ) -> Result<()> {
        let volume = &self.mount.volume;
        let entry = Entry { ino, time: volume.platform.now(), operation };
        self.current.record(volume, self.company, &entry, target, reserve)
    }
}
