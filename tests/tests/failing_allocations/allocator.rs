//! An allocator that fails when it is told to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

/// The system's allocator, which refuses a chosen allocation of a thread.
pub struct Failing;

/// Which allocations of a thread fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// The one with this number only.
    Once(u64),
    /// That one, and all that follow.
    From(u64),
}

thread_local! {
    static PLAN: Cell<Option<Fail>> = const { Cell::new(None) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static FAILED: Cell<u64> = const { Cell::new(0) };
}

/// Counts an allocation; says whether it is to fail.
fn fails() -> bool {
    // A thread that ends may allocate when its variables are gone already.
    let Ok(Some(plan)) = PLAN.try_with(Cell::get) else { return false };
    let number = COUNT.replace(COUNT.get() + 1);
    let fails = match plan {
        Fail::Once(at) => number == at,
        Fail::From(at) => number >= at,
    };
    FAILED.set(FAILED.get() + u64::from(fails));
    fails
}

/// Runs `operation` while allocations of this thread fail as `plan` says; says how many did.
pub fn with_failures<R>(plan: Fail, operation: impl FnOnce() -> R) -> (R, u64) {
    COUNT.set(0);
    FAILED.set(0);
    PLAN.set(Some(plan));
    let result = operation();
    PLAN.set(None);
    (result, FAILED.get())
}

// SAFETY: forwards to the system's allocator, or fails.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return null_mut();
        }
        // SAFETY: the caller's conditions are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's conditions are the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Getting smaller needs nothing.
        if size > layout.size() && fails() {
            return null_mut();
        }
        // SAFETY: the caller's conditions are the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}
