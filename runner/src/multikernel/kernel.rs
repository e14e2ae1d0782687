//! A running kernel in a QEMU of its own, which is asked to do one thing after another.
//!
//! A guest is asked at its console, as `daxfs-mk run` asks (`daxfs_format::mailbox`: [`ASK`], [`ANSWER`],
//! [`END`]); Linux at a port to its first process (`linux/init.sh`: `commands`). Both answer with a status
//! and what the commands printed, byte for byte. What they complain about is part of that.
//!
//! # Invariants
//!
//! - A kernel that reports a bug in its log gives no more answers but [`Error::Problem`].
//! - A kernel ends with its [`Kernel`], and with the thread that started it: that is whose death the system
//!   tells QEMU about (`setpriv --pdeathsig`).
//! - Nothing that a kernel prints can make this process wait for longer than the limit.

use crate::console;
use crate::error::{Error, Result};
use crate::guest;
use crate::linux::{self, Boot, Line, Log};
use crate::qemu::{self, Ended, Process, Signals};
use crate::streams::{self, Last};
use daxfs_format::mailbox::{ANSWER, ASK, END};
use std::fmt;
use std::io::{Read, Write};
use std::process::{ChildStdin, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// What a guest's console says when it takes commands.
const BANNER: &[u8] = b"'help' lists commands.";
/// Longest command for a guest's console.
const MOST: usize = 4000;
/// Lines of what a kernel said last that are told when it fails.
const KEPT_LINES: usize = 20;
/// How long QEMU may take to end when its kernel has ended it, or when it was killed.
const GRACE: Duration = Duration::from_secs(120);

/// What a kernel says to what it was asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The commands' exit status. A guest's is that of the first command that failed, or 0; Linux's is what a
    /// shell has.
    pub status: u8,
    /// What the commands printed, and said about errors.
    pub output: Vec<u8>,
}

impl Answer {
    /// The output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

/// What kernel it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The guest kernel.
    Guest,
    /// Linux.
    Linux,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest",
            Self::Linux => "linux",
        })
    }
}

/// A running kernel.
#[derive(Debug)]
pub struct Kernel {
    kind: Kind,
    name: String,
    process: Process,
    input: Option<ChildStdin>,
    output: Output,
    log: Arc<Mutex<Messages>>,
    listener: Option<JoinHandle<()>>,
    killed: Arc<AtomicBool>,
    /// Whether it takes commands.
    ready: bool,
    /// Linux's initial file system.
    _archive: Option<NamedTempFile>,
}

impl Kernel {
    /// Starts a guest, which mounts as the run says. Its time limit means nothing here.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::System`].
    pub fn guest(run: &guest::Run<'_>, name: &str) -> Result<Self> {
        Self::new(
            Kind::Guest,
            name,
            run.serve()?,
            Messages::Guest(Last::new(KEPT_LINES)),
            None,
            false,
        )
    }

    /// Starts Linux, which mounts nothing, unless its root is a branch, and waits for its first process: the
    /// machine is started again should it not get there. The run's time limit means nothing here.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::System`], [`Error::File`]; [`Error::Problem`] and [`Error::Panic`] of a
    /// machine that was stuck.
    pub fn linux(run: &linux::Run<'_>, name: &str) -> Result<Self> {
        let mut left = linux::BOOTS;
        loop {
            left -= 1;
            let (process, log, archive) = run.serve()?;
            let boot = Arc::new(Boot::new());
            let log = Messages::Linux { log: Box::new(log), ended: false, boot: Arc::clone(&boot) };
            let linux = Self::new(Kind::Linux, name, process, log, Some(archive), run.verbose)?;
            boot.watch(|| {});
            if left == 0 || !boot.is_stuck() {
                return Ok(linux);
            }
            linux.kill()?;
            console::emulator_stuck();
        }
    }

    fn new(
        kind: Kind,
        name: &str,
        mut process: Process,
        log: Messages,
        archive: Option<NamedTempFile>,
        verbose: bool,
    ) -> Result<Self> {
        let input = process.take_stdin();
        let output = Output::of(process.take_stdout());
        let log = Arc::new(Mutex::new(log));
        let listener = process.take_stderr().map(|from| {
            let (log, who) = (Arc::clone(&log), name.to_owned());
            thread::spawn(move || {
                streams::lines(from, |line| {
                    lock(&log).line(line);
                    if verbose {
                        console::linux_line(&format!("{who}: {line}"));
                    }
                });
                lock(&log).over();
            })
        });
        let killed = Arc::new(AtomicBool::new(false));
        let name = name.to_owned();
        let ready = false;
        Ok(Self {
            kind,
            name,
            process,
            input,
            output,
            log,
            listener,
            killed,
            ready,
            _archive: archive,
        })
    }

    /// What kernel it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has it run commands, one line for a guest, and waits for the answer; for the kernel as well, if it
    /// is only starting. Nothing if it was killed before it answered.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`] if Linux's log tells of a bug, whatever the answer is; [`Error::Timeout`] if it
    /// does not answer within `limit`; [`Error::Panic`], [`Error::Exception`], [`Error::Off`],
    /// [`Error::Died`] if it has ended by itself; [`Error::Usage`] for commands that a guest cannot be
    /// given.
    pub fn ask(&mut self, commands: &str, limit: Duration) -> Result<Option<Answer>> {
        let asked = match self.kind {
            Kind::Guest if commands.len() > MOST || commands.contains('\n') => {
                return Err(Error::Usage(format!("not a line for a guest: {commands}")));
            }
            Kind::Guest => [&[ASK], commands.as_bytes(), b"\n"].concat(),
            Kind::Linux => format!("{}\n{commands}", commands.len()).into_bytes(),
        };
        let deadline = Instant::now() + limit;
        if self.kind == Kind::Guest && !self.ready {
            match self.output.until(BANNER, deadline) {
                Ok(_) => self.ready = true,
                Err(stopped) => return self.no_answer(stopped, limit),
            }
        }
        let sent =
            self.input.as_mut().map(|input| input.write_all(&asked).and_then(|()| input.flush()));
        if let Some(Err(_)) = sent {
            // Its QEMU has ended, and has said why.
            return self.no_answer(Stopped::Ended, limit);
        }
        let answer = match self.kind {
            Kind::Guest => self.output.guests_answer(deadline),
            Kind::Linux => self.output.linuxs_answer(deadline),
        };
        match answer {
            Ok(answer) => {
                self.check()?;
                Ok(Some(answer))
            }
            Err(stopped) => self.no_answer(stopped, limit),
        }
    }

    /// Why there is no answer.
    fn no_answer(&mut self, stopped: Stopped, limit: Duration) -> Result<Option<Answer>> {
        match stopped {
            Stopped::Late => {
                self.check()?;
                let mut last = lock(&self.log).last();
                last.extend(self.output.last());
                Err(Error::Timeout { limit, last })
            }
            Stopped::Nonsense => {
                self.check()?;
                Err(Error::Story(format!("{} does not answer as it should", self.name)))
            }
            Stopped::Ended => {
                let ended = self.process.wait(&Signals::ignored(), Some(GRACE))?;
                self.join();
                self.check()?;
                // Relaxed: it is set before the process is killed, which has ended.
                if self.killed.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                match ended {
                    Ended::Left(status) => self.left(status).map(|_| None),
                    Ended::TimedOut | Ended::Signal(_) => {
                        Err(Error::Timeout { limit: GRACE, last: self.output.last() })
                    }
                }
            }
        }
    }

    /// What it means that QEMU has left by itself.
    fn left(&self, status: ExitStatus) -> Result<u8> {
        let mut last = lock(&self.log).last();
        match self.kind {
            Kind::Guest => {
                last.extend(self.output.last());
                guest::left(status, last)
            }
            Kind::Linux if status.success() => Err(Error::Off { last }),
            Kind::Linux => Err(Error::Died { status, last }),
        }
    }

    /// Whether its log is free of problems so far.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`], [`Error::Panic`].
    pub fn check(&self) -> Result<()> {
        lock(&self.log).check()
    }

    /// What another thread can kill it with, while it works.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn killer(&self) -> Result<Killer> {
        Ok(Killer { killed: Arc::clone(&self.killed), process: self.process.killer()? })
    }

    /// Kills it in the middle of whatever it does. It does not run any more when this returns.
    ///
    /// # Errors
    ///
    /// As [`Self::check`]: it may have had a problem before; [`Error::System`].
    pub fn kill(mut self) -> Result<()> {
        self.killer()?.kill();
        match self.process.wait(&Signals::ignored(), Some(GRACE))? {
            Ended::Left(_) => {}
            Ended::TimedOut | Ended::Signal(_) => {
                return Err(Error::Timeout { limit: GRACE, last: Vec::new() });
            }
        }
        self.join();
        self.check()
    }

    /// Ends it as it should be ended: a guest unmounts; Linux ends all processes, unmounts everything,
    /// and removes the modules, which all have to go.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`] also if a module does not go; [`Error::Story`] if a guest's shell ends with another
    /// status than 0; else as [`Self::ask`].
    pub fn finish(mut self, limit: Duration) -> Result<()> {
        match self.kind {
            Kind::Guest => {
                self.ask("halt 0", limit)?;
            }
            Kind::Linux => {
                if let Some(mut input) = self.input.take() {
                    // If its QEMU has ended, the status says so.
                    let _ = input.write_all(b"0\n").and_then(|()| input.flush());
                }
            }
        }
        let ended = self.process.wait(&Signals::ignored(), Some(limit))?;
        let Ended::Left(status) = ended else {
            return Err(Error::Timeout { limit, last: lock(&self.log).last() });
        };
        self.join();
        self.check()?;
        if lock(&self.log).ended() && status.success() {
            return Ok(());
        }
        match self.left(status)? {
            0 => Ok(()),
            status => Err(Error::Story(format!("{} ended with status {status}", self.name))),
        }
    }

    /// Its log is complete after this.
    fn join(&mut self) {
        if let Some(listener) = self.listener.take() {
            // It does nothing that can fail.
            let _ = listener.join();
        }
    }
}

/// Kills a kernel.
#[derive(Debug)]
pub struct Killer {
    killed: Arc<AtomicBool>,
    process: qemu::Killer,
}

impl Killer {
    /// Kills it, at once, if it has not ended by itself.
    pub fn kill(&self) {
        // Relaxed: whoever reads it has waited for the process's end.
        self.killed.store(true, Ordering::Relaxed);
        self.process.kill();
    }
}

/// What a kernel says besides its answers.
#[derive(Debug)]
enum Messages {
    /// QEMU's own messages: the guest's are in its console's output.
    Guest(Last),
    Linux {
        log: Box<Log>,
        ended: bool,
        boot: Arc<Boot>,
    },
}

impl Messages {
    fn line(&mut self, line: &str) {
        match self {
            Self::Guest(last) => last.push(line),
            Self::Linux { log, ended, boot } => {
                boot.line(line);
                // A file that cannot be written to is missed by whoever reads it.
                if let Ok(Line::End(_)) = log.line(line) {
                    *ended = true;
                }
            }
        }
    }

    /// There is nothing more.
    fn over(&self) {
        if let Self::Linux { boot, .. } = self {
            boot.over();
        }
    }

    /// Whether the machine was told to end, and had nothing left to do.
    const fn ended(&self) -> bool {
        matches!(self, Self::Linux { ended: true, .. })
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Linux { log, .. } => match log.problem() {
                Some(lines) if log.panicked() => Err(Error::Panic { last: lines.to_vec() }),
                Some(lines) => Err(Error::Problem { lines: lines.to_vec() }),
                None => Ok(()),
            },
            Self::Guest(_) => Ok(()),
        }
    }

    fn last(&self) -> Vec<String> {
        match self {
            Self::Guest(last) => last.clone().into_lines(),
            Self::Linux { log, .. } => log.last(),
        }
    }
}

fn lock(log: &Mutex<Messages>) -> MutexGuard<'_, Messages> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a kernel says no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopped {
    /// The time is over.
    Late,
    /// It has ended.
    Ended,
    /// It says something that is not an answer.
    Nonsense,
}

/// What comes out of a kernel.
#[derive(Debug)]
struct Output {
    pieces: Receiver<Vec<u8>>,
    /// What has come, and nobody has taken.
    bytes: Vec<u8>,
}

impl Output {
    fn of(from: Option<impl Read + Send + 'static>) -> Self {
        let (sender, pieces) = mpsc::channel();
        if let Some(mut from) = from {
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if sender.send(buffer[..count].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Self { pieces, bytes: Vec::new() }
    }

    /// Waits for more.
    fn more(&mut self, deadline: Instant) -> std::result::Result<(), Stopped> {
        let left = deadline.saturating_duration_since(Instant::now());
        let piece = self.pieces.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => Stopped::Late,
            RecvTimeoutError::Disconnected => Stopped::Ended,
        })?;
        self.bytes.extend(piece);
        Ok(())
    }

    /// Takes everything up to `mark`, and drops that.
    fn until(&mut self, mark: &[u8], deadline: Instant) -> std::result::Result<Vec<u8>, Stopped> {
        let mut searched = 0;
        loop {
            let found =
                self.bytes[searched..].windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                let rest = self.bytes.split_off(searched + at + mark.len());
                let mut taken = std::mem::replace(&mut self.bytes, rest);
                taken.truncate(searched + at);
                return Ok(taken);
            }
            searched = self.bytes.len().saturating_sub(mark.len() - 1);
            self.more(deadline)?;
        }
    }

    /// Takes so many bytes.
    fn take(&mut self, count: usize, deadline: Instant) -> std::result::Result<Vec<u8>, Stopped> {
        while self.bytes.len() < count {
            self.more(deadline)?;
        }
        let rest = self.bytes.split_off(count);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    /// An answer at a guest's console. The console ends lines with CR LF, so one CR goes before every LF.
    fn guests_answer(&mut self, deadline: Instant) -> std::result::Result<Answer, Stopped> {
        self.until(&[ANSWER], deadline)?;
        let mut output = self.until(END, deadline)?;
        let status = number(&self.until(b"\n", deadline)?)?;
        let mut next = output.iter().skip(1).copied().chain([0]).collect::<Vec<_>>().into_iter();
        output.retain(|&byte| !(next.next() == Some(b'\n') && byte == b'\r'));
        Ok(Answer { status, output })
    }

    /// An answer of Linux's first process.
    fn linuxs_answer(&mut self, deadline: Instant) -> std::result::Result<Answer, Stopped> {
        let line = self.until(b"\n", deadline)?;
        let mut words = line.split(|&byte| byte == b' ');
        let (status, length) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
        let (status, length) = (number(status)?, number(length)?);
        Ok(Answer { status, output: self.take(length, deadline)? })
    }

    /// The last lines of what nobody has taken.
    fn last(&self) -> Vec<String> {
        let mut last = Last::new(KEPT_LINES);
        streams::lines(&*self.bytes, |line| last.push(line));
        last.into_lines()
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> std::result::Result<T, Stopped> {
    let text = std::str::from_utf8(text).map_err(|_| Stopped::Nonsense)?;
    text.trim().parse().map_err(|_| Stopped::Nonsense)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output that came in pieces of every size.
    fn in_pieces(bytes: &'static [u8]) -> impl Iterator<Item = Output> {
        (1..=bytes.len()).map(move |size| {
            let (sender, pieces) = mpsc::channel();
            for piece in bytes.chunks(size) {
                sender.send(piece.to_vec()).unwrap();
            }
            Output { pieces, bytes: Vec::new() }
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_guests_answer_is_what_it_printed_byte_for_byte() {
        let console = b"daxfs:x:/$ \x02a\r\r\nb\r\rc\xff\r\n\r\r\n\x03status 7\r\ndaxfs:x:/$ \x02\x03status 0\r\n";
        for mut output in in_pieces(console) {
            let first = output.guests_answer(soon()).unwrap();
            assert_eq!(first, Answer { status: 7, output: b"a\r\nb\r\rc\xff\n\r\n".to_vec() });
            let second = output.guests_answer(soon()).unwrap();
            assert_eq!(second, Answer { status: 0, output: Vec::new() });
            assert_eq!(output.guests_answer(soon()), Err(Stopped::Ended));
        }
    }

    #[test]
    fn linuxs_answer_is_as_long_as_it_says() {
        for mut output in in_pieces(b"0 4\n\x030 01 0\n127 2\n\r\n") {
            for (status, printed) in [(0, &b"\x030 0"[..]), (1, b""), (127, b"\r\n")] {
                let answer = output.linuxs_answer(soon()).unwrap();
                assert_eq!((answer.status, &answer.output[..]), (status, printed));
            }
        }
    }

    #[test]
    fn half_an_answer_is_none() {
        for mut output in in_pieces(b"0 100\nabc") {
            assert_eq!(output.linuxs_answer(soon()), Err(Stopped::Ended));
        }
        for mut output in in_pieces(b"\x02abc\x03status 0") {
            assert_eq!(output.guests_answer(soon()), Err(Stopped::Ended));
        }
        for mut output in in_pieces(b"x y\n") {
            assert_eq!(output.linuxs_answer(soon()), Err(Stopped::Nonsense));
        }
    }
}
