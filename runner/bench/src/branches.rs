//! Branches, through the ioctls of a mount.

use crate::Result;
use crate::file::{Buffer, MIB, open, write_all};
use crate::report::{Report, each};
use daxfs_format::ioctl::{ABORT, COMMIT, CREATE, CreateBranch};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use zerocopy::FromZeros;

/// What is written to a branch before it ends, in MiB.
const SIZES: [usize; 3] = [1, 8, 64];

/// Makes branches, writes to them, and ends them.
pub fn all(folder: &Path, report: &Report) -> Result<()> {
    let mut buffer = Buffer::new();
    let mount = File::open(folder)?;
    // What happens only once happens here.
    create(&mount, "first")?;
    end::<{ ABORT as Opcode }>(&mount)?;
    report.row("branch create", each(1, || create(&mount, "empty"))?)?;
    end::<{ ABORT as Opcode }>(&mount)?;
    for size in SIZES {
        begin(&mount, folder, size, &mut buffer)?;
        let spent = each(1, || end::<{ ABORT as Opcode }>(&mount))?;
        report.row(&format!("abort, {size} MiB"), spent)?;
    }
    for size in SIZES {
        let path = begin(&mount, folder, size, &mut buffer)?;
        let spent = each(1, || end::<{ COMMIT as Opcode }>(&mount))?;
        report.row(&format!("commit, {size} MiB"), spent)?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes a branch in which so many MiB are written; returns the file.
fn begin(mount: &File, folder: &Path, size: usize, buffer: &mut Buffer) -> Result<PathBuf> {
    create(mount, "work")?;
    let path = folder.join(format!("written-{size}"));
    let file = open(&path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    write_all(&file, buffer, size * MIB, MIB)?;
    Ok(path)
}

/// Makes a branch of the one that the mount is on, and moves the mount there.
fn create(mount: &File, name: &str) -> std::result::Result<(), Errno> {
    let mut wanted = CreateBranch::new_zeroed();
    wanted.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the ioctl reads this structure.
    let wanted = unsafe { Setter::<{ CREATE as Opcode }, CreateBranch>::new(wanted) };
    // SAFETY: as above; nothing else changes in this process.
    unsafe { ioctl(mount, wanted) }
}

/// Ends the branch that the mount is on.
fn end<const WAY: Opcode>(mount: &File) -> std::result::Result<(), Errno> {
    // SAFETY: these ioctls have no argument.
    let wanted = unsafe { NoArg::<WAY>::new() };
    // SAFETY: nothing of this process's is mapped from the file system.
    unsafe { ioctl(mount, wanted) }
}
