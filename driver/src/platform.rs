//! What the engine asks of the world it runs in.

use crate::error::Result;
use crate::region::Backing;
use core::ops::{Deref, DerefMut, Range};
use daxfs_format::{Ino, Timestamp};

/// A world the engine runs in.
pub trait Platform {
    /// How the shared range is accessed.
    type Backing: Backing;
    /// The reader-writer lock of this world. It guards this mount's private memory only; nothing
    /// in the shared range is ever locked.
    type Lock<T>: Lock<T>;

    /// The time of day, as far as known.
    fn now(&self) -> Timestamp;

    /// A number that a hostile image cannot guess; seeds hash tables and names images.
    fn random(&self) -> u64;

    /// Which kernel this is: the same number whenever it is asked, and another in every other kernel
    /// that uses the range. Mounts of one kernel are told dead together by it.
    fn kernel_id(&self) -> u64 {
        self.random()
    }

    /// Whether files are used on after their last name is gone, as in a kernel where processes have
    /// them open. If so, a file that this mount removes stays, in this mount's memory alone, until
    /// [`Mount::forget`](crate::Mount::forget).
    const KEEPS_REMOVED: bool = false;

    /// These pages of file `ino` are elsewhere from now on, or nowhere: a front end that maps pages
    /// into address spaces takes those mappings down before it returns. Called under the mount's
    /// lock, before the places they were in are used for anything else.
    fn moved(&self, ino: Ino, pages: Range<u64>) {
        let _ = (ino, pages);
    }

    /// Anything may be different from now on: others changed what this mount shows, or it goes to
    /// another branch. A front end takes all its mappings down before it returns, and believes
    /// nothing it remembers. Called under the mount's lock, before the others are told that this
    /// mount has followed.
    fn outdated(&self) {}

    /// This mount is on a branch now that does not go on from the one it was on: inode numbers of the
    /// delta mean other files. [`Self::outdated`] came before it. Called under the mount's lock.
    fn switched(&self) {}
}

/// A reader-writer lock.
pub trait Lock<T>: Sized {
    /// Shared access.
    type Read<'a>: Deref<Target = T>
    where
        Self: 'a;
    /// Exclusive access.
    type Write<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// A lock around `value`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`](crate::Error::NoMemory), where a lock needs memory of its own.
    fn new(value: T) -> Result<Self>;

    /// Waits for shared access.
    fn read(&self) -> Self::Read<'_>;

    /// Waits for exclusive access.
    fn write(&self) -> Self::Write<'_>;
}
