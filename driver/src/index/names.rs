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

use super::inode::Inode;
use super::text::{Text, TextRef};
use crate::base;
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
    name: TextRef,
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

/// Which directory of [`Names`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryId(u32);

/// The changed entries of one directory.
#[derive(Default)]
pub struct Directory {
    /// What lies under them: the base's entries, for a base inode.
    pub base: Option<base::Inode>,
    /// Sequence number and place of each entry, whiteouts excluded, ascending.
    listed: TryVec<(u64, u32)>,
    /// Places of `listed` whose entries are gone.
    gone: usize,
    next_sequence: u64,
    /// Base entries hidden by whiteouts and replacements.
    hidden: u64,
}

/// The place of an entry that is gone.
const GONE: u32 = u32::MAX;

impl Directory {
    /// How many entries the directory has.
    #[must_use]
    pub fn count(&self) -> u64 {
        let base = self.base.map_or(0, |base| base.entries());
        let changed = self.listed.len().saturating_sub(self.gone);
        base.saturating_sub(self.hidden).saturating_add(changed as u64)
    }

    /// Whether any entry of the base is hidden.
    #[must_use]
    pub const fn hides(&self) -> bool {
        self.hidden > 0
    }

    /// Takes an entry off the list. The places of those that are gone go when they are the most, so
    /// that this costs little, however long the list is.
    fn delist(&mut self, sequence: u64) {
        let Ok(at) = self.listed.binary_search_by_key(&sequence, |&(s, _)| s) else { return };
        if let Some((_, id)) = self.listed.get_mut(at) {
            *id = GONE;
            self.gone += 1;
        }
        if self.gone > 16 && self.gone > self.listed.len() / 2 {
            self.listed.retain(|&(_, id)| id != GONE);
            self.gone = 0;
        }
    }
}

/// All changed names of a mount.
pub struct Names {
    hasher: SeedableRandomState,
    directories: Slab<Directory>,
    entries: Slab<Entry>,
    table: Table,
    text: Text,
}

/// Where a name stands: which directory, its inode, the name.
pub type Place<'n> = (DirectoryId, Ino, &'n [u8]);

impl Names {
    /// No changed names; `seed` makes collisions unpredictable to whoever writes the media.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            directories: Slab::default(),
            entries: Slab::default(),
            table: Table::default(),
            text: Text::default(),
        }
    }

    /// A new directory over `base`, if it lies over one.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn open(&mut self, base: Option<base::Inode>) -> Result<DirectoryId> {
        self.directories.insert(Directory { base, ..Default::default() }).map(DirectoryId)
    }

    /// Forgets an empty directory.
    pub fn close(&mut self, directory: DirectoryId) {
        self.directories.remove(directory.0);
    }

    /// The names of a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`] if the inode is none.
    pub fn directory(&self, inode: &Inode) -> Result<&Directory> {
        self.directories.get(inode.directory()?.0).ok_or(Error::Stale)
    }

    /// Number of entries of a directory; 0 for other inodes.
    #[must_use]
    pub fn entry_count(&self, inode: &Inode) -> u64 {
        self.directory(inode).map_or(0, Directory::count)
    }

    /// Makes sure that the next two changes in a directory do not fail, and that there is room for
    /// another directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`], [`Error::NoMemory`].
    pub fn reserve(&mut self, inode: &Inode) -> Result<()> {
        self.directories.reserve(1)?;
        self.entries.reserve(2)?;
        self.table.reserve(2)?;
        self.text.reserve(2)?;
        self.directory_mut(inode.directory()?)?.listed.reserve(2)
    }

    /// What is said about `name` in `dir`; `None` if nothing is, and the base decides.
    #[must_use]
    pub fn find(&self, dir: Ino, name: &[u8]) -> Option<Target> {
        let id = self.id_of(self.hash(dir, name), dir, name)?;
        self.entries.get(id).map(|entry| entry.target)
    }

    /// Makes a name that refers to nothing refer to an inode.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn set(
        &mut self,
        (directory, dir, name): Place<'_>,
        (ino, kind): (Ino, FileType),
    ) -> Result<()> {
        let hash = self.hash(dir, name);
        let target = Target::Inode(ino, kind);
        let sequence = self.directory_mut(directory)?.next_sequence;
        let id = match self.id_of(hash, dir, name) {
            // What refers to nothing is a whiteout, or not here. Then the base does not have it.
            Some(id) => {
                let entry = self.entries.get_mut(id).ok_or(Error::Stale)?;
                (entry.target, entry.sequence) = (target, sequence);
                id
            }
            None => self.add(hash, (dir, name), (target, sequence), false)?,
        };
        self.list_last(directory, id)
    }

    /// Makes a name that refers to something refer to nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn remove(&mut self, (directory, dir, name): Place<'_>) -> Result<()> {
        let hash = self.hash(dir, name);
        let Some(id) = self.id_of(hash, dir, name) else {
            // It is the base that has it.
            self.add(hash, (dir, name), (Target::Whiteout, 0), true)?;
            self.directory_mut(directory)?.hidden += 1;
            return Ok(());
        };
        let entry = self.entries.get_mut(id).ok_or(Error::Stale)?;
        if entry.target == Target::Whiteout {
            return Err(Error::NotFound);
        }
        entry.target = Target::Whiteout;
        let (sequence, stays) = (entry.sequence, entry.hides_base);
        self.directory_mut(directory)?.delist(sequence);
        if !stays {
            self.take_out(hash, id);
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
        (directory, dir, name): Place<'_>,
        (target, sequence): (Target, u64),
        in_base: bool,
    ) -> Result<()> {
        let corrupt = |what| Error::Corrupt { what, at: dir.get() };
        let hash = self.hash(dir, name);
        if self.id_of(hash, dir, name).is_some() {
            return Err(corrupt("name stands twice in a snapshot"));
        }
        let in_directory = self.directory_mut(directory)?;
        in_directory.hidden += u64::from(in_base);
        if target == Target::Whiteout {
            if !in_base {
                return Err(corrupt("snapshot hides a name that the base does not have"));
            }
            return self.add(hash, (dir, name), (target, 0), true).map(|_| ());
        }
        if sequence < in_directory.next_sequence {
            return Err(corrupt("order of names in a snapshot"));
        }
        in_directory.next_sequence = sequence;
        let id = self.add(hash, (dir, name), (target, sequence), in_base)?;
        self.list_last(directory, id)
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
        self.entries.memory()
            + self.table.memory()
            + self.text.memory()
            + self.directories.memory()
            + self.directories.iter().map(|(_, dir)| dir.listed.memory()).sum::<usize>()
    }

    fn hash(&self, dir: Ino, name: &[u8]) -> u64 {
        self.hasher.hash_one((dir.get(), name))
    }

    fn id_of(&self, hash: u64, dir: Ino, name: &[u8]) -> Option<u32> {
        self.table.find(hash, |id| {
            self.entries.get(id).is_some_and(|e| e.dir == dir && self.text_of(e) == name)
        })
    }

    fn text_of(&self, entry: &Entry) -> &[u8] {
        self.text.get(entry.name)
    }

    fn directory_mut(&mut self, directory: DirectoryId) -> Result<&mut Directory> {
        self.directories.get_mut(directory.0).ok_or(Error::Stale)
    }

    fn add(
        &mut self,
        hash: u64,
        (dir, name): (Ino, &[u8]),
        (target, sequence): (Target, u64),
        hides_base: bool,
    ) -> Result<u32> {
        self.table.reserve(1)?;
        let name = self.text.add(name)?;
        let id = self.entries.insert(Entry { dir, sequence, name, hides_base, target })?;
        self.table.insert(hash, id)?;
        Ok(id)
    }

    /// Lists an entry behind all others.
    fn list_last(&mut self, directory: DirectoryId, id: u32) -> Result<()> {
        let directory = self.directory_mut(directory)?;
        let sequence = directory.next_sequence;
        directory.listed.push((sequence, id))?;
        directory.next_sequence = sequence.saturating_add(1);
        Ok(())
    }

    fn take_out(&mut self, hash: u64, id: u32) {
        self.table.remove(hash, |other| other == id);
        if let Some(entry) = self.entries.remove(id) {
            self.text.forget(entry.name);
        }
        if self.text.is_mostly_garbage() {
            self.collect();
        }
    }

    /// Drops the bytes of names that are gone. Without memory for it they stay, which harms nobody.
    fn collect(&mut self) {
        let mut text = Text::default();
        if text.reserve_for(&self.text).is_err() {
            return;
        }
        for entry in self.entries.values_mut() {
            match text.add(self.text.get(entry.name)) {
                Ok(name) => entry.name = name,
                Err(_) => return,
            }
        }
        self.text = text;
    }
}
