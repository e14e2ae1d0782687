//! Checked access to the shared range.
//!
//! [`Region`] is the only way the engine touches the range. It owns one promise: **every access is
//! inside the range and words are aligned**, checked in `Region::place` and nowhere else. What is
//! read is a copy; there is no `&T` or `&[u8]` into the range, because other kernels change it at
//! any time. And memory that is known to have gone bad is not touched ([`Backing::is_bad`]).
//!
//! Two families of access, named apart:
//!
//! - `load`, `store`, `compare_exchange`: one aligned 64-bit word, atomic, ordering named.
//! - `copy_out`, `copy_in`, `read`, `write`, `copy_within`, `zero`: bytes, which may tear against a
//!   concurrent writer. The value read is *some* bytes; the caller checks what they say.
//!
//! [`Backing`] supplies the raw accesses, one implementation per world.
//!
//! On a persistent medium a region also keeps the order in which things get there: all stores are
//! written back, and a store that releases (or an exchange) happens only when everything stored
//! before it is on the medium, and is there itself when it returns. So at every moment the medium
//! holds what a stop of this kernel at some store would have left, and perhaps some of the bytes
//! that were on their way, which nothing refers to.

mod backing;
mod large;
mod slice;

pub use backing::{Backing, Fence, LoadOrder, MappedRange, StoreOrder};
pub use large::Large;
pub use slice::{SharedSlice, SharedSliceMut};

use crate::error::{Error, Result};
use core::ptr::NonNull;
use daxfs_format::{RegionOffset, BLOCK_SIZE};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// What becomes of the range when the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Persistence {
    /// It is forgotten: nothing is done for it.
    #[default]
    Volatile,
    /// It stays, as far as it has left the processor's caches: every store is written back, and
    /// waited for before anything is stored that depends on it.
    Persistent,
}

/// Checked access to a shared range.
pub struct Region<B: Backing> {
    backing: B,
    persistence: Persistence,
}

impl<B: Backing> Region<B> {
    /// A region over all of `backing`, in memory that forgets.
    pub const fn new(backing: B) -> Self {
        Self { backing, persistence: Persistence::Volatile }
    }

    /// The same region, on such a medium.
    #[must_use]
    pub fn on(self, persistence: Persistence) -> Self {
        Self { persistence, ..self }
    }

    /// What it runs on.
    pub const fn backing(&self) -> &B {
        &self.backing
    }

    /// On what medium it is.
    pub const fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// On a persistent medium, starts writing `len` bytes at `offset` back, which were just written.
    fn written(&self, offset: usize, len: usize) {
        if self.persistence == Persistence::Persistent {
            // SAFETY: the access that wrote them was checked.
            unsafe { self.backing.write_back(offset, len) };
        }
    }

    /// On a persistent medium, waits until what was written before is there.
    fn settled(&self) {
        if self.persistence == Persistence::Persistent {
            self.backing.fence(Fence::Persist);
        }
    }

    /// Bytes of the range.
    pub fn size(&self) -> u64 {
        self.backing.size()
    }

    /// Whether the range can be written to.
    pub fn is_writable(&self) -> bool {
        self.backing.is_writable()
    }

    /// The one check of bounds, overflow and alignment: `len` bytes at `at` lie in the range, and
    /// `at` is a multiple of `align`, a power of two. Returns the raw offset.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::Misaligned`].
    fn place(&self, at: RegionOffset, len: u64, align: u64) -> Result<usize> {
        let offset = at.get();
        let out_of_bounds = Error::OutOfBounds { offset, len };
        let end = offset.checked_add(len).ok_or(out_of_bounds)?;
        if end > self.backing.size() {
            return Err(out_of_bounds);
        }
        if !at.is_aligned(align) {
            return Err(Error::Misaligned { offset });
        }
        usize::try_from(offset).map_err(|_| out_of_bounds)
    }

    /// [`Self::place`], for an access here and now.
    ///
    /// # Errors
    ///
    /// As [`Self::place`]; [`Error::BadMemory`].
    fn check(&self, at: RegionOffset, len: u64, align: u64) -> Result<usize> {
        let offset = self.place(at, len, align)?;
        // What lies inside of the range has a length that fits a usize.
        if self.backing.is_bad(offset, len as usize) {
            return Err(Error::BadMemory { offset: at.get() });
        }
        Ok(offset)
    }

    /// [`Self::check`], for an access that writes.
    ///
    /// # Errors
    ///
    /// As [`Self::check`]; [`Error::ReadOnly`] for a range that cannot be written to.
    fn check_write(&self, at: RegionOffset, len: u64, align: u64) -> Result<usize> {
        if !self.is_writable() {
            return Err(Error::ReadOnly);
        }
        self.check(at, len, align)
    }

    /// Loads the word at `at`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::Misaligned`].
    pub fn load(&self, at: RegionOffset, order: LoadOrder) -> Result<u64> {
        let offset = self.check(at, 8, 8)?;
        // SAFETY: `check` found 8 aligned bytes at `offset` inside the backing.
        Ok(unsafe { self.backing.load(offset, order) })
    }

    /// Loads `count` words from `at` on, one after the other, and calls `each` with their numbers and what
    /// they were.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], before anything is loaded; what `each` returns.
    pub fn load_each(
        &self,
        at: RegionOffset,
        count: u32,
        order: LoadOrder,
        mut each: impl FnMut(u32, u64) -> Result<()>,
    ) -> Result<()> {
        let offset = self.check(at, u64::from(count) * 8, 8)?;
        for (number, offset) in (0..count).zip((offset..).step_by(8)) {
            // SAFETY: `check` found `count` times 8 aligned bytes at the first offset inside the backing.
            each(number, unsafe { self.backing.load(offset, order) })?;
        }
        Ok(())
    }

    /// Stores `value` in the word at `at`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`] or [`Error::ReadOnly`].
    pub fn store(&self, at: RegionOffset, value: u64, order: StoreOrder) -> Result<()> {
        let offset = self.check_write(at, 8, 8)?;
        if order == StoreOrder::Release {
            self.settled();
        }
        // SAFETY: `check` found 8 aligned bytes at `offset` inside the backing.
        unsafe { self.backing.store(offset, value, order) };
        self.written(offset, 8);
        if order == StoreOrder::Release {
            self.settled();
        }
        Ok(())
    }

    /// Replaces the word at `at` by `new` if it is `current`; the inner result holds the value
    /// found. Acquires in any case, and releases when it replaces.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`] or [`Error::ReadOnly`].
    pub fn compare_exchange(
        &self,
        at: RegionOffset,
        current: u64,
        new: u64,
    ) -> Result<core::result::Result<u64, u64>> {
        let offset = self.check_write(at, 8, 8)?;
        self.settled();
        // SAFETY: `check` found 8 aligned bytes at `offset` inside the backing.
        let result = unsafe { self.backing.compare_exchange(offset, current, new) };
        // Also where it failed: what was found is relied on from now on, and whoever stored it may
        // not have got to writing it back.
        self.written(offset, 8);
        self.settled();
        Ok(result)
    }

    /// On a persistent medium, waits until everything this kernel wrote is there.
    pub fn persist(&self) {
        self.settled();
    }

    /// Orders accesses to the range around it.
    pub fn fence(&self, fence: Fence) {
        self.backing.fence(fence);
    }

    /// Copies bytes out of the range into private memory.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::BadMemory`].
    pub fn copy_out(&self, at: RegionOffset, into: &mut [u8]) -> Result<()> {
        let offset = self.check(at, into.len() as u64, 1)?;
        // SAFETY: `check` found that many bytes at `offset` inside the backing.
        let read = unsafe { self.backing.copy_out(offset, into) };
        read.then_some(()).ok_or(Error::BadMemory { offset: at.get() })
    }

    /// Copies private bytes into the range.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::ReadOnly`].
    pub fn copy_in(&self, at: RegionOffset, from: &[u8]) -> Result<()> {
        let offset = self.check_write(at, from.len() as u64, 1)?;
        // SAFETY: `check` found that many bytes at `offset` inside the backing.
        unsafe { self.backing.copy_in(offset, from) };
        self.written(offset, from.len());
        Ok(())
    }

    /// Copies `len` bytes of the range to another place in it that does not overlap.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::ReadOnly`]; [`Error::InvalidArgument`] for places that overlap.
    pub fn copy_within(&self, from: RegionOffset, to: RegionOffset, len: u64) -> Result<()> {
        let source = self.check(from, len, 1)?;
        let target = self.check_write(to, len, 1)?;
        if from.get().abs_diff(to.get()) < len {
            return Err(Error::InvalidArgument("copy onto itself"));
        }
        // SAFETY: `check` found `len` bytes at both offsets inside the backing (so `len` fits a
        // usize), and they do not overlap.
        let read = unsafe { self.backing.copy_within(source, target, len as usize) };
        self.written(target, len as usize);
        read.then_some(()).ok_or(Error::BadMemory { offset: from.get() })
    }

    /// Zeroes bytes of the range.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::ReadOnly`].
    pub fn zero(&self, at: RegionOffset, len: u64) -> Result<()> {
        let offset = self.check_write(at, len, 1)?;
        // SAFETY: `check` found `len` bytes at `offset` inside the backing (so it fits a usize).
        unsafe { self.backing.zero(offset, len as usize) };
        self.written(offset, len as usize);
        Ok(())
    }

    /// A copy of the structure at `at`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`].
    pub fn read<T: FromBytes + IntoBytes + FromZeros>(&self, at: RegionOffset) -> Result<T> {
        let mut value = T::new_zeroed();
        self.copy_out(at, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure at `at`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::ReadOnly`].
    pub fn write<T: IntoBytes + Immutable>(&self, at: RegionOffset, value: &T) -> Result<()> {
        self.copy_in(at, value.as_bytes())
    }

    /// A raw view of `len` bytes at `at`, for reading without an intermediate copy. Memory in it may have
    /// gone bad: that is looked at where it is accessed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, at: RegionOffset, len: u64) -> Result<SharedSlice<'_, B>> {
        self.place(at, len, 1)?;
        Ok(SharedSlice::new(self, at, len))
    }

    /// A raw view of `len` bytes at `at`, for writing without an intermediate copy; as [`Self::slice`].
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] or [`Error::ReadOnly`].
    pub fn slice_mut(&self, at: RegionOffset, len: u64) -> Result<SharedSliceMut<'_, B>> {
        if !self.is_writable() {
            return Err(Error::ReadOnly);
        }
        self.place(at, len, 1)?;
        Ok(SharedSliceMut::new(self, at, len))
    }

    /// Where the bytes of a view that starts at `at` are in this address space: views are checked
    /// when they are made.
    fn address(&self, at: RegionOffset) -> Option<NonNull<u8>> {
        self.backing.address(usize::try_from(at.get()).ok()?)
    }

    /// Bytes of the range were written past the region.
    fn was_written(&self, at: RegionOffset, len: u64) {
        if let Ok(offset) = self.place(at, len, 1) {
            self.written(offset, len as usize);
        }
    }

    /// Whether memory is known to have gone bad somewhere in `len` bytes at `at`.
    pub fn is_bad(&self, at: RegionOffset, len: u64) -> bool {
        self.check(at, len, 1).is_err_and(|error| matches!(error, Error::BadMemory { .. }))
    }

    /// How many of `pages` neighbouring pages at `at` lie before memory that is known to have gone bad.
    pub fn good_pages(&self, at: RegionOffset, pages: u64) -> u64 {
        if !self.is_bad(at, pages.saturating_mul(BLOCK_SIZE)) {
            return pages;
        }
        let page = |number| at.checked_add(number * BLOCK_SIZE);
        let bad = |&number: &u64| page(number).is_none_or(|at| self.is_bad(at, BLOCK_SIZE));
        (0..pages).find(bad).unwrap_or(pages)
    }

    /// Whether all `len` bytes at `at` lie in the range.
    pub fn contains(&self, at: RegionOffset, len: u64) -> bool {
        self.place(at, len, 1).is_ok()
    }
}

/// Number of the page a region offset lies in.
pub(crate) const fn page_of(at: RegionOffset) -> u64 {
    at.get() / BLOCK_SIZE
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::std_platform::MappedFile;

    fn region() -> Region<MappedFile> {
        Region::new(MappedFile::anonymous(8192).unwrap())
    }

    #[test]
    fn no_access_leaves_the_range() {
        let region = region();
        let mut byte = [0];
        for at in [8192, 8193, u64::MAX] {
            let at = RegionOffset::new(at);
            assert!(matches!(region.copy_out(at, &mut byte), Err(Error::OutOfBounds { .. })));
            assert!(matches!(region.load(at, LoadOrder::Acquire), Err(Error::OutOfBounds { .. })));
            assert!(matches!(region.zero(at, u64::MAX), Err(Error::OutOfBounds { .. })));
        }
        assert!(region.copy_out(RegionOffset::new(8191), &mut byte).is_ok());
        assert!(region.copy_in(RegionOffset::new(8191), b"ab").is_err());
        assert!(region.load(RegionOffset::new(8184), LoadOrder::Acquire).is_ok());
        assert!(region.load(RegionOffset::new(8188), LoadOrder::Acquire).is_err());
    }

    #[test]
    fn words_are_aligned_or_refused() {
        let region = region();
        let at = RegionOffset::new(4);
        assert_eq!(region.load(at, LoadOrder::Relaxed), Err(Error::Misaligned { offset: 4 }));
        assert!(region.store(at, 1, StoreOrder::Release).is_err());
        assert!(region.compare_exchange(at, 0, 1).is_err());
    }

    #[test]
    fn bytes_of_any_length_and_alignment_arrive() {
        let region = region();
        for len in (0..80).chain([255, 256, 1023, 4096]) {
            for shift in 0..9 {
                let data: std::vec::Vec<u8> = (0..len).map(|i| (i * 7 + shift) as u8).collect();
                let at = RegionOffset::new(100 + shift as u64);
                region.zero(RegionOffset::new(90), 4200).unwrap();
                region.copy_in(at, &data).unwrap();
                let mut back = std::vec![0xee; len];
                region.copy_out(at, &mut back).unwrap();
                assert_eq!(back, data);
                let mut edge = [9; 2];
                region.copy_out(RegionOffset::new(at.get() + len as u64), &mut edge).unwrap();
                assert_eq!(edge, [0, 0], "nothing written past the end");
            }
        }
    }

    #[test]
    fn copying_within_moves_bytes_and_refuses_overlap() {
        let region = region();
        region.copy_in(RegionOffset::new(10), b"hello world").unwrap();
        region.copy_within(RegionOffset::new(10), RegionOffset::new(5000), 11).unwrap();
        let mut back = [0; 11];
        region.copy_out(RegionOffset::new(5000), &mut back).unwrap();
        assert_eq!(&back, b"hello world");
        assert!(region.copy_within(RegionOffset::new(10), RegionOffset::new(20), 11).is_err());
    }
}
