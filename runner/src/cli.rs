//! The runner's arguments.

use clap::{Args, Parser, Subcommand};
use runner::commands::guest::{Options, Outcome, Source, Work};
use runner::error::{Error, Result};
use runner::qemu::AccelChoice;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the DAXFS guest kernel in QEMU. Without a command: a demonstration of the whole.
#[derive(Debug, Parser)]
#[command(name = "runner", version, after_help = AFTER)]
pub struct Cli {
    /// Say nothing about what is being set up
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER: &str = "\
Exit status: that of the first command in the guest that failed (1 failure, 2 wrong use, 127 no such
command), else 0; 32 if the guest cannot mount the image, 101 if it panics, 102 if it raises an
exception, 124 after --timeout, 125 if the runner fails, 128 + N after signal N.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the guest kernel on an image
    Guest(GuestArgs),
    /// Set up everything a run needs, and say where it is
    Setup,
}

#[derive(Debug, Args)]
pub struct GuestArgs {
    /// The image to mount [default: one of a small demonstration tree]
    #[arg(long, value_name = "FILE", conflicts_with = "rootfs")]
    image: Option<PathBuf>,
    /// Make a writable image of this directory
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Bytes of the shared range, with K, M or G [default: the image's, or 256M]
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// The branch to own, made from main if it does not exist
    #[arg(long, value_name = "NAME", default_value = "guest", value_parser = branch)]
    branch: String,
    /// Check the whole image before mounting it
    #[arg(long)]
    validate: bool,
    /// Work on the image file itself, not on a copy
    #[arg(long, requires = "image", conflicts_with = "save")]
    in_place: bool,
    /// Write the shared range to this file afterwards
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// What executes the guest's instructions
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Commands to run, separated by ';' or line ends; their output is the runner's
    #[arg(long, value_name = "COMMANDS", conflicts_with = "interactive")]
    exec: Option<String>,
    /// Give the guest the terminal (Ctrl-A X ends it); the default if there is one
    #[arg(long)]
    interactive: bool,
    /// Give up after so many seconds [default: 300 with commands, never with a terminal]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// MiB of memory of the guest's own
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=16384))]
    memory: u32,
    /// Show QEMU's command line
    #[arg(short, long)]
    verbose: bool,
}

impl GuestArgs {
    /// What the arguments mean together.
    pub fn options(&self) -> Result<Options> {
        let source = match (&self.image, &self.rootfs) {
            (Some(image), _) => Source::Image(image.clone()),
            (None, Some(root)) => Source::Tree(root.clone()),
            (None, None) => Source::Demo,
        };
        let outcome = match &self.save {
            Some(path) => Outcome::Saved(path.clone()),
            None if self.in_place => Outcome::InPlace,
            None => Outcome::Dropped,
        };
        let work = match &self.exec {
            Some(text) => Work::Script(text.clone()),
            None if self.interactive => Work::Interactive,
            None => Work::StandardInput,
        };
        let timeout = match (self.timeout, &work) {
            (Some(0), _) => return Err(Error::Usage("--timeout must be at least 1".into())),
            (Some(seconds), _) => Some(Duration::from_secs(seconds)),
            (None, Work::Script(_)) => Some(Duration::from_secs(300)),
            (None, _) => None,
        };
        Ok(Options {
            source,
            size: self.size,
            branch: self.branch.clone(),
            validate: self.validate,
            outcome,
            accel: self.accel,
            work,
            timeout,
            memory: self.memory,
            verbose: self.verbose,
        })
    }
}

fn size(text: &str) -> std::result::Result<u64, String> {
    match daxfs::parse_size(text.as_bytes()) {
        Some(0) | None => Err("a number of bytes above 0, with K, M or G if you like".into()),
        Some(bytes) => Ok(bytes),
    }
}

fn branch(text: &str) -> std::result::Result<String, String> {
    match daxfs::BranchName::new(text.as_bytes()) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a branch name has 1 to 31 bytes, without '/' and ','".into()),
    }
}
