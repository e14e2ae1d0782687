// SPDX-License-Identifier: GPL-2.0

//! The engine's errors, as the kernel has them.

use kernel::error::Error;
use kernel::fmt;

/// The reason of an error, for messages.
pub(crate) struct Reason<'a>(pub(crate) &'a daxfs::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self.0, to)
    }
}

/// An errno.
pub(crate) fn errno(error: &daxfs::Error) -> Error {
    Error::from_errno(-error.errno().number())
}

/// The kernel's results of the engine's.
pub(crate) trait IntoKernel<T> {
    /// The same, with an errno.
    fn errno(self) -> Result<T, Error>;
}

impl<T> IntoKernel<T> for daxfs::Result<T> {
    fn errno(self) -> Result<T, Error> {
        self.map_err(|error| errno(&error))
    }
}
