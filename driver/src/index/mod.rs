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
//! | `check` | whether an entry makes sense now |
//! | `apply` | what an entry does |
//! | `parents` | which directory is in which |
//! | `snapshot` | the whole as log entries, and back |
//! | `text` | the bytes of names |

mod apply;
mod check;
pub mod inode;
pub mod names;
pub mod pages;
mod parents;
mod snapshot;
mod text;

use crate::base::{self, Base};
use crate::error::{Error, Result};
use crate::index::inode::{Attributes, BaseContent, Content, Inode};
use crate::index::names::{DirEntry, Directory, Names, Target, CHANGED_COOKIE};
use crate::index::pages::{PageArena, PageMap, PageRef};
use crate::region::{Backing, Region};
use crate::space::Space;
use crate::storage::{Chunks, Slab, Table, TryVec};
use crate::transfer::{Buffer, Sink};
use core::sync::atomic::{AtomicBool, Ordering};
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, RegionOffset, Timestamp, BLOCK_SIZE};
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

/// Where the content of a file at some offset is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// In the range.
    Data {
        /// Where.
        at: RegionOffset,
        /// For how many bytes.
        len: u64,
    },
    /// Nowhere: zeros.
    Hole {
        /// For how many bytes.
        len: u64,
    },
    /// In private memory (inline writes of a v3 log): only reading gets at it.
    Private {
        /// For how many bytes.
        len: u64,
    },
    /// The file ends here.
    End,
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
        let base = match self.changed(dir) {
            Some(inode) if inode.is_gone() => return Err(Error::Stale),
            Some(inode) => {
                let directory = self.names.directory(inode)?;
                match self.names.find(dir, name) {
                    Some(Target::Whiteout) => return Ok(None),
                    Some(Target::Inode(ino, kind)) => return Ok(Some((ino, kind))),
                    None => directory.base,
                }
            }
            None => Some(base_directory(view, dir)?),
        };
        match base {
            Some(base) => base_entry(view, &base, name),
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
                    let hidden = names.is_some() && self.names.find(dir, name).is_some();
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

    /// Where the content of file `ino` at `offset` is, and for how long it is there in one piece.
    /// It is not looked further than `most` bytes: finding the end of a long piece takes time.
    ///
    /// # Errors
    ///
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn extent<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        offset: u64,
        most: u64,
    ) -> Result<Extent> {
        let Some(inode) = self.changed(ino) else {
            let inode = base_inode(view, ino)?;
            regular(inode.kind)?;
            return Ok(match inode.size.checked_sub(offset) {
                None | Some(0) => Extent::End,
                Some(left) => {
                    Extent::Data { at: forward(inode.data, offset)?, len: left.min(most.max(1)) }
                }
            });
        };
        if inode.is_gone() {
            return Err(Error::Stale);
        }
        regular(inode.kind)?;
        let Content::File { pages, base } = &inode.content else {
            return Err(Error::InvalidArgument("not a regular file"));
        };
        let Some(left) = inode.size.checked_sub(offset).filter(|&left| left > 0) else {
            return Ok(Extent::End);
        };
        let left = left.min(most.max(1));
        let (page, within) = (offset / BLOCK_SIZE, offset % BLOCK_SIZE);
        let max = within.saturating_add(left).div_ceil(BLOCK_SIZE);
        if let Some((first, run)) = self.pages.run(pages, page, max) {
            let len = (run * BLOCK_SIZE - within).min(left);
            return Ok(match first {
                PageRef::Region(at) => {
                    let at = RegionOffset::new(u64::from(at) * BLOCK_SIZE + within);
                    Extent::Data { at, len }
                }
                PageRef::Private(_) => Extent::Private { len: len.min(BLOCK_SIZE - within) },
            });
        }
        // Nothing changed here; up to the next changed page the base decides.
        let next = self.pages.first_mapped(pages, page, page.saturating_add(max));
        let left = next.map_or(left, |next| (next * BLOCK_SIZE - offset).min(left));
        if let Some(base) = base {
            if let Some(valid) = base.valid.checked_sub(offset).filter(|&v| v > 0) {
                return Ok(Extent::Data { at: forward(base.data, offset)?, len: valid.min(left) });
            }
        }
        Ok(Extent::Hole { len: left })
    }

    /// Reads from file `ino` at `offset`; returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// As [`Self::extent`].
    pub fn read<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize> {
        let len = into.len();
        let read = self.read_to(view, ino, offset, len as u64, &mut Buffer::new(into))?;
        Ok(usize::try_from(read).map_or(len, |read| read.min(len)))
    }

    /// Hands at most `len` bytes of file `ino` from `offset` on to `sink`, piece by piece; returns how
    /// many it took.
    ///
    /// # Errors
    ///
    /// As [`Self::extent`], and those of the sink, unless it took something before.
    pub fn read_to<B: Backing>(
        &self,
        view: View<'_, B>,
        ino: Ino,
        offset: u64,
        len: u64,
        sink: &mut impl Sink<B>,
    ) -> Result<u64> {
        let mut done = 0;
        if len == 0 {
            // Reading nothing still needs something to read from.
            self.extent(view, ino, offset, 1)?;
        }
        while done < len {
            let Some(at) = offset.checked_add(done) else { break };
            let wanted = len - done;
            let (put, piece) = match self.extent(view, ino, at, wanted)? {
                Extent::End => break,
                Extent::Data { at, len } => {
                    let piece = len.min(wanted);
                    (sink.put(view.region.slice(at, piece)?), piece)
                }
                Extent::Hole { len } => {
                    let piece = len.min(wanted);
                    (sink.put_zeros(piece), piece)
                }
                Extent::Private { len } => {
                    let piece = len.min(wanted);
                    (sink.put_private(self.private_bytes(ino, at, piece)?), piece)
                }
            };
            match put {
                Ok(count) => {
                    done += count.min(piece);
                    if count < piece {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The size of regular file `ino`.
    ///
    /// # Errors
    ///
    /// As [`Self::extent`].
    pub fn file_size<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<u64> {
        let (kind, size) = match self.changed(ino) {
            Some(inode) if inode.is_gone() => return Err(Error::Stale),
            Some(inode) => (inode.kind, inode.size),
            None => base_inode(view, ino).map(|inode| (inode.kind, inode.size))?,
        };
        regular(kind).map(|()| size)
    }

    /// Where page number `page` of file `ino` is, if it was changed.
    #[must_use]
    pub fn page(&self, ino: Ino, page: u64) -> Option<PageRef> {
        match &self.changed(ino)?.content {
            Content::File { pages, .. } => self.pages.get(pages, page),
            _ => None,
        }
    }

    /// Like [`Self::page`], with the number of pages, `max` at most, that follow in the range.
    #[must_use]
    pub fn page_run(&self, ino: Ino, page: u64, max: u64) -> Option<(PageRef, u64)> {
        match &self.changed(ino)?.content {
            Content::File { pages, .. } => self.pages.run(pages, page, max),
            _ => None,
        }
    }

    /// How many pages from `page` on, which is one, are in no map, `max` at most: holes, or the base's.
    #[must_use]
    pub fn unmapped_run(&self, ino: Ino, page: u64, max: u64) -> u64 {
        let end = page.saturating_add(max);
        let mapped = match self.changed(ino).map(|inode| &inode.content) {
            Some(Content::File { pages, .. }) => self.pages.first_mapped(pages, page, end),
            _ => None,
        };
        mapped.unwrap_or(end).saturating_sub(page).max(1)
    }

    /// Calls `each` for every run of pages of a file that lies in the range: whose it is, its first page,
    /// how many, and where.
    ///
    /// # Errors
    ///
    /// What `each` returns.
    pub fn for_each_run(
        &self,
        mut each: impl FnMut(Ino, u64, u64, RegionOffset) -> Result<()>,
    ) -> Result<()> {
        for (_, inode) in self.inodes.iter() {
            let Content::File { pages: map, .. } = &inode.content else { continue };
            let mut from = 0;
            while let Some(page) = self.pages.first_mapped(map, from, u64::MAX / BLOCK_SIZE) {
                let Some((first, pages)) = self.pages.run(map, page, u64::from(u32::MAX)) else {
                    break;
                };
                if let PageRef::Region(number) = first {
                    let at = RegionOffset::new(u64::from(number) * BLOCK_SIZE);
                    each(inode.ino, page, pages, at)?;
                }
                from = page.saturating_add(pages);
            }
        }
        Ok(())
    }

    /// Pages of file `ino` from `page` on are at `at` now, with the same content.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::Corrupt`].
    pub fn relocate<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: &mut Space,
        ino: Ino,
        (page, pages): (u64, u64),
        at: RegionOffset,
    ) -> Result<()> {
        self.pages.reserve(pages)?;
        let (from, to) = (page.saturating_mul(BLOCK_SIZE), page.saturating_add(pages));
        let id = self.copy_up(view, ino)?;
        self.map_pages(view, Some(space), id, from, to.saturating_mul(BLOCK_SIZE), at)
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

    /// Bytes of a private page of a file.
    fn private_bytes(&self, ino: Ino, offset: u64, len: u64) -> Result<&[u8]> {
        let Some(PageRef::Private(id)) = self.page(ino, offset / BLOCK_SIZE) else {
            return Err(Error::Stale);
        };
        let start = (offset % BLOCK_SIZE) as usize;
        let page = self.private.get(id as usize);
        page.and_then(|page| page.get(start..start + len as usize)).ok_or(Error::Stale)
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

/// A page of the range holds one page of one file, so there are no more of these than of those (and
/// as many again in private memory, at most). A log that says otherwise would cost memory without
/// end.
fn check_mapped<B: Backing>(view: View<'_, B>, mapped: u64) -> Result<()> {
    if mapped > view.region.size() / BLOCK_SIZE * 2 {
        return Err(Error::Corrupt { what: "more pages of files than of the range", at: mapped });
    }
    Ok(())
}

fn forward(at: RegionOffset, bytes: u64) -> Result<RegionOffset> {
    at.checked_add(bytes).ok_or(Error::OutOfBounds { offset: at.get(), len: bytes })
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

/// A name of a base directory. The type is the inode's, not the entry's: the entry's is a hint.
fn base_entry<B: Backing>(
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
