//! A look at the shared memory file with the engine, from this process.

use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{BranchName, LastLink, Mount, MountOptions, Region, Volume};
use std::fs::File;

/// What does not hold, in words.
fn wrong(what: impl ToString) -> Error {
    Error::Story(what.to_string())
}

fn region(memory: &SharedMemory) -> Result<Region<MappedFile>> {
    let failed = |reason| Error::File { path: memory.path().into(), action: "map it", reason };
    let file = File::options().read(true).write(true).open(memory.path()).map_err(failed)?;
    MappedFile::new(&file, true).map(Region::new).map_err(failed)
}

/// Confirms that all kernels that used the range are dead.
///
/// # Errors
///
/// [`Error::File`]; [`Error::Story`] for what the engine says.
pub fn reap_all(memory: &SharedMemory) -> Result<()> {
    let volume = Volume::open(StdPlatform, region(memory)?).map_err(wrong)?;
    volume.reap_all().map_err(wrong)
}

/// The content of a file as branch `name` has it; nothing if there is no such file. Everything in the
/// image is checked first.
///
/// # Errors
///
/// As [`reap_all`].
pub fn read(memory: &SharedMemory, name: &str, path: &str) -> Result<Option<Vec<u8>>> {
    let branch = BranchName::new(name.as_bytes());
    let options = MountOptions { branch, validate: true, ..MountOptions::default() };
    let mount = Mount::new(StdPlatform, region(memory)?, &options).map_err(wrong)?;
    let content = match mount.resolve(path.as_bytes(), LastLink::Keep) {
        Err(daxfs::Error::NotFound) => None,
        Err(error) => return Err(wrong(error)),
        Ok(found) => {
            let size = usize::try_from(found.size).map_err(wrong)?;
            let mut bytes = vec![0; size];
            let count = mount.read(found.ino, 0, &mut bytes).map_err(wrong)?;
            if count != size {
                return Err(wrong(format!("{path}: {count} bytes instead of {size}")));
            }
            Some(bytes)
        }
    };
    mount.unmount().map_err(wrong)?;
    Ok(content)
}
