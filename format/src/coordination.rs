//! The coordination block and the member table (format.md, "Coordination block").
//!
//! Every word here that kernels change is one aligned `u64`, on a cache line of its own where it is
//! hot, and is accessed atomically only.

use crate::assert_layout;
use crate::units::Slot;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The block's magic number, "DXCO" in the byte order of the media.
pub const MAGIC: u32 = 0x4f43_5844;
/// The only revision there is.
pub const REVISION: u32 = 1;
/// Size of the coordination block, in bytes.
pub const SIZE: u64 = 4096;
/// Offset within the block of [`CoordinationBlock::tree`].
pub const TREE_OFFSET: u64 = 64;
/// Offset within the block of [`CoordinationBlock::slots_used`].
pub const SLOTS_USED_OFFSET: u64 = 72;
/// The lease mkdaxfs chooses, in milliseconds.
pub const DEFAULT_LEASE_MS: u32 = 2000;
/// Leases an image may have, in milliseconds.
pub const LEASE_RANGE: core::ops::RangeInclusive<u32> = 10..=3_600_000;

/// The coordination block as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CoordinationBlock {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`REVISION`].
    pub revision: U32,
    /// Zero; keeps the word below on a cache line of its own.
    pub pad0: [u8; 56],
    /// A [`TreeWord`].
    pub tree: U64,
    /// Records of the branch table from this slot on were never used. Only grows.
    pub slots_used: U64,
    /// Zero.
    pub reserved: [u8; 4016],
}

assert_layout!(
    CoordinationBlock, size 4096,
    magic @ 0, revision @ 4, pad0 @ 8, tree @ 64, slots_used @ 72,
    reserved @ 80,
);

/// What is being done to the branch tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TreeOperation {
    /// Nothing.
    Idle,
    /// The record in the slot becomes active, unowned.
    Publish,
    /// The record in the slot becomes active, owned by the member that made it.
    PublishOwned,
    /// The branch in the slot becomes the member's.
    Claim,
    /// The same, and the branch outlives the member.
    ClaimKeep,
    /// The branch in the slot becomes its parent; the parent's other descendants are void.
    Commit,
    /// The branch in the slot is void.
    Abort,
}

impl TreeOperation {
    const fn from_raw(raw: u64) -> Option<Self> {
        Some(match raw {
            0 => Self::Idle,
            1 => Self::Publish,
            2 => Self::PublishOwned,
            3 => Self::Claim,
            4 => Self::ClaimKeep,
            5 => Self::Commit,
            6 => Self::Abort,
            _ => return None,
        })
    }

    const fn raw(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::Publish => 1,
            Self::PublishOwned => 2,
            Self::Claim => 3,
            Self::ClaimKeep => 4,
            Self::Commit => 5,
            Self::Abort => 6,
        }
    }
}

/// The tree word: how often the branch tree (or the set of members) has changed, and what is being
/// done to it now. Operation in bits 0 to 3, slot in bits 4 to 11, member in bits 12 to 19,
/// sequence in bits 20 to 63.
///
/// Installing an operation is one compare-and-swap from an idle word; that is its point of no
/// return, and whoever finds it there can finish it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeWord {
    /// Changes completed.
    pub sequence: u64,
    /// The change in progress.
    pub operation: TreeOperation,
    /// The slot it is about; 0 when idle.
    pub slot: Slot,
    /// The member it is for; 0 when idle.
    pub member: MemberIndex,
}

impl TreeWord {
    /// The largest sequence number.
    pub const MAX_SEQUENCE: u64 = (1 << 44) - 1;

    /// Nothing in progress, after `sequence` changes.
    #[must_use]
    pub const fn idle(sequence: u64) -> Self {
        Self {
            sequence,
            operation: TreeOperation::Idle,
            slot: Slot::new(0),
            member: MemberIndex::new(0),
        }
    }

    /// The word's meaning; `None` for an operation that does not exist.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let Some(operation) = TreeOperation::from_raw(word & 0xf) else { return None };
        Some(Self {
            sequence: word >> 20,
            operation,
            slot: Slot::new((word >> 4) as u32 & 0xff),
            member: MemberIndex::new((word >> 12) as u8),
        })
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.sequence << 20)
            | ((self.member.get() as u64) << 12)
            | ((self.slot.get() as u64 & 0xff) << 4)
            | self.operation.raw()
    }
}

/// Index of a record in the member table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberIndex(u8);

impl MemberIndex {
    /// Wraps a raw index.
    #[must_use]
    pub const fn new(raw: u8) -> Self {
        Self(raw)
    }
    /// The raw index.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Size of one member record, in bytes: two cache lines.
pub const MEMBER_SIZE: u64 = 128;
/// Most members a table may have, and what an image has room for unless its header says otherwise.
pub const MAX_MEMBERS: u32 = 256;
/// Offset within a record of [`MemberRecord::state`].
pub const MEMBER_STATE_OFFSET: u64 = 0;
/// Offset within a record of [`MemberRecord::kernel`].
pub const MEMBER_KERNEL_OFFSET: u64 = 8;
/// Offset within a record of [`MemberRecord::heartbeat`].
pub const MEMBER_HEARTBEAT_OFFSET: u64 = 64;
/// Offset within a record of [`MemberRecord::acknowledged`].
pub const MEMBER_ACKNOWLEDGED_OFFSET: u64 = 72;
/// Offset within a record of [`MemberRecord::following`].
pub const MEMBER_FOLLOWING_OFFSET: u64 = 80;
/// Offset within a record of [`MemberRecord::position`].
pub const MEMBER_POSITION_OFFSET: u64 = 88;
/// Offset within a record of [`MemberRecord::knows`].
pub const MEMBER_KNOWS_OFFSET: u64 = 96;
/// Size of the name field of a member record.
pub const MEMBER_NAME_SIZE: usize = 32;

/// One member's record: a mount in a running kernel. All zero: the place was never used.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MemberRecord {
    /// A [`MemberWord`].
    pub state: U64,
    /// Which kernel it is: the same number in all records of one kernel, chosen at random when the
    /// kernel starts or given to it by its starter.
    pub kernel: U64,
    /// What to call it, NUL-padded; for people only.
    pub name: [u8; MEMBER_NAME_SIZE],
    /// Zero.
    pub reserved0: [u8; 16],
    /// Changes while the member lives.
    pub heartbeat: U64,
    /// The tree sequence up to which the member has dropped what it may no longer see.
    pub acknowledged: U64,
    /// The id of the branch the member shows without owning it; 0: none.
    pub following: U64,
    /// The position in that branch's log up to which the member has read.
    pub position: U64,
    /// The member has looked at no branch with this id, or a higher one. Only grows.
    pub knows: U64,
    /// Zero.
    pub reserved1: [u8; 24],
}

assert_layout!(
    MemberRecord, size 128,
    state @ 0, kernel @ 8, name @ 16, reserved0 @ 48, heartbeat @ 64, acknowledged @ 72,
    following @ 80, position @ 88, knows @ 96, reserved1 @ 104,
);

/// State of a member record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemberState {
    /// Nobody's.
    Free,
    /// Somebody is filling it in.
    Joining,
    /// A mount that is up.
    Alive,
    /// A member whose heartbeat has stopped. It may only be slow: nothing it could write to is used
    /// again before its death is confirmed.
    Expired,
}

/// A member's state word: the state in the low 8 bits, above it the epoch, which goes up with each
/// change, so that no two words of one record are ever the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberWord {
    /// The state.
    pub state: MemberState,
    /// Changes of the record so far. At most 56 bits.
    pub epoch: u64,
}

impl MemberWord {
    /// The word's meaning; `None` for a state that does not exist.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let state = match word & 0xff {
            0 => MemberState::Free,
            1 => MemberState::Joining,
            2 => MemberState::Alive,
            3 => MemberState::Expired,
            _ => return None,
        };
        Some(Self { state, epoch: word >> 8 })
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.epoch << 8)
            | match self.state {
                MemberState::Free => 0,
                MemberState::Joining => 1,
                MemberState::Alive => 2,
                MemberState::Expired => 3,
            }
    }

    /// The next word, with another state.
    #[must_use]
    pub const fn then(self, state: MemberState) -> Self {
        Self { state, epoch: (self.epoch + 1) & ((1 << 56) - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_words_round_trip_and_nonsense_is_refused() {
        for operation in [TreeOperation::Idle, TreeOperation::Claim, TreeOperation::Abort] {
            let word = TreeWord {
                sequence: TreeWord::MAX_SEQUENCE,
                operation,
                slot: Slot::new(255),
                member: MemberIndex::new(200),
            };
            assert_eq!(TreeWord::from_word(word.to_word()), Some(word));
        }
        assert_eq!(TreeWord::from_word(TreeWord::idle(7).to_word()), Some(TreeWord::idle(7)));
        assert_eq!(TreeWord::from_word(0xf), None);
    }

    #[test]
    fn member_words_never_repeat() {
        let free = MemberWord { state: MemberState::Free, epoch: 0 };
        let joining = free.then(MemberState::Joining);
        assert_eq!(MemberWord::from_word(joining.to_word()), Some(joining));
        assert_ne!(joining.then(MemberState::Free).to_word(), free.to_word());
        assert_eq!(MemberWord::from_word(0x99), None);
    }
}
