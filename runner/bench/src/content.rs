//! Files: new ones, those of the base, and what becomes of those when they are changed.

use crate::Result;
use crate::file::{
    Buffer, PAGE, PIECES, open, read_all, read_rows, shuffled, touch, write_all, write_pages,
};
use crate::kernel;
use crate::report::{Report, each};
use daxfs_bench::tree::{LARGE, LARGE_BYTES, MEDIUM, MEDIUM_BYTES, SMALL, SMALL_BYTES};
use rustix::fs::OFlags;
use std::fs;
use std::path::Path;

/// New files.
pub fn files(folder: &Path, report: &Report) -> Result<()> {
    let mut buffer = Buffer::new();
    let path = folder.join("file");
    let new = || open(&path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
    for (piece, name) in PIECES.into_iter().rev() {
        let file = new()?;
        let spent = write_all(&file, &mut buffer, MEDIUM_BYTES, piece)?;
        report.row(&format!("seq write {name}, first"), spent)?;
        if piece == PAGE {
            report.row("seq rewrite 4k", write_all(&file, &mut buffer, MEDIUM_BYTES, PAGE)?)?;
            let order = shuffled(MEDIUM_BYTES);
            report.row("rand write 4k", write_pages(&file, &mut buffer, &order)?)?;
            read_rows(&file, &mut buffer, MEDIUM_BYTES, "", report)?;
            let spent = touch(&file, MEDIUM_BYTES, || Ok(()))?;
            report.row("mmap, per MiB, first touch", spent)?;
        }
        fs::remove_file(&path)?;
    }
    let file = new()?;
    write_pages(&file, &mut buffer, &shuffled(MEDIUM_BYTES))?;
    read_rows(&file, &mut buffer, MEDIUM_BYTES, "written in random order: ", report)?;
    fs::remove_file(&path)?;
    Ok(())
}

/// The base's files, as they are.
pub fn base(folder: &Path, report: &Report) -> Result<()> {
    let mut buffer = Buffer::new();
    let file = open(&folder.join(MEDIUM), OFlags::RDONLY)?;
    read_rows(&file, &mut buffer, MEDIUM_BYTES, "base: ", report)?;
    report.row("base: mmap, per MiB, first touch", touch(&file, MEDIUM_BYTES, || Ok(()))?)?;
    drop(file);
    let file = open(&folder.join(SMALL), OFlags::RDONLY)?;
    read_all(&file, &mut buffer, SMALL_BYTES, PAGE)?;
    let spent = touch(&file, SMALL_BYTES, || Ok(()))?;
    report.row("base, not aligned: mmap, per MiB, first touch", spent)?;
    drop(file);
    let path = folder.join(LARGE);
    kernel::drop_caches()?;
    let before = kernel::free_kib()?;
    let file = open(&path, OFlags::RDONLY)?;
    read_all(&file, &mut buffer, LARGE_BYTES, 16 * PAGE)?;
    report.row("base: kernel memory after reading 64 MiB", before - kernel::free_kib()?)?;
    drop(file);
    kernel::drop_caches()?;
    let before = kernel::free_kib()?;
    let file = open(&path, OFlags::RDONLY)?;
    touch(&file, LARGE_BYTES, || {
        report.row("base: kernel memory after mapping 64 MiB", before - kernel::free_kib()?)
    })?;
    Ok(())
}

/// A file: what it takes of the kernel's memory that all of it is mapped and read.
pub fn mapping(path: &Path) -> Result<()> {
    let bytes = usize::try_from(fs::metadata(path)?.len())?;
    let before = kernel::free_kib()?;
    let file = open(path, OFlags::RDONLY)?;
    touch(&file, bytes, || {
        println!(
            "{} KiB of memory are taken, all of it being mapped",
            before - kernel::free_kib()?
        );
        Ok(())
    })
    .map(drop)
}

/// The base's files, while they change.
pub fn change(folder: &Path, report: &Report) -> Result<()> {
    let mut buffer = Buffer::new();
    let change_a_byte = |name: &str, at: usize| {
        let path = folder.join(name);
        each(1, || {
            let file = rustix::fs::open(&path, OFlags::WRONLY, rustix::fs::Mode::empty())?;
            rustix::io::pwrite(file, b"!", at as u64).map(drop)
        })
    };
    // What happens only once in this process happens here.
    change_a_byte(SMALL, SMALL_BYTES / 2)?;
    report.row("1 byte changed in a 64 MiB base file", change_a_byte(LARGE, LARGE_BYTES / 2)?)?;
    let file = open(&folder.join(MEDIUM), OFlags::RDWR)?;
    let order = shuffled(MEDIUM_BYTES);
    let spent = write_pages(&file, &mut buffer, &order[..order.len() / 2])?;
    const PREFIX: &str = "base, 1 page in 2 changed: ";
    report.row(&format!("{PREFIX}rand write 4k, first"), spent)?;
    read_rows(&file, &mut buffer, MEDIUM_BYTES, PREFIX, report)
}
