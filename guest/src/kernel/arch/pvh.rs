//! The way in from QEMU (`-kernel`): the PVH boot protocol.
//!
//! QEMU finds the entry address in an ELF note and starts there in 32-bit mode, without paging, with
//! `ebx` pointing at an `hvm_start_info`. The code below makes page tables that map the first 4 GiB
//! one to one, goes to 64-bit mode, and hands on a `BootInfo` as the `bootloader` crate makes it,
//! with a handover record built from the command line and the first module. Nothing behind
//! `kernel_main` knows this way in exists.

use super::{exit, image, serial};
use crate::kernel::__impl_start_as_pvh;
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind, Optional};
use core::arch::global_asm;
use core::fmt::Write;
use daxfs::format::handover::{ExitStatus, Handover};
use daxfs_guest::handover::record_for;
use daxfs_guest::memory_map::{MemoryMap, Range};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::FromBytes;
