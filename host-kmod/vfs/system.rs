// SPDX-License-Identifier: GPL-2.0

//! What else a file system asks of the kernel.

use crate::attr::Time;
use crate::helpers;
use kernel::bindings;
use kernel::ffi::c_int;
use kernel::seq_file::SeqFile;
use kernel::str::{CStr, CStrExt};

/// The time of day, as precise as times of files are.
pub fn now() -> Time {
    let mut time = bindings::timespec64::default();
    // SAFETY: it writes to the place it is given.
    unsafe { bindings::ktime_get_coarse_real_ts64(&mut time) };
    Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec as u32 }
}

/// Milliseconds since the kernel was started.
pub fn monotonic_ms() -> u64 {
    // SAFETY: it only asks.
    unsafe { helpers::daxfs_monotonic_ms() }
}

/// A number that nobody can guess.
pub fn random() -> u64 {
    // SAFETY: it only asks.
    unsafe { bindings::get_random_u64() }
}

/// Whether the caller may administrate the system.
pub fn is_administrator() -> bool {
    // SAFETY: it only asks.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}

/// Writes `,name` or `,name=value`, with the value escaped as `/proc/mounts` wants it.
pub fn show_option(to: &SeqFile, name: &CStr, value: Option<&CStr>) {
    let to = core::ptr::from_ref(to).cast_mut().cast();
    let value = value.map_or(core::ptr::null(), CStrExt::as_char_ptr);
    // SAFETY: the VFS lent the file for this; both are C strings.
    unsafe { helpers::daxfs_show_option(to, name.as_char_ptr(), value) };
}
