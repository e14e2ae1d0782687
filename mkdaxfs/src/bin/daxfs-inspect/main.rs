//! `daxfs-inspect`: looks into an image, and never changes it.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod document;
mod view;

use args::Arguments;
use mkdaxfs::cli::{Tool, complain};
use std::process::ExitCode;

const TOOL: Tool = Tool("daxfs-inspect");

fn main() -> ExitCode {
    match mkdaxfs::cli::parse(args::USAGE).map(Arguments::parts) {
        Ok(Ok((subject, command))) => TOOL.finish(commands::run(&subject, &command)),
        Ok(Err(error)) => complain(&error, args::USAGE),
        Err(code) => code,
    }
}
