// SPDX-License-Identifier: GPL-2.0

//! Names in the cache, and whether they are still right.
//!
//! A file system that others change too counts *epochs*: whenever something may have changed that
//! did not go through this mount, the epoch goes up. A dentry remembers the epoch in which it was
//! looked up, and is looked up again in another.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)

use crate::inode::Inode;
use crate::super_block::SuperBlock;
use crate::FileSystem;
use core::marker::PhantomData;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::bindings;
use kernel::error::from_result;
use kernel::ffi::{c_int, c_uint};
use kernel::prelude::*;

/// `LOOKUP_RCU`, a macro that the bindings lack: nothing may wait. `helpers.c` checks it.
const LOOKUP_RCU: u32 = 1 << 8;

/// The bytes of a name.
///
/// # Safety
///
/// `name` is valid, and does not change, for `'a`.
pub(crate) unsafe fn name_of<'a>(name: *const bindings::qstr) -> &'a [u8] {
    // SAFETY: the caller's condition.
    let (start, len) = unsafe { ((*name).name, (*name).__bindgen_anon_1.__bindgen_anon_1.len) };
    // SAFETY: a qstr has `len` bytes at `name`.
    unsafe { slice::from_raw_parts(start, len as usize) }
}

/// The name of a dentry.
///
/// # Safety
///
/// `dentry` is live and is not renamed for `'a`.
pub(crate) unsafe fn name<'a>(dentry: *mut bindings::dentry) -> &'a [u8] {
    // SAFETY: the caller's condition.
    unsafe { name_of((&raw const (*dentry).__bindgen_anon_1).cast()) }
}

/// When a dentry was looked up.
fn epoch<'a>(dentry: *mut bindings::dentry) -> &'a AtomicU64 {
    // SAFETY: callers have a live dentry; the field is the file system's own, and an aligned word.
    unsafe { AtomicU64::from_ptr((&raw mut (*dentry).d_time).cast()) }
}

/// Notes when a dentry was looked up.
pub(crate) fn set_epoch(dentry: *mut bindings::dentry, value: u64) {
    // Relaxed: the value alone is the message; the VFS orders what belongs to a dentry.
    epoch(dentry).store(value, Ordering::Relaxed);
}

/// The operations of all dentries of `T`.
pub(crate) fn operations<T: FileSystem>() -> *const bindings::dentry_operations {
    &Operations::<T>::TABLE
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::dentry_operations =
        bindings::dentry_operations { d_revalidate: Some(Self::revalidate), ..pin_init::zeroed() };

    /// `dentry_operations.d_revalidate`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn revalidate(
        dir: *mut bindings::inode,
        name: *const bindings::qstr,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: a live dentry of this file system.
        let sb = unsafe { SuperBlock::<T>::from_raw((*dentry).d_sb) };
        // Relaxed: see `set_epoch`.
        let known = epoch(dentry).load(Ordering::Relaxed);
        if flags & LOOKUP_RCU != 0 {
            return if !T::is_follower(sb) && known == T::epoch(sb) {
                1
            } else {
                ECHILD.to_errno()
            };
        }
        from_result(|| {
            T::look(sb)?;
            let now = T::epoch(sb);
            if now == known {
                return Ok(1);
            }
            // Nothing is locked. A dentry that has an inode keeps it while somebody has a reference, but
            // one that has none may get one meanwhile: then it is dropped needlessly, if at all.
            // SAFETY: a live dentry; the field is read as a whole.
            let inode = unsafe { (&raw const (*dentry).d_inode).read_volatile() };
            let inode = (!inode.is_null()).then(|| {
                // SAFETY: a positive dentry holds its inode, and the VFS the dentry.
                let inode = unsafe { Inode::<T>::from_raw(inode) };
                (inode, inode.known())
            });
            // SAFETY: the VFS holds a reference to the directory.
            let dir = unsafe { Inode::<T>::from_raw(dir) };
            // SAFETY: the VFS keeps the name for the call.
            let found = T::lookup(dir, unsafe { name_of(name) })?;
            let valid = match (found, inode) {
                (None, None) => true,
                (Some(attributes), Some((inode, known))) if inode.is(&attributes) => {
                    if !inode.replace(known, now, &attributes) {
                        inode.refresh()?;
                    }
                    true
                }
                _ => false,
            };
            if valid {
                set_epoch(dentry, now);
            }
            Ok(c_int::from(valid))
        })
    }
}
