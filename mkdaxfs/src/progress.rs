//! How a build tells an observer what it does.

/// The steps of a build, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Listing the source tree; counts files and directories, the total is not known.
    Scan,
    /// Looking for identical files; counts bytes of candidates.
    Compare,
    /// Writing the image; counts bytes.
    Write,
}

/// An observer of a build. It is called from several threads at once. `()` watches nothing.
pub trait Progress: Sync {
    /// A phase begins. `total` is how far it will be advanced, where that is known.
    fn begin(&self, phase: Phase, total: Option<u64>) {
        let _ = (phase, total);
    }

    /// The current phase came this much further.
    fn advance(&self, by: u64) {
        let _ = by;
    }

    /// Asked now and then: whether to stop and leave nothing behind.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}
