//! How the runner talks: progress and messages on standard error, results on standard output.
//!
//! Colours only on a terminal, and not where NO_COLOR is set.

use crate::setup::Report;
use clap::builder::styling::{AnsiColor, Color, Style};
use std::fmt::{self, Display};

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

/// Who is talking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The only kernel there is.
    Only,
    /// Linux.
    Linux,
    /// A guest kernel, the number of its place.
    Guest(u32),
}

impl Who {
    /// The style of what is said about it.
    const fn style(self) -> Style {
        match self {
            Self::Only => BOLD,
            Self::Linux => BOLD.fg_color(Some(Color::Ansi(AnsiColor::Yellow))),
            Self::Guest(_) => BOLD.fg_color(Some(Color::Ansi(AnsiColor::Magenta))),
        }
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Linux => f.write_str("linux"),
            Self::Guest(place) => write!(f, "guest{place}"),
        }
    }
}

/// A command that somebody is about to run.
pub fn command(who: Who, text: impl Display) {
    let style = who.style();
    match who {
        Who::Only => anstream::println!("  {style}$ {text}{style:#}"),
        _ => anstream::println!("  {style}{who}${style:#} {BOLD}{text}{BOLD:#}"),
    }
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
