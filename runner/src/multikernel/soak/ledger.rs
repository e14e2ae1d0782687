//! What was counted, what is known to be committed, what went wrong.

use super::work::{OPERATIONS, Writer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Failures of which the text is kept.
const KEPT: usize = 20;

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Counts {
    /// Operations on files and branches, of committed rounds.
    pub operations: u64,
    /// Rounds committed into a base.
    pub commits: u64,
    /// Bases committed into `main`.
    pub races: u64,
    /// Guests that were stopped.
    pub kills: u64,
    /// How many of them were in a commit.
    pub kills_in_commit: u64,
    /// How many of them had not got to their first round.
    pub kills_in_boot: u64,
    /// Mounts of this process that ended without a word.
    pub native_deaths: u64,
    /// Machines that were killed with everything in them.
    pub machines_killed: u64,
    /// Machines that ended in order.
    pub machines_ended: u64,
    /// Deaths that were cleaned up after.
    pub recoveries: u64,
    /// Looks at a writer's folder.
    pub looks: u64,
    /// Bytes that were compared with what they have to be.
    pub bytes_verified: u64,
    /// What went wrong.
    pub failures: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, commits, races, kills, kills_in_commit, kills_in_boot, .. } = self;
        let Self { native_deaths, machines_killed, machines_ended, recoveries, .. } = self;
        let (verified, failures) = (self.bytes_verified >> 20, self.failures);
        write!(
            f,
            "{operations} operations, {commits} commits, {races} into main; {kills} guests killed \
             ({kills_in_commit} in a commit, {kills_in_boot} while they booted), {native_deaths} mounts of \
             this process, {machines_killed} machines ({machines_ended} ended in order); {recoveries} \
             recoveries; {verified} MiB verified; {failures} failures"
        )
    }
}

/// The counts, and what has to hold.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    counts: Counts,
    /// By base: the last round that is known to be committed.
    committed: BTreeMap<String, u64>,
    /// The texts of failures.
    failures: Vec<String>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.entries().counts
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.entries().counts);
    }

    /// Something went wrong.
    pub fn failure(&self, text: impl Into<String>) {
        let mut entries = self.entries();
        entries.counts.failures += 1;
        if entries.failures.len() < KEPT {
            entries.failures.push(text.into());
        }
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.entries().failures.clone()
    }

    /// The last round that is known to be committed into `base`.
    #[must_use]
    pub fn committed(&self, base: &str) -> u64 {
        self.entries().committed.get(base).copied().unwrap_or(0)
    }

    /// From now on `round` is known to be committed into `base`.
    pub fn commit(&self, base: &str, round: u64) {
        let mut entries = self.entries();
        let known = entries.committed.entry(base.to_owned()).or_default();
        *known = round.max(*known);
    }

    /// A round is committed.
    pub fn round(&self, base: &str, rounds: u64, last: u64) {
        self.count(|counts| {
            counts.commits += rounds;
            counts.operations += rounds * OPERATIONS;
        });
        self.commit(base, last);
    }

    /// A line of Linux's (see [`super::script`]).
    pub fn line(&self, line: &str) {
        if self.parsed(line).is_none() {
            self.failure(line.trim());
        }
    }

    fn parsed(&self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["round", writer, base, round] => {
                Writer::named(writer)?;
                self.round(base, 1, round.parse().ok()?);
            }
            ["race", writer, base, round] => {
                Writer::named(writer)?;
                self.commit(base, round.parse().ok()?);
                self.count(|counts| counts.races += 1);
            }
            ["killed", writer, base, before, said, found, place] => {
                Writer::named(writer)?;
                self.killed(line, base, before.parse().ok()?, (said, found), place)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn killed(
        &self,
        line: &str,
        base: &str,
        before: u64,
        (said, found): (&str, &str),
        place: &str,
    ) -> Option<()> {
        let number = |word: &str| match word {
            "-" => Some(None),
            word => word.parse().ok().map(Some),
        };
        let (said, found): (Option<u64>, Option<u64>) = (number(said)?, number(found)?);
        let last = said.unwrap_or(before);
        if let Some(found) = found {
            // It says that a round is committed after it is.
            if found != last && found != last + 1 {
                self.failure(format!("lost or made up: {}", line.trim()));
            }
            if found < self.committed(base) {
                self.failure(format!("round {} was there: {}", self.committed(base), line.trim()));
            }
        }
        let last = found.unwrap_or(last);
        let rounds = last.saturating_sub(before);
        self.count(|counts| {
            counts.commits += rounds;
            counts.operations += rounds * OPERATIONS;
            counts.kills += 1;
            counts.recoveries += 1;
            counts.kills_in_commit += u64::from(place == "commit");
            counts.kills_in_boot += u64::from(place == "boot");
        });
        if found.is_some() {
            self.commit(base, last);
        }
        Some(())
    }

    /// Takes lines as they come, in pieces.
    #[must_use]
    pub const fn lines(&self) -> Lines<'_> {
        Lines { ledger: self, line: Vec::new() }
    }
}

/// What Linux prints.
#[derive(Debug)]
pub struct Lines<'a> {
    ledger: &'a Ledger,
    /// Bytes of a line that is not complete: it does not count, should its end never come.
    line: Vec<u8>,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.ledger.line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(lines: &str) -> u64 {
        let ledger = Ledger::default();
        ledger.lines().write_all(lines.as_bytes()).unwrap();
        ledger.counts().failures
    }

    #[test]
    fn what_is_as_it_should_be_is_counted() {
        let ledger = Ledger::default();
        let lines = "round linux linux.1 7\nrace linux linux.1 7\n\
            killed guest0 guest0.2 4 6 7 commit\nkilled guest1 guest1.2 4 - 4 boot\n\
            killed guest0 guest0.2 7 9 - other\nhalf a li";
        ledger.lines().write_all(lines.as_bytes()).unwrap();
        let counts = ledger.counts();
        assert_eq!((counts.failures, counts.kills, counts.races), (0, 3, 1));
        assert_eq!((counts.commits, counts.operations), (6, 6 * OPERATIONS));
        assert_eq!((counts.kills_in_commit, counts.kills_in_boot), (1, 1));
        assert_eq!((ledger.committed("linux.1"), ledger.committed("guest0.2")), (7, 7));
    }

    #[test]
    fn what_is_lost_is_noticed() {
        for line in [
            "killed guest0 guest0.2 4 6 5 other\n",
            "killed guest0 guest0.2 4 6 8 other\n",
            "killed guest0 guest0.2 4 - 3 other\n",
            "strange stop\n",
            "round nobody x.1 1\n",
            "round linux linux.1 x\n",
            "round linux linux.1 9\nkilled guest0 linux.1 4 8 8 other\n",
        ] {
            assert_eq!(failures(line), 1, "{line}");
        }
    }
}
