//! The shell: a POSIX-shaped set of commands over a mounted image.
//!
//! A command prints to the output and complains to the operator, each by way of [`System`]. A script
//! goes on after a command that failed; its status is that of the first one that did.
//!
//! | module | what it owns |
//! |---|---|
//! | [`grammar`] | how text becomes words |
//! | `arguments` | options and numbers |
//! | `failure` | how commands fail |
//! | `format` | numbers, times and modes as text |
//! | `commands` | the commands |

mod arguments;
mod commands;
mod failure;
mod format;
pub mod grammar;

#[cfg(test)]
mod tests;

use crate::System;
use commands::Command;
use core::fmt;
use daxfs::storage::TryVec;
use daxfs::{Access, Mount, Platform};
use failure::{Failure, UNKNOWN, USAGE};
use grammar::{Commands, Words};

/// What happens after a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next one.
    Continue,
    /// The shell ends with this status.
    Halt(u8),
}

/// A shell.
pub struct Shell<'a, P: Platform + 'static, S: System> {
    mount: &'a Mount<P>,
    system: &'a mut S,
    /// The working directory: an absolute path without ".", ".." and doubled '/'.
    directory: TryVec<u8>,
    /// Status of the first command that failed.
    status: u8,
    /// Set by `halt`.
    halt: Option<u8>,
}

impl<'a, P: Platform + 'static, S: System> Shell<'a, P, S> {
    /// A shell on `mount`, in its root directory.
    pub fn new(mount: &'a Mount<P>, system: &'a mut S) -> Self {
        Self { mount, system, directory: TryVec::new(), status: 0, halt: None }
    }

    /// Runs a script; returns its status.
    pub fn run_script(&mut self, script: &[u8]) -> u8 {
        match self.run_line(script) {
            Flow::Continue => self.status,
            Flow::Halt(status) => status,
        }
    }

    /// Runs the commands of a text. What failed in the last one is forgotten.
    pub fn run_line(&mut self, text: &[u8]) -> Flow {
        self.status = 0;
        let mut commands = Commands::new(text);
        let mut words = Words::default();
        loop {
            if let Err(error) = commands.next(&mut words) {
                self.complain(format_args!("{error}"));
                self.fail(USAGE);
                return Flow::Continue;
            }
            if words.is_empty() {
                return Flow::Continue;
            }
            self.tick();
            let status = self.run_command(&words);
            self.fail(status);
            if let Some(status) = self.halt.take() {
                return Flow::Halt(status);
            }
        }
    }

    /// The status of what was run last.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.status
    }

    /// Runs one command; returns its status.
    fn run_command(&mut self, words: &Words) -> u8 {
        let mut list = TryVec::new();
        for word in words.iter() {
            if list.push(word).is_err() {
                self.complain(format_args!("out of memory"));
                return failure::FAILED;
            }
        }
        let Some((&name, arguments)) = list.split_first() else { return 0 };
        let Some(command) = Self::command(name) else {
            self.complain(format_args!("{}: unknown command, try 'help'", format::text(name)));
            return UNKNOWN;
        };
        match (command.run)(self, arguments) {
            Ok(()) => 0,
            Err(failure) => {
                self.explain(command, failure);
                failure.status()
            }
        }
    }

    /// Shows the other kernels that this one lives, and follows what they do. To be called often:
    /// between commands, inside long ones, and while nothing happens.
    pub fn tick(&self) {
        let now = u64::try_from(self.system.uptime().as_millis()).unwrap_or(u64::MAX);
        // What is wrong with the mount is told by the next command that needs it.
        let _ = self.mount.tick(now.saturating_add(1));
    }

    /// Whether the operator asked for the running command to end.
    fn interrupted(&mut self) -> bool {
        self.tick();
        self.system.interrupted()
    }

    fn explain(&mut self, command: &Command<P, S>, failure: Failure<'_>) {
        let name = command.name;
        match failure {
            Failure::Usage => {
                self.complain(format_args!("usage: {name} {}", command.usage));
            }
            Failure::Engine(error) => {
                self.complain(format_args!("{name}: {error} ({})", error.errno().name()));
            }
            Failure::At(subject, error) => {
                let (subject, errno) = (format::text(subject), error.errno().name());
                self.complain(format_args!("{name}: {subject}: {error} ({errno})"));
            }
            Failure::Argument(argument, what) => {
                self.complain(format_args!("{name}: {}: {what}", format::text(argument)));
            }
            Failure::Wrong(what) => self.complain(format_args!("{name}: {what}")),
            Failure::Interrupted => self.complain(format_args!("{name}: interrupted")),
        }
    }

    /// Remembers the first failure.
    const fn fail(&mut self, status: u8) {
        if self.status == 0 {
            self.status = status;
        }
    }

    /// Says something to the operator.
    fn complain(&mut self, message: fmt::Arguments<'_>) {
        let mut out = Messages(self.system);
        // The sink takes everything.
        let _ = fmt::write(&mut out, format_args!("{message}\n"));
    }

    /// Prints.
    fn print(&mut self, text: fmt::Arguments<'_>) {
        let mut out = Output(self.system);
        // The sink takes everything.
        let _ = fmt::write(&mut out, text);
    }

    /// Prints bytes as they are.
    fn print_bytes(&mut self, bytes: &[u8]) {
        self.system.output(bytes);
    }

    /// Tells the operator what is mounted.
    pub fn banner(&mut self) {
        let info = self.mount.info();
        let shared = self.system.shared();
        let access = access_name(info.access);
        let (size, phys) = (format::Size(shared.size), shared.phys);
        match info.branch {
            Some(branch) => self.complain(format_args!(
                "DAXFS guest kernel {}: {size} at {phys:#x}, branch '{branch}', {access}. 'help' \
                 lists commands.",
                env!("CARGO_PKG_VERSION")
            )),
            None => self.complain(format_args!(
                "DAXFS guest kernel {}: {size} at {phys:#x}, base image, {access}. 'help' lists \
                 commands.",
                env!("CARGO_PKG_VERSION")
            )),
        }
    }

    /// Asks the operator for a line.
    pub fn prompt(&mut self) {
        let mut out = Messages(self.system);
        let directory = format::text(directory_name(&self.directory));
        // The sink takes everything.
        let _ = match self.mount.info().branch {
            Some(branch) => fmt::write(&mut out, format_args!("daxfs:{branch}:{directory}$ ")),
            None => fmt::write(&mut out, format_args!("daxfs:{directory}$ ")),
        };
    }

    /// The absolute form of a path an operator gave.
    fn path(&self, path: &[u8]) -> daxfs::Result<TryVec<u8>> {
        let mut absolute = TryVec::new();
        if path.is_empty() {
            return Err(daxfs::Error::NotFound);
        }
        if path.first() != Some(&b'/') {
            absolute.extend_from_slice(&self.directory)?;
            absolute.push(b'/')?;
        }
        absolute.extend_from_slice(path)?;
        Ok(absolute)
    }
}

/// The working directory as it is shown.
const fn directory_name(directory: &[u8]) -> &[u8] {
    if directory.is_empty() { b"/" } else { directory }
}

const fn access_name(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}

/// What commands print, as a formatter's target.
struct Output<'a, S: System>(&'a mut S);

impl<S: System> fmt::Write for Output<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.output(text.as_bytes());
        Ok(())
    }
}

/// The operator, as a formatter's target.
struct Messages<'a, S: System>(&'a mut S);

impl<S: System> fmt::Write for Messages<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.message(text.as_bytes());
        Ok(())
    }
}
