//! The heap.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap;
use spin::Mutex;

struct KernelHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(Mutex::new(Heap::empty()));

// SAFETY: what the heap gives out is its own and fits the layout; it never unwinds. Interrupt
// handlers do not allocate, so the lock is never wanted by who interrupted its holder.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: the caller gives back what `alloc` gave out for this layout.
            unsafe { self.0.lock().deallocate(at, layout) };
        }
    }
}

/// Gives the heap its memory.
///
/// # Safety
///
/// `len` bytes at `start` are mapped, writable and nobody else's from now on. This is done once.
pub unsafe fn init(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller's condition.
    unsafe { HEAP.0.lock().init(start.as_ptr(), len) };
}

/// Bytes of the heap, and how many are in use.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.size(), heap.used())
}
