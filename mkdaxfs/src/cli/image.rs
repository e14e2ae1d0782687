//! Images as files and devices.

use crate::control::ControlError;
use crate::range::{DaxDevice, RangeError, open_device};
use daxfs::std_platform::MappedFile;
use daxfs::{Persistence, Region};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Why a tool failed. The message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The file cannot be used at all.
    #[error("{path:?}: cannot {action}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The engine refused.
    #[error("{subject}: {reason}")]
    Engine {
        /// What it was about.
        subject: String,
        /// Why.
        reason: daxfs::Error,
    },
    /// Memory cannot be used.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A mount refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    /// For [`Result::map_err`]: the engine's error about `subject`.
    pub fn about(subject: impl Into<String>) -> impl FnOnce(daxfs::Error) -> Self {
        let subject = subject.into();
        move |reason| Self::Engine { subject, reason }
    }
}

/// An image in a file, or on a DAX device.
#[derive(Debug)]
pub struct ImageFile {
    path: PathBuf,
    file: File,
    /// Where it is one.
    device: Option<DaxDevice>,
    writable: bool,
}

impl ImageFile {
    /// Opens an image to look at it.
    ///
    /// # Errors
    ///
    /// [`ToolError::File`].
    pub fn open(path: &Path) -> Result<Self, ToolError> {
        let file = File::open(path);
        Self::opened(path, file, false)
    }

    /// Opens an image to change it, and keeps other tools from doing the same meanwhile.
    ///
    /// # Errors
    ///
    /// [`ToolError::File`].
    pub fn open_writable(path: &Path) -> Result<Self, ToolError> {
        let file = File::options().read(true).write(true).open(path);
        let image = Self::opened(path, file, true)?;
        rustix::fs::flock(&image.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| image.error("lock it (is another tool changing it?)", e))?;
        Ok(image)
    }

    fn opened(path: &Path, file: io::Result<File>, writable: bool) -> Result<Self, ToolError> {
        let file = file.map_err(|reason| ToolError::File {
            path: path.to_path_buf(),
            action: "open it",
            reason,
        })?;
        let is_device = file.metadata().is_ok_and(|file| file.file_type().is_char_device());
        let device = is_device.then(|| open_device(path)).transpose()?;
        Ok(Self { path: path.to_path_buf(), file, device, writable })
    }

    /// The image as shared memory.
    ///
    /// # Errors
    ///
    /// [`ToolError::File`].
    pub fn region(&self) -> Result<Region<MappedFile>, ToolError> {
        match &self.device {
            Some(device) => Ok(Region::new(device.map(self.writable)?).on(Persistence::Persistent)),
            None => MappedFile::new(&self.file, self.writable)
                .map(Region::new)
                .map_err(|e| self.error("map it", e)),
        }
    }

    /// What the caller called it.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Brings changes to media.
    ///
    /// # Errors
    ///
    /// [`ToolError::File`].
    pub fn sync(&self) -> Result<(), ToolError> {
        match self.device {
            // The engine has written everything back.
            Some(_) => Ok(()),
            None => self.file.sync_all().map_err(|e| self.error("sync it", e)),
        }
    }

    fn error(&self, action: &'static str, reason: impl Into<io::Error>) -> ToolError {
        ToolError::File { path: self.path.clone(), action, reason: reason.into() }
    }
}
