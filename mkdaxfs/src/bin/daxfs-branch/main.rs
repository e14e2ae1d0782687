//! `daxfs-branch`: lists, makes, commits and aborts branches, of a mount or of an image in a file.

#![forbid(unsafe_code)]

mod args;
mod in_file;
mod on_mount;

use args::{Action, Arguments};
use mkdaxfs::cli::{Tool, complain};
use std::process::ExitCode;

const TOOL: Tool = Tool("daxfs-branch");

fn main() -> ExitCode {
    let action = match mkdaxfs::cli::parse(args::USAGE).map(Arguments::action) {
        Ok(Ok(action)) => action,
        Ok(Err(error)) => return complain(&error, args::USAGE),
        Err(code) => return code,
    };
    TOOL.finish(match action {
        Action::Mount(path, action) => on_mount::run(&path, &action),
        Action::File(path, action) => in_file::run(&path, &action),
    })
}
