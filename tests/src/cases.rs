//! Many small cases, each of which may neither panic nor hang.
//!
//! A panic is caught and reported with the name of its case; a case that takes too long ends the
//! process with its name, because a thread in an endless loop cannot be stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time a case may take. Cases take milliseconds; a loaded machine gets plenty of time.
const LIMIT: Duration = Duration::from_secs(60);
/// Failures listed in full.
const LISTED: usize = 40;

/// Runs cases, and collects what went wrong.
pub struct Cases {
    count: u64,
    failures: Vec<String>,
    started: Sender<String>,
    watch: JoinHandle<()>,
}

impl Default for Cases {
    fn default() -> Self {
        Self::new()
    }
}

impl Cases {
    /// No cases yet.
    #[must_use]
    pub fn new() -> Self {
        let (started, cases) = channel::<String>();
        let watch = std::thread::spawn(move || {
            let mut current = String::from("the first case");
            loop {
                match cases.recv_timeout(LIMIT) {
                    Ok(next) => current = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("still running after {LIMIT:?}: {current}");
                        std::process::abort();
                    }
                }
            }
        });
        Self { count: 0, failures: Vec::new(), started, watch }
    }

    /// Runs `body` as the case called `name`; it says what is wrong, if anything.
    pub fn run(&mut self, name: &str, body: impl FnOnce() -> Result<(), String>) {
        self.count += 1;
        // The watch ends when this value does.
        self.started.send(name.to_owned()).expect("the watch listens");
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => {}
            Ok(Err(what)) => self.failures.push(format!("{name}: {what}")),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(panic.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic without a message");
                self.failures.push(format!("{name}: panic: {text}"));
            }
        }
    }

    /// Ends the cases, of which there must have been at least `least`.
    ///
    /// # Panics
    ///
    /// If one failed, listing them, or if there were too few.
    pub fn finish(self, least: u64) {
        drop(self.started);
        self.watch.join().expect("the watch does not panic");
        println!("{} cases", self.count);
        let failed = self.failures.len();
        let listed: Vec<_> = self.failures.into_iter().take(LISTED).collect();
        assert!(failed == 0, "{failed} of {} cases:\n{}", self.count, listed.join("\n"));
        assert!(self.count >= least, "only {} cases", self.count);
    }
}
