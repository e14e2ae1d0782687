//! Reading the source tree's contents, and noticing when they change.
//!
//! A [`SourceFile`] can only be got for the very file the scan saw, and [`SourceFile::finish`] says
//! whether it still is: what was read in between is one state of the file.

use super::output::Sender;
use super::tree::{NodeIndex, Stamp, Tree};
use crate::error::{BuildError, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SeekFrom, fstat, openat, seek};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes of content a thread handles at a time: large enough to make system calls cheap, small
/// enough to stay in the processor's cache between reading and writing.
pub(super) const WINDOW: usize = 256 << 10;

/// Longest path handed to the system at once, with room for a slash and the terminating NUL.
const PATH_LIMIT: usize = 4000;

/// Opens files of a tree; remembers the directory it was last in, because neighbours follow.
pub(super) struct Reader<'t> {
    tree: &'t Tree,
    directory: Option<(NodeIndex, OwnedFd)>,
}

impl<'t> Reader<'t> {
    /// A reader of `tree`.
    pub(super) const fn new(tree: &'t Tree) -> Self {
        Self { tree, directory: None }
    }

    /// The directory at `index`, as a place to start from.
    pub(super) fn directory(&mut self, index: NodeIndex) -> Result<BorrowedFd<'_>> {
        if index == NodeIndex::ROOT {
            return Ok(self.tree.root.as_fd());
        }
        if !matches!(&self.directory, Some((at, _)) if *at == index) {
            let fd = open_directory(self.tree, index)
                .map_err(|e| BuildError::io("open the directory", self.tree.path(index), e))?;
            self.directory = Some((index, fd));
        }
        match &self.directory {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Ok(self.tree.root.as_fd()),
        }
    }

    /// Opens the regular file at `index`, if it is still what the scan saw.
    pub(super) fn open(&mut self, index: NodeIndex) -> Result<SourceFile<'t>> {
        let tree = self.tree;
        let node = tree.node(index);
        let directory = self.directory(node.parent)?;
        // Should something else have the name by now, opening it must not wait or follow.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(directory, OsStr::from_bytes(&node.name), flags, Mode::empty())
            .map_err(|e| BuildError::io("open the file", tree.path(index), e))?;
        let file = SourceFile { tree, index, file: File::from(fd) };
        file.verify()?;
        Ok(file)
    }
}

/// Opens a directory by the names that lead to it, in as few steps as the system's limit on the
/// length of a path allows. Should a name on the way have become a symbolic link, the files found
/// behind it have other stamps.
fn open_directory(tree: &Tree, index: NodeIndex) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    let mut path = PathBuf::new();
    let step = |at: &Option<OwnedFd>, path: &PathBuf| {
        let from = at.as_ref().map_or(tree.root.as_fd(), |fd| fd.as_fd());
        openat(from, path, flags, Mode::empty())
    };
    for name in tree.components(index) {
        if path.as_os_str().len() + 1 + name.len() > PATH_LIMIT {
            at = Some(step(&at, &path)?);
            path.clear();
        }
        path.push(name);
    }
    step(&at, &path)
}

/// A regular file of the source tree, open.
pub(super) struct SourceFile<'t> {
    tree: &'t Tree,
    index: NodeIndex,
    file: File,
}

impl SourceFile<'_> {
    fn stamp(&self) -> &Stamp {
        &self.tree.node(self.index).stamp
    }

    fn io(&self, action: &'static str, reason: impl Into<io::Error>) -> BuildError {
        BuildError::io(action, self.tree.path(self.index), reason)
    }

    fn changed(&self, what: &'static str) -> BuildError {
        BuildError::Changed { path: self.tree.path(self.index), what }
    }

    fn verify(&self) -> Result<()> {
        let now = fstat(&self.file).map_err(|e| self.io("read the attributes", e))?;
        match self.stamp().difference(&Stamp::of(&now)) {
            Some(what) => Err(self.changed(what)),
            None => Ok(()),
        }
    }

    /// Ends reading: whether the file is still what the scan saw.
    pub(super) fn finish(self) -> Result<()> {
        self.verify()
    }

    /// Reads the bytes at `offset`, all of them.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(into, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.changed("it ended early"),
            _ => self.io("read the file", e),
        })
    }

    /// Lets the system copy `range` to `at` in the output; whether it did. What stands in the way
    /// comes to light when the range is read and written instead.
    pub(super) fn send(&self, range: &Range<u64>, to: &Sender<'_>, at: u64) -> bool {
        to.send(&self.file, range, at)
    }

    /// Makes sure that a file without size is without content. (Some file systems have files that
    /// do not say how much they hold; such a file cannot be stored.)
    pub(super) fn expect_empty(&self) -> Result<()> {
        match self.file.read_at(&mut [0], 0) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.changed("its size is 0, but it has content")),
            Err(e) => Err(self.io("read the file", e)),
        }
    }

    /// The windows of `range` that have data, ascending; holes are left out where they fill a
    /// window. Windows start at multiples of [`WINDOW`], as `range` must.
    pub(super) fn windows(&self, range: Range<u64>) -> impl Iterator<Item = Result<Range<u64>>> {
        let window = WINDOW as u64;
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let data = match self.data_from(next) {
                Ok(data) => data,
                Err(e) => {
                    next = range.end;
                    return Some(Err(e));
                }
            };
            let start = next.max(data / window * window);
            next = range.end.min(start.saturating_add(window));
            (start < range.end).then_some(Ok(start..next))
        })
    }

    /// Where the first data at or behind `at` is; the largest offset if there is none.
    fn data_from(&self, at: u64) -> Result<u64> {
        if !self.tree.node(self.index).sparse {
            return Ok(at);
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(data),
            Err(Errno::NXIO) => Ok(u64::MAX),
            // A file system without this kind of seek: everything counts as data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
            Err(e) => Err(self.io("look for holes in the file", e)),
        }
    }
}
