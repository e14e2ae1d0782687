//! Contents of files: writing, growing and shrinking.
//!
//! The first write to a page copies it into the branch; later writes go to that page in place and
//! leave no log entry, unless they make the file longer.
//!
//! # Invariants
//!
//! What lies behind a file's end in its last page is not defined; it is zeroed when the file grows
//! over it, before the new size is published.

use super::state::{Company, Current};
use super::{Mount, State};
use crate::error::{Error, Result};
use crate::index::inode::Attributes;
use crate::index::pages::PageRef;
use crate::index::Extent;
use crate::log::entry::{Entry, Operation, WriteSource, MAX_FILE_SIZE};
use crate::log::writer::Reserve;
use crate::platform::{Lock, Platform};
use crate::space::Space;
use crate::storage::TryVec;
use crate::transfer::{Bytes, Source};
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// Longest write by one log entry: its length field has 32 bits.
const MAX_PIECE: u64 = 1 << 30;

impl<P: Platform> Mount<P> {
    /// Makes page number `page` of file `ino` one that this branch may write to in place, by copying
    /// it unless it is, and calls `look` with where it is, under the lock. For stores through mappings.
    /// `check` is asked first, under the lock, too.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; [`Error::InvalidArgument`] for a page behind the end of the file.
    pub fn own_page<R>(
        &self,
        ino: Ino,
        page: u64,
        check: impl Fn() -> Result<()>,
        look: impl FnOnce(RegionOffset) -> R,
    ) -> Result<R> {
        {
            let state = self.state.read();
            check()?;
            let current = &state.current;
            if current.is_fresh(&self.volume)? && current.check_writable().is_ok() {
                let inside = current.index.changed(ino).is_some_and(|inode| {
                    !inode.is_gone() && page < inode.size.div_ceil(BLOCK_SIZE)
                });
                if let (true, Some((at, _))) = (inside, self.owned_run(current, ino, page, 1)?) {
                    self.note_write(current, ino)?;
                    return Ok(look(at));
                }
            }
        }
        self.writing(|current, company| {
            check()?;
            let size = self.file_size(current, ino)?;
            let start = page.checked_mul(BLOCK_SIZE).filter(|&start| start < size);
            let start = start.ok_or(Error::InvalidArgument("page behind the end of the file"))?;
            if let Some((at, _)) = self.owned_run(current, ino, page, 1)? {
                self.note_write(current, ino)?;
                return Ok(look(at));
            }
            let at =
                self.copy_page(current, company, ino, (start, BLOCK_SIZE.min(size - start)))?;
            Ok(look(at))
        })
    }

    /// File `ino` may have been stored to through mappings of pages that [`Self::own_page`] gave: it is
    /// modified now, and the mappings are taken down, so that later stores ask again. `check` is asked
    /// first, under the lock.
    ///
    /// # Errors
    ///
    /// As [`Self::write`], and that of `check`.
    pub fn stored(&self, ino: Ino, check: impl FnOnce() -> Result<()>) -> Result<()> {
        self.writing(|current, _| {
            check()?;
            self.note_write(current, ino)?;
            self.volume.platform.moved(ino, 0..u64::MAX);
            Ok(())
        })
    }

    /// Gives up file `ino`, whose last name this mount has removed, and its space: nobody uses it any
    /// more. Does nothing about other files. Only where [`Platform::KEEPS_REMOVED`]. `check` is asked
    /// first, with the lock held.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`], that of `check`.
    pub fn forget(&self, ino: Ino, check: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state.write();
        check()?;
        let State { current, company, .. } = &mut *state;
        current.forget(&self.volume, company, ino)
    }

    /// Writes to file `ino` at `offset`; returns how many bytes were written, all unless the region
    /// filled up on the way.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Frozen`], [`Error::NoSpace`], [`Error::FileTooBig`],
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`] for no regular file, [`Error::Stale`],
    /// [`Error::NoMemory`], [`Error::Corrupt`].
    pub fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<usize> {
        let (written, _) = self.write_from(ino, offset, &mut Bytes::new(data))?;
        Ok(written as usize)
    }

    /// Writes what `source` gives to file `ino` at `offset`, straight to the range; returns how many
    /// bytes were written (all it has, unless it stops giving, or the region fills up on the way) and
    /// what `stat` says about the file then.
    ///
    /// # Errors
    ///
    /// As [`Self::write`], and those of the source, unless something was written before.
    pub fn write_from(
        &self,
        ino: Ino,
        offset: u64,
        source: &mut impl Source<P::Backing>,
    ) -> Result<(u64, Attributes)> {
        if let Some(written) = self.rewrite(ino, offset, source)? {
            return Ok(written);
        }
        self.writing(|current, company| {
            source.check()?;
            let written = self.write_at(current, company, ino, offset, source)?;
            Ok((written, current.index.attributes(self.volume.view(), ino)?))
        })
    }

    /// Writes over pages that this branch owns, inside of the file, which changes no more than their
    /// content: those who do that share the lock with those who read. `None` if it takes more, and
    /// nothing was done.
    fn rewrite(
        &self,
        ino: Ino,
        offset: u64,
        source: &mut impl Source<P::Backing>,
    ) -> Result<Option<(u64, Attributes)>> {
        let state = self.state.read();
        let current = &state.current;
        source.check()?;
        let Some(inode) = current.index.changed(ino).filter(|inode| !inode.is_gone()) else {
            return Ok(None);
        };
        let end = offset.checked_add(source.left()).filter(|&end| end <= inode.size);
        let Some(end) = end.filter(|&end| end > offset) else { return Ok(None) };
        if !current.is_fresh(&self.volume)? || current.check_writable().is_err() {
            return Ok(None);
        }
        let Some(mut pages) = current.index.pages_of(inode) else { return Ok(None) };
        let space = &current.writing.as_ref().ok_or(Error::ReadOnly)?.space;
        let mut run = |at: u64| -> Option<(RegionOffset, u64)> {
            let (page, within) = (at / BLOCK_SIZE, at % BLOCK_SIZE);
            let wanted = (within + (end - at).min(MAX_PIECE)).div_ceil(BLOCK_SIZE);
            let (start, run) = owned_part(space, pages.run(page, wanted))?;
            Some((start.checked_add(within)?, (run * BLOCK_SIZE - within).min(end - at)))
        };
        let first = run(offset);
        let mut at = offset;
        while at < end {
            match if at == offset { first } else { run(at) } {
                Some((_, len)) => at += len,
                None => return Ok(None),
            }
        }
        let mut at = offset;
        while at < end {
            let piece = if at == offset { first } else { run(at) };
            let Some((start, len)) = piece else { break };
            match self.volume.region.slice_mut(start, len).and_then(|into| source.take(into)) {
                Ok(taken) => {
                    at += taken.min(len);
                    if taken < len {
                        break;
                    }
                }
                Err(_) if at > offset => break,
                Err(error) => return Err(error),
            }
        }
        if at > offset {
            current.index.note_write(inode, self.volume.platform.now());
        }
        // It is a file, which has no entries.
        Ok(Some((at - offset, inode.attributes(0))))
    }

    /// Writes at the end of file `ino`, wherever that is; returns where, and how many bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn append(&self, ino: Ino, data: &[u8]) -> Result<(u64, usize)> {
        self.writing(|current, company| {
            let end = self.file_size(current, ino)?;
            let written = self.write_at(current, company, ino, end, &mut Bytes::new(data))?;
            Ok((end, written as usize))
        })
    }

    pub(super) fn write_at(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        offset: u64,
        source: &mut impl Source<P::Backing>,
    ) -> Result<u64> {
        let size = self.file_size(current, ino)?;
        let end = offset.checked_add(source.left()).filter(|&end| end <= MAX_FILE_SIZE);
        let end = end.ok_or(Error::FileTooBig)?;
        if offset == end {
            return Ok(0);
        }
        if offset > size {
            self.zero_tail(current, company, ino, size)?;
            // Base data behind the end, which a mapping could still show, is a hole from now on.
            let page = size / BLOCK_SIZE;
            self.volume.platform.moved(ino, page..page + 1);
        }
        let mut at = offset;
        while at < end {
            match self.write_piece(current, company, ino, at, end - at, source) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(_) if at > offset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(at - offset)
    }

    /// Writes what goes to one place, of at most `left` bytes: in place to pages this branch owns, else
    /// to new pages. Returns how many bytes that was; none only if the source gives none.
    fn write_piece(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        offset: u64,
        left: u64,
        source: &mut impl Source<P::Backing>,
    ) -> Result<u64> {
        let (page, within) = (offset / BLOCK_SIZE, offset % BLOCK_SIZE);
        let wanted = left.min(MAX_PIECE);
        let pages = (within + wanted).div_ceil(BLOCK_SIZE);
        match self.owned_run(current, ino, page, pages)? {
            Some((start, run)) => {
                let len = (run * BLOCK_SIZE - within).min(wanted);
                self.write_in_place(current, company, ino, (offset, len), start, source)
            }
            None => {
                let fresh = self.fresh_run(current, ino, page, pages)?;
                self.write_new(current, company, ino, (offset, wanted), fresh, source)
            }
        }
    }

    /// The page of the range that holds `page` of the file, and how many follow it there, if this
    /// branch owns them.
    fn owned_run(
        &self,
        current: &Current,
        ino: Ino,
        page: u64,
        max: u64,
    ) -> Result<Option<(RegionOffset, u64)>> {
        let found = current.index.page_run(ino, page, max);
        let space = &current.writing.as_ref().ok_or(Error::ReadOnly)?.space;
        Ok(owned_part(space, found))
    }

    /// How many pages of the file from `page` on, which this branch does not own, `max` at most, there are
    /// until the next one that it does.
    fn fresh_run(&self, current: &Current, ino: Ino, page: u64, max: u64) -> Result<u64> {
        let mut fresh = 0;
        if max == 1 {
            return Ok(1);
        }
        while fresh < max {
            let here = page.checked_add(fresh).ok_or(Error::FileTooBig)?;
            let Some((at, run)) = current.index.page_run(ino, here, max - fresh) else {
                fresh += current.index.unmapped_run(ino, here, max - fresh);
                continue;
            };
            if self.owned_run(current, ino, here, 1)?.is_some() {
                break;
            }
            // What a segment holds is owned as a whole.
            let space = &current.writing.as_ref().ok_or(Error::ReadOnly)?.space;
            fresh += match at {
                PageRef::Region(at) => {
                    space.pages_in_segment(RegionOffset::new(u64::from(at) * BLOCK_SIZE), run)
                }
                PageRef::Private(_) => 1,
            };
        }
        Ok(fresh)
    }

    fn write_in_place(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        (offset, len): (u64, u64),
        start: RegionOffset,
        source: &mut impl Source<P::Backing>,
    ) -> Result<u64> {
        let at = start.checked_add(offset % BLOCK_SIZE).ok_or(Error::FileTooBig)?;
        let len = source.take(self.volume.region.slice_mut(at, len)?)?.min(len);
        if len == 0 {
            return Ok(0);
        }
        if offset + len > current.index.changed(ino).ok_or(Error::Stale)?.size {
            let time = self.volume.platform.now();
            let source = WriteSource::Pages(start);
            let operation = Operation::Write { offset, len: len as u32, source };
            let entry = Entry { ino, time, operation };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)?;
        } else {
            self.note_write(current, ino)?;
        }
        Ok(len)
    }

    fn note_write(&self, current: &Current, ino: Ino) -> Result<()> {
        let inode = current.index.changed(ino).ok_or(Error::Stale)?;
        current.index.note_write(inode, self.volume.platform.now());
        Ok(())
    }

    /// Writes at most `left` bytes to new pages, `pages` at most, and publishes them.
    fn write_new(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        (offset, left): (u64, u64),
        pages: u64,
        source: &mut impl Source<P::Backing>,
    ) -> Result<u64> {
        let (region, within) = (&self.volume.region, offset % BLOCK_SIZE);
        let branch = current.branch.ok_or(Error::ReadOnly)?.id;
        let writing = current.writing.as_mut().ok_or(Error::ReadOnly)?;
        let run = writing.space.allocate(region, branch, pages)?;
        let len = (run.pages * BLOCK_SIZE - within).min(left);
        let filled = self.fill_new(current, ino, (offset, len), run.start, source);
        let published = filled.and_then(|len| {
            if len > 0 {
                let time = self.volume.platform.now();
                let source = WriteSource::Pages(run.start);
                let operation = Operation::Write { offset, len: len as u32, source };
                let entry = Entry { ino, time, operation };
                current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)?;
            }
            Ok(len)
        });
        if !matches!(published, Ok(1..)) {
            if let Some(writing) = &mut current.writing {
                writing.space.give_up();
            }
        }
        published
    }

    /// Fills new pages: with what the source gives, and around it what the file had there before.
    /// Returns how many bytes it gave.
    fn fill_new(
        &self,
        current: &Current,
        ino: Ino,
        (offset, len): (u64, u64),
        start: RegionOffset,
        source: &mut impl Source<P::Backing>,
    ) -> Result<u64> {
        let within = offset % BLOCK_SIZE;
        let at = start.checked_add(within).ok_or(Error::FileTooBig)?;
        let len = source.take(self.volume.region.slice_mut(at, len)?)?.min(len);
        if len == 0 {
            return Ok(0);
        }
        self.copy_old(current, ino, (offset - within, within), start)?;
        let end = offset + len;
        let behind = end.div_ceil(BLOCK_SIZE) * BLOCK_SIZE - end;
        let at = at.checked_add(len).ok_or(Error::FileTooBig)?;
        self.copy_old(current, ino, (end, behind), at)?;
        Ok(len)
    }

    /// Copies `len` bytes of the file from `offset` on, zeros behind its end, to `to` in the range.
    fn copy_old(
        &self,
        current: &Current,
        ino: Ino,
        (offset, len): (u64, u64),
        to: RegionOffset,
    ) -> Result<()> {
        let region = &self.volume.region;
        let mut done = 0;
        while done < len {
            let to = to.checked_add(done).ok_or(Error::FileTooBig)?;
            let left = len - done;
            done += match current.index.extent(self.volume.view(), ino, offset + done, left)? {
                Extent::Data { at, len } => {
                    region.copy_within(at, to, len.min(left))?;
                    len.min(left)
                }
                Extent::Hole { len } => {
                    region.zero(to, len.min(left))?;
                    len.min(left)
                }
                Extent::End => {
                    region.zero(to, left)?;
                    left
                }
                Extent::Private { len } => {
                    let mut buffer = [0; 256];
                    let count = len.min(left).min(256) as usize;
                    let part = buffer.get_mut(..count).unwrap_or(&mut []);
                    current.index.read(self.volume.view(), ino, offset + done, part)?;
                    region.copy_in(to, part)?;
                    count as u64
                }
            };
        }
        Ok(())
    }

    /// Zeroes what lies behind the end of the file, at `size`, in its last page: the file is about
    /// to grow over it.
    fn zero_tail(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        size: u64,
    ) -> Result<()> {
        let (page, within) = (size / BLOCK_SIZE, size % BLOCK_SIZE);
        if within == 0 {
            return Ok(());
        }
        if let Some((start, _)) = self.owned_run(current, ino, page, 1)? {
            let at = start.checked_add(within).ok_or(Error::FileTooBig)?;
            return self.volume.region.zero(at, BLOCK_SIZE - within);
        }
        if current.index.page(ino, page).is_none() {
            // The base's content ends at the size it is cut to; behind it are zeros.
            return Ok(());
        }
        // An ancestor's page: its bytes behind the end may be anything.
        self.copy_page(current, company, ino, (size - within, within)).map(|_| ())
    }

    /// Copies one page of a file into the branch, of which `len` bytes from `start` on, its first,
    /// belong to the file; returns where it is.
    fn copy_page(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        (start, len): (u64, u64),
    ) -> Result<RegionOffset> {
        let branch = current.branch.ok_or(Error::ReadOnly)?.id;
        let region = &self.volume.region;
        let space = &mut current.writing.as_mut().ok_or(Error::ReadOnly)?.space;
        let run = space.allocate(region, branch, 1)?;
        let copied = self.copy_old(current, ino, (start, BLOCK_SIZE), run.start).and_then(|()| {
            let source = WriteSource::Pages(run.start);
            let operation = Operation::Write { offset: start, len: len as u32, source };
            let entry = Entry { ino, time: self.volume.platform.now(), operation };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)
        });
        if let (Err(_), Some(writing)) = (&copied, &mut current.writing) {
            writing.space.give_up();
        }
        copied.map(|()| run.start)
    }

    /// Makes a file longer or shorter.
    pub(super) fn resize(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        size: u64,
    ) -> Result<()> {
        if size > MAX_FILE_SIZE {
            return Err(Error::FileTooBig);
        }
        let old = self.file_size(current, ino)?;
        let mut reserve = Reserve::Use;
        if size > old {
            self.zero_tail(current, company, ino, old)?;
            reserve = Reserve::Keep;
        }
        let time = self.volume.platform.now();
        let entry = Entry { ino, time, operation: Operation::Truncate { size } };
        current.record(&self.volume, company, &entry, TryVec::new(), reserve)?;
        let within = size % BLOCK_SIZE;
        if size < old && within > 0 {
            // Whoever maps the file's last page finds zeros behind its end.
            if let Some((start, _)) = self.owned_run(current, ino, size / BLOCK_SIZE, 1)? {
                let at = start.checked_add(within).ok_or(Error::FileTooBig)?;
                self.volume.region.zero(at, BLOCK_SIZE - within)?;
            } else if let Extent::Data { .. } =
                current.index.extent(self.volume.view(), ino, size - 1, 1)?
            {
                match self.copy_page(current, company, ino, (size - within, within)) {
                    // Shrinking works where nothing else does; reading never shows what is there.
                    Ok(_) | Err(Error::NoSpace | Error::NoMemory) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Where pages of a file are that were found in its map, and how many of them this mount may write to
/// in place, if it may write to the first.
fn owned_part(space: &Space, found: Option<(PageRef, u64)>) -> Option<(RegionOffset, u64)> {
    let Some((PageRef::Region(at), run)) = found else { return None };
    let start = RegionOffset::new(u64::from(at) * BLOCK_SIZE);
    // A run may reach from a segment of ours into somebody else's.
    let owned = space.owned_pages(start, run);
    (owned > 0).then_some((start, owned))
}
