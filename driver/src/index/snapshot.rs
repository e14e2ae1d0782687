//! Snapshots: the whole index as log entries, and back.
//!
//! A log that has become much longer than what it still says is replaced by a snapshot of the index
//! it builds. Unlike other entries, those of a snapshot do not change a state, they are the state:
//! each inode, each name, each run of pages once. So that a hostile one cannot make what operations
//! never could, the whole is checked when it is complete.
//!
//! # Invariants after a load
//!
//! - Every changed inode that exists and was put somewhere by a branch has exactly one name, in the
//!   directory it says it is in.
//! - A base inode lost its place in the base exactly if it was deleted or put somewhere else.
//! - Every changed directory leads to the root.

use super::content::check_mapped;
use super::inode::{BaseContent, Content, Inode};
use super::lookup::base_entry;
use super::names::{Directory, Target};
use super::pages::{PageMap, PageRef, Replaced};
use super::{base_inode, Index, View};
use crate::error::{Error, Result};
use crate::log::entry::{self, Entry, Name, NewInode, Operation, MAX_INO};
use crate::region::Backing;
use crate::space::Space;
use crate::storage::{Bitmap, TryVec};
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// A snapshot that is being loaded.
#[derive(Default)]
pub(super) struct Loading {
    inodes: u64,
    names: u64,
    /// Inodes that have a name, by their number in the index; made with the first name, when all
    /// inodes are there.
    named: Option<Bitmap>,
    /// Base inodes whose name in the base is hidden.
    hidden: Option<Bitmap>,
}

impl Index {
    /// Starts loading a snapshot into an index that is empty.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if it is not.
    pub fn start_snapshot(&mut self) -> Result<()> {
        if !self.inodes.is_empty() || self.loading.is_some() {
            return Err(Error::Corrupt { what: "snapshot inside a log", at: 0 });
        }
        self.loading = Some(Loading::default());
        Ok(())
    }

    /// Whether a snapshot has begun and is not complete.
    #[must_use]
    pub const fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Takes in one entry of a snapshot. `target` is a symbolic link's.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn load<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        entry: &Entry<'_>,
        target: TryVec<u8>,
    ) -> Result<()> {
        let mut loading =
            self.loading.take().ok_or(corrupt("snapshot entry in a log", entry.ino))?;
        match &entry.operation {
            Operation::Inode(inode) => {
                if loading.named.is_some() {
                    return Err(corrupt("order of a snapshot", entry.ino));
                }
                loading.inodes += 1;
                self.load_inode(view, entry.ino, inode, target)?;
            }
            Operation::Name { parent, name, sequence, whiteout } => {
                loading.names += 1;
                let target = if *whiteout { None } else { Some(entry.ino) };
                self.load_name(view, &mut loading, (*parent, *name), target, *sequence)?;
            }
            Operation::Extent { page, pages, at } => {
                self.load_extent(view, space, entry.ino, (*page, *pages), *at)?;
            }
            Operation::SnapshotEnd { next_ino, inodes, names } => {
                if (*inodes, *names) != (loading.inodes, loading.names) {
                    return Err(corrupt("number of entries of a snapshot", entry.ino));
                }
                self.raise_next_ino(*next_ino);
                return self.check_snapshot(view, loading);
            }
            _ => return Err(corrupt("snapshot that is not complete", entry.ino)),
        }
        self.loading = Some(loading);
        Ok(())
    }

    fn load_inode<B: Backing>(
        &mut self,
        view: View<'_, B>,
        ino: Ino,
        saved: &entry::Inode,
        target: TryVec<u8>,
    ) -> Result<()> {
        let kind = FileType::from_mode(saved.new.mode).ok_or(corrupt("type of an inode", ino))?;
        if ino.get() == 0 || ino.get() >= MAX_INO || self.changed(ino).is_some() {
            return Err(corrupt("inode number in a snapshot", ino));
        }
        let mut inode = if view.base.contains(ino) {
            let base = base_inode(view, ino)?;
            if base.kind != kind || (ino == Ino::ROOT && saved.parent.is_some()) {
                return Err(corrupt("base inode in a snapshot", ino));
            }
            let content = self.base_content(&base)?;
            let mut inode = Inode::from_base(&base, content);
            if let Content::File { base: Some(base), .. } = &mut inode.content {
                base.valid = base.valid.min(saved.base_valid).min(saved.size);
            }
            inode
        } else {
            let parent = saved.parent.filter(|_| saved.nlink > 0);
            let parent = parent.ok_or(corrupt("new inode without a place", ino))?;
            if (kind == FileType::Symlink) == target.is_empty() {
                return Err(corrupt("target of a symbolic link", ino));
            }
            let content = self.new_content(kind, target)?;
            Inode::new((ino, kind), &saved.new, parent, saved.ctime, content)
        };
        inode.permissions = saved.new.mode & daxfs_format::mode::PERMISSIONS;
        (inode.uid, inode.gid) = (saved.new.uid, saved.new.gid);
        (inode.atime, inode.mtime, inode.ctime) = (saved.atime, saved.mtime, saved.ctime);
        inode.parent = saved.parent;
        inode.nlink = match kind {
            FileType::Directory => saved.nlink,
            _ => saved.nlink.min(1),
        };
        if kind == FileType::Regular {
            inode.size = saved.size;
        }
        if ino == Ino::ROOT && inode.nlink == 0 {
            return Err(corrupt("deleted root", ino));
        }
        self.insert(inode)?;
        self.raise_next_ino(Ino::new(ino.get() + 1));
        Ok(())
    }

    fn load_name<B: Backing>(
        &mut self,
        view: View<'_, B>,
        loading: &mut Loading,
        (dir, name): (Ino, Name<'_>),
        target: Option<Ino>,
        sequence: u64,
    ) -> Result<()> {
        let places = self.inodes.capacity_used();
        if loading.named.is_none() {
            loading.named = Some(Bitmap::new(places)?);
            loading.hidden = Some(Bitmap::new(places)?);
        }
        let (Some(named), Some(hidden)) = (&mut loading.named, &mut loading.hidden) else {
            return Err(Error::NoMemory);
        };
        let target = match target {
            None => Target::Whiteout,
            Some(ino) => {
                let id = self.id_of(ino).ok_or(corrupt("name of an unknown inode", ino))?;
                let inode = self.inodes.get(id).ok_or(Error::Stale)?;
                let fits = inode.nlink > 0 && inode.parent == Some(dir);
                if !fits || !named.set(u64::from(id)) {
                    return Err(corrupt("name of an inode that is elsewhere", ino));
                }
                Target::Inode(ino, inode.kind)
            }
        };
        let id = self.id_of(dir).ok_or(corrupt("name in an unknown directory", dir))?;
        let inode = self.inodes.get(id).ok_or(Error::Stale)?;
        let Ok(directory) = inode.directory() else {
            return Err(corrupt("name in what is no directory", dir));
        };
        if inode.nlink == 0 && target != Target::Whiteout {
            return Err(corrupt("name in a deleted directory", dir));
        }
        let in_base = match self.names.directory(inode)?.base {
            Some(base) => base_entry(view, &base, name.as_bytes())?,
            None => None,
        };
        if let Some((ino, _)) = in_base {
            let id = self.id_of(ino).ok_or(corrupt("hidden inode that was not changed", ino))?;
            let gone = self.inodes.get(id).is_some_and(|i| i.nlink == 0 || i.parent.is_some());
            if !gone || !hidden.set(u64::from(id)) {
                return Err(corrupt("hidden inode that is where it was", ino));
            }
        }
        let place = (directory, dir, name.as_bytes());
        self.names.load(place, (target, sequence), in_base.is_some())
    }

    fn load_extent<B: Backing>(
        &mut self,
        view: View<'_, B>,
        mut space: Option<&mut Space>,
        ino: Ino,
        (page, pages): (u64, u64),
        at: RegionOffset,
    ) -> Result<()> {
        let id = self.id_of(ino).ok_or(corrupt("pages of an unknown inode", ino))?;
        let inode = self.inodes.get_mut(id).ok_or(Error::Stale)?;
        let end = page.saturating_add(pages);
        let fits = inode.nlink > 0 && end <= inode.size.div_ceil(BLOCK_SIZE);
        let Content::File { pages: map, .. } = &mut inode.content else {
            return Err(corrupt("pages of what is no file", ino));
        };
        if !fits {
            return Err(corrupt("pages behind the end of a file", ino));
        }
        let (mut page, mut at, mut replaced) = (page, at, Replaced::default());
        while page < end {
            self.pages.set_run(map, page, end - page, at, &mut replaced)?;
            if replaced.iter().any(|old| old.is_some()) {
                return Err(corrupt("page stands twice in a snapshot", ino));
            }
            check_mapped(view, self.pages.mapped())?;
            let count = replaced.iter().len() as u64;
            if let Some(space) = space.as_deref_mut() {
                space.reference_run(at, count);
            }
            page += count;
            at = at.checked_add(count * BLOCK_SIZE).ok_or(corrupt("page", ino))?;
        }
        Ok(())
    }

    /// Checks the whole.
    fn check_snapshot<B: Backing>(&mut self, view: View<'_, B>, loading: Loading) -> Result<()> {
        let is = |map: &Option<Bitmap>, id| map.as_ref().is_some_and(|map| map.get(u64::from(id)));
        let mut moved_in_base = false;
        for (id, inode) in self.inodes.iter() {
            let exists = inode.nlink > 0;
            if exists && inode.parent.is_some() && !is(&loading.named, id) {
                return Err(corrupt("inode without a name", inode.ino));
            }
            if view.base.contains(inode.ino) {
                let gone = !exists || inode.parent.is_some();
                if gone && !is(&loading.hidden, id) {
                    return Err(corrupt("base inode with two places", inode.ino));
                }
                moved_in_base |= gone && exists && inode.kind == FileType::Directory;
            }
        }
        self.check_circles(view, moved_in_base)
    }

    /// Every changed directory leads to the root. Base directories do, unless one was moved.
    fn check_circles<B: Backing>(&mut self, view: View<'_, B>, through_base: bool) -> Result<()> {
        let mut starts = TryVec::new();
        for (_, inode) in self.inodes.iter() {
            if inode.kind == FileType::Directory && inode.nlink > 0 {
                starts.push(inode.ino)?;
            }
        }
        // Which way first passed a directory, from 1. Ways end where an earlier one passed, so
        // together they are no longer than there are directories.
        let mut changed = TryVec::new();
        changed.resize(self.inodes.capacity_used() as usize, 0_u32)?;
        let mut base = TryVec::new();
        if through_base {
            base.resize(view.base.inode_count() as usize + 1, 0_u32)?;
        }
        for (way, &start) in (1_u32..).zip(starts.iter()) {
            let mut at = start;
            while at != Ino::ROOT {
                let passed = match self.id_of(at) {
                    Some(id) => {
                        let moved = self.inodes.get(id).is_some_and(|i| i.parent.is_some());
                        if !moved && !through_base {
                            break;
                        }
                        changed.get_mut(id as usize)
                    }
                    None => base.get_mut(at.get() as usize),
                };
                let Some(passed) = passed else { break };
                if *passed == way {
                    return Err(corrupt("directories form a circle", at));
                }
                if *passed != 0 {
                    break;
                }
                *passed = way;
                at = self.parent_of(view, at)?;
            }
        }
        Ok(())
    }

    /// Calls `emit` for the entries of a snapshot of this index, with the targets of symbolic
    /// links.
    ///
    /// # Errors
    ///
    /// What `emit` returns; [`Error::InvalidArgument`] if there is content in private memory, which
    /// a snapshot cannot refer to.
    pub fn save<B: Backing>(
        &self,
        view: View<'_, B>,
        emit: &mut dyn FnMut(&Entry<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let entry = |ino, operation| Entry { ino, time: Default::default(), operation };
        let (mut inodes, mut names) = (0, 0);
        for (_, inode) in self.inodes.iter() {
            if inode.orphan && !view.base.contains(inode.ino) {
                // Only this mount knows it.
                continue;
            }
            inodes += 1;
            let (saved, target) = saved(inode);
            emit(&entry(inode.ino, Operation::Inode(saved)), target)?;
        }
        for (_, inode) in self.inodes.iter() {
            if let Ok(directory) = self.names.directory(inode) {
                self.save_names(inode.ino, directory, &mut names, emit)?;
            }
        }
        for (parent, name) in self.names.whiteouts() {
            names += 1;
            let name = Name::new(name)?;
            let operation = Operation::Name { parent, name, sequence: 0, whiteout: true };
            emit(&entry(Ino::new(0), operation), &[])?;
        }
        for (_, inode) in self.inodes.iter() {
            if inode.nlink == 0 {
                continue;
            }
            if let Content::File { pages, .. } = &inode.content {
                self.save_pages(inode.ino, pages, emit)?;
            }
        }
        let next_ino = self.next_ino();
        emit(&entry(Ino::ROOT, Operation::SnapshotEnd { next_ino, inodes, names }), &[])
    }

    fn save_names(
        &self,
        dir: Ino,
        directory: &Directory,
        count: &mut u64,
        emit: &mut dyn FnMut(&Entry<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for (name, target, sequence) in self.names.listed(directory) {
            let Target::Inode(ino, _) = target else { continue };
            *count += 1;
            let name = Name::new(name)?;
            let operation = Operation::Name { parent: dir, name, sequence, whiteout: false };
            emit(&Entry { ino, time: Default::default(), operation }, &[])?;
        }
        Ok(())
    }

    fn save_pages(
        &self,
        ino: Ino,
        map: &PageMap,
        emit: &mut dyn FnMut(&Entry<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut from = 0;
        while let Some(page) = self.pages.first_mapped(map, from, u64::MAX / BLOCK_SIZE) {
            let Some((first, pages)) = self.pages.run(map, page, u64::from(u32::MAX)) else {
                break;
            };
            let PageRef::Region(number) = first else {
                return Err(Error::InvalidArgument("content in private memory"));
            };
            let at = RegionOffset::new(u64::from(number) * BLOCK_SIZE);
            let operation = Operation::Extent { page, pages, at };
            emit(&Entry { ino, time: Default::default(), operation }, &[])?;
            from = page.saturating_add(pages);
        }
        Ok(())
    }
}

/// An inode as a snapshot holds it, and the target of a symbolic link.
fn saved(inode: &Inode) -> (entry::Inode, &[u8]) {
    let target: &[u8] = match &inode.content {
        Content::Symlink(target) => target,
        _ => &[],
    };
    let base_valid = match &inode.content {
        Content::File { base: Some(BaseContent { valid, .. }), .. } if inode.nlink > 0 => *valid,
        _ => 0,
    };
    let new = NewInode {
        mode: inode.kind.mode_bits() | inode.permissions,
        uid: inode.uid,
        gid: inode.gid,
        rdev: inode.rdev,
    };
    let saved = entry::Inode {
        new,
        size: if inode.nlink > 0 { inode.size } else { 0 },
        parent: inode.parent,
        base_valid,
        atime: inode.atime,
        mtime: inode.modified(),
        ctime: inode.changed(),
        nlink: inode.nlink,
        target: RegionOffset::new(0),
        // Targets have at most 4095 bytes.
        target_len: target.len() as u16,
    };
    (saved, target)
}

const fn corrupt(what: &'static str, at: Ino) -> Error {
    Error::Corrupt { what, at: at.get() }
}
