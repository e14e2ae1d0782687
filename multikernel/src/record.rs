//! What was loaded where: told from one command to the next by files in `/run`, which only the
//! administrator can write to. What lies in a place itself is its kernel's, and not to be trusted.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder of the files.
const FOLDER: &str = "/run/daxfs-mk";

/// A kernel that was loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its file.
    pub(crate) kernel: PathBuf,
    /// What it mounts.
    pub(crate) options: String,
    /// The shared range: physical address and bytes.
    pub(crate) shared: (u64, u64),
    /// Commands for its shell; none: it reads them from its console.
    pub(crate) script: String,
    /// I/O port of a console.
    pub(crate) uart: Option<u16>,
    /// What it is called in the member table: of each start another number.
    pub(crate) identity: u64,
}

impl Record {
    /// The record of a place, if there is one.
    pub(crate) fn read(place: u32) -> Result<Option<Self>> {
        let path = path(place);
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file(path, "read")(error)),
        }
    }

    /// Makes it the record of a place.
    pub(crate) fn write(&self, place: u32) -> Result<()> {
        make_folder()?;
        let path = path(place);
        let text = serde_json::to_vec(self).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text)).map_err(Error::file(path, "write"))
    }
}

fn path(place: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("place-{place}"))
}

fn make_folder() -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(FOLDER);
    made.map_err(Error::file(FOLDER, "make"))
}

/// Lets one program at a time talk to a kernel, or change what is in its place.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    /// The lock on talking to a place's kernel.
    pub(crate) fn on_console(place: u32) -> Result<Self> {
        Self::take(place, "console", FlockOperation::NonBlockingLockExclusive)
    }

    /// The lock on changing what is in a place; waits for it.
    pub(crate) fn on_place(place: u32) -> Result<Self> {
        Self::take(place, "place", FlockOperation::LockExclusive)
    }

    fn take(place: u32, what: &str, how: FlockOperation) -> Result<Self> {
        make_folder()?;
        let path = Path::new(FOLDER).join(format!("lock-{what}-{place}"));
        let file = File::create(&path).map_err(Error::file(path, "open"))?;
        match flock(&file, how) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(place)),
            Err(error) => Err(Error::System { action: "lock", reason: error.into() }),
        }
    }
}
