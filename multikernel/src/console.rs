//! A kernel's mailbox: its console, and how far it is.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::layout::MAILBOX;
use daxfs::std_platform::MappedFile;
use daxfs::{Region, RegionOffset};
use daxfs_format::mailbox::{self, Mailbox as Header, Progress};
use daxfs_format::multikernel::Place;
use daxfs_guest::mailbox as ends;
use daxfs_guest::mailbox::{Consumer, INPUT, OUTPUT, Producer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at the rings, after something was there, and the most.
const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(10);
/// Leaves the console: Ctrl-].
const LEAVE: u8 = 0x1d;

/// A kernel's mailbox.
pub(crate) struct Mailbox {
    place: u32,
    region: Region<MappedFile>,
}

impl Mailbox {
    /// The mailbox in a place.
    pub(crate) fn open(device: &Device, place: &Place) -> Result<Self> {
        let region = device.map(place, MAILBOX + mailbox::SIZE)?;
        Ok(Self { place: place.index.get(), region })
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        ends::is_mailbox(&self.region)
    }

    fn is_there(&self) -> Result<()> {
        if self.exists() { Ok(()) } else { Err(Error::NoMailbox(self.place)) }
    }

    /// How far the kernel is.
    pub(crate) fn progress(&self) -> Result<Progress> {
        self.is_there()?;
        let progress = ends::progress(&self.region).map_err(Error::Mailbox)?;
        progress.ok_or(Error::NoMailbox(self.place))
    }

    /// How often its timer has ticked.
    pub(crate) fn ticks(&self) -> Result<u64> {
        ends::ticks(&self.region).map_err(Error::Mailbox)
    }

    /// Bytes that it has printed.
    pub(crate) fn printed(&self) -> Result<u64> {
        let header: Header = self.region.read(RegionOffset::new(0)).map_err(Error::Mailbox)?;
        Ok(header.output.produced.get())
    }

    /// Both ends of its console.
    pub(crate) fn console(&self) -> Result<Console<'_>> {
        self.is_there()?;
        Ok(Console {
            mailbox: self,
            from: Consumer::resume(OUTPUT, &self.region).map_err(Error::Mailbox)?,
            to: Producer::resume(INPUT, &self.region).map_err(Error::Mailbox)?,
        })
    }
}

/// The console of a kernel: this program's ends of the rings.
pub(crate) struct Console<'a> {
    mailbox: &'a Mailbox,
    from: Consumer,
    to: Producer,
}

impl Console<'_> {
    /// What has been printed since the last time.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; mailbox::OUTPUT_SIZE as usize];
        let len = self.from.take(&self.mailbox.region, &mut bytes).map_err(Error::Mailbox)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Types as much of `bytes` as there is room for; says how much that was.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        self.to.put(&self.mailbox.region, bytes).map_err(Error::Mailbox)
    }

    /// How the kernel ended, if it has, and all it has printed was taken.
    pub(crate) fn ended(&self) -> Result<Option<u8>> {
        match self.mailbox.progress()? {
            Progress::Ended(status) => Ok(Some(exit_status(status))),
            _ => Ok(None),
        }
    }
}

/// An exit status for a shell.
pub(crate) const fn exit_status(status: daxfs_format::handover::ExitStatus) -> u8 {
    use daxfs_format::handover::ExitStatus;
    match status {
        ExitStatus::Shell(status) => status,
        ExitStatus::Panic => 101,
        ExitStatus::Exception => 102,
    }
}

/// How long to wait until the next look: less, the more there was lately.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) const fn new() -> Self {
        Self(SHORT)
    }

    /// After a look that found something, or nothing.
    pub(crate) fn after(&mut self, found: bool) -> Duration {
        self.0 = if found { SHORT } else { (self.0 * 2).min(LONG) };
        self.0
    }

    pub(crate) fn sleep(&mut self, found: bool) {
        sleep(self.after(found));
    }
}

/// When talking to a kernel ends, besides with its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until<'a> {
    /// When this was printed.
    pub(crate) text: Option<&'a [u8]>,
    /// At once.
    pub(crate) so_far: bool,
    /// At this time, as a failure.
    pub(crate) deadline: Option<(Instant, Duration)>,
}

/// Connects a kernel's console with standard input and output. Returns the kernel's exit status if it
/// has ended.
pub(crate) fn connect(console: &mut Console<'_>, until: &Until<'_>) -> Result<u8> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal() && !until.so_far;
    let _raw = if is_terminal { Some(Raw::new()?) } else { None };
    let mut input = Input { open: !until.so_far, typed: Vec::new() };
    let mut seen = Seen::default();
    let mut pause = Pause::new();
    let stdout = io::stdout();
    loop {
        let ended = console.ended()?;
        let printed = console.take()?;
        write_all(&stdout, &printed)?;
        if until.text.is_some_and(|text| seen.contains(&printed, text)) {
            return Ok(0);
        }
        if printed.is_empty() {
            if let Some(status) = ended {
                return Ok(status);
            }
            if until.so_far {
                return Ok(0);
            }
        }
        if let Some((deadline, limit)) = until.deadline
            && Instant::now() >= deadline
        {
            return Err(Error::TimedOut { what: "what was waited for", limit });
        }
        let wait = pause.after(!printed.is_empty());
        input.read(wait)?;
        if is_terminal && let Some(at) = input.typed.iter().position(|&byte| byte == LEAVE) {
            console.put(&input.typed[..at])?;
            return Ok(0);
        }
        let put = console.put(&input.typed)?;
        input.typed.drain(..put);
    }
}

fn write_all(mut to: &io::Stdout, bytes: &[u8]) -> Result<()> {
    let written = to.write_all(bytes).and_then(|()| to.flush());
    written.map_err(|reason| Error::System { action: "write the output", reason })
}

/// Standard input.
struct Input {
    open: bool,
    /// What has been read and not typed yet.
    typed: Vec<u8>,
}

impl Input {
    /// Waits for input, but not for long.
    fn read(&mut self, wait: Duration) -> Result<()> {
        if !self.open || !self.typed.is_empty() {
            sleep(wait);
            return Ok(());
        }
        let failed = |reason| Error::System { action: "read standard input", reason };
        let stdin = io::stdin();
        let timeout = Timespec::try_from(wait).map_err(|e| failed(io::Error::other(e)))?;
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut bytes = [0; 1024];
        // Not through the standard library's buffer: what is in there, poll does not know of.
        let len = rustix::io::read(&stdin, &mut bytes).map_err(|error| failed(error.into()))?;
        self.open = len > 0;
        self.typed.extend_from_slice(&bytes[..len]);
        Ok(())
    }
}

/// Looks for a text in what comes in pieces.
#[derive(Default)]
struct Seen(Vec<u8>);

impl Seen {
    fn contains(&mut self, piece: &[u8], text: &[u8]) -> bool {
        self.0.extend_from_slice(piece);
        let found = text.is_empty() || self.0.windows(text.len()).any(|window| window == text);
        // Only its end can be the beginning of the text.
        let keep = self.0.len().saturating_sub(text.len().saturating_sub(1));
        self.0.drain(..keep);
        found
    }
}

/// The terminal passes everything on as it is typed, while this lives.
struct Raw(Termios);

impl Raw {
    fn new() -> Result<Self> {
        let failed = |error: rustix::io::Errno| Error::System {
            action: "set the terminal up",
            reason: error.into(),
        };
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        // The kernel's lines end in a line feed.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_across_pieces_and_only_if_it_is_there() {
        let mut seen = Seen::default();
        assert!(!seen.contains(b"some output dax", b"daxfs:"));
        assert!(!seen.contains(b"f", b"daxfs:"));
        assert!(seen.contains(b"s:guest", b"daxfs:"));
        assert!(!seen.contains(b"guest", b"daxfs:"));
        assert!(seen.contains(b"x", b"x"));
        assert!(seen.contains(b"", b""));
    }

    #[test]
    fn pauses_grow_while_nothing_happens() {
        let mut pause = Pause::new();
        for _ in 0..20 {
            pause.after(false);
        }
        assert_eq!(pause.after(false), LONG);
        assert_eq!(pause.after(true), SHORT);
    }
}
