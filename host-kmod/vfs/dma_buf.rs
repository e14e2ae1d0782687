// SPDX-License-Identifier: GPL-2.0

//! Buffers of devices: dma-buf.
//!
//! C header: [`include/linux/dma-buf.h`](srctree/include/linux/dma-buf.h)

use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;

/// A reference to a buffer.
pub struct DmaBuf(NonNull<bindings::dma_buf>);

// SAFETY: references are counted, and may be given back by any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// The buffer that a file descriptor of the calling process stands for.
    pub fn get(fd: i32) -> Result<Self> {
        // SAFETY: it looks the descriptor up.
        let raw = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        NonNull::new(raw).map(Self).ok_or(EBADF)
    }

    /// Another reference to it, mapped into the kernel.
    pub fn map(&self) -> Result<MappedBuffer> {
        // SAFETY: the buffer holds its file, on which references are counted.
        unsafe { bindings::get_file(self.0.as_ref().file) };
        let buffer = Self(self.0);
        let mut map = bindings::iosys_map::default();
        // SAFETY: a buffer that is held.
        to_result(unsafe { bindings::dma_buf_vmap_unlocked(buffer.0.as_ptr(), &mut map) })?;
        let mapped = MappedBuffer { map, buffer };
        // SAFETY: both members of the union are pointers.
        let address = unsafe { mapped.map.__bindgen_anon_1.vaddr };
        if map.is_iomem || address.is_null() {
            return Err(EOPNOTSUPP);
        }
        Ok(mapped)
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: this reference is given back.
        unsafe { bindings::dma_buf_put(self.0.as_ptr()) };
    }
}

/// A buffer that is mapped into the kernel.
pub struct MappedBuffer {
    map: bindings::iosys_map,
    buffer: DmaBuf,
}

// SAFETY: the mapping may be used and taken down from any thread.
unsafe impl Send for MappedBuffer {}
// SAFETY: shared access is to addresses only.
unsafe impl Sync for MappedBuffer {}

impl MappedBuffer {
    /// Where it is mapped.
    pub(crate) fn address(&self) -> NonNull<u8> {
        // SAFETY: both members of the union are pointers.
        let address = unsafe { self.map.__bindgen_anon_1.vaddr };
        NonNull::new(address.cast()).unwrap_or(NonNull::dangling())
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: a buffer that is held; its size does not change.
        unsafe { self.buffer.0.as_ref().size }
    }

    /// The frame of the page at byte `offset`, which is inside of it.
    pub(crate) fn frame(&self, offset: u64) -> u64 {
        let address = self.address().as_ptr().wrapping_add(offset as usize);
        // SAFETY: it only asks.
        if unsafe { bindings::is_vmalloc_addr(address.cast()) } {
            // SAFETY: a page of a mapping that is held.
            unsafe { bindings::vmalloc_to_pfn(address.cast()) as u64 }
        } else {
            // SAFETY: a page of the kernel's direct map.
            unsafe { crate::helpers::daxfs_virt_to_pfn(address.cast()) as u64 }
        }
    }
}

impl Drop for MappedBuffer {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody uses it any more.
        unsafe { bindings::dma_buf_vunmap_unlocked(self.buffer.0.as_ptr(), &mut self.map) };
    }
}
