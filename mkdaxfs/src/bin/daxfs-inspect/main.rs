//! `daxfs-inspect`: looks into an image, and never changes it.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod document;
mod view;

use mkdaxfs::cli::Tool;
use std::process::ExitCode;

const TOOL: Tool = Tool("daxfs-inspect");

fn main() -> ExitCode {
    match mkdaxfs::cli::parse(args::USAGE) {
        Ok(args) => TOOL.finish(commands::run(&args)),
        Err(code) => code,
    }
}
