//! The runner's command line.

#![forbid(unsafe_code)]

mod cli;

use clap::Parser;
use runner::commands::{demo, guest, prepare};
use runner::console::{self, Lines};
use runner::error::Result;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match run(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            console::error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(cli: &cli::Cli) -> Result<u8> {
    let report = Lines { quiet: cli.quiet };
    match &cli.command {
        None => demo::run(&report).map(|()| 0),
        Some(cli::Command::Setup) => prepare::run(&report).map(|()| 0),
        Some(cli::Command::Guest(args)) => guest::run(&args.options()?, &report),
    }
}
