//! The command line of `daxfs-branch`.

use clap::{Parser, Subcommand};
use daxfs::BranchName;
use mkdaxfs::cli::branch_name;
use std::path::PathBuf;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;

/// List, make, commit and abort the branches of a DAXFS image
///
/// A branch that a mount writes to is refused.
#[derive(Debug, Parser)]
#[command(name = "daxfs-branch", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Image
    #[arg(short, long)]
    pub(crate) file: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the branches
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a branch
    Create {
        /// Its name, at most 31 bytes
        #[arg(value_parser = branch_name())]
        name: BranchName,
        /// The branch it starts from
        #[arg(short, long, value_name = "NAME", default_value = "main", value_parser = branch_name())]
        parent: BranchName,
    },
    /// Merge a branch into its parent, and discard its siblings
    Commit {
        /// Its name
        #[arg(value_parser = branch_name())]
        name: BranchName,
    },
    /// Discard a branch
    Abort {
        /// Its name
        #[arg(value_parser = branch_name())]
        name: BranchName,
    },
    /// Clean up after mounts that ended without saying so
    ///
    /// Their branches become free to mount, or end, and the space they held back is used again.
    /// This is harmful if one of them still runs: it goes on writing.
    Reap {
        /// The member, by the number that `daxfs-inspect status` shows [default: all]
        member: Option<u8>,
        /// Confirm that none of them still runs
        #[arg(long, required = true)]
        force: bool,
    },
}

const NOTES: &str = "\
Exit status:
  0  done
  1  not done, and a message says why
  2  wrong arguments";
