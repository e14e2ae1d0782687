//! The branch table (format.md, "Branch table").

use crate::assert_layout;
use crate::coordination::MemberIndex;
use crate::units::SegmentIndex;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of one record, in bytes.
pub const RECORD_SIZE: u64 = 128;
/// Most records a table may have.
pub const MAX_BRANCHES: u32 = 256;
/// Size of a name field; a name has at most one byte less, for its terminating NUL.
pub const NAME_SIZE: usize = 32;
/// The name of the root of the branch tree.
pub const MAIN: &[u8] = b"main";
/// Offset within a record of the aligned word that holds `state` (low half) and `refcount`.
pub const STATE_WORD_OFFSET: u64 = 40;
/// Offset within a record of [`BranchRecord::log`].
pub const LOG_WORD_OFFSET: u64 = 88;

/// State of a branch record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BranchState {
    /// The record is unused.
    Free,
    /// The branch can be mounted.
    Active,
    /// Its changes belong to its parent now; the record lives on while they are being re-owned.
    Committed,
    /// Its changes are void; the record lives on while its segments are being given back.
    Aborted,
    /// Extension: somebody is filling the record in.
    Making,
}

impl BranchState {
    /// The state a record's `state` field names.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::Free,
            1 => Self::Active,
            2 => Self::Committed,
            3 => Self::Aborted,
            4 => Self::Making,
            _ => return None,
        })
    }

    /// The number a record's `state` field holds for it.
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::Free => 0,
            Self::Active => 1,
            Self::Committed => 2,
            Self::Aborted => 3,
            Self::Making => 4,
        }
    }
}

/// A record's state word: `state` in the low half; in the high half, where v3 counts mounts, who
/// owns the branch (9 bits, member index + 1), whether it outlives its owner (1 bit), and a
/// generation (22 bits) that goes up with each change, so that a word of one record does not come
/// back while anybody can remember it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BranchWord {
    /// The state.
    pub state: BranchState,
    /// The mount that may write to it.
    pub owner: Option<MemberIndex>,
    /// Whether it stays when that mount ends.
    pub keep: bool,
    /// Changes of the word so far, modulo 2^22.
    pub generation: u32,
}

impl BranchWord {
    const OWNER_MASK: u64 = 0x1ff;
    const KEEP: u64 = 1 << 9;
    const GENERATION_SHIFT: u32 = 10;
    const GENERATION_MASK: u32 = (1 << 22) - 1;

    /// The word's meaning; `None` for a state or an owner that cannot be.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let Some(state) = BranchState::from_raw(word as u32) else { return None };
        let high = word >> 32;
        let owner = match high & Self::OWNER_MASK {
            0 => None,
            index @ 1..=256 => Some(MemberIndex::new((index - 1) as u8)),
            _ => return None,
        };
        Some(Self {
            state,
            owner,
            keep: high & Self::KEEP != 0,
            generation: (high >> Self::GENERATION_SHIFT) as u32,
        })
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let owner = match self.owner {
            None => 0,
            Some(index) => index.get() as u64 + 1,
        };
        let keep = if self.keep { Self::KEEP } else { 0 };
        let generation =
            ((self.generation & Self::GENERATION_MASK) as u64) << Self::GENERATION_SHIFT;
        ((generation | keep | owner) << 32) | self.state.raw() as u64
    }

    /// The next word, with another state and owner.
    #[must_use]
    pub const fn then(self, state: BranchState, owner: Option<MemberIndex>, keep: bool) -> Self {
        let generation = (self.generation + 1) & Self::GENERATION_MASK;
        Self { state, owner, keep, generation }
    }
}

/// A record's log word: the head segment of the log chain, index + 1, in the low half, 0 while
/// nothing was written; above it a generation as in [`BranchWord`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogWord {
    /// The head of the chain.
    pub head: Option<SegmentIndex>,
    /// Changes of the word so far, modulo 2^32.
    pub generation: u32,
}

impl LogWord {
    /// The word's meaning.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let head = match (word as u32).checked_sub(1) {
            None => None,
            Some(index) => Some(SegmentIndex::new(index)),
        };
        Self { head, generation: (word >> 32) as u32 }
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let head = match self.head {
            None => 0,
            Some(index) => index.get() as u64 + 1,
        };
        ((self.generation as u64) << 32) | (head & 0xffff_ffff)
    }

    /// The next word, with another head.
    #[must_use]
    pub const fn then(self, head: SegmentIndex) -> Self {
        Self { head: Some(head), generation: self.generation.wrapping_add(1) }
    }
}

/// One branch record as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BranchRecord {
    /// The branch's id.
    pub branch_id: U64,
    /// Its parent's id; 0 for the root branch.
    pub parent_id: U64,
    /// v3: region offset of its log. 0 in a segmented image (`log` says).
    pub delta_log_offset: U64,
    /// v3: bytes of log written. 0 in a segmented image.
    pub delta_log_size: U64,
    /// v3: bytes the log may have. 0 in a segmented image.
    pub delta_log_capacity: U64,
    /// A [`BranchState`].
    pub state: U32,
    /// v3: mounts of the branch. In a segmented image the high half of a [`BranchWord`].
    pub refcount: U32,
    /// v3: the lowest inode number the branch has not used. 0 in a segmented image.
    pub next_local_ino: U64,
    /// The name, NUL-terminated.
    pub name: [u8; NAME_SIZE],
    /// Extension: a [`LogWord`].
    pub log: U64,
    /// Zero.
    pub reserved: [u8; 32],
}

assert_layout!(
    BranchRecord, size 128,
    branch_id @ 0, parent_id @ 8, delta_log_offset @ 16, delta_log_size @ 24,
    delta_log_capacity @ 32, state @ 40, refcount @ 44, next_local_ino @ 48, name @ 56,
    log @ 88, reserved @ 96,
);

/// A branch name: 1 to 31 bytes, no NUL, no '/', no control bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BranchName {
    bytes: [u8; NAME_SIZE],
    len: u8,
}

impl BranchName {
    /// The root branch's name.
    #[must_use]
    pub fn main() -> Self {
        let mut bytes = [0; NAME_SIZE];
        bytes[..MAIN.len()].copy_from_slice(MAIN);
        Self { bytes, len: MAIN.len() as u8 }
    }

    /// A name from the bytes a user gave; `None` if it cannot be one.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        if name.is_empty() || name.len() >= NAME_SIZE {
            return None;
        }
        if name.iter().any(|&b| b < b' ' || b == b'/' || b == 0x7f || b == b',') {
            return None;
        }
        let mut bytes = [0; NAME_SIZE];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self { bytes, len: name.len() as u8 })
    }

    /// A name from a record's field; `None` if it is not terminated or not a name.
    #[must_use]
    pub fn from_field(field: &[u8; NAME_SIZE]) -> Option<Self> {
        let len = field.iter().position(|&b| b == 0)?;
        Self::new(&field[..len])
    }

    /// The name's bytes, without terminator.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The name as a record's field.
    #[must_use]
    pub const fn to_field(self) -> [u8; NAME_SIZE] {
        self.bytes
    }
}

impl core::fmt::Display for BranchName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl core::fmt::Debug for BranchName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BranchName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_its_field_with_a_terminator() {
        assert!(BranchName::new(&[b'x'; 31]).is_some());
        assert!(BranchName::new(&[b'x'; 32]).is_none());
        assert!(BranchName::new(b"").is_none());
        assert!(BranchName::new(b"a/b").is_none());
        assert!(BranchName::new(b"a,b").is_none(), "a comma would split mount options");
    }

    #[test]
    fn state_words_round_trip_and_never_repeat() {
        let word = BranchWord {
            state: BranchState::Active,
            owner: Some(MemberIndex::new(255)),
            keep: true,
            generation: (1 << 22) - 1,
        };
        assert_eq!(BranchWord::from_word(word.to_word()), Some(word));
        let next = word.then(word.state, word.owner, word.keep);
        assert_ne!(next.to_word(), word.to_word());
        assert_eq!(BranchWord::from_word(1 | (0x1ff << 32)), None, "no such member");
        assert_eq!(BranchWord::from_word(9), None, "no such state");
        assert_eq!(BranchWord::from_word(0).map(|word| word.state), Some(BranchState::Free));
    }

    #[test]
    fn log_words_round_trip() {
        let none = LogWord::default();
        assert_eq!(none.to_word(), 0);
        let word = none.then(SegmentIndex::new(0));
        assert_eq!(LogWord::from_word(word.to_word()), word);
        assert_ne!(word.then(SegmentIndex::new(0)), word);
    }

    #[test]
    fn an_unterminated_field_is_no_name() {
        assert!(BranchName::from_field(&[b'x'; 32]).is_none());
        assert_eq!(
            BranchName::from_field(&BranchName::main().to_field()).unwrap().as_bytes(),
            MAIN
        );
    }
}
