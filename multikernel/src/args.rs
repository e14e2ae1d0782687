//! The command line of `daxfs-mk`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Load, start, watch and stop kernels beside Linux
///
/// A place is a physical range that the module daxfs_mk was given, for one kernel. Places count from 0,
/// in the order of the module's parameter.
#[derive(Debug, Parser)]
#[command(name = "daxfs-mk", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a kernel into a place
    Load(Load),
    /// Start the kernel of a place
    ///
    /// One that has run before is loaded again first.
    Start(Start),
    /// Stop the kernel of a place, and tell the others that it is dead
    Stop(Stop),
    /// Stop the kernel of a place, and start it again on the same processor
    Restart(Restart),
    /// Tell what is in the places
    Status {
        /// Only this place
        #[arg(short, long)]
        place: Option<u32>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Talk to the kernel of a place
    ///
    /// At a terminal, Ctrl-] leaves. Otherwise standard input is typed, and the output follows until
    /// the kernel ends, or what --until says.
    Console(Console),
    /// Have the shell of a kernel run commands
    ///
    /// Prints what they print, and leaves with the status of the first one that fails. Waits while
    /// another program talks to that kernel.
    Run(Run),
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    /// The kernel, an ELF file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// What it mounts: phys=ADDR,size=SIZE,branch=NAME,...
    #[arg(short, long, default_value = "")]
    pub(crate) options: String,
    /// Commands for its shell, instead of those typed at its console; it ends after them
    #[arg(short, long, value_name = "COMMANDS", conflicts_with = "script")]
    pub(crate) exec: Option<String>,
    /// The same, from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// I/O port of a serial port that is its console as well, which Linux must not use: 0x2f8
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(crate) uart: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    /// The processor, as Linux counts them
    #[arg(short, long)]
    pub(crate) cpu: u32,
    /// Take the processor from Linux first
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// What is waited for after a start.
#[derive(Debug, Args)]
pub(crate) struct Patience {
    /// Do not wait until it has mounted the range
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Seconds to wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Print how long it took, as JSON
    #[arg(long)]
    pub(crate) timing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    /// All places
    #[arg(short, long, conflicts_with = "place")]
    pub(crate) all: bool,
    /// Give the processor back to Linux
    #[arg(long)]
    pub(crate) online: bool,
    /// Do not tell the other kernels
    #[arg(long)]
    pub(crate) no_reap: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    /// Leave once this text was printed
    #[arg(long, value_name = "TEXT")]
    pub(crate) until: Option<String>,
    /// Leave with what has been printed so far
    #[arg(long, conflicts_with = "until")]
    pub(crate) so_far: bool,
    /// Leave, with status 124, after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The place
    #[arg(short, long, default_value_t = 0)]
    pub(crate) place: u32,
    /// Leave, with status 124, after this many seconds; the commands go on
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// The commands
    pub(crate) commands: String,
}

/// An I/O port, decimal or with `0x`.
fn port(text: &str) -> Result<u16, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

const NOTES: &str = "\
Examples:
  insmod daxfs_mk.ko ranges=64M@0x38000000
  daxfs-mk load --kernel daxfs-guest -o phys=0x100000000,size=256M,branch=guest
  daxfs-mk start --cpu 1 --offline
  daxfs-mk run 'ls -l /; branch list'
  daxfs-mk console
  daxfs-mk stop --online

Exit status:
  0        done
  1        it failed
  2        wrong arguments
  124      it took too long
  run      that of the kernel's commands
  console  that of the kernel, if it ends: as its shell has it; 101 for a panic, 102 for an exception";
