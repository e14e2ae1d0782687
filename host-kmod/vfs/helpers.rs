// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.c`, and of exported functions and structures of the kernel that its own
//! bindings lack (`linux/fs_context.h`, `linux/seq_file.h`, `linux/xarray.h`). `helpers.c` checks the
//! layout of the one structure.

#![allow(
    improper_ctypes,
    reason = "structures of the kernel's have empty ones in them; as in its bindings"
)]

use kernel::bindings::{
    delayed_work, dir_context, fs_context, fs_parameter, inode, iov_iter, kiocb, kstatfs,
    notifier_block, page, rw_semaphore, seq_file, super_block, vm_area_struct, vm_fault, xarray,
};
use kernel::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

/// `struct fs_context_operations`.
#[repr(C)]
pub(crate) struct FsContextOperations {
    pub(crate) free: Option<unsafe extern "C" fn(*mut fs_context)>,
    pub(crate) dup: Option<unsafe extern "C" fn(*mut fs_context, *mut fs_context) -> c_int>,
    pub(crate) parse_param:
        Option<unsafe extern "C" fn(*mut fs_context, *mut fs_parameter) -> c_int>,
    pub(crate) parse_monolithic:
        Option<unsafe extern "C" fn(*mut fs_context, *mut c_void) -> c_int>,
    pub(crate) get_tree: Option<unsafe extern "C" fn(*mut fs_context) -> c_int>,
    pub(crate) reconfigure: Option<unsafe extern "C" fn(*mut fs_context) -> c_int>,
}

/// `struct dax_device`, of which nothing is known.
#[cfg(CONFIG_DAX)]
#[repr(C)]
pub(crate) struct DaxDeviceRaw {
    _opaque: [u8; 0],
}

extern "C" {
    // Exported by the kernel.
    #[cfg(CONFIG_DAX)]
    pub(crate) fn dax_get_private(device: *mut DaxDeviceRaw) -> *mut c_void;
    #[cfg(CONFIG_DAX)]
    pub(crate) fn dax_pgoff_to_phys(dev_dax: *mut c_void, page: c_ulong, size: c_ulong) -> u64;
    pub(crate) fn get_tree_nodev(
        fc: *mut fs_context,
        fill_super: Option<unsafe extern "C" fn(*mut super_block, *mut fs_context) -> c_int>,
    ) -> c_int;

    // helpers.c, in its order.
    pub(crate) fn daxfs_fc_set_ops(fc: *mut fs_context, ops: *const FsContextOperations);
    pub(crate) fn daxfs_fc_set_private(fc: *mut fs_context, private: *mut c_void);
    pub(crate) fn daxfs_fc_private(fc: *mut fs_context) -> *mut c_void;
    pub(crate) fn daxfs_fc_source(fc: *mut fs_context) -> *const c_char;
    pub(crate) fn daxfs_fc_super(fc: *mut fs_context) -> *mut super_block;
    pub(crate) fn daxfs_fc_is_reconfigure(fc: *mut fs_context) -> bool;
    pub(crate) fn daxfs_fc_has_log(fc: *mut fs_context) -> bool;
    pub(crate) fn daxfs_fc_flags(fc: *mut fs_context) -> c_uint;
    pub(crate) fn daxfs_fc_flags_mask(fc: *mut fs_context) -> c_uint;
    pub(crate) fn daxfs_fc_set_flags(fc: *mut fs_context, flags: c_uint);
    pub(crate) fn daxfs_fc_error(fc: *mut fs_context, message: *const c_char);
    pub(crate) fn daxfs_param_key(param: *mut fs_parameter) -> *const c_char;
    pub(crate) fn daxfs_param_string(param: *mut fs_parameter) -> *const c_char;
    pub(crate) fn daxfs_param_fd(param: *mut fs_parameter) -> c_int;
    pub(crate) fn daxfs_param_is_flag(param: *mut fs_parameter) -> bool;
    pub(crate) fn daxfs_kstatfs(
        buf: *mut kstatfs,
        magic: u32,
        fsid: u64,
        block_size: u64,
        blocks: u64,
        free: u64,
        files: u64,
        namelen: u32,
    );
    pub(crate) fn daxfs_i_uid(inode: *mut inode) -> u32;
    pub(crate) fn daxfs_i_gid(inode: *mut inode) -> u32;
    pub(crate) fn daxfs_i_set_owner(inode: *mut inode, uid: u32, gid: u32);
    pub(crate) fn daxfs_i_size_read(inode: *mut inode) -> i64;
    pub(crate) fn daxfs_i_size_write(inode: *mut inode, size: i64);
    pub(crate) fn daxfs_i_set_mode(inode: *mut inode, mode: u16);
    pub(crate) fn daxfs_i_set_times(
        inode: *mut inode,
        asec: i64,
        ansec: u32,
        msec: i64,
        mnsec: u32,
        csec: i64,
        cnsec: u32,
    );
    pub(crate) fn daxfs_i_hash(inode: *mut inode);
    pub(crate) fn daxfs_i_lock(inode: *mut inode);
    pub(crate) fn daxfs_i_unlock(inode: *mut inode);
    pub(crate) fn daxfs_i_spin_lock(inode: *mut inode);
    pub(crate) fn daxfs_i_spin_unlock(inode: *mut inode);
    pub(crate) fn daxfs_i_is_new(inode: *mut inode) -> bool;
    pub(crate) fn daxfs_dev_encode(dev: u32) -> u32;
    pub(crate) fn daxfs_dev_decode(dev: u32) -> u32;
    pub(crate) fn daxfs_i_set_noatime(inode: *mut inode);
    pub(crate) fn daxfs_f_allow_direct(file: *mut kernel::bindings::file);
    pub(crate) fn daxfs_write_sync(iocb: *mut kiocb, count: isize) -> isize;
    pub(crate) fn daxfs_dir_emit(
        ctx: *mut dir_context,
        name: *const c_char,
        len: c_int,
        ino: u64,
        kind: c_uint,
    ) -> bool;
    pub(crate) fn daxfs_dir_emit_dots(
        file: *mut kernel::bindings::file,
        ctx: *mut dir_context,
    ) -> bool;
    pub(crate) fn daxfs_copy_to_iter(from: *const c_void, len: usize, to: *mut iov_iter) -> usize;
    pub(crate) fn daxfs_meets_bad(from: *const c_void, len: usize) -> bool;
    pub(crate) fn daxfs_zero_to_iter(len: usize, to: *mut iov_iter) -> usize;
    pub(crate) fn daxfs_copy_from_iter(to: *mut c_void, len: usize, from: *mut iov_iter) -> usize;
    pub(crate) fn daxfs_vma_mixed(vma: *mut vm_area_struct);
    pub(crate) fn daxfs_insert_frames(vmf: *mut vm_fault, pfn: c_ulong, count: c_ulong) -> c_uint;
    pub(crate) fn daxfs_start_pagefault(sb: *mut super_block);
    pub(crate) fn daxfs_end_pagefault(sb: *mut super_block);
    pub(crate) fn daxfs_page_address(page: *mut page) -> *mut c_void;
    pub(crate) fn daxfs_insert_writable(vmf: *mut vm_fault, pfn: c_ulong) -> c_uint;
    pub(crate) fn daxfs_alloc_zeroed_page() -> *mut page;
    pub(crate) fn daxfs_put_page(page: *mut page);
    pub(crate) fn daxfs_insert_page(vmf: *mut vm_fault, page: *mut page) -> c_uint;
    pub(crate) fn daxfs_down_read_nofs(sem: *mut rw_semaphore) -> c_uint;
    pub(crate) fn daxfs_down_write_nofs(sem: *mut rw_semaphore) -> c_uint;
    pub(crate) fn daxfs_up_read_nofs(sem: *mut rw_semaphore, flags: c_uint);
    pub(crate) fn daxfs_up_write_nofs(sem: *mut rw_semaphore, flags: c_uint);
    pub(crate) fn daxfs_xa_init(xa: *mut xarray);
    pub(crate) fn daxfs_xa_empty(xa: *mut xarray) -> bool;
    pub(crate) fn daxfs_xa_store(xa: *mut xarray, index: c_ulong, entry: *mut c_void) -> c_int;
    pub(crate) fn daxfs_xa_next(xa: *mut xarray, index: *mut c_ulong) -> *mut c_void;
    pub(crate) fn daxfs_init_work(work: *mut delayed_work, function: crate::work::Function);
    pub(crate) fn daxfs_queue_work(work: *mut delayed_work, delay: c_ulong);
    #[cfg(not(CONFIG_X86_64))]
    pub(crate) fn daxfs_copy_bad(to: *mut c_void, from: *const c_void, len: usize) -> usize;
    pub(crate) fn daxfs_bad_add(first: c_ulong, last: c_ulong) -> c_int;
    pub(crate) fn daxfs_bad_find(frame: *mut c_ulong, last: c_ulong) -> bool;
    pub(crate) fn daxfs_bad_forget();
    pub(crate) fn daxfs_bad_frames_of(
        report: *mut c_void,
        first: *mut c_ulong,
        last: *mut c_ulong,
    ) -> bool;
    pub(crate) fn daxfs_watch_memory(block: *mut notifier_block);
    pub(crate) fn daxfs_unwatch_memory(block: *mut notifier_block);
    pub(crate) fn daxfs_monotonic_ms() -> u64;
    pub(crate) fn daxfs_show_option(seq: *mut seq_file, name: *const c_char, value: *const c_char);
    pub(crate) fn daxfs_phys_bits() -> c_uint;
    pub(crate) fn daxfs_is_memory_of_kernel(start: u64, size: usize) -> bool;
    #[cfg(CONFIG_DAX)]
    pub(crate) fn daxfs_dax_of(file: *mut kernel::bindings::file) -> *mut DaxDeviceRaw;
    pub(crate) fn daxfs_virt_to_pfn(address: *const c_void) -> c_ulong;
    pub(crate) fn daxfs_map_range(start: u64, size: usize) -> *mut c_void;
}
