//! The kernel's memory and caches.

use crate::Result;
use std::fs;

/// Makes the kernel forget what it can read again.
pub fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

/// Memory that nobody uses, in KiB.
pub fn free_kib() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(value.ok_or("/proc/meminfo has no MemFree")?.parse()?)
}
