//! Why something could not be set up, and what the user can do about it.

use std::path::PathBuf;
use std::{fmt, io};

/// Why something that a run needs is not there.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no place for a cache.
    #[error("no place for a cache folder: neither DAXFS_CACHE_DIR, XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// The cache folder cannot be used.
    #[error(
        "{path}: cannot {action}: {reason}; DAXFS_CACHE_DIR can name another cache folder",
        path = path.display()
    )]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// `DAXFS_SETUP_SKIP` names something unknown.
    #[error("DAXFS_SETUP_SKIP: there is no way '{0}'")]
    UnknownWay(String),
    /// A program could not be started, or not be waited for.
    #[error("cannot run {program}: {reason}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        reason: io::Error,
    },
    /// A program ended with an error.
    #[error("{what} failed: {}", gist(output))]
    Failed {
        /// What was tried.
        what: String,
        /// What the program said.
        output: String,
    },
    /// A program took too long and was ended.
    #[error("{what} did not end within {seconds} s")]
    TooSlow {
        /// What was tried.
        what: String,
        /// How long it was given.
        seconds: u64,
    },
    /// There is no Rust toolchain.
    #[error("{program} is missing ({reason}); install Rust, for example with rustup")]
    NoRust {
        /// The program.
        program: String,
        /// What the system said.
        reason: io::Error,
    },
    /// There is no QEMU, and none could be got.
    #[error(
        "QEMU (qemu-system-x86_64) is missing and cannot be set up here{tried}; run: {command}"
    )]
    NoQemu {
        /// What was tried.
        tried: Tried,
        /// The command that installs it.
        command: &'static str,
    },
    /// The toolchain lacks the target, and it could not be got.
    #[error(
        "the Rust target x86_64-unknown-none is missing and cannot be set up here{tried}; run: \
         {command}"
    )]
    NoTarget {
        /// What was tried.
        tried: Tried,
        /// The command that installs it.
        command: &'static str,
    },
    /// The toolchain comes without a linker for the target, and none could be got.
    #[error("the linker lld is missing and cannot be set up here{tried}; run: {command}")]
    NoLinker {
        /// What was tried.
        tried: Tried,
        /// The command that installs it.
        command: &'static str,
    },
    /// Something is missing, and could not be got.
    #[error("{what} is missing and cannot be set up here{tried}; run: {command}")]
    Missing {
        /// What.
        what: &'static str,
        /// What was tried.
        tried: Tried,
        /// The command that installs it.
        command: String,
    },
    /// A package of the distribution cannot be had.
    #[error("the package '{name}' cannot be had here: {reason}")]
    NoPackage {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A build failed.
    #[error("{what} cannot be built (log: {log}):\n    {output}", log = log.display())]
    Build {
        /// What is built.
        what: String,
        /// The file with all of its output.
        log: PathBuf,
        /// Its last lines.
        output: String,
    },
    /// The modules' build has warnings, and they are not to be put up with.
    #[error("the modules' build has {count} warnings", count = .0)]
    Warnings(usize),
    /// The kernel's tree that the user names cannot be used.
    #[error("{variable}={path}: {reason}", path = path.display())]
    Kdir {
        /// The variable.
        variable: &'static str,
        /// What it names.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The sources are not where they were when this program was built.
    #[error(
        "{path}: not there any more; run this program from a checkout: cargo run -p runner",
        path = path.display()
    )]
    NoSources {
        /// Where they were.
        path: PathBuf,
    },
    /// Cargo cannot build something.
    #[error("{what} cannot be built:\n{output}")]
    Cargo {
        /// What.
        what: &'static str,
        /// What cargo said.
        output: String,
    },
}

impl SetupError {
    /// Whether this machine lacks something that it cannot get, and this program is not to blame.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::NoPackage { .. }
                | Self::NoQemu { .. }
                | Self::NoTarget { .. }
                | Self::NoLinker { .. }
        )
    }
}

/// Ways that were tried in vain, and why.
#[derive(Default, Debug)]
pub struct Tried(Vec<String>);

impl Tried {
    /// Adds one; returns the line about it.
    pub(super) fn add(&mut self, reason: &SetupError) -> String {
        let line = reason.to_string();
        self.0.push(line.clone());
        line
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0.join("; ")) }
    }
}

/// The line that says most of what a program said: its error, else its last words.
fn gist(output: &str) -> &str {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find_map(|line| {
        let texts = ["error:", "E:"].map(|mark| line.strip_prefix(mark));
        texts.into_iter().flatten().next().map(str::trim)
    });
    error.or_else(|| lines.next_back()).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_the_reasons_and_the_command() {
        let mut tried = Tried::default();
        let output = "\nreading lists\nE: no network\nE: lists ignored\n".to_owned();
        tried.add(&SetupError::Failed { what: "apt-get update".to_owned(), output });
        let error = SetupError::NoQemu { tried, command: "apt install q" };
        assert_eq!(
            error.to_string(),
            "QEMU (qemu-system-x86_64) is missing and cannot be set up here \
             (apt-get update failed: no network); run: apt install q"
        );
    }
}
