//! `daxfs-branch`: lists, makes, commits and aborts the branches of an image that nobody uses.

#![forbid(unsafe_code)]

mod args;
mod commands;

use mkdaxfs::cli::Tool;
use std::process::ExitCode;

const TOOL: Tool = Tool("daxfs-branch");

fn main() -> ExitCode {
    match mkdaxfs::cli::parse(args::USAGE) {
        Ok(args) => TOOL.finish(commands::run(&args)),
        Err(code) => code,
    }
}
