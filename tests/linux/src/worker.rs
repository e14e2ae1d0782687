//! Other processes that a check has take part.
//!
//! They say lines and are told lines. A worker that nobody tells anything any more ends.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// What workers can do, by name.
pub type Job = (&'static str, fn(&[&str]));

/// Another process.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If there can be no process.
    #[must_use]
    pub fn start(job: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .args([&["work", job], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { input: child.stdin.take(), child, output }
    }

    /// The next line it says; nothing if it has ended.
    ///
    /// # Panics
    ///
    /// If it cannot be heard.
    pub fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.output.read_line(&mut line).expect("a pipe");
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// Tells it a line.
    ///
    /// # Panics
    ///
    /// If it does not listen.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is told things until it ends");
        writeln!(input, "{line}").expect("it listens");
    }

    /// Waits for its end, with nothing more to tell it.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        self.child.wait().expect("a child")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended, or has to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line, as a worker.
///
/// # Panics
///
/// If nobody listens.
pub fn say(line: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}

/// The next line that a worker is told; nothing if there is no more.
///
/// # Panics
///
/// If there is no standard input.
#[must_use]
pub fn told() -> Option<String> {
    let mut line = String::new();
    let count = io::stdin().lock().read_line(&mut line).expect("standard input");
    (count > 0).then(|| line.trim_end().to_owned())
}

/// Works.
///
/// # Panics
///
/// If there is no such job, or as the job does.
pub fn work(name: &str, arguments: &[&str]) {
    let job = crate::suites::jobs().find(|job| job.0 == name);
    let (_, job) = job.unwrap_or_else(|| panic!("there is no job {name}"));
    job(arguments);
}
