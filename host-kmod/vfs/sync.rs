// SPDX-License-Identifier: GPL-2.0

//! A reader-writer semaphore that keeps memory reclaim out.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use crate::helpers;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use kernel::alloc::{flags::GFP_KERNEL, KBox};
use kernel::bindings;
use kernel::error::Result;
use kernel::str::{CStr, CStrExt as _};
use kernel::sync::LockClassKey;
use kernel::types::{NotThreadSafe, Opaque};

/// `struct rw_semaphore` around a value.
///
/// While a guard lives, allocations of its thread are `GFP_NOFS` (`memalloc_nofs_save`): what is
/// locked may be needed to give up inodes, so reclaim must not be entered with it held.
///
/// Semaphore and value are allocated together: a kernel's stack is small, and values may not be.
///
/// # Invariants
///
/// The semaphore is initialised.
pub struct RwSemaphore<T> {
    inner: KBox<Inner<T>>,
}

struct Inner<T> {
    sem: Opaque<bindings::rw_semaphore>,
    value: UnsafeCell<T>,
}

// SAFETY: sending it is sending the value.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: several threads have shared access to the value at a time, or one has exclusive access.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

impl<T> RwSemaphore<T> {
    /// A semaphore around `value`, known to lockdep as `name` with `class`.
    pub fn new(
        value: T,
        name: &'static CStr,
        class: core::pin::Pin<&'static LockClassKey>,
    ) -> Result<Self> {
        let inner = Inner { sem: Opaque::uninit(), value: UnsafeCell::new(value) };
        let inner = KBox::new(inner, GFP_KERNEL)?;
        // SAFETY: memory for one, where it stays; name and class live for ever.
        unsafe { bindings::__init_rwsem(inner.sem.get(), name.as_char_ptr(), class.as_ptr()) };
        Ok(Self { inner })
    }

    /// Waits for shared access.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: initialised (type invariant).
        let flags = unsafe { helpers::daxfs_down_read_nofs(self.inner.sem.get()) };
        ReadGuard { lock: self, flags, _thread: NotThreadSafe }
    }

    /// Waits for exclusive access.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: initialised (type invariant).
        let flags = unsafe { helpers::daxfs_down_write_nofs(self.inner.sem.get()) };
        WriteGuard { lock: self, flags, _thread: NotThreadSafe }
    }
}

/// Shared access.
pub struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    flags: u32,
    _thread: NotThreadSafe,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the semaphore is held shared: nobody has exclusive access.
        unsafe { &*self.lock.inner.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread took it, and these flags are what it was told then.
        unsafe { helpers::daxfs_up_read_nofs(self.lock.inner.sem.get(), self.flags) };
    }
}

/// Exclusive access.
pub struct WriteGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    flags: u32,
    _thread: NotThreadSafe,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the semaphore is held exclusively.
        unsafe { &*self.lock.inner.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the semaphore is held exclusively, by this guard.
        unsafe { &mut *self.lock.inner.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread took it, and these flags are what it was told then.
        unsafe { helpers::daxfs_up_write_nofs(self.lock.inner.sem.get(), self.flags) };
    }
}
