//! How the runner talks: progress and messages on standard error, results on standard output.
//!
//! Colours only on a terminal, and not where NO_COLOR is set.

use crate::setup::Report;
use clap::builder::styling::{AnsiColor, Style};
use std::fmt::Display;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Says what is being done, in lines.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lines {
    /// Says nothing but errors.
    pub quiet: bool,
}

impl Report for Lines {
    fn step(&self, text: &str) {
        if !self.quiet {
            anstream::eprintln!("{DIM}runner: {text}{DIM:#}");
        }
    }
}

/// A line of the guest's console.
pub fn guest_line(line: &str) {
    anstream::eprintln!("{DIM}guest:{DIM:#} {line}");
}

/// A line of Linux's log.
pub fn linux_line(line: &str) {
    anstream::eprintln!("{DIM}linux:{DIM:#} {line}");
}

/// A heading of the demonstration.
pub fn heading(text: impl Display) {
    let style = BOLD.fg_color(Some(AnsiColor::Cyan.into()));
    anstream::println!("\n{style}{text}{style:#}");
}

/// An explanation under a heading.
pub fn explain(text: impl Display) {
    anstream::println!("{DIM}{text}{DIM:#}");
}

/// A command the guest is about to run.
pub fn command(text: impl Display) {
    anstream::println!("  {BOLD}$ {text}{BOLD:#}");
}

/// That something was checked and is right.
pub fn right(text: impl Display) {
    let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
    anstream::println!("  {style}ok{style:#} {text}");
}

/// Why the runner fails.
pub fn error(text: impl Display) {
    let style = BOLD.fg_color(Some(AnsiColor::Red.into()));
    anstream::eprintln!("{style}error:{style:#} {text}");
}
