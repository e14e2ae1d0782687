//! Names as they are now: changed entries over the base's.

use super::inode::Attributes;
use super::names::{DirEntry, Directory, Target, CHANGED_COOKIE};
use super::{base_directory, Index, View};
use crate::base;
use crate::error::{Error, Result};
use crate::region::Backing;
use daxfs_format::mode::FileType;
use daxfs_format::Ino;

/// Where a name was found, and what it refers to.
enum Found {
    /// Among those that a branch changed.
    Changed(Ino, FileType),
    /// In the base.
    Base(Ino),
}

impl Index {
    /// What `name` in directory `dir` refers to.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn lookup<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        name: &[u8],
    ) -> Result<Option<(Ino, FileType)>> {
        Ok(match self.find_name(view, dir, name)? {
            None => None,
            Some(Found::Changed(ino, kind)) => Some((ino, kind)),
            // The type is the inode's, not the entry's: the entry's is a hint.
            Some(Found::Base(ino)) => Some((ino, view.base.inode(view.region, ino)?.kind)),
        })
    }

    /// What `stat` says about what `name` in directory `dir` refers to.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`].
    pub fn lookup_attributes<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        name: &[u8],
    ) -> Result<Option<Attributes>> {
        match self.find_name(view, dir, name)? {
            None => Ok(None),
            Some(Found::Changed(ino, _) | Found::Base(ino)) => self.attributes(view, ino).map(Some),
        }
    }

    fn find_name<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        name: &[u8],
    ) -> Result<Option<Found>> {
        let base = match self.changed(dir) {
            Some(inode) if inode.is_gone() => return Err(Error::Stale),
            Some(inode) => {
                let directory = self.names.directory(inode)?;
                match self.names.find(dir, name) {
                    Some(Target::Whiteout) => return Ok(None),
                    Some(Target::Inode(ino, kind)) => return Ok(Some(Found::Changed(ino, kind))),
                    None => directory.base,
                }
            }
            None => Some(base_directory(view, dir)?),
        };
        match base {
            Some(base) => Ok(view.base.lookup(view.region, &base, name)?.map(Found::Base)),
            None => Ok(None),
        }
    }

    /// Number of entries of directory `dir`.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`].
    pub fn entry_count<B: Backing>(&self, view: View<'_, B>, dir: Ino) -> Result<u64> {
        match self.changed(dir) {
            Some(inode) => self.names.directory(inode).map(Directory::count),
            None => base_directory(view, dir).map(|dir| dir.entries()),
        }
    }

    /// Calls `emit` for the entries of directory `dir` behind `cookie` (0: from the start); stops
    /// when it says `false`.
    ///
    /// A cookie stays good whatever happens to the directory: the base's entries keep their places,
    /// and changed entries are listed behind them in the order they were made.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup`].
    pub fn read_directory<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let changed = self.changed(dir);
        let (names, base) = match changed {
            Some(inode) if inode.is_gone() => return Err(Error::Stale),
            Some(inode) => {
                let directory = self.names.directory(inode)?;
                (Some(directory), directory.base)
            }
            None => (None, Some(base_directory(view, dir)?)),
        };
        if let Some(base) = base.filter(|_| cookie < CHANGED_COOKIE) {
            let listed =
                view.base.dirents(view.region, &base, cookie, &mut |at, ino, kind, name| {
                    let hides = names.is_some_and(Directory::hides);
                    let hidden = hides && self.names.find(dir, name).is_some();
                    hidden || emit(&DirEntry { name, ino, kind, next: at + 1 })
                })?;
            if !listed {
                return Ok(());
            }
        }
        if let Some(names) = names {
            self.names.list(names, cookie, emit);
        }
        Ok(())
    }
}

/// A name of a base directory. The type is the inode's, not the entry's: the entry's is a hint.
pub(super) fn base_entry<B: Backing>(
    view: View<'_, B>,
    dir: &base::Inode,
    name: &[u8],
) -> Result<Option<(Ino, FileType)>> {
    match view.base.lookup(view.region, dir, name)? {
        Some(ino) => {
            let inode = view.base.inode(view.region, ino)?;
            Ok(Some((ino, inode.kind)))
        }
        None => Ok(None),
    }
}
