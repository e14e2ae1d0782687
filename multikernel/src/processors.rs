//! Linux's processors, going and coming.

use crate::error::{Error, Result};
use std::fs;
use std::path::PathBuf;

/// Takes a processor from Linux.
pub(crate) fn offline(cpu: u32) -> Result<()> {
    set(cpu, "0", "take the processor from Linux by")
}

/// Gives a processor back to Linux.
pub(crate) fn online(cpu: u32) -> Result<()> {
    set(cpu, "1", "give the processor to Linux by")
}

fn set(cpu: u32, state: &str, action: &'static str) -> Result<()> {
    let path = PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online"));
    fs::write(&path, state).map_err(Error::file(path, action))
}
