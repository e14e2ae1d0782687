//! Reproducible file contents, for the `fill` command and for whoever checks what it wrote.

/// An endless stream of bytes that depends on its seed alone: the outputs of SplitMix64 started at
/// `seed`, as little-endian words one after another.
///
/// Word `i` (from 0) is, in 64-bit wrapping arithmetic:
///
/// ```text
/// z = seed + (i + 1) * 0x9e3779b97f4a7c15
/// z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
/// z = (z ^ (z >> 27)) * 0x94d049bb133111eb
/// word = z ^ (z >> 31)
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
    /// The word being given out, and how many of its bytes are still to come.
    word: [u8; 8],
    left: usize,
}

impl Stream {
    /// The stream of `seed`, at its start.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, word: [0; 8], left: 0 }
    }

    /// The next word of SplitMix64.
    const fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `into` with the next bytes. How a stream is cut into calls makes no difference.
    pub fn fill(&mut self, into: &mut [u8]) {
        let (head, rest) = into.split_at_mut(self.left.min(into.len()));
        head.copy_from_slice(&self.word[8 - self.left..][..head.len()]);
        self.left -= head.len();
        let mut words = rest.chunks_exact_mut(8);
        for chunk in &mut words {
            chunk.copy_from_slice(&self.next_word().to_le_bytes());
        }
        let tail = words.into_remainder();
        if !tail.is_empty() {
            self.word = self.next_word().to_le_bytes();
            tail.copy_from_slice(&self.word[..tail.len()]);
            self.left = 8 - tail.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_splitmix64s() {
        let mut bytes = [0; 24];
        Stream::new(1_234_567).fill(&mut bytes);
        let words = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
        // The reference values every implementation of the generator is checked against.
        assert!(words.eq([
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ]));
    }

    #[test]
    fn cutting_a_stream_differently_changes_nothing() {
        let mut whole = [0; 100];
        Stream::new(7).fill(&mut whole);
        for step in 1..=33 {
            let mut cut = [0; 100];
            let mut stream = Stream::new(7);
            for piece in cut.chunks_mut(step) {
                stream.fill(piece);
            }
            assert_eq!(whole, cut, "steps of {step}");
        }
    }
}
