//! An image, opened to look at.

use crate::args::Subject;
use daxfs::std_platform::StdPlatform;
use daxfs::{
    Access, Attributes, FileType, Ino, LastLink, Mount, MountOptions, Volume, format::SYMLINK_MAX,
};
use mkdaxfs::cli::{ImageFile, Printable, ToolError};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The volume, without a branch.
pub(crate) fn volume(subject: &Subject) -> Result<Volume<StdPlatform>, ToolError> {
    let image = ImageFile::open(&subject.file)?;
    Volume::open(StdPlatform, image.region()?).map_err(ToolError::about(image.name()))
}

/// A branch of the image, mounted read-only.
pub(crate) struct View {
    mount: Mount<StdPlatform>,
}

/// A name in a directory, and what it refers to.
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) ino: Ino,
}

impl View {
    /// Mounts the branch that the arguments name.
    pub(crate) fn open(subject: &Subject) -> Result<Self, ToolError> {
        let image = ImageFile::open(&subject.file)?;
        let options = MountOptions {
            branch: subject.branch,
            access: Access::ReadOnly,
            ..MountOptions::default()
        };
        let mount = Mount::new(StdPlatform, image.region()?, &options)
            .map_err(ToolError::about(image.name()))?;
        Ok(Self { mount })
    }

    /// The mount itself.
    pub(crate) const fn mount(&self) -> &Mount<StdPlatform> {
        &self.mount
    }

    /// What is at `path`.
    pub(crate) fn resolve(&self, path: &OsStr, last: LastLink) -> Result<Attributes, ToolError> {
        self.mount.resolve(path.as_bytes(), last).map_err(about(path))
    }

    /// The attributes of an inode.
    pub(crate) fn attributes(&self, ino: Ino) -> Result<Attributes, ToolError> {
        self.mount.getattr(ino).map_err(about_inode(ino))
    }

    /// The entries of a directory, sorted by their names' bytes.
    pub(crate) fn entries(&self, directory: Ino) -> Result<Vec<Entry>, ToolError> {
        let mut entries = Vec::new();
        let emit = &mut |entry: &daxfs::DirEntry<'_>| {
            entries.push(Entry { name: entry.name.to_vec(), ino: entry.ino });
            true
        };
        self.mount.readdir(directory, 0, emit).map_err(about_inode(directory))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The target of a symbolic link; `None` for anything else.
    pub(crate) fn link_target(&self, attributes: &Attributes) -> Result<Option<String>, ToolError> {
        if attributes.kind != FileType::Symlink {
            return Ok(None);
        }
        let mut target = vec![0; SYMLINK_MAX];
        let len = self
            .mount
            .readlink(attributes.ino, &mut target)
            .map_err(about_inode(attributes.ino))?;
        target.truncate(len);
        Ok(Some(Printable(&target).to_string()))
    }
}

/// For [`Result::map_err`]: an error about a path.
pub(crate) fn about(path: &OsStr) -> impl FnOnce(daxfs::Error) -> ToolError {
    ToolError::about(Printable(path.as_bytes()).to_string())
}

fn about_inode(ino: Ino) -> impl FnOnce(daxfs::Error) -> ToolError {
    move |reason| ToolError::Engine { subject: format!("inode {}", ino.get()), reason }
}
