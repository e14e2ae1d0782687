//! The extension header in the superblock's reserved area (format.md, "Extension header").
//!
//! It declares what a plain v3 driver does not know, with ext4's meaning of the three feature
//! words, and says where the structures of the segmented delta region lie.

use crate::assert_layout;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Region offset of the extension header.
pub const EXTENSION_OFFSET: u64 = 128;
/// The header's magic number, "DXEX" in the byte order of the media.
pub const MAGIC: u32 = 0x5845_5844;
/// The only revision there is.
pub const REVISION: u32 = 1;

bitflags::bitflags! {
    /// Features a driver may ignore.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Compat: u64 {}

    /// Features a driver must know to write.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RoCompat: u64 {}

    /// Features a driver must know to mount at all.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Incompat: u64 {
        /// The delta region is divided into segments, logs are chains of log segments, write
        /// entries may refer to data segments, and the coordination block exists.
        const SEGMENTS = 1 << 0;
    }
}

/// The extension header as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtensionHeader {
    /// [`MAGIC`]; 0 where there is no header.
    pub magic: U32,
    /// [`REVISION`].
    pub revision: U32,
    /// [`Compat`] bits.
    pub compat: U64,
    /// [`RoCompat`] bits.
    pub ro_compat: U64,
    /// [`Incompat`] bits.
    pub incompat: U64,
    /// The image's identity, random unless made reproducibly.
    pub uuid: [u8; 16],
    /// Region offset of the coordination block.
    pub coordination_offset: U64,
    /// Region offset of the member table.
    pub member_table_offset: U64,
    /// Region offset of the segment map.
    pub segment_map_offset: U64,
    /// Region offset of segment 0, a multiple of the segment size.
    pub segments_offset: U64,
    /// Number of segments.
    pub segment_count: U32,
    /// log2 of the segment size, within [`crate::segment::SHIFT_RANGE`].
    pub segment_shift: U32,
    /// Records in the member table.
    pub member_count: U32,
    /// How long a member's heartbeat may rest before it counts as dead, in milliseconds on the
    /// observer's clock; within [`crate::coordination::LEASE_RANGE`].
    pub lease_ms: U32,
    /// Zero.
    pub reserved: [u8; 32],
}

assert_layout!(
    ExtensionHeader, size 128,
    magic @ 0, revision @ 4, compat @ 8, ro_compat @ 16, incompat @ 24, uuid @ 32,
    coordination_offset @ 48, member_table_offset @ 56, segment_map_offset @ 64,
    segments_offset @ 72, segment_count @ 80, segment_shift @ 84, member_count @ 88,
    lease_ms @ 92, reserved @ 96,
);
