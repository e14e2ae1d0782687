//! The demonstration: a story that the guest kernel tells, in one script.

use super::Prepared;
use crate::console::{self, Teller, Who};
use crate::error::{Bytes, Error, Result};
use crate::guest::Run;
use crate::image::{DEFAULT_SIZE, Image};
use crate::memory::SharedMemory;
use crate::qemu::{AccelChoice, Signals};
use crate::setup::Report;
use crate::story::{COMMAND, Command, STEP, Step, Story};
use std::time::Duration;

/// One step: what it is, and what its commands together must show.
struct Told {
    title: &'static str,
    why: &'static str,
    commands: &'static [&'static str],
    /// What their output must contain.
    shows: &'static [&'static str],
    /// What their output must not contain.
    hides: &'static [&'static str],
}

const STEPS: [Told; 8] = [
    Told {
        title: "Mount",
        why: "The kernel has checked every structure of the image, and mounted it where it lies in\n\
              shared memory. It owns the branch 'main'.",
        commands: &["mount"],
        shows: &["phys=0x100000000", "branch  main", "read-write"],
        hides: &[],
    },
    Told {
        title: "Read the base image",
        why: "The base image is read in place: nothing is copied, nothing is cached. Every kernel\n\
              that maps the range reads the same bytes.",
        commands: &["ls -l /", "ls /etc", "cat /etc/motd", "cat /root/hostname"],
        shows: &["etc", "bin", "usr", "shared memory", "daxfs-demo"],
        hides: &[],
    },
    Told {
        title: "Make a branch",
        why: "A branch starts as its parent is, and takes no space until something is written. Its\n\
              parent is frozen while it lives.",
        commands: &["branch create guest main", "branch list"],
        shows: &["* guest (from main)"],
        hides: &[],
    },
    Told {
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
    Told {
        title: "Main is as it was",
        why: "The same kernel, looking at the parent branch.",
        commands: &["branch switch main", "cat /etc/motd", "ls /", "ls /usr/share/doc/daxfs"],
        shows: &["shared memory", "README"],
        hides: &["srv", "Written in a branch."],
    },
    Told {
        title: "Commit",
        why: "One compare-and-swap makes the branch its parent, however much was written.",
        commands: &["branch switch guest", "branch commit", "branch list"],
        shows: &["* main"],
        hides: &["guest"],
    },
    Told {
        title: "The result is in main",
        why: "All of it, at once. Any other mount of main sees it in its next operation.",
        commands: &["cat /etc/motd", "ls -l /srv", "sha256sum /srv/data/blob"],
        shows: &["Written in a branch.", "notes.txt", BLOB_SHA256],
        hides: &["shared memory"],
    },
    Told {
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
    let mut story = Story::new(steps(), Teller::stdout());
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

fn steps() -> Vec<Step> {
    let strings = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let step = |told: &Told| Step {
        title: told.title,
        why: told.why.to_owned(),
        commands: told.commands.iter().map(|&text| Command::new(Who::Only, text)).collect(),
        shows: strings(told.shows),
        hides: strings(told.hides),
        ..Step::default()
    };
    STEPS.iter().map(step).collect()
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
