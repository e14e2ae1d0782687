//! The terminal, which QEMU changes and may not put back.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal's settings, put back when dropped: QEMU puts the terminal into raw mode, and might be
/// killed before it puts it back.
#[derive(Debug)]
pub struct Terminal(Option<Termios>);

impl Terminal {
    /// Remembers the settings, if there is a terminal.
    #[must_use]
    pub fn remember() -> Self {
        Self(tcgetattr(stdin()).ok())
    }

    /// Its rows and columns, if it tells.
    #[must_use]
    pub fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(stdin()).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // If the terminal is gone there is nothing to put back.
            let _ = tcsetattr(stdin(), OptionalActions::Now, settings);
        }
        for fd in [stdin(), stdout()] {
            // QEMU makes what it shares with us non-blocking, and leaves it so.
            if let Ok(flags) = fcntl_getfl(fd) {
                let _ = fcntl_setfl(fd, flags - OFlags::NONBLOCK);
            }
        }
    }
}
