//! The `BootInfo` that a kernel is passed, as the `bootloader` crate would pass it.
//!
//! It contains addresses of another address space, so it is made of bytes, at the offsets that the
//! structure's own definition has.

use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, Optional};
use std::mem::offset_of;

/// Bytes of the structure.
pub(crate) const SIZE: usize = size_of::<BootInfo>();
/// Where the value is in an optional number; what says that there is one is at 0.
const VALUE: usize = 8;
const SOME: u32 = 0;
const NONE: u32 = 1;
/// Bytes of a memory region.
const REGION_SIZE: usize = size_of::<MemoryRegion>();

const _: () = assert!(size_of::<Optional<u64>>() == 16);

/// What of it a kernel needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    /// Where the structure will be: a virtual address. The one memory region follows it.
    pub(crate) address: u64,
    /// All physical memory that is mapped is mapped at this offset.
    pub(crate) physical_offset: u64,
    /// Where free memory begins: a physical address.
    pub(crate) free_start: u64,
    /// Where it ends.
    pub(crate) free_end: u64,
    /// Where the handover record is: a virtual address.
    pub(crate) handover: u64,
    /// Its bytes, with what follows.
    pub(crate) handover_len: u64,
    /// Where the image is: a physical address.
    pub(crate) image: u64,
    /// Its bytes.
    pub(crate) image_len: u64,
}

/// Makes the structure and its memory region.
pub(crate) fn make(contents: &Contents) -> Vec<u8> {
    let mut bytes = vec![0; SIZE + REGION_SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    // Pointer and length.
    let regions = offset_of!(BootInfo, memory_regions);
    put(regions, &(contents.address + SIZE as u64).to_le_bytes());
    put(regions + 8, &1_u64.to_le_bytes());
    for (at, value) in [
        (offset_of!(BootInfo, physical_memory_offset), contents.physical_offset),
        (offset_of!(BootInfo, ramdisk_addr), contents.handover),
    ] {
        put(at, &SOME.to_le_bytes());
        put(at + VALUE, &value.to_le_bytes());
    }
    for at in [
        offset_of!(BootInfo, framebuffer),
        offset_of!(BootInfo, recursive_index),
        offset_of!(BootInfo, rsdp_addr),
        offset_of!(BootInfo, tls_template),
    ] {
        put(at, &NONE.to_le_bytes());
    }
    for (at, value) in [
        (offset_of!(BootInfo, ramdisk_len), contents.handover_len),
        (offset_of!(BootInfo, kernel_addr), contents.image),
        (offset_of!(BootInfo, kernel_len), contents.image_len),
        (SIZE + offset_of!(MemoryRegion, start), contents.free_start),
        (SIZE + offset_of!(MemoryRegion, end), contents.free_end),
    ] {
        put(at, &value.to_le_bytes());
    }
    let usable = USABLE.to_le_bytes();
    put(SIZE + offset_of!(MemoryRegion, kind), &usable);
    bytes
}

/// What stands for usable memory: the first of the kinds.
const USABLE: u32 = 0;

#[cfg(test)]
#[allow(unsafe_code, reason = "reads the bytes as what they are to be")]
mod tests {
    use super::*;
    use bootloader_api::info::MemoryRegionKind;

    #[test]
    fn the_bytes_are_a_boot_info() {
        // Aligned as the structure is.
        let mut place = vec![0_u64; (SIZE + REGION_SIZE).div_ceil(8)];
        let address = place.as_mut_ptr().expose_provenance();
        let bytes = make(&Contents {
            address: address as u64,
            physical_offset: 0xffff_8000_0000_0000,
            free_start: 0x3820_0000,
            free_end: 0x3c00_0000,
            handover: 0x1234_5000,
            handover_len: 321,
            image: 0x3810_0000,
            image_len: 4096,
        });
        for (word, bytes) in place.iter_mut().zip(bytes.chunks(8)) {
            let mut le = [0; 8];
            le[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(le);
        }
        // SAFETY: as long as the structure, aligned, and made to be one: that is what is tested.
        let info = unsafe { &*std::ptr::with_exposed_provenance::<BootInfo>(address) };
        assert_eq!(info.physical_memory_offset.into_option(), Some(0xffff_8000_0000_0000));
        assert_eq!(info.ramdisk_addr.into_option(), Some(0x1234_5000));
        assert_eq!(info.ramdisk_len, 321);
        assert_eq!((info.kernel_addr, info.kernel_len), (0x3810_0000, 4096));
        assert!(info.framebuffer.as_ref().is_none() && info.rsdp_addr.as_ref().is_none());
        assert!(info.recursive_index.as_ref().is_none() && info.tls_template.as_ref().is_none());
        let kind = MemoryRegionKind::Usable;
        let region = MemoryRegion { start: 0x3820_0000, end: 0x3c00_0000, kind };
        assert_eq!(&*info.memory_regions, [region]);
    }
}
