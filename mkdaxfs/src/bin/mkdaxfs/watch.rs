//! Watching a build: the progress bar, and the signals that end it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mkdaxfs::{Phase, Progress};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The signals that ask a build to end. It does so soon, and cleans up.
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts watching.
    pub(crate) fn watch() -> io::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // No truncation: the numbers are small.
            let value = signal as usize;
            signal_hook::flag::register_usize(signal, Arc::clone(&received), value)?;
        }
        Ok(Self { received })
    }

    fn any(&self) -> bool {
        self.received.load(Ordering::Relaxed) != 0
    }

    /// What a shell expects of a process that a signal ended.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let signal = self.received.load(Ordering::Relaxed);
        ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
    }
}

/// Shows a progress bar where standard error is a terminal.
pub(crate) struct Watch<'s> {
    signals: &'s Signals,
    bar: ProgressBar,
}

impl<'s> Watch<'s> {
    pub(crate) fn new(signals: &'s Signals, quiet: bool) -> Self {
        // Hides itself where standard error is no terminal.
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { signals, bar }
    }
}

/// Takes the bar away.
impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Watch<'_> {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        const BYTES: &str = "{msg:<10} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let (message, template) = match phase {
            Phase::Scan => ("listing", "{msg:<10} {spinner} {human_pos} files and directories"),
            Phase::Compare => ("comparing", BYTES),
            Phase::Write => ("writing", BYTES),
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.reset();
        self.bar.set_style(style);
        self.bar.set_message(message);
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
    }

    fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    fn cancelled(&self) -> bool {
        self.signals.any()
    }
}
