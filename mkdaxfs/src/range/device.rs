//! DAX devices.

use super::RangeError;
use daxfs::std_platform::MappedFile;
use rustix::fs::{FileType, fstat, major, minor};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A DAX device.
#[derive(Debug)]
pub(crate) struct DaxDevice {
    path: PathBuf,
    file: File,
    /// Its bytes, as far as they can be mapped.
    pub(crate) size: u64,
}

/// Opens a DAX device.
pub(crate) fn open(path: &Path) -> Result<DaxDevice, RangeError> {
    let error =
        |action, reason| RangeError::Io { path: path.to_path_buf(), action, reason, hint: None };
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|reason| error("open it", reason))?;
    let attributes = attributes(path, &file, "dax")?;
    let number = |name| -> Result<u64, RangeError> {
        let text = fs::read_to_string(attributes.join(name))
            .map_err(|reason| error("find out its size", reason))?;
        // The kernel writes sizes both ways.
        let number = daxfs::parse_size(text.trim().as_bytes());
        number.ok_or_else(|| error("find out its size", io::ErrorKind::InvalidData.into()))
    };
    // A mapping is made of whole units of this.
    let unit = number("align")?.max(super::PAGE);
    let size = number("size")? / unit * unit;
    Ok(DaxDevice { path: path.to_path_buf(), file, size })
}

impl DaxDevice {
    /// Maps all of it.
    pub(crate) fn map(&self, writable: bool) -> Result<MappedFile, RangeError> {
        MappedFile::part(&self.file, 0, self.size, writable).map_err(|reason| RangeError::Io {
            path: self.path.clone(),
            action: "map it",
            reason,
            hint: None,
        })
    }
}

/// Where the kernel tells about the character device that `file` is, which belongs to `subsystem`.
pub(super) fn attributes(
    path: &Path,
    file: &File,
    subsystem: &'static str,
) -> Result<PathBuf, RangeError> {
    let wrong = || {
        let expected = match subsystem {
            "dax" => "DAX device (/dev/dax0.0)",
            _ => "DMA heap (/dev/dma_heap/system)",
        };
        RangeError::WrongKind { path: path.to_path_buf(), expected }
    };
    let stat = fstat(file).map_err(|reason| RangeError::Io {
        path: path.to_path_buf(),
        action: "read its attributes",
        reason: reason.into(),
        hint: None,
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(wrong());
    }
    let number = format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev));
    let folder = Path::new("/sys/dev/char").join(number);
    match fs::read_link(folder.join("subsystem")) {
        Ok(link) if link.file_name().is_some_and(|name| name == subsystem) => Ok(folder),
        _ => Err(wrong()),
    }
}
