// SPDX-License-Identifier: GPL-2.0

//! Work that is done again and again, until it is dropped.
//!
//! The kernel's own `DelayedWork` cannot be taken back, which the end of a mount needs.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::helpers;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{msecs_to_jiffies, Jiffies};
use kernel::types::Opaque;

/// What is to be done.
pub trait Work: Send + Sync + 'static {
    /// Does it once.
    fn run(&self);
}

#[repr(C)]
struct Inner<T: Work> {
    work: Opaque<bindings::delayed_work>,
    target: Arc<T>,
    interval: Jiffies,
}

/// Work that runs every so often while this lives. Dropping it waits for a run to end.
pub struct Periodic<T: Work> {
    inner: *mut Inner<T>,
    _owned: PhantomData<Inner<T>>,
}

// SAFETY: it may be dropped by any thread; the target is shared between threads.
unsafe impl<T: Work> Send for Periodic<T> {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl<T: Work> Sync for Periodic<T> {}

impl<T: Work> Periodic<T> {
    /// Runs `target` every `milliseconds`, for the first time after so many.
    pub fn start(target: Arc<T>, milliseconds: u32) -> Result<Self> {
        let interval = msecs_to_jiffies(milliseconds).max(1);
        let inner = KBox::new(Inner { work: Opaque::zeroed(), target, interval }, GFP_KERNEL)?;
        let inner = KBox::into_raw(inner);
        // SAFETY: memory for a work, which stays where it is until `drop`.
        unsafe { helpers::daxfs_init_work((*inner).work.get(), Some(Self::run)) };
        // SAFETY: just made.
        unsafe { Self::queue(inner) };
        Ok(Self { inner, _owned: PhantomData })
    }

    /// # Safety
    ///
    /// `inner` was made by `start` and not dropped.
    unsafe fn queue(inner: *mut Inner<T>) {
        // SAFETY: the caller's condition.
        let interval = unsafe { (*inner).interval };
        // SAFETY: the caller's condition.
        unsafe { helpers::daxfs_queue_work((*inner).work.get(), interval) };
    }

    /// `work_struct.func`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // `delayed_work` starts with its `work_struct`, and `Inner` with its `delayed_work`.
        let inner = work.cast::<Inner<T>>();
        // SAFETY: `drop` waits for this to end.
        unsafe { &(*inner).target }.run();
        // SAFETY: as above; a work that is being cancelled does not queue itself.
        unsafe { Self::queue(inner) };
    }
}

impl<T: Work> Drop for Periodic<T> {
    fn drop(&mut self) {
        // SAFETY: made by `start`.
        unsafe { bindings::cancel_delayed_work_sync((*self.inner).work.get()) };
        // SAFETY: it does not run, and will not run again.
        drop(unsafe { KBox::from_raw(self.inner) });
    }
}

/// `work_func_t`.
pub(crate) type Function = Option<unsafe extern "C" fn(*mut bindings::work_struct)>;
