//! A mount with its lock held: several operations as one, for callers that must know that the mount
//! did not go to another branch in between.
//!
//! To everybody else each operation is a step of its own: what is shared is not locked.

use super::state::{Company, Current};
use super::Mount;
use crate::error::Result;
use crate::platform::Platform;

/// A mount whose lock is shared with others that look; its state is up to date.
pub struct Looking<'m, P: Platform> {
    pub(super) mount: &'m Mount<P>,
    pub(super) current: &'m Current,
}

/// A mount that the caller has to itself; its state is up to date and may be written to.
pub struct Changing<'m, P: Platform> {
    pub(super) mount: &'m Mount<P>,
    pub(super) current: &'m mut Current,
    pub(super) company: &'m mut Company,
}

impl<P: Platform> Changing<'_, P> {
    /// To look at it in between.
    pub const fn look(&self) -> Looking<'_, P> {
        Looking { mount: self.mount, current: self.current }
    }
}

impl<P: Platform> Mount<P> {
    /// Runs `look` with the lock held. It must not use the mount but through what it gets.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`](crate::Error::Stale), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::NoMemory`](crate::Error::NoMemory) if the state cannot be brought up to date; those of
    /// `look`.
    #[inline]
    pub fn looking<R>(&self, look: impl FnOnce(&Looking<'_, P>) -> Result<R>) -> Result<R> {
        self.reading(|current| look(&Looking { mount: self, current }))
    }

    /// Runs `change` with the lock held. It must not use the mount but through what it gets.
    ///
    /// # Errors
    ///
    /// As [`Self::looking`]; [`Error::ReadOnly`](crate::Error::ReadOnly) and
    /// [`Error::Frozen`](crate::Error::Frozen) where nothing may be changed.
    pub fn changing<R>(&self, change: impl FnOnce(&mut Changing<'_, P>) -> Result<R>) -> Result<R> {
        self.writing(|current, company| change(&mut Changing { mount: self, current, company }))
    }
}
