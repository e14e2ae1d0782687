//! Memory-mapped files.
//!
//! What is in them may change at any time, and be gone (SIGBUS): no reference to it leaves this module, only
//! bytes do.

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Bytes of a large page.
pub const LARGE: usize = 2 << 20;

/// What may be done with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Read, what everybody sees.
    Read,
    /// Read and write, what everybody sees.
    Write,
    /// Read and write, a copy of one's own.
    Private,
    /// Execute.
    Execute,
}

/// A mapped piece of a file.
#[derive(Debug)]
pub struct Mapping {
    address: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps a piece.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn new(file: &File, offset: u64, len: usize, what: Use) -> Result<Self, Errno> {
        let protection = match what {
            Use::Read => ProtFlags::READ,
            Use::Write | Use::Private => ProtFlags::READ | ProtFlags::WRITE,
            Use::Execute => ProtFlags::READ | ProtFlags::EXEC,
        };
        let sharing = match what {
            Use::Read | Use::Write => MapFlags::SHARED,
            Use::Private | Use::Execute => MapFlags::PRIVATE,
        };
        // SAFETY: without an address, the kernel takes one where nothing is.
        let address = unsafe { mmap(ptr::null_mut(), len, protection, sharing, file, offset) }?;
        Ok(Self { address: address.cast(), len })
    }

    /// Bytes of it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, at: usize) -> *mut u8 {
        assert!(at < self.len, "{at} of {}", self.len);
        // SAFETY: inside of the mapping.
        unsafe { self.address.add(at) }
    }

    /// A byte.
    pub fn get(&self, at: usize) -> u8 {
        // SAFETY: mapped to be read. If there is nothing behind it, this process ends.
        unsafe { self.at(at).read_volatile() }
    }

    /// Stores a byte. Only where the mapping is for that.
    pub fn set(&self, at: usize, value: u8) {
        // SAFETY: mapped, and nobody has a reference. If it may not be written to, this process ends.
        unsafe { self.at(at).write_volatile(value) };
    }

    /// Stores bytes.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        let Some(last) = bytes.len().checked_sub(1) else { return };
        self.at(at + last);
        // SAFETY: mapped up to the last byte, which `at` has seen to; `bytes` are elsewhere.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(at), bytes.len()) };
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(&self, at: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        if let Some(last) = count.checked_sub(1) {
            self.at(at + last);
            // SAFETY: mapped up to the last byte, which `at` has seen to; `bytes` is fresh.
            unsafe { ptr::copy_nonoverlapping(self.at(at), bytes.as_mut_ptr(), count) };
        }
        bytes
    }

    /// Bytes, as a debugger gets them: the kernel reads them for it.
    ///
    /// # Panics
    ///
    /// If it gets none.
    #[must_use]
    pub fn seen_by_a_debugger(&self, at: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let address = self.at(at).addr() as u64;
        let memory = File::open("/proc/self/mem").expect("/proc/self/mem");
        memory.read_exact_at(&mut bytes, address).expect("reading mapped memory");
        bytes
    }

    /// Touches each page.
    pub fn touch(&self) {
        for at in (0..self.len).step_by(PAGE) {
            self.get(at);
        }
    }

    /// Reads from a file straight into this memory.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn read_from(
        &self,
        at: usize,
        count: usize,
        file: &File,
        from: u64,
    ) -> Result<usize, Errno> {
        self.at(at + count - 1);
        // SAFETY: mapped up to the last byte, and nobody else has a reference to it.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.at(at), count) };
        rustix::io::pread(file, memory, from)
    }

    /// Writes this memory to a file.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn write_to(&self, at: usize, count: usize, file: &File, to: u64) -> Result<usize, Errno> {
        self.at(at + count - 1);
        // SAFETY: mapped up to the last byte; nobody writes to it meanwhile.
        let memory = unsafe { std::slice::from_raw_parts(self.at(at), count) };
        rustix::io::pwrite(file, memory, to)
    }

    /// Has the kernel write this memory somewhere, where there is room for it.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, EFAULT if there is nothing behind it.
    pub fn send(&self, at: usize, count: usize, to: impl AsFd) -> Result<usize, Errno> {
        self.at(at + count - 1);
        // SAFETY: mapped up to the last byte; nothing but the kernel looks there.
        let memory = unsafe { std::slice::from_raw_parts(self.at(at), count) };
        rustix::io::write(to, memory)
    }

    /// Takes or gives the right to store.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn protect(&self, writable: bool) -> Result<(), Errno> {
        let write = if writable { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: this memory is this value's.
        unsafe { mprotect(self.address.cast(), self.len, MprotectFlags::READ | write) }
    }

    /// Where in memory a mapped page lies: its frame's physical address.
    ///
    /// # Panics
    ///
    /// If `/proc` does not say.
    #[must_use]
    pub fn physical(&self, at: usize) -> Option<u64> {
        const PRESENT: u64 = 1 << 63;
        const FRAME: u64 = (1 << 55) - 1;
        let pagemap = File::open("/proc/self/pagemap").expect("/proc/self/pagemap");
        let mut word = [0; 8];
        let page = (self.at(at).addr() / PAGE) as u64;
        pagemap.read_exact_at(&mut word, page * 8).expect("a page");
        let word = u64::from_le_bytes(word);
        (word & PRESENT != 0).then_some((word & FRAME) * PAGE as u64)
    }

    /// How many bytes of it are mapped by large pages.
    ///
    /// # Panics
    ///
    /// If the kernel does not say.
    #[must_use]
    pub fn large(&self) -> usize {
        const HUGE: u64 = 1 << 6;
        const SCAN: Opcode = rustix::ioctl::opcode::read_write::<Scan>(b'f', 16);
        let mut found = [Piece::default(); 64];
        let start = self.address.addr() as u64;
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end: start + self.len.next_multiple_of(PAGE) as u64,
            vector: found.as_mut_ptr().expose_provenance() as u64,
            vector_len: found.len() as u64,
            mask: HUGE,
            wanted: HUGE,
            ..Scan::default()
        };
        let pagemap = File::open("/proc/self/pagemap").expect("/proc/self/pagemap");
        // SAFETY: the ioctl reads and writes this structure.
        let update = unsafe { Updater::<SCAN, Scan>::new(&mut scan) };
        // SAFETY: as above, and it writes to `found`, as many as there is room for.
        unsafe { ioctl(pagemap.as_fd(), update) }.expect("PAGEMAP_SCAN");
        found.iter().map(|piece| (piece.end - piece.start) as usize).sum()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this memory is this value's, and nobody has a reference to it.
        let done = unsafe { munmap(self.address.cast(), self.len) };
        debug_assert_eq!(done, Ok(()));
    }
}

/// `struct pm_scan_arg`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walked: u64,
    vector: u64,
    vector_len: u64,
    most: u64,
    inverted: u64,
    mask: u64,
    any: u64,
    wanted: u64,
}

/// `struct page_region`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Piece {
    start: u64,
    end: u64,
    categories: u64,
}
