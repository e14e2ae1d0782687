//! A running QEMU: ended when it should be, whatever happens to the runner.
//!
//! # Invariants
//!
//! - Dropping a [`Process`] kills it and waits for it.
//! - A runner that is killed takes its QEMU with it: the kernel is asked to (`setpriv --pdeathsig`).

use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The signals that end a runner, made visible to [`Process::wait`].
#[derive(Debug)]
pub struct Signals {
    pipes: Vec<(i32, UnixStream)>,
}

impl Signals {
    /// From now on SIGINT, SIGTERM and SIGHUP do not end the process but what it waits for.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn catch() -> Result<Self> {
        let mut pipes = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let failed = |reason| Error::System { action: "catch signals", reason };
            let (receiver, sender) = UnixStream::pair().map_err(failed)?;
            receiver.set_nonblocking(true).map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, sender).map_err(failed)?;
            pipes.push((signal, receiver));
        }
        Ok(Self { pipes })
    }

    /// No signal is caught: for tests, which run in a process of their own.
    #[must_use]
    pub const fn ignored() -> Self {
        Self { pipes: Vec::new() }
    }

    /// The signal that has arrived, if one has.
    #[must_use]
    pub fn pending(&self) -> Option<i32> {
        self.pipes
            .iter()
            .find(|(_, pipe)| matches!((&*pipe).read(&mut [0]), Ok(1)))
            .map(|&(signal, _)| signal)
    }
}

/// How waiting for a process ended.
#[derive(Debug)]
pub enum Ended {
    /// It left by itself.
    Left(ExitStatus),
    /// The time was over; it was killed.
    TimedOut,
    /// A signal arrived; it was killed.
    Signal(i32),
}

/// A command for `program` that ends when this process does, if the system can be asked for that.
#[must_use]
pub fn bound_to_us(program: &Path) -> Command {
    static HAS_SETPRIV: OnceLock<bool> = OnceLock::new();
    let has_setpriv = *HAS_SETPRIV.get_or_init(|| {
        let trial = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        trial.is_ok_and(|status| status.success())
    });
    if has_setpriv {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    handle: OwnedFd,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// [`Error::Start`].
    pub fn start(mut command: Command) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let failed = |reason| Error::Start { program: program.clone(), reason };
        let mut child = command.spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let handle =
            pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match handle {
            Ok(handle) => Ok(Self { child, handle }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(error.into()))
            }
        }
    }

    /// Its standard input, if that is a pipe; once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, if that is a pipe; once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, if that is a pipe; once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// What another thread can end it with, when it has done its work.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn killer(&self) -> Result<Killer> {
        let handle = self.handle.try_clone();
        handle.map(Killer).map_err(|reason| Error::System { action: "watch QEMU", reason })
    }

    /// Waits until it leaves, for `limit` at most, or until a signal arrives. It does not run any
    /// more then.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn wait(&mut self, signals: &Signals, limit: Option<Duration>) -> Result<Ended> {
        let failed = |reason| Error::System { action: "wait for QEMU", reason };
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Ok(Ended::Left(status));
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.kill();
                return Ok(Ended::TimedOut);
            }
            let mut waited = vec![PollFd::new(&self.handle, PollFlags::IN)];
            waited.extend(signals.pipes.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut waited, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if let Some(signal) = signals.pending() {
                self.kill();
                return Ok(Ended::Signal(signal));
            }
        }
    }

    fn kill(&mut self) {
        // It may have left by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends a process.
#[derive(Debug)]
pub struct Killer(OwnedFd);

impl Killer {
    /// Ends it, if it has not left by itself.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let mut command = bound_to_us(Path::new("sleep"));
        command.arg("1000");
        Process::start(command).unwrap()
    }

    fn runs(process: &Process) -> bool {
        let pid = Pid::from_child(&process.child);
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[test]
    fn a_process_that_takes_too_long_is_killed() {
        let mut process = sleeper();
        let ended = process.wait(&Signals::ignored(), Some(Duration::from_millis(50))).unwrap();
        assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
        assert!(!runs(&process));
    }

    #[test]
    fn the_status_of_a_process_that_leaves_is_told() {
        let mut command = bound_to_us(Path::new("sh"));
        command.args(["-c", "exit 7"]);
        let mut process = Process::start(command).unwrap();
        let ended = process.wait(&Signals::ignored(), None).unwrap();
        assert!(matches!(ended, Ended::Left(status) if status.code() == Some(7)), "{ended:?}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Process::start(Command::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
