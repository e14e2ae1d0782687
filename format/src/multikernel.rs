//! Ioctls of `/dev/daxfs_mk`: how a loader starts and stops kernels beside Linux
//! (docs/multikernel.md, "The device").
//!
//! The device has places: physical ranges that it was given when its module was loaded, each for one
//! kernel. A place is mapped with mmap at the offset of its physical address. Structures are as in
//! [`crate::ioctl`]; unknown flags and reserved bytes that are not zero are refused.

use crate::assert_layout;
use crate::ioctl::{number, READ, WRITE};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Path of the device.
pub const DEVICE: &str = "/dev/daxfs_mk";
/// The type byte of all of them.
pub const TYPE: u8 = 0xdb;

/// Describes a place ([`Place`], of which the caller fills in `index`). `EINVAL` if there is no such
/// place.
pub const QUERY: u32 = number(TYPE, READ | WRITE, 1, size_of::<Place>());
/// Starts a kernel ([`Start`]).
pub const START: u32 = number(TYPE, WRITE, 2, size_of::<Start>());
/// Stops the kernel of a place ([`Stop`]): when it returns 0, the processor does not execute the
/// kernel's instructions any more. No error if nothing runs there.
pub const STOP: u32 = number(TYPE, WRITE, 3, size_of::<Stop>());

/// [`Place::cpu`] where no kernel was started.
pub const NO_CPU: u32 = u32::MAX;

/// A place for a kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Place {
    /// Which one, from 0.
    pub index: U32,
    /// How many there are.
    pub count: U32,
    /// Physical address of its range.
    pub phys: U64,
    /// Bytes of its range.
    pub size: U64,
    /// Physical address of the page in low memory that a kernel starts from. Its page tables must map
    /// it to itself, writable and executable.
    pub trampoline: U64,
    /// Frequency of the time stamp counter in kHz.
    pub tsc_khz: U64,
    /// Number of the processor that was started there, as Linux counts them, or [`NO_CPU`].
    pub cpu: U32,
    /// Zero.
    pub flags: U32,
    /// How many kernels were started there so far.
    pub starts: U64,
    /// Identity of the kernel that was started there last, as [`Start::kernel`] said.
    pub kernel: U64,
}

assert_layout!(
    Place, size 64,
    index @ 0, count @ 4, phys @ 8, size @ 16, trampoline @ 24, tsc_khz @ 32, cpu @ 40, flags @ 44,
    starts @ 48, kernel @ 56,
);

/// A kernel to be started. All addresses are inside of the place's range.
///
/// The processor gets to `entry` in 64-bit mode with interrupts off, an empty interrupt descriptor
/// table, flat segments, no other state than INIT leaves, `argument` in `rdi` and 0 in `rbp`, as
/// if a function had been called (`rsp` is `stack` less 8, and 0 is there).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Start {
    /// The place.
    pub index: U32,
    /// Number of the processor, as Linux counts them; it is not online.
    pub cpu: U32,
    /// Virtual address of the first instruction.
    pub entry: U64,
    /// Physical address of the root of 4-level page tables.
    pub root: U64,
    /// Virtual address of the stack's end, a multiple of 16.
    pub stack: U64,
    /// What the kernel is passed.
    pub argument: U64,
    /// Identity of the kernel in the member table, so that whoever stops it knows who has died.
    pub kernel: U64,
    /// Zero.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 12],
}

assert_layout!(
    Start, size 64,
    index @ 0, cpu @ 4, entry @ 8, root @ 16, stack @ 24, argument @ 32, kernel @ 40,
    flags @ 48, reserved @ 52,
);

/// A kernel to be stopped.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Stop {
    /// The place.
    pub index: U32,
    /// Zero.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 8],
}

assert_layout!(Stop, size 16, index @ 0, flags @ 4, reserved @ 8);

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are an interface: they never change.
    #[test]
    fn numbers_are_what_they_were() {
        assert_eq!(QUERY, 0xc040_db01);
        assert_eq!(START, 0x4040_db02);
        assert_eq!(STOP, 0x4010_db03);
    }
}
