// SPDX-License-Identifier: GPL-2.0

//! The shared range: the engine's access to it, and copies between it and processes.
//!
//! Words are accessed through Rust's atomics, not through the kernel's: the other parties of a range
//! are kernels and programs in Rust (and C) on the same machine, whose common ground is the
//! processor's memory model, not LKMM; on x86-64 and arm64 the two compile to the same instructions.

use core::ptr::NonNull;
use daxfs::region::{LoadOrder, StoreOrder};
use daxfs::{Backing, MappedRange, SharedSlice, SharedSliceMut, Sink};
use kernel::sync::Arc;
use vfs::bad_memory;
use vfs::memory::MemoryRange;
use vfs::uio::{Destination, Source};

/// A range that the engine works on.
pub(crate) struct LinuxRange {
    mapped: MappedRange,
    memory: Arc<MemoryRange>,
    writable: bool,
}

impl LinuxRange {
    /// All of `memory`.
    pub(crate) fn new(memory: Arc<MemoryRange>, writable: bool) -> Self {
        // SAFETY: `memory` is mapped there as long as it lives, which is at least as long as this
        // value; page aligned; nobody else gets at it but through its address, as here.
        let mapped = unsafe { MappedRange::new(memory.address(), memory.size()) };
        Self { mapped, memory, writable }
    }

    /// Copies bytes of the range; returns whether all of them could be read.
    ///
    /// # Safety
    ///
    /// `offset + len <= size`; `len` bytes may be written to `to`, and are others.
    unsafe fn copy(&self, offset: usize, to: *mut u8, len: usize) -> bool {
        let Some(from) = self.mapped.address(offset) else { return false };
        // SAFETY: the caller's condition.
        let done = unsafe { bad_memory::copy(from.as_ptr(), to, len) };
        if done < len {
            self.memory.note_bad((offset + done) as u64);
        }
        done == len
    }

    /// The memory that it is.
    pub(crate) fn memory(&self) -> &MemoryRange {
        &self.memory
    }
}

// SAFETY: every method forwards to the `MappedRange`, whose memory is mapped as long as `self` lives.
unsafe impl Backing for LinuxRange {
    fn size(&self) -> u64 {
        self.mapped.size()
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    #[inline]
    fn is_bad(&self, offset: usize, len: usize) -> bool {
        self.memory.good(offset as u64, len as u64) < len as u64
    }

    fn address(&self, offset: usize) -> Option<NonNull<u8>> {
        self.mapped.address(offset)
    }

    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.load(offset, order) }
    }

    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.store(offset, value, order) }
    }

    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.compare_exchange(offset, current, new) }
    }

    unsafe fn write_back(&self, offset: usize, len: usize) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.write_back(offset, len) }
    }

    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        // SAFETY: so many bytes are in the range, which is mapped (caller); private memory never overlaps it.
        unsafe { self.copy(offset, into.as_mut_ptr(), into.len()) }
    }

    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.copy_in(offset, from) }
    }

    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        let Some(to) = self.mapped.address(to) else { return false };
        // SAFETY: so many bytes are in the range at both places, and they do not overlap (caller).
        unsafe { self.copy(from, to.as_ptr(), len) }
    }

    unsafe fn zero(&self, offset: usize, len: usize) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.mapped.zero(offset, len) }
    }
}

/// A process that reads.
pub(crate) struct Reader<'a, 'd> {
    pub(crate) memory: &'a MemoryRange,
    pub(crate) to: &'a mut Destination<'d>,
}

impl Sink<LinuxRange> for Reader<'_, '_> {
    fn put(&mut self, bytes: SharedSlice<'_, LinuxRange>) -> daxfs::Result<u64> {
        let Some(from) = bytes.as_ptr() else { return Ok(0) };
        let (start, len) = (bytes.start().get(), bytes.len());
        let good = self.memory.good(start, len);
        // SAFETY: the engine has checked that so many bytes are in the range, which is mapped.
        let (done, is_bad) = unsafe { self.to.put(from, good as usize) };
        let done = done as u64;
        if is_bad {
            self.memory.note_bad(start + done);
        }
        if done == 0 && (is_bad || (good == 0 && len > 0)) {
            return Err(daxfs::Error::BadMemory { offset: start });
        }
        Ok(done)
    }

    fn put_private(&mut self, bytes: &[u8]) -> daxfs::Result<u64> {
        Ok(self.to.put_slice(bytes) as u64)
    }

    fn put_zeros(&mut self, len: u64) -> daxfs::Result<u64> {
        Ok(self.to.put_zeros(len as usize) as u64)
    }
}

/// A process that writes, as long as `check` says so.
pub(crate) struct Writer<'a, 's, F> {
    pub(crate) memory: &'a MemoryRange,
    pub(crate) from: &'a mut Source<'s>,
    pub(crate) check: F,
}

impl<F: Fn() -> daxfs::Result<()>> daxfs::Source<LinuxRange> for Writer<'_, '_, F> {
    fn check(&self) -> daxfs::Result<()> {
        (self.check)()
    }

    fn left(&self) -> u64 {
        self.from.len() as u64
    }

    fn take(&mut self, into: SharedSliceMut<'_, LinuxRange>) -> daxfs::Result<u64> {
        let Some(to) = into.as_mut_ptr() else { return Ok(0) };
        let (start, len) = (into.start().get(), into.len());
        let good = self.memory.good(start, len);
        if good == 0 && len > 0 {
            return Err(daxfs::Error::BadMemory { offset: start });
        }
        // SAFETY: the engine has checked that so many bytes are in the range, which is mapped, and
        // gives them to be written to.
        let taken = unsafe { self.from.take(to, good as usize) } as u64;
        into.written(taken);
        Ok(taken)
    }
}
