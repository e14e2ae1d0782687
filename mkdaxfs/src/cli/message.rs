//! How the tools talk: results on standard output, everything else on standard error.

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use super::ToolError;

/// A tool, by name.
#[derive(Clone, Copy, Debug)]
pub struct Tool(pub &'static str);

impl Tool {
    /// Says on standard error why the tool fails.
    pub fn error(self, message: impl Display) {
        let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        anstream::eprintln!("{}: {style}error:{style:#} {message}", self.0);
    }

    /// The exit code of a tool that did what it was told, or could not: 0 or 1. A reader that has
    /// enough and goes away (`| head`) is no failure.
    #[must_use]
    pub fn finish(self, result: Result<(), ToolError>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(ToolError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(e) => {
                self.error(e);
                ExitCode::FAILURE
            }
        }
    }
}

/// The exit code after writing results: `code`, unless they could not be written.
#[must_use]
pub fn finish_output(written: io::Result<()>, code: ExitCode) -> ExitCode {
    match written {
        Ok(()) => code,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => code,
        Err(e) => {
            anstream::eprintln!("cannot write to standard output: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a document on standard output.
///
/// # Errors
///
/// What the system says.
pub fn print_json(document: &impl Serialize) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()
}
