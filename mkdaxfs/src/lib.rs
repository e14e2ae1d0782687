//! Makes DAXFS images from directory trees.
//!
//! [`build`] reads a source tree and writes an image to a file, atomically; [`build_into`] writes it to
//! memory, a [`Range`], from where it can be mounted. [`MountControl`] does things to the branches of
//! a mounted image. [`watch`] shows a shared range live, in a terminal. The command-line tools
//! (`mkdaxfs`, `daxfs-inspect`, `fsck-daxfs`, `daxfs-branch`) are thin layers over these and over the
//! engine, the `daxfs` crate; the layouts are the `daxfs-format` crate's.

#![deny(unsafe_code)]

mod build;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[allow(unsafe_code, reason = "ioctls; nothing else here is")]
mod control;
mod error;
mod options;
mod progress;
mod range;
mod report;
mod size;
mod text;
#[cfg(feature = "watch")]
pub mod watch;

pub use build::{build, build_into};
pub use control::{ControlError, MountControl, MountedBranch};
pub use error::BuildError;
pub use options::{BuildOptions, DEFAULT_DELTA_SIZE, DeltaSize};
pub use progress::{Phase, Progress};
pub use range::{Claims, MountError, Range, RangeError};
pub use report::BuildReport;
pub use size::format_size;
