//! What can go wrong, and the exit status for it.

use crate::setup::SetupError;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// What the runner's own operations return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run did not happen, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the run needs is missing.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An image could not be made.
    #[error(transparent)]
    Build(#[from] mkdaxfs::BuildError),
    /// A file could not be used.
    #[error("{path}: cannot {action}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The image does not fit into the range.
    #[error(
        "the image has {image}, which does not fit into {range}: give a larger --size",
        image = Bytes(*image), range = Bytes(*range)
    )]
    TooLarge {
        /// Bytes of the image.
        image: u64,
        /// Bytes of the range.
        range: u64,
    },
    /// Arguments that do not go together, or make no sense.
    #[error("{0}")]
    Usage(String),
    /// QEMU could not be started.
    #[error("cannot start QEMU ({program}): {reason}", program = program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The system refused something else.
    #[error("{action}: {reason}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        reason: io::Error,
    },
    /// The run took too long and was ended.
    #[error(
        "the machine did not finish within {} s and was ended (see --timeout){}",
        limit.as_secs(), Tail(last)
    )]
    Timeout {
        /// The limit.
        limit: Duration,
        /// The last lines of the console, if they have not been shown.
        last: Vec<String>,
    },
    /// The runner was told to stop.
    #[error("interrupted")]
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// QEMU ended without the kernel having said anything.
    #[error("QEMU ended unexpectedly ({status}){}", Tail(last))]
    Died {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines of the console.
        last: Vec<String>,
    },
    /// The machine was switched off before what it was to do was done.
    #[error("the machine was switched off, or restarted, before its commands ended{}", Tail(last))]
    Off {
        /// The last lines of the console, if they have not been shown.
        last: Vec<String>,
    },
    /// The kernel panicked, or could not start.
    #[error("the kernel panicked{}", Tail(last))]
    Panic {
        /// The last lines of the console.
        last: Vec<String>,
    },
    /// The processor raised an exception in the guest kernel.
    #[error("the guest kernel raised an exception{}", Tail(last))]
    Exception {
        /// The last lines of the console.
        last: Vec<String>,
    },
    /// Linux reported a bug of its own, or of its modules, and went on.
    #[error("Linux reported a problem:{}", Lines(lines))]
    Problem {
        /// The report.
        lines: Vec<String>,
    },
    /// A program cannot run elsewhere.
    #[error("{program}: {reason}", program = program.display())]
    Library {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A measurement did not come to its end.
    #[error("the measurement failed: {0}")]
    Measurement(String),
    /// Kernels that share a range did not do what they should.
    #[error("{0}")]
    Story(String),
    /// The demonstration did not show what it should.
    #[error("step '{step}' did not show what it should: {what}")]
    Demo {
        /// The step.
        step: &'static str,
        /// What is missing.
        what: String,
    },
}

impl Error {
    /// The exit status for it. Statuses of commands in the guest are below 100, or 127 and 130.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Panic { .. } => 101,
            Self::Exception { .. } => 102,
            Self::Problem { .. } => 103,
            Self::Timeout { .. } => 124,
            Self::Interrupted { signal } => 128_u8.wrapping_add(*signal as u8),
            _ => 125,
        }
    }
}

/// A number of bytes, for people.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in UNITS {
            if self.0 >> shift > 0 {
                let tenths = (self.0 * 10) >> shift;
                return match tenths % 10 {
                    0 => write!(f, "{} {unit}", tenths / 10),
                    rest => write!(f, "{}.{rest} {unit}", tenths / 10),
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// The last lines of a console, below a message.
struct Tail<'a>(&'a [String]);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; the console's last lines:{}", Lines(self.0))
    }
}

/// Lines, each indented and below the one before.
struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(Bytes(4096).to_string(), "4 KiB");
        assert_eq!(Bytes(1_572_864).to_string(), "1.5 MiB");
        assert_eq!(Bytes(12).to_string(), "12 bytes");
    }
}
