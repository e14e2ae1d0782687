//! A vector in pieces.
//!
//! It grows without moving what is in it, and never needs a long stretch of memory in one piece:
//! kernels have little of that, and copying a large vector stops everybody meanwhile.

use super::TryVec;
use crate::error::Result;

/// About how long a piece is, in bytes.
const PIECE: usize = 16 * 1024;

/// A vector whose elements keep their place while it grows.
pub struct Chunks<T> {
    /// All but the last are full; all have room for [`Self::PER_CHUNK`].
    chunks: TryVec<TryVec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: TryVec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// Elements of a piece: a power of two.
    const PER_CHUNK: usize = {
        let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        let count = if size > PIECE { 1 } else { PIECE / size };
        1 << count.ilog2()
    };

    /// Makes sure that the next `additional` elements can be pushed.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory).
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        let wanted = self.len.saturating_add(additional).div_ceil(Self::PER_CHUNK);
        while self.chunks.len() < wanted {
            let mut chunk = TryVec::new();
            chunk.reserve_exact(Self::PER_CHUNK)?;
            self.chunks.push(chunk)?;
        }
        Ok(())
    }

    /// Appends `value`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory); nothing has changed then.
    pub fn push(&mut self, value: T) -> Result<()> {
        self.reserve(1)?;
        if let Some(chunk) = self.chunks.get_mut(self.len / Self::PER_CHUNK) {
            chunk.push(value)?;
            self.len += 1;
        }
        Ok(())
    }

    /// The element at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / Self::PER_CHUNK)?.get(index % Self::PER_CHUNK)
    }

    /// The element at `index`.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / Self::PER_CHUNK)?.get_mut(index % Self::PER_CHUNK)
    }

    /// All elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// All elements, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut())
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.chunks.memory() + self.chunks.iter().map(TryVec::memory).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn elements_keep_their_place_while_it_grows() {
        let mut chunks = Chunks::default();
        chunks.push([0_u64; 8]).unwrap();
        let first: *const _ = chunks.get(0).unwrap();
        for i in 1..10_000_u64 {
            chunks.push([i; 8]).unwrap();
        }
        assert_eq!(first, core::ptr::from_ref(chunks.get(0).unwrap()));
        assert_eq!(chunks.len(), 10_000);
        assert!((0..10_000).all(|i| chunks.get(i as usize) == Some(&[i; 8])));
        assert!(chunks.iter().copied().eq((0..10_000).map(|i| [i; 8])));
        assert_eq!(chunks.get(10_000), None);
    }

    #[test]
    fn what_is_reserved_is_there() {
        let mut chunks: Chunks<u32> = Chunks::default();
        chunks.reserve(10_000).unwrap();
        let memory = chunks.memory();
        assert!(memory >= 40_000);
        for i in 0..10_000 {
            chunks.push(i).unwrap();
        }
        assert_eq!(chunks.memory(), memory);
    }
}
