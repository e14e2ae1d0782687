//! The superblock: the first 4096 bytes of the range (format.md, "Superblock").

use crate::assert_layout;
use crate::extension::{ExtensionHeader, EXTENSION_OFFSET};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The superblock's magic number, "3xad" in the byte order of the media.
pub const MAGIC: u32 = 0x6461_7833;
/// Size of the superblock, in bytes.
pub const SIZE: u64 = 4096;
/// Offset of `next_branch_id`, an atomic word in a writable image.
pub const NEXT_BRANCH_ID_OFFSET: u64 = 56;

/// The superblock as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`crate::VERSION`].
    pub version: U32,
    /// v3 defines none; written as 0, ignored.
    pub flags: U32,
    /// [`crate::BLOCK_SIZE`].
    pub block_size: U32,
    /// Bytes of the image, all regions included.
    pub total_size: U64,
    /// Region offset of the base image.
    pub base_offset: U64,
    /// Bytes of the base image.
    pub base_size: U64,
    /// Region offset of the branch table; 0 in a static image.
    pub branch_table_offset: U64,
    /// Records in the branch table; 0 in a static image, at most [`crate::branch::MAX_BRANCHES`].
    pub branch_table_entries: U32,
    /// v3: branches in state active. Informational here; the records are the truth.
    pub active_branches: U32,
    /// The id the next branch gets.
    pub next_branch_id: U64,
    /// v3: the number the next new inode gets. The base image's `inode_count` + 1.
    pub next_inode_id: U64,
    /// Region offset of the delta region; 0 in a static image.
    pub delta_region_offset: U64,
    /// Bytes of the delta region.
    pub delta_region_size: U64,
    /// v3: where the next log is allocated. At the region's end in a segmented image, so that a v3
    /// writer finds it full.
    pub delta_alloc_offset: U64,
    /// Zero.
    pub reserved_before: [u8; 32],
    /// The extension header; all zero in a pure v3 image.
    pub extension: ExtensionHeader,
    /// Zero.
    pub reserved_after: [u8; 3840],
}

assert_layout!(
    Superblock, size 4096,
    magic @ 0, version @ 4, flags @ 8, block_size @ 12, total_size @ 16, base_offset @ 24,
    base_size @ 32, branch_table_offset @ 40, branch_table_entries @ 48, active_branches @ 52,
    next_branch_id @ 56, next_inode_id @ 64, delta_region_offset @ 72, delta_region_size @ 80,
    delta_alloc_offset @ 88, reserved_before @ 96, extension @ 128, reserved_after @ 256,
);
const _: () = assert!(core::mem::offset_of!(Superblock, extension) as u64 == EXTENSION_OFFSET);
