//! `runner guest`: the guest kernel on an image of the user's.

use super::Prepared;
use crate::error::{Error, Result};
use crate::guest::Run;
use crate::image::{DEFAULT_SIZE, Image};
use crate::memory::SharedMemory;
use crate::qemu::{AccelChoice, Signals};
use crate::setup::Report;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

/// Where the guest's image comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A small root file system made for showing things.
    Demo,
    /// An image file.
    Image(PathBuf),
    /// A directory.
    Tree(PathBuf),
}

/// What happens to the range afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is forgotten.
    Dropped,
    /// It is the image file itself.
    InPlace,
    /// It is written to a file.
    Saved(PathBuf),
}

/// What the guest does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Commands.
    Script(String),
    /// What the user types.
    Interactive,
    /// What the user types, or else the commands on standard input.
    StandardInput,
}

/// Everything the user can say about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The image.
    pub source: Source,
    /// Bytes of the range.
    pub size: Option<u64>,
    /// The branch to own.
    pub branch: String,
    /// Whether everything is checked before mounting.
    pub validate: bool,
    /// What happens to the range.
    pub outcome: Outcome,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// What the guest does.
    pub work: Work,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// MiB of memory of the guest's own.
    pub memory: u32,
    /// Whether QEMU's command line is shown.
    pub verbose: bool,
}

/// Runs the guest. Returns the exit status of the first command that failed, or 0.
///
/// # Errors
///
/// [`Error`].
pub fn run(options: &Options, report: &dyn Report) -> Result<u8> {
    let work = match &options.work {
        Work::StandardInput if io::stdin().is_terminal() => Work::Interactive,
        Work::StandardInput => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|reason| Error::System { action: "read commands", reason })?;
            Work::Script(text)
        }
        work => work.clone(),
    };
    let prepared = Prepared::new(options.accel, report)?;
    // Until here a signal ends the runner and whatever it has just started, as usual.
    let signals = Signals::catch()?;
    let memory = memory(options)?;
    let mount = mount_options(options);
    let run = Run {
        qemu: &prepared.qemu,
        accel: prepared.accel,
        guest: &prepared.guest,
        memory: &memory,
        options: &mount,
        own_mib: options.memory,
        timeout: options.timeout,
        verbose: options.verbose,
        quiet: false,
    };
    let status = match &work {
        Work::Script(text) => run.script(text, &mut io::stdout(), &signals)?,
        Work::Interactive | Work::StandardInput => run.interactive(&signals)?,
    };
    if let Outcome::Saved(target) = &options.outcome {
        memory.save(target)?;
    }
    Ok(status)
}

/// The shared range for a run.
fn memory(options: &Options) -> Result<SharedMemory> {
    match (&options.source, &options.outcome) {
        (Source::Image(path), Outcome::InPlace) => match options.size {
            None => SharedMemory::in_place(path),
            Some(_) => Err(Error::Usage("--size makes no sense with --in-place".into())),
        },
        (_, Outcome::InPlace) => {
            Err(Error::Usage("--in-place needs an image file: --image FILE".into()))
        }
        (Source::Image(path), _) => SharedMemory::copy_of(path, options.size),
        (Source::Tree(root), _) => {
            let size = options.size.unwrap_or(DEFAULT_SIZE);
            SharedMemory::copy_of(Image::of_tree(root, size)?.path(), Some(size))
        }
        (Source::Demo, _) => {
            let size = options.size.unwrap_or(DEFAULT_SIZE);
            SharedMemory::copy_of(Image::demo(size)?.path(), Some(size))
        }
    }
}

/// What the guest is told. No other kernel has the range: it is a copy, or locked.
fn mount_options(options: &Options) -> String {
    let mut text = format!("exclusive,branch={}", options.branch);
    if options.validate {
        text.push_str(",validate");
    }
    text
}
