//! What files are made of: changed pages over the base's content.

use super::inode::{BaseContent, Content, Inode};
use super::pages::{PageRef, Walk};
use super::{base_inode, regular, Index, View};
use crate::error::{Error, Result};
use crate::region::Backing;
use crate::space::Space;
use crate::transfer::{Buffer, Sink};
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

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

/// What a regular file is made of.
struct File<'i> {
    size: u64,
    /// Changed pages.
    pages: Option<Walk<'i>>,
    /// What lies under them.
    base: Option<BaseContent>,
}

impl File<'_> {
    /// As [`Index::extent`].
    #[inline(always)]
    fn extent(&mut self, offset: u64, most: u64) -> Result<Extent> {
        let Some(left) = self.size.checked_sub(offset).filter(|&left| left > 0) else {
            return Ok(Extent::End);
        };
        let mut left = left.min(most.max(1));
        if let Some(pages) = &mut self.pages {
            let (page, within) = (offset / BLOCK_SIZE, offset % BLOCK_SIZE);
            let max = within.saturating_add(left).div_ceil(BLOCK_SIZE);
            if let Some((first, run)) = pages.run(page, max) {
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
            if let Some(next) = pages.first_mapped(page, page.saturating_add(max)) {
                left = left.min(next * BLOCK_SIZE - offset);
            }
        }
        if let Some(base) = self.base {
            if let Some(valid) = base.valid.checked_sub(offset).filter(|&valid| valid > 0) {
                return Ok(Extent::Data { at: forward(base.data, offset)?, len: valid.min(left) });
            }
        }
        Ok(Extent::Hole { len: left })
    }
}

impl Index {
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
        self.file(view, ino)?.extent(offset, most)
    }

    /// What regular file `ino` is made of.
    #[inline]
    fn file<B: Backing>(&self, view: View<'_, B>, ino: Ino) -> Result<File<'_>> {
        let Some(inode) = self.changed(ino) else {
            let inode = base_inode(view, ino)?;
            regular(inode.kind)?;
            let base = BaseContent { data: inode.data, valid: inode.size };
            return Ok(File { size: inode.size, pages: None, base: Some(base) });
        };
        if inode.is_gone() {
            return Err(Error::Stale);
        }
        regular(inode.kind)?;
        let Content::File { pages, base } = &inode.content else {
            return Err(Error::InvalidArgument("not a regular file"));
        };
        Ok(File { size: inode.size, pages: Some(self.pages.walk(pages)), base: *base })
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
        // Reading nothing still needs something to read from.
        let mut file = self.file(view, ino)?;
        let mut done = 0;
        while done < len {
            let Some(at) = offset.checked_add(done) else { break };
            let wanted = len - done;
            let (put, piece) = match file.extent(at, wanted)? {
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

    /// Which pages of a changed inode were changed, if it is a regular file.
    #[must_use]
    pub fn pages_of<'i>(&'i self, inode: &'i Inode) -> Option<Walk<'i>> {
        match &inode.content {
            Content::File { pages, .. } => Some(self.pages.walk(pages)),
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

    /// Bytes of a private page of a file.
    fn private_bytes(&self, ino: Ino, offset: u64, len: u64) -> Result<&[u8]> {
        let Some(PageRef::Private(id)) = self.page(ino, offset / BLOCK_SIZE) else {
            return Err(Error::Stale);
        };
        let start = (offset % BLOCK_SIZE) as usize;
        let page = self.private.get(id as usize);
        page.and_then(|page| page.get(start..start + len as usize)).ok_or(Error::Stale)
    }
}

/// A page of the range holds one page of one file, so there are no more of these than of those (and
/// as many again in private memory, at most). A log that says otherwise would cost memory without
/// end.
pub(super) fn check_mapped<B: Backing>(view: View<'_, B>, mapped: u64) -> Result<()> {
    if mapped > view.region.size() / BLOCK_SIZE * 2 {
        return Err(Error::Corrupt { what: "more pages of files than of the range", at: mapped });
    }
    Ok(())
}

fn forward(at: RegionOffset, bytes: u64) -> Result<RegionOffset> {
    at.checked_add(bytes).ok_or(Error::OutOfBounds { offset: at.get(), len: bytes })
}
