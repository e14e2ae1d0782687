//! How the runner talks: progress and messages on standard error, results on standard output.
//!
//! Colours only on a terminal, and not where NO_COLOR is set.

use crate::setup::Report;
use clap::builder::styling::{AnsiColor, Style};
use std::fmt::{self, Display};
use std::io::Write;

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

/// That a machine is started once more.
pub fn emulator_stuck() {
    anstream::eprintln!("{DIM}runner: the emulator is stuck: starting the machine again{DIM:#}");
}

/// A line of the guest's console.
pub fn guest_line(line: &str) {
    anstream::eprintln!("{DIM}guest:{DIM:#} {line}");
}

/// A line of Linux's log.
pub fn linux_line(line: &str) {
    anstream::eprintln!("{DIM}linux:{DIM:#} {line}");
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
    /// The style of what it says.
    fn style(self) -> Style {
        const GUESTS: [AnsiColor; 4] =
            [AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Green, AnsiColor::Cyan];
        let color = match self {
            Self::Only => return Style::new(),
            Self::Linux => AnsiColor::Yellow,
            Self::Guest(place) => GUESTS[place as usize % GUESTS.len()],
        };
        Style::new().fg_color(Some(color.into()))
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

/// Where something is told. Whoever does not listen any more is not told, and that is no error.
pub struct Teller(Box<dyn Write + Send>);

impl Teller {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(Box::new(anstream::stdout()))
    }

    /// Somewhere else, where colours can be shown.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self(Box::new(writer))
    }

    fn tell(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(text).and_then(|()| self.0.flush());
    }

    /// A heading of a demonstration.
    pub fn heading(&mut self, text: impl Display) {
        let style = BOLD.fg_color(Some(AnsiColor::Cyan.into()));
        self.tell(format_args!("\n{style}{text}{style:#}\n"));
    }

    /// An explanation under a heading.
    pub fn explain(&mut self, text: impl Display) {
        self.tell(format_args!("{DIM}{text}{DIM:#}\n"));
    }

    /// A command that somebody is about to run.
    pub fn command(&mut self, who: Who, text: impl Display) {
        let style = who.style();
        match who {
            Who::Only => self.tell(format_args!("  {BOLD}$ {text}{BOLD:#}\n")),
            _ => {
                let who = who.to_string();
                self.tell(format_args!("{style}{who:>8} ${style:#} {BOLD}{text}{BOLD:#}\n"));
            }
        }
    }

    /// A line that a command has printed.
    pub fn line(&mut self, who: Who, text: &str) {
        let style = who.style();
        match who {
            Who::Only => self.tell(format_args!("    {text}\n")),
            _ => self.tell(format_args!("{style}{:>10}{style:#} {text}\n", '|')),
        }
    }

    /// That something was checked and is right.
    pub fn right(&mut self, text: impl Display) {
        let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
        self.tell(format_args!("  {style}ok{style:#} {text}\n"));
    }

    /// That something is wrong.
    pub fn wrong(&mut self, text: impl Display) {
        let style = BOLD.fg_color(Some(AnsiColor::Red.into()));
        self.tell(format_args!("  {style}wrong{style:#} {text}\n"));
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

/// A heading of a demonstration, on standard output.
pub fn heading(text: impl Display) {
    Teller::stdout().heading(text);
}

/// An explanation under a heading, on standard output.
pub fn explain(text: impl Display) {
    Teller::stdout().explain(text);
}

/// That something was checked and is right, on standard output.
pub fn right(text: impl Display) {
    Teller::stdout().right(text);
}

/// Why the runner fails.
pub fn error(text: impl Display) {
    let style = BOLD.fg_color(Some(AnsiColor::Red.into()));
    anstream::eprintln!("{style}error:{style:#} {text}");
}
