//! The demonstration: a story in steps, run by the guest kernel, each checked as it goes.
//!
//! The guest runs one script. Before each command and after each step it prints a mark, by which what
//! they print is told apart; a step whose output is not what it should be is an error in the end.

use super::Prepared;
use crate::console;
use crate::error::{Bytes, Error, Result};
use crate::guest::Run;
use crate::image::{DEFAULT_SIZE, Image};
use crate::memory::SharedMemory;
use crate::qemu::{AccelChoice, Signals};
use crate::setup::Report;
use std::io::{self, Write};
use std::time::Duration;

/// Stands before what a command prints. Nobody prints this by accident.
const COMMAND: &str = "--8<-- runner demo command --8<--";
/// Stands behind what a step prints.
const STEP: &str = "--8<-- runner demo step --8<--";

/// One step.
struct Step {
    title: &'static str,
    why: &'static str,
    commands: &'static [&'static str],
    /// What its output must contain.
    shows: &'static [&'static str],
    /// What its output must not contain.
    hides: &'static [&'static str],
}

const STEPS: [Step; 8] = [
    Step {
        title: "Mount",
        why: "The kernel has checked every structure of the image, and mounted it where it lies in\n\
              shared memory. It owns the branch 'main'.",
        commands: &["mount"],
        shows: &["phys=0x100000000", "branch  main", "read-write"],
        hides: &[],
    },
    Step {
        title: "Read the base image",
        why: "The base image is read in place: nothing is copied, nothing is cached. Every kernel\n\
              that maps the range reads the same bytes.",
        commands: &["ls -l /", "ls /etc", "cat /etc/motd", "cat /root/hostname"],
        shows: &["etc", "bin", "usr", "shared memory", "daxfs-demo"],
        hides: &[],
    },
    Step {
        title: "Make a branch",
        why: "A branch starts as its parent is, and takes no space until something is written. Its\n\
              parent is frozen while it lives.",
        commands: &["branch create guest main", "branch list"],
        shows: &["* guest (from main)"],
        hides: &[],
    },
    Step {
        title: "Write",
        why: "The first write to a page copies it into the branch; later ones change the copy.",
        commands: &[
            "write /etc/motd \"Written in a branch.\\n\"",
            "mkdir -p /srv/data",
            "fill /srv/data/blob 8M 42",
            "rm /usr/share/doc/daxfs/README",
            "mv /root/notes.txt /srv/notes.txt",
            "cat /etc/motd",
            "ls -l /srv /srv/data",
        ],
        shows: &["Written in a branch.", "8388608", "notes.txt"],
        hides: &[],
    },
    Step {
        title: "Main is as it was",
        why: "The same kernel, looking at the parent branch.",
        commands: &["branch switch main", "cat /etc/motd", "ls /", "ls /usr/share/doc/daxfs"],
        shows: &["shared memory", "README"],
        hides: &["srv", "Written in a branch."],
    },
    Step {
        title: "Commit",
        why: "One compare-and-swap makes the branch its parent, however much was written.",
        commands: &["branch switch guest", "branch commit", "branch list"],
        shows: &["* main"],
        hides: &["guest"],
    },
    Step {
        title: "The result is in main",
        why: "All of it, at once. Any other mount of main sees it in its next operation.",
        commands: &["cat /etc/motd", "ls -l /srv", "sha256sum /srv/data/blob"],
        shows: &["Written in a branch.", "notes.txt", BLOB_SHA256],
        hides: &["shared memory"],
    },
    Step {
        title: "What it took",
        why: "Space in the shared range, and memory of the kernel's own.",
        commands: &["df", "meminfo"],
        shows: &["free", "heap", "index"],
        hides: &[],
    },
];

/// SHA-256 of what `fill PATH 8M 42` writes.
const BLOB_SHA256: &str = "4227d0e6bb1ba43a3d5305e79a645da22ea42865cb4a74a48c357b99e4dd5c53";

/// Runs the demonstration.
///
/// # Errors
///
/// [`Error::Demo`] for a step that does not show what it should, and what a run can end with.
pub fn run(report: &dyn Report) -> Result<()> {
    let prepared = Prepared::new(AccelChoice::Auto, report)?;
    let signals = Signals::catch()?;
    report.step("making an image of a small root file system");
    let memory = SharedMemory::copy_of(Image::demo(DEFAULT_SIZE)?.path(), None)?;
    console::heading("DAXFS: one file system in memory that kernels share");
    console::explain(format_args!(
        "A bare-metal Rust kernel ({}) on {}, with {} of shared memory at 0x100000000.",
        Bytes(prepared.guest.bytes),
        prepared.accel,
        Bytes(memory.size()),
    ));
    let run = Run {
        qemu: &prepared.qemu,
        accel: prepared.accel,
        guest: &prepared.guest,
        memory: &memory,
        options: "rw,branch=main,validate,exclusive",
        own_mib: 256,
        timeout: Some(Duration::from_secs(120)),
        verbose: false,
        quiet: true,
    };
    let mut story = Story::default();
    let status = run.script(&script(), &mut story, &signals)?;
    story.finish()?;
    if status != 0 {
        return Err(Error::Demo { step: "all", what: format!("a command failed: {status}") });
    }
    console::heading("That was it.");
    console::explain(
        "Next: 'cargo run -p runner -- guest' for a shell on the same kernel, with --rootfs DIR for\n\
         an image of your own.",
    );
    Ok(())
}

/// What the guest runs.
fn script() -> String {
    let mut script = String::new();
    for step in &STEPS {
        for command in step.commands {
            script.push_str(&format!("echo '{COMMAND}'\n{command}\n"));
        }
        script.push_str(&format!("echo '{STEP}'\n"));
    }
    script
}

/// Takes what the guest prints, step by step.
#[derive(Default)]
struct Story {
    /// The step whose output is coming.
    step: usize,
    /// Its commands that have been run.
    commands: usize,
    /// Bytes of a line that is not complete.
    line: Vec<u8>,
    /// The step's output so far.
    output: String,
    failure: Option<Error>,
}

impl Story {
    fn line(&mut self, line: &str) {
        let Some(step) = STEPS.get(self.step) else { return };
        match line {
            COMMAND => {
                if self.commands == 0 {
                    console::heading(format_args!("{}. {}", self.step + 1, step.title));
                    console::explain(step.why);
                }
                let command = step.commands.get(self.commands).unwrap_or(&"");
                console::command(command);
                self.commands += 1;
            }
            STEP => self.check(step),
            _ => {
                self.output.push_str(line);
                self.output.push('\n');
                anstream::println!("  {line}");
            }
        }
    }

    /// Whether the step has shown what it should.
    fn check(&mut self, step: &Step) {
        let missing = step.shows.iter().find(|text| !self.output.contains(**text));
        let superfluous = step.hides.iter().find(|text| self.output.contains(**text));
        let what = match (missing, superfluous) {
            (Some(text), _) => Some(format!("'{text}' is missing")),
            (None, Some(text)) => Some(format!("'{text}' is there")),
            (None, None) => None,
        };
        match what {
            None => console::right("checked"),
            Some(what) => {
                self.failure.get_or_insert(Error::Demo { step: step.title, what });
            }
        }
        self.output.clear();
        self.commands = 0;
        self.step += 1;
    }

    /// Whether all steps came, and were right.
    fn finish(self) -> Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match STEPS.get(self.step) {
            None => Ok(()),
            Some(step) => {
                Err(Error::Demo { step: step.title, what: "it did not get there".into() })
            }
        }
    }
}

impl Write for Story {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_shows_the_wrong_thing_is_noticed() {
        let mut story = Story::default();
        writeln!(story, "range   phys=0x100000000\nbranch  other\n{STEP}").unwrap();
        let error = story.finish().unwrap_err();
        assert!(error.to_string().contains("'branch  main' is missing"), "{error}");
    }

    #[test]
    fn a_story_that_breaks_off_is_noticed() {
        let mut story = Story::default();
        writeln!(story, "phys=0x100000000\nbranch  main\nread-write\n{STEP}").unwrap();
        let error = story.finish().unwrap_err();
        assert!(error.to_string().contains(STEPS[1].title), "{error}");
    }
}
