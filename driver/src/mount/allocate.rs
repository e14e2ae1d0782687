//! Space for files ahead of time, zeros in the place of data, and holes.
//!
//! This can take long: the lock is let go after each step. Before each, with the lock held, the caller is
//! asked whether the number still means the file that it means; its error ends the operation.
//!
//! The index cannot hide a piece out of the middle of what a file has from the base: there a hole is zeros
//! that are stored.

use super::read::Seek;
use super::state::{Company, Current};
use super::Mount;
use crate::error::{Error, Result};
use crate::index::inode::Attributes;
use crate::index::Extent;
use crate::log::entry::{Changes, Entry, Operation, MAX_FILE_SIZE};
use crate::log::writer::Reserve;
use crate::platform::Platform;
use crate::storage::TryVec;
use crate::transfer::Zeros;
use core::ops::Range;
use daxfs_format::{Ino, BLOCK_SIZE};

/// Bytes that are zeroed at a time: how long the lock is held.
const STEP: u64 = 1 << 20;

/// What a caller is asked before each step.
type Check<'c> = &'c dyn Fn() -> Result<()>;

impl<P: Platform> Mount<P> {
    /// Makes the file at least `offset + len` bytes long, and gives every hole among those bytes space,
    /// so that writing there does not fail for want of it. What is stored stays. Says what the file is
    /// then.
    ///
    /// Others must not change the file's size meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; the file has its old size then, but what got space keeps it.
    pub fn allocate(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
        check: Check<'_>,
    ) -> Result<Attributes> {
        let end = offset.checked_add(len).filter(|&end| end <= MAX_FILE_SIZE);
        let end = end.ok_or(Error::FileTooBig)?;
        let resize = |size| Changes { size: Some(size), ..Changes::default() };
        let size = self.changing(|change| {
            check()?;
            let size = change.look().getattr(ino)?.size;
            if end > size {
                change.setattr(ino, &resize(end))?;
            }
            Ok(size)
        })?;
        if let Err(error) = self.store_zeros(ino, offset..end, Seek::Hole, check) {
            if end > size {
                // The first error is the one to tell.
                let _ = self.changing(|change| {
                    check()?;
                    change.setattr(ino, &resize(size))
                });
            }
            return Err(error);
        }
        self.checked_getattr(ino, check)
    }

    /// Replaces what is stored of `len` bytes of a file from `offset` on by zeros; holes stay holes,
    /// and the size what it is. Says what the file is then.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; part of it may have been done.
    pub fn zero(&self, ino: Ino, offset: u64, len: u64, check: Check<'_>) -> Result<Attributes> {
        self.store_zeros(ino, offset..offset.saturating_add(len), Seek::Data, check)?;
        self.checked_getattr(ino, check)
    }

    /// Makes a hole of `len` bytes of a file from `offset` on: they are zeros, and the space of whole
    /// pages among them is given back. The size stays. Says what the file is then.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; part of it may have been done.
    pub fn punch(&self, ino: Ino, offset: u64, len: u64, check: Check<'_>) -> Result<Attributes> {
        let end = offset.saturating_add(len);
        let hole = self.writing(|current, company| {
            check()?;
            self.punch_pages(current, company, ino, offset..end)
        })?;
        self.store_zeros(ino, offset..hole.start.min(end), Seek::Data, check)?;
        self.store_zeros(ino, hole.end..end, Seek::Data, check)?;
        self.checked_getattr(ino, check)
    }

    fn checked_getattr(&self, ino: Ino, check: Check<'_>) -> Result<Attributes> {
        self.looking(|look| check().and_then(|()| look.getattr(ino)))
    }

    /// Takes out the whole pages of a range, or nothing where that cannot be; says which bytes that was.
    fn punch_pages(
        &self,
        current: &mut Current,
        company: &mut Company,
        ino: Ino,
        range: Range<u64>,
    ) -> Result<Range<u64>> {
        let view = self.volume.view();
        let nothing = range.start..range.start;
        let size = self.file_size(current, ino)?;
        let Some(offset) = range.start.checked_next_multiple_of(BLOCK_SIZE) else {
            return Ok(nothing);
        };
        // Of the last page, what is behind the end of the file does not count.
        let end = if range.end < size {
            range.end - range.end % BLOCK_SIZE
        } else {
            size.next_multiple_of(BLOCK_SIZE)
        };
        let Some(len) = end.checked_sub(offset).filter(|&len| len > 0) else { return Ok(nothing) };
        if current.index.base_visible(view, ino)? > end {
            return Ok(nothing);
        }
        let operation = Operation::Hole { offset, len };
        let entry = Entry { ino, time: self.volume.platform.now(), operation };
        current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Use)?;
        Ok(offset..end)
    }

    /// Stores zeros over all that is of the given kind in a range, up to the file's end.
    fn store_zeros(&self, ino: Ino, range: Range<u64>, kind: Seek, check: Check<'_>) -> Result<()> {
        let Range { start: mut at, end } = range;
        while at < end {
            at = self.writing(|current, company| {
                check()?;
                let view = self.volume.view();
                let left = end - at;
                let (found, len) = match current.index.extent(view, ino, at, left.min(STEP))? {
                    Extent::End => return Ok(end),
                    Extent::Data { len, .. } | Extent::Private { len } => (Seek::Data, len),
                    Extent::Hole { len } => (Seek::Hole, len),
                };
                if found == kind {
                    let zeros = &mut Zeros(len.min(left));
                    let written = self.write_at(current, company, ino, at, zeros)?;
                    return if written > 0 { Ok(at + written) } else { Err(Error::NoSpace) };
                }
                let mut passed = len;
                if found == Seek::Hole {
                    // It may be a very long one.
                    if let Extent::Hole { len } = current.index.extent(view, ino, at, left)? {
                        passed = len;
                    }
                }
                Ok(at.saturating_add(passed))
            })?;
        }
        Ok(())
    }
}
