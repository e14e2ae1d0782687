//! A range between pages that nobody may touch: an access past its bounds ends the process.

use daxfs::MappedRange;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

/// Bytes before and behind the range: more than any structure has, so that an access that is off by
/// one, by a structure, or by a segment falls into them.
const GUARD: usize = 64 << 20;

/// Memory for an image, and the guards around it. Unmapped when dropped.
pub struct Guarded {
    range: MappedRange,
    start: *mut c_void,
    total: usize,
}

// SAFETY: the mapping may be accessed and unmapped from any thread.
unsafe impl Send for Guarded {}
// SAFETY: shared access is `MappedRange`'s, which is Sync.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Zeroed memory of `len` bytes, whole pages.
    pub fn new(len: usize) -> Self {
        let total = len + 2 * GUARD;
        let (none, private) = (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a fresh mapping at an address of the system's choice touches no existing one.
        let start = unsafe { mmap_anonymous(null_mut(), total, none, private) }.expect("addresses");
        // SAFETY: inside the mapping just made.
        let middle = unsafe { start.byte_add(GUARD) };
        let (prot, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: replaces a part of the mapping just made, which nobody uses yet.
        let middle = unsafe { mmap_anonymous(middle, len, prot, flags) }.expect("memory");
        let middle = NonNull::new(middle.cast()).expect("not at address 0");
        // SAFETY: mapped, page aligned, unmapped only by Drop; `range` leaves this value only as
        // accesses by whoever holds the value.
        let range = unsafe { MappedRange::new(middle, len) };
        Self { range, start, total }
    }

    /// The memory between the guards.
    pub const fn range(&self) -> &MappedRange {
        &self.range
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody can use it any more. Failure would only
        // leave the mapping in place.
        let _ = unsafe { munmap(self.start, self.total) };
    }
}
