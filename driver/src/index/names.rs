//! Changed names: what a branch and its ancestors say about directory entries, over the base.
//!
//! An entry here hides the base entry of the same name; one without an inode ("whiteout") hides it
//! and puts nothing in its place. Names the branch never touched are not here.
//!
//! # Invariants
//!
//! - One entry per (directory, name). A whiteout exists only where the base has the name.
//! - The entries of a directory are listed in the order they were made; their sequence numbers are
//!   never used again, so a reader of a directory can always go on behind one.

use crate::error::{Error, Result};
use crate::storage::{Slab, Table, TryVec};
use core::hash::BuildHasher;
use daxfs_format::mode::FileType;
use daxfs_format::Ino;
use foldhash::fast::SeedableRandomState;
use foldhash::SharedSeed;

/// What a changed name refers to now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Nothing: the base entry is hidden.
    Whiteout,
    /// This inode.
    Inode(Ino, FileType),
}

struct Entry {
    dir: Ino,
    sequence: u64,
    name_at: u32,
    name_len: u8,
    hides_base: bool,
    target: Target,
}

/// An entry of a directory, as it is listed.
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode it refers to.
    pub ino: Ino,
    /// What that is.
    pub kind: FileType,
    /// The cookie that goes on behind this entry.
    pub next: u64,
}

/// Cookies of changed entries start here, behind those of any base directory.
pub(super) const CHANGED_COOKIE: u64 = 1 << 62;

/// The changed entries of one directory.
#[derive(Default)]
pub struct Directory {
    /// Sequence number and place of each entry, whiteouts excluded, ascending.
    listed: TryVec<(u64, u32)>,
    next_sequence: u64,
    /// Base entries hidden by whiteouts and replacements.
    hidden: u64,
}

impl Directory {
    /// How many entries the directory has, `base` of them in the base image.
    #[must_use]
    pub fn count(&self, base: u64) -> u64 {
        base.saturating_sub(self.hidden).saturating_add(self.listed.len() as u64)
    }
}

/// All changed names of a mount.
pub struct Names {
    hasher: SeedableRandomState,
    entries: Slab<Entry>,
    table: Table,
    /// The bytes of all names, one after the other.
    text: TryVec<u8>,
    /// Bytes of `text` that belong to no entry any more.
    garbage: usize,
}

impl Names {
    /// No changed names; `seed` makes collisions unpredictable to whoever writes the media.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            entries: Slab::default(),
            table: Table::default(),
            text: TryVec::new(),
            garbage: 0,
        }
    }

    /// Makes sure that the next two changes do not fail, in the directories concerned.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve(&mut self) -> Result<()> {
        self.entries.reserve(2)?;
        self.table.reserve(2)?;
        self.text.reserve(2 * daxfs_format::NAME_MAX)
    }

    /// Makes sure that the next two entries of `directory` can be listed.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve_in(directory: &mut Directory) -> Result<()> {
        directory.listed.reserve(2)
    }

    /// What is said about `name` in `dir`; `None` if nothing is, and the base decides.
    #[must_use]
    pub fn find(&self, dir: Ino, name: &[u8]) -> Option<Target> {
        let id = self.table.find(self.hash(dir, name), |id| self.is(id, dir, name))?;
        self.entries.get(id).map(|entry| entry.target)
    }

    /// Makes `name` refer to an inode. `in_base` says whether the base has the name too.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn set(
        &mut self,
        directory: &mut Directory,
        (dir, name): (Ino, &[u8]),
        (ino, kind): (Ino, FileType),
        in_base: bool,
    ) -> Result<()> {
        let hides_base = self.drop_entry(directory, dir, name).unwrap_or(in_base);
        directory.hidden += u64::from(hides_base);
        let target = Target::Inode(ino, kind);
        let (id, sequence) = self.add(directory, (dir, name), target, hides_base)?;
        directory.listed.push((sequence, id))
    }

    /// Makes `name` refer to nothing. `in_base` says whether the base has the name.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn remove(
        &mut self,
        directory: &mut Directory,
        (dir, name): (Ino, &[u8]),
        in_base: bool,
    ) -> Result<()> {
        let hides_base = self.drop_entry(directory, dir, name).unwrap_or(in_base);
        if hides_base {
            directory.hidden += 1;
            self.add(directory, (dir, name), Target::Whiteout, true)?;
        }
        Ok(())
    }

    /// Puts in an entry of a snapshot, behind those put in before. `in_base` says whether the base
    /// has the name too.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if it does not fit, [`Error::NoMemory`].
    pub fn load(
        &mut self,
        directory: &mut Directory,
        (dir, name): (Ino, &[u8]),
        (target, sequence): (Target, u64),
        in_base: bool,
    ) -> Result<()> {
        let corrupt = |what| Error::Corrupt { what, at: dir.get() };
        if self.find(dir, name).is_some() {
            return Err(corrupt("name stands twice in a snapshot"));
        }
        directory.hidden += u64::from(in_base);
        if target == Target::Whiteout {
            if !in_base {
                return Err(corrupt("snapshot hides a name that the base does not have"));
            }
            return self.add(directory, (dir, name), target, true).map(|_| ());
        }
        if sequence < directory.next_sequence {
            return Err(corrupt("order of names in a snapshot"));
        }
        directory.next_sequence = sequence;
        let (id, sequence) = self.add(directory, (dir, name), target, in_base)?;
        directory.listed.push((sequence, id))
    }

    /// The changed entries of a directory in the order they are listed: name, what it refers to,
    /// place in the order.
    pub fn listed<'a>(
        &'a self,
        directory: &'a Directory,
    ) -> impl Iterator<Item = (&'a [u8], Target, u64)> {
        directory.listed.iter().filter_map(|&(sequence, id)| {
            self.entries.get(id).map(|entry| (self.text_of(entry), entry.target, sequence))
        })
    }

    /// All names that refer to nothing, with their directories.
    pub fn whiteouts(&self) -> impl Iterator<Item = (Ino, &[u8])> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.target == Target::Whiteout)
            .map(|(_, entry)| (entry.dir, self.text_of(entry)))
    }

    /// Calls `emit` for the directory's changed entries behind `cookie`, in order; stops when it
    /// says `false`.
    pub fn list(
        &self,
        directory: &Directory,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) {
        let from = cookie.saturating_sub(CHANGED_COOKIE);
        let start = directory.listed.partition_point(|&(sequence, _)| sequence < from);
        for &(sequence, id) in directory.listed.iter().skip(start) {
            let Some(entry) = self.entries.get(id) else { continue };
            let Target::Inode(ino, kind) = entry.target else { continue };
            let next = CHANGED_COOKIE.saturating_add(sequence).saturating_add(1);
            if !emit(&DirEntry { name: self.text_of(entry), ino, kind, next }) {
                return;
            }
        }
    }

    /// Changed names, whiteouts included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.entries.memory() + self.table.memory() + self.text.memory()
    }

    fn hash(&self, dir: Ino, name: &[u8]) -> u64 {
        self.hasher.hash_one((dir.get(), name))
    }

    fn is(&self, id: u32, dir: Ino, name: &[u8]) -> bool {
        self.entries.get(id).is_some_and(|e| e.dir == dir && self.text_of(e) == name)
    }

    fn text_of(&self, entry: &Entry) -> &[u8] {
        let start = entry.name_at as usize;
        self.text.get(start..start + usize::from(entry.name_len)).unwrap_or(&[])
    }

    fn add(
        &mut self,
        directory: &mut Directory,
        (dir, name): (Ino, &[u8]),
        target: Target,
        hides_base: bool,
    ) -> Result<(u32, u64)> {
        let name_at = u32::try_from(self.text.len()).map_err(|_| Error::NoMemory)?;
        let name_len = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
        self.text.extend_from_slice(name)?;
        let sequence = directory.next_sequence;
        directory.next_sequence = sequence.saturating_add(1);
        let entry = Entry { dir, sequence, name_at, name_len, hides_base, target };
        let id = self.entries.insert(entry)?;
        self.table.insert(self.hash(dir, name), id)?;
        Ok((id, sequence))
    }

    /// Removes what is said about a name; returns whether that hid a base entry.
    fn drop_entry(&mut self, directory: &mut Directory, dir: Ino, name: &[u8]) -> Option<bool> {
        let id = self.table.find(self.hash(dir, name), |id| self.is(id, dir, name))?;
        let entry = self.entries.get(id)?;
        let (hides_base, sequence) = (entry.hides_base, entry.sequence);
        if let Ok(at) = directory.listed.binary_search_by_key(&sequence, |&(s, _)| s) {
            directory.listed.remove(at);
        }
        directory.hidden -= u64::from(hides_base);
        self.take_out(id);
        Some(hides_base)
    }

    fn take_out(&mut self, id: u32) {
        let Some(entry) = self.entries.get(id) else { return };
        let hash = self.hash(entry.dir, self.text_of(entry));
        self.table.remove(hash, |other| other == id);
        if let Some(entry) = self.entries.remove(id) {
            self.garbage += usize::from(entry.name_len);
        }
        if self.garbage > 64 * 1024 && self.garbage > self.text.len() / 2 {
            self.collect();
        }
    }

    /// Drops the bytes of names that are gone. Without memory for it they stay, which harms nobody.
    fn collect(&mut self) {
        let mut text = TryVec::new();
        if text.reserve_exact(self.text.len().saturating_sub(self.garbage)).is_err() {
            return;
        }
        for entry in self.entries.values_mut() {
            let start = entry.name_at as usize;
            let name = self.text.get(start..start + usize::from(entry.name_len)).unwrap_or(&[]);
            entry.name_at = text.len() as u32;
            if text.extend_from_slice(name).is_err() {
                return;
            }
        }
        self.text = text;
        self.garbage = 0;
    }
}
