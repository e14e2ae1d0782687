//! What `daxfs-inspect` does, one command per file.

mod files;
mod log;
mod status;
mod tree;

use crate::args::{Arguments, Command};
use crate::view;
use mkdaxfs::cli::{BranchTable, ToolError, print_json};

pub(crate) fn run(args: &Arguments) -> Result<(), ToolError> {
    match &args.command {
        Command::Status { format } => status::run(args, format.json),
        Command::Tree { path, format } => tree::run(args, path, format.json),
        Command::Ls { long, path, format } => files::list(args, path, *long, format.json),
        Command::Cat { path } => files::cat(args, path),
        Command::Stat { path, format } => files::stat(args, path, format.json),
        Command::Branches { format } => branches(args, format.json),
        Command::Log { branch, format } => log::run(args, branch, format.json),
    }
}

fn branches(args: &Arguments, json: bool) -> Result<(), ToolError> {
    let volume = view::volume(args)?;
    let table = BranchTable::read(&volume).map_err(ToolError::about("branch table"))?;
    if json { Ok(print_json(&table)?) } else { Ok(table.print()?) }
}
