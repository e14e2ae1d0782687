//! Commands about names: making, removing and moving them, and what belongs to what they name.

use super::super::failure::{Context, Failure};
use super::super::{Shell, arguments, directory_name};
use super::contents::at_least_one;
use super::{Arguments, Outcome};
use crate::System;
use daxfs::storage::TryVec;
use daxfs::{Error, FileType, Ino, LastLink, NewInode, Platform, RenameMode, SetAttributes};

/// Makes directories.
pub fn mkdir<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (options, words) = arguments::split(words, b"p")?;
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        if options.has(b'p') {
            shell.make_ancestors(&path).at(word)?;
        } else {
            shell.make(&path, FileType::Directory, 0o755).at(word)?;
        }
    }
    Ok(())
}

/// Makes named pipes.
pub fn mkfifo<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        shell.make(&path, FileType::Fifo, 0o644).at(word)?;
    }
    Ok(())
}

/// Removes empty directories.
pub fn rmdir<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    at_least_one(words)?;
    for &word in words {
        let path = shell.path(word).at(word)?;
        let (dir, name) = shell.mount.resolve_parent(&path).at(word)?;
        shell.mount.rmdir(dir, name).at(word)?;
    }
    Ok(())
}

/// Removes files and, if asked to, directories with everything in them.
pub fn rm<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (options, words) = arguments::split(words, b"rf")?;
    at_least_one(words)?;
    for &word in words {
        match shell.remove(word, options.has(b'r')) {
            Err(Failure::At(_, Error::NotFound)) if options.has(b'f') => {}
            other => other?,
        }
    }
    Ok(())
}

/// Renames, or moves to a directory.
pub fn mv<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (options, words) = arguments::split(words, b"n")?;
    let mode = if options.has(b'n') { RenameMode::NoReplace } else { RenameMode::Replace };
    let Some((&to, from)) = words.split_last() else { return Err(Failure::Usage) };
    at_least_one(from)?;
    let target = shell.path(to).at(to)?;
    let directory = match shell.mount.resolve(&target, LastLink::Follow) {
        Ok(found) if found.kind == FileType::Directory => Some(found.ino),
        Ok(_) | Err(Error::NotFound) => None,
        Err(error) => return Err(Failure::At(to, error)),
    };
    if directory.is_none() && from.len() > 1 {
        return Err(Failure::At(to, Error::NotDirectory));
    }
    for &word in from {
        let path = shell.path(word).at(word)?;
        let (old_dir, old_name) = shell.mount.resolve_parent(&path).at(word)?;
        let (new_dir, new_name) = match directory {
            Some(directory) => (directory, old_name),
            None => shell.mount.resolve_parent(&target).at(to)?,
        };
        shell.mount.rename(old_dir, old_name, new_dir, new_name, mode).at(word)?;
    }
    Ok(())
}

/// Makes a symbolic link; there are no other ones.
pub fn ln<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let (options, words) = arguments::split(words, b"s")?;
    let &[target, word] = words else { return Err(Failure::Usage) };
    if !options.has(b's') {
        return Err(Failure::At(word, Error::NotPermitted));
    }
    let path = shell.path(word).at(word)?;
    let (dir, name) = shell.mount.resolve_parent(&path).at(word)?;
    shell.mount.symlink(dir, name, target, 0, 0).at(word)?;
    Ok(())
}

/// Sets permissions.
pub fn chmod<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let Some((&mode, words)) = words.split_first() else { return Err(Failure::Usage) };
    let changes = SetAttributes { mode: Some(arguments::mode(mode)?), ..SetAttributes::default() };
    shell.change(words, LastLink::Follow, &changes)
}

/// Sets owners and groups.
pub fn chown<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let Some((&owner, words)) = words.split_first() else { return Err(Failure::Usage) };
    let (uid, gid) = arguments::owner(owner)?;
    let changes = SetAttributes { uid, gid, ..SetAttributes::default() };
    shell.change(words, LastLink::Follow, &changes)
}

/// Changes the working directory.
pub fn cd<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    let word: &[u8] = match *words {
        [] => b"/",
        [word] => word,
        _ => return Err(Failure::Usage),
    };
    let path = shell.path(word).at(word)?;
    let directory = clean(&path).at(word)?;
    let found = shell.mount.resolve(&directory, LastLink::Follow).at(word)?;
    if found.kind != FileType::Directory {
        return Err(Failure::At(word, Error::NotDirectory));
    }
    shell.directory = directory;
    Ok(())
}

/// Prints the working directory.
pub fn pwd<'w, P: Platform + 'static, S: System>(
    shell: &mut Shell<'_, P, S>,
    words: Arguments<'_, 'w>,
) -> Outcome<'w> {
    if !words.is_empty() {
        return Err(Failure::Usage);
    }
    let directory = TryVec::from_slice(directory_name(&shell.directory))?;
    shell.print_bytes(&directory);
    shell.print_bytes(b"\n");
    Ok(())
}

/// An absolute path without ".", ".." and doubled '/', the root being empty. ".." takes back the
/// last name, be it a link's or not, as in POSIX's `cd -L`.
fn clean(path: &[u8]) -> daxfs::Result<TryVec<u8>> {
    let mut clean: TryVec<u8> = TryVec::new();
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => clean.truncate(clean.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            _ => {
                clean.push(b'/')?;
                clean.extend_from_slice(name)?;
            }
        }
    }
    Ok(clean)
}

impl<P: Platform + 'static, S: System> Shell<'_, P, S> {
    /// Makes something at a path.
    fn make(&self, path: &[u8], kind: FileType, permissions: u32) -> daxfs::Result<Ino> {
        let (dir, name) = self.mount.resolve_parent(path)?;
        let mode = kind.mode_bits() | permissions;
        let new = NewInode { mode, uid: 0, gid: 0, rdev: 0 };
        self.mount.create(dir, name, &new).map(|made| made.ino)
    }

    /// Makes every directory on a path that does not exist.
    fn make_ancestors(&self, path: &[u8]) -> daxfs::Result<()> {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.skip(1).chain([path.len()]) {
            let part = path.get(..end).unwrap_or(path);
            match self.mount.resolve(part, LastLink::Follow) {
                Ok(found) if found.kind == FileType::Directory => {}
                Ok(_) => return Err(Error::NotDirectory),
                Err(Error::NotFound) => {
                    self.make(part, FileType::Directory, 0o755)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes what is at a path.
    pub(super) fn remove<'w>(&mut self, word: &'w [u8], recursive: bool) -> Outcome<'w> {
        let path = self.path(word).at(word)?;
        let (dir, name) = self.mount.resolve_parent(&path).at(word)?;
        let found = self.mount.lookup(dir, name).at(word)?;
        if found.kind != FileType::Directory {
            return self.mount.unlink(dir, name).at(word);
        }
        if !recursive {
            return Err(Failure::At(word, Error::IsDirectory));
        }
        // Down to a directory without directories, which is then empty enough to be removed.
        let mut way: TryVec<(Ino, TryVec<u8>)> = TryVec::new();
        way.push((dir, TryVec::from_slice(name).at(word)?)).at(word)?;
        let mut at = found.ino;
        loop {
            if self.interrupted() {
                return Err(Failure::Interrupted);
            }
            match self.empty(at).at(word)? {
                Some((below, name)) => {
                    way.push((at, name)).at(word)?;
                    at = below;
                }
                None => {
                    let Some((above, name)) = way.pop() else { return Ok(()) };
                    self.mount.rmdir(above, &name).at(word)?;
                    if way.is_empty() {
                        return Ok(());
                    }
                    at = above;
                }
            }
        }
    }

    /// Removes what is in a directory, up to the first directory in it, which is returned.
    fn empty(&self, dir: Ino) -> daxfs::Result<Option<(Ino, TryVec<u8>)>> {
        loop {
            let mut first = None;
            self.mount.readdir(dir, 0, &mut |entry| {
                first = Some(TryVec::from_slice(entry.name).map(|n| (entry.ino, entry.kind, n)));
                false
            })?;
            match first.transpose()? {
                None => return Ok(None),
                Some((ino, FileType::Directory, name)) => return Ok(Some((ino, name))),
                Some((_, _, name)) => self.mount.unlink(dir, &name)?,
            }
        }
    }

    /// Changes attributes of all that is named.
    fn change<'w>(
        &self,
        words: Arguments<'_, 'w>,
        last: LastLink,
        changes: &SetAttributes,
    ) -> Outcome<'w> {
        at_least_one(words)?;
        for &word in words {
            let path = self.path(word).at(word)?;
            let found = self.mount.resolve(&path, last).at(word)?;
            self.mount.setattr(found.ino, changes).at(word)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_name() {
        for (path, expected) in [
            ("/", ""),
            ("//a///b/", "/a/b"),
            ("/a/./b/..", "/a"),
            ("/a/../..", ""),
            ("/../../b", "/b"),
        ] {
            assert_eq!(&*clean(path.as_bytes()).unwrap(), expected.as_bytes(), "{path}");
        }
    }
}
