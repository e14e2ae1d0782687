//! DMA heaps.

use super::RangeError;
use super::device::attributes;
use daxfs::std_platform::MappedFile;
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Updater, opcode};
use std::fs::File;
use std::io;
use std::path::Path;

/// `struct dma_heap_allocation_data` of the kernel's `linux/dma-heap.h`.
#[repr(C)]
struct Allocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

/// `DMA_HEAP_IOCTL_ALLOC`.
const ALLOCATE: Opcode = opcode::read_write::<Allocation>(b'H', 0);

/// A fresh buffer of `size` bytes, all of them zero, and a mapping of it.
pub(super) fn allocate(heap: &Path, size: u64) -> Result<(OwnedFd, MappedFile), RangeError> {
    let error = |action, reason: io::Error| {
        let hint = match (action, reason.kind()) {
            ("open it", io::ErrorKind::NotFound) => {
                Some("this kernel needs CONFIG_DMABUF_HEAPS_SYSTEM")
            }
            ("allocate from it", io::ErrorKind::OutOfMemory) => Some("give a smaller -s"),
            _ => None,
        };
        RangeError::Io { path: heap.to_path_buf(), action, reason, hint }
    };
    let device = File::open(heap).map_err(|reason| error("open it", reason))?;
    attributes(heap, &device, "dma_heap")?;
    let mut wanted = Allocation {
        len: size,
        fd_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
        fd: 0,
        heap_flags: 0,
    };
    // SAFETY: the number has the type of its argument, which the kernel reads and writes.
    let request = unsafe { Updater::<ALLOCATE, _>::new(&mut wanted) };
    // SAFETY: `device` is a DMA heap, whose driver understands the number so, and keeps no address.
    unsafe { rustix::ioctl::ioctl(&device, request) }
        .map_err(|reason| error("allocate from it", reason.into()))?;
    let fd = i32::try_from(wanted.fd);
    let fd = fd.map_err(|_| error("allocate from it", io::ErrorKind::InvalidData.into()))?;
    // SAFETY: the kernel has just made it for us; nobody else knows of it.
    let buffer = unsafe { OwnedFd::from_raw_fd(fd) };
    let buffer = File::from(buffer);
    // No DMA_BUF_IOCTL_SYNC around what is written: only processors use this buffer, through mappings
    // that are cached alike.
    let mapping = MappedFile::part(&buffer, 0, size, true)
        .map_err(|reason| error("map what was allocated from it", reason))?;
    Ok((buffer.into(), mapping))
}
