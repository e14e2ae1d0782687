//! The tree that the base image has, and all other file systems have a copy of.

use std::path::Path;
use std::{fs, io};

/// A file of [`MEDIUM_BYTES`].
pub const MEDIUM: &str = "medium";

/// Bytes of the file that is read and changed everywhere.
pub const MEDIUM_BYTES: usize = 16 << 20;

/// A file of [`LARGE_BYTES`].
pub const LARGE: &str = "large";

/// Bytes of the file of which only a byte is changed.
pub const LARGE_BYTES: usize = 64 << 20;

/// A file of [`SMALL_BYTES`].
pub const SMALL: &str = "small";

/// Bytes of a file that no huge page fits in.
pub const SMALL_BYTES: usize = 1 << 20;

/// A folder with [`MANY`] small files.
pub const FOLDER: &str = "many";

/// Names in that folder.
pub const MANY: usize = 1000;

/// The names there, and what names elsewhere are called that are as many.
pub fn names() -> impl Iterator<Item = String> {
    (0..MANY).map(|number| format!("file-{number:04}"))
}

/// Makes the tree in a folder.
///
/// # Errors
///
/// What the system says.
pub fn make(folder: &Path) -> io::Result<()> {
    let mut random = fastrand::Rng::with_seed(0xba5e);
    for (name, bytes) in [(MEDIUM, MEDIUM_BYTES), (LARGE, LARGE_BYTES), (SMALL, SMALL_BYTES)] {
        // Nothing that a file system could take for holes, or for equal.
        let mut content = vec![0; bytes];
        random.fill(&mut content);
        fs::write(folder.join(name), content)?;
    }
    let many = folder.join(FOLDER);
    fs::create_dir(&many)?;
    names().try_for_each(|name| fs::write(many.join(name), "text\n"))
}
