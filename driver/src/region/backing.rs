//! Raw access to a range: the trait, and its implementation for memory mapped into this address
//! space.
//!
//! # Races
//!
//! Other kernels and processes write to the range at any time, so a plain Rust access would be a
//! data race. Words are accessed through atomics. Bytes are copied by string instructions in
//! `asm!`, which the compiler cannot look into and so cannot assume anything about; on other
//! processors byte by byte through relaxed atomics.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// Ordering of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadOrder {
    /// No ordering: the word alone is the message.
    Relaxed,
    /// Later accesses see what was written before the store this load reads from, if that store
    /// released.
    Acquire,
}

/// Ordering of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreOrder {
    /// No ordering: the word alone is the message.
    Relaxed,
    /// Whoever acquires the value sees everything written before it.
    Release,
}

/// What a fence orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// Loads before it come before loads and stores after it.
    Loads,
    /// Everything before it comes before everything after it.
    Full,
    /// What was written back before it is on the medium before anything after it happens.
    Persist,
}

/// Raw access to a shared range.
///
/// # Safety
///
/// For the whole life of the value, `size` is constant, and every access that keeps the methods'
/// conditions touches only memory that belongs to the range.
pub unsafe trait Backing {
    /// Bytes of the range.
    fn size(&self) -> u64;

    /// Whether the range can be written to.
    fn is_writable(&self) -> bool {
        true
    }

    /// Where the byte at `offset` is in this address space, for backings that are mapped into it
    /// as a whole.
    fn address(&self, offset: usize) -> Option<NonNull<u8>> {
        let _ = offset;
        None
    }

    /// Whether memory is known to have gone bad somewhere in `len` bytes at `offset`. It is not touched.
    fn is_bad(&self, offset: usize, len: usize) -> bool {
        let _ = (offset, len);
        false
    }

    /// Loads a word.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 and `offset + 8 <= size`.
    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64;

    /// Stores a word.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 and `offset + 8 <= size`.
    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder);

    /// Compares and exchanges a word: acquire-release on success, acquire on failure.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 and `offset + 8 <= size`.
    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64>;

    /// Orders accesses to the range.
    fn fence(&self, fence: Fence) {
        match fence {
            Fence::Loads => core::sync::atomic::fence(Ordering::Acquire),
            Fence::Full => core::sync::atomic::fence(Ordering::SeqCst),
            Fence::Persist => cache::fence(),
        }
    }

    /// Starts writing bytes of the range back from the processor's caches to a persistent medium;
    /// [`Fence::Persist`] waits for it. On memory that forgets, nobody asks for it.
    ///
    /// # Safety
    ///
    /// `offset + len <= size`.
    unsafe fn write_back(&self, offset: usize, len: usize) {
        let _ = (offset, len);
    }

    /// Copies bytes out of the range. Returns whether all of them could be read: memory may have gone bad.
    ///
    /// # Safety
    ///
    /// `offset + into.len() <= size`.
    #[must_use]
    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool;

    /// Copies bytes into the range.
    ///
    /// # Safety
    ///
    /// `offset + from.len() <= size`.
    unsafe fn copy_in(&self, offset: usize, from: &[u8]);

    /// Copies bytes inside the range; returns as [`Self::copy_out`].
    ///
    /// # Safety
    ///
    /// `from + len <= size`, `to + len <= size`, and the two do not overlap.
    #[must_use]
    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool;

    /// Zeroes bytes of the range.
    ///
    /// # Safety
    ///
    /// `offset + len <= size`.
    unsafe fn zero(&self, offset: usize, len: usize);
}

/// A range mapped into this address space.
///
/// # Invariants
///
/// `start..start + len` is mapped, readable (and writable, if any writing method is used) for as
/// long as the value or a copy of it exists; `start` is 8-byte aligned.
#[derive(Clone, Copy, Debug)]
pub struct MappedRange {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the range is shared memory by definition; every access is atomic or opaque to the
// compiler, so it may come from any thread.
unsafe impl Send for MappedRange {}
// SAFETY: as for `Send`.
unsafe impl Sync for MappedRange {}

impl MappedRange {
    /// The range of `len` bytes at `start`.
    ///
    /// # Safety
    ///
    /// The range stays mapped at `start` while the value or a copy of it exists, is readable, is
    /// writable if the region is to be written, and is accessed by this program only through such
    /// values. `start` is 8-byte aligned.
    #[must_use]
    pub const unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len }
    }

    /// Address of the byte at `offset`.
    ///
    /// # Safety
    ///
    /// `offset <= len`.
    const unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: inside, or at the end of, one mapped range (type invariant and caller).
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// The word at `offset`.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 and `offset + 8 <= len`.
    const unsafe fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the range (caller).
        let address = unsafe { self.at(offset) };
        // SAFETY: 8 mapped bytes (type invariant), aligned because start and offset are; nobody
        // makes non-atomic Rust accesses to the range (condition of `new`).
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }
}

// SAFETY: `size` is the constant `len`, and the conditions of each method keep its access inside
// `start..start + len`, which is mapped (type invariant).
unsafe impl Backing for MappedRange {
    fn size(&self) -> u64 {
        self.len as u64
    }

    fn address(&self, offset: usize) -> Option<NonNull<u8>> {
        if offset > self.len {
            return None;
        }
        // SAFETY: inside, or at the end of, one mapped range (type invariant).
        Some(unsafe { self.start.add(offset) })
    }

    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        // SAFETY: the caller's condition is the one of `word`.
        let word = unsafe { self.word(offset) };
        u64::from_le(word.load(match order {
            LoadOrder::Relaxed => Ordering::Relaxed,
            LoadOrder::Acquire => Ordering::Acquire,
        }))
    }

    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        // SAFETY: the caller's condition is the one of `word`.
        let word = unsafe { self.word(offset) };
        word.store(
            value.to_le(),
            match order {
                StoreOrder::Relaxed => Ordering::Relaxed,
                StoreOrder::Release => Ordering::Release,
            },
        );
    }

    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        // SAFETY: the caller's condition is the one of `word`.
        let word = unsafe { self.word(offset) };
        word.compare_exchange(current.to_le(), new.to_le(), Ordering::AcqRel, Ordering::Acquire)
            .map(u64::from_le)
            .map_err(u64::from_le)
    }

    unsafe fn write_back(&self, offset: usize, len: usize) {
        // SAFETY: the caller keeps the range in bounds.
        let at = unsafe { self.at(offset) };
        // SAFETY: `len` mapped bytes (caller, type invariant).
        unsafe { cache::write_back(at, len) };
    }

    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        // SAFETY: the caller keeps the range in bounds.
        let from = unsafe { self.at(offset) };
        // SAFETY: `into.len()` bytes are readable at `from` (caller, type invariant) and writable
        // at `into`; private memory never overlaps the range.
        unsafe { bytes::copy(from, into.as_mut_ptr(), into.len()) };
        true
    }

    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        // SAFETY: the caller keeps the range in bounds.
        let to = unsafe { self.at(offset) };
        // SAFETY: as in `copy_out`, the other way round.
        unsafe { bytes::copy(from.as_ptr(), to, from.len()) };
    }

    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        // SAFETY: the caller keeps both ranges in bounds.
        let source = unsafe { self.at(from) };
        // SAFETY: as above.
        let target = unsafe { self.at(to) };
        // SAFETY: both hold `len` mapped bytes and do not overlap (caller).
        unsafe { bytes::copy(source, target, len) };
        true
    }

    unsafe fn zero(&self, offset: usize, len: usize) {
        // SAFETY: the caller keeps the range in bounds.
        let at = unsafe { self.at(offset) };
        // SAFETY: `len` mapped bytes (caller, type invariant).
        unsafe { bytes::zero(at, len) };
    }
}

/// Cache lines on their way to a persistent medium.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod cache {
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    use core::sync::atomic::{AtomicU8, Ordering};

    const LINE: usize = 64;

    /// What the processor offers, best first.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Instruction {
        /// `clwb`: keeps the line in the cache.
        WriteBack = 1,
        /// `clflushopt`: drops it.
        FlushWeak = 2,
        /// `clflush`: drops it, and waits for others.
        Flush = 3,
    }

    fn instruction() -> Instruction {
        static FOUND: AtomicU8 = AtomicU8::new(0);
        // Relaxed, both: whoever looks finds the same.
        match FOUND.load(Ordering::Relaxed) {
            1 => return Instruction::WriteBack,
            2 => return Instruction::FlushWeak,
            3 => return Instruction::Flush,
            _ => {}
        }
        // SAFETY: every x86-64 processor has the instruction.
        #[allow(unused_unsafe, reason = "the compilers of older kernels want it")]
        let leaves = unsafe { __cpuid(0) }.eax;
        // SAFETY: as above; a leaf that does not exist says something else, which is not used.
        #[allow(unused_unsafe, reason = "the compilers of older kernels want it")]
        let leaf = unsafe { __cpuid_count(7, 0) };
        let features = if leaves >= 7 { leaf.ebx } else { 0 };
        let found = if features & (1 << 24) != 0 {
            Instruction::WriteBack
        } else if features & (1 << 23) != 0 {
            Instruction::FlushWeak
        } else {
            Instruction::Flush
        };
        FOUND.store(found as u8, Ordering::Relaxed);
        found
    }

    /// Starts writing back the lines of `len` bytes at `at`.
    ///
    /// # Safety
    ///
    /// The bytes are mapped.
    pub(super) unsafe fn write_back(at: *const u8, len: usize) {
        let instruction = instruction();
        let end = at.addr() + len;
        let mut line = at.addr() & !(LINE - 1);
        while line < end {
            let address = at.with_addr(line);
            match instruction {
                // SAFETY: the processor has it (cpuid); a line that holds a mapped byte is mapped.
                Instruction::WriteBack => unsafe {
                    asm!("clwb [{}]", in(reg) address, options(nostack, preserves_flags));
                },
                // SAFETY: as above.
                Instruction::FlushWeak => unsafe {
                    asm!("clflushopt [{}]", in(reg) address, options(nostack, preserves_flags));
                },
                // SAFETY: as above; every x86-64 processor has it.
                Instruction::Flush => unsafe {
                    asm!("clflush [{}]", in(reg) address, options(nostack, preserves_flags));
                },
            }
            line += LINE;
        }
    }

    /// Waits for lines on their way.
    pub(super) fn fence() {
        // SAFETY: a store fence; every x86-64 processor has it.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }
}

/// Cache lines on their way to a persistent medium: here nothing is known of one.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod cache {
    /// Does nothing.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(super) unsafe fn write_back(_: *const u8, _: usize) {}

    /// Orders stores, at least.
    pub(super) fn fence() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }
}

/// Byte copies that may race with other kernels.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bytes {
    use core::arch::asm;

    /// Copies `len` bytes.
    ///
    /// # Safety
    ///
    /// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        // Words first, then the rest: emulators and processors without fast byte strings move
        // eight bytes a step, the others are as fast with words as with bytes.
        // SAFETY: reads and writes exactly the caller's bytes; the ABI keeps the direction flag
        // clear; only the named registers change.
        unsafe {
            asm!(
                "rep movsq",
                "mov ecx, {rest:e}",
                "rep movsb",
                rest = in(reg) len % 8,
                inout("rcx") len / 8 => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Zeroes `len` bytes.
    ///
    /// # Safety
    ///
    /// `at` is writable for `len` bytes.
    pub(super) unsafe fn zero(at: *mut u8, len: usize) {
        // SAFETY: writes exactly the caller's bytes; the ABI keeps the direction flag clear; only
        // the named registers change.
        unsafe {
            asm!(
                "rep stosq",
                "mov ecx, {rest:e}",
                "rep stosb",
                rest = in(reg) len % 8,
                inout("rcx") len / 8 => _,
                inout("rdi") at => _,
                in("rax") 0_u64,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Byte copies that may race with other kernels.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod bytes {
    use core::sync::atomic::{AtomicU8, Ordering};

    /// The byte at `at`.
    ///
    /// # Safety
    ///
    /// `at` is valid for reads (and writes, if it is stored to) for `'a`, by atomics only.
    unsafe fn byte<'a>(at: *mut u8) -> &'a AtomicU8 {
        // SAFETY: a byte is always aligned; validity is the caller's.
        unsafe { AtomicU8::from_ptr(at) }
    }

    /// Copies `len` bytes.
    ///
    /// # Safety
    ///
    /// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        for i in 0..len {
            // SAFETY: inside the caller's bytes.
            let source = unsafe { byte(from.wrapping_add(i).cast_mut()) };
            // SAFETY: inside the caller's bytes.
            let target = unsafe { byte(to.wrapping_add(i)) };
            // Relaxed: bytes carry no order; the word that publishes them does.
            target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Zeroes `len` bytes.
    ///
    /// # Safety
    ///
    /// `at` is writable for `len` bytes.
    pub(super) unsafe fn zero(at: *mut u8, len: usize) {
        for i in 0..len {
            // SAFETY: inside the caller's bytes.
            let target = unsafe { byte(at.wrapping_add(i)) };
            // Relaxed: as in `copy`.
            target.store(0, Ordering::Relaxed);
        }
    }
}
