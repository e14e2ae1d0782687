//! Where file contents go to and come from: the two ends of a copy between the range and a caller.
//!
//! The engine knows which bytes of the range are meant; how they get to the caller is the caller's:
//! a slice of private memory, or the memory of a user process, straight from the range. A caller's
//! end may take or give less than it could, for instance because a page of a process has to be
//! fetched first. Then the operation ends early, with what was done by then.
//!
//! Both ends run under the mount's lock: they must not call back.

use crate::error::Result;
use crate::region::{Backing, SharedSlice, SharedSliceMut};

/// Where bytes that are read go.
pub trait Sink<B: Backing> {
    /// Takes bytes of the range; returns how many. Fewer than there are end the reading.
    ///
    /// # Errors
    ///
    /// Whatever the caller is to be told; it ends the reading.
    fn put(&mut self, bytes: SharedSlice<'_, B>) -> Result<u64>;

    /// Takes bytes of private memory; as [`Self::put`].
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    fn put_private(&mut self, bytes: &[u8]) -> Result<u64>;

    /// Takes `len` zeros; as [`Self::put`].
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    fn put_zeros(&mut self, len: u64) -> Result<u64>;
}

/// Where bytes that are written come from.
pub trait Source<B: Backing> {
    /// Whether it is still to be written where it was to be. Asked first, with the lock held; an error ends
    /// the writing before anything is done.
    ///
    /// # Errors
    ///
    /// Whatever the caller is to be told.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes that are left to write.
    fn left(&self) -> u64;

    /// Fills the view with the next bytes, from its start, as many as it holds or are left; returns
    /// how many. Fewer end the writing.
    ///
    /// # Errors
    ///
    /// Whatever the caller is to be told; it ends the writing.
    fn take(&mut self, into: SharedSliceMut<'_, B>) -> Result<u64>;
}

/// Private memory as a sink.
pub(crate) struct Buffer<'a>(&'a mut [u8]);

impl<'a> Buffer<'a> {
    /// Fills `into` from its start.
    pub(crate) fn new(into: &'a mut [u8]) -> Self {
        Self(into)
    }

    /// The next `len` bytes, or as many as are left.
    fn next(&mut self, len: u64) -> &'a mut [u8] {
        let left = core::mem::take(&mut self.0);
        let count = usize::try_from(len).map_or(left.len(), |len| len.min(left.len()));
        let (next, rest) = left.split_at_mut(count);
        self.0 = rest;
        next
    }
}

impl<B: Backing> Sink<B> for Buffer<'_> {
    fn put(&mut self, bytes: SharedSlice<'_, B>) -> Result<u64> {
        let into = self.next(bytes.len());
        bytes.copy_to(0, into)?;
        Ok(into.len() as u64)
    }

    fn put_private(&mut self, bytes: &[u8]) -> Result<u64> {
        let into = self.next(bytes.len() as u64);
        for (to, from) in into.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(into.len() as u64)
    }

    fn put_zeros(&mut self, len: u64) -> Result<u64> {
        let into = self.next(len);
        into.fill(0);
        Ok(into.len() as u64)
    }
}

/// Zeros as a source: so many.
pub(crate) struct Zeros(pub(crate) u64);

impl<B: Backing> Source<B> for Zeros {
    fn left(&self) -> u64 {
        self.0
    }

    fn take(&mut self, into: SharedSliceMut<'_, B>) -> Result<u64> {
        let count = into.len().min(self.0);
        into.zero(count)?;
        self.0 -= count;
        Ok(count)
    }
}

/// Private memory as a source.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Gives the bytes of `from`, from its start.
    pub(crate) const fn new(from: &'a [u8]) -> Self {
        Self(from)
    }
}

impl<B: Backing> Source<B> for Bytes<'_> {
    fn left(&self) -> u64 {
        self.0.len() as u64
    }

    fn take(&mut self, into: SharedSliceMut<'_, B>) -> Result<u64> {
        let count = usize::try_from(into.len()).map_or(self.0.len(), |len| len.min(self.0.len()));
        let (next, rest) = self.0.split_at(count);
        into.copy_from(next)?;
        self.0 = rest;
        Ok(count as u64)
    }
}
