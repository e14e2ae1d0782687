//! Images in dma-bufs: as many as one likes, none of them at an address that is known.

use crate::mapping::{Mapping, Use};
use crate::mounted::{Context, Mounted, Refused};
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::ioctl::{Opcode, Updater, ioctl};
use std::fs::File;

/// Memory of a DMA heap.
#[derive(Debug)]
pub struct Buffer {
    file: File,
    mapping: Mapping,
}

/// `struct dma_heap_allocation_data`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Allocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

impl Buffer {
    /// So many bytes.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[must_use]
    pub fn new(len: usize) -> Self {
        const ALLOCATE: Opcode = rustix::ioctl::opcode::read_write::<Allocation>(b'H', 0);
        let heap = File::options().read(true).write(true).open("/dev/dma_heap/system");
        let heap = heap.expect("a DMA heap");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let mut wanted =
            Allocation { len: len as u64, fd_flags: flags.bits(), ..Allocation::default() };
        // SAFETY: the ioctl reads and writes this structure.
        let update = unsafe { Updater::<ALLOCATE, Allocation>::new(&mut wanted) };
        // SAFETY: as above.
        unsafe { ioctl(&heap, update) }.expect("memory of a DMA heap");
        // SAFETY: the kernel has just opened it for us.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(wanted.fd as i32) });
        let mapping = Mapping::new(&file, 0, len, Use::Write).expect("it can be mapped");
        Self { file, mapping }
    }

    /// With this image.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        let buffer = Self::new(image.len());
        buffer.fill(image);
        buffer
    }

    /// Puts an image in it.
    pub fn fill(&self, image: &[u8]) {
        self.mapping.put(0, image);
    }

    /// What is in it, mapped.
    #[must_use]
    pub const fn memory(&self) -> &Mapping {
        &self.mapping
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Mounts it.
    ///
    /// # Errors
    ///
    /// What the file system refuses.
    pub fn mount(&self, options: &str) -> Result<Mounted, Refused> {
        let context = Context::new();
        context.descriptor("dmabuf", self.fd())?;
        context.options(options)?;
        context.mount()
    }
}
