//! Short forms of what is done to files.

use rustix::fs::{OFlags, RawDir, SeekFrom, seek};
use std::fmt::Debug;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

pub use rustix::io::Errno;

/// That something is refused, with this number.
///
/// # Panics
///
/// If it is not.
#[track_caller]
pub fn refused<T: Debug, E: Into<io::Error>>(result: Result<T, E>, expected: Errno) {
    let found = result.map_err(|error| {
        let error = error.into();
        Errno::from_io_error(&error).ok_or(error)
    });
    match found {
        Err(Ok(errno)) if errno == expected => {}
        other => panic!("{expected:?} was expected, not {other:?}"),
    }
}

/// Opens a file to read and write it; it is there.
///
/// # Panics
///
/// If that is refused, as everywhere here.
#[track_caller]
pub fn edit(path: impl AsRef<Path>) -> File {
    let path = path.as_ref();
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Makes a file, to read and write it; it is not there.
#[track_caller]
pub fn make(path: impl AsRef<Path>) -> File {
    let path = path.as_ref();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Opens a file with these flags besides reading and writing.
///
/// # Errors
///
/// What the file system refuses.
pub fn open(path: impl AsRef<Path>, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)
}

/// What a file has in it.
#[track_caller]
pub fn content(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// That a file has this in it. Says only where it differs: files can be large.
#[track_caller]
pub fn has(path: impl AsRef<Path>, expected: &[u8]) {
    same(&content(path), expected);
}

/// That bytes are the same.
#[track_caller]
pub fn same(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let at = at.unwrap_or(found.len().min(expected.len()));
    let some = |bytes: &[u8]| {
        let from = at.saturating_sub(8).min(bytes.len());
        bytes[from..bytes.len().min(at + 8)].to_vec()
    };
    panic!(
        "{} bytes instead of {}, different from byte {at} on: ..{:02x?}.. instead of ..{:02x?}..",
        found.len(),
        expected.len(),
        some(found),
        some(expected),
    );
}

/// What is known of a file, or of a link itself.
#[track_caller]
pub fn about(path: impl AsRef<Path>) -> Metadata {
    let path = path.as_ref();
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Permissions, with the set-ID bits and the sticky one.
#[track_caller]
pub fn mode(path: impl AsRef<Path>) -> u32 {
    about(path).mode() & 0o7777
}

/// Whether there is something of this name.
pub fn exists(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The names in a directory, sorted.
#[track_caller]
pub fn names(path: impl AsRef<Path>) -> Vec<String> {
    let path = path.as_ref();
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// An entry, as the kernel gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The inode's number.
    pub ino: u64,
    /// The type.
    pub kind: rustix::fs::FileType,
    /// Where the next one is.
    pub next: u64,
}

/// Reads entries from where the directory stands, in one system call with a buffer of `room` bytes.
#[track_caller]
pub fn entries(directory: &File, room: usize) -> Vec<Entry> {
    let mut buffer = vec![MaybeUninit::uninit(); room];
    let mut reader = RawDir::new(directory, &mut buffer);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry.expect("an entry");
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
        if reader.is_buffer_empty() {
            break;
        }
    }
    entries
}

/// Puts the position of a file or directory somewhere.
#[track_caller]
pub fn go(file: &File, position: u64) {
    assert_eq!(seek(file, SeekFrom::Start(position)).expect("a position"), position);
}
