// SPDX-License-Identifier: GPL-2.0

//! Memory that a file system can be in, mapped into the kernel: physical memory that the kernel does
//! not use, a DAX device, a dma-buf.

use crate::bad_memory::{self, FrameNumbers};
use crate::dax::DaxDevice;
use crate::dma_buf::MappedBuffer;
use crate::helpers;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

const PAGE: u64 = PAGE_SIZE as u64;

/// A range of memory, mapped cached and writable.
///
/// # Invariants
///
/// `size` bytes, a multiple of the page size, are mapped at `address` for the value's life, and are
/// no memory that the kernel uses for anything else.
pub struct MemoryRange {
    address: NonNull<u8>,
    size: usize,
    origin: Origin,
}

/// Where a range comes from.
enum Origin {
    /// Physical memory from this address on.
    Physical(u64),
    /// The physical memory of a device, which stays open.
    Device(u64, #[expect(dead_code, reason = "it is open as long as this lives")] DaxDevice),
    /// A buffer, in pages from anywhere.
    Buffer(MappedBuffer),
}

// SAFETY: a mapping may be used and unmapped from any thread.
unsafe impl Send for MemoryRange {}
// SAFETY: shared access is to addresses only.
unsafe impl Sync for MemoryRange {}

/// Why a range was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its start or size is no multiple of the page size, or the size is 0.
    Misaligned,
    /// It lies behind what the processor can address.
    Beyond,
    /// The kernel uses it, or part of it, as its own memory.
    InUse,
    /// It could not be mapped.
    NoMapping,
}

impl MemoryRange {
    /// `size` bytes of physical memory from `start` on.
    pub fn physical(start: u64, size: u64) -> Result<Self, Refused> {
        let (address, size) = map(start, size)?;
        Ok(Self { address, size, origin: Origin::Physical(start) })
    }

    /// All of a DAX device, or its first `size` bytes.
    pub fn device(device: DaxDevice, size: Option<u64>) -> Result<Self, Refused> {
        let (start, all) = device.memory().ok_or(Refused::NoMapping)?;
        let size = size.unwrap_or(all);
        if size > all {
            return Err(Refused::Beyond);
        }
        let (address, size) = map(start, size)?;
        Ok(Self { address, size, origin: Origin::Device(start, device) })
    }

    /// All of a buffer.
    pub fn buffer(buffer: MappedBuffer) -> Result<Self, Refused> {
        let (address, size) = (buffer.address(), buffer.size());
        if size == 0 || size as u64 % PAGE != 0 || address.addr().get() as u64 % PAGE != 0 {
            return Err(Refused::Misaligned);
        }
        Ok(Self { address, size, origin: Origin::Buffer(buffer) })
    }

    /// Its bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where it is mapped, for as long as this value lives.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// A number that tells it from other ranges.
    pub fn id(&self) -> u64 {
        match &self.origin {
            Origin::Physical(start) | Origin::Device(start, _) => *start,
            Origin::Buffer(_) => self.address.addr().get() as u64,
        }
    }

    /// The page frames from byte `offset` of the range on: at least one, and as many of the next `pages`
    /// as are neighbours and have not gone bad.
    pub fn frames(&self, offset: u64, pages: u64) -> Result<Frames> {
        let end = pages.checked_mul(PAGE).and_then(|len| offset.checked_add(len));
        if pages == 0 || offset % PAGE != 0 || end.is_none_or(|end| end > self.size as u64) {
            return Err(EFAULT);
        }
        let pages = self.good(offset, pages * PAGE) / PAGE;
        if pages == 0 {
            return Err(EIO);
        }
        match &self.origin {
            Origin::Physical(start) | Origin::Device(start, _) => {
                Ok(Frames { first: (start + offset) / PAGE, count: pages })
            }
            Origin::Buffer(buffer) => {
                let first = buffer.frame(offset);
                let mut count = 1;
                while count < pages && buffer.frame(offset + count * PAGE) == first + count {
                    count += 1;
                }
                Ok(Frames { first, count })
            }
        }
    }
}

/// Memory that has gone bad.
impl MemoryRange {
    /// How many of `len` bytes at `offset`, all inside of the range, lie before memory that is known to have
    /// gone bad.
    #[inline]
    pub fn good(&self, offset: u64, len: u64) -> u64 {
        if bad_memory::any() {
            self.good_of_some(offset, len)
        } else {
            len
        }
    }

    #[cold]
    fn good_of_some(&self, offset: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, last) = (offset / PAGE, (offset + len - 1) / PAGE);
        let bad = match &self.origin {
            Origin::Physical(start) | Origin::Device(start, _) => {
                let frame = start / PAGE;
                bad_memory::first(&(frame + first..=frame + last)).map(|bad| bad - frame)
            }
            Origin::Buffer(_) => (first..=last).find(|&page| self.is_bad(page)),
        };
        bad.map_or(len, |page| (page * PAGE).saturating_sub(offset))
    }

    /// Whether a page is known to have gone bad.
    fn is_bad(&self, page: u64) -> bool {
        let frame = self.frame(page * PAGE);
        bad_memory::first(&(frame..=frame)).is_some()
    }

    /// The frame that the byte at `offset` is in, which is inside of the range.
    fn frame(&self, offset: u64) -> u64 {
        match &self.origin {
            Origin::Physical(start) | Origin::Device(start, _) => (start + offset) / PAGE,
            Origin::Buffer(buffer) => buffer.frame(offset),
        }
    }

    /// Remembers that the byte at `offset`, inside of the range, could not be read.
    #[cold]
    pub fn note_bad(&self, offset: u64) {
        let frame = self.frame(offset);
        // If it cannot be remembered now, whoever reads there next finds out again.
        let _ = bad_memory::add(&(frame..=frame));
    }

    /// Where the first of these frames is that lies in the range.
    #[cold]
    pub fn offset_of(&self, frames: &FrameNumbers) -> Option<u64> {
        let mut pages = 0..self.size as u64 / PAGE;
        pages.find(|page| frames.contains(&self.frame(page * PAGE))).map(|page| page * PAGE)
    }
}

impl Drop for MemoryRange {
    fn drop(&mut self) {
        match &self.origin {
            Origin::Physical(_) | Origin::Device(..) => {
                // SAFETY: mapped by `map`, and nobody uses it any more.
                unsafe { bindings::memunmap(self.address.as_ptr().cast()) };
            }
            Origin::Buffer(_) => {}
        }
    }
}

/// Maps physical memory.
fn map(start: u64, size: u64) -> Result<(NonNull<u8>, usize), Refused> {
    if start % PAGE != 0 || size % PAGE != 0 || size == 0 {
        return Err(Refused::Misaligned);
    }
    // SAFETY: it only asks.
    let limit = 1_u64.checked_shl(unsafe { helpers::daxfs_phys_bits() }).unwrap_or(u64::MAX);
    let fits = start.checked_add(size).is_some_and(|end| end <= limit);
    let (true, Ok(size)) = (fits, usize::try_from(size)) else { return Err(Refused::Beyond) };
    // SAFETY: it only asks.
    if unsafe { helpers::daxfs_is_memory_of_kernel(start, size) } {
        return Err(Refused::InUse);
    }
    // SAFETY: the processor can address the range, and the kernel does not use it.
    let address = unsafe { helpers::daxfs_map_range(start, size) };
    NonNull::new(address.cast()).map(|address| (address, size)).ok_or(Refused::NoMapping)
}

/// Neighbouring page frames of a [`MemoryRange`].
#[derive(Clone, Copy)]
pub struct Frames {
    /// Number of the first.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
}
