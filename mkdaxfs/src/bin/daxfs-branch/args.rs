//! The command line of `daxfs-branch`.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use daxfs::BranchName;
use mkdaxfs::cli::branch_name;
use std::path::PathBuf;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;

/// List, make, switch, commit and abort the branches of a DAXFS image
///
/// With -m MOUNT: of an image that this kernel has mounted. The mount is on one branch, and moves:
/// `create` and `switch` move it to the branch they name, `commit` and `abort` end its branch and
/// move it to the parent.
///
/// With -f FILE: of an image in a file, where the branch is named. One that a mount writes to is
/// refused.
#[derive(Debug, Parser)]
#[command(name = "daxfs-branch", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Mounted image: the directory it is mounted on, or anything below
    #[arg(short, long, value_name = "MOUNT", global = true)]
    mount: Option<PathBuf>,

    /// Image in a file
    #[arg(short, long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the branches
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a branch; a mount moves to it
    Create {
        /// Its name, at most 31 bytes
        #[arg(value_parser = branch_name())]
        name: BranchName,
        /// The branch it starts from [default: the one the mount is on; main in a file]
        #[arg(short, long, value_name = "NAME", value_parser = branch_name())]
        parent: Option<BranchName>,
    },
    /// Move a mount to another branch
    Switch {
        /// Its name
        #[arg(value_parser = branch_name())]
        name: BranchName,
    },
    /// Merge a branch into its parent, and discard its siblings
    Commit {
        /// Its name; of a mount: the one it must be on [default: the one the mount is on]
        #[arg(value_parser = branch_name())]
        name: Option<BranchName>,
    },
    /// Discard a branch
    Abort {
        /// Its name; of a mount: the one it must be on [default: the one the mount is on]
        #[arg(value_parser = branch_name())]
        name: Option<BranchName>,
    },
    /// Clean up, in a file, after mounts that ended without saying so
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

/// What is to be done, and where.
#[derive(Debug)]
pub(crate) enum Action {
    /// To an image that this kernel has mounted here.
    Mount(PathBuf, MountAction),
    /// To an image in this file.
    File(PathBuf, FileAction),
}

/// What is to be done to a mount.
#[derive(Debug)]
pub(crate) enum MountAction {
    List { json: bool },
    Create { name: BranchName, parent: Option<BranchName> },
    Switch { name: BranchName },
    Commit { expected: Option<BranchName> },
    Abort { expected: Option<BranchName> },
}

/// What is to be done to an image in a file.
#[derive(Debug)]
pub(crate) enum FileAction {
    List { json: bool },
    Create { name: BranchName, parent: BranchName },
    Commit { name: BranchName },
    Abort { name: BranchName },
    Reap { member: Option<u8> },
}

impl Arguments {
    /// What the arguments say together.
    pub(crate) fn action(self) -> Result<Action, clap::Error> {
        match (self.mount, self.file) {
            (Some(mount), None) => Ok(Action::Mount(mount, self.command.on_mount()?)),
            (None, Some(file)) => Ok(Action::File(file, self.command.in_file()?)),
            (None, None) => missing("which image? -m MOUNT or -f FILE is needed"),
            (Some(_), Some(_)) => conflict("-m MOUNT and -f FILE: one image only"),
        }
    }
}

impl Command {
    fn on_mount(self) -> Result<MountAction, clap::Error> {
        Ok(match self {
            Self::List { json } => MountAction::List { json },
            Self::Create { name, parent } => MountAction::Create { name, parent },
            Self::Switch { name } => MountAction::Switch { name },
            Self::Commit { name } => MountAction::Commit { expected: name },
            Self::Abort { name } => MountAction::Abort { expected: name },
            Self::Reap { .. } => return conflict("dead mounts are cleaned up after with -f FILE"),
        })
    }

    fn in_file(self) -> Result<FileAction, clap::Error> {
        const NAMELESS: &str = "which branch? With -f FILE it has to be named";
        Ok(match self {
            Self::List { json } => FileAction::List { json },
            Self::Create { name, parent } => {
                FileAction::Create { name, parent: parent.unwrap_or_else(BranchName::main) }
            }
            Self::Commit { name: Some(name) } => FileAction::Commit { name },
            Self::Abort { name: Some(name) } => FileAction::Abort { name },
            // clap has made sure of `force`.
            Self::Reap { member, force: _ } => FileAction::Reap { member },
            Self::Commit { name: None } | Self::Abort { name: None } => return missing(NAMELESS),
            Self::Switch { .. } => return conflict("only a mount moves: use -m MOUNT"),
        })
    }
}

fn missing<T>(message: &str) -> Result<T, clap::Error> {
    Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, message))
}

fn conflict<T>(message: &str) -> Result<T, clap::Error> {
    Err(Arguments::command().error(ErrorKind::ArgumentConflict, message))
}

const NOTES: &str = "\
Examples:
  daxfs-branch create feature -m /mnt -p main   make a branch, and switch to it
  daxfs-branch list -m /mnt                     list the branches
  daxfs-branch commit -m /mnt                   commit the mount's branch; its siblings end
  daxfs-branch abort -m /mnt                    discard the mount's branch
  daxfs-branch -f image.daxfs create feature    make a branch in an image that is not mounted

Exit status:
  0  done
  1  not done, and a message says why
  2  wrong arguments";
