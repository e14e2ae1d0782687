//! Log entries (format.md, "Log entries").
//!
//! Only layouts here; the engine's `log` module encodes and decodes them with every check.

use crate::assert_layout;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of the header that starts every entry, in bytes.
pub const HEADER_SIZE: u32 = 24;
/// In a chain, entries start at multiples of this and `total_size` is one.
pub const ENTRY_ALIGN: u32 = 8;

/// What an entry records. The numbers are v3's; [`EntryType::Link`] and what follows it are
/// extensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryType {
    /// Bytes of a file, inline or by reference.
    Write,
    /// A new file that is not a directory.
    Create,
    /// A name removed, with its file or (empty) directory.
    Delete,
    /// A new file size.
    Truncate,
    /// A new directory.
    Mkdir,
    /// A name moved, replacing what had the new name.
    Rename,
    /// New attributes.
    Setattr,
    /// A new symbolic link.
    Symlink,
    /// Another branch's whole log, at the start of this one.
    Link,
    /// Snapshot: an inode as it is.
    Inode,
    /// Snapshot: a name as it is.
    Name,
    /// Snapshot: pages of a file as they are.
    Extent,
    /// The snapshot is complete.
    SnapshotEnd,
    /// Pages of a file that are no more.
    Hole,
}

impl EntryType {
    /// The type an entry header names.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            1 => Self::Write,
            2 => Self::Create,
            3 => Self::Delete,
            4 => Self::Truncate,
            5 => Self::Mkdir,
            6 => Self::Rename,
            7 => Self::Setattr,
            8 => Self::Symlink,
            9 => Self::Link,
            10 => Self::Inode,
            11 => Self::Name,
            12 => Self::Extent,
            13 => Self::SnapshotEnd,
            14 => Self::Hole,
            _ => return None,
        })
    }

    /// The number in an entry header.
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::Write => 1,
            Self::Create => 2,
            Self::Delete => 3,
            Self::Truncate => 4,
            Self::Mkdir => 5,
            Self::Rename => 6,
            Self::Setattr => 7,
            Self::Symlink => 8,
            Self::Link => 9,
            Self::Inode => 10,
            Self::Name => 11,
            Self::Extent => 12,
            Self::SnapshotEnd => 13,
            Self::Hole => 14,
        }
    }
}

bitflags::bitflags! {
    /// Flags of a write entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct WriteFlags: u32 {
        /// The payload is the region offset (u64, page aligned) of the page that holds `offset`;
        /// the following pages follow it.
        const BY_REFERENCE = 1 << 0;
    }

    /// Flags of create, mkdir and symlink entries.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct NewFlags: u16 {
        /// An [`Owner`] block stands between the fixed payload and the name.
        const OWNER = 1 << 0;
    }

    /// Flags of a rename entry, in v3's reserved word.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RenameFlags: u32 {
        /// The two names change places.
        const EXCHANGE = 1 << 0;
    }

    /// Flags of a name entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct NameFlags: u16 {
        /// The name refers to nothing: it hides an entry of the base.
        const WHITEOUT = 1 << 0;
    }

    /// Which fields of a setattr entry count.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SetattrValid: u32 {
        /// `mode`, the permission bits.
        const MODE = 1 << 0;
        /// `uid`.
        const UID = 1 << 1;
        /// `gid`.
        const GID = 1 << 2;
        /// `size`.
        const SIZE = 1 << 3;
        /// Extension: `atime`; a [`Times`] block follows the payload.
        const ATIME = 1 << 4;
        /// Extension: `mtime`; a [`Times`] block follows the payload.
        const MTIME = 1 << 5;
    }
}

macro_rules! payload {
    ($(#[$meta:meta])* $name:ident, size $size:literal {
        $($(#[$fmeta:meta])* $field:ident: $ty:ty = $off:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
        assert_layout!($name, size $size $(, $field @ $off)*);
    };
}

payload! {
    /// What every entry starts with.
    EntryHeader, size 24 {
        /// An [`EntryType`].
        kind: U32 = 0,
        /// Bytes of the whole entry, header and any padding included.
        total_size: U32 = 4,
        /// The inode it is about.
        ino: U64 = 8,
        /// Nanoseconds since the epoch.
        timestamp: U64 = 16,
    }
}

payload! {
    /// Payload of [`EntryType::Write`]; the data or a u64 reference follows.
    Write, size 16 {
        /// File offset of the first byte.
        offset: U64 = 0,
        /// Bytes written.
        len: U32 = 8,
        /// [`WriteFlags`].
        flags: U32 = 12,
    }
}

payload! {
    /// Payload of [`EntryType::Create`] and [`EntryType::Mkdir`]; the name follows.
    Create, size 24 {
        /// The directory.
        parent_ino: U64 = 0,
        /// The new inode's number.
        new_ino: U64 = 8,
        /// Its type and permissions.
        mode: U32 = 16,
        /// Bytes of the name.
        name_len: U16 = 20,
        /// [`NewFlags`].
        flags: U16 = 22,
    }
}

payload! {
    /// Extension block of create, mkdir and symlink entries ([`NewFlags::OWNER`]).
    Owner, size 16 {
        /// Owner.
        uid: U32 = 0,
        /// Group.
        gid: U32 = 4,
        /// Device number of a device node, else 0.
        rdev: U32 = 8,
        /// Zero.
        reserved: U32 = 12,
    }
}

payload! {
    /// Payload of [`EntryType::Delete`]; the name follows.
    Delete, size 16 {
        /// The directory.
        parent_ino: U64 = 0,
        /// Bytes of the name.
        name_len: U16 = 8,
        /// Zero.
        flags: U16 = 10,
        /// Zero.
        reserved: U32 = 12,
    }
}

payload! {
    /// Payload of [`EntryType::Truncate`].
    Truncate, size 8 {
        /// The file's size from now on.
        new_size: U64 = 0,
    }
}

payload! {
    /// Payload of [`EntryType::Rename`]; old and new name follow.
    Rename, size 32 {
        /// The directory it leaves.
        old_parent: U64 = 0,
        /// The directory it enters.
        new_parent: U64 = 8,
        /// The inode that moves.
        ino: U64 = 16,
        /// Bytes of the old name.
        old_name_len: U16 = 24,
        /// Bytes of the new name.
        new_name_len: U16 = 26,
        /// [`RenameFlags`].
        flags: U32 = 28,
    }
}

payload! {
    /// Payload of [`EntryType::Setattr`].
    Setattr, size 24 {
        /// Permission bits.
        mode: U32 = 0,
        /// Owner.
        uid: U32 = 4,
        /// Group.
        gid: U32 = 8,
        /// [`SetattrValid`].
        valid: U32 = 12,
        /// File size.
        size: U64 = 16,
    }
}

payload! {
    /// Extension block of setattr entries (`ATIME` or `MTIME` set).
    Times, size 32 {
        /// Access time, seconds.
        atime_sec: I64 = 0,
        /// Modification time, seconds.
        mtime_sec: I64 = 8,
        /// Access time, nanoseconds.
        atime_nsec: U32 = 16,
        /// Modification time, nanoseconds.
        mtime_nsec: U32 = 20,
        /// Zero.
        reserved: U64 = 24,
    }
}

payload! {
    /// Payload of [`EntryType::Symlink`]; the name, the target and a NUL follow.
    Symlink, size 24 {
        /// The directory.
        parent_ino: U64 = 0,
        /// The new inode's number.
        new_ino: U64 = 8,
        /// Bytes of the name.
        name_len: U16 = 16,
        /// Bytes of the target, without its NUL.
        target_len: U16 = 18,
        /// [`NewFlags`] in the low half of v3's reserved word.
        flags: U32 = 20,
    }
}

payload! {
    /// Payload of [`EntryType::Link`].
    Link, size 32 {
        /// The branch whose log is taken over.
        branch_id: U64 = 0,
        /// Index of the head segment of its chain.
        head: U64 = 8,
        /// The position up to which its chain counts.
        published: U64 = 16,
        /// The lowest inode number that branch did not use.
        next_ino: U64 = 24,
    }
}

payload! {
    /// Payload of [`EntryType::Inode`]; for a symbolic link the target and a NUL follow.
    Inode, size 96 {
        /// Type and permissions.
        mode: U32 = 0,
        /// Owner.
        uid: U32 = 4,
        /// Group.
        gid: U32 = 8,
        /// Device number of a device node, else 0.
        rdev: U32 = 12,
        /// Bytes of content of a regular file or symbolic link.
        size: U64 = 16,
        /// The directory a branch put it in; 0 while it is where the base has it.
        parent_ino: U64 = 24,
        /// How much of the base's content is still visible below changed pages, in bytes.
        base_valid: U64 = 32,
        /// Change time, seconds.
        ctime_sec: I64 = 40,
        /// Modification time, seconds.
        mtime_sec: I64 = 48,
        /// Access time, seconds.
        atime_sec: I64 = 56,
        /// Change time, nanoseconds.
        ctime_nsec: U32 = 64,
        /// Modification time, nanoseconds.
        mtime_nsec: U32 = 68,
        /// Access time, nanoseconds.
        atime_nsec: U32 = 72,
        /// Link count; 0 for a base inode that was deleted.
        nlink: U32 = 76,
        /// Bytes of a symbolic link's target, without its NUL.
        target_len: U16 = 80,
        /// Zero.
        reserved: [u8; 14] = 82,
    }
}

payload! {
    /// Payload of [`EntryType::Name`]; the name follows. The header's inode is what it refers to.
    NameEntry, size 24 {
        /// The directory.
        parent_ino: U64 = 0,
        /// Its place in the order in which the directory is listed.
        sequence: U64 = 8,
        /// Bytes of the name.
        name_len: U16 = 16,
        /// [`NameFlags`].
        flags: U16 = 18,
        /// Zero.
        reserved: U32 = 20,
    }
}

payload! {
    /// Payload of [`EntryType::Extent`].
    Extent, size 24 {
        /// The first page of the file.
        page: U64 = 0,
        /// How many.
        pages: U64 = 8,
        /// Region offset of the first, page aligned; the others follow it.
        reference: U64 = 16,
    }
}

payload! {
    /// Payload of [`EntryType::SnapshotEnd`].
    SnapshotEnd, size 24 {
        /// The lowest inode number never used.
        next_ino: U64 = 0,
        /// Inode entries before this.
        inodes: U64 = 8,
        /// Name entries before this.
        names: U64 = 16,
    }
}

payload! {
    /// Payload of [`EntryType::Hole`].
    Hole, size 16 {
        /// File offset of the first page.
        offset: U64 = 0,
        /// Bytes: whole pages, at least one.
        len: U64 = 8,
    }
}
