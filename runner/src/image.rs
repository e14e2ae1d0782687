//! Images to run a machine with.

use crate::error::{Error, Result};
use crate::multikernel::root;
use daxfs_format::extension::{EXTENSION_OFFSET, ExtensionHeader};
use mkdaxfs::{BuildOptions, DeltaSize};
use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Bytes of the range, where nobody says otherwise.
pub const DEFAULT_SIZE: u64 = 256 << 20;

/// An image in a file, perhaps only for this run.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    /// Holds the file, if it is ours.
    _folder: Option<TempDir>,
}

impl Image {
    /// An image that exists.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_path_buf(), _folder: None }
    }

    /// A writable image of `size` bytes of the tree at `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Build`], [`Error::TooLarge`] if the tree leaves no room for changes.
    pub fn of_tree(root: &Path, size: u64) -> Result<Self> {
        Self::build(root, size, BuildOptions::default())
    }

    fn build(root: &Path, size: u64, options: BuildOptions) -> Result<Self> {
        let folder = temporary_folder()?;
        let path = folder.path().join("image");
        let options = BuildOptions { writable: Some(DeltaSize::FillTo(size)), ..options };
        let report = mkdaxfs::build(root, &path, &options, &())?;
        if report.image_bytes > size {
            return Err(Error::TooLarge { image: report.image_bytes, range: size });
        }
        Ok(Self { path, _folder: Some(folder) })
    }

    /// A writable image of `size` bytes of a small root file system, to show things with.
    ///
    /// # Errors
    ///
    /// As [`Self::of_tree`].
    pub fn demo(size: u64) -> Result<Self> {
        let folder = temporary_folder()?;
        let root = folder.path().join("root");
        demo_tree(&root).map_err(|reason| Error::File {
            path: root.clone(),
            action: "fill it",
            reason,
        })?;
        Self::of_tree(&root, size)
    }

    /// A writable image of `size` bytes of a root file system for Linux.
    ///
    /// # Errors
    ///
    /// As [`Self::of_tree`], and those of [`root::make`].
    pub fn multikernel(busybox: &Path, size: u64) -> Result<Self> {
        let folder = temporary_folder()?;
        let root = folder.path().join("root");
        root::make(&root, busybox)?;
        Self::of_tree(&root, size)
    }

    /// A writable image of `size` bytes of the tree that measurements want. Large files are aligned, as
    /// for all who want them mapped with huge pages.
    ///
    /// # Errors
    ///
    /// As [`Self::of_tree`].
    pub fn of_bench(size: u64) -> Result<Self> {
        let folder = temporary_folder()?;
        let root = folder.path().join("root");
        let failed = |reason| Error::File { path: root.clone(), action: "fill it", reason };
        fs::create_dir(&root).and_then(|()| daxfs_bench::tree::make(&root)).map_err(failed)?;
        Self::build(&root, size, BuildOptions { large_alignment: true, ..BuildOptions::default() })
    }

    /// Has kernels taken for dead only when nothing was heard of them for `lease`: on a machine that has
    /// others to serve, a processor may stand still for a while. For images that were made here.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn with_lease(self, lease: Duration) -> Result<Self> {
        let failed = |reason| Error::File { path: self.path.clone(), action: "change it", reason };
        let milliseconds = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX);
        let at = EXTENSION_OFFSET + offset_of!(ExtensionHeader, lease_ms) as u64;
        let file = fs::File::options().write(true).open(&self.path).map_err(failed)?;
        file.write_all_at(&milliseconds.to_le_bytes(), at).map_err(failed)?;
        Ok(self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("daxfs-")
        .tempdir()
        .map_err(|reason| Error::System { action: "make a temporary folder", reason })
}

/// A small root file system.
fn demo_tree(root: &Path) -> std::io::Result<()> {
    let files: [(&str, &str, u32); 6] = [
        ("etc/hostname", "daxfs-demo\n", 0o644),
        ("etc/motd", "This file is read straight from the shared memory.\n", 0o644),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
        ("bin/hello", "#!/bin/sh\necho hello\n", 0o755),
        ("root/notes.txt", "Nothing here yet.\n", 0o600),
        ("usr/share/doc/daxfs/README", include_str!("../../README.md"), 0o644),
    ];
    for (path, content, mode) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::create_dir(root.join("tmp"))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    symlink("../etc/hostname", root.join("root/hostname"))
}
