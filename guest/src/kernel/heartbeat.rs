//! Showing the other kernels that this one runs, from the timer's interrupt.

use super::memory;
use daxfs::Heartbeat;
use spin::Mutex;

/// The mount's heartbeat, while there is a mount.
static CURRENT: Mutex<Option<Heartbeat>> = Mutex::new(None);

/// Shows this from now on, or nothing any more.
pub fn set(heartbeat: Option<Heartbeat>) {
    *CURRENT.lock() = heartbeat;
}

/// One beat. An interrupt calls it: where `set` was interrupted, this beat is left out.
pub fn beat() {
    let Some(current) = CURRENT.try_lock() else { return };
    if let (Some(heartbeat), Some(region)) = (*current, memory::shared_region()) {
        // The heartbeat is for this region.
        let _ = heartbeat.beat(&region);
    }
}
