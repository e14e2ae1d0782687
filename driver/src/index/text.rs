//! The bytes of changed names, in pieces; no name lies across two.

use crate::error::{Error, Result};
use crate::storage::TryVec;
use daxfs_format::NAME_MAX;

/// Bytes of a piece: a power of two.
const PIECE: usize = 1 << PIECE_SHIFT;
const PIECE_SHIFT: u32 = 14;

/// Where a name's bytes are.
#[derive(Clone, Copy)]
pub struct TextRef {
    /// Number of the piece, and the offset in it.
    at: u32,
    len: u8,
}

/// The bytes of names.
#[derive(Default)]
pub struct Text {
    /// All have room for [`PIECE`] bytes.
    pieces: TryVec<TryVec<u8>>,
    /// Number of the piece that is being filled; those behind it are empty.
    current: usize,
    /// Bytes stored, those of forgotten names included.
    stored: usize,
    garbage: usize,
}

impl Text {
    /// Makes sure that the next `count` names can be added.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        let bytes = count.saturating_mul(NAME_MAX);
        let left = self.pieces.get(self.current).map_or(0, |piece| PIECE - piece.len());
        if bytes <= left {
            return Ok(());
        }
        self.grow(self.current + 1 + bytes.div_ceil(PIECE - NAME_MAX))
    }

    /// Makes sure that all live names of `other` can be added, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve_for(&mut self, other: &Self) -> Result<()> {
        // A piece is full when the next name does not fit: less than a name's length is lost.
        let live = other.stored.saturating_sub(other.garbage);
        self.grow(self.current + 1 + live.div_ceil(PIECE - NAME_MAX))
    }

    fn grow(&mut self, count: usize) -> Result<()> {
        while self.pieces.len() < count {
            let mut piece = TryVec::new();
            piece.reserve_exact(PIECE)?;
            self.pieces.push(piece)?;
        }
        Ok(())
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// [`Error::NameTooLong`], [`Error::NoMemory`].
    pub fn add(&mut self, name: &[u8]) -> Result<TextRef> {
        let len = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
        if self.pieces.get(self.current).is_some_and(|piece| piece.len() + name.len() > PIECE) {
            self.current += 1;
        }
        self.grow(self.current + 1)?;
        let piece = self.pieces.get_mut(self.current).ok_or(Error::NoMemory)?;
        let number = u32::try_from(self.current).ok().filter(|&n| n < 1 << (32 - PIECE_SHIFT));
        let at = number.ok_or(Error::NoMemory)? << PIECE_SHIFT | piece.len() as u32;
        piece.extend_from_slice(name)?;
        self.stored += name.len();
        Ok(TextRef { at, len })
    }

    /// A name's bytes.
    #[must_use]
    pub fn get(&self, name: TextRef) -> &[u8] {
        let start = name.at as usize % PIECE;
        self.pieces
            .get((name.at >> PIECE_SHIFT) as usize)
            .and_then(|piece| piece.get(start..start + usize::from(name.len)))
            .unwrap_or(&[])
    }

    /// Nobody asks for this name any more.
    pub fn forget(&mut self, name: TextRef) {
        self.garbage += usize::from(name.len);
    }

    /// Whether it pays to copy the live names to a new text.
    #[must_use]
    pub const fn is_mostly_garbage(&self) -> bool {
        self.garbage > 4 * PIECE && self.garbage > self.stored / 2
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.pieces.memory() + self.pieces.iter().map(TryVec::memory).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn names_are_found_again_whatever_their_lengths() {
        let mut text = Text::default();
        let names: Vec<Vec<u8>> =
            (0..2000_usize).map(|i| std::vec![i as u8; 1 + i * 37 % NAME_MAX]).collect();
        let refs: Vec<_> = names.iter().map(|name| text.add(name).unwrap()).collect();
        for (name, at) in names.iter().zip(&refs) {
            assert_eq!(text.get(*at), name);
        }
        for at in &refs[..1900] {
            text.forget(*at);
        }
        assert!(text.is_mostly_garbage());
        let mut copy = Text::default();
        copy.reserve_for(&text).unwrap();
        let room = copy.memory();
        for (name, at) in names.iter().zip(&refs).skip(1900) {
            let at = copy.add(text.get(*at)).unwrap();
            assert_eq!(copy.get(at), name);
        }
        assert_eq!(copy.memory(), room, "what was reserved was enough");
    }
}
