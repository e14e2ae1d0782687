//! The private index of a mount: everything its branch and the branch's ancestors say, flattened.
//!
//! Looking something up costs the same whatever the depth of the branch and the length of its logs.
//! The index changes in one way only, by [`Index::apply`] of a log entry: live operations and
//! replay go through the same code, so what is found after a remount is what was there before.
//!
//! # Module structure
//!
//! | module | what it owns |
//! |---|---|
//! | `names` | changed directory entries |
//! | `inode` | changed inodes |
//! | `pages` | changed pages of files |
//! | `lookup` | names, changed or not |
//! | `content` | what files are made of, changed or not |
//! | `check` | whether an entry makes sense now |
//! | `apply` | what an entry does |
//! | `parents` | which directory is in which |
//! | `snapshot` | the whole as log entries, and back |
//! | `text` | the bytes of names |

mod apply;
mod check;
mod content;
pub mod inode;
mod lookup;
pub mod names;
pub mod pages;
mod parents;
mod snapshot;
mod text;

pub use content::Extent;

use crate::base::{self, Base};
use crate::error::{Error, Result};
use crate::index::inode::{Attributes, BaseContent, Content, Inode};
use crate::index::names::Names;
use crate::index::pages::{PageArena, PageMap};
use crate::region::{Backing, Region};
use crate::storage::{Chunks, Slab, Table, TryVec};
use core::sync::atomic::{AtomicBool, Ordering};
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, Timestamp, BLOCK_SIZE};
use parents::BaseParents;
use snapshot::Loading;

/// What the index reads below its own changes: the range and the base image in it.
pub struct View<'r, B: Backing> {
    /// The range.
    pub region: &'r Region<B>,
    /// The base image.
    pub base: &'r Base,
}

impl<B: Backing> Clone for View<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backing> Copy for View<'_, B> {}

/// A page of private memory, for content that came inline in a log: as many bytes as a page has.
pub type PrivatePage = TryVec<u8>;

/// The flattened changes of a branch and its ancestors.
pub struct Index {
    inodes: Slab<Inode>,
    by_ino: Table,
    /// The place of the inode that was last changed, if it is still there: the next to be looked for, as a
    /// rule.
    recent: u32,
    names: Names,
    pages: PageArena,
    private: Chunks<PrivatePage>,
    /// Private pages a log may still make; bounds what a hostile log can cost.
    private_left: u64,
    base_parents: BaseParents,
    /// A snapshot that is not complete yet.
    loading: Option<Loading>,
    /// Whether there may be inodes with writes that the log does not know.
    has_unlogged: AtomicBool,
    next_ino: u64,
    seed: u64,
}

/// What becomes of a file whose last name is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    /// It is gone.
    Forgotten,
    /// It stays until [`Index::forget`].
    Kept,
}

impl Index {
    /// An index without changes over `base`. `seed` seeds its hash tables; at most `private_pages`
    /// pages of inline content will be kept.
    #[must_use]
    pub fn new(base: &Base, seed: u64, private_pages: u64) -> Self {
        Self {
            inodes: Slab::default(),
            by_ino: Table::default(),
            recent: 0,
            names: Names::new(seed),
            pages: PageArena::default(),
            private: Chunks::default(),
            private_left: private_pages,
            base_parents: BaseParents::default(),
            loading: None,
            has_unlogged: AtomicBool::new(false),
            next_ino: u64::from(base.inode_count()) + 1,
            seed,
        }
    }

    /// Forgets everything: as [`Self::new`], in place.
    #[inline(never)]
    pub fn clear(&mut self, base: &Base, seed: u64, private_pages: u64) {
        *self = Self::new(base, seed, private_pages);
    }

    /// The lowest inode number never used.
    #[must_use]
    pub const fn next_ino(&self) -> Ino {
        Ino::new(self.next_ino)
    }

    /// Numbers below `ino` have been used.
    pub fn raise_next_ino(&mut self, ino: Ino) {
        self.next_ino = self.next_ino.max(ino.get());
    }

    /// The changed or new inode `ino`, if it is one. A deleted base inode is found with link
    /// count 0.
    #[must_use]
    pub fn changed(&self, ino: Ino) -> Option<&Inode> {
        match self.inodes.get(self.recent) {
            Some(inode) if inode.ino == ino => Some(inode),
            _ => self.inodes.get(self.find(ino)?),
        }
    }

    /// What `stat` says about `ino`.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] for an inode that does not exist (any more), [`Error::Corrupt`].
    pub fn attributes<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<Attributes> {
        match self.changed(ino) {
            Some(inode) if inode.is_gone() => Err(Error::Stale),
            Some(inode) => Ok(inode.attributes(self.names.entry_count(inode))),
            None => Ok(Attributes::of_base(&base_inode(view, ino)?)),
        }
    }

    /// Copies the target of symbolic link `ino` into `into`; returns its length, of which at most
    /// `into.len()` bytes were copied.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for another kind of inode, [`Error::Stale`], [`Error::Corrupt`].
    pub fn symlink_target<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        into: &mut [u8],
    ) -> Result<usize> {
        if let Some(inode) = self.changed(ino) {
            if inode.is_gone() {
                return Err(Error::Stale);
            }
            if let Content::Symlink(target) = &inode.content {
                for (to, from) in into.iter_mut().zip(target.iter()) {
                    *to = *from;
                }
                return Ok(target.len());
            }
        }
        let inode = base_inode(view, ino)?;
        if inode.kind != FileType::Symlink {
            return Err(Error::InvalidArgument("not a symbolic link"));
        }
        view.base.symlink_target(view.region, &inode, into)
    }

    /// Whether `ino` is a file without a name.
    #[must_use]
    pub fn is_orphan(&self, ino: Ino) -> bool {
        self.changed(ino).is_some_and(|inode| inode.orphan)
    }

    /// The content of a file was written to in place.
    pub fn note_write(&self, inode: &Inode, time: Timestamp) {
        inode.note_write(time);
        // Relaxed: as in the inode.
        self.has_unlogged.store(true, Ordering::Relaxed);
    }

    /// Files with a name that were written to later than the log says, and when. They are told once,
    /// unless [`Self::keep_unlogged`] follows.
    pub fn take_unlogged(&mut self) -> impl Iterator<Item = (Ino, Timestamp)> + '_ {
        // Where nothing was written in place, as in most branches, nothing has to be looked for.
        let some = core::mem::take(self.has_unlogged.get_mut());
        let inodes = some.then(|| self.inodes.iter().map(|(_, inode)| inode));
        inodes
            .into_iter()
            .flatten()
            .filter(|inode| inode.nlink > 0)
            .filter_map(|inode| inode.unlogged_write().map(|time| (inode.ino, time)))
    }

    /// What [`Self::take_unlogged`] told did not get into the log.
    pub fn keep_unlogged(&mut self) {
        *self.has_unlogged.get_mut() = true;
    }

    /// About how many bytes of log a snapshot of this index takes: a cheap estimate, not too low.
    #[must_use]
    pub fn snapshot_size(&self) -> u64 {
        let (inodes, names) = self.counts();
        // An inode entry with one extent, a name entry with a name of average length; further
        // extents are bounded by the nodes of the page maps, which are 256 bytes each.
        inodes as u64 * 168 + names as u64 * 72 + self.pages.memory() as u64 / 4
    }

    /// Bytes of private memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inodes.memory()
            + self.by_ino.memory()
            + self.names.memory()
            + self.pages.memory()
            + self.private.memory()
            + self.private.len().saturating_mul(BLOCK_SIZE as usize)
    }

    /// Changed inodes and changed names.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.inodes.len(), self.names.len())
    }

    fn id_of(&self, ino: Ino) -> Option<u32> {
        match self.inodes.get(self.recent) {
            Some(inode) if inode.ino == ino => Some(self.recent),
            _ => self.find(ino),
        }
    }

    fn find(&self, ino: Ino) -> Option<u32> {
        self.by_ino.find(spread(self.seed, ino), |id| {
            self.inodes.get(id).is_some_and(|inode| inode.ino == ino)
        })
    }

    /// The private copy of an inode, made now if there is none.
    fn copy_up<B: Backing>(&mut self, view: View<'_, B>, ino: Ino) -> Result<u32> {
        if let Some(id) = self.id_of(ino) {
            self.recent = id;
            return Ok(id);
        }
        let base = base_inode(view, ino)?;
        let content = self.base_content(&base)?;
        self.insert(Inode::from_base(&base, content))
    }

    /// What a private copy of a base inode starts with.
    fn base_content(&mut self, base: &base::Inode) -> Result<Content> {
        Ok(match base.kind {
            FileType::Regular => Content::File {
                pages: PageMap::default(),
                base: Some(BaseContent { data: base.data, valid: base.size }),
            },
            FileType::Directory => Content::Directory(self.names.open(Some(*base))?),
            _ => Content::None,
        })
    }

    /// What a new inode starts with. `target` is a symbolic link's.
    fn new_content(&mut self, kind: FileType, target: TryVec<u8>) -> Result<Content> {
        Ok(match kind {
            FileType::Regular => Content::File { pages: PageMap::default(), base: None },
            FileType::Directory => Content::Directory(self.names.open(None)?),
            FileType::Symlink => Content::Symlink(target),
            _ => Content::None,
        })
    }

    fn insert(&mut self, inode: Inode) -> Result<u32> {
        self.by_ino.reserve(1)?;
        let ino = inode.ino;
        let id = self.inodes.insert(inode)?;
        self.by_ino.insert(spread(self.seed, ino), id)?;
        Ok(id)
    }
}

/// Inode numbers are handed out in order, and used in about that order: eight neighbours keep together,
/// in one line of the cache. One multiplication spreads the eights well; the seed keeps a log that
/// makes up numbers from making them collide.
const fn spread(seed: u64, ino: Ino) -> u64 {
    let eight = ((ino.get() >> 3) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (eight & !7) | (ino.get() & 7)
}

fn regular(kind: FileType) -> Result<()> {
    match kind {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Error::IsDirectory),
        _ => Err(Error::InvalidArgument("not a regular file")),
    }
}

/// A base inode, where a caller names one that must exist.
fn base_inode<B: Backing>(view: View<'_, B>, ino: Ino) -> Result<base::Inode> {
    match view.base.inode(view.region, ino) {
        Err(Error::NotFound) => Err(Error::Stale),
        other => other,
    }
}

fn base_directory<B: Backing>(view: View<'_, B>, ino: Ino) -> Result<base::Inode> {
    let inode = base_inode(view, ino)?;
    if inode.kind == FileType::Directory {
        Ok(inode)
    } else {
        Err(Error::NotDirectory)
    }
}
