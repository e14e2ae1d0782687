//! The DAXFS on-media layout: v3 exactly, and the extensions this project declares.
//!
//! This crate owns every structure that lies in the shared range, with compile-time assertions of
//! its size and of every field offset, and nothing else: no I/O, no allocation, no filesystem
//! logic. `docs/format.md` is the specification; item docs name the section they restate.
//!
//! # Invariants
//!
//! - Every structure is little endian, has alignment 1 and no implicit padding: any byte string of
//!   the right length can be read as one. A structure read from the range is therefore *data*, not
//!   yet a fact: the engine checks it before use.
//! - A structure is always a copy. There is no way in this crate to get a reference into the range.

#![no_std]
#![forbid(unsafe_code)]

pub mod base;
pub mod branch;
pub mod coordination;
pub mod extension;
pub mod handover;
pub mod ioctl;
pub mod log;
pub mod mailbox;
pub mod mode;
pub mod multikernel;
pub mod segment;
pub mod superblock;
pub mod units;

pub use units::{
    BaseOffset, BranchId, Ino, LogPosition, RegionOffset, SegmentIndex, Slot, Timestamp,
};

/// Size of a block and of a page, in bytes. v3 knows no other (format.md, "Conventions").
pub const BLOCK_SIZE: u64 = 4096;
/// log2 of [`BLOCK_SIZE`].
pub const BLOCK_SHIFT: u32 = 12;
/// The format version every superblock names.
pub const VERSION: u32 = 3;
/// Longest name of a directory entry, in bytes (no terminator).
pub const NAME_MAX: usize = 128;
/// Longest symbolic link target, in bytes without its terminating NUL (Linux's `PATH_MAX` - 1).
pub const SYMLINK_MAX: usize = 4095;

/// Rounds `value` up to a multiple of `align`, a power of two; `None` on overflow.
#[must_use]
pub const fn align_up(value: u64, align: u64) -> Option<u64> {
    match value.checked_add(align - 1) {
        Some(v) => Some(v & !(align - 1)),
        None => None,
    }
}

/// Asserts the size of a structure and the offset of each named field at compile time.
macro_rules! assert_layout {
    ($ty:ty, size $size:expr $(, $field:ident @ $off:expr)* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$ty>() == $size);
            assert!(core::mem::align_of::<$ty>() == 1);
            $(assert!(core::mem::offset_of!($ty, $field) == $off);)*
        };
    };
}
pub(crate) use assert_layout;
