//! The command line of `fsck-daxfs`, and its exit codes: those of fsck(8).

use clap::Parser;
use std::path::PathBuf;

/// Exit code for an image that breaks rules.
pub(crate) const PROBLEMS: u8 = 4;
/// Exit code for what is no image, or cannot be read.
pub(crate) const FAILED: u8 = 8;
/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 16;

/// Check a DAXFS image
///
/// Every structure is checked against every rule of the format: the superblocks, the inodes and
/// directories of the base image, the branch table, the segments and the logs. Nothing is ever
/// repaired or otherwise changed. The image should not be in use: what a writer is in the middle of
/// may look broken.
#[derive(Debug, Parser)]
#[command(name = "fsck-daxfs", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Image to check
    pub(crate) file: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Accepted for fsck(8); nothing is repaired
    #[arg(short = 'a', short_alias = 'A')]
    automatic: bool,

    /// Accepted for fsck(8); nothing is repaired
    #[arg(short = 'p')]
    preen: bool,

    /// Accepted for fsck(8); nothing is repaired
    #[arg(short = 'y')]
    yes: bool,

    /// Accepted for fsck(8); nothing is repaired in any case
    #[arg(short = 'n')]
    no: bool,

    /// Accepted for fsck(8); everything is checked in any case
    #[arg(short = 'f')]
    force: bool,
}

const NOTES: &str = "\
Exit status:
  0   the image is clean
  4   it breaks rules, each of which is listed
  8   the file is no DAXFS image, or one of an unknown version, or cannot be read
  16  wrong arguments";
