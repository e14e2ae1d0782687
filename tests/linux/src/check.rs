//! Checks, and how they are run: one after the other, each in a process of its own, whose end is what it
//! comes to. A check that takes too long is killed.
//!
//! For each there is a line `ok NAME` or `not ok NAME` on standard output, and what it said behind a `#`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Something that has to be so.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    suite: &'static Suite,
    name: &'static str,
    run: fn(),
}

/// Checks of one kind.
#[derive(Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// How long one of its checks may take, on a kernel that does not check itself.
    pub limit: Duration,
    /// The checks: their names, and functions that panic where something is not as it has to be.
    pub checks: &'static [(&'static str, fn())],
}

impl Suite {
    /// The checks.
    pub fn checks(&'static self) -> impl Iterator<Item = Check> {
        self.checks.iter().map(move |&(name, run)| Check { suite: self, name, run })
    }
}

/// A suite of the named functions of a module.
macro_rules! suite {
    ($name:literal, $seconds:literal, [$($check:ident),* $(,)?]) => {
        /// The checks of this module.
        pub static SUITE: $crate::check::Suite = $crate::check::Suite {
            name: $name,
            limit: ::std::time::Duration::from_secs($seconds),
            checks: &[$((stringify!($check), $check)),*],
        };
    };
}
pub(crate) use suite;

impl Check {
    /// Its full name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}::{}", self.suite.name, self.name)
    }

    /// Does it. Panics if something is wrong.
    pub fn run(&self) {
        (self.run)();
    }

    /// Does it in a process of its own.
    fn run_apart(&self) -> io::Result<Outcome> {
        let mut said = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open("/tmp/check-output")?;
        let start = Instant::now();
        let child = Command::new("/proc/self/exe")
            .args(["check", &self.name()])
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .process_group(0)
            .spawn()?;
        let limit = self.suite.limit * patience();
        let status = wait(child, limit)?;
        let mut text = Vec::new();
        said.rewind()?;
        said.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Outcome { status, text, took: start.elapsed(), limit })
    }
}

/// What a check came to.
struct Outcome {
    /// Nothing: it took too long.
    status: Option<ExitStatus>,
    text: String,
    took: Duration,
    limit: Duration,
}

/// Kernels that check themselves are slow.
#[must_use]
pub fn is_debug_kernel() -> bool {
    Path::new("/proc/lockdep").exists()
}

/// Whether there is time for everything.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("DAXFS_LONG").is_some()
}

fn patience() -> u32 {
    if is_debug_kernel() { 8 } else { 1 }
}

/// Waits for a check, whose process group it ends.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let group = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let status = thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait()));
        let status = match receiver.recv_timeout(limit) {
            Ok(status) => status.map(Some),
            Err(_) => Ok(None),
        };
        // Also what it has left behind. There may be nothing.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        status
    })?;
    Ok(status)
}

/// Runs them, and tells how they ended.
pub fn run_all(checks: impl Iterator<Item = Check>) -> ExitCode {
    let (mut failed, mut count) = (0, 0);
    let mounts = mounts();
    for check in checks {
        count += 1;
        let name = check.name();
        note(&format!("check {name}"));
        let problem = match check.run_apart() {
            Ok(outcome) => {
                let took = outcome.took.as_secs_f32();
                let problem = match outcome.status {
                    Some(status) if status.success() => None,
                    Some(status) => Some(match status.signal() {
                        Some(signal) => format!("it was killed by signal {signal}"),
                        None => format!("it left with {status}"),
                    }),
                    None => Some(format!("it took longer than {:?}", outcome.limit)),
                };
                let word = if problem.is_some() { "not ok" } else { "ok" };
                say(&format!("{word} {name} # {took:.2} s"), &outcome.text);
                problem
            }
            Err(error) => {
                say(&format!("not ok {name}"), "");
                Some(format!("it cannot be run: {error}"))
            }
        };
        if let Some(problem) = problem {
            failed += 1;
            say("", &problem);
        }
        tidy(mounts);
    }
    println!("{failed} of {count} checks failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str, details: &str) {
    let mut out = io::stdout().lock();
    // If nobody listens, there is nobody to tell.
    if !line.is_empty() {
        let _ = writeln!(out, "{line}");
    }
    for detail in details.lines() {
        let _ = writeln!(out, "# {detail}");
    }
    let _ = out.flush();
}

/// A line of the kernel's log, so that what stands there can be told apart.
fn note(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // Only for people.
        let _ = log.write_all(format!("<6>{text}").as_bytes());
    }
}

/// How many mounts there are.
fn mounts() -> usize {
    fs::read_to_string("/proc/mounts").map_or(0, |text| text.lines().count())
}

/// Takes away what a check has left mounted.
fn tidy(wanted: usize) {
    let text = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in text.lines().skip(wanted).collect::<Vec<_>>().into_iter().rev() {
        if let Some(folder) = line.split(' ').nth(1) {
            let _ = rustix::mount::unmount(folder, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
