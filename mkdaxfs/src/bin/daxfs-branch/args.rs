//! The command line of `daxfs-branch`.

use clap::{Parser, Subcommand};
use daxfs::BranchName;
use mkdaxfs::cli::Generate;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;

/// List, make, commit and abort the branches of a DAXFS image
///
/// The image must not be mounted anywhere: this is the offline tool.
#[derive(Debug, Parser)]
#[command(name = "daxfs-branch", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Image
    #[arg(short, long)]
    pub(crate) file: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) generate: Generate,
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
}

fn branch_name() -> impl clap::builder::TypedValueParser<Value = BranchName> {
    use clap::builder::{OsStringValueParser, TypedValueParser};
    OsStringValueParser::new().try_map(|text: OsString| {
        BranchName::new(text.as_bytes())
            .ok_or("a branch name has 1 to 31 bytes, and no '/', ',' or control character")
    })
}

const NOTES: &str = "\
Exit status:
  0  done
  1  not done, and a message says why
  2  wrong arguments";
