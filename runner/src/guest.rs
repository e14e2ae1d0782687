//! One run of the guest kernel.

use crate::console;
use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use crate::qemu::machine::Console;
use crate::qemu::{Accel, Ended, Machine, Process, Signals};
use crate::setup::{Guest, Qemu};
use daxfs_format::handover::ExitStatus;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// Lines of the console that are kept for a message about a failure.
const KEPT_LINES: usize = 12;

/// What a run needs.
#[derive(Debug)]
pub struct Run<'a> {
    /// The QEMU to use.
    pub qemu: &'a Qemu,
    /// What executes instructions.
    pub accel: Accel,
    /// The kernel.
    pub guest: &'a Guest,
    /// The shared range.
    pub memory: &'a SharedMemory,
    /// Mount options.
    pub options: &'a str,
    /// MiB of memory of its own.
    pub own_mib: u32,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// Whether QEMU's command line is shown.
    pub verbose: bool,
    /// Whether the console's messages are kept back, unless the kernel fails.
    pub quiet: bool,
}

impl Run<'_> {
    /// Runs a script; what its commands print goes to `output`, byte for byte, as it comes. Returns
    /// the status of the first command that failed, or 0.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::Interrupted`], [`Error::Died`], [`Error::Panic`],
    /// [`Error::Exception`], [`Error::Start`], [`Error::System`].
    pub fn script(
        &self,
        text: &str,
        output: &mut (dyn Write + Send),
        signals: &Signals,
    ) -> Result<u8> {
        let failed = |reason| Error::System { action: "make a temporary file", reason };
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        // An empty script would be none at all.
        writeln!(file, "{text}").map_err(failed)?;
        let mut command = self.machine(Some(file.path()), Console::Messages).command();
        self.show(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let quiet = self.quiet;
        let (ended, copied, last) = thread::scope(|scope| {
            let copier = scope.spawn(move || stdout.map_or(Ok(()), |from| copy(from, output)));
            let listener = scope.spawn(move || stderr.map(|from| listen(from, quiet)));
            let ended = process.wait(signals, self.timeout);
            let copied = copier.join().unwrap_or(Ok(()));
            let last = listener.join().ok().flatten().unwrap_or_default();
            (ended, copied, last)
        });
        match copied {
            // Whoever read the output has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(reason) => return Err(Error::System { action: "write the output", reason }),
            Ok(()) => {}
        }
        self.status(ended?, last)
    }

    /// Gives the terminal to the kernel's shell. Returns the status it leaves with.
    ///
    /// # Errors
    ///
    /// As [`Self::script`].
    pub fn interactive(&self, signals: &Signals) -> Result<u8> {
        let command = self.machine(None, Console::Terminal).command();
        self.show(&command);
        // QEMU puts the terminal into raw mode, and might be killed before it puts it back.
        let terminal = Terminal::remember();
        let mut process = Process::start(command)?;
        let ended = process.wait(signals, self.timeout);
        drop(terminal);
        self.status(ended?, Vec::new())
    }

    fn machine<'b>(&'b self, script: Option<&'b std::path::Path>, console: Console) -> Machine<'b> {
        Machine {
            qemu: self.qemu,
            accel: self.accel,
            guest: self.guest,
            memory: self.memory,
            options: self.options,
            script,
            console,
            own_mib: self.own_mib,
        }
    }

    fn show(&self, command: &std::process::Command) {
        if self.verbose {
            anstream::eprintln!("{command:?}");
        }
    }

    fn status(&self, ended: Ended, last: Vec<String>) -> Result<u8> {
        let status = match ended {
            Ended::TimedOut => {
                return Err(Error::Timeout { limit: self.timeout.unwrap_or_default() });
            }
            Ended::Signal(signal) => return Err(Error::Interrupted { signal }),
            Ended::Left(status) => status,
        };
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match code.and_then(ExitStatus::from_qemu) {
            Some(ExitStatus::Shell(status)) => {
                if self.quiet && status != 0 {
                    last.iter().for_each(|line| console::guest_line(line));
                }
                Ok(status)
            }
            Some(ExitStatus::Panic) => Err(Error::Panic { last: self.unseen(last) }),
            Some(ExitStatus::Exception) => Err(Error::Exception { last: self.unseen(last) }),
            None => Err(Error::Died { status, last: self.unseen(last) }),
        }
    }

    /// Lines that were not shown while they came.
    fn unseen(&self, last: Vec<String>) -> Vec<String> {
        if self.quiet { last } else { Vec::new() }
    }
}

/// Copies as it comes.
fn copy(mut from: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Shows the console's lines, and keeps the last ones.
fn listen(from: impl Read, quiet: bool) -> Vec<String> {
    let mut last = VecDeque::new();
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(count) if count > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        if !quiet {
            console::guest_line(&text);
        }
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
    last.into()
}

/// The terminal's settings, put back when dropped.
struct Terminal(Option<rustix::termios::Termios>);

impl Terminal {
    fn remember() -> Self {
        Self(rustix::termios::tcgetattr(rustix::stdio::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            let when = rustix::termios::OptionalActions::Now;
            // If the terminal is gone there is nothing to put back.
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), when, settings);
        }
        for fd in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
            // QEMU makes what it shares with us non-blocking, and leaves it so.
            if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
                let _ = rustix::fs::fcntl_setfl(fd, flags - rustix::fs::OFlags::NONBLOCK);
            }
        }
    }
}
