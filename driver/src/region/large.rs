//! Copies of structures that are too large for a kernel's stack.

use super::{Backing, Region};
use crate::error::{Error, Result};
use crate::storage::TryVec;
use core::marker::PhantomData;
use daxfs_format::RegionOffset;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A copy of a `T`, in memory that was allocated for it.
pub struct Large<T> {
    /// As many as a `T` has.
    bytes: TryVec<u8>,
    _structure: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> Large<T> {
    /// The structure.
    ///
    /// # Errors
    ///
    /// None: there are as many bytes as it has.
    pub fn get(&self) -> Result<&T> {
        T::ref_from_bytes(&self.bytes).map_err(|_| Error::NoMemory)
    }

    /// The structure.
    ///
    /// # Errors
    ///
    /// None: there are as many bytes as it has.
    pub fn get_mut(&mut self) -> Result<&mut T> {
        T::mut_from_bytes(&mut self.bytes).map_err(|_| Error::NoMemory)
    }
}

impl<B: Backing> Region<B> {
    /// A copy of the structure at `at`, which is too large for the stack.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::NoMemory`].
    pub fn read_large<T>(&self, at: RegionOffset) -> Result<Large<T>> {
        let mut bytes = TryVec::new();
        bytes.resize(size_of::<T>(), 0_u8)?;
        self.copy_out(at, &mut bytes)?;
        Ok(Large { bytes, _structure: PhantomData })
    }
}
