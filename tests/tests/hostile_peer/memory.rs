//! How much private memory a thread takes: an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator; notes what each thread has, and had at most.
pub struct Counting;

thread_local! {
    /// Bytes this thread has: it may free what others have allocated, hence the sign.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    // A thread that ends may allocate when its variables are gone already.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's conditions are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller's conditions are the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it is moved, both are there.
        note(size as isize);
        note(-(layout.size() as isize));
        // SAFETY: the caller's conditions are the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What this thread takes from here on.
pub struct Usage {
    start: isize,
}

impl Usage {
    /// Starts to measure.
    pub fn new() -> Self {
        let start = NOW.with(Cell::get);
        MOST.with(|most| most.set(start));
        Self { start }
    }

    /// The most bytes more than at the start there have been at once.
    pub fn most(&self) -> u64 {
        MOST.with(|most| most.get().saturating_sub(self.start).max(0) as u64)
    }
}
