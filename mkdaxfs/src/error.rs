//! Why an image was not built.

use daxfs_format::NAME_MAX;
use std::io;
use std::path::{Path, PathBuf};

/// Why an image was not built. The message is complete: one line that names the culprit and, where
/// there is something to do about it, says what. Nothing is left at the output's place.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The system refused something.
    #[error("{path:?}: cannot {action}: {reason}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file or directory is not what it was when the tree was listed.
    #[error(
        "{path:?}: changed while it was being read ({what}); retry when nobody writes to it, or use a snapshot of the tree"
    )]
    Changed {
        /// Which.
        path: PathBuf,
        /// What shows it.
        what: &'static str,
    },
    /// A file name does not fit a directory entry.
    #[error("{path:?}: the name has {len} bytes, the format allows {NAME_MAX}; rename it")]
    NameTooLong {
        /// Whose.
        path: PathBuf,
        /// Bytes of the name.
        len: usize,
    },
    /// A file has a type that the format does not know.
    #[error("{path:?}: file type {mode:#o} does not exist in the format")]
    UnknownType {
        /// Whose.
        path: PathBuf,
        /// Its mode word.
        mode: u32,
    },
    /// The output would become part of its own source.
    #[error("{path:?}: the image would lie inside the tree it is made from; write it elsewhere")]
    OutputInsideSource {
        /// The output.
        path: PathBuf,
    },
    /// The output exists and is something an image must not replace.
    #[error(
        "{path:?}: exists and is neither a regular file nor a DAX device; give the name of one"
    )]
    OutputNotFile {
        /// The output.
        path: PathBuf,
    },
    /// The format has no numbers for so many files.
    #[error("the tree has more files and directories than the format can number (4294967295)")]
    TooManyFiles,
    /// The image would pass the format's, or the asked for, size.
    #[error("the image would need {needed} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes needed.
        needed: u64,
        /// Bytes there may be.
        limit: u64,
    },
    /// A delta region too small to hold anything.
    #[error("a delta region of {size} bytes is too small: {reason}")]
    DeltaTooSmall {
        /// Its size.
        size: u64,
        /// What does not fit.
        reason: String,
    },
    /// The engine refused what was built: a bug in one of the two.
    #[error("the finished image is refused: {reason}")]
    Engine {
        /// Why.
        reason: daxfs::Error,
    },
    /// The threads could not be started.
    #[error("cannot start {threads} threads: {reason}; give a smaller number")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// The observer asked to stop.
    #[error("stopped; no image was written")]
    Cancelled,
}

impl BuildError {
    /// An [`Self::Io`] for `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
        reason: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}

/// What the builder's steps return.
pub(crate) type Result<T> = std::result::Result<T, BuildError>;
