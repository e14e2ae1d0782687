//! Paths: from the root, through symbolic links, to an inode.
//!
//! # Invariants
//!
//! Resolution is bounded: by the length of the path and of at most 40 link targets.

use super::Mount;
use crate::error::{Error, Result};
use crate::index::inode::Attributes;
use crate::platform::Platform;
use crate::storage::TryVec;
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, SYMLINK_MAX};

/// Most symbolic links on the way, as on Linux.
const MAX_LINKS: u32 = 40;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastLink {
    /// It is.
    Follow,
    /// The link itself is meant.
    Keep,
}

impl<P: Platform> Mount<P> {
    /// What `path` refers to. Paths start at the root, with or without a '/'; "." and ".." and
    /// symbolic links are understood.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::Loop`], [`Error::NameTooLong`],
    /// [`Error::NoMemory`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<Attributes> {
        let mut walk = Walk { dirs: TryVec::new(), at: self.getattr(Ino::ROOT)?, links: 0 };
        self.walk(&mut walk, path, last)?;
        if path.last() == Some(&b'/') && walk.at.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(walk.at)
    }

    /// The directory that holds the last component of `path`, and that component: where something
    /// is to be made, removed or moved.
    ///
    /// # Errors
    ///
    /// As [`Self::resolve`]; [`Error::InvalidName`] for a path that ends in ".", ".." or nothing.
    pub fn resolve_parent<'p>(&self, path: &'p [u8]) -> Result<(Ino, &'p [u8])> {
        let end = path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
        let path = path.get(..end).unwrap_or(&[]);
        let start = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let (dir, name) = path.split_at_checked(start).unwrap_or((&[], path));
        if matches!(name, b"" | b"." | b"..") {
            return Err(Error::InvalidName);
        }
        let dir = self.resolve(dir, LastLink::Follow)?;
        if dir.kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        Ok((dir.ino, name))
    }

    fn walk(&self, walk: &mut Walk, path: &[u8], last: LastLink) -> Result<()> {
        // What is still to be walked, back to front: a link's target goes on top.
        let mut pending = TryVec::new();
        pending.push(Piece { text: TryVec::from_slice(path)?, at: 0 })?;
        while let Some(piece) = pending.last_mut() {
            let Some((name, trailing)) = piece.next() else {
                pending.pop();
                continue;
            };
            if walk.at.kind != FileType::Directory {
                return Err(Error::NotDirectory);
            }
            if name == b"." {
                continue;
            }
            if name == b".." {
                if let Some(dir) = walk.dirs.pop() {
                    walk.at = self.getattr(dir)?;
                }
                continue;
            }
            let found = self.lookup(walk.at.ino, name)?;
            let is_last = !trailing && pending.iter().all(|piece| piece.is_done());
            if found.kind == FileType::Symlink && (!is_last || last == LastLink::Follow) {
                walk.links += 1;
                if walk.links > MAX_LINKS {
                    return Err(Error::Loop);
                }
                let target = self.link_target(&found)?;
                if target.first() == Some(&b'/') {
                    walk.dirs.clear();
                    walk.at = self.getattr(Ino::ROOT)?;
                }
                pending.push(Piece { text: target, at: 0 })?;
            } else {
                walk.dirs.push(walk.at.ino)?;
                walk.at = found;
            }
        }
        Ok(())
    }

    fn link_target(&self, link: &Attributes) -> Result<TryVec<u8>> {
        let len = usize::try_from(link.size).ok().filter(|&len| len <= SYMLINK_MAX);
        let mut target = TryVec::new();
        target.resize(len.ok_or(Error::NameTooLong)?, 0)?;
        let len = self.readlink(link.ino, &mut target)?;
        target.truncate(len);
        Ok(target)
    }
}

/// Where a walk is.
struct Walk {
    /// The directories on the way from the root to `at`, `at` itself excluded.
    dirs: TryVec<Ino>,
    at: Attributes,
    links: u32,
}

/// Part of a path that is still to be walked.
struct Piece {
    text: TryVec<u8>,
    at: usize,
}

impl Piece {
    /// The next component, and whether a '/' follows it.
    fn next(&mut self) -> Option<(&[u8], bool)> {
        let start = self.at + self.text.get(self.at..)?.iter().position(|&b| b != b'/')?;
        let rest = self.text.get(start..)?;
        let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        self.at = start + len;
        Some((rest.get(..len)?, len < rest.len()))
    }

    /// Whether no component is left.
    fn is_done(&self) -> bool {
        self.text.get(self.at..).is_none_or(|rest| rest.iter().all(|&b| b == b'/'))
    }
}
