//! How commands fail.

use daxfs::Error;

/// Exit status of a command that failed.
pub const FAILED: u8 = 1;
/// Exit status of a command used wrongly, and of a text that is no command.
pub const USAGE: u8 = 2;
/// Exit status of a command that does not exist.
pub const UNKNOWN: u8 = 127;
/// Exit status of a command that was interrupted.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure<'w> {
    /// It was used wrongly.
    Usage,
    /// The engine said so.
    Engine(Error),
    /// The engine said so about one of the command's arguments.
    At(&'w [u8], Error),
    /// An argument makes no sense to the command.
    Argument(&'w [u8], &'static str),
    /// Something is not as it should be.
    Wrong(&'static str),
    /// The operator interrupted it.
    Interrupted,
}

impl Failure<'_> {
    /// The exit status.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Usage | Self::Argument(..) => USAGE,
            Self::Interrupted => INTERRUPTED,
            _ => FAILED,
        }
    }
}

impl From<Error> for Failure<'_> {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Says which argument an error is about.
pub trait Context<T> {
    /// The same, with an error being about `subject`.
    ///
    /// # Errors
    ///
    /// [`Failure::At`].
    fn at(self, subject: &[u8]) -> Result<T, Failure<'_>>;
}

impl<T> Context<T> for daxfs::Result<T> {
    fn at(self, subject: &[u8]) -> Result<T, Failure<'_>> {
        self.map_err(|error| Failure::At(subject, error))
    }
}
