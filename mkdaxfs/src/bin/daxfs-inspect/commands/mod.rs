//! What `daxfs-inspect` does, one command per file.

mod files;
mod log;
mod status;
mod tree;
mod watch;

use crate::args::{Command, Subject};
use crate::view;
use mkdaxfs::cli::{BranchTable, ToolError, print_json};

pub(crate) fn run(subject: &Subject, command: &Command) -> Result<(), ToolError> {
    match command {
        Command::Status { format } => status::run(subject, format.json),
        Command::Tree { path, format } => tree::run(subject, path, format.json),
        Command::Ls { long, path, format } => files::list(subject, path, *long, format.json),
        Command::Cat { path } => files::cat(subject, path),
        Command::Stat { path, format } => files::stat(subject, path, format.json),
        Command::Branches { format } => branches(subject, format.json),
        Command::Log { branch, format } => log::run(subject, branch, format.json),
        Command::Watch { interval, once } => watch::run(subject, *interval, *once),
    }
}

fn branches(subject: &Subject, json: bool) -> Result<(), ToolError> {
    let volume = view::volume(subject)?;
    let table = BranchTable::read(&volume).map_err(ToolError::about("branch table"))?;
    if json { Ok(print_json(&table)?) } else { Ok(table.print()?) }
}
