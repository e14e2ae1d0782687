//! Members in processes of their own, started and killed, and what they told.

use crate::arena::Arena;
use crate::racer::{Event, State};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What processes told, all together.
#[derive(Clone, Default, Debug)]
pub struct Told {
    /// Of racers.
    pub events: Vec<Event>,
    /// Operations done by racers.
    pub operations: u64,
    /// Bytes that racers read back and compared.
    pub verified: u64,
    /// The longest that an operation of a racer took, in milliseconds.
    pub slowest_ms: u64,
    /// The last state that each checkpointing process saved.
    pub saved: BTreeMap<String, u64>,
}

struct Process {
    title: String,
    child: Child,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

/// Processes at work on one arena. Dropping this kills them.
pub struct Processes {
    program: PathBuf,
    image: String,
    running: Vec<Process>,
    told: Arc<Mutex<Told>>,
}

impl Processes {
    /// None yet. `program` is the `member` binary.
    #[must_use]
    pub fn new(program: &Path, arena: &Arena) -> Self {
        // A file of memory has no path but this.
        let image = format!("/proc/{}/fd/{}", std::process::id(), arena.file().as_raw_fd());
        Self { program: program.to_owned(), image, running: Vec::new(), told: Arc::default() }
    }

    /// Starts one that does `work`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(&mut self, work: &str, title: &str, seed: u64) {
        let mut child = Command::new(&self.program)
            .args([work, &self.image, title, &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let (told, of) = (Arc::clone(&self.told), title.to_owned());
        let reader = std::thread::spawn(move || {
            for line in lines.lines() {
                told.lock().expect("no panic").take_line(&of, &line.expect("text"));
            }
        });
        let stdin = child.stdin.take();
        let title = title.to_owned();
        self.running.push(Process { title, child, stdin, reader: Some(reader) });
    }

    /// Titles of those that run.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        self.running.iter().map(|process| process.title.clone()).collect()
    }

    /// Kills one; all that it told has been heard then.
    ///
    /// # Panics
    ///
    /// If it has ended by itself.
    pub fn kill(&mut self, title: &str) {
        let at = self.running.iter().position(|process| process.title == title).expect("it runs");
        let mut process = self.running.swap_remove(at);
        let ended = process.child.try_wait().expect("a child");
        assert_eq!(ended, None, "{title} ended by itself: it says why above");
        process.child.kill().expect("a child can be killed");
        process.child.wait().expect("a child");
        process.reader.take().map(JoinHandle::join).transpose().expect("a reader");
    }

    /// What was told so far.
    ///
    /// # Panics
    ///
    /// If a reader did.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told.lock().expect("no panic").clone()
    }

    /// Lets all finish what they are at, and returns what they told.
    ///
    /// # Panics
    ///
    /// If one of them fails.
    #[must_use]
    pub fn finish(mut self) -> Told {
        for process in &mut self.running {
            process.stdin = None;
        }
        for mut process in self.running.drain(..) {
            let status = process.child.wait().expect("a child");
            process.reader.take().map(JoinHandle::join).transpose().expect("a reader");
            assert!(status.success(), "{} failed: it says why above", process.title);
        }
        self.told()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.running {
            // Whoever has ended already is not to be killed.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

impl Told {
    fn take_line(&mut self, title: &str, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        let state = || State { number: number(1), digest: words[2].to_owned() };
        match words[0] {
            "trying" => self.events.push(Event::Trying(state())),
            "committed" => self.events.push(Event::Committed(state())),
            "lost" => self.events.push(Event::Lost),
            "work" => {
                // Totals of the process so far; what it did before is in there.
                self.slowest_ms = self.slowest_ms.max(number(3));
                self.operations += number(1);
                self.verified += number(2);
            }
            "saved" => {
                self.saved.insert(title.to_owned(), number(1));
            }
            other => panic!("{title} told {other}"),
        }
    }
}
