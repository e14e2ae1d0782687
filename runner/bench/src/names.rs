//! Directories.

use crate::Result;
use crate::file::open;
use crate::kernel;
use crate::report::{Report, each};
use daxfs_bench::tree::{self, FOLDER, MANY};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;

/// Bytes of directory entries that are asked for at once, as the C library does.
const ROOM: usize = 32 << 10;

/// The names that are used.
fn names() -> Result<Vec<CString>> {
    Ok(tree::names().map(CString::new).collect::<std::result::Result<_, _>>()?)
}

fn stat_all(folder: &OwnedFd, names: &[CString]) -> Result<f64> {
    Ok(each(names.len(), || {
        names.iter().try_for_each(|name| {
            rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(drop)
        })
    })?)
}

fn read_folder(folder: &OwnedFd) -> Result<f64> {
    let mut room = vec![MaybeUninit::uninit(); ROOM];
    let mut found = 0;
    let mut spent = 0.0;
    // What happens only once is not measured.
    for _ in 0..2 {
        rustix::fs::seek(folder, SeekFrom::Start(0))?;
        found = 0;
        spent = each(1, || {
            let mut entries = RawDir::new(folder.as_fd(), &mut room);
            while let Some(entry) = entries.next() {
                entry?;
                found += 1;
            }
            Ok::<(), Errno>(())
        })?;
    }
    if found < MANY {
        Err("entries are missing".into())
    } else {
        Ok(spent / f64::from(found as u32))
    }
}

/// A directory of its own.
pub fn all(folder: &Path, report: &Report) -> Result<()> {
    let names = names()?;
    let path = folder.join("names");
    fs::create_dir(&path)?;
    let folder = open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let spent = each(MANY, || {
        names.iter().try_for_each(|name| {
            rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        })
    })?;
    report.row("create (1000 in a dir)", spent)?;
    report.row("stat, warm", stat_all(&folder, &names)?)?;
    kernel::drop_caches()?;
    report.row("stat after drop_caches", stat_all(&folder, &names)?)?;
    report.row("readdir, per entry", read_folder(&folder)?)?;
    let spent = each(MANY, || {
        names.iter().try_for_each(|name| rustix::fs::unlinkat(&folder, name, AtFlags::empty()))
    })?;
    report.row("unlink", spent)?;
    fs::remove_dir(&path)?;
    Ok(())
}

/// The base's.
pub fn base(folder: &Path, report: &Report) -> Result<()> {
    let names = names()?;
    let folder = open(&folder.join(FOLDER), OFlags::RDONLY | OFlags::DIRECTORY)?;
    kernel::drop_caches()?;
    report.row("base: stat, cold, dir of 1000", stat_all(&folder, &names)?)?;
    report.row("base: readdir, per entry", read_folder(&folder)?)
}
