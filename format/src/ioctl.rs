//! Ioctls of a mount: how user tools make, list, commit and discard branches of a mounted image.
//!
//! They are made on any open file or directory of the mount. Structures are little endian and
//! have no implicit padding, like those on the media. A kernel checks everything in them: reserved
//! bytes and unknown flags are refused with `EINVAL`, so that they can mean something one day.

use crate::assert_layout;
use crate::branch::NAME_SIZE;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The type byte of all of them.
pub const TYPE: u8 = 0xda;

/// Makes a branch and moves the mount to it ([`CreateBranch`]).
pub const CREATE: u32 = number(TYPE, WRITE, 1, size_of::<CreateBranch>());
/// Lists branches ([`ListBranches`]); may be done by anybody who can open a file of the mount.
pub const LIST: u32 = number(TYPE, READ | WRITE, 2, size_of::<ListBranches>());
/// Commits the mount's branch; the mount is on its parent then. No argument.
pub const COMMIT: u32 = number(TYPE, 0, 3, 0);
/// Discards the mount's branch; the mount is on its parent then. No argument.
pub const ABORT: u32 = number(TYPE, 0, 4, 0);
/// Moves the mount to another branch ([`SwitchBranch`]).
pub const SWITCH: u32 = number(TYPE, WRITE, 5, size_of::<SwitchBranch>());

/// The kernel reads the argument.
pub(crate) const WRITE: u32 = 1;
/// The kernel writes the argument.
pub(crate) const READ: u32 = 2;

/// An ioctl number as most machines have it: direction, size of the argument, type, number.
pub(crate) const fn number(kind: u8, direction: u32, number: u32, size: usize) -> u32 {
    (direction << 30) | ((size as u32) << 16) | ((kind as u32) << 8) | number
}

/// A branch to be made.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CreateBranch {
    /// Its name, padded with zeros.
    pub name: [u8; NAME_SIZE],
    /// Its parent's; all zeros: the branch the mount is on.
    pub parent: [u8; NAME_SIZE],
    /// Zero.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 60],
}

assert_layout!(CreateBranch, size 128, name @ 0, parent @ 32, flags @ 64, reserved @ 68);

/// A branch to move to.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SwitchBranch {
    /// Its name, padded with zeros.
    pub name: [u8; NAME_SIZE],
    /// Zero.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 28],
}

assert_layout!(SwitchBranch, size 64, name @ 0, flags @ 32, reserved @ 36);

/// Room for a list of branches.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ListBranches {
    /// Address of an array of [`BranchStatus`] in the caller's memory.
    pub entries: U64,
    /// Its length, in entries.
    pub capacity: U32,
    /// How many branches there are; as many of them as there is room for are in the array.
    pub count: U32,
    /// Zero.
    pub reserved: [u8; 16],
}

assert_layout!(ListBranches, size 32, entries @ 0, capacity @ 8, count @ 12, reserved @ 16);

/// What is told of a live branch.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BranchStatus {
    /// Its identity.
    pub id: U64,
    /// Its parent's; 0 for the root branch.
    pub parent: U64,
    /// Segments it has.
    pub segments: U64,
    /// Its place in the branch table.
    pub slot: U32,
    /// The member that writes to it, plus one; 0: nobody does.
    pub owner: U32,
    /// [`CURRENT`].
    pub flags: U32,
    /// Zero.
    pub reserved0: U32,
    /// Its name, padded with zeros.
    pub name: [u8; NAME_SIZE],
    /// Zero.
    pub reserved1: [u8; 56],
}

assert_layout!(
    BranchStatus, size 128,
    id @ 0, parent @ 8, segments @ 16, slot @ 24, owner @ 28, flags @ 32, reserved0 @ 36,
    name @ 40, reserved1 @ 72,
);

/// Flag of [`BranchStatus`]: the mount is on this branch.
pub const CURRENT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are an interface: they never change.
    #[test]
    fn numbers_are_what_they_were() {
        assert_eq!(CREATE, 0x4080_da01);
        assert_eq!(LIST, 0xc020_da02);
        assert_eq!(COMMIT, 0x0000_da03);
        assert_eq!(ABORT, 0x0000_da04);
        assert_eq!(SWITCH, 0x4040_da05);
    }
}
