//! The live view: the range above, what Linux says and the guests' consoles below it, side by side.
//!
//! The range is looked at in this process, through a mapping for reading of the file that is the machine's
//! memory. The guests' consoles are serial ports, connected to this process by pipes.

use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use crate::multikernel::{outside, places};
use crate::qemu::Signals;
use daxfs::Volume;
use daxfs::std_platform::StdPlatform;
use mkdaxfs::watch::ratatui::Frame;
use mkdaxfs::watch::ratatui::crossterm::event::KeyEvent;
use mkdaxfs::watch::ratatui::layout::Rect;
use mkdaxfs::watch::{Console, Pane, Watch, run};
use rustix::process::{Signal, getpid, kill_process};
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Between two looks at the range.
const INTERVAL: Duration = Duration::from_millis(100);

/// QEMU's ends of the pipes.
#[derive(Debug)]
pub struct Ends {
    /// Here they have names.
    folder: TempDir,
    pipes: Vec<(PipeWriter, PipeReader)>,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("daxfs-").tempdir()?, pipes: Vec::new() })
    }

    /// Adds those that a guest writes to, and reads from.
    fn add(&mut self, output: PipeWriter, input: PipeReader) -> io::Result<()> {
        let ours = Path::new("/proc").join(std::process::id().to_string()).join("fd");
        let path = self.path(self.pipes.len());
        symlink(ours.join(output.as_raw_fd().to_string()), path.with_extension("out"))?;
        symlink(ours.join(input.as_raw_fd().to_string()), path.with_extension("in"))?;
        self.pipes.push((output, input));
        Ok(())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("guest{number}"))
    }

    /// Where QEMU finds them.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        (0..self.pipes.len()).map(|number| self.path(number)).collect()
    }
}

/// The view.
pub struct View {
    watch: Watch<StdPlatform>,
    told: Console,
    log: Console,
    guests: Vec<(Console, PipeReader)>,
}

/// What is going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Running,
    Right,
    Wrong,
    /// Nobody is to look any more.
    Over,
}

impl State {
    fn of(raw: &AtomicU8) -> Self {
        // Relaxed: nothing else is read because of it.
        let raw = raw.load(Ordering::Relaxed);
        [Self::Running, Self::Right, Self::Wrong]
            .into_iter()
            .find(|state| *state as u8 == raw)
            .unwrap_or(Self::Over)
    }
}

/// Refuses to go on where there is no terminal.
///
/// # Errors
///
/// [`Error::Usage`].
pub fn needs_terminal() -> Result<()> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Error::Usage("--watch needs a terminal".into()))
}

impl View {
    /// A view of the range, and of so many guests. With it QEMU's ends of the pipes, for who starts QEMU.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::System`]; [`Error::Story`] for what the engine says.
    pub fn new(memory: &SharedMemory, guests: u32) -> Result<(Self, Ends)> {
        let volume = Volume::open(StdPlatform, outside::read_only(memory)?);
        let volume = volume.map_err(|error| Error::Story(error.to_string()))?;
        let failed = |reason| Error::System { action: "make a pipe", reason };
        let (mut consoles, mut ends) = (Vec::new(), Ends::new().map_err(failed)?);
        for place in 0..guests.min(places::WITH_PORT) {
            let (from_guest, output) = io::pipe().map_err(failed)?;
            let (input, mut to_guest) = io::pipe().map_err(failed)?;
            // If the guest has ended, nobody takes it.
            let typed = move |bytes: &[u8]| drop(to_guest.write_all(bytes));
            consoles.push((Console::with_input(&format!("guest{place}"), typed), from_guest));
            ends.add(output, input).map_err(failed)?;
        }
        let view = Self {
            watch: Watch::new("the shared range", volume),
            told: Console::new("linux"),
            log: Console::new("linux: the kernel's log"),
            guests: consoles,
        };
        Ok((view, ends))
    }

    /// The pane of what is told, or what commands print.
    #[must_use]
    pub fn told(&self) -> Console {
        self.told.clone()
    }

    /// The pane of Linux's log.
    #[must_use]
    pub fn log(&self) -> Console {
        self.log.clone()
    }

    /// Shows it while `work` is done in another thread, and then until the user has enough. If that is
    /// before the end of the work, this process is sent SIGINT, as if Ctrl-C had been pressed in a usual
    /// terminal. A signal that arrives while `work` is done is for `work`; one that arrives afterwards ends
    /// the view, as the user would.
    ///
    /// # Errors
    ///
    /// What `work` comes to; [`Error::System`] for the terminal's.
    pub fn show<T: Send>(
        mut self,
        ends: Ends,
        signals: &Signals,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let state = &AtomicU8::new(State::Running as u8);
        let mut told = Told { console: self.told, state };
        let mut panes = vec![&mut told as &mut dyn Pane];
        let mut consoles = Vec::new();
        thread::scope(|scope| {
            for (console, from) in self.guests {
                consoles.push(console.clone());
                scope.spawn(move || copy(from, &console));
            }
            panes.extend(consoles.iter_mut().map(|console| console as &mut dyn Pane));
            panes.push(&mut self.log);
            let worker = scope.spawn(move || {
                let result = work();
                // The last writing ends: who reads the consoles is done.
                drop(ends);
                let now = match &result {
                    Ok(_) => State::Right,
                    Err(Error::Interrupted { .. }) => State::Over,
                    Err(_) => State::Wrong,
                };
                state.store(now as u8, Ordering::Relaxed);
                result
            });
            let over = || match State::of(state) {
                State::Running => false,
                State::Right | State::Wrong => signals.pending().is_some(),
                State::Over => true,
            };
            let shown = run(&mut self.watch, &mut panes, &over, INTERVAL);
            if State::of(state) == State::Running {
                let _ = kill_process(getpid(), Signal::INT);
            }
            let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            shown.map_err(|reason| Error::System { action: "show the view", reason })?;
            result
        })
    }
}

fn copy(mut from: PipeReader, to: &Console) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        to.push(&bytes[..count]);
    }
}

/// The first pane: its title tells how it goes.
struct Told<'a> {
    console: Console,
    state: &'a AtomicU8,
}

impl Pane for Told<'_> {
    fn title(&self) -> String {
        let how = match State::of(self.state) {
            State::Running => "q ends all",
            State::Right | State::Over => "done; q leaves",
            State::Wrong => "failed; q leaves",
        };
        format!("{} ({how})", self.console.title())
    }

    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        self.console.draw(frame, area);
    }

    fn key(&mut self, key: KeyEvent) -> bool {
        self.console.key(key)
    }
}

/// Takes what is printed, shows it in a pane, and keeps it for afterwards. Clones are the same.
#[derive(Clone)]
pub struct Kept {
    console: Console,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub fn new(console: Console) -> Self {
        Self { console, bytes: Arc::default() }
    }

    /// What was printed since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.console.push(bytes);
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;
    use mkdaxfs::watch::ratatui::Terminal;
    use mkdaxfs::watch::ratatui::backend::TestBackend;
    use mkdaxfs::watch::ratatui::crossterm::event::{KeyCode, KeyModifiers};
    use std::fs::File;

    #[test]
    fn the_range_is_seen_through_the_memory_file_and_consoles_through_pipes() {
        let image = Image::demo(4 << 20).unwrap();
        let memory = SharedMemory::copy_of(image.path(), None).unwrap();
        let (mut view, ends) = View::new(&memory, 5).unwrap();
        view.watch.refresh(Duration::ZERO);
        let text = view.watch.text(120, 40);
        assert!(text.contains("main") && text.contains("active"), "{text}");
        // As many as there are ports. QEMU finds them by their names.
        assert_eq!((ends.paths().len(), view.guests.len()), (3, 3));
        let path = ends.paths().remove(1);
        let (mut console, from) = view.guests.remove(1);
        let mut output = File::options().write(true).open(path.with_extension("out")).unwrap();
        output.write_all(b"daxfs:guest1:/$ \n").unwrap();
        assert!(console.key(KeyEvent::new(KeyCode::Char('x'), KeyModifiers::NONE)));
        let mut typed = [0];
        File::open(path.with_extension("in")).unwrap().read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"x");
        drop((output, ends));
        copy(from, &console);
        let Ok(mut terminal) = Terminal::new(TestBackend::new(20, 2));
        let Ok(_) = terminal.draw(|frame| console.draw(frame, frame.area()));
        terminal.backend().assert_buffer_lines(["daxfs:guest1:/$     ", "                    "]);
    }
}
