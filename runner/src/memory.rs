//! The shared memory of a machine: a file that QEMU maps, and that others can map too.
//!
//! # Invariants
//!
//! A file this module makes has no name: it is gone with the last process that has it open, however
//! that ends. QEMU opens it through this process's table of files.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, SeekFrom};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Ranges are whole pages.
const PAGE: u64 = 4096;
/// How much is copied at once.
const PIECE: usize = 1 << 20;

/// The shared memory of a machine.
#[derive(Debug)]
pub struct SharedMemory {
    path: PathBuf,
    size: u64,
    file: File,
}

impl SharedMemory {
    /// A copy of `image`, with room for `size` bytes if that is given.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::File`].
    pub fn copy_of(image: &Path, size: Option<u64>) -> Result<Self> {
        let source = open(image, false)?;
        let length = length(image, &source)?;
        let size = size.unwrap_or(length).next_multiple_of(PAGE);
        if length > size {
            return Err(Error::TooLarge { image: length, range: size });
        }
        let (file, folder) = Self::temporary(size)?;
        copy_sparse(&source, &file).map_err(failed(image, "copy it"))?;
        file.set_len(size).map_err(failed(&folder, "make a file of that size in it"))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
        Ok(Self { path, size, file })
    }

    /// The image itself: what the machine changes is changed in the file.
    ///
    /// # Errors
    ///
    /// [`Error::File`], also if another runner or tool uses it; [`Error::Usage`] for a length that is
    /// no multiple of the page size.
    pub fn in_place(image: &Path) -> Result<Self> {
        let file = open(image, true)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            Error::File {
                path: image.into(),
                action: "lock it (does another machine or tool use it?)",
                reason: e.into(),
            }
        })?;
        let size = length(image, &file)?;
        if size % PAGE != 0 || size == 0 {
            let message = format!(
                "{}: its length, {size}, is no multiple of {PAGE}: not usable in place",
                image.display()
            );
            return Err(Error::Usage(message));
        }
        Ok(Self { path: image.to_path_buf(), size, file })
    }

    /// Where QEMU finds it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Writes the range out to `target`: all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn save(&self, target: &Path) -> Result<()> {
        let folder =
            target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".daxfs-save-")
            .tempfile_in(folder)
            .map_err(failed(target, "write to its folder"))?;
        let file = temporary.as_file();
        copy_sparse(&self.file, file).map_err(failed(target, "write it"))?;
        file.set_len(self.size).map_err(failed(target, "write it"))?;
        file.sync_all().map_err(failed(target, "write it"))?;
        temporary.persist(target).map_err(|e| failed(target, "write it")(e.error))?;
        Ok(())
    }

    /// A nameless file for `size` bytes: in memory if there is room, else where temporary files are.
    /// Returns where that is, too.
    fn temporary(size: u64) -> Result<(File, PathBuf)> {
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map(|s| s.f_bavail * s.f_frsize);
        if room.is_ok_and(|room| room > size.saturating_add(size / 8))
            && let Ok(file) = tempfile::tempfile_in(memory)
        {
            return Ok((file, memory.to_path_buf()));
        }
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder).map_err(failed(&folder, "make a file in it"))?;
        Ok((file, folder))
    }
}

fn open(path: &Path, writable: bool) -> Result<File> {
    File::options().read(true).write(writable).open(path).map_err(failed(path, "open it"))
}

fn length(path: &Path, file: &File) -> Result<u64> {
    Ok(file.metadata().map_err(failed(path, "look at it"))?.len())
}

/// For `map_err`: what was tried with a file.
fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |reason| Error::File { path, action, reason }
}

/// Copies the data of a file, and leaves its holes as holes.
fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    let end = from.metadata()?.len();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < end {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let stop = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        at = start;
        while at < stop {
            let wanted = usize::try_from(stop - at).map_or(PIECE, |left| left.min(PIECE));
            let count = from.read_at(&mut buffer[..wanted], at)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.write_all_at(&buffer[..count], at)?;
            at += count as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_padded_and_the_original_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, [7; 5000]).unwrap();
        let memory = SharedMemory::copy_of(&image, Some(10_000)).unwrap();
        assert_eq!(memory.size(), 12_288);
        memory.file.write_all_at(b"changed", 0).unwrap();
        let saved = folder.path().join("saved");
        memory.save(&saved).unwrap();
        let bytes = std::fs::read(&saved).unwrap();
        assert_eq!(
            (bytes.len(), &bytes[..8], bytes[4999], bytes[5000]),
            (12_288, &b"changed\x07"[..], 7, 0)
        );
        assert_eq!(std::fs::read(&image).unwrap(), [7; 5000]);
        let seen = File::open(memory.path()).unwrap();
        assert_eq!(seen.metadata().unwrap().len(), 12_288, "others can open it");
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, [7; 5000]).unwrap();
        let error = SharedMemory::copy_of(&image, Some(4096)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { image: 5000, range: 4096 }), "{error}");
    }

    #[test]
    fn two_machines_cannot_use_one_file_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, [7; 8192]).unwrap();
        let first = SharedMemory::in_place(&image).unwrap();
        assert!(SharedMemory::in_place(&image).is_err());
        drop(first);
        SharedMemory::in_place(&image).unwrap();
    }
}
