// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.c`.

#![allow(
    improper_ctypes,
    reason = "structures of the kernel's have empty ones in them; as in its bindings"
)]

use kernel::bindings::vm_area_struct;
use kernel::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

extern "C" {
    pub(crate) fn daxfs_mk_ranges() -> *const c_char;
    pub(crate) fn daxfs_mk_touches_memory_of_kernel(start: u64, size: usize) -> bool;
    pub(crate) fn daxfs_mk_is_memory_of_kernel(start: u64, size: usize) -> bool;
    pub(crate) fn daxfs_mk_phys_bits() -> c_uint;
    pub(crate) fn daxfs_mk_request(start: u64, size: usize) -> bool;
    pub(crate) fn daxfs_mk_release(start: u64, size: usize);
    pub(crate) fn daxfs_mk_low_memory(start: u64) -> *mut c_void;
    pub(crate) fn daxfs_mk_map(vma: *mut vm_area_struct, pfn: c_ulong) -> c_int;
    pub(crate) fn daxfs_mk_offset(vma: *mut vm_area_struct) -> c_ulong;
    pub(crate) fn daxfs_mk_is_shared(vma: *mut vm_area_struct) -> bool;
    pub(crate) fn daxfs_mk_cpu_present(cpu: c_uint) -> bool;
    pub(crate) fn daxfs_mk_cpu_online(cpu: c_uint) -> bool;
    pub(crate) fn daxfs_mk_apic_id(cpu: c_uint) -> u32;
    pub(crate) fn daxfs_mk_x2apic() -> bool;
    pub(crate) fn daxfs_mk_map_apic() -> *mut c_void;
    pub(crate) fn daxfs_mk_irq_save() -> c_ulong;
    pub(crate) fn daxfs_mk_irq_restore(flags: c_ulong);
    pub(crate) fn daxfs_mk_watch_cpus(starting: unsafe extern "C" fn(c_uint) -> c_int) -> c_int;
    pub(crate) fn daxfs_mk_unwatch_cpus(state: c_int);
}
