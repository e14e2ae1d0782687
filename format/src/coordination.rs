//! The coordination block and the member table (format.md, "Coordination block").
//!
//! Every word here that kernels change is one aligned `u64`, on a cache line of its own where it is
//! hot, and is accessed atomically only.

use crate::assert_layout;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The block's magic number, "DXCO" in the byte order of the media.
pub const MAGIC: u32 = 0x4f43_5844;
/// Size of the coordination block, in bytes.
pub const SIZE: u64 = 4096;
/// Offset within the block of [`CoordinationBlock::commit_sequence`].
pub const COMMIT_SEQUENCE_OFFSET: u64 = 64;
/// Offset within the block of [`CoordinationBlock::commit_word`].
pub const COMMIT_WORD_OFFSET: u64 = 128;
/// Size of one member record, in bytes: two cache lines.
pub const MEMBER_SIZE: u64 = 128;
/// Members an image has room for, unless its header says otherwise.
pub const DEFAULT_MEMBERS: u32 = 256;

/// The coordination block as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CoordinationBlock {
    /// [`MAGIC`].
    pub magic: U32,
    /// 1.
    pub revision: U32,
    /// Zero; keeps the words below on cache lines of their own.
    pub pad0: [u8; 56],
    /// Counts changes of the branch tree: creation, commit, abort. A mount compares it with the
    /// value it last saw to learn that its branch may have ended.
    pub commit_sequence: U64,
    /// Zero.
    pub pad1: [u8; 56],
    /// Who is changing the branch tree: 0, or the branch id (56 bits) and, in the low 8, the step.
    pub commit_word: U64,
    /// Zero.
    pub reserved: [u8; 3960],
}

assert_layout!(
    CoordinationBlock, size 4096,
    magic @ 0, revision @ 4, pad0 @ 8, commit_sequence @ 64, pad1 @ 72, commit_word @ 128,
    reserved @ 136,
);

/// One member's record. All zero: the place is free.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MemberRecord {
    /// State and epoch of the member: 0 free.
    pub state: U64,
    /// Who it is, chosen at random when it joins.
    pub identity: U64,
    /// Counts up while the member lives.
    pub heartbeat: U64,
    /// The commit sequence up to which the member has dropped what it no longer may see.
    pub acknowledged: U64,
    /// Zero.
    pub reserved: [u8; 96],
}

assert_layout!(
    MemberRecord, size 128,
    state @ 0, identity @ 8, heartbeat @ 16, acknowledged @ 24, reserved @ 32,
);
