// SPDX-License-Identifier: GPL-2.0

//! Where a process has bytes, or wants them.
//!
//! Contents are copied between the file system and a process while the file system holds its locks,
//! so nothing may be fetched for the process then: copies stop at a page that is not there.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use crate::helpers;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;

/// Where a process wants bytes: `struct iov_iter`.
pub struct Destination<'a> {
    raw: *mut bindings::iov_iter,
    /// Whether a copy ended early.
    pub(crate) short: bool,
    _data: PhantomData<&'a mut [u8]>,
}

impl Destination<'_> {
    /// For a vector that is valid for the value's life.
    pub(crate) fn new(raw: *mut bindings::iov_iter) -> Self {
        Self { raw, short: false, _data: PhantomData }
    }

    /// Bytes that are still wanted.
    pub fn len(&self) -> usize {
        count(self.raw)
    }

    /// Whether nothing more is wanted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies memory to it, as far as that goes without fetching a page of the process; returns how many
    /// bytes were copied, and whether memory that has gone bad is what ended the copy.
    ///
    /// # Safety
    ///
    /// `len` bytes at `from` are mapped. They may change meanwhile.
    #[inline]
    pub unsafe fn put(&mut self, from: NonNull<u8>, len: usize) -> (usize, bool) {
        let from = from.as_ptr();
        // SAFETY: the caller's condition; the vector is the process's.
        let done = unsafe { helpers::daxfs_copy_to_iter(from.cast(), len, self.raw) };
        if done == len {
            return (done, false);
        }
        // SAFETY: the caller's condition; `done` bytes are not all.
        let is_bad =
            unsafe { helpers::daxfs_meets_bad(from.wrapping_add(done).cast(), len - done) };
        self.short |= !is_bad;
        (done, is_bad)
    }

    /// The same, for memory of the kernel's own.
    pub fn put_slice(&mut self, from: &[u8]) -> usize {
        // SAFETY: a slice is mapped.
        unsafe { self.put(NonNull::from(from).cast(), from.len()) }.0
    }

    /// Fills with zeros, in the same way.
    pub fn put_zeros(&mut self, len: usize) -> usize {
        // SAFETY: the vector is the process's.
        let done = unsafe { helpers::daxfs_zero_to_iter(len, self.raw) };
        self.short |= done < len;
        done
    }
}

/// Where a process has bytes: `struct iov_iter`.
pub struct Source<'a> {
    raw: *mut bindings::iov_iter,
    /// Bytes that may be taken before locks are let go.
    left: usize,
    _data: PhantomData<&'a [u8]>,
}

impl Source<'_> {
    /// `left` bytes of a vector that is valid for the value's life.
    pub(crate) fn new(raw: *mut bindings::iov_iter, left: usize) -> Self {
        Self { raw, left, _data: PhantomData }
    }

    /// Bytes that may be taken now.
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether nothing may be taken.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Copies the next bytes to `to`, as far as that goes without fetching a page of the process.
    ///
    /// # Safety
    ///
    /// `len` bytes at `to` are mapped, and nobody minds that they change.
    pub unsafe fn take(&mut self, to: NonNull<u8>, len: usize) -> usize {
        let len = len.min(self.left);
        // SAFETY: the caller's condition; the vector is the process's.
        let done = unsafe { helpers::daxfs_copy_from_iter(to.as_ptr().cast(), len, self.raw) };
        self.left -= done;
        done
    }
}

/// Bytes left in an I/O vector.
pub(crate) fn count(iter: *mut bindings::iov_iter) -> usize {
    // SAFETY: callers have a valid vector; every kind of it counts there.
    unsafe { (*iter).__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
}
