//! The user-space world: std locks and clock, files mapped shared.

extern crate std;

use crate::error::Result as EngineResult;
use crate::platform::{Lock, Platform};
use crate::region::{Backing, LoadOrder, MappedRange, StoreOrder};
use core::ffi::c_void;
use core::ptr::NonNull;
use daxfs_format::Timestamp;
use rustix::mm::{MapFlags, ProtFlags};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

/// The user-space platform.
#[derive(Clone, Copy, Default, Debug)]
pub struct StdPlatform;

impl Platform for StdPlatform {
    type Backing = MappedFile;
    type Lock<T> = StdLock<T>;

    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => {
                Timestamp::new(i64::try_from(d.as_secs()).unwrap_or(i64::MAX), d.subsec_nanos())
            }
            Err(_) => Timestamp::default(),
        }
    }

    fn random(&self) -> u64 {
        // Every RandomState has keys of its own, from the system's randomness.
        RandomState::new().hash_one(0_u64)
    }
}

/// [`std::sync::RwLock`] as an engine lock.
pub struct StdLock<T>(RwLock<T>);

impl<T> Lock<T> for StdLock<T> {
    type Read<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> EngineResult<Self> {
        Ok(Self(RwLock::new(value)))
    }

    // A panic of another thread inside the engine would be a bug there; what it left behind is
    // still memory-safe, and refusing to go on would turn one failed test into many.
    fn read(&self) -> Self::Read<'_> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Self::Write<'_> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, or fresh memory, mapped shared into this process. Unmapped when dropped.
#[derive(Debug)]
pub struct MappedFile {
    range: MappedRange,
    start: NonNull<c_void>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping may be accessed and unmapped from any thread.
unsafe impl Send for MappedFile {}
// SAFETY: shared access is `MappedRange`'s, which is Sync.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Maps all of `file`, for reading and, if `writable`, writing.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::InvalidInput`] for an empty file.
    pub fn new(file: &File, writable: bool) -> io::Result<Self> {
        Self::part(file, 0, file.metadata()?.len(), writable)
    }

    /// Maps `len` bytes of `file` from byte `offset` on, which is a multiple of the page size: of a
    /// device whose offsets are physical addresses, as a rule.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::InvalidInput`] for a length of 0.
    pub fn part(file: &File, offset: u64, len: u64, writable: bool) -> io::Result<Self> {
        let len = mappable(len)?;
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a fresh mapping at an address of the system's choice touches no existing one.
        let start = unsafe {
            rustix::mm::mmap(core::ptr::null_mut(), len, prot, MapFlags::SHARED, file, offset)
        }?;
        Self::mapped(start, len, writable)
    }

    /// Fresh zeroed memory of `len` bytes, shared with children of this process.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::InvalidInput`] for a length of 0.
    pub fn anonymous(len: u64) -> io::Result<Self> {
        let len = mappable(len)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the system's choice touches no existing one.
        let start = unsafe {
            rustix::mm::mmap_anonymous(core::ptr::null_mut(), len, prot, MapFlags::SHARED)
        }?;
        Self::mapped(start, len, true)
    }

    fn mapped(start: *mut c_void, len: usize, writable: bool) -> io::Result<Self> {
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: just mapped, page aligned, unmapped only by Drop; `range` leaves this value only
        // as copies inside the `Backing` methods.
        let range = unsafe { MappedRange::new(start.cast(), len) };
        Ok(Self { range, start, len, writable })
    }
}

fn mappable(len: u64) -> io::Result<usize> {
    match usize::try_from(len) {
        Ok(len) if len > 0 => Ok(len),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty file cannot be an image")),
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped by `mapped` with this length, and nobody can use it any more. Failure
        // would only leave the mapping in place.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.len) };
    }
}

// SAFETY: every method forwards to the `MappedRange`, which keeps the trait's conditions while the
// mapping lives, that is as long as `self`.
unsafe impl Backing for MappedFile {
    fn size(&self) -> u64 {
        self.range.size()
    }
    fn is_writable(&self) -> bool {
        self.writable
    }
    fn address(&self, offset: usize) -> Option<NonNull<u8>> {
        self.range.address(offset)
    }
    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.load(offset, order) }
    }
    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.store(offset, value, order) }
    }
    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.compare_exchange(offset, current, new) }
    }
    unsafe fn write_back(&self, offset: usize, len: usize) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.write_back(offset, len) }
    }
    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.copy_out(offset, into) }
    }
    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.copy_in(offset, from) }
    }
    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.copy_within(from, to, len) }
    }
    unsafe fn zero(&self, offset: usize, len: usize) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.zero(offset, len) }
    }
}
