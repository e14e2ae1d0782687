//! Whether an entry makes sense in the state the index is in.
//!
//! The same check guards live operations, where its error is the caller's errno, and replay, where
//! any error means that the log is corrupt. After a passed check [`Index::apply`] can fail for want
//! of memory only.

use super::inode::Content;
use super::{base_inode, Index, View};
use crate::error::{Error, Result};
use crate::log::entry::{Entry, Name, Operation, MAX_INO};
use crate::region::Backing;
use daxfs_format::mode::FileType;
use daxfs_format::Ino;

impl Index {
    /// Checks `entry` against the state it is to change.
    ///
    /// # Errors
    ///
    /// The POSIX error of the operation, or [`Error::Corrupt`].
    pub fn check<B: Backing>(&mut self, view: View<'_, B>, entry: &Entry<'_>) -> Result<()> {
        match &entry.operation {
            Operation::Write { .. } | Operation::Truncate { .. } => {
                self.check_file(view, entry.ino)
            }
            Operation::Hole { offset, len } => {
                // The index cannot hide a piece out of the middle of the base's content.
                let end = offset.saturating_add(*len);
                if self.base_visible(view, entry.ino)? > end {
                    return Err(Error::InvalidArgument("a hole over the base's content"));
                }
                Ok(())
            }
            Operation::Create { parent, name, .. } | Operation::Symlink { parent, name, .. } => {
                self.check_new(view, entry.ino, *parent, *name)
            }
            Operation::Delete { parent, name } => {
                let ino = self.check_delete(view, *parent, *name, |_| Ok(()))?;
                named(entry.ino, ino)
            }
            Operation::Rename { old_parent, old_name, new_parent, new_name, exchange } => {
                let (ino, kind) = self.existing(view, *old_parent, *old_name)?;
                named(entry.ino, ino)?;
                let target = self.lookup(view, *new_parent, new_name.as_bytes())?;
                if *exchange {
                    let (other, other_kind) = target.ok_or(Error::NotFound)?;
                    self.check_move(view, (ino, kind), *old_parent, *new_parent)?;
                    self.check_move(view, (other, other_kind), *new_parent, *old_parent)
                } else {
                    self.check_move(view, (ino, kind), *old_parent, *new_parent)?;
                    self.check_replace(view, (ino, kind), target)
                }
            }
            Operation::Setattr(changes) => match changes.size {
                Some(_) => self.check_file(view, entry.ino),
                None => self.kind_of(view, entry.ino).map(|_| ()),
            },
            // Replay follows links and loads snapshots; they are no changes.
            Operation::Link { .. }
            | Operation::Inode(_)
            | Operation::Name { .. }
            | Operation::Extent { .. }
            | Operation::SnapshotEnd { .. } => Err(Error::InvalidArgument("not an operation")),
        }
    }

    /// What a name refers to that is to be removed, if it may be, and is of a kind that `fits`.
    ///
    /// # Errors
    ///
    /// As [`Self::check`], and that of `fits`.
    pub fn check_delete<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        name: Name<'_>,
        fits: impl FnOnce(FileType) -> Result<()>,
    ) -> Result<Ino> {
        let (ino, kind) = self.existing(view, dir, name)?;
        fits(kind)?;
        self.check_removable(view, ino, kind).map(|()| ino)
    }

    /// What an inode is, if it exists.
    pub(super) fn kind_of<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<FileType> {
        match self.changed(ino) {
            Some(inode) if inode.is_gone() => Err(Error::Stale),
            Some(inode) => Ok(inode.kind),
            None => base_inode(view, ino).map(|inode| inode.kind),
        }
    }

    /// How many bytes of the base's content can be seen in a file, where nothing lies over it.
    ///
    /// # Errors
    ///
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn base_visible<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<u64> {
        self.check_file(view, ino)?;
        match self.changed(ino).map(|inode| &inode.content) {
            Some(Content::File { base, .. }) => Ok(base.map_or(0, |base| base.valid)),
            Some(_) => Ok(0),
            None => base_inode(view, ino).map(|inode| inode.size),
        }
    }

    fn check_file<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<()> {
        super::regular(self.kind_of(view, ino)?)
    }

    /// What a name that must exist refers to.
    fn existing<B: Backing>(
        &self,
        view: View<'_, B>,
        dir: Ino,
        name: Name<'_>,
    ) -> Result<(Ino, FileType)> {
        self.lookup(view, dir, name.as_bytes())?.ok_or(Error::NotFound)
    }

    fn check_new<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        parent: Ino,
        name: Name<'_>,
    ) -> Result<()> {
        if self.lookup(view, parent, name.as_bytes())?.is_some() {
            return Err(Error::Exists);
        }
        // Numbers only grow, so a new one never was another file's.
        if ino.get() < self.next_ino || ino.get() >= MAX_INO {
            return Err(Error::Corrupt { what: "number of a new inode", at: ino.get() });
        }
        Ok(())
    }

    fn check_removable<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        kind: FileType,
    ) -> Result<()> {
        if ino == Ino::ROOT {
            return Err(Error::NotPermitted);
        }
        if kind == FileType::Directory && self.entry_count(view, ino)? > 0 {
            return Err(Error::NotEmpty);
        }
        Ok(())
    }

    /// A directory must not move below itself.
    fn check_move<B: Backing>(
        &mut self,
        view: View<'_, B>,
        (ino, kind): (Ino, FileType),
        from: Ino,
        to: Ino,
    ) -> Result<()> {
        if ino == Ino::ROOT {
            return Err(Error::NotPermitted);
        }
        if kind == FileType::Directory && from != to && self.lies_below(view, to, ino)? {
            return Err(Error::InvalidArgument("a directory cannot move below itself"));
        }
        Ok(())
    }

    fn check_replace<B: Backing>(
        &self,
        view: View<'_, B>,
        (ino, kind): (Ino, FileType),
        target: Option<(Ino, FileType)>,
    ) -> Result<()> {
        let Some((old, old_kind)) = target else { return Ok(()) };
        if old == ino {
            return Ok(());
        }
        match (kind == FileType::Directory, old_kind == FileType::Directory) {
            (true, false) => Err(Error::NotDirectory),
            (false, true) => Err(Error::IsDirectory),
            _ => self.check_removable(view, old, old_kind),
        }
    }
}

/// An entry repeats the inode its name refers to; it must be the one.
fn named(said: Ino, found: Ino) -> Result<()> {
    if said == found {
        Ok(())
    } else {
        Err(Error::Corrupt { what: "log entry names another inode", at: said.get() })
    }
}
