//! A bounds-carrying raw view of part of the range.

use super::{Backing, Region};
use crate::error::{Error, Result};
use core::ptr::NonNull;
use daxfs_format::RegionOffset;

/// A view of part of the range, for reading without an intermediate buffer of the engine's.
///
/// It never yields a reference into the range: bytes are copied out where they are used.
pub struct SharedSlice<'a, B: Backing> {
    region: &'a Region<B>,
    start: RegionOffset,
    len: u64,
}

impl<B: Backing> Clone for SharedSlice<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backing> Copy for SharedSlice<'_, B> {}

impl<'a, B: Backing> SharedSlice<'a, B> {
    /// A view of bytes that [`Region::slice`] has checked.
    pub(super) const fn new(region: &'a Region<B>, start: RegionOffset, len: u64) -> Self {
        Self { region, start, len }
    }

    /// Bytes in view.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte in view.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the view starts.
    #[must_use]
    pub const fn start(&self) -> RegionOffset {
        self.start
    }

    /// Copies bytes from `offset` of the view into `into`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the view has fewer bytes there.
    pub fn copy_to(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let len = into.len() as u64;
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let at = self.start.checked_add(offset).filter(|_| inside);
        self.region.copy_out(at.ok_or(Error::OutOfBounds { offset, len })?, into)
    }
}

impl<B: Backing> SharedSlice<'_, B> {
    /// Where the bytes are in this address space, if the range is mapped into it: `len` bytes from
    /// there on are, for as long as the region lives. Whoever reads them there must expect that
    /// another kernel changes them meanwhile, as [`MappedRange`](super::MappedRange) does.
    #[must_use]
    pub fn as_ptr(&self) -> Option<NonNull<u8>> {
        self.region.address(self.start)
    }
}

/// A view of part of the range, for writing without an intermediate buffer of the engine's.
///
/// What was written must be said: on a persistent medium it has to be written back.
pub struct SharedSliceMut<'a, B: Backing> {
    region: &'a Region<B>,
    start: RegionOffset,
    len: u64,
}

impl<'a, B: Backing> SharedSliceMut<'a, B> {
    /// A view of bytes that [`Region::slice_mut`] has checked.
    pub(super) const fn new(region: &'a Region<B>, start: RegionOffset, len: u64) -> Self {
        Self { region, start, len }
    }

    /// Bytes in view.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte in view.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the view starts.
    #[must_use]
    pub const fn start(&self) -> RegionOffset {
        self.start
    }

    /// Copies `from` to the start of the view.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the view has fewer bytes.
    pub fn copy_from(&self, from: &[u8]) -> Result<()> {
        let len = from.len() as u64;
        if len > self.len {
            return Err(Error::OutOfBounds { offset: self.start.get(), len });
        }
        self.region.copy_in(self.start, from)
    }

    /// Fills the first `len` bytes of the view with zeros.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the view has fewer bytes.
    pub fn zero(&self, len: u64) -> Result<()> {
        if len > self.len {
            return Err(Error::OutOfBounds { offset: self.start.get(), len });
        }
        self.region.zero(self.start, len)
    }

    /// Where the bytes are in this address space, if the range is mapped into it: `len` writable
    /// bytes from there on are, for as long as the region lives. Whoever writes there calls
    /// [`Self::written`] afterwards.
    #[must_use]
    pub fn as_mut_ptr(&self) -> Option<NonNull<u8>> {
        self.region.address(self.start)
    }

    /// The first `len` bytes of the view were written, past the region.
    pub fn written(&self, len: u64) {
        self.region.was_written(self.start, len.min(self.len));
    }
}
