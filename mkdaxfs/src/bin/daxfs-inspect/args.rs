//! The command line of `daxfs-inspect`.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use daxfs::BranchName;
use mkdaxfs::cli::branch_name;
use std::ffi::OsString;
use std::path::PathBuf;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;

/// Look into a DAXFS image
///
/// The image may be in use: everything shown is what is published at that moment. Nothing is ever
/// changed. Names are printed so that they fit a terminal: control characters and bytes that are no
/// UTF-8 as \xNN, a backslash as two.
#[derive(Debug, Parser)]
#[command(name = "daxfs-inspect", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Image: a file, or a DAX device
    #[arg(short, long, global = true)]
    file: Option<PathBuf>,

    /// The branch to look at [default: main, or the base image where there is no branch]
    #[arg(short, long, value_name = "NAME", value_parser = branch_name())]
    branch: Option<BranchName>,

    #[command(subcommand)]
    command: Command,
}

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The image.
    pub(crate) file: PathBuf,
    /// The branch, if one was named.
    pub(crate) branch: Option<BranchName>,
}

impl Arguments {
    /// What is looked at, and how.
    pub(crate) fn parts(self) -> Result<(Subject, Command), clap::Error> {
        let missing = || {
            let message = "which image? -f FILE is needed";
            Self::command().error(ErrorKind::MissingRequiredArgument, message)
        };
        let file = self.file.ok_or_else(missing)?;
        Ok((Subject { file, branch: self.branch }, self.command))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the image is, and how full
    Status {
        #[command(flatten)]
        format: Format,
    },
    /// Show a directory and everything below it
    Tree {
        /// Where to start
        #[arg(default_value = "/")]
        path: OsString,
        #[command(flatten)]
        format: Format,
    },
    /// List a directory, or one file
    Ls {
        /// Show attributes too
        #[arg(short, long)]
        long: bool,
        /// What to list
        #[arg(default_value = "/")]
        path: OsString,
        #[command(flatten)]
        format: Format,
    },
    /// Write the content of a file to standard output
    Cat {
        /// Which file; symbolic links are followed
        path: OsString,
    },
    /// Show the attributes of a file; symbolic links at the end of the path are not followed
    Stat {
        /// Which file
        path: OsString,
        #[command(flatten)]
        format: Format,
    },
    /// List the branches
    Branches {
        #[command(flatten)]
        format: Format,
    },
    /// Show the log of a branch: what it changed, in order
    Log {
        /// The branch
        #[arg(value_parser = branch_name())]
        branch: BranchName,
        #[command(flatten)]
        format: Format,
    },
    /// Watch branches, segments and members live, in a terminal
    ///
    /// Keys: up, down, page up and page down move the branches; q or Esc ends.
    Watch {
        /// How often to look, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=60_000))]
        interval: u64,
        /// Print one look as text, and end; no terminal is needed
        #[arg(long)]
        once: bool,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const NOTES: &str = "\
Exit status:
  0  done
  1  not done, and a message says why
  2  wrong arguments";
