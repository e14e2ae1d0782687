//! A runner in a terminal, and what is on its screen.

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const ROWS: NonZeroU16 = NonZeroU16::new(50).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(160).unwrap();

/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(600);

/// After this long without anything new, it is looked whether the program still runs.
const LOOK: Duration = Duration::from_millis(100);

/// A terminal with a program in it.
pub struct Pty {
    child: Child,
    keys: File,
    drawn: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Kept open: the modes are those of the terminal as long as somebody has it.
    terminal: File,
}

impl Pty {
    /// Starts the runner in a terminal of its own.
    pub fn runner(arguments: &[&str]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = name.to_str().unwrap();
        let open = || File::options().read(true).write(true).open(name).unwrap();
        let terminal = open();
        let size = (ROWS.get(), COLUMNS.get());
        let size = Winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let mut from = File::from(master);
        let keys = from.try_clone().unwrap();
        let (sender, drawn) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, drawn, screen: vt100::Parser::new(ROWS, COLUMNS, 0), terminal }
    }

    /// Waits until all of these are on the screen at once.
    #[track_caller]
    pub fn wait_for(&mut self, what: &[&str]) {
        let begin = Instant::now();
        loop {
            let text = self.screen.screen().contents();
            if what.iter().all(|what| text.contains(what)) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            match self.drawn.recv_timeout(LOOK) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(_) if ended.is_none() && begin.elapsed() < PATIENCE => {}
                Err(_) => panic!("{what:?} did not appear ({ended:?}):\n{text}"),
            }
        }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends the program SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Whether lines are edited by the terminal, as usual, and not by a program.
    pub fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until the program ends; its exit status.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            let text = self.screen.screen().contents();
            assert!(begin.elapsed() < PATIENCE, "it does not end:\n{text}");
            if let Ok(bytes) = self.drawn.recv_timeout(LOOK) {
                self.screen.process(&bytes);
            }
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
