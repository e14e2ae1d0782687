//! Confirming a kernel's death to the other kernels of its range.

use crate::error::{Error, Result};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Region, Volume};
use std::fs::OpenOptions;

/// Physical memory, as Linux shows it.
const MEMORY: &str = "/dev/mem";

/// Cleans up after the mounts of a kernel that is stopped, in a range of which address and length are
/// given.
pub(crate) fn reap((phys, size): (u64, u64), kernel: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(MEMORY);
    let file = file.map_err(Error::file(MEMORY, "open"))?;
    let mapped = MappedFile::part(&file, phys, size, true).map_err(Error::file(MEMORY, "map"))?;
    let volume = match Volume::open(StdPlatform, Region::new(mapped)) {
        // No image, nobody to tell.
        Err(daxfs::Error::NotDaxfs { .. }) => return Ok(()),
        opened => opened.map_err(Error::Range)?,
    };
    volume.reap_kernel(kernel).map_err(Error::Range)?;
    Ok(())
}
