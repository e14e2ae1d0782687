//! Files that a host works with: changes at random, and what has to be there after them.

use super::content::Content;
use super::host::Host;
use super::outside;
use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use fastrand::Rng;
use std::collections::BTreeMap;

/// Most files: all of them are named in one line.
const MOST: usize = 48;
/// Most bytes of one.
const LONGEST: usize = 24_000;

/// What is in a branch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Files {
    /// By name: what is in it.
    files: BTreeMap<String, Content>,
}

impl Files {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// A change at random, as a command for `host`: a file is made, replaced, renamed or removed.
    pub fn change(&mut self, host: &Host, random: &mut Rng) -> String {
        let path = |name: &str| format!("{}{name}", host.directory());
        let known = random.choice(self.files.keys()).cloned();
        match (random.u32(..8), known) {
            (0, Some(name)) => {
                self.files.remove(&name);
                format!("rm {}", path(&name))
            }
            (1 | 2, Some(from)) => {
                let to = Self::name(random);
                if let Some(content) = self.files.remove(&from) {
                    self.files.insert(to.clone(), content);
                }
                if from == to {
                    return format!("ls {}", path(&to));
                }
                format!("mv {} {}", path(&from), path(&to))
            }
            _ => {
                let name = Self::name(random);
                let content =
                    Content::new(host.kind(), random.u64(..100_000), random.usize(1..LONGEST));
                let command = content.command(&path(&name));
                self.files.insert(name, content);
                command
            }
        }
    }

    /// One of as many names as there may be files.
    fn name(random: &mut Rng) -> String {
        format!("f{}", random.usize(..MOST))
    }

    /// Compares what a host has with what it should have. Returns the bytes that were compared.
    ///
    /// # Errors
    ///
    /// [`Error::Story`] for the first difference; else as [`Host::must`].
    pub fn verify(&self, host: &mut Host) -> Result<usize> {
        let directory = host.directory();
        let listed = host.must(&[format!("ls {directory}")])?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let found: Vec<&str> = listed.lines().filter(|name| is_ours(name)).collect();
        let wanted: Vec<&str> = self.files.keys().map(String::as_str).collect();
        let mut sorted = found.clone();
        sorted.sort_unstable();
        if sorted != wanted {
            let what = format!("{} has {sorted:?} instead of {wanted:?}", host.name());
            return Err(Error::Story(what));
        }
        let paths: Vec<String> = wanted.iter().map(|name| format!("{directory}{name}")).collect();
        if paths.is_empty() {
            return Ok(0);
        }
        let sums = host.must(&[format!("sha256sum {}", paths.join(" "))])?;
        let sums = String::from_utf8_lossy(&sums).into_owned();
        let mut lines = sums.lines();
        for (path, content) in paths.iter().zip(self.files.values()) {
            if lines.next() != Some(&format!("{}  {path}", content.sha256())) {
                let name = host.name();
                return Err(Error::Story(format!("{name}: {path} is not what was written to it")));
            }
        }
        Ok(self.files.values().map(|content| content.length()).sum())
    }

    /// Compares what is in main with what should be there, from this process, after a check of everything.
    /// Returns the bytes that were compared.
    ///
    /// # Errors
    ///
    /// [`Error::Story`] for the first difference, and those of [`outside::read`].
    pub fn verify_outside(&self, memory: &SharedMemory) -> Result<u64> {
        let mut bytes = 0;
        for (name, content) in &self.files {
            let content = content.bytes();
            if outside::read(memory, "main", name)?.as_ref() != Some(&content) {
                return Err(Error::Story(format!("main does not have {name} as it was committed")));
            }
            bytes += content.len() as u64;
        }
        Ok(bytes)
    }
}

/// Whether a file of the root directory is one of those that hosts make.
fn is_ours(name: &str) -> bool {
    name.strip_prefix('f').is_some_and(|rest| rest.parse::<usize>().is_ok())
}
