//! Commands that list what there is.

use super::super::failure::{Context, Failure};
use super::super::{Shell, arguments, format};
use super::contents::at_least_one;
use super::{Arguments, Outcome};
use crate::System;
use core::cmp::Ordering;
use daxfs::format::SYMLINK_MAX;
use daxfs::storage::TryVec;
use daxfs::{Attributes, Error, FileType, Ino, LastLink, Platform};

/// Deepest directory that is listed recursively; directories of a sound image are no deeper than
/// there are inodes, but an image may be anything.
const DEPTH_MAX: usize = 512;

/// An entry of a directory, copied out of it.
struct Entry {
    name: TryVec<u8>,
    ino: Ino,
    kind: FileType,
}

impl Entry {
    /// The order of names.
    fn by_name(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

/// A directory that is being walked through.
struct Level {
    entries: TryVec<Entry>,
    next: usize,
    /// Bytes of the path that name this directory.
    path_len: usize,
}

/// How `ls` lists.
#[derive(Clone, Copy)]
struct Style {
    long: bool,
    all: bool,
}

/// Lists directories, or the files named.
pub fn ls<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (options, words) = arguments::split(words, b"alR")?;
    let style = Style { long: options.has(b'l'), all: options.has(b'a') };
    let recursive = options.has(b'R');
    let here: [&[u8]; 1] = [b"."];
    let words = if words.is_empty() { &here } else { words };
    let mut first = true;
    for &word in words {
        let path = shell.path(word).at(word)?;
        // As in ls(1), a link that is named is shown itself by -l, and followed otherwise.
        let keep = style.long && word.last() != Some(&b'/');
        let last = if keep { LastLink::Keep } else { LastLink::Follow };
        let found = shell.mount.resolve(&path, last).at(word)?;
        if found.kind != FileType::Directory {
            shell.line(&found, word, style.long).at(word)?;
            first = false;
            continue;
        }
        if words.len() > 1 || recursive {
            shell.heading(word, first);
        }
        first = false;
        shell.list(&found, style).at(word)?;
        if recursive {
            shell.walk(word, &mut |shell, visit| {
                if visit.attributes.kind == FileType::Directory {
                    shell.heading(visit.path, false);
                    shell.list(&visit.attributes, style)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Shows attributes.
pub fn stat<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        let a = shell.mount.resolve(&path, LastLink::Keep).at(word)?;
        shell.print_bytes(b"  File: ");
        shell.print_bytes(word);
        if a.kind == FileType::Symlink {
            let target = shell.target(&a).at(word)?;
            shell.print_bytes(b" -> ");
            shell.print_bytes(&target);
        }
        let kind = kind_name(a.kind);
        shell.print(format_args!("\n  Size: {}\tBlocks: {}\t{kind}\n", a.size, a.blocks));
        shell.print(format_args!(" Inode: {}\tLinks: {}", a.ino, a.nlink));
        if a.kind.is_device() {
            let (major, minor) = format::device(a.rdev);
            shell.print(format_args!("\tDevice: {major},{minor}"));
        }
        let (mode, letters) = (a.mode & 0o7777, format::Mode(a.mode));
        shell.print(format_args!(
            "\nAccess: ({mode:04o}/{letters})\tUid: {}\tGid: {}\n",
            a.uid, a.gid
        ));
        for (name, time) in [("Access", a.atime), ("Modify", a.mtime), ("Change", a.ctime)] {
            shell.print(format_args!("{name}: {}.{:09}\n", format::Time(time), time.nsec));
        }
    }
    Ok(())
}

/// Prints targets of symbolic links.
pub fn readlink<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        let link = shell.mount.resolve(&path, LastLink::Keep).at(word)?;
        let target = shell.target(&link).at(word)?;
        shell.print_bytes(&target);
        shell.print_bytes(b"\n");
    }
    Ok(())
}

/// Lists everything below a directory as a tree.
pub fn tree<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let word = at_most_one(words)?;
    shell.print_bytes(word);
    shell.print_bytes(b"\n");
    let (mut directories, mut files) = (0_u64, 0_u64);
    shell.walk(word, &mut |shell, visit| {
        match visit.attributes.kind {
            FileType::Directory => directories += 1,
            _ => files += 1,
        }
        for &last in visit.last_above {
            shell.print_bytes(if last { b"    " } else { "\u{2502}   ".as_bytes() });
        }
        let branch =
            if visit.last { "\u{2514}\u{2500}\u{2500} " } else { "\u{251c}\u{2500}\u{2500} " };
        shell.print_bytes(branch.as_bytes());
        shell.print_bytes(visit.name);
        if visit.attributes.kind == FileType::Symlink {
            let target = shell.target(&visit.attributes)?;
            shell.print_bytes(b" -> ");
            shell.print_bytes(&target);
        }
        shell.print_bytes(b"\n");
        Ok(())
    })?;
    shell.print(format_args!("\n{directories} directories, {files} files\n"));
    Ok(())
}

/// Lists paths of everything below a directory, itself included.
pub fn find<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let word = at_most_one(words)?;
    shell.print_bytes(word);
    shell.print_bytes(b"\n");
    shell.walk(word, &mut |shell, visit| {
        shell.print_bytes(visit.path);
        shell.print_bytes(b"\n");
        Ok(())
    })
}

/// Sums up the space that everything below a path uses, in KiB.
pub fn du<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let here: [&[u8]; 1] = [b"."];
    let words = if words.is_empty() { &here } else { words };
    for &word in words {
        let path = shell.path(word).at(word)?;
        let top = shell.mount.resolve(&path, LastLink::Keep).at(word)?;
        let mut blocks = top.blocks;
        if top.kind == FileType::Directory {
            shell.walk(word, &mut |_, visit| {
                blocks = blocks.saturating_add(visit.attributes.blocks);
                Ok(())
            })?;
        }
        shell.print(format_args!("{}\t", blocks.div_ceil(2)));
        shell.print_bytes(word);
        shell.print_bytes(b"\n");
    }
    Ok(())
}

fn at_most_one<'w>(words: Arguments<'_, 'w>) -> Result<&'w [u8], Failure<'w>> {
    match *words {
        [] => Ok(b"."),
        [word] => Ok(word),
        _ => Err(Failure::Usage),
    }
}

const fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "fifo",
        FileType::CharDevice => "character device",
        FileType::Directory => "directory",
        FileType::BlockDevice => "block device",
        FileType::Regular => "regular file",
        FileType::Symlink => "symbolic link",
        FileType::Socket => "socket",
    }
}

/// What a walk has come to.
pub(super) struct Visit<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its path, from what the walk started with.
    pub path: &'a [u8],
    /// What it is.
    pub attributes: Attributes,
    /// Whether it is the last in its directory.
    pub last: bool,
    /// The same of each directory above it.
    pub last_above: &'a [bool],
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// Prints which directory is listed next.
    fn heading(&mut self, path: &[u8], first: bool) {
        if !first {
            self.print_bytes(b"\n");
        }
        self.print_bytes(path);
        self.print_bytes(b":\n");
    }

    /// Prints what is in a directory.
    fn list(&mut self, dir: &Attributes, style: Style) -> daxfs::Result<()> {
        if style.all {
            self.line(dir, b".", style.long)?;
            let parent = self.mount.getattr(self.mount.parent_of(dir.ino)?)?;
            self.line(&parent, b"..", style.long)?;
        }
        for entry in self.entries(dir.ino)?.iter() {
            if !style.all && entry.name.first() == Some(&b'.') {
                continue;
            }
            match self.mount.getattr(entry.ino) {
                Ok(attributes) => self.line(&attributes, &entry.name, style.long)?,
                // Somebody else removed it since.
                Err(Error::Stale | Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Prints a line of `ls`.
    fn line(&mut self, attributes: &Attributes, name: &[u8], long: bool) -> daxfs::Result<()> {
        if long {
            let a = attributes;
            let (mode, nlink) = (format::Mode(a.mode), a.nlink);
            self.print(format_args!("{mode} {nlink:>3} {:>5} {:>5} ", a.uid, a.gid));
            if a.kind.is_device() {
                let (major, minor) = format::device(a.rdev);
                self.print(format_args!("{major:>4}, {minor:>4} "));
            } else {
                self.print(format_args!("{:>10} ", a.size));
            }
            self.print(format_args!("{} ", format::Time(a.mtime)));
        }
        self.print_bytes(name);
        if long && attributes.kind == FileType::Symlink {
            let target = self.target(attributes)?;
            self.print_bytes(b" -> ");
            self.print_bytes(&target);
        }
        self.print_bytes(b"\n");
        Ok(())
    }

    /// The target of a symbolic link.
    fn target(&self, link: &Attributes) -> daxfs::Result<TryVec<u8>> {
        let mut target = TryVec::new();
        target.resize(SYMLINK_MAX, 0)?;
        let len = self.mount.readlink(link.ino, &mut target)?;
        target.truncate(len);
        Ok(target)
    }

    /// The entries of a directory, sorted by name.
    fn entries(&self, dir: Ino) -> daxfs::Result<TryVec<Entry>> {
        let mut entries = TryVec::new();
        let mut result = Ok(());
        self.mount.readdir(dir, 0, &mut |entry| {
            result = TryVec::from_slice(entry.name)
                .and_then(|name| entries.push(Entry { name, ino: entry.ino, kind: entry.kind }));
            result.is_ok()
        })?;
        result?;
        entries.sort_unstable_by(Entry::by_name);
        Ok(entries)
    }

    /// Calls `visit` for everything below a directory, in order of names, parents first. Symbolic
    /// links are not followed.
    pub(super) fn walk<'w>(
        &mut self,
        word: &'w [u8],
        visit: &mut dyn FnMut(&mut Self, &Visit<'_>) -> daxfs::Result<()>,
    ) -> Outcome<'w> {
        let path = self.path(word).at(word)?;
        let top = self.mount.resolve(&path, LastLink::Follow).at(word)?;
        let mut path = TryVec::from_slice(word).at(word)?;
        let mut last_above = TryVec::new();
        let mut levels = TryVec::new();
        let entries = self.entries(top.ino).at(word)?;
        levels.push(Level { entries, next: 0, path_len: path.len() }).at(word)?;
        while let Some(level) = levels.last_mut() {
            if self.interrupted() {
                return Err(Failure::Interrupted);
            }
            path.truncate(level.path_len);
            let Some(entry) = level.entries.get(level.next) else {
                levels.pop();
                last_above.pop();
                continue;
            };
            level.next += 1;
            let last = level.next == level.entries.len();
            if path.last() != Some(&b'/') {
                path.push(b'/').at(word)?;
            }
            path.extend_from_slice(&entry.name).at(word)?;
            let attributes = match self.mount.getattr(entry.ino) {
                Ok(attributes) => attributes,
                // Somebody else removed it since.
                Err(Error::Stale | Error::NotFound) => continue,
                Err(error) => return Err(Failure::At(word, error)),
            };
            let (ino, kind) = (entry.ino, entry.kind);
            visit(
                self,
                &Visit {
                    name: &entry.name,
                    path: &path,
                    attributes,
                    last,
                    last_above: &last_above,
                },
            )
            .at(word)?;
            if kind == FileType::Directory {
                if levels.len() >= DEPTH_MAX {
                    return Err(Failure::Argument(word, "directories too deep"));
                }
                let entries = self.entries(ino).at(word)?;
                levels.push(Level { entries, next: 0, path_len: path.len() }).at(word)?;
                last_above.push(last).at(word)?;
            }
        }
        Ok(())
    }
}
