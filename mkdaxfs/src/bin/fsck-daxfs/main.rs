//! `fsck-daxfs`: checks a DAXFS image against every rule of the format.

#![forbid(unsafe_code)]

mod args;
mod check;

use std::process::ExitCode;

fn main() -> ExitCode {
    match mkdaxfs::cli::parse(args::USAGE) {
        Ok(args) => check::run(&args),
        Err(code) => code,
    }
}
