//! Linux's log, read as it comes: what in it is a problem, and where the commands begin and end.
//!
//! A kernel that complains and goes on is a kernel with a bug: no run on one is a success, whatever
//! its commands say.

use crate::streams::Last;
use std::fs::File;
use std::io::{self, Write};

/// Lines that are kept for a message about a failure.
const KEPT_LINES: usize = 20;

/// Lines of a problem that are told: its head says what, its trace where.
const PROBLEM_LINES: usize = 40;

/// Words that only a kernel in trouble uses, as words of their own.
const WORDS: [&str; 8] =
    ["WARNING", "BUG", "Oops", "KASAN", "UBSAN", "KFENCE", "panicked", "cut here"];

/// Texts that only a kernel in trouble uses.
const TEXTS: [&str; 7] = [
    "Kernel panic",
    "general protection fault",
    "INFO: possible recursive locking",
    "INFO: task ",
    "detected stall",
    "Objects remaining",
    "stack segment:",
];

/// What the commands left with, and how many bytes they printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The commands' exit status.
    pub status: u8,
    /// Bytes on standard output.
    pub output: u64,
    /// Bytes on standard error.
    pub errors: u64,
}

/// What a line is to the reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// From before the commands, or about them.
    Boot,
    /// While the commands run.
    Running,
    /// The commands are done.
    End(End),
}

/// The log.
#[derive(Debug)]
pub struct Log {
    /// A word that nobody says by accident, before what is meant for us.
    mark: String,
    file: Option<File>,
    begun: bool,
    ended: bool,
    /// Lines of the first problem.
    problem: Vec<String>,
    panicked: bool,
    last: Last,
}

impl Log {
    /// A log whose marks begin with `mark`; `file` gets all lines.
    #[must_use]
    pub const fn new(mark: String, file: Option<File>) -> Self {
        let last = Last::new(KEPT_LINES);
        Self { mark, file, begun: false, ended: false, problem: Vec::new(), panicked: false, last }
    }

    /// The next line.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot be written to the file.
    pub fn line(&mut self, line: &str) -> io::Result<Line> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}")?;
        }
        if let Some(words) = line.split_once(&self.mark).map(|(_, words)| words.trim()) {
            let end = end(words);
            self.begun |= words == "begin";
            self.ended |= end.is_some();
            return Ok(end.map_or(Line::Boot, Line::End));
        }
        self.last.push(line);
        self.panicked |= line.contains("Kernel panic");
        let problem = !self.problem.is_empty() || is_problem(line);
        if problem && self.problem.len() < PROBLEM_LINES {
            self.problem.push(line.to_owned());
        }
        Ok(if self.begun && !self.ended { Line::Running } else { Line::Boot })
    }

    /// Lines of the first problem, if there is one.
    #[must_use]
    pub fn problem(&self) -> Option<&[String]> {
        (!self.problem.is_empty()).then_some(&*self.problem)
    }

    /// Whether the kernel has given up.
    #[must_use]
    pub const fn panicked(&self) -> bool {
        self.panicked
    }

    /// Whether the commands have begun.
    #[must_use]
    pub const fn begun(&self) -> bool {
        self.begun
    }

    /// The last lines so far.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        self.last.clone().into_lines()
    }

    /// The last lines.
    #[must_use]
    pub fn into_last(self) -> Vec<String> {
        self.last.into_lines()
    }
}

/// `end STATUS BYTES BYTES`.
fn end(words: &str) -> Option<End> {
    let mut words = words.split(' ');
    let ("end", status, output, errors) =
        (words.next()?, words.next()?, words.next()?, words.next()?)
    else {
        return None;
    };
    Some(End {
        status: status.parse().ok()?,
        output: output.parse().ok()?,
        errors: errors.parse().ok()?,
    })
}

/// Whether a line of the log tells of a bug.
#[must_use]
pub fn is_problem(line: &str) -> bool {
    TEXTS.iter().any(|text| line.contains(text)) || WORDS.iter().any(|word| has_word(line, word))
}

/// Whether a text has a word that is not part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_the_kernel_are_problems() {
        for line in [
            "[    1.0] WARNING: CPU: 0 PID: 1 at fs/x.c:3 f+0x1/0x2",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[    1.0] BUG: sleeping function called from invalid context at mm/x.c:1",
            "[    1.0] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
            "[    1.0] kernel BUG at fs/x.c:3!",
            "[    1.0] ------------[ cut here ]------------",
            "[    1.0] Oops: general protection fault, 0000 [#1] SMP",
            "[    1.0] rust_kernel: panicked at lib.rs:3",
            "[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[    1.0] INFO: task sh:12 blocked for more than 120 seconds.",
            "[    1.0] Kernel panic - not syncing: Fatal exception",
        ] {
            assert!(is_problem(line), "{line}");
        }
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "[    0.0] Linux version 7.3.4 (DEBUGGING)",
            "[    0.0] [Firmware Bug]: the BIOS is wrong",
            "[    0.0] DEBUG_LIST: a BUGGY word, WARNINGS_ON",
            "[    0.0] daxfs: branch 'Oopsie' mounted",
        ] {
            assert!(!is_problem(line), "{line}");
        }
    }

    #[test]
    fn the_first_problem_is_kept_with_what_follows() {
        let mut log = Log::new("mark".into(), None);
        for line in ["boot", "BUG: one", "trace", "WARNING: two"] {
            log.line(line).unwrap();
        }
        assert_eq!(log.problem().unwrap(), ["BUG: one", "trace", "WARNING: two"]);
        assert!(!log.panicked());
    }

    #[test]
    fn the_commands_are_told_from_the_boot() {
        let mut log = Log::new("x4242:".into(), None);
        assert_eq!(log.line("[ 1.0] booting").unwrap(), Line::Boot);
        log.line("[ 1.0] x4242: begin").unwrap();
        assert_eq!(log.line("[ 1.0] daxfs: mounted").unwrap(), Line::Running);
        assert_eq!(log.line("[ 1.0] end 0 1 2").unwrap(), Line::Running);
        let end = End { status: 7, output: 10, errors: 0 };
        assert_eq!(log.line("[ 1.0] x4242: end 7 10 0").unwrap(), Line::End(end));
        assert_eq!(log.line("[ 1.0] down").unwrap(), Line::Boot);
    }
}
