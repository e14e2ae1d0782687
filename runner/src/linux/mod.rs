//! One run of Linux.
//!
//! Linux boots with an initial file system made for the run (see [`System`]) and runs a script of the
//! user's. Three streams leave the machine: what the commands print, what they say about errors, and the
//! kernel's log. The log also says when the commands are done, and how much they printed; when all of
//! that has arrived, the machine is ended.

mod boot;
mod initramfs;
pub(crate) mod libraries;
mod log;
mod system;

pub use initramfs::Initramfs;
pub use log::{End, Line, Log, is_problem};
pub use system::{Parts, System};

use crate::console;
use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use crate::qemu::machine::{Machine, Shape, Stream};
use crate::qemu::{Ended, Killer, Process, Signals};
use crate::setup::Qemu;
use crate::streams;
use crate::terminal::Terminal;
pub(crate) use boot::Boot;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use system::{Job, Mode};
use tempfile::NamedTempFile;

/// What Linux is always told: where its log goes, and to leave when it is in trouble. It does not try
/// whether the timer works: on a busy machine the emulator may be too slow for that trial.
const LINE: &str = "console=ttyS0 loglevel=8 printk.devkmsg=on panic=-1 oops=panic rdinit=/init \
    acpi_no_memhotplug no_timer_check rcupdate.rcu_cpu_stall_timeout=120 sysctl.kernel.hung_task_timeout_secs=240";

/// How often a machine is started whose emulator gets stuck.
pub(crate) const BOOTS: u32 = 3;

/// What a run needs.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The QEMU to use.
    pub qemu: &'a Qemu,
    /// The machine.
    pub shape: Shape,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The initial file system.
    pub system: &'a System,
    /// The shared range.
    pub memory: &'a SharedMemory,
    /// Mount options of the branch that is Linux's root, `branch=NAME,...`; without, it works in its
    /// initial file system. What was brought with that is in `/run/runner` then.
    pub root: Option<&'a str>,
    /// What happens beside Linux.
    pub beside: Beside<'a>,
    /// What the kernel is told besides.
    pub append: &'a str,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// Whether QEMU's command line and all of the kernel's log is shown.
    pub verbose: bool,
    /// A file that gets the kernel's log.
    pub log: Option<&'a Path>,
}

/// What happens beside Linux, in the same machine and outside.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// Pipes for the serial ports behind Linux's, three at most: see [`Machine::serial_pipes`].
    pub ports: &'a [PathBuf],
    /// Further options of QEMU's, with their values.
    pub options: &'a [(&'a str, String)],
    /// Commands that are run before a shell is given to the terminal.
    pub first: &'a str,
    /// Who gets the lines of the log; otherwise standard error gets those that are worth showing.
    pub log: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl fmt::Debug for Beside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// Runs a script. What its commands print goes to `output`, what they say about errors to `errors`,
    /// byte for byte, as it comes. Returns the script's exit status.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`], whatever the script says, if the kernel reported a bug; [`Error::Panic`],
    /// [`Error::Timeout`], [`Error::Interrupted`], [`Error::Died`], [`Error::Start`],
    /// [`Error::System`], [`Error::File`].
    pub fn script(
        &self,
        text: &str,
        output: &mut (dyn Write + Send),
        errors: &mut (dyn Write + Send),
        signals: &Signals,
    ) -> Result<u8> {
        let mut left = BOOTS;
        loop {
            left -= 1;
            if let Some(status) = self.attempt(text, output, errors, signals, left == 0)? {
                return Ok(status);
            }
            console::emulator_stuck();
        }
    }

    /// One attempt at [`Self::script`]: nothing if the machine did not boot, and this is not the last.
    fn attempt(
        &self,
        text: &str,
        output: &mut (dyn Write + Send),
        errors: &mut (dyn Write + Send),
        signals: &Signals,
        last: bool,
    ) -> Result<Option<u8>> {
        let failed = |reason| Error::System { action: "make a pipe", reason };
        let (from_errors, to_errors) = io::pipe().map_err(failed)?;
        let mark = mark();
        let archive = self.archive(&Mode::Script(text), &mark)?;
        let mut command = self.command(archive.path(), |machine| {
            machine.port(Stream::Output, "output").port(Stream::Input, "errors");
        });
        command.stdin(to_errors).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let arrived = Arrived::new(process.killer()?);
        let mut log = self.log(mark)?;
        let (ended, copied, logged) = thread::scope(|scope| {
            let arrived = &arrived;
            let output = scope.spawn(move || {
                let Some(stdout) = stdout else { return Ok(()) };
                streams::copy(stdout, output, |count| arrived.update(|state| state.output += count))
            });
            let errors = scope.spawn(move || {
                streams::copy(from_errors, errors, |count| {
                    arrived.update(|state| state.errors += count);
                })
            });
            let listener =
                scope.spawn(|| stderr.map_or(Ok(()), |from| self.listen(from, &mut log, arrived)));
            scope.spawn(|| arrived.boot.watch(|| arrived.killer.kill()));
            let ended = process.wait(signals, self.timeout);
            arrived.boot.over();
            let copied = [output, errors].map(|thread| thread.join().unwrap_or(Ok(())));
            (ended, copied, listener.join().unwrap_or(Ok(())))
        });
        for copied in copied {
            copied.map_err(|reason| Error::System { action: "write the output", reason })?;
        }
        logged.map_err(|reason| Error::System { action: "write the kernel's log", reason })?;
        let ended = ended?;
        if !last && arrived.boot.is_stuck() && matches!(ended, Ended::Left(_)) {
            return Ok(None);
        }
        self.status(ended, log, arrived.all(), false).map(Some)
    }

    /// Starts a system that runs commands as it is asked to through the process's standard input, and
    /// answers on standard output, for [`crate::multikernel::kernel`]. Standard error has the kernel's
    /// log. The file has to be there until the kernel runs.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::System`], [`Error::File`].
    pub fn serve(&self) -> Result<(Process, Log, NamedTempFile)> {
        let mark = mark();
        let archive = self.archive(&Mode::Commands, &mark)?;
        let mut command = self.command(archive.path(), |machine| {
            machine.port(Stream::Both, "commands");
        });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok((Process::start(command)?, self.log(mark)?, archive))
    }

    /// Gives the terminal to a shell. Returns the status it leaves with; 0 if the machine is ended
    /// otherwise.
    ///
    /// # Errors
    ///
    /// As [`Self::script`].
    pub fn interactive(&self, signals: &Signals) -> Result<u8> {
        let terminal = Terminal::remember();
        let mark = mark();
        let (size, first) = (terminal.size(), self.beside.first);
        let archive = self.archive(&Mode::Interactive { size, first }, &mark)?;
        let mut command = self.command(archive.path(), |machine| {
            machine.console(Stream::Terminal);
        });
        command.stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let stderr = process.take_stderr();
        let arrived = Arrived::new(process.killer()?);
        let mut log = self.log(mark)?;
        let (ended, logged) = thread::scope(|scope| {
            let listener = scope.spawn(|| {
                stderr.map_or(Ok(()), |from| self.listen_quietly(from, &mut log, &arrived))
            });
            let ended = process.wait(signals, self.timeout);
            (ended, listener.join().unwrap_or(Ok(())))
        });
        drop(terminal);
        logged.map_err(|reason| Error::System { action: "write the kernel's log", reason })?;
        let ended = ended?;
        match ended {
            // The user has ended the machine.
            Ended::Left(status) if status.success() && arrived.all().is_none() => {
                self.status(ended, log, Some(0), true)
            }
            _ => self.status(ended, log, arrived.all(), true),
        }
    }

    /// The initial file system of this run, in a file.
    fn archive(&self, mode: &Mode<'_>, mark: &str) -> Result<NamedTempFile> {
        let failed = |reason| Error::System { action: "make a temporary file", reason };
        let file = tempfile::Builder::new().prefix("daxfs-").tempfile().map_err(failed)?;
        let all_of_the_log = self.verbose || self.log.is_some();
        let [pmem, dax] = self.shape.nvdimms.map(|bytes| bytes > 0);
        let (range, root) = (self.memory.size(), self.root);
        let job = Job { mark, range, root, pmem, dax, all_of_the_log };
        let archive = self.system.archive(mode, &job);
        archive.write(io::BufWriter::new(file.as_file()), file.path())?;
        Ok(file)
    }

    /// QEMU's command line.
    fn command(&self, archive: &Path, streams: impl FnOnce(&mut Machine)) -> Command {
        let mut machine = Machine::new(self.qemu, self.shape, self.memory);
        let separator = if self.append.is_empty() { "" } else { " " };
        let line = format!("{LINE}{separator}{}", self.append);
        machine.kernel(self.kernel, &line).initrd(archive);
        machine.arg("-device", "virtio-rng-pci");
        machine.serial(Stream::Messages);
        for port in self.beside.ports {
            machine.serial_pipes(port);
        }
        for (name, value) in self.beside.options {
            machine.arg(name, value);
        }
        streams(&mut machine);
        let command = machine.into_command();
        if self.verbose {
            anstream::eprintln!("{command:?}");
        }
        command
    }

    fn log(&self, mark: String) -> Result<Log> {
        let file = self.log.map(|path| {
            let failed = |reason| Error::File { path: path.into(), action: "make it", reason };
            File::create(path).map_err(failed)
        });
        Ok(Log::new(mark, file.transpose()?))
    }

    /// Reads the log to its end, and shows what is worth it.
    fn listen(&self, from: impl Read, log: &mut Log, arrived: &Arrived) -> io::Result<()> {
        self.read_log(from, log, arrived, |line, text| match self.beside.log {
            Some(show) => show(text),
            None if self.verbose || line == Line::Running => console::linux_line(text),
            None => {}
        })
    }

    /// Reads the log to its end, while the terminal is somebody else's.
    fn listen_quietly(&self, from: impl Read, log: &mut Log, arrived: &Arrived) -> io::Result<()> {
        self.read_log(from, log, arrived, |_, _| {})
    }

    fn read_log(
        &self,
        from: impl Read,
        log: &mut Log,
        arrived: &Arrived,
        mut show: impl FnMut(Line, &str),
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        streams::lines(from, |text| {
            arrived.boot.line(text);
            match log.line(text) {
                Ok(Line::End(end)) => arrived.update(|state| state.end = Some(end)),
                Ok(line) => show(line, text),
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    /// What a run comes to. `done` is the commands' status, if all they printed has arrived; `quiet` is
    /// whether nothing of the log has been shown.
    fn status(&self, ended: Ended, log: Log, done: Option<u8>, quiet: bool) -> Result<u8> {
        if let Ended::Signal(signal) = ended {
            return Err(Error::Interrupted { signal });
        }
        if let Some(lines) = log.problem() {
            let lines = lines.to_vec();
            return Err(if log.panicked() {
                Error::Panic { last: lines }
            } else {
                Error::Problem { lines }
            });
        }
        // What came while the commands ran has been shown.
        let last = |log: Log| if log.begun() && !quiet { Vec::new() } else { log.into_last() };
        match (ended, done) {
            (Ended::TimedOut, _) => {
                let limit = self.timeout.unwrap_or_default();
                Err(Error::Timeout { limit, last: last(log) })
            }
            (_, Some(status)) => Ok(status),
            (Ended::Left(status), None) if status.success() => Err(Error::Off { last: last(log) }),
            (Ended::Left(status), None) => Err(Error::Died { status, last: last(log) }),
            (Ended::Signal(signal), None) => Err(Error::Interrupted { signal }),
        }
    }
}

/// A word that nobody says by accident.
fn mark() -> String {
    format!("runner-{:016x}:", RandomState::new().build_hasher().finish())
}

/// What has come out of a machine so far. When that is all, the machine is ended.
#[derive(Debug)]
struct Arrived {
    state: Mutex<State>,
    killer: Killer,
    boot: Boot,
}

#[derive(Default, Debug)]
struct State {
    end: Option<End>,
    output: u64,
    errors: u64,
}

impl State {
    /// The commands' status, if everything that they printed is here.
    fn all(&self) -> Option<u8> {
        let end = self.end?;
        (self.output >= end.output && self.errors >= end.errors).then_some(end.status)
    }
}

impl Arrived {
    fn new(killer: Killer) -> Self {
        let state = State { end: None, output: 0, errors: 0 };
        Self { state: Mutex::new(state), killer, boot: Boot::new() }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if state.all().is_some() {
            self.killer.kill();
        }
    }

    fn all(&self) -> Option<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).all()
    }
}
