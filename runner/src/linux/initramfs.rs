//! The file system that Linux starts with: an archive in memory (cpio, "newc").

use super::libraries;
use crate::error::{Error, Result};
use cpio::newc::{Builder, trailer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const TYPE: u32 = 0o17_0000;
const DIRECTORY: u32 = 0o4_0000;
const REGULAR: u32 = 0o10_0000;
const SYMLINK: u32 = 0o12_0000;

/// What an entry holds.
#[derive(Clone, Debug)]
enum Content {
    /// Nothing: a folder, a pipe, a device.
    Nothing,
    /// These bytes: a file's, or a symbolic link's target.
    Bytes(Vec<u8>),
    /// A file's of this machine.
    File(PathBuf),
}

/// An entry of the archive.
#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    modified: u32,
    device: (u32, u32),
    content: Content,
}

impl Entry {
    const fn new(mode: u32, content: Content) -> Self {
        Self { mode, owner: (0, 0), modified: 0, device: (0, 0), content }
    }
}

/// The files of a system, by their paths in it, without the leading slash.
#[derive(Clone, Default, Debug)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
    /// Folders with libraries that programs need.
    libraries: BTreeSet<PathBuf>,
    /// Where else libraries of programs are.
    sources: Vec<PathBuf>,
}

impl Initramfs {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder, and those above it.
    pub fn folder(&mut self, path: &str, permissions: u32) {
        self.above(path);
        self.entries.insert(inside(path), Entry::new(DIRECTORY | permissions, Content::Nothing));
    }

    /// A file with this content.
    pub fn file(&mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) {
        self.above(path);
        let content = Content::Bytes(content.into());
        self.entries.insert(inside(path), Entry::new(REGULAR | permissions, content));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.above(path);
        let content = Content::Bytes(target.into());
        self.entries.insert(inside(path), Entry::new(SYMLINK | 0o777, content));
    }

    /// A file or a folder of this machine, with everything in it, as it is; a link's target in place of
    /// the link if it is named itself. Programs bring the libraries that they need.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::Library`].
    pub fn add(&mut self, source: &Path, path: &str) -> Result<()> {
        let about = fs::metadata(source).map_err(failed(source, "look at it"))?;
        self.above(path);
        self.add_entry(source, &about, inside(path))
    }

    /// What is in a folder, as [`Self::add`], in the root; but for what is there for people. Libraries that
    /// programs need are looked for in `libraries` as well.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn add_package(&mut self, root: &Path, libraries: &[PathBuf]) -> Result<()> {
        const PROSE: [&str; 4] =
            ["usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/"];
        let mut package = Self { sources: libraries.to_vec(), ..Self::default() };
        package.add(root, "/")?;
        let inside = inside(root.to_str().unwrap_or_default());
        for (path, entry) in package.entries {
            // Libraries that were found in the package are in it by their own names, too.
            let prose = PROSE.iter().any(|folder| path.starts_with(folder));
            if !prose && !path.starts_with(&inside) {
                self.entries.entry(path).or_insert(entry);
            }
        }
        self.libraries.extend(package.libraries.into_iter().map(|folder| {
            folder.strip_prefix(root).map_or(folder.clone(), |folder| Path::new("/").join(folder))
        }));
        Ok(())
    }

    /// Folders with libraries that were brought: programs may not find them by themselves.
    #[must_use]
    pub const fn library_folders(&self) -> &BTreeSet<PathBuf> {
        &self.libraries
    }

    /// Writes the archive.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that cannot be read, or changes while it is; what the system says
    /// when the archive cannot be written is told about `target`.
    pub fn write(&self, mut to: impl Write, target: &Path) -> Result<()> {
        let write = "write the initial file system to it";
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let (mut file, length) = match &entry.content {
                Content::File(source) => {
                    let file = File::open(source).map_err(failed(source, "open it"))?;
                    let about = file.metadata().map_err(failed(source, "look at it"))?;
                    (Some((file, source)), about.len())
                }
                Content::Bytes(bytes) => (None, bytes.len() as u64),
                Content::Nothing => (None, 0),
            };
            let length = u32::try_from(length).map_err(|_| {
                let reason = io::Error::from(io::ErrorKind::FileTooLarge);
                failed(Path::new(path), "put 4 GiB or more into the initial file system")(reason)
            })?;
            let mut writer = header(path, number, entry).write(&mut to, length);
            if let Some((file, source)) = &mut file {
                let copied = io::copy(file, &mut writer).map_err(failed(source, "copy it"))?;
                if copied != u64::from(length) {
                    let reason = io::Error::other("it changes meanwhile");
                    return Err(failed(source, "copy it")(reason));
                }
            } else if let Content::Bytes(bytes) = &entry.content {
                writer.write_all(bytes).map_err(failed(target, write))?;
            }
            writer.finish().map_err(failed(target, write))?;
        }
        trailer(&mut to).and_then(|to| to.flush()).map_err(failed(target, write))
    }

    fn add_entry(&mut self, source: &Path, about: &Metadata, path: String) -> Result<()> {
        let kind = about.file_type();
        let content = if kind.is_file() {
            self.add_libraries(source, about)?;
            Content::File(source.to_owned())
        } else if kind.is_symlink() {
            let target = fs::read_link(source).map_err(failed(source, "read it"))?;
            Content::Bytes(target.into_os_string().into_encoded_bytes())
        } else if kind.is_socket() {
            // Nobody listens there any more.
            return Ok(());
        } else {
            Content::Nothing
        };
        if kind.is_dir() {
            for child in fs::read_dir(source).map_err(failed(source, "read it"))? {
                let child = child.map_err(failed(source, "read it"))?;
                let name = child.file_name().into_string().map_err(|_| {
                    let reason = io::Error::other("the initial file system takes UTF-8 only");
                    failed(&child.path(), "use its name")(reason)
                })?;
                let about = child.metadata().map_err(failed(&child.path(), "look at it"))?;
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                self.add_entry(&child.path(), &about, path)?;
            }
        }
        let device = (rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev()));
        let entry = Entry {
            mode: about.mode(),
            owner: (about.uid(), about.gid()),
            modified: u32::try_from(about.mtime()).unwrap_or(0),
            device,
            content,
        };
        if !path.is_empty() {
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    fn add_libraries(&mut self, source: &Path, about: &Metadata) -> Result<()> {
        if about.mode() & 0o111 == 0 {
            return Ok(());
        }
        for library in libraries::needed(source, &self.sources)? {
            let Some(path) = library.path.to_str() else { continue };
            if let Some(folder) = library.path.parent() {
                self.libraries.insert(folder.to_owned());
            }
            if !self.entries.contains_key(&inside(path)) {
                self.above(path);
                let entry = Entry::new(REGULAR | 0o755, Content::File(library.file));
                self.entries.insert(inside(path), entry);
            }
        }
        Ok(())
    }

    /// The folders above a path.
    fn above(&mut self, path: &str) {
        let path = inside(path);
        for (at, _) in path.match_indices('/') {
            let folder = Entry::new(DIRECTORY | 0o755, Content::Nothing);
            self.entries.entry(path[..at].to_owned()).or_insert(folder);
        }
    }
}

/// A path as it is in the archive.
fn inside(path: &str) -> String {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").collect::<Vec<_>>().join("/")
}

fn header(path: &str, number: u32, entry: &Entry) -> Builder {
    let links = if entry.mode & TYPE == DIRECTORY { 2 } else { 1 };
    Builder::new(path)
        .ino(number + 1)
        .mode(entry.mode)
        .uid(entry.owner.0)
        .gid(entry.owner.1)
        .nlink(links)
        .mtime(entry.modified)
        .rdev_major(entry.device.0)
        .rdev_minor(entry.device.1)
}

/// For `map_err`: what was tried with a file.
fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |reason| Error::File { path, action, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;

    fn read(archive: &Initramfs) -> Vec<(String, u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes, Path::new("archive")).unwrap();
        let mut rest = &bytes[..];
        let mut entries = Vec::new();
        loop {
            let reader = Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            entries.push((name, mode, content));
        }
    }

    #[test]
    fn folders_stand_before_what_is_in_them() {
        let mut archive = Initramfs::new();
        archive.file("/a/b/file", 0o644, "text");
        archive.link("/a/link", "b/file");
        archive.folder("/a", 0o700);
        let entries = read(&archive);
        let names: Vec<_> = entries.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(names, ["a", "a/b", "a/b/file", "a/link"]);
        assert_eq!((entries[0].1, entries[3].1), (0o4_0700, 0o12_0777));
        assert_eq!((&*entries[2].2, &*entries[3].2), (&b"text"[..], &b"b/file"[..]));
    }

    #[test]
    fn a_tree_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        fs::write(folder.path().join("dir/file"), [0; 5001]).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        let mut archive = Initramfs::new();
        archive.add(folder.path(), "/somewhere/else/").unwrap();
        let entries = read(&archive);
        let names: Vec<_> = entries.iter().map(|(name, ..)| &**name).collect();
        let expected = ["else", "else/dir", "else/dir/file", "else/link"];
        assert_eq!(names[1..], expected.map(|name| format!("somewhere/{name}")));
        assert_eq!(entries[3].2, [0; 5001]);
        assert_eq!(entries[4].2, b"nowhere");
    }

    #[test]
    fn a_program_brings_its_libraries() {
        let program = std::env::current_exe().unwrap();
        let mut archive = Initramfs::new();
        archive.add(&program, "/bin/program").unwrap();
        let names: Vec<_> = read(&archive).into_iter().map(|(name, ..)| name).collect();
        let has = |part: &str| names.iter().any(|name| name.contains(part));
        assert!(has("bin/program"), "{names:?}");
        assert!(cfg!(target_feature = "crt-static") || has("/libc.so"), "{names:?}");
        assert!(cfg!(target_feature = "crt-static") || has("/ld-linux"), "{names:?}");
    }
}
