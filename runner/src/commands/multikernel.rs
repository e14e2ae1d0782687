//! `runner multikernel`: Linux, its root a branch, and guest kernels beside it on processors of their own.

use super::linux::{self, Prepared};
use super::options::{Source, Work};
use crate::console;
use crate::error::{Bytes, Error, Result};
use crate::image::{DEFAULT_SIZE, Image};
use crate::linux::{Parts, Run, System};
use crate::memory::SharedMemory;
use crate::multikernel::{outside, steps};
use crate::qemu::{Accel, AccelChoice, Shape, Signals};
use crate::setup::{self, Cache, Flavour, Report};
use crate::story::Story;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Where the guests' memory begins; Linux has what lies below and behind it.
const PLACES: u64 = 0x3000_0000;
/// MiB of memory of a guest.
const PLACE_MIB: u32 = 64;
/// MiB that Linux has, at least, behind the guests' memory.
const BEHIND_MIB: u32 = 256;
/// The most guests: their memory has to fit below the shared range.
pub const MOST_GUESTS: u32 = 15;
/// What Linux's root is.
const ROOT: &str = "branch=linux,parent=main";

/// Everything the user can say about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The image.
    pub source: Source,
    /// Bytes of the shared range.
    pub size: Option<u64>,
    /// Guests.
    pub guests: u32,
    /// What Linux does; without anything, the demonstration is shown.
    pub work: Option<Work>,
    /// Commands for each guest's shell.
    pub guest_exec: Option<String>,
    /// Which Linux.
    pub flavour: Flavour,
    /// A file that gets Linux's log.
    pub log: Option<PathBuf>,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// Whether QEMU's command line and all of Linux's log is shown.
    pub verbose: bool,
}

/// Runs it. Returns the exit status of the commands; 0 for the demonstration.
///
/// # Errors
///
/// [`Error::Demo`] or [`Error::Story`] if the demonstration does not show what it should, and what a run
/// can end with.
pub fn run(options: &Options, report: &dyn Report) -> Result<u8> {
    let told = options.work.is_none() && options.guest_exec.is_none();
    if told && options.source != Source::Demo {
        let message = "the demonstration has an image of its own: with --image or --rootfs, say what is \
            to be done (--exec, --guest-exec, --interactive)";
        return Err(Error::Usage(message.into()));
    }
    let prepared = Prepared::new(options.flavour, false, options.accel, report)?;
    if prepared.accel == Accel::Icount {
        let message = "--accel icount has one processor, and this needs several";
        return Err(Error::Usage(message.into()));
    }
    let guest = setup::guest(&Cache::open()?, report)?;
    let signals = Signals::catch()?;
    report.step("making the image");
    let memory = memory(options, &prepared)?;
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &prepared.programs.tools,
        modules: &prepared.modules,
        packages: &[],
        additions: &[(guest.elf, "/runner/daxfs-guest".into())],
    })?;
    let reserved = PLACE_MIB * options.guests;
    let append = format!(
        "maxcpus=1 no_ipi_broadcast=1 memmap={reserved}M${PLACES:#x} {}",
        linux::patience(options.flavour)
    );
    let run = Run {
        qemu: &prepared.qemu,
        shape: Shape::new(
            prepared.accel,
            options.guests + 1,
            (PLACES >> 20) as u32 + reserved + BEHIND_MIB,
        ),
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: Some(ROOT),
        append: &append,
        timeout: options.timeout,
        verbose: options.verbose,
        log: options.log.as_deref(),
    };
    if told {
        return tell(&run, options.guests, &signals).map(|()| 0);
    }
    let commands = match &options.work {
        Some(work) => work.script()?,
        None => Some(String::new()),
    };
    match commands {
        Some(commands) => {
            let text = script(options.guests, options.guest_exec.as_deref(), &commands);
            run.script(&text, &mut io::stdout(), &mut io::stderr(), &signals)
        }
        None => run.interactive(&signals),
    }
}

fn memory(options: &Options, prepared: &Prepared) -> Result<SharedMemory> {
    let size = options.size.unwrap_or(DEFAULT_SIZE);
    let image = match &options.source {
        Source::Demo => Image::multikernel(&prepared.programs.busybox, size)?,
        Source::Tree(root) => Image::of_tree(root, size)?,
        Source::Image(path) => return SharedMemory::copy_of(path, options.size),
    };
    SharedMemory::copy_of(image.path(), Some(size))
}

/// The demonstration.
fn tell(run: &Run<'_>, guests: u32, signals: &Signals) -> Result<()> {
    console::heading("DAXFS: one root file system for several kernels");
    console::explain(format_args!(
        "A machine with {} processors. {} of its memory are the shared range, at 0x100000000.",
        guests + 1,
        Bytes(run.memory.size()),
    ));
    let steps = steps::steps(guests);
    let text = format!("{}\n{}\nexit 0\n", module(guests), steps::script(&steps));
    let mut story = Story::new(steps);
    let status = run.script(&text, &mut story, &mut io::stderr(), signals)?;
    story.finish()?;
    if status != 0 {
        return Err(Error::Demo { step: "all", what: format!("the script failed: {status}") });
    }
    console::heading("From outside");
    console::explain(
        "The machine is gone. The runner opens what is left in memory with the same engine, checks every\n\
         structure in it, and reads main.",
    );
    outside::reap_all(run.memory)?;
    let found = outside::read(run.memory, "main", steps::WHO)?.unwrap_or_default();
    if found != steps::OUTCOME.as_bytes() {
        let (found, wanted) = (String::from_utf8_lossy(&found), steps::OUTCOME);
        return Err(Error::Story(format!("{} has {found:?} instead of {wanted:?}", steps::WHO)));
    }
    console::right("valid, and what was committed is there");
    console::heading("That was it.");
    console::explain(
        "Next: 'cargo run -p runner -- multikernel --interactive' for a shell on Linux, with the guests\n\
         beside it (daxfs-mk console, daxfs-mk run), and --guests N for more of them.",
    );
    Ok(())
}

/// Commands that load the module, with a range for each guest.
fn module(guests: u32) -> String {
    let ranges: Vec<String> = (0..guests)
        .map(|n| format!("{PLACE_MIB}M@{:#x}", PLACES + (u64::from(PLACE_MIB * n) << 20)))
        .collect();
    format!("insmod /run/runner/modules/daxfs_mk.ko ranges={} || exit 125", ranges.join(","))
}

/// What Linux does that has commands of its own, and those of the guests: they run at the same time, and
/// print when Linux's are done. The status is that of the first that failed.
fn script(guests: u32, guest_exec: Option<&str>, commands: &str) -> String {
    let mut script = start(guests);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    if let Some(text) = guest_exec {
        let _ = writeln!(
            script,
            "for place in $(seq 0 {}); do\n    daxfs-mk run -p $place --timeout 100000000 {} \
             >/run/guest$place.out 2>/run/guest$place.err &\n    eval \"guest$place=$!\"\ndone",
            guests - 1,
            quoted(text)
        );
    }
    let _ = writeln!(script, "(cd /; sh -c {})\nstatus=$?", quoted(commands));
    if guest_exec.is_some() {
        let _ = writeln!(
            script,
            "for place in $(seq 0 {}); do\n    eval \"wait \\$guest$place\"\n    ended=$?\n    \
             cat /run/guest$place.out\n    cat /run/guest$place.err >&2\n    \
             [ $status != 0 ] || status=$ended\ndone",
            guests - 1
        );
    }
    script.push_str("daxfs-mk stop --all >/dev/null\nexit $status\n");
    script
}

/// Commands that start all guests.
fn start(guests: u32) -> String {
    let mut script = format!("{}\n", module(guests));
    for place in 0..guests {
        let name = if guests == 1 { "guest".into() } else { format!("guest{place}") };
        let _ = writeln!(
            script,
            "daxfs-mk load -p {place} -k /run/runner/daxfs-guest -o $DAXFS_RANGE,branch={name} >&2 &&\n    \
             daxfs-mk start -p {place} --cpu {} >&2 || exit 125",
            place + 1
        );
    }
    script
}
