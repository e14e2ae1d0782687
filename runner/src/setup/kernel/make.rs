//! A run of make: its output goes to a file, and some of it to the user.

use super::toolchain::Toolchain;
use crate::qemu::process::bound_to_us;
use crate::setup::cache::failed;
use crate::setup::{Report, Result, SetupError};
use crate::streams::{Last, lines};
use rustix::process::{Pid, setpriority_process};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the user hears of a build that takes long.
const NEWS: Duration = Duration::from_secs(30);

/// How much others are preferred to a build that takes long.
const BACKGROUND: i32 = 10;

/// Lines of the output that are told when it fails.
const KEPT_LINES: usize = 15;

/// Variables that are meant for other builds.
const FOREIGN: [&str; 14] = [
    "ARCH",
    "C",
    "CC",
    "CROSS_COMPILE",
    "HOSTCC",
    "KBUILD_OUTPUT",
    "LLVM",
    "M",
    "MAKEFLAGS",
    "MFLAGS",
    "O",
    "RUSTFLAGS",
    "V",
    "W",
];

/// A run of make.
#[derive(Debug)]
pub(in crate::setup) struct Make {
    command: Command,
    log: PathBuf,
    what: String,
    long: bool,
}

impl Make {
    /// One in a folder. `what` is made, for messages.
    pub(super) fn new(folder: &Path, log: &Path, what: &str) -> Self {
        let mut command = bound_to_us(Path::new("make"));
        command.arg("-C").arg(folder).stdin(Stdio::null());
        for name in FOREIGN {
            command.env_remove(name);
        }
        // Its messages are looked at.
        command.env("LC_ALL", "C");
        Self { command, log: log.to_owned(), what: what.to_owned(), long: false }
    }

    pub(super) fn environment(mut self, toolchain: &Toolchain) -> Self {
        toolchain.apply(&mut self.command);
        self
    }

    pub(in crate::setup) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(in crate::setup) fn args<A: AsRef<OsStr>>(
        mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        self.command.args(args);
        self
    }

    /// It takes long: the user hears now and then how far it is, and other programs go first.
    pub(super) fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// Runs it to its end. Returns its warnings.
    pub(in crate::setup) fn run(mut self, report: &dyn Report) -> Result<Vec<String>> {
        let not_started = |reason| SetupError::Start { program: "make".into(), reason };
        let (output, input) = io::pipe().map_err(not_started)?;
        self.command.stdout(input.try_clone().map_err(not_started)?).stderr(input);
        let mut log = File::options().create(true).append(true).open(&self.log);
        let log = log
            .as_mut()
            .map_err(|error| failed(&self.log, "write it")(io::Error::from(error.kind())))?;
        let mut child = self.command.spawn().map_err(not_started)?;
        if self.long {
            // What it starts inherits that. If it cannot be, it is no harm.
            let _ = setpriority_process(Some(Pid::from_child(&child)), BACKGROUND);
        }
        // It must not keep the pipe open.
        drop(std::mem::replace(&mut self.command, Command::new("make")));
        let (mut warnings, mut last, mut logged) = (Vec::new(), Last::new(KEPT_LINES), Ok(()));
        let mut after_warning = false;
        let mut news = News { begin: Instant::now(), told: Instant::now(), steps: 0 };
        lines(output, |line| {
            logged = writeln!(log, "{line}").and(std::mem::replace(&mut logged, Ok(())));
            last.push(line);
            if is_warning(line) {
                warnings.push(line.to_owned());
            } else if let Some(place) = line.trim_start().strip_prefix("--> ")
                && let Some(warning) = warnings.last_mut().filter(|_| after_warning)
            {
                // Rust says where on the next line.
                warning.push_str(&format!(" ({place})"));
            }
            after_warning = is_warning(line);
            if self.long
                && let Some(text) = news.line(line, &self.what)
            {
                report.step(&text);
            }
        });
        let status = child.wait().map_err(not_started)?;
        logged.map_err(failed(&self.log, "write it"))?;
        if status.success() {
            return Ok(warnings);
        }
        let output = last.into_lines().join("\n    ");
        Err(SetupError::Build { what: self.what, log: self.log, output })
    }
}

/// Whether a line of a build tells of something that is wrong but not fatal.
fn is_warning(line: &str) -> bool {
    let sum = line.ends_with("warning emitted") || line.ends_with("warnings emitted");
    !sum && (line.contains("warning:") || line.contains("WARNING:") || line.starts_with("warning["))
}

/// How far a build is.
struct News {
    begin: Instant,
    told: Instant,
    steps: usize,
}

impl News {
    /// What is worth telling after the next line.
    fn line(&mut self, line: &str, what: &str) -> Option<String> {
        // `  CC      fs/namei.o`
        self.steps += usize::from(line.starts_with("  "));
        if self.told.elapsed() < NEWS {
            return None;
        }
        self.told = Instant::now();
        let seconds = self.begin.elapsed().as_secs();
        Some(format!("still building {what}: {} steps in {seconds} s", self.steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn make(rule: &str) -> (Result<Vec<String>>, String) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Makefile"), format!("all:\n\t@{rule}\n")).unwrap();
        let log = folder.path().join("log");
        let outcome = Make::new(folder.path(), &log, "it").arg("all").run(&());
        (outcome, fs::read_to_string(log).unwrap())
    }

    #[test]
    fn warnings_are_returned_and_everything_is_in_the_log() {
        let (outcome, log) = make(
            "echo fine; echo 'x.c:1: warning: doubtful' >&2; echo 'warning: odd'; echo '  --> x.rs:1'; \
             echo 'warning: 1 warning emitted'",
        );
        assert_eq!(outcome.unwrap(), ["x.c:1: warning: doubtful", "warning: odd (x.rs:1)"]);
        assert!(log.contains("fine\n") && log.contains("doubtful"), "{log}");
    }

    #[test]
    fn a_failure_is_told_with_its_last_words_and_the_log() {
        let (outcome, _) = make("echo 'x.c:1: error: wrong' >&2; exit 1");
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("error: wrong") && error.contains("/log"), "{error}");
    }
}
