//! One run of the guest kernel.

use crate::console;
use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use crate::qemu::machine::{Machine, SHARED_PHYS, Shape, Stream};
use crate::qemu::{Accel, Ended, Process, Signals};
use crate::setup::{Guest, Qemu};
use crate::streams::{self, Last};
use crate::terminal::Terminal;
use daxfs_format::handover::{EXIT_PORT, ExitStatus};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::NamedTempFile;

/// Lines of the console that are kept for a message about a failure.
const KEPT_LINES: usize = 12;

/// Where the console is.
enum Console<'a> {
    /// Messages on standard error, and on standard output what the commands of this script print.
    Script(&'a Path),
    /// The terminal.
    Terminal,
    /// Standard input and output.
    Pipes,
}

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
        let mut file = NamedTempFile::new().map_err(failed)?;
        // An empty script would be none at all.
        writeln!(file, "{text}").map_err(failed)?;
        let mut command = self.command(&Console::Script(file.path()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let mut last = Last::new(KEPT_LINES);
        let (ended, copied) = thread::scope(|scope| {
            let copier = scope
                .spawn(move || stdout.map_or(Ok(()), |from| streams::copy(from, output, |_| {})));
            scope.spawn(|| {
                stderr.map(|from| {
                    streams::lines(from, |line| {
                        if !self.quiet {
                            console::guest_line(line);
                        }
                        last.push(line);
                    });
                })
            });
            let ended = process.wait(signals, self.timeout);
            (ended, copier.join().unwrap_or(Ok(())))
        });
        copied.map_err(|reason| Error::System { action: "write the output", reason })?;
        self.status(ended?, last.into_lines())
    }

    /// Starts a shell that talks through the process's standard input and output, for
    /// [`crate::multikernel::kernel`]. Standard error has QEMU's messages.
    ///
    /// # Errors
    ///
    /// [`Error::Start`].
    pub fn serve(&self) -> Result<Process> {
        let mut command = self.command(&Console::Pipes);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start(command)
    }

    /// Gives the terminal to the kernel's shell. Returns the status it leaves with.
    ///
    /// # Errors
    ///
    /// As [`Self::script`].
    pub fn interactive(&self, signals: &Signals) -> Result<u8> {
        let command = self.command(&Console::Terminal);
        let terminal = Terminal::remember();
        let mut process = Process::start(command)?;
        let ended = process.wait(signals, self.timeout);
        drop(terminal);
        self.status(ended?, Vec::new())
    }

    /// Whether the kernel gets through a script that leaves at once.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn works(&self) -> Result<bool> {
        let failed = |reason| Error::System { action: "make a temporary file", reason };
        let mut script = NamedTempFile::new().map_err(failed)?;
        script.write_all(b"halt 0\n").map_err(failed)?;
        let mut command = self.command(&Console::Script(script.path()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut process) = Process::start(command) else { return Ok(false) };
        Ok(match process.wait(&Signals::ignored(), self.timeout)? {
            Ended::Left(status) => said(status) == Some(ExitStatus::Shell(0)),
            Ended::TimedOut | Ended::Signal(_) => false,
        })
    }

    /// QEMU's command line.
    fn command(&self, console: &Console<'_>) -> Command {
        let shape = Shape::new(self.accel, 1, self.own_mib);
        let mut machine = Machine::new(self.qemu, shape, self.memory);
        let separator = if self.options.is_empty() { "" } else { "," };
        let (size, options) = (self.memory.size(), self.options);
        let line = format!("phys={SHARED_PHYS:#x},size={size:#x}{separator}{options}");
        machine.kernel(&self.guest.elf, &line);
        match console {
            Console::Script(script) => {
                machine.initrd(script).serial(Stream::Messages).serial(Stream::Output)
            }
            Console::Terminal => machine.serial(Stream::Terminal),
            Console::Pipes => machine.serial(Stream::Both),
        };
        machine.arg("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04"));
        let command = machine.into_command();
        if self.verbose {
            anstream::eprintln!("{command:?}");
        }
        command
    }

    fn status(&self, ended: Ended, last: Vec<String>) -> Result<u8> {
        let status = match ended {
            Ended::TimedOut => {
                let limit = self.timeout.unwrap_or_default();
                return Err(Error::Timeout { limit, last: self.unseen(last) });
            }
            Ended::Signal(signal) => return Err(Error::Interrupted { signal }),
            Ended::Left(status) => status,
        };
        let last = self.unseen(last);
        if let Some(ExitStatus::Shell(1..)) = said(status) {
            last.iter().for_each(|line| console::guest_line(line));
        }
        left(status, last)
    }

    /// Lines that were not shown while they came.
    fn unseen(&self, last: Vec<String>) -> Vec<String> {
        if self.quiet { last } else { Vec::new() }
    }
}

/// What the kernel said by the status of its QEMU, if it did.
fn said(status: std::process::ExitStatus) -> Option<ExitStatus> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.and_then(ExitStatus::from_qemu)
}

/// The shell's status of a kernel whose QEMU has left with `status`. `last` are lines of its console.
///
/// # Errors
///
/// [`Error::Panic`], [`Error::Exception`], [`Error::Died`].
pub fn left(status: std::process::ExitStatus, last: Vec<String>) -> Result<u8> {
    match said(status) {
        Some(ExitStatus::Shell(status)) => Ok(status),
        Some(ExitStatus::Panic) => Err(Error::Panic { last }),
        Some(ExitStatus::Exception) => Err(Error::Exception { last }),
        None => Err(Error::Died { status, last }),
    }
}
