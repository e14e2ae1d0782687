//! What is measured of one open file: reading, writing, mapping.

use crate::Result;
use crate::report::{Report, each};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::path::Path;
use std::ptr;
use zerocopy::IntoBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Bytes of a MiB.
pub const MIB: usize = 1 << 20;

/// The sizes of pieces that are measured, and what rows call them.
pub const PIECES: [(usize, &str); 3] = [(PAGE, "4k"), (16 * PAGE, "64k"), (MIB, "1M")];

/// Memory that begins where a page begins, as that of all programs with buffers to speak of.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Memory to write from and read to, as large as the largest piece.
#[derive(Debug)]
pub struct Buffer(Vec<Page>);

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page")
    }
}

impl Buffer {
    /// One that the kernel has given all of its pages already.
    pub fn new() -> Self {
        Self(vec![Page([0x5a; PAGE]); MIB / PAGE])
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.0.as_mut_slice().as_mut_bytes()
    }
}

/// The pages of `bytes`, in the same random order every time.
pub fn shuffled(bytes: usize) -> Vec<u64> {
    let mut order: Vec<u64> = (0..bytes / PAGE).map(|page| (page * PAGE) as u64).collect();
    fastrand::Rng::with_seed(0xda5f).shuffle(&mut order);
    order
}

/// Opens a file.
pub fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    file.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn whole(done: usize, wanted: usize) -> std::result::Result<(), Errno> {
    if done == wanted { Ok(()) } else { Err(Errno::IO) }
}

/// Writes from the beginning in pieces; microseconds per piece.
pub fn write_all(file: impl AsFd, buffer: &mut Buffer, bytes: usize, piece: usize) -> Result<f64> {
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    let piece = &buffer.bytes()[..piece];
    let count = bytes / piece.len();
    Ok(each(count, || {
        (0..count).try_for_each(|_| whole(rustix::io::write(&file, piece)?, piece.len()))
    })?)
}

/// Writes a page to each of these places; microseconds per page.
pub fn write_pages(file: impl AsFd, buffer: &mut Buffer, places: &[u64]) -> Result<f64> {
    let page = &buffer.bytes()[..PAGE];
    Ok(each(places.len(), || {
        places.iter().try_for_each(|&at| whole(rustix::io::pwrite(&file, page, at)?, PAGE))
    })?)
}

/// Reads from the beginning in pieces; microseconds per piece.
pub fn read_all(file: impl AsFd, buffer: &mut Buffer, bytes: usize, piece: usize) -> Result<f64> {
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    let piece = &mut buffer.bytes()[..piece];
    let count = bytes / piece.len();
    Ok(each(count, || {
        (0..count).try_for_each(|_| whole(rustix::io::read(&file, &mut *piece)?, piece.len()))
    })?)
}

/// Reads a page from each of these places; microseconds per page.
pub fn read_pages(file: impl AsFd, buffer: &mut Buffer, places: &[u64]) -> Result<f64> {
    let page = &mut buffer.bytes()[..PAGE];
    Ok(each(places.len(), || {
        places.iter().try_for_each(|&at| whole(rustix::io::pread(&file, &mut *page, at)?, PAGE))
    })?)
}

/// Maps a file, reads a byte of each of its pages, and has it mapped until `then` is done; microseconds
/// per MiB.
pub fn touch(file: impl AsFd, bytes: usize, then: impl FnOnce() -> Result<()>) -> Result<f64> {
    let flags = MapFlags::SHARED;
    // SAFETY: a new mapping, of no memory that anybody has.
    let mapped =
        unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, ProtFlags::READ, flags, &file, 0) }?;
    let spent = each(bytes / MIB, || {
        for page in 0..bytes / PAGE {
            // SAFETY: the page is within the mapping.
            let byte = unsafe { mapped.cast::<u8>().add(page * PAGE) };
            // SAFETY: it can be read, and the file is not truncated meanwhile.
            unsafe { byte.read_volatile() };
        }
        Ok::<(), Errno>(())
    })?;
    then()?;
    // SAFETY: nobody has a reference into the mapping.
    unsafe { rustix::mm::munmap(mapped, bytes) }?;
    Ok(spent)
}

/// The rows of all ways to read a file whose first `bytes` are measured; `prefix` stands before their
/// names. What can be cached is cached.
pub fn read_rows(
    file: impl AsFd,
    buffer: &mut Buffer,
    bytes: usize,
    prefix: &str,
    report: &Report,
) -> Result<()> {
    read_all(&file, buffer, bytes, MIB)?;
    for (piece, name) in PIECES {
        let spent = read_all(&file, buffer, bytes, piece)?;
        report.row(&format!("{prefix}seq read {name}"), spent)?;
    }
    let spent = read_pages(&file, buffer, &shuffled(bytes))?;
    report.row(&format!("{prefix}rand read 4k"), spent)
}
