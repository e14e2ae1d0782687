//! Contents of files: reading, writing, growing and shrinking.
//!
//! The first write to a page copies it into the branch; later writes go to that page in place and
//! leave no log entry, unless they make the file longer.
//!
//! # Invariants
//!
//! What lies behind a file's end in its last page is not defined; it is zeroed when the file grows
//! over it, before the new size is published.

use super::state::{Company, Current};
use super::Mount;
use crate::error::{Error, Result};
use crate::index::pages::PageRef;
use crate::index::Extent;
use crate::log::entry::{Entry, Operation, WriteSource, MAX_FILE_SIZE};
use crate::log::writer::Reserve;
use crate::platform::Platform;
use crate::storage::TryVec;
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// Longest write by one log entry: its length field has 32 bits.
const MAX_PIECE: u64 = 1 << 30;

impl<P: Platform> Mount<P> {
    /// Reads from file `ino` at `offset`; returns how many bytes there were. Holes are zeros.
    ///
    /// # Errors
    ///
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`] for no regular file, [`Error::Stale`],
    /// [`Error::Corrupt`].
    pub fn read(&self, ino: Ino, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.reading(|current| current.index.read(self.volume.view(), ino, offset, into))
    }

    /// Where the content of file `ino` at `offset` is, for reading it straight from the range.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn extent(&self, ino: Ino, offset: u64) -> Result<Extent> {
        self.reading(|current| current.index.extent(self.volume.view(), ino, offset, u64::MAX))
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
        self.writing(|current, company| self.write_at(current, company, ino, offset, data))
    }

    /// Writes at the end of file `ino`, wherever that is; returns where, and how many bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn append(&self, ino: Ino, data: &[u8]) -> Result<(u64, usize)> {
        self.writing(|current, company| {
            let end = self.file_size(current, ino)?;
            Ok((end, self.write_at(current, company, ino, end, data)?))
        })
    }

    /// The size of a regular file.
    fn file_size(&self, current: &Current, ino: Ino) -> Result<u64> {
        // `extent` checks what it is.
        current.index.extent(self.volume.view(), ino, 0, 1)?;
        Ok(current.index.attributes(self.volume.view(), ino)?.size)
    }

    fn write_at(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<usize> {
        let size = self.file_size(current, ino)?;
        let end = offset.checked_add(data.len() as u64).filter(|&end| end <= MAX_FILE_SIZE);
        end.ok_or(Error::FileTooBig)?;
        if data.is_empty() {
            return Ok(0);
        }
        if offset > size {
            self.zero_tail(current, company, ino, size)?;
        }
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_piece(current, company, ino, offset + done as u64, rest) {
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes what goes to one place: in place to pages this branch owns, else to new pages.
    /// Returns how many bytes that was, at least one.
    fn write_piece(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<usize> {
        let (page, within) = (offset / BLOCK_SIZE, offset % BLOCK_SIZE);
        let wanted = (data.len() as u64).min(MAX_PIECE);
        let pages = (within + wanted).div_ceil(BLOCK_SIZE);
        match self.owned_run(current, ino, page, pages)? {
            Some((start, run)) => {
                let len = (run * BLOCK_SIZE - within).min(wanted);
                self.write_in_place(
                    current,
                    company,
                    ino,
                    (offset, start),
                    data.get(..len as usize),
                )
            }
            None => {
                // Up to the next page that can be written in place.
                let mut fresh = 1;
                while fresh < pages && self.owned_run(current, ino, page + fresh, 1)?.is_none() {
                    fresh += 1;
                }
                self.write_new(current, company, ino, offset, data, fresh)
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
        let Some((PageRef::Region(at), run)) = current.index.page_run(ino, page, max) else {
            return Ok(None);
        };
        let space = &current.writing.as_ref().ok_or(Error::ReadOnly)?.space;
        let start = RegionOffset::new(u64::from(at) * BLOCK_SIZE);
        let mut owned = 0;
        // A run may reach from a segment of ours into somebody else's; an entry never reaches out of
        // one.
        while owned < run
            && start
                .checked_add(owned * BLOCK_SIZE)
                .is_some_and(|page| space.owns(page) && space.in_one_segment(start, page))
        {
            owned += 1;
        }
        Ok((owned > 0).then_some((start, owned)))
    }

    fn write_in_place(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        (offset, start): (u64, RegionOffset),
        data: Option<&[u8]>,
    ) -> Result<usize> {
        let data = data.ok_or(Error::FileTooBig)?;
        let at = start.checked_add(offset % BLOCK_SIZE).ok_or(Error::FileTooBig)?;
        self.volume.region.copy_in(at, data)?;
        let time = self.volume.platform.now();
        let inode = current.index.changed_mut(ino)?;
        if offset + data.len() as u64 > inode.size {
            let source = WriteSource::Pages(start);
            let operation = Operation::Write { offset, len: data.len() as u32, source };
            let entry = Entry { ino, time, operation };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)?;
        } else {
            inode.mtime = time;
            inode.ctime = time;
            inode.mtime_unlogged = true;
        }
        Ok(data.len())
    }

    /// Writes to new pages, `pages` at most, and publishes them.
    fn write_new(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        offset: u64,
        data: &[u8],
        pages: u64,
    ) -> Result<usize> {
        let (region, within) = (&self.volume.region, offset % BLOCK_SIZE);
        let branch = current.branch.ok_or(Error::ReadOnly)?.id;
        let writing = current.writing.as_mut().ok_or(Error::ReadOnly)?;
        let run = writing.space.allocate(region, branch, pages)?;
        let len = (run.pages * BLOCK_SIZE - within).min(data.len() as u64);
        let written = data.get(..len as usize).ok_or(Error::FileTooBig)?;
        let published = self.fill_new(current, ino, offset, written, run.start).and_then(|()| {
            let time = self.volume.platform.now();
            let source = WriteSource::Pages(run.start);
            let operation = Operation::Write { offset, len: len as u32, source };
            let entry = Entry { ino, time, operation };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)
        });
        if published.is_err() {
            if let Some(writing) = &mut current.writing {
                writing.space.give_up();
            }
        }
        published.map(|()| written.len())
    }

    /// Fills new pages: the data, and around it what the file had there before.
    fn fill_new(
        &self,
        current: &Current,
        ino: Ino,
        offset: u64,
        data: &[u8],
        start: RegionOffset,
    ) -> Result<()> {
        let within = offset % BLOCK_SIZE;
        let end = offset + data.len() as u64;
        let at = start.checked_add(within).ok_or(Error::FileTooBig)?;
        self.copy_old(current, ino, (offset - within, within), start)?;
        self.volume.region.copy_in(at, data)?;
        let behind = end.div_ceil(BLOCK_SIZE) * BLOCK_SIZE - end;
        let at = at.checked_add(data.len() as u64).ok_or(Error::FileTooBig)?;
        self.copy_old(current, ino, (end, behind), at)
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
        let branch = current.branch.ok_or(Error::ReadOnly)?.id;
        let region = &self.volume.region;
        let space = &mut current.writing.as_mut().ok_or(Error::ReadOnly)?.space;
        let run = space.allocate(region, branch, 1)?;
        let start = size - within;
        self.copy_old(current, ino, (start, BLOCK_SIZE), run.start)?;
        let source = WriteSource::Pages(run.start);
        let operation = Operation::Write { offset: start, len: within as u32, source };
        let entry = Entry { ino, time: self.volume.platform.now(), operation };
        current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)
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
        current.record(&self.volume, company, &entry, TryVec::new(), reserve)
    }
}
