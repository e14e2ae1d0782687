//! The DAXFS engine: one filesystem over memory that several kernels share.
//!
//! All filesystem logic is here, once: name resolution, logs, the index, branches, validation,
//! allocation. Front ends (a bare-metal kernel, a Linux module, command-line tools) supply a
//! [`Platform`] and translate.
//!
//! ```text
//!   Mount        operations on a mounted branch         mount/
//!     Index      what the branch says, flattened        index/   <- replay
//!     Log        entries of a branch                    log/
//!     Space      data pages                             space
//!   Reclaim      what nobody can see any more           reclaim
//!   Tree         create, claim, commit, abort           tree, branch
//!   Members      who is there, who has died             member
//!   Volume       geometry, base image                   volume, superblock, base
//!   Segments     whose each segment is                  segment
//!   Region       checked access to shared memory        region/
//! ```
//!
//! # Rules that hold everywhere
//!
//! - The range is hostile: other kernels change it while we look. Everything is copied out, checked,
//!   and used as a copy.
//! - No panic, no unbounded loop and no infallible allocation can be reached from what the range
//!   says.
//! - `unsafe` is in [`region`] (and in the user-space mapping of `std_platform`) only.

#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

pub mod base;
mod branch;
mod error;
mod index;
mod log;
mod member;
mod mount;
mod options;
mod platform;
mod reclaim;
#[allow(unsafe_code, reason = "raw access to the range is what this module is for")]
pub mod region;
mod replay;
mod segment;
mod space;
#[cfg(feature = "std")]
#[allow(unsafe_code, reason = "mapping files is unsafe; nothing else here is")]
pub mod std_platform;
pub mod storage;
mod superblock;
mod transfer;
mod tree;
pub mod upgrade;
pub mod validate;
mod volume;

pub use daxfs_format as format;

pub use daxfs_format::branch::{BranchName, BranchState};
pub use daxfs_format::coordination::{MemberIndex, MemberState};
pub use daxfs_format::mode::FileType;
pub use daxfs_format::{BaseOffset, BranchId, Ino, RegionOffset, SegmentIndex, Slot, Timestamp};
pub use error::{Errno, Error, Result};
pub use index::inode::Attributes;
pub use index::names::DirEntry;
pub use index::Extent;
pub use log::entry::{
    Changes as SetAttributes, Entry as LogEntry, Name, NewInode, Operation as LogOperation,
    WriteSource, MAX_FILE_SIZE,
};
pub use member::{Heartbeat, Identity, MemberInfo};
pub use mount::{Changing, Info, LastLink, Looking, Mount, Pages, RenameMode, Seek, StatFs};
pub use options::{parse_number, parse_size, Access, MountOptions, ParsedOptions};
pub use platform::{Lock, Platform};
pub use region::{Backing, MappedRange, Persistence, Region, SharedSlice, SharedSliceMut};
pub use superblock::{Delta, Geometry, Segments, Span};
pub use transfer::{Sink, Source};
pub use validate::{validate, Problem, Summary};
pub use volume::{BranchInfo, Volume};
