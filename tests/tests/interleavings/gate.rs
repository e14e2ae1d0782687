//! A range in which something else can happen before the n-th access.

use daxfs::region::{Backing, Fence, LoadOrder, StoreOrder};
use daxfs::std_platform::{MappedFile, StdLock};
use daxfs::{Platform, Timestamp};
use std::cell::{Cell, RefCell};

type Meanwhile = Box<dyn FnOnce()>;

thread_local! {
    /// Accesses that happen before it does.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// Runs `operation`, and `meanwhile` in it, when it has accessed the range `accesses` times (after
/// it, if it is over before). Says whether it was in it.
pub fn run(accesses: u64, operation: impl FnOnce(), meanwhile: impl FnOnce() + 'static) -> bool {
    LEFT.set(accesses);
    MEANWHILE.set(Some(Box::new(meanwhile)));
    operation();
    match MEANWHILE.take() {
        None => true,
        Some(meanwhile) => {
            meanwhile();
            false
        }
    }
}

/// An access is about to happen.
fn pass() {
    match LEFT.get() {
        // Taken before it runs: its own accesses find nothing.
        0 => {
            if let Some(meanwhile) = MEANWHILE.take() {
                meanwhile();
            }
        }
        left => LEFT.set(left - 1),
    }
}

/// A mapped file, each access of which passes the gate.
pub struct Gated(pub MappedFile);

// SAFETY: forwards to the mapped file.
unsafe impl Backing for Gated {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn fence(&self, fence: Fence) {
        self.0.fence(fence);
    }
    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.load(offset, order) }
    }
    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.store(offset, value, order) }
    }
    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.compare_exchange(offset, current, new) }
    }
    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.copy_out(offset, into) }
    }
    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.copy_in(offset, from) }
    }
    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.copy_within(from, to, len) }
    }
    unsafe fn zero(&self, offset: usize, len: usize) {
        pass();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.0.zero(offset, len) }
    }
}

/// A kernel on a gated range.
pub struct Kernel;

impl Platform for Kernel {
    type Backing = Gated;
    type Lock<T> = StdLock<T>;
    fn now(&self) -> Timestamp {
        Timestamp::new(1_000_000, 0)
    }
    fn random(&self) -> u64 {
        7
    }
}
