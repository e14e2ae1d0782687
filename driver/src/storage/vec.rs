//! A growable vector whose growth can fail.

#[cfg(not(daxfs_kbuild))]
use super::heap::{self, Vec};
#[cfg(daxfs_kbuild)]
use super::kernel_heap::{self as heap, Vec};
use crate::error::Result;
use core::ops::{Deref, DerefMut};

/// A growable vector. Reading is by slice; only growth can fail, and says so.
#[derive(Debug)]
pub struct TryVec<T>(Vec<T>);

impl<T> Default for TryVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TryVec<T> {
    /// An empty vector; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes room for `additional` more elements, growing by at least half.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory).
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        heap::reserve(&mut self.0, additional)
    }

    /// Makes room for exactly `additional` more elements.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory).
    pub fn reserve_exact(&mut self, additional: usize) -> Result<()> {
        heap::reserve_exact(&mut self.0, additional)
    }

    /// Appends `value`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory); the vector is unchanged.
    pub fn push(&mut self, value: T) -> Result<()> {
        heap::push(&mut self.0, value)
    }

    /// Inserts `value` at `index`, clamped to the end.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory); the vector is unchanged.
    pub fn insert(&mut self, index: usize, value: T) -> Result<()> {
        let index = index.min(self.0.len());
        heap::insert(&mut self.0, index, value)
    }

    /// Removes and returns the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Removes the element at `index`, if there is one, keeping the order.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        heap::remove(&mut self.0, index)
    }

    /// Shortens to `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Keeps the elements for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        heap::retain(&mut self.0, keep);
    }

    /// Empties the vector.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.capacity().saturating_mul(size_of::<T>())
    }
}

impl<T: Copy> TryVec<T> {
    /// Appends a copy of `values`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory); the vector is unchanged.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<()> {
        heap::extend(&mut self.0, values)
    }

    /// Grows or shrinks to `len` elements, new ones being `value`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory); the vector is unchanged.
    pub fn resize(&mut self, len: usize, value: T) -> Result<()> {
        heap::resize(&mut self.0, len, value)
    }

    /// A vector with a copy of `values` and no spare room.
    ///
    /// # Errors
    ///
    /// [`NoMemory`](crate::Error::NoMemory).
    pub fn from_slice(values: &[T]) -> Result<Self> {
        let mut vec = Self::new();
        vec.reserve_exact(values.len())?;
        vec.extend_from_slice(values)?;
        Ok(vec)
    }
}

impl<T> Deref for TryVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for TryVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
