//! The output file: without a name until it is finished.
//!
//! The image is written to a file that has no name at all (`O_TMPFILE`), so that nothing can be
//! left behind, whatever ends this process. Only where the file system has no such files does it
//! get a temporary name, which every end but a kill takes away.

use super::tree::Stamp;
use crate::error::{BuildError, Result};
use daxfs::std_platform::MappedFile;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, SeekFrom, fallocate, fstat, fsync,
    linkat, openat, renameat, seek, sendfile, stat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who may use a new file, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// The output file, not yet visible.
pub(super) struct Output {
    file: Unpublished,
    position: Mutex<()>,
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

enum Unpublished {
    Nameless(File),
    Temporary(tempfile::NamedTempFile),
}

impl Output {
    /// A new file that [`Self::publish`] will put at `path`.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let error = |action, e: Errno| BuildError::io(action, path, e);
        match stat(path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(BuildError::OutputNotFile { path: path.to_path_buf() });
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(error("write the image", e)),
        }
        // A symbolic link stays one: what it points to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let name = target.file_name().ok_or_else(|| error("write the image", Errno::ISDIR))?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent, flags, Mode::empty())
            .map_err(|e| BuildError::io("open the output's directory", parent, e))?;
        let file = match nameless(&directory) {
            Some(file) => Unpublished::Nameless(file),
            None => Unpublished::Temporary(
                temporary(parent).map_err(|e| BuildError::io("create a file in", parent, e))?,
            ),
        };
        let name = name.to_os_string();
        Ok(Self { file, position: Mutex::new(()), directory, name, path: target })
    }

    /// The file, for writing the image.
    pub(super) fn file(&self) -> OutputFile<'_> {
        let file = match &self.file {
            Unpublished::Nameless(file) => file,
            Unpublished::Temporary(file) => file.as_file(),
        };
        OutputFile { file, position: &self.position, path: &self.path }
    }

    /// Makes sure that a directory of the source is not the one the output will be in.
    pub(super) fn expect_outside(&self, directory: &Stamp) -> Result<()> {
        let own = fstat(&self.directory)
            .map_err(|e| BuildError::io("read the attributes", &self.path, e))?;
        if Stamp::of(&own).identity == directory.identity {
            return Err(BuildError::OutputInsideSource { path: self.path.clone() });
        }
        Ok(())
    }

    /// Puts the finished image at its place, at once, on media.
    pub(super) fn publish(self) -> Result<()> {
        let error = |e| BuildError::io("write the image", &self.path, e);
        self.file()
            .file
            .sync_all()
            .map_err(|e| BuildError::io("write the image", &self.path, e))?;
        match self.file {
            Unpublished::Nameless(file) => {
                publish_nameless(&file, &self.directory, &self.name).map_err(error)?;
            }
            Unpublished::Temporary(file) => {
                file.persist(&self.path)
                    .map_err(|e| BuildError::io("write the image", &self.path, e.error))?;
            }
        }
        match fsync(&self.directory) {
            // Not every file system has something to do here.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(error(e)),
        }
    }
}

/// A file without a name in `directory`, if there can be one that gets a name later.
fn nameless(directory: &OwnedFd) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = openat(directory, ".", flags, Mode::from_raw_mode(NEW_FILE_MODE)).ok()?;
    // What `link` goes through.
    Path::new("/proc/self/fd").exists().then(|| File::from(file))
}

/// A file with a temporary name in `directory`.
fn temporary(directory: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".mkdaxfs-")
        .permissions(Permissions::from_mode(NEW_FILE_MODE))
        .tempfile_in(directory)
}

fn publish_nameless(file: &File, directory: &OwnedFd, name: &OsString) -> rustix::io::Result<()> {
    match link(file, directory, name) {
        Err(Errno::EXIST) => {}
        done => return done,
    }
    // A link cannot replace; a rename can. The name in between exists for these two calls only.
    let between = OsString::from(format!(".mkdaxfs-{}", uuid::Uuid::new_v4().simple()));
    link(file, directory, &between)?;
    renameat(directory, &between, directory, name).inspect_err(|_| {
        // The reason why renaming failed is what counts.
        let _ = unlinkat(directory, &between, AtFlags::empty());
    })
}

/// Gives a file that has no name one.
fn link(file: &File, directory: &OwnedFd, name: &OsString) -> rustix::io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, path, directory.as_fd(), name, AtFlags::SYMLINK_FOLLOW)
}

/// The output file, while it is written.
#[derive(Clone, Copy)]
pub(super) struct OutputFile<'o> {
    file: &'o File,
    /// Guards the file's position, which only a [`Sender`] uses.
    position: &'o Mutex<()>,
    path: &'o Path,
}

/// The right to let the system copy to the output. One thread has it at a time: the output has one
/// position, and file systems let only one thread write to a file anyway.
pub(super) struct Sender<'o> {
    file: &'o File,
    _position: MutexGuard<'o, ()>,
}

impl Sender<'_> {
    /// Copies `range` of `source` to `at`; whether all of it was.
    pub(super) fn send(&self, source: &File, range: &Range<u64>, at: u64) -> bool {
        if seek(self.file, SeekFrom::Start(at)).is_err() {
            return false;
        }
        let mut from = range.start;
        while from < range.end {
            let len = usize::try_from(range.end - from).unwrap_or(usize::MAX);
            match sendfile(self.file, source, Some(&mut from), len) {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }
}

impl<'o> OutputFile<'o> {
    /// Waits for the right to let the system copy to the output.
    pub(super) fn sender(&self) -> Sender<'o> {
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Sender { file: self.file, _position: position }
    }

    /// Makes the file, so far empty, one hole of `len` bytes.
    pub(super) fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| BuildError::io("write the image", self.path, e))
    }

    /// Makes sure that there is room for `len` bytes at `offset`: stores to a mapping cannot fail.
    pub(super) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        match fallocate(self.file, FallocateFlags::empty(), offset, len) {
            // A file system that cannot reserve: running full ends the process, and leaves nothing.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(BuildError::io("write the image", self.path, e)),
        }
    }

    /// The whole file as shared memory.
    pub(super) fn map(&self) -> Result<MappedFile> {
        MappedFile::new(self.file, true).map_err(|e| BuildError::io("map the image", self.path, e))
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| BuildError::io("write the image", self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An output of one kind or the other, whatever the file system of the test can do.
    fn output(folder: &Path, named: bool) -> Output {
        let usual = Output::create(&folder.join("image")).unwrap();
        if named {
            Output { file: Unpublished::Temporary(temporary(folder).unwrap()), ..usual }
        } else {
            usual
        }
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn publishing_makes_or_replaces_the_file_and_leaves_no_other() {
        for named in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            for content in ["the first image", "the second"] {
                let output = output(folder.path(), named);
                output.file().write_at(0, content.as_bytes()).unwrap();
                output.publish().unwrap();
                assert_eq!(fs::read(folder.path().join("image")).unwrap(), content.as_bytes());
                assert_eq!(names(folder.path()), ["image"]);
            }
        }
    }

    #[test]
    fn what_is_not_published_is_gone() {
        for named in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let output = output(folder.path(), named);
            output.file().write_at(0, b"half").unwrap();
            drop(output);
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }
}
