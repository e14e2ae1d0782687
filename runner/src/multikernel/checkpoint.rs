//! Checkpoints: files whose number says what is in them, so that anybody can tell whether one is whole.

/// The file that always is a whole checkpoint.
pub const PATH: &str = "/ckpt";

/// The file that the next one is made in.
const NEXT: &str = "/ckpt.tmp";

/// What checkpoint `number` contains: the stream that the guest's `fill` makes of the number (SplitMix64).
#[must_use]
pub fn content(number: u64) -> Vec<u8> {
    let mut state = number;
    let mut bytes = Vec::with_capacity(length(number) + 8);
    while bytes.len() < length(number) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length(number));
    bytes
}

/// Its length: consecutive ones differ, and few are whole pages.
const fn length(number: u64) -> usize {
    4096 + (number.wrapping_mul(7919) % 30_000) as usize
}

/// Commands of the guest's shell that save checkpoint `number` and then print it.
#[must_use]
pub fn commands(number: u64) -> String {
    format!("fill {NEXT} {} {number}\nmv {NEXT} {PATH}\necho {number}\n", length(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_one_that_the_guest_makes() {
        // The reference value every implementation of the generator is checked against.
        assert_eq!(content(1_234_567)[..8], 6_457_827_717_110_365_317_u64.to_le_bytes());
    }

    #[test]
    fn neighbours_differ() {
        for number in 0..1000 {
            assert_ne!(length(number), length(number + 1));
        }
    }
}
