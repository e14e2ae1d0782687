//! Validation: every rule of the format, checked in one bounded pass.
//!
//! It is in addition to, never instead of, the checks at each use: a peer may change the range right
//! after. It tells whether an image was *made* well, and `fsck` is a front end of it.
//!
//! | module | what it checks |
//! |---|---|
//! | `geometry` | superblocks and extension header: reserved and informational fields |
//! | `tree` | inodes and directories of the base |
//! | `branches` | branch table, segment map, coordination block, logs |

mod branches;
mod geometry;
mod tree;

use crate::base::Base;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::region::Region;
use crate::superblock::Geometry;
use core::fmt;

/// A rule that an image breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The rule, and where it is broken.
    pub error: Error,
    /// What was being checked.
    pub subject: Subject,
}

/// What a check is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The superblock or the extension header.
    Superblock,
    /// The base image's superblock.
    BaseSuperblock,
    /// An inode of the base.
    Inode(u64),
    /// A directory of the base, by inode number.
    Directory(u64),
    /// A record of the branch table, by slot.
    Branch(u32),
    /// A word of the segment map.
    Segment(u32),
    /// The coordination block or the member table.
    Coordination,
    /// The log of a branch, by the branch's slot.
    Log(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Superblock => write!(f, "superblock: "),
            Subject::BaseSuperblock => write!(f, "base superblock: "),
            Subject::Inode(ino) => write!(f, "inode {ino}: "),
            Subject::Directory(ino) => write!(f, "directory {ino}: "),
            Subject::Branch(slot) => write!(f, "branch table slot {slot}: "),
            Subject::Segment(index) => write!(f, "segment {index}: "),
            Subject::Coordination => write!(f, "coordination block: "),
            Subject::Log(slot) => write!(f, "log of the branch in slot {slot}: "),
        }?;
        match self.error {
            Error::Corrupt { what, at } => write!(f, "{what} ({at:#x})"),
            other => write!(f, "{other}"),
        }
    }
}

/// What a validation went over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Rules found broken.
    pub problems: u64,
    /// Inodes of the base.
    pub inodes: u64,
    /// Directory entries of the base.
    pub dirents: u64,
    /// Live branches.
    pub branches: u64,
    /// Log entries, those of shared ancestors counted for each branch.
    pub log_entries: u64,
}

/// Collects problems.
struct Report<'a> {
    emit: &'a mut dyn FnMut(&Problem),
    summary: Summary,
}

impl Report<'_> {
    fn problem(&mut self, subject: Subject, error: Error) {
        self.summary.problems += 1;
        (self.emit)(&Problem { error, subject });
    }

    fn corrupt(&mut self, subject: Subject, what: &'static str, at: u64) {
        self.problem(subject, Error::Corrupt { what, at });
    }

    fn expect(&mut self, holds: bool, subject: Subject, what: &'static str, at: u64) {
        if !holds {
            self.corrupt(subject, what, at);
        }
    }
}

/// Checks everything in `region` and calls `report` for every rule that is broken.
///
/// # Errors
///
/// [`Error::NotDaxfs`] if there is no image, [`Error::Unsupported`] for one this driver does not
/// know, [`Error::NoMemory`]. Broken rules are not errors: they are reported.
pub fn validate<P: Platform>(
    platform: &P,
    region: &Region<P::Backing>,
    report: &mut dyn FnMut(&Problem),
) -> Result<Summary> {
    let mut report = Report { emit: report, summary: Summary::default() };
    let geometry = match Geometry::read(region) {
        Ok(geometry) => geometry,
        Err(error @ Error::Corrupt { .. }) => {
            report.problem(Subject::Superblock, error);
            return Ok(report.summary);
        }
        Err(error) => return Err(error),
    };
    let base = match Base::read(region, geometry.base) {
        Ok(base) => base,
        Err(error @ Error::Corrupt { .. }) => {
            report.problem(Subject::BaseSuperblock, error);
            return Ok(report.summary);
        }
        Err(error) => return Err(error),
    };
    geometry::check(region, &geometry, &base, &mut report)?;
    let seed = platform.random();
    tree::check(region, &base, seed, &mut report)?;
    branches::check(region, &geometry, &base, seed, &mut report)?;
    Ok(report.summary)
}
