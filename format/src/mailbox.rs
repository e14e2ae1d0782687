//! The mailbox: what a kernel that another one started shares with its starter, besides the range
//! (docs/multikernel.md, "The mailbox").
//!
//! It lies in the started kernel's own memory: a page with a header and the smaller ring, then the
//! larger ring. A ring has one producer and one consumer. Each of them counts the bytes it has put in
//! or taken out, ever; byte `n` is at `n % size` of the ring's bytes. The producer stores its count
//! with release after the bytes, the consumer its own after it has copied them.
//!
//! Either side may say anything: a count that is impossible (less taken out than there is room for, more
//! taken out than put in) means that the other side does not keep to this, and is treated as an empty
//! or a full ring.

use crate::assert_layout;
use crate::handover::ExitStatus;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The mailbox's magic number, "DAXMAILB" in the byte order of the record.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DAXMAILB");
/// The only version there is.
pub const VERSION: u32 = 1;

/// Where the bytes of the ring to the started kernel are.
pub const INPUT_DATA: u64 = 2048;
/// How many.
pub const INPUT_SIZE: u64 = 2048;
/// Where the bytes of the ring from the started kernel are.
pub const OUTPUT_DATA: u64 = 4096;
/// How many.
pub const OUTPUT_SIZE: u64 = 32 << 10;
/// Bytes of a mailbox, both rings included.
pub const SIZE: u64 = OUTPUT_DATA + OUTPUT_SIZE;

/// Typed before a line, this has a shell run the line as a program asks it to: what the commands print
/// is between [`ANSWER`] and [`END`].
pub const ASK: u8 = 0x01;
/// Printed before the answer to a line that began with [`ASK`].
pub const ANSWER: u8 = 0x02;
/// Printed behind it; the commands' exit status, in decimal, and a line feed follow.
pub const END: &[u8] = b"\x03status ";

/// The counts of a ring, each in a cache line of its own: it has one writer.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RingCounts {
    /// Bytes put in, ever; the producer's.
    pub produced: U64,
    /// Zero.
    pub reserved0: [u8; 56],
    /// Bytes taken out, ever; the consumer's.
    pub consumed: U64,
    /// Zero.
    pub reserved1: [u8; 56],
}

assert_layout!(RingCounts, size 128, produced @ 0, reserved0 @ 8, consumed @ 64, reserved1 @ 72);

/// The start of the mailbox.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mailbox {
    /// [`MAGIC`].
    pub magic: U64,
    /// [`VERSION`].
    pub version: U32,
    /// [`SIZE`].
    pub size: U32,
    /// A [`Progress`]; a word that the started kernel stores.
    pub progress: U64,
    /// Ticks of the started kernel's timer: it runs as long as this changes.
    pub ticks: U64,
    /// Zero.
    pub reserved: [u8; 32],
    /// The ring from the started kernel to whoever watches it: its console's output.
    pub output: RingCounts,
    /// The ring to the started kernel: what is typed at its console.
    pub input: RingCounts,
}

assert_layout!(
    Mailbox, size 320,
    magic @ 0, version @ 8, size @ 12, progress @ 16, ticks @ 24, reserved @ 32,
    output @ 64, input @ 192,
);

/// How far a started kernel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is in memory, and has not said anything.
    Loaded,
    /// It runs.
    Running,
    /// It has mounted the range.
    Mounted,
    /// It has ended; its processor waits to be reset.
    Ended(ExitStatus),
}

impl Progress {
    const ENDED: u64 = 3;

    /// The word: what it is in the lowest byte; an exit status, as for a port, in the one above.
    #[must_use]
    pub const fn raw(self) -> u64 {
        match self {
            Self::Loaded => 0,
            Self::Running => 1,
            Self::Mounted => 2,
            Self::Ended(status) => Self::ENDED | ((status.to_port() as u64) << 8),
        }
    }

    /// What a word says; `None` for nonsense.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match raw {
            0 => Some(Self::Loaded),
            1 => Some(Self::Running),
            2 => Some(Self::Mounted),
            _ if raw & 0xff == Self::ENDED && raw >> 16 == 0 => {
                match ExitStatus::from_port((raw >> 8) as u8) {
                    Some(status) => Some(Self::Ended(status)),
                    None => None,
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_its_word() {
        for progress in [
            Progress::Loaded,
            Progress::Running,
            Progress::Mounted,
            Progress::Ended(ExitStatus::Shell(0)),
            Progress::Ended(ExitStatus::Shell(127)),
            Progress::Ended(ExitStatus::Exception),
        ] {
            assert_eq!(Progress::from_raw(progress.raw()), Some(progress));
        }
        for nonsense in [4, 3, 0x1_0103, u64::MAX] {
            assert_eq!(Progress::from_raw(nonsense), None, "{nonsense:#x}");
        }
    }
}
