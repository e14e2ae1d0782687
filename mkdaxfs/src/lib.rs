//! Makes DAXFS images from directory trees.
//!
//! [`build`] is the whole library: it reads a source tree and writes an image, atomically. The
//! command-line tools (`mkdaxfs`, `daxfs-inspect`, `fsck-daxfs`, `daxfs-branch`) are thin layers
//! over it and over the engine, the `daxfs` crate; the layouts are the `daxfs-format` crate's.

#![forbid(unsafe_code)]

mod build;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod error;
mod options;
mod progress;
mod report;
mod size;

pub use build::build;
pub use error::BuildError;
pub use options::{BuildOptions, DEFAULT_DELTA_SIZE, DeltaSize};
pub use progress::{Phase, Progress};
pub use report::BuildReport;
pub use size::format_size;
