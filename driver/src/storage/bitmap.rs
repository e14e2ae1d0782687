//! A fixed number of bits.

use super::TryVec;
use crate::error::{Error, Result};

/// A bitmap. Bits past its end read as 0 and cannot be set.
#[derive(Default)]
pub struct Bitmap {
    words: TryVec<u64>,
    len: u64,
}

impl Bitmap {
    /// `len` bits, all 0.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new(len: u64) -> Result<Self> {
        let words = usize::try_from(len.div_ceil(64)).map_err(|_| Error::NoMemory)?;
        let mut map = Self { words: TryVec::new(), len };
        map.words.resize(words, 0)?;
        Ok(map)
    }

    /// Whether bit `at` is 1.
    #[must_use]
    pub fn get(&self, at: u64) -> bool {
        self.word(at).is_some_and(|w| w & (1 << (at % 64)) != 0)
    }

    /// Makes bit `at` 1; says whether it was 0 before.
    pub fn set(&mut self, at: u64) -> bool {
        if at >= self.len {
            return false;
        }
        let Some(word) = self.words.get_mut((at / 64) as usize) else { return false };
        let was_clear = *word & (1 << (at % 64)) == 0;
        *word |= 1 << (at % 64);
        was_clear
    }

    /// Makes the bits in `from..to` 1; returns how many were 0 before.
    pub fn set_run(&mut self, from: u64, to: u64) -> u64 {
        let to = to.min(self.len);
        let mut added = 0;
        let mut at = from;
        while at < to {
            let end = (at / 64 + 1).saturating_mul(64).min(to);
            let Some(word) = self.words.get_mut((at / 64) as usize) else { break };
            let bits = (u64::MAX >> (64 - (end - at))) << (at % 64);
            added += u64::from((bits & !*word).count_ones());
            *word |= bits;
            at = end;
        }
        added
    }

    /// Makes bit `at` 0; says whether it was 1 before.
    pub fn clear(&mut self, at: u64) -> bool {
        let Some(word) = self.words.get_mut((at / 64) as usize) else { return false };
        let was_set = *word & (1 << (at % 64)) != 0;
        *word &= !(1 << (at % 64));
        was_set
    }

    /// The first 0 bit in `from..to`.
    #[must_use]
    pub fn first_clear(&self, from: u64, to: u64) -> Option<u64> {
        let to = to.min(self.len);
        let mut at = from;
        while at < to {
            // Bits below `at` count as set.
            let word = self.word(at)? | ((1_u64 << (at % 64)) - 1);
            if word != u64::MAX {
                let found = at / 64 * 64 + u64::from(word.trailing_ones());
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The first 1 bit in `from..to`, or `to`.
    #[must_use]
    pub fn first_set(&self, from: u64, to: u64) -> u64 {
        let mut at = from;
        while at < to {
            let Some(word) = self.word(at) else { return to };
            let word = word & !((1_u64 << (at % 64)) - 1);
            if word != 0 {
                return (at / 64 * 64 + u64::from(word.trailing_zeros())).min(to);
            }
            at = (at / 64 + 1) * 64;
        }
        to
    }

    /// How many bits are 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.words.get(usize::try_from(at / 64).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words_and_at_the_end() {
        let mut map = Bitmap::new(130).unwrap();
        for bit in 0..130 {
            assert!(map.set(bit));
        }
        assert!(!map.set(130), "past the end");
        assert_eq!(map.first_clear(0, 200), None);
        map.clear(64);
        map.clear(129);
        assert_eq!(map.first_clear(0, 130), Some(64));
        assert_eq!(map.first_clear(65, 130), Some(129));
        assert_eq!(map.first_set(64, 130), 65);
        assert_eq!(map.first_set(129, 130), 130);
    }

    #[test]
    fn a_run_is_set_as_its_bits_are() {
        for (from, to) in
            [(0, 0), (3, 4), (0, 64), (5, 64), (64, 130), (1, 129), (60, 200), (200, 300)]
        {
            let (mut one_by_one, mut run) = (Bitmap::new(130).unwrap(), Bitmap::new(130).unwrap());
            for map in [&mut one_by_one, &mut run] {
                for bit in [2, 63, 64, 100] {
                    map.set(bit);
                }
            }
            let added: u64 = (from..to).map(|bit| u64::from(one_by_one.set(bit))).sum();
            assert_eq!(run.set_run(from, to), added, "{from}..{to}");
            assert!((0..140).all(|bit| run.get(bit) == one_by_one.get(bit)), "{from}..{to}");
        }
    }
}
