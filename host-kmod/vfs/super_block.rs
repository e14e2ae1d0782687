// SPDX-License-Identifier: GPL-2.0

//! Super blocks: one per mounted file system.
//!
//! C header: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h)

use crate::inode::{self, Inode};
use crate::{dentry, helpers, FileSystem};
use core::marker::PhantomData;
use core::ptr;
use kernel::bindings;
use kernel::error::from_result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::sync::{rcu, Arc, ArcBorrow};
use kernel::types::{ForeignOwnable, Opaque};

/// `SB_RDONLY`; a macro that the bindings lack. `helpers.c` checks it.
pub(crate) const SB_RDONLY: u32 = 1;

/// `SB_NOSEC`, likewise: there are no extended attributes to look for whenever a file is written to.
const SB_NOSEC: usize = 1 << 28;

/// `struct super_block` of a mounted `T`.
///
/// # Invariants
///
/// `s_fs_info` owns an `Arc<T>`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem> {
    raw: Opaque<bindings::super_block>,
    _file_system: PhantomData<T>,
}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `raw` is a super block of `T` that is mounted for `'a`.
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::super_block) -> &'a Self {
        // SAFETY: the caller's condition; the type is transparent.
        unsafe { &*raw.cast() }
    }

    /// The C structure.
    pub(crate) fn as_ptr(&self) -> *mut bindings::super_block {
        self.raw.get()
    }

    /// The file system's own.
    pub fn data(&self) -> ArcBorrow<'_, T> {
        // SAFETY: a mounted super block.
        let info = unsafe { (*self.as_ptr()).s_fs_info };
        // SAFETY: it owns an `Arc<T>` (type invariant), which goes after everything else.
        unsafe { Arc::borrow(info) }
    }

    /// Whether writing is refused.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: a mounted super block; the word is read as a whole.
        let flags = unsafe { (&raw const (*self.as_ptr()).s_flags).read_volatile() };
        flags & SB_RDONLY as usize != 0
    }

    /// Says whether the file system can be written to, as it turned out.
    pub fn set_read_only(&self, read_only: bool) {
        let sb = self.as_ptr();
        // SAFETY: a mounted super block; whoever changes flags holds the semaphore.
        unsafe { bindings::down_write(&raw mut (*sb).s_umount) };
        self.set_read_only_reconfiguring(read_only);
        // SAFETY: taken above.
        unsafe { bindings::up_write(&raw mut (*sb).s_umount) };
    }

    /// The same, in a reconfiguration: there the semaphore is held already.
    pub fn set_read_only_reconfiguring(&self, read_only: bool) {
        // SAFETY: a mounted super block.
        let flags = unsafe { &raw mut (*self.as_ptr()).s_flags };
        // SAFETY: whoever changes flags holds the semaphore.
        let now = unsafe { flags.read_volatile() };
        let bit = SB_RDONLY as usize;
        let new = if read_only { now | bit } else { now & !bit };
        // SAFETY: as above; others read the word as a whole.
        unsafe { flags.write_volatile(new) };
    }
}

/// Numbers for `statfs`.
#[derive(Clone, Copy)]
pub struct Statistics {
    /// Identifies what is mounted.
    pub id: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Files.
    pub files: u64,
}

/// Fills a fresh super block.
///
/// # Safety
///
/// `sb` comes from `sget_fc` and is this thread's.
pub(crate) unsafe fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    data: Arc<T>,
    read_only: bool,
) -> Result {
    // SAFETY: this thread's.
    let raw = unsafe { &mut *sb };
    raw.s_fs_info = data.into_foreign();
    raw.s_op = &Operations::<T>::TABLE;
    raw.s_magic = T::MAGIC as usize;
    raw.s_maxbytes = T::MAX_FILE_SIZE;
    raw.s_blocksize = kernel::page::PAGE_SIZE;
    raw.s_blocksize_bits = kernel::page::PAGE_SHIFT as u8;
    raw.s_time_gran = 1;
    raw.s_flags |= SB_NOSEC;
    if read_only {
        raw.s_flags |= SB_RDONLY as usize;
    }
    // SAFETY: this thread's; the operations live for ever.
    unsafe { bindings::set_default_d_op(sb, dentry::operations::<T>()) };
    // SAFETY: it has everything that inodes need.
    let this = unsafe { SuperBlock::<T>::from_raw(sb) };
    let epoch = T::epoch(this);
    let root = T::root(this)?;
    let root = Inode::<T>::get(this, &root, epoch)?;
    // SAFETY: `d_make_root` takes the reference, also when it fails.
    let root = unsafe { bindings::d_make_root(Inode::into_raw(root)) };
    if root.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: this thread's.
    unsafe { (*sb).s_root = root };
    Ok(())
}

/// `file_system_type.kill_sb`.
///
/// # Safety
///
/// Called by the VFS with the last reference to a super block of `T`.
pub(crate) unsafe extern "C" fn kill<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: the VFS gives the last reference.
    unsafe { bindings::kill_anon_super(sb) };
    // Walks that hold nothing (LOOKUP_RCU) may be among dentries that were just given up, and ask for the
    // epoch.
    rcu::synchronize_rcu();
    // SAFETY: the structure itself lives until the VFS drops it.
    let info = unsafe { ptr::replace(&raw mut (*sb).s_fs_info, ptr::null_mut()) };
    if !info.is_null() {
        // SAFETY: `fill` put it there; no inode and no file is left.
        T::unmount(unsafe { Arc::from_foreign(info) });
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::super_operations = bindings::super_operations {
        statfs: Some(Self::statfs),
        sync_fs: Some(Self::sync_fs),
        show_options: Some(Self::show_options),
        evict_inode: Some(Self::evict_inode),
        ..pin_init::zeroed()
    };

    /// `super_operations.statfs`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buffer: *mut bindings::kstatfs,
    ) -> c_int {
        from_result(|| {
            // SAFETY: a live dentry of this file system.
            let sb = unsafe { SuperBlock::<T>::from_raw((*dentry).d_sb) };
            let n = T::statistics(sb)?;
            // SAFETY: a buffer of the VFS.
            unsafe {
                helpers::daxfs_kstatfs(
                    buffer,
                    T::MAGIC,
                    n.id,
                    n.block_size,
                    n.blocks,
                    n.free,
                    n.files,
                    T::MAX_NAME,
                )
            };
            Ok(0)
        })
    }

    /// `super_operations.sync_fs`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        from_result(|| {
            if wait != 0 {
                // SAFETY: a mounted super block.
                T::sync(unsafe { SuperBlock::<T>::from_raw(sb) })?;
            }
            Ok(0)
        })
    }

    /// `super_operations.show_options`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: a live dentry of this file system.
        let sb = unsafe { SuperBlock::<T>::from_raw((*root).d_sb) };
        // SAFETY: the VFS gives a file to write to.
        T::show_options(sb, unsafe { SeqFile::from_raw(seq) });
        0
    }

    /// `super_operations.evict_inode`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn evict_inode(raw: *mut bindings::inode) {
        // SAFETY: the VFS gives the last reference to an inode of this file system.
        unsafe { inode::evict::<T>(raw) };
    }
}
