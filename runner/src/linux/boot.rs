//! Whether Linux gets as far as its first process.
//!
//! On a busy machine, in about one boot of three hundred, QEMU's emulator stops running the machine about a
//! second into the boot, at no particular place, and never goes on; Linux's own watchdogs are silent, too.
//! Nothing of this project runs by then, and nothing has touched the shared range: the machine can be
//! started again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What Linux says when it is there.
const FIRST_PROCESS: &str = "Run /init as init process";

/// How long it may be silent before. The longest it is by itself, unpacking its first file system on a kernel
/// that checks itself on a machine that does much else, is far below.
const PATIENCE: Duration = Duration::from_secs(45);

/// The boot of one machine.
#[derive(Debug)]
pub(crate) struct Boot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// When it last said something.
    last: Instant,
    /// Whether there is nothing to wait for any more.
    over: bool,
    stuck: bool,
}

impl Boot {
    /// It begins now.
    pub(crate) fn new() -> Self {
        let state = State { last: Instant::now(), over: false, stuck: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel has said something.
    pub(crate) fn line(&self, text: &str) {
        self.state().last = Instant::now();
        if text.contains(FIRST_PROCESS) {
            self.over();
        }
    }

    /// It has booted, or the machine has ended.
    pub(crate) fn over(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    /// Waits until it is over; ends the machine if it is stuck.
    pub(crate) fn watch(&self, end: impl FnOnce()) {
        self.watch_for(PATIENCE, end);
    }

    fn watch_for(&self, patience: Duration, end: impl FnOnce()) {
        let mut state = self.state();
        while !state.over {
            let Some(left) = patience.checked_sub(state.last.elapsed()) else {
                state.stuck = true;
                drop(state);
                return end();
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether it was stuck.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state().stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_says_nothing_is_ended() {
        let (boot, mut ended) = (Boot::new(), false);
        boot.line("[    0.0] Linux version");
        boot.watch_for(Duration::from_millis(1), || ended = true);
        assert!(ended && boot.is_stuck());
    }

    #[test]
    fn one_that_has_booted_may_be_silent() {
        let boot = Boot::new();
        boot.line("[    1.0] Run /init as init process");
        boot.watch_for(Duration::ZERO, || unreachable!("it has booted"));
        assert!(!boot.is_stuck());
    }
}
