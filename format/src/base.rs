//! The base image: its superblock, inode table and directory entries (format.md, "Base image").

use crate::assert_layout;
use crate::NAME_MAX;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The base superblock's magic number, "yadd" in the byte order of the media.
pub const MAGIC: u32 = 0x6464_6179;
/// Size of the base superblock, in bytes.
pub const SUPERBLOCK_SIZE: u64 = 4096;
/// Size of an inode, in bytes.
pub const INODE_SIZE: u64 = 64;
/// Size of a directory entry, in bytes.
pub const DIRENT_SIZE: u64 = 144;

bitflags::bitflags! {
    /// What the base image promises beyond v3, in `features` behind [`FEATURES_MAGIC`]. All are
    /// hints a v3 driver can ignore.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct BaseFeatures: u32 {
        /// The entries of each directory stand in ascending order of their names' bytes.
        const SORTED = 1 << 0;
        /// Inodes carry `mtime` and `rdev`.
        const INODE_EXTRA = 1 << 1;
    }
}

/// Marks [`BaseSuperblock::features`] as present, "DXBF" in the byte order of the media.
pub const FEATURES_MAGIC: u32 = 0x4642_5844;

/// The base superblock as it lies in the range.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BaseSuperblock {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`crate::VERSION`].
    pub version: U32,
    /// v3 defines none; 0.
    pub flags: U32,
    /// [`crate::BLOCK_SIZE`].
    pub block_size: U32,
    /// Bytes of the base image.
    pub total_size: U64,
    /// Base offset of the inode table.
    pub inode_offset: U64,
    /// Inodes in the table.
    pub inode_count: U32,
    /// Number of the root directory's inode: 1.
    pub root_inode: U32,
    /// Base offset of the data area, which ends with the image.
    pub data_offset: U64,
    /// Extension: [`FEATURES_MAGIC`], or 0 in a base image of v3.
    pub features_magic: U32,
    /// Extension: [`BaseFeatures`] bits.
    pub features: U32,
    /// Zero.
    pub reserved: [u8; 4040],
}

assert_layout!(
    BaseSuperblock, size 4096,
    magic @ 0, version @ 4, flags @ 8, block_size @ 12, total_size @ 16, inode_offset @ 24,
    inode_count @ 32, root_inode @ 36, data_offset @ 40, features_magic @ 48, features @ 52,
    reserved @ 56,
);

/// One inode of the base image; number `ino` stands at table index `ino - 1`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BaseInode {
    /// Its own number.
    pub ino: U32,
    /// Type and permissions.
    pub mode: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Bytes of content; of the entry array for a directory, of the target without its NUL for a
    /// symbolic link.
    pub size: U64,
    /// Base offset of the content, a multiple of the block size.
    pub data_offset: U64,
    /// Link count.
    pub nlink: U32,
    /// Extension (`INODE_EXTRA`): device number, Linux's 32-bit encoding
    /// (`(minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)`).
    pub rdev: U32,
    /// Extension (`INODE_EXTRA`): modification time, seconds since the epoch.
    pub mtime_sec: I64,
    /// Extension (`INODE_EXTRA`): its nanoseconds.
    pub mtime_nsec: U32,
    /// Zero.
    pub reserved: [u8; 12],
}

assert_layout!(
    BaseInode, size 64,
    ino @ 0, mode @ 4, uid @ 8, gid @ 12, size @ 16, data_offset @ 24, nlink @ 32, rdev @ 36,
    mtime_sec @ 40, mtime_nsec @ 48, reserved @ 52,
);

/// One directory entry of the base image.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BaseDirent {
    /// The inode it names.
    pub ino: U32,
    /// That inode's mode.
    pub mode: U32,
    /// Bytes of the name, 1 to [`NAME_MAX`].
    pub name_len: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// The name, padded with zeros, not terminated.
    pub name: [u8; NAME_MAX],
}

assert_layout!(
    BaseDirent, size 144,
    ino @ 0, mode @ 4, name_len @ 8, reserved @ 10, name @ 16,
);

/// Linux's 32-bit encoding of a device number.
#[must_use]
pub const fn encode_dev(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

/// Major and minor number of an encoded device number.
#[must_use]
pub const fn decode_dev(dev: u32) -> (u32, u32) {
    ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

/// Why a name cannot stand in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// It has no byte.
    Empty,
    /// It has more than [`NAME_MAX`] bytes.
    TooLong,
    /// It contains '/' or NUL.
    BadByte,
    /// It is "." or "..".
    Dot,
}

/// Checks the rules every name in a base image or a log must keep.
///
/// # Errors
///
/// The first rule that `name` breaks.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > NAME_MAX {
        Err(NameError::TooLong)
    } else if has_bad_byte(name) {
        Err(NameError::BadByte)
    } else if name == b"." || name == b".." {
        Err(NameError::Dot)
    } else {
        Ok(())
    }
}

/// Whether there is a NUL or a slash in a name. Eight bytes at a time: every entry of a base directory
/// that is listed comes here.
fn has_bad_byte(name: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const SLASHES: u64 = ONES * b'/' as u64;
    // The lowest byte that is 0 gets its high bit by borrowing; bytes above it may get theirs wrongly.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7) != 0;
    let mut rest = name;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        if has_zero(word) || has_zero(word ^ SLASHES) {
            return true;
        }
        rest = behind;
    }
    rest.iter().any(|&byte| byte == 0 || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_round_trip() {
        for (major, minor) in [(1, 3), (8, 0), (4095, 0xf_ffff), (254, 256)] {
            assert_eq!(decode_dev(encode_dev(major, minor)), (major, minor));
        }
        assert_eq!(encode_dev(1, 3), 0x0103);
    }

    #[test]
    fn names_that_break_a_rule_are_told_apart() {
        assert_eq!(check_name(b""), Err(NameError::Empty));
        assert_eq!(check_name(&[b'n'; 128]), Ok(()));
        assert_eq!(check_name(&[b'n'; 129]), Err(NameError::TooLong));
        assert_eq!(check_name(b"a/b"), Err(NameError::BadByte));
        assert_eq!(check_name(b"a\0"), Err(NameError::BadByte));
        assert_eq!(check_name(b"."), Err(NameError::Dot));
        assert_eq!(check_name(b".."), Err(NameError::Dot));
        assert_eq!(check_name(b"..."), Ok(()));
    }

    #[test]
    fn a_bad_byte_is_found_anywhere_and_no_other_is_taken_for_one() {
        for len in 1..40 {
            for good in 1..=255_u8 {
                let bad = good == b'/';
                let wanted = if bad { Err(NameError::BadByte) } else { Ok(()) };
                let found = check_name(&[good; NAME_MAX][..len]);
                assert!(found == wanted || good == b'.' && len < 3, "{good} {len}");
                for at in 0..len {
                    let mut name = [good; NAME_MAX];
                    name[at] = b'/';
                    assert_eq!(check_name(&name[..len]), Err(NameError::BadByte));
                    name[at] = 0;
                    assert_eq!(check_name(&name[..len]), Err(NameError::BadByte));
                }
            }
        }
    }
}
