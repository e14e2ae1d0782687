//! The engine's one error type, and its one mapping to errno.
//!
//! Errors are small `Copy` values: reporting one never allocates.

use core::fmt;
use daxfs_format::branch::BranchName;

/// What the engine's operations return.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation did not happen.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The range does not start with a DAXFS superblock.
    NotDaxfs {
        /// The number found where the magic should be.
        magic: u32,
    },
    /// The image needs something this driver does not know.
    Unsupported {
        /// What it is.
        what: &'static str,
        /// The value found.
        value: u64,
    },
    /// A structure in the range breaks a rule of the format.
    Corrupt {
        /// The rule.
        what: &'static str,
        /// Region offset, inode number or index of the culprit.
        at: u64,
    },
    /// An access past the end of the range.
    OutOfBounds {
        /// First byte of the access, region offset.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// An access to a word at an unaligned offset.
    Misaligned {
        /// Region offset of the access.
        offset: u64,
    },
    /// Memory of the range has gone bad.
    BadMemory {
        /// First byte of the access that met it, region offset.
        offset: u64,
    },
    /// There is no such name.
    NotFound,
    /// The name exists already.
    Exists,
    /// The operation wants a directory.
    NotDirectory,
    /// The operation does not work on a directory.
    IsDirectory,
    /// The directory has entries.
    NotEmpty,
    /// A name has more than 128 bytes, or a path or target is too long.
    NameTooLong,
    /// A name is empty, "." or "..", or contains '/' or NUL.
    InvalidName,
    /// An argument makes no sense; the text says which.
    InvalidArgument(&'static str),
    /// The delta region is full.
    NoSpace,
    /// This kernel is out of memory.
    NoMemory,
    /// The mount, or the image, is read-only.
    ReadOnly,
    /// The image has features that forbid writing to whoever does not know them (`ro_compat`).
    ReadOnlyFeatures,
    /// The branch cannot be written to while it has a live child.
    Frozen {
        /// A child that freezes it.
        child: BranchName,
    },
    /// Another mount owns the branch.
    Owned {
        /// The branch.
        branch: BranchName,
    },
    /// The branch has live children.
    HasChildren {
        /// One of them.
        child: BranchName,
    },
    /// The branch of this mount was discarded, or its inode is gone.
    Stale,
    /// Too many symbolic links on the way.
    Loop,
    /// The file would grow past the largest size.
    FileTooBig,
    /// Not allowed on this object.
    NotPermitted,
    /// No live branch has this name.
    NoSuchBranch {
        /// The name.
        branch: BranchName,
    },
    /// A live branch has this name already.
    BranchExists {
        /// The name.
        branch: BranchName,
    },
    /// All records of the branch table are in use.
    BranchTableFull,
    /// All records of the member table are in use.
    MemberTableFull,
    /// Other kernels change the branch tree faster than this one can follow.
    Contended,
}

/// Linux error numbers, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names are the documentation: errno(3)")]
pub enum Errno {
    EPERM = 1,
    ENOENT = 2,
    EIO = 5,
    ENOMEM = 12,
    EBUSY = 16,
    EEXIST = 17,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    EFBIG = 27,
    ENOSPC = 28,
    EROFS = 30,
    ENAMETOOLONG = 36,
    ENOTEMPTY = 39,
    ELOOP = 40,
    EOPNOTSUPP = 95,
    ESTALE = 116,
    EUCLEAN = 117,
}

impl Errno {
    /// The error number, positive.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The name as in `errno.h`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EPERM => "EPERM",
            Self::ENOENT => "ENOENT",
            Self::EIO => "EIO",
            Self::ENOMEM => "ENOMEM",
            Self::EBUSY => "EBUSY",
            Self::EEXIST => "EEXIST",
            Self::ENOTDIR => "ENOTDIR",
            Self::EISDIR => "EISDIR",
            Self::EINVAL => "EINVAL",
            Self::EFBIG => "EFBIG",
            Self::ENOSPC => "ENOSPC",
            Self::EROFS => "EROFS",
            Self::ENAMETOOLONG => "ENAMETOOLONG",
            Self::ENOTEMPTY => "ENOTEMPTY",
            Self::ELOOP => "ELOOP",
            Self::EOPNOTSUPP => "EOPNOTSUPP",
            Self::ESTALE => "ESTALE",
            Self::EUCLEAN => "EUCLEAN",
        }
    }
}

impl Error {
    /// The errno a POSIX caller gets for it.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NotDaxfs { .. } | Self::InvalidName | Self::InvalidArgument(_) => Errno::EINVAL,
            Self::Unsupported { .. } => Errno::EOPNOTSUPP,
            Self::Corrupt { .. } | Self::OutOfBounds { .. } | Self::Misaligned { .. } => {
                Errno::EUCLEAN
            }
            Self::BadMemory { .. } => Errno::EIO,
            Self::NotFound | Self::NoSuchBranch { .. } => Errno::ENOENT,
            Self::Exists | Self::BranchExists { .. } => Errno::EEXIST,
            Self::NotDirectory => Errno::ENOTDIR,
            Self::IsDirectory => Errno::EISDIR,
            Self::NotEmpty => Errno::ENOTEMPTY,
            Self::NameTooLong => Errno::ENAMETOOLONG,
            Self::NoSpace | Self::BranchTableFull => Errno::ENOSPC,
            Self::NoMemory => Errno::ENOMEM,
            Self::ReadOnly | Self::ReadOnlyFeatures | Self::Frozen { .. } => Errno::EROFS,
            Self::Owned { .. }
            | Self::HasChildren { .. }
            | Self::MemberTableFull
            | Self::Contended => Errno::EBUSY,
            Self::Stale => Errno::ESTALE,
            Self::Loop => Errno::ELOOP,
            Self::FileTooBig => Errno::EFBIG,
            Self::NotPermitted => Errno::EPERM,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDaxfs { magic } => {
                write!(f, "not a DAXFS image (magic {magic:#010x}, expected 0x64617833)")
            }
            Self::Unsupported { what, value } => write!(f, "unsupported {what}: {value:#x}"),
            Self::Corrupt { what, at } => write!(f, "corrupt image: {what} (at {at:#x})"),
            Self::OutOfBounds { offset, len } => {
                write!(f, "access of {len} bytes at {offset:#x} leaves the range")
            }
            Self::Misaligned { offset } => write!(f, "misaligned word access at {offset:#x}"),
            Self::BadMemory { offset } => {
                write!(f, "memory of the range has gone bad, at {offset:#x}")
            }
            Self::NotFound => f.write_str("no such file or directory"),
            Self::Exists => f.write_str("file exists"),
            Self::NotDirectory => f.write_str("not a directory"),
            Self::IsDirectory => f.write_str("is a directory"),
            Self::NotEmpty => f.write_str("directory not empty"),
            Self::NameTooLong => f.write_str("name too long (the limit is 128 bytes)"),
            Self::InvalidName => f.write_str("invalid file name"),
            Self::InvalidArgument(what) => write!(f, "invalid argument: {what}"),
            Self::NoSpace => f.write_str("no space left in the delta region"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::ReadOnly => f.write_str("read-only file system"),
            Self::ReadOnlyFeatures => f.write_str(
                "the image has ro_compat features that are not known: it can only be read",
            ),
            Self::Frozen { child } => {
                write!(f, "the branch is frozen by its child '{child}'")
            }
            Self::Owned { branch } => write!(f, "branch '{branch}' is owned by another mount"),
            Self::HasChildren { child } => {
                write!(f, "the branch has a live child '{child}'")
            }
            Self::Stale => f.write_str("stale: the branch or file was discarded"),
            Self::Loop => f.write_str("too many levels of symbolic links"),
            Self::FileTooBig => f.write_str("file too large"),
            Self::NotPermitted => f.write_str("operation not permitted"),
            Self::NoSuchBranch { branch } => write!(f, "no such branch: '{branch}'"),
            Self::BranchExists { branch } => write!(f, "branch '{branch}' exists already"),
            Self::BranchTableFull => f.write_str("the branch table is full (256 branches)"),
            Self::MemberTableFull => f.write_str("the member table is full (256 mounts)"),
            Self::Contended => f.write_str("the branch tree changes too fast"),
        }
    }
}

impl core::error::Error for Error {}

impl From<daxfs_format::base::NameError> for Error {
    fn from(error: daxfs_format::base::NameError) -> Self {
        use daxfs_format::base::NameError;
        match error {
            NameError::TooLong => Self::NameTooLong,
            NameError::Empty | NameError::BadByte | NameError::Dot => Self::InvalidName,
        }
    }
}
