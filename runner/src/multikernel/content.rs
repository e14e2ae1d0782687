//! Contents of files that anybody can tell from a few numbers: a kernel makes them by a command of its
//! own, and this process knows what they have to be.

use super::kernel::Kind;
use sha2::{Digest, Sha256};

/// What is in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// The stream that the guest's `fill` makes of a seed (SplitMix64).
    Stream {
        /// The seed.
        seed: u64,
        /// Bytes of it.
        length: usize,
    },
    /// Numbers in decimal, one in a line, as `seq` prints them.
    Numbers {
        /// The first one.
        first: u64,
        /// How many.
        count: u64,
    },
}

impl Content {
    /// Content that a kernel can make, of about `length` bytes; another one for each number.
    #[must_use]
    pub const fn new(kind: Kind, number: u64, length: usize) -> Self {
        match kind {
            Kind::Guest => Self::Stream { seed: number, length },
            Kind::Linux => {
                // Lines of eleven bytes.
                let first = 1_000_000_000 + (number % 100_000) * 10_000;
                Self::Numbers { first, count: 1 + length as u64 / 11 }
            }
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Stream { seed, length } => stream(seed, length),
            Self::Numbers { first, count } => (first..first + count)
                .flat_map(|number| format!("{number}\n").into_bytes())
                .collect(),
        }
    }

    /// Their SHA-256, as `sha256sum` prints it.
    #[must_use]
    pub fn sha256(self) -> String {
        Sha256::digest(self.bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Stream { length, .. } => length,
            Self::Numbers { .. } => self.bytes().len(),
        }
    }

    /// The command that makes a file of it. A file that is there is replaced.
    #[must_use]
    pub fn command(self, path: &str) -> String {
        match self {
            Self::Stream { seed, length } => format!("fill {path} {length} {seed}"),
            Self::Numbers { first, count } => format!("seq {first} {} >{path}", first + count - 1),
        }
    }
}

fn stream(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_one_that_the_guest_makes() {
        // The reference value every implementation of the generator is checked against.
        let content = Content::new(Kind::Guest, 1_234_567, 100).bytes();
        assert_eq!(content[..8], 6_457_827_717_110_365_317_u64.to_le_bytes());
        assert_eq!(content.len(), 100);
    }

    #[test]
    fn numbers_stand_in_lines() {
        let content = Content::new(Kind::Linux, 3, 30);
        assert_eq!(content.bytes(), b"1000030000\n1000030001\n1000030002\n");
        assert_eq!(content.command("/x"), "seq 1000030000 1000030002 >/x");
        assert_eq!(content.length(), 33);
    }

    #[test]
    fn the_sum_is_what_the_program_prints() {
        // seq 1000010000 1000011092 | sha256sum
        let sum = Content::new(Kind::Linux, 1, 12_015).sha256();
        assert_eq!(sum, "36306a52bf2229622b074a255fa2d16546ee9873a9aef918704b4c4b489b14ef");
    }
}
