//! `runner guest`: the guest kernel on an image of the user's.

use super::Prepared;
use super::options::{Range, Work};
use crate::error::Result;
use crate::guest::Run;
use crate::qemu::{AccelChoice, Signals};
use crate::setup::Report;
use std::io;
use std::time::Duration;

/// Everything the user can say about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shared range.
    pub range: Range,
    /// The branch to own.
    pub branch: String,
    /// Whether everything is checked before mounting.
    pub validate: bool,
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
/// [`crate::Error`].
pub fn run(options: &Options, report: &dyn Report) -> Result<u8> {
    let script = options.work.script()?;
    let prepared = Prepared::new(options.accel, report)?;
    // Until here a signal ends the runner and whatever it has just started, as usual.
    let signals = Signals::catch()?;
    let memory = options.range.memory()?;
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
    let status = match &script {
        Some(text) => run.script(text, &mut io::stdout(), &signals)?,
        None => run.interactive(&signals)?,
    };
    options.range.keep(&memory)?;
    Ok(status)
}

/// What the guest is told. No other kernel has the range: it is a copy, or locked.
fn mount_options(options: &Options) -> String {
    let mut text = format!("exclusive,branch={}", options.branch);
    if options.validate {
        text.push_str(",validate");
    }
    text
}
