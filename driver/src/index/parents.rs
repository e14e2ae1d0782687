//! Which directory is in which: for "..", and to keep a directory out of its own descendants.
//!
//! Base inodes do not name their parent. The first question that needs it walks the base's
//! directories once and remembers the answers; mounts that never ask pay nothing.

use super::{base_inode, Index, View};
use crate::error::{Error, Result};
use crate::region::Backing;
use crate::storage::TryVec;
use daxfs_format::mode::FileType;
use daxfs_format::Ino;

/// The parents of base directories; empty until asked for.
#[derive(Default)]
pub(super) struct BaseParents(TryVec<u32>);

impl BaseParents {
    /// The directory that holds base directory `ino`; none for the root and for directories that no
    /// directory names.
    fn of<B: Backing>(&mut self, view: View<'_, B>, ino: Ino) -> Result<Option<Ino>> {
        if self.0.is_empty() {
            self.build(view)?;
        }
        let index = usize::try_from(ino.get().saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(match self.0.get(index) {
            None | Some(0) => None,
            Some(&parent) => Some(Ino::new(u64::from(parent))),
        })
    }

    /// One pass over all base directories. Each inode has one name, so together they have no more
    /// entries than there are inodes; an image with more is lying, and would take for ever.
    fn build<B: Backing>(&mut self, view: View<'_, B>) -> Result<()> {
        let count = view.base.inode_count();
        let mut parents = TryVec::new();
        parents.resize(count as usize, 0_u32)?;
        let mut left = u64::from(count);
        for number in 1..=count {
            let dir = Ino::new(u64::from(number));
            let Ok(inode) = view.base.inode(view.region, dir) else { continue };
            if inode.kind != FileType::Directory {
                continue;
            }
            for index in 0..inode.entries() {
                let Some(entry) = view.base.dirent(view.region, &inode, index)? else { break };
                left = left.checked_sub(1).ok_or(Error::Corrupt {
                    what: "more directory entries than inodes",
                    at: dir.get(),
                })?;
                if entry.kind == FileType::Directory {
                    if let Some(parent) = parents.get_mut(entry.ino.get() as usize - 1) {
                        *parent = number;
                    }
                }
            }
        }
        self.0 = parents;
        Ok(())
    }
}

impl Index {
    /// The directory that holds directory `ino`; the root holds itself.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::NotDirectory`], [`Error::Corrupt`].
    pub fn parent_of<B: Backing>(&mut self, view: View<'_, B>, ino: Ino) -> Result<Ino> {
        if ino == Ino::ROOT {
            return Ok(ino);
        }
        if let Some(inode) = self.changed(ino) {
            if inode.is_gone() {
                return Err(Error::Stale);
            }
            if let Some(parent) = inode.parent {
                return Ok(parent);
            }
        } else if base_inode(view, ino)?.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        let corrupt = Error::Corrupt { what: "directory that no directory names", at: ino.get() };
        self.base_parents.of(view, ino)?.ok_or(corrupt)
    }

    /// Whether directory `inner` is `outer` or lies below it.
    pub(super) fn lies_below<B: Backing>(
        &mut self,
        view: View<'_, B>,
        inner: Ino,
        outer: Ino,
    ) -> Result<bool> {
        let mut at = inner;
        // As many steps as there are directories, at most: an image may lie in circles.
        let directories = u64::from(view.base.inode_count()) + self.inodes.len() as u64;
        for _ in 0..=directories {
            if at == outer {
                return Ok(true);
            }
            if at == Ino::ROOT {
                return Ok(false);
            }
            at = self.parent_of(view, at)?;
        }
        Err(Error::Corrupt { what: "directories form a circle", at: inner.get() })
    }
}
