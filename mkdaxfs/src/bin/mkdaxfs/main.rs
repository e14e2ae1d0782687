//! `mkdaxfs`: makes a DAXFS image of a directory tree.

#![forbid(unsafe_code)]

mod args;
mod run;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    match mkdaxfs::cli::parse(args::USAGE) {
        Ok(args) => run::run(&args),
        Err(code) => code,
    }
}
