//! The runner's command line.

#![forbid(unsafe_code)]

mod cli;

use clap::Parser;
use runner::commands::{bench, demo, guest, linux, multikernel, pool, prepare, soak, takeover};
use runner::console::{self, Lines};
use runner::error::Result;
use runner::setup::Flavour;
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
        Some(cli::Command::Env { kernel_debug }) => {
            prepare::environment(cli::flavour(*kernel_debug), &report).map(|()| 0)
        }
        Some(cli::Command::Setup { linux, kernel_debug, deny_warnings }) => {
            let flavours = [(*linux, Flavour::Plain), (*kernel_debug, Flavour::Debug)];
            let wanted =
                flavours.into_iter().filter_map(|(wanted, flavour)| wanted.then_some(flavour));
            prepare::run(wanted, *deny_warnings, &report).map(|()| 0)
        }
        Some(cli::Command::Linux(args)) => linux::run(&args.options(), &report),
        Some(cli::Command::Multikernel(args)) => multikernel::run(&args.options(), &report),
        Some(cli::Command::Bench(args)) => bench::run(&args.options(), &report).map(|()| 0),
        Some(cli::Command::Pool(args)) => pool::run(&args.options(), &report).map(|()| 0),
        Some(cli::Command::Takeover(args)) => takeover::run(&args.options(), &report).map(|()| 0),
        Some(cli::Command::Soak(args)) => soak::run(&args.options(), &report).map(|()| 0),
        Some(cli::Command::Guest(args)) => guest::run(&args.options(), &report),
    }
}
