//! Contents of files: reading, and where they are.

use super::locked::Looking;
use super::state::Current;
use super::Mount;
use crate::error::{Error, Result};
use crate::index::Extent;
use crate::platform::Platform;
use crate::transfer::Sink;
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// Where pages of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// In the range, one behind the other.
    At {
        /// The first.
        at: RegionOffset,
        /// How many.
        pages: u64,
    },
    /// Nowhere: zeros.
    Hole {
        /// How many.
        pages: u64,
    },
    /// Not in one place: the page can only be read.
    Pieces,
    /// Behind the end of the file.
    End,
}

/// What [`Mount::seek`] looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seek {
    /// Bytes that are stored somewhere.
    Data,
    /// Bytes that are not, and are read as zeros.
    Hole,
}

impl<P: Platform> Looking<'_, P> {
    /// As [`Mount::read`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read(&self, ino: Ino, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.current.index.read(self.mount.volume.view(), ino, offset, into)
    }

    /// As [`Mount::read_to`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_to(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
        sink: &mut impl Sink<P::Backing>,
    ) -> Result<u64> {
        self.current.index.read_to(self.mount.volume.view(), ino, offset, len, sink)
    }

    /// As [`Mount::with_pages`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn with_pages<R>(
        &self,
        ino: Ino,
        page: u64,
        most: u64,
        look: impl FnOnce(Pages) -> R,
    ) -> Result<R> {
        let start = page.checked_mul(BLOCK_SIZE).ok_or(Error::FileTooBig)?;
        let (view, index) = (self.mount.volume.view(), &self.current.index);
        let extent = index.extent(view, ino, start, most.saturating_mul(BLOCK_SIZE))?;
        let size = index.file_size(view, ino)?;
        // What lies behind the end of a file in its last page may be mapped with it.
        let whole = |len: u64| match start.checked_add(len) {
            Some(end) if end >= size => len.div_ceil(BLOCK_SIZE),
            _ => len / BLOCK_SIZE,
        };
        Ok(look(match extent {
            Extent::End => Pages::End,
            Extent::Data { at, len } if whole(len) > 0 && at.is_aligned(BLOCK_SIZE) => {
                Pages::At { at, pages: whole(len) }
            }
            Extent::Hole { len } if whole(len) > 0 => Pages::Hole { pages: whole(len) },
            _ => Pages::Pieces,
        }))
    }

    /// As [`Mount::seek`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn seek(&self, ino: Ino, offset: u64, wanted: Seek) -> Result<Option<u64>> {
        let (view, mut at) = (self.mount.volume.view(), offset);
        loop {
            let (kind, len) = match self.current.index.extent(view, ino, at, u64::MAX)? {
                Extent::Data { len, .. } | Extent::Private { len } => (Seek::Data, len),
                Extent::Hole { len } => (Seek::Hole, len),
                Extent::End => {
                    let found = wanted == Seek::Hole && at > offset;
                    return Ok(found.then_some(at));
                }
            };
            if kind == wanted {
                return Ok(Some(at));
            }
            at = at.checked_add(len).ok_or(Error::FileTooBig)?;
        }
    }
}

impl<P: Platform> Mount<P> {
    /// Reads from file `ino` at `offset`; returns how many bytes there were. Holes are zeros.
    ///
    /// # Errors
    ///
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`] for no regular file, [`Error::Stale`],
    /// [`Error::Corrupt`].
    pub fn read(&self, ino: Ino, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.looking(|look| look.read(ino, offset, into))
    }

    /// Hands at most `len` bytes of file `ino` from `offset` on to `sink`, straight from the range;
    /// returns how many it took. Holes are zeros.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and those of the sink, unless it took something before.
    pub fn read_to(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
        sink: &mut impl Sink<P::Backing>,
    ) -> Result<u64> {
        self.looking(|look| look.read_to(ino, offset, len, sink))
    }

    /// Calls `look` with where page number `page` of file `ino` is, and at most `most` pages from it on,
    /// under the lock: they stay there until `look` returns. For mapping them.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn with_pages<R>(
        &self,
        ino: Ino,
        page: u64,
        most: u64,
        look: impl FnOnce(Pages) -> R,
    ) -> Result<R> {
        self.looking(|shared| shared.with_pages(ino, page, most, look))
    }

    /// The first place at or behind `offset` in file `ino` that is of the wanted kind; `None` if
    /// `offset` is not before the end of the file, or there is no more data. The file ends in a hole.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn seek(&self, ino: Ino, offset: u64, wanted: Seek) -> Result<Option<u64>> {
        self.looking(|look| look.seek(ino, offset, wanted))
    }

    /// Where the content of file `ino` at `offset` is, for reading it straight from the range.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn extent(&self, ino: Ino, offset: u64) -> Result<Extent> {
        self.reading(|current| current.index.extent(self.volume.view(), ino, offset, u64::MAX))
    }

    /// The size of a regular file.
    pub(super) fn file_size(&self, current: &Current, ino: Ino) -> Result<u64> {
        current.index.file_size(self.volume.view(), ino)
    }
}
