//! Segments of the delta region, and the map that says whose they are (format.md, "Segments").

use crate::assert_layout;
use crate::units::BranchId;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// log2 of the segment sizes an image may have: 64 KiB to 16 MiB.
pub const SHIFT_RANGE: core::ops::RangeInclusive<u32> = 16..=24;
/// log2 of the segment size mkdaxfs chooses: 256 KiB.
pub const DEFAULT_SHIFT: u32 = 18;
/// Size of one word of the segment map, in bytes.
pub const MAP_WORD_SIZE: u64 = 8;
/// A log segment's magic number, "DXLG" in the byte order of the media.
pub const LOG_MAGIC: u32 = 0x474c_5844;
/// Size of a log segment's header, in bytes; its entries start behind it.
pub const LOG_HEADER_SIZE: u32 = 64;
/// Offset within a log segment of [`LogSegmentHeader::next`].
pub const LOG_NEXT_OFFSET: u64 = 24;
/// Offset within a log segment of [`LogSegmentHeader::end`].
pub const LOG_END_OFFSET: u64 = 32;
/// Offset within the head log segment of [`LogSegmentHeader::published`].
pub const LOG_PUBLISHED_OFFSET: u64 = 40;

/// What a segment is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SegmentKind {
    /// Log entries of its owner.
    Log,
    /// Data pages of its owner.
    Data,
}

/// One word of the segment map: kind in the low 8 bits, then a generation of 16 bits, then the
/// owner's branch id. Kind 0 is a free segment; the generation stays when a segment is freed and
/// goes up when it is taken, so that a word does not come back while anybody can remember it.
///
/// Allocation is one compare-and-swap from a free word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentWord {
    /// Whose it is.
    pub state: SegmentState,
    /// How often it was taken, modulo 2^16.
    pub generation: u16,
}

/// Whose a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Nobody's.
    Free,
    /// A branch's.
    Owned {
        /// Whose.
        owner: BranchId,
        /// What for.
        kind: SegmentKind,
    },
}

impl SegmentWord {
    /// The word's meaning; `None` for a kind that does not exist, an owner without a kind or a kind
    /// without an owner.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let owner = BranchId::new(word >> 24);
        let kind = match word & 0xff {
            0 => None,
            1 => Some(SegmentKind::Log),
            2 => Some(SegmentKind::Data),
            _ => return None,
        };
        let state = match (kind, owner.is_none()) {
            (None, true) => SegmentState::Free,
            (Some(kind), false) => SegmentState::Owned { owner, kind },
            _ => return None,
        };
        Some(Self { state, generation: (word >> 8) as u16 })
    }

    /// The map word. Ids above [`BranchId::MAX`] do not fit; none is ever handed out.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let state = match self.state {
            SegmentState::Free => 0,
            SegmentState::Owned { owner, kind } => {
                (owner.get() << 24)
                    | match kind {
                        SegmentKind::Log => 1,
                        SegmentKind::Data => 2,
                    }
            }
        };
        state | ((self.generation as u64) << 8)
    }

    /// The word after the segment was taken.
    #[must_use]
    pub const fn taken(self, owner: BranchId, kind: SegmentKind) -> Self {
        let state = SegmentState::Owned { owner, kind };
        Self { state, generation: self.generation.wrapping_add(1) }
    }

    /// The word after the segment was given back.
    #[must_use]
    pub const fn freed(self) -> Self {
        Self { state: SegmentState::Free, generation: self.generation }
    }

    /// The word after the segment passed to another branch.
    #[must_use]
    pub const fn given_to(self, owner: BranchId) -> Self {
        match self.state {
            SegmentState::Free => self,
            SegmentState::Owned { kind, .. } => {
                Self { state: SegmentState::Owned { owner, kind }, generation: self.generation }
            }
        }
    }
}

/// The header of a log segment as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogSegmentHeader {
    /// [`LOG_MAGIC`].
    pub magic: U32,
    /// Place of this segment in its chain, from 0.
    pub ordinal: U32,
    /// The branch that wrote it; stays when a commit gives the segment to the parent.
    pub writer: U64,
    /// Zero.
    pub reserved0: U64,
    /// Index + 1 of the next segment of the chain; 0 at its end. Written once, after `end`.
    pub next: U64,
    /// Bytes of this segment that are used, header included; valid once `next` is not 0.
    pub end: U64,
    /// In the head segment: the [`crate::LogPosition`] up to which the whole chain is published.
    pub published: U64,
    /// Zero.
    pub reserved: [u8; 16],
}

assert_layout!(
    LogSegmentHeader, size 64,
    magic @ 0, ordinal @ 4, writer @ 8, reserved0 @ 16, next @ 24, end @ 32, published @ 40,
    reserved @ 48,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_words_round_trip_and_nonsense_is_refused() {
        for state in [
            SegmentState::Free,
            SegmentState::Owned { owner: BranchId::new(1), kind: SegmentKind::Log },
            SegmentState::Owned { owner: BranchId::MAX, kind: SegmentKind::Data },
        ] {
            let word = SegmentWord { state, generation: 0xfedc };
            assert_eq!(SegmentWord::from_word(word.to_word()), Some(word));
        }
        assert_eq!(SegmentWord::from_word(1), None, "kind without owner");
        assert_eq!(SegmentWord::from_word(1 << 24), None, "owner without kind");
        assert_eq!(SegmentWord::from_word(1 << 24 | 3), None, "unknown kind");
    }

    #[test]
    fn a_segment_taken_again_has_another_word() {
        let free = SegmentWord { state: SegmentState::Free, generation: 0 };
        let taken = free.taken(BranchId::new(3), SegmentKind::Data);
        let again = taken.freed().taken(BranchId::new(3), SegmentKind::Data);
        assert_ne!(taken, again);
    }
}
