//! What is done in a round, and whether a folder is what it has to be.

use crate::multikernel::content::Content;
use daxfs::std_platform::StdPlatform;
use daxfs::{LastLink, Mount};
use std::fmt;

/// A writer's folder has that many others, which its rounds change in turn.
pub const SLOTS: u64 = 8;
/// Operations on files and branches in a round.
pub const OPERATIONS: u64 = 12;

/// Bytes that the longest first file has.
const LONG: u64 = 150_000;
/// Bytes that the longest second file has.
const SHORT: u64 = 5000;

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Writer {
    /// Linux, in the machine.
    Linux,
    /// This process.
    Native,
    /// The guest in this place.
    Guest(u32),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linux => f.write_str("linux"),
            Self::Native => f.write_str("native"),
            Self::Guest(place) => write!(f, "guest{place}"),
        }
    }
}

impl Writer {
    /// All of them.
    #[must_use]
    pub fn all(guests: u32) -> Vec<Self> {
        (0..guests).map(Self::Guest).chain([Self::Linux, Self::Native]).collect()
    }

    /// The writer of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "linux" => Some(Self::Linux),
            "native" => Some(Self::Native),
            _ => name.strip_prefix("guest")?.parse().ok().map(Self::Guest),
        }
    }

    /// Its number: no two have the same.
    const fn number(self) -> u64 {
        match self {
            Self::Linux => 0,
            Self::Native => 31,
            Self::Guest(place) => place as u64 + 1,
        }
    }

    /// The folder that it changes in a round.
    #[must_use]
    pub fn folder(self, round: u64) -> String {
        format!("/{self}/d{}", round % SLOTS)
    }

    /// The files that are in that folder afterwards. Linux and guests find out the same by themselves
    /// (`script.rs`).
    #[must_use]
    pub fn files(self, round: u64) -> [(&'static str, Content); 2] {
        let lengths = [round * 7919 % LONG, round * 31 % SHORT];
        let content = |which: u64| {
            let length = lengths[which as usize];
            match self {
                Self::Linux => Content::Numbers {
                    first: 1_000_000_000 + (round * 2 + which) % 100_000 * 10_000,
                    count: 1 + length / 11,
                },
                _ => Content::Stream {
                    seed: round * 64 + self.number() + which * 32,
                    length: 1 + length as usize,
                },
            }
        };
        [("a", content(0)), ("b", content(1))]
    }
}

/// What a look at a writer's folder has found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// The last round; 0 if there was none.
    pub round: u64,
    /// Bytes that were compared.
    pub bytes: u64,
    /// What is not as it has to be.
    pub wrong: Option<String>,
}

/// The last round of a writer.
///
/// # Errors
///
/// What the engine says.
pub fn round(mount: &Mount<StdPlatform>, writer: Writer) -> daxfs::Result<u64> {
    match read(mount, &format!("/{writer}/state")) {
        Err(daxfs::Error::NotFound) => Ok(0),
        Err(error) => Err(error),
        // What is no number is no round, and there is a folder to show it.
        Ok(text) => Ok(number(&text).unwrap_or(0)),
    }
}

/// Compares a writer's folder with what it has to be after its last round.
///
/// # Errors
///
/// What the engine says, [`daxfs::Error::NotFound`] excepted.
pub fn verify(mount: &Mount<StdPlatform>, writer: Writer) -> daxfs::Result<Seen> {
    let mut seen = Seen { round: round(mount, writer)?, ..Seen::default() };
    // The last round that changed each folder.
    let first = seen.round.saturating_sub(SLOTS - 1).max(1);
    for round in first..=seen.round {
        let folder = writer.folder(round);
        for (path, expected) in std::iter::once((format!("{folder}/round"), round_text(round)))
            .chain(writer.files(round).map(|(name, of)| (format!("{folder}/{name}"), of.bytes())))
        {
            match read(mount, &path) {
                Ok(found) if found == expected => seen.bytes += found.len() as u64,
                Ok(found) => {
                    let (found, expected) = (found.len(), expected.len());
                    let what = format!(
                        "{path}: not what round {round} wrote: {found} bytes of {expected}"
                    );
                    seen.wrong = Some(what);
                    return Ok(seen);
                }
                Err(daxfs::Error::NotFound) => {
                    seen.wrong = Some(format!("{path}, of round {round}, is missing"));
                    return Ok(seen);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(seen)
}

/// What says in a folder which round has changed it.
#[must_use]
pub fn round_text(round: u64) -> Vec<u8> {
    format!("{round}\n").into_bytes()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_end().parse().ok()
}

fn read(mount: &Mount<StdPlatform>, path: &str) -> daxfs::Result<Vec<u8>> {
    let found = mount.resolve(path.as_bytes(), LastLink::Keep)?;
    let mut bytes = vec![0; usize::try_from(found.size).unwrap_or(0)];
    let count = mount.read(found.ino, 0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_writers() {
        for writer in Writer::all(3) {
            assert_eq!(Writer::named(&writer.to_string()), Some(writer));
        }
        assert_eq!(Writer::named("guest"), None);
    }

    #[test]
    fn no_two_files_have_the_same_content() {
        let mut all = Vec::new();
        for writer in Writer::all(4) {
            for round in 1..20 {
                all.extend(writer.files(round).map(|(_, content)| content.bytes()));
            }
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
