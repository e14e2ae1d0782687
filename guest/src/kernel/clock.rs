//! Time: the time stamp counter, and what it said when the kernel started.

use super::arch::{self, pc};
use core::time::Duration;
use daxfs::Timestamp;
use daxfs_guest::handover::{Request, Starter};
use spin::Once;

/// Frequency taken for granted where nobody knows.
const GUESSED_KHZ: u64 = 1_000_000;

struct Clock {
    start: u64,
    khz: u64,
    /// Nanoseconds since the epoch at the start; 0 if unknown.
    boot_time: u64,
}

static CLOCK: Once<Clock> = Once::new();

/// Starts the clock, with what the starter knows or what the machine's devices say.
pub fn init(request: &Request<'_>) {
    let owns_devices = request.starter == Starter::Machine;
    let measured = || if owns_devices { pc::measure_tsc_khz() } else { None };
    let khz = request.tsc_khz.or_else(measured).unwrap_or(GUESSED_KHZ);
    let read = || if owns_devices { pc::read_clock() } else { None };
    let from_device = || u64::try_from(read()?).ok()?.checked_mul(1_000_000_000);
    let boot_time = request.boot_time.or_else(from_device).unwrap_or(0);
    CLOCK.call_once(|| Clock { start: arch::tsc(), khz, boot_time });
}

/// Time since [`init`].
pub fn uptime() -> Duration {
    let Some(clock) = CLOCK.get() else { return Duration::ZERO };
    let cycles = arch::tsc().saturating_sub(clock.start);
    let nanos = u128::from(cycles) * 1_000_000 / u128::from(clock.khz);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time of day, as far as known.
pub fn now() -> Timestamp {
    let boot_time = CLOCK.get().map_or(0, |clock| clock.boot_time);
    Timestamp::from_nanos(boot_time.saturating_add(uptime().as_nanos() as u64))
}
