//! What can go wrong.

use crate::elf::ElfError;
use daxfs_guest::handover::HandoverError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Exit status where something took too long, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {action} {}: {reason}", path.display())]
    File { path: PathBuf, action: &'static str, reason: io::Error },
    #[error("{action}: {reason} (the kernel's log says more)")]
    Device { action: &'static str, reason: io::Error },
    #[error("{}: {reason}", path.display())]
    Elf { path: PathBuf, reason: ElfError },
    #[error("the kernel would refuse it: {0}")]
    Handover(#[from] HandoverError),
    #[error("the place has {place} bytes; this kernel needs {needed}")]
    TooLarge { needed: u64, place: u64 },
    #[error("place {place} holds a kernel that runs, on processor {cpu}: stop it first")]
    Running { place: u32, cpu: u32 },
    #[error("no kernel runs in place {0}")]
    NotRunning(u32),
    #[error("place {0} is empty: load a kernel first")]
    Empty(u32),
    #[error("place {0} has no mailbox any more: its kernel has overwritten it")]
    NoMailbox(u32),
    #[error("another program talks to the kernel of place {0}")]
    Busy(u32),
    #[error("{what} did not happen within {limit:?}")]
    TimedOut { what: &'static str, limit: Duration },
    #[error("the kernel ended ({0}): `daxfs-mk console --so-far` tells why")]
    Ended(String),
    #[error("the kernel is stopped, but the other kernels could not be told: {0}")]
    Reap(Box<Error>),
    #[error("the shared range, through /dev/mem: {0}")]
    Range(daxfs::Error),
    #[error("its mailbox: {0}")]
    Mailbox(daxfs::Error),
    #[error("{action}: {reason}")]
    System { action: &'static str, reason: io::Error },
}

impl Error {
    /// The exit status.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::TimedOut { .. } => TIMED_OUT,
            _ => 1,
        }
    }

    pub(crate) fn file(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::File { path: path.into(), action, reason }
    }
}
