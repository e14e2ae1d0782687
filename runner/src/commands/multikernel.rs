//! `runner multikernel`: Linux, its root a branch, and guest kernels beside it on processors of their own.

use super::linux::{self, Prepared};
use super::options::{Source, Work};
use crate::console::Teller;
use crate::error::{Bytes, Error, Result};
use crate::image::{DEFAULT_SIZE, Image};
use crate::linux::{Beside, Parts, Run, System};
use crate::memory::SharedMemory;
use crate::multikernel::steps::{self, Base};
use crate::multikernel::watch::{self, Ends, Kept, View};
use crate::multikernel::{outside, places, root};
use crate::qemu::{AccelChoice, Shape, Signals};
use crate::setup::{self, Cache, Flavour, Report};
use crate::story::Story;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What Linux's root is.
const ROOT: &str = "branch=linux,parent=main,name=linux";

/// How long nothing is heard of a kernel until it is taken for dead: an emulator on a busy machine may leave
/// a processor out for seconds.
const LEASE: Duration = Duration::from_secs(60);

/// What a user at Linux's shell is told.
const GREETING: &str = r#"
echo "This is Linux. Its root is branch 'linux' of the shared range; beside it run:"
daxfs-mk status
echo "Talk to them: daxfs-mk run -p 0 'ls /'; daxfs-mk console -p 0 (Ctrl-] leaves). Ctrl-A X ends all."
"#;

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
    /// Whether everything is shown in a live view.
    pub watch: bool,
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
    let base = match &options.source {
        Source::Demo => root::base(),
        Source::Tree(tree) => root::base_of(tree)?,
        Source::Image(_) if told => {
            let message = "the demonstration is of a directory (--rootfs), or of a system of its own; with \
                --image, say what is to be done (--exec, --guest-exec, --interactive)";
            return Err(Error::Usage(message.into()));
        }
        Source::Image(_) => root::base(),
    };
    if options.accel == AccelChoice::Icount {
        let message = "--accel icount has one processor, and this needs several";
        return Err(Error::Usage(message.into()));
    }
    if options.watch {
        watch::needs_terminal()?;
    }
    let prepared = Prepared::new(options.flavour, false, options.accel, report)?;
    let guest = setup::guest(&Cache::open()?, report)?;
    let mut tools = prepared.programs.tools.clone();
    tools.push(setup::bench(report)?);
    let signals = Signals::catch()?;
    report.step("making the image");
    let memory = memory(options, &prepared)?;
    let (view, ends) =
        match options.watch.then(|| View::new(&memory, options.guests)).transpose()? {
            Some((view, ends)) => (Some(view), Some(ends)),
            None => (None, None),
        };
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &tools,
        modules: &prepared.modules,
        packages: &[],
        additions: &[(guest.elf, "/runner/daxfs-guest".into())],
    })?;
    let ports = ends.as_ref().map(Ends::paths).unwrap_or_default();
    let log = view.as_ref().map(View::log);
    let show = log.map(|log| move |line: &str| log.push(format!("{line}\n").as_bytes()));
    let first = format!("{}{GREETING}", places::start(options.guests, false));
    let beside = Beside {
        ports: &ports,
        options: &[],
        first: &first,
        log: show.as_ref().map(|show| show as &(dyn Fn(&str) + Sync)),
    };
    let run = Run {
        qemu: &prepared.qemu,
        shape: Shape::new(prepared.accel, options.guests + 1, places::machine_mib(options.guests)),
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: Some(ROOT),
        beside,
        append: &format!(
            "{} {}",
            places::reservation(options.guests),
            linux::patience(options.flavour)
        ),
        timeout: options.timeout,
        verbose: options.verbose,
        log: options.log.as_deref(),
    };
    let commands = match &options.work {
        Some(work) => work.script()?,
        None => Some(String::new()),
    };
    let work = |output: &mut (dyn Write + Send), errors: &mut (dyn Write + Send), teller| {
        let (guests, ports) = (options.guests, options.watch);
        match &commands {
            _ if told => tell(&run, &base, (guests, ports), teller, &signals).map(|()| 0),
            Some(commands) => {
                let text = places::script(guests, ports, options.guest_exec.as_deref(), commands);
                run.script(&text, output, errors, &signals)
            }
            None => run.interactive(&signals),
        }
    };
    match (view, ends) {
        (Some(view), Some(ends)) => shown(view, ends, told, &signals, work),
        _ => work(&mut io::stdout(), &mut io::stderr(), Teller::stdout()),
    }
}

/// Does `work` in a view; prints afterwards what it has printed or, if so, `told`.
fn shown(
    view: View,
    ends: Ends,
    told: bool,
    signals: &Signals,
    work: impl FnOnce(&mut (dyn Write + Send), &mut (dyn Write + Send), Teller) -> Result<u8> + Send,
) -> Result<u8> {
    let (output, errors) = (Kept::new(view.told()), Kept::new(view.told()));
    let teller = Teller::to(output.clone());
    let result =
        view.show(ends, signals, || work(&mut output.clone(), &mut errors.clone(), teller));
    let print = || {
        if told {
            // It has colours.
            anstream::stdout().write_all(&output.take())?;
        }
        io::stdout().write_all(&output.take())?;
        io::stderr().write_all(&errors.take())
    };
    print().map_err(|reason| Error::System { action: "write the output", reason })?;
    result
}

fn memory(options: &Options, prepared: &Prepared) -> Result<SharedMemory> {
    let size = options.size.unwrap_or(DEFAULT_SIZE);
    let image = match &options.source {
        Source::Demo => Image::multikernel(&prepared.programs.busybox, size)?,
        Source::Tree(root) => Image::of_tree(root, size)?,
        Source::Image(path) => return SharedMemory::copy_of(path, options.size),
    };
    SharedMemory::copy_of(image.with_lease(LEASE)?.path(), Some(size))
}

/// The demonstration, with so many guests, perhaps with serial ports.
fn tell(
    run: &Run<'_>,
    base: &Base,
    (guests, ports): (u32, bool),
    mut teller: Teller,
    signals: &Signals,
) -> Result<()> {
    teller.heading("DAXFS: one root file system for several kernels");
    teller.explain(format_args!(
        "A machine with {} processors. {} of its memory are the shared range, at 0x100000000.",
        guests + 1,
        Bytes(run.memory.size()),
    ));
    let steps = steps::steps(base, guests, ports);
    let text = format!("{}{}\nexit 0\n", places::module(guests), steps::script(&steps));
    let mut story = Story::new(steps, teller);
    let status = run.script(&text, &mut story, &mut io::sink(), signals)?;
    let mut teller = story.finish()?;
    if status != 0 {
        return Err(Error::Demo { step: "all", what: format!("the script failed: {status}") });
    }
    teller.heading("From outside");
    teller.explain(
        "The machine is gone. The runner opens what is left in memory with the same engine, checks every\n\
         structure in it, and reads main.",
    );
    outside::reap_all(run.memory)?;
    let found = outside::read(run.memory, "main", steps::WHO)?.unwrap_or_default();
    if found != steps::OUTCOME.as_bytes() {
        let (found, wanted) = (String::from_utf8_lossy(&found), steps::OUTCOME);
        return Err(Error::Story(format!("{} has {found:?} instead of {wanted:?}", steps::WHO)));
    }
    teller.right("valid, and what was committed is there");
    teller.heading("That was it.");
    teller.explain(
        "Next: 'runner multikernel --interactive' for a shell on Linux, with the guests beside it;\n\
         '--guests N' for more of them; '--watch' to see into the shared range meanwhile.",
    );
    Ok(())
}
