//! The branch table (format.md, "Branch table").

use crate::assert_layout;
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
/// Offset within a record of the word that names the head of the log.
pub const LOG_OFFSET_OFFSET: u64 = 16;
/// Offset within a record of the aligned word that holds `state` (low half) and `refcount`.
pub const STATE_WORD_OFFSET: u64 = 40;
/// Offset within a record of `next_local_ino`.
pub const NEXT_LOCAL_INO_OFFSET: u64 = 48;

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
        }
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
    /// Region offset of its log: of the log itself in a plain v3 image, of the head segment of the
    /// chain in a segmented one; 0 while nothing was written.
    pub delta_log_offset: U64,
    /// v3: bytes of log written. 0 in a segmented image (the head segment says).
    pub delta_log_size: U64,
    /// v3: bytes the log may have. 0 in a segmented image.
    pub delta_log_capacity: U64,
    /// A [`BranchState`].
    pub state: U32,
    /// v3: mounts of the branch. 0 in a segmented image.
    pub refcount: U32,
    /// The lowest inode number the branch has not used.
    pub next_local_ino: U64,
    /// The name, NUL-terminated.
    pub name: [u8; NAME_SIZE],
    /// Extension: who may write; 0 nobody, else a member's place + 1 and its epoch.
    pub owner: U64,
    /// Extension: the commit sequence at which the branch was created or ended.
    pub sequence: U64,
    /// Zero.
    pub reserved: [u8; 24],
}

assert_layout!(
    BranchRecord, size 128,
    branch_id @ 0, parent_id @ 8, delta_log_offset @ 16, delta_log_size @ 24,
    delta_log_capacity @ 32, state @ 40, refcount @ 44, next_local_ino @ 48, name @ 56,
    owner @ 88, sequence @ 96, reserved @ 104,
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
        &self.bytes[..usize::from(self.len)]
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
    fn an_unterminated_field_is_no_name() {
        assert!(BranchName::from_field(&[b'x'; 32]).is_none());
        assert_eq!(
            BranchName::from_field(&BranchName::main().to_field()).unwrap().as_bytes(),
            MAIN
        );
    }
}
