//! What a log entry does to the index.

use super::content::check_mapped;
use super::inode::{Content, Inode};
use super::pages::{PageRef, Replaced};
use super::{Index, Removed, View};
use crate::error::{Error, Result};
use crate::log::entry::{Changes, Entry, Name, NewInode, Operation, WriteSource};
use crate::region::Backing;
use crate::space::Space;
use crate::storage::TryVec;
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, RegionOffset, Timestamp, BLOCK_SIZE};

impl Index {
    /// Makes sure, as far as can be foreseen, that applying `entry` will not run out of memory. A
    /// live operation calls it before it publishes the entry.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::Corrupt`].
    pub fn prepare<B: Backing>(&mut self, view: View<'_, B>, entry: &Entry<'_>) -> Result<()> {
        match &entry.operation {
            Operation::Write { offset, len, .. } => {
                self.copy_up(view, entry.ino)?;
                self.pages.reserve((offset % BLOCK_SIZE + u64::from(*len)).div_ceil(BLOCK_SIZE))
            }
            Operation::Truncate { .. } | Operation::Hole { .. } | Operation::Setattr(_) => {
                self.copy_up(view, entry.ino).map(|_| ())
            }
            Operation::Create { parent, .. }
            | Operation::Symlink { parent, .. }
            | Operation::Delete { parent, .. } => {
                self.reserve_inodes()?;
                self.prepare_directory(view, *parent)
            }
            Operation::Rename { old_parent, new_parent, .. } => {
                self.reserve_inodes()?;
                self.prepare_directory(view, *old_parent)?;
                self.prepare_directory(view, *new_parent)
            }
            Operation::Link { .. }
            | Operation::Inode(_)
            | Operation::Name { .. }
            | Operation::Extent { .. }
            | Operation::SnapshotEnd { .. } => Ok(()),
        }
    }

    /// Makes room for all inodes that one entry can make, or copy up, and their directories.
    fn reserve_inodes(&mut self) -> Result<()> {
        self.inodes.reserve(4)?;
        self.by_ino.reserve(4)
    }

    fn prepare_directory<B: Backing>(&mut self, view: View<'_, B>, dir: Ino) -> Result<()> {
        let id = self.copy_up(view, dir)?;
        let inode = self.inodes.get(id).ok_or(Error::Stale)?;
        self.names.reserve(inode)
    }

    /// Does what `entry`, which [`Self::check`] passed, says. `target` is a symbolic link's; `removed`
    /// is what becomes of a file that it removes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; [`Error::Corrupt`] if the base changed under the check.
    pub fn apply<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        entry: &Entry<'_>,
        target: TryVec<u8>,
        removed: Removed,
    ) -> Result<()> {
        let (ino, time) = (entry.ino, entry.time);
        match &entry.operation {
            Operation::Write { offset, len, source } => {
                let end = offset.saturating_add(u64::from(*len));
                let id = self.copy_up(view, ino)?;
                match source {
                    WriteSource::Pages(at) => {
                        self.map_pages(view, space, id, *offset, end, *at)?;
                    }
                    WriteSource::Inline(at) => {
                        self.write_inline(view, space, ino, *offset, u64::from(*len), *at)?;
                    }
                }
                let inode = self.inodes.get_mut(id).ok_or(Error::Stale)?;
                inode.size = inode.size.max(end);
                touch(inode, time);
                Ok(())
            }
            Operation::Truncate { size } => self.resize(view, space, ino, *size, time),
            Operation::Hole { offset, len } => self.punch(view, space, ino, (*offset, *len), time),
            Operation::Create { parent, name, new } => {
                self.create(view, ino, (*parent, *name), new, time, TryVec::new())
            }
            Operation::Symlink { parent, name, new, .. } => {
                self.create(view, ino, (*parent, *name), new, time, target)
            }
            Operation::Delete { parent, name } => {
                let kind = self.kind_of(view, ino)?;
                self.unname(view, *parent, *name, time)?;
                self.drop_inode(view, space, (ino, kind), *parent, time, removed)
            }
            Operation::Rename { old_parent, old_name, new_parent, new_name, exchange } => {
                let from = (*old_parent, *old_name);
                let to = (*new_parent, *new_name);
                if *exchange {
                    self.exchange(view, from, to, time)
                } else {
                    self.rename(view, space, ino, from, to, (time, removed))
                }
            }
            Operation::Setattr(changes) => {
                if let Some(size) = changes.size {
                    self.resize(view, space, ino, size, time)?;
                }
                set_attributes(self.copied_up(view, ino)?, changes, time);
                Ok(())
            }
            // Replay follows links and loads snapshots; by themselves they change nothing.
            Operation::Link { .. }
            | Operation::Inode(_)
            | Operation::Name { .. }
            | Operation::Extent { .. }
            | Operation::SnapshotEnd { .. } => Ok(()),
        }
    }

    pub(super) fn copied_up<B: Backing>(
        &mut self,
        view: View<'_, B>,
        ino: Ino,
    ) -> Result<&mut Inode> {
        let id = self.copy_up(view, ino)?;
        self.inodes.get_mut(id).ok_or(Error::Stale)
    }

    /// Maps the pages that hold `offset..end` of inode number `id` here to those of the range from `at` on.
    pub(super) fn map_pages<B: Backing>(
        &mut self,
        view: View<'_, B>,
        mut space: Option<&mut Space>,
        id: u32,
        offset: u64,
        end: u64,
        at: RegionOffset,
    ) -> Result<()> {
        let Some(Content::File { pages, .. }) = self.inodes.get_mut(id).map(|i| &mut i.content)
        else {
            return Err(Error::InvalidArgument("not a regular file"));
        };
        let mut page = offset / BLOCK_SIZE;
        let end = end.div_ceil(BLOCK_SIZE);
        if end - page == 1 {
            let new = PageRef::at(at)?;
            let old = self.pages.set(pages, page, new)?;
            check_mapped(view, self.pages.mapped())?;
            if let Some(space) = space {
                replace(space, new, old);
            }
            return Ok(());
        }
        let mut at = at;
        let mut replaced = Replaced::default();
        while page < end {
            self.pages.set_run(pages, page, end - page, at, &mut replaced)?;
            check_mapped(view, self.pages.mapped())?;
            let count = replaced.iter().len() as u64;
            if let Some(space) = space.as_deref_mut() {
                take_place(space, at, &replaced)?;
            }
            page += count;
            let next = at.checked_add(count * BLOCK_SIZE);
            at = next.ok_or(Error::Corrupt { what: "page", at: at.get() })?;
        }
        Ok(())
    }

    /// Copies inline bytes into private pages.
    fn write_inline<B: Backing>(
        &mut self,
        view: View<'_, B>,
        mut space: Option<&mut Space>,
        ino: Ino,
        offset: u64,
        len: u64,
        at: RegionOffset,
    ) -> Result<()> {
        let size = self.copied_up(view, ino)?.size;
        let mut done = 0;
        while done < len {
            let start = offset.saturating_add(done);
            let (page, within) = (start / BLOCK_SIZE, start % BLOCK_SIZE);
            let count = (BLOCK_SIZE - within).min(len - done);
            let id = match self.page(ino, page) {
                Some(PageRef::Private(id)) => id,
                old => {
                    let mut content = super::PrivatePage::new();
                    content.resize(BLOCK_SIZE as usize, 0)?;
                    if page.saturating_mul(BLOCK_SIZE) < size {
                        self.read(view, ino, page.saturating_mul(BLOCK_SIZE), &mut content)?;
                    }
                    let id = self.add_private(content)?;
                    let id_of_inode = self.copy_up(view, ino)?;
                    let Some(Content::File { pages, .. }) =
                        self.inodes.get_mut(id_of_inode).map(|i| &mut i.content)
                    else {
                        return Err(Error::InvalidArgument("not a regular file"));
                    };
                    self.pages.set(pages, page, PageRef::Private(id))?;
                    if let (Some(space), Some(old)) = (space.as_deref_mut(), old) {
                        space.release(old);
                    }
                    id
                }
            };
            let source =
                at.checked_add(done).ok_or(Error::Corrupt { what: "log entry", at: at.get() })?;
            let range = within as usize..(within + count) as usize;
            let into = self.private.get_mut(id as usize).and_then(|p| p.get_mut(range));
            view.region.copy_out(source, into.ok_or(Error::Stale)?)?;
            done += count;
        }
        Ok(())
    }

    fn add_private(&mut self, content: super::PrivatePage) -> Result<u32> {
        self.private_left = self.private_left.checked_sub(1).ok_or(Error::Corrupt {
            what: "more inline data than the log can hold",
            at: self.private.len() as u64,
        })?;
        let id = u32::try_from(self.private.len()).map_err(|_| Error::NoMemory)?;
        self.private.push(content)?;
        Ok(id)
    }

    fn resize<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        ino: Ino,
        size: u64,
        time: Timestamp,
    ) -> Result<()> {
        let id = self.copy_up(view, ino)?;
        let inode = self.inodes.get_mut(id).ok_or(Error::Stale)?;
        if size < inode.size {
            if let Content::File { pages, base } = &mut inode.content {
                if let Some(base) = base {
                    base.valid = base.valid.min(size);
                }
                self.pages.remove(pages, size.div_ceil(BLOCK_SIZE)..u64::MAX, &mut release(space));
            }
        }
        inode.size = size;
        touch(inode, time);
        Ok(())
    }

    /// Takes pages out of a file. The base's content shows through none of them, or ends in them.
    fn punch<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        ino: Ino,
        (offset, len): (u64, u64),
        time: Timestamp,
    ) -> Result<()> {
        let id = self.copy_up(view, ino)?;
        let inode = self.inodes.get_mut(id).ok_or(Error::Stale)?;
        if let Content::File { pages, base } = &mut inode.content {
            if let Some(base) = base {
                base.valid = base.valid.min(offset);
            }
            let end = offset.saturating_add(len) / BLOCK_SIZE;
            self.pages.remove(pages, offset / BLOCK_SIZE..end, &mut release(space));
        }
        touch(inode, time);
        Ok(())
    }

    fn create<B: Backing>(
        &mut self,
        view: View<'_, B>,
        ino: Ino,
        (parent, name): (Ino, Name<'_>),
        new: &NewInode,
        time: Timestamp,
        target: TryVec<u8>,
    ) -> Result<()> {
        let kind = FileType::from_mode(new.mode).ok_or(Error::InvalidArgument("file type"))?;
        let content = self.new_content(kind, target)?;
        self.insert(Inode::new((ino, kind), new, parent, time, content))?;
        self.raise_next_ino(Ino::new(ino.get().saturating_add(1)));
        self.name(view, (parent, name), (ino, kind), time)?;
        if kind == FileType::Directory {
            self.count_subdirectory(view, parent, 1)?;
        }
        Ok(())
    }

    /// Makes a name that refers to nothing refer to an inode.
    fn name<B: Backing>(
        &mut self,
        view: View<'_, B>,
        (dir, name): (Ino, Name<'_>),
        (ino, kind): (Ino, FileType),
        time: Timestamp,
    ) -> Result<()> {
        let inode = self.copied_up(view, dir)?;
        touch(inode, time);
        let directory = inode.directory()?;
        self.names.set((directory, dir, name.as_bytes()), (ino, kind))
    }

    /// Makes a name that refers to something refer to nothing.
    fn unname<B: Backing>(
        &mut self,
        view: View<'_, B>,
        dir: Ino,
        name: Name<'_>,
        time: Timestamp,
    ) -> Result<()> {
        let inode = self.copied_up(view, dir)?;
        touch(inode, time);
        let directory = inode.directory()?;
        self.names.remove((directory, dir, name.as_bytes()))
    }

    /// Forgets an inode whose last name is gone. Of a base inode the private copy stays, with link
    /// count 0, so that its number does not lead to the base again.
    fn drop_inode<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        (ino, kind): (Ino, FileType),
        parent: Ino,
        time: Timestamp,
        removed: Removed,
    ) -> Result<()> {
        if kind == FileType::Directory {
            self.count_subdirectory(view, parent, -1)?;
        } else if removed == Removed::Kept {
            let inode = self.copied_up(view, ino)?;
            inode.nlink = 0;
            inode.orphan = true;
            inode.ctime = time;
            return Ok(());
        }
        self.remove_inode(view, space, ino, time)
    }

    /// Takes an inode out, with all it has.
    fn remove_inode<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        ino: Ino,
        time: Timestamp,
    ) -> Result<()> {
        self.resize(view, space, ino, 0, time)?;
        if view.base.contains(ino) {
            let inode = self.copied_up(view, ino)?;
            inode.nlink = 0;
            inode.orphan = false;
        } else if let Some(id) = self.id_of(ino) {
            self.by_ino.remove(super::spread(self.seed, ino), |other| other == id);
            if let Some(Inode { content: Content::Directory(id), .. }) = self.inodes.remove(id) {
                self.names.close(id);
            }
        }
        Ok(())
    }

    /// Forgets a file without a name that was kept; says whether it was one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn forget<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        ino: Ino,
    ) -> Result<bool> {
        if !self.is_orphan(ino) {
            return Ok(false);
        }
        self.remove_inode(view, space, ino, Timestamp::default()).map(|()| true)
    }

    /// Forgets all files without a name: their pages will be somebody else's.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn forget_all<B: Backing>(&mut self, view: View<'_, B>) -> Result<()> {
        let next = |index: &Self| {
            index.inodes.iter().find(|(_, inode)| inode.orphan).map(|(_, inode)| inode.ino)
        };
        while let Some(ino) = next(self) {
            self.remove_inode(view, None, ino, Timestamp::default())?;
        }
        Ok(())
    }

    fn rename<B: Backing>(
        &mut self,
        view: View<'_, B>,
        space: Option<&mut Space>,
        ino: Ino,
        (old_parent, old_name): (Ino, Name<'_>),
        (new_parent, new_name): (Ino, Name<'_>),
        (time, removed): (Timestamp, Removed),
    ) -> Result<()> {
        if let Some((old, kind)) = self.lookup(view, new_parent, new_name.as_bytes())? {
            if old == ino {
                return Ok(());
            }
            self.unname(view, new_parent, new_name, time)?;
            self.drop_inode(view, space, (old, kind), new_parent, time, removed)?;
        }
        let kind = self.kind_of(view, ino)?;
        self.unname(view, old_parent, old_name, time)?;
        self.name(view, (new_parent, new_name), (ino, kind), time)?;
        self.moved(view, (ino, kind), old_parent, new_parent, time)
    }

    fn exchange<B: Backing>(
        &mut self,
        view: View<'_, B>,
        (old_parent, old_name): (Ino, Name<'_>),
        (new_parent, new_name): (Ino, Name<'_>),
        time: Timestamp,
    ) -> Result<()> {
        let one = self.lookup(view, old_parent, old_name.as_bytes())?.ok_or(Error::NotFound)?;
        let two = self.lookup(view, new_parent, new_name.as_bytes())?.ok_or(Error::NotFound)?;
        if one.0 == two.0 {
            return Ok(());
        }
        self.unname(view, old_parent, old_name, time)?;
        self.unname(view, new_parent, new_name, time)?;
        self.name(view, (new_parent, new_name), one, time)?;
        self.name(view, (old_parent, old_name), two, time)?;
        self.moved(view, one, old_parent, new_parent, time)?;
        self.moved(view, two, new_parent, old_parent, time)
    }

    /// Records where an inode is now.
    fn moved<B: Backing>(
        &mut self,
        view: View<'_, B>,
        (ino, kind): (Ino, FileType),
        from: Ino,
        to: Ino,
        time: Timestamp,
    ) -> Result<()> {
        let inode = self.copied_up(view, ino)?;
        inode.ctime = time;
        inode.parent = Some(to);
        if kind == FileType::Directory && from != to {
            self.count_subdirectory(view, from, -1)?;
            self.count_subdirectory(view, to, 1)?;
        }
        Ok(())
    }

    /// A directory's link count is 2 and its subdirectories.
    fn count_subdirectory<B: Backing>(
        &mut self,
        view: View<'_, B>,
        dir: Ino,
        change: i32,
    ) -> Result<()> {
        let inode = self.copied_up(view, dir)?;
        // Never 0, which is "deleted": a base image may have lied about the count.
        inode.nlink = inode.nlink.saturating_add_signed(change).max(1);
        Ok(())
    }
}

fn touch(inode: &mut Inode, time: Timestamp) {
    inode.mtime = time;
    inode.ctime = time;
    inode.set_logged();
}

fn set_attributes(inode: &mut Inode, changes: &Changes, time: Timestamp) {
    inode.permissions = changes.mode.unwrap_or(inode.permissions);
    inode.uid = changes.uid.unwrap_or(inode.uid);
    inode.gid = changes.gid.unwrap_or(inode.gid);
    inode.atime = changes.atime.unwrap_or(inode.atime);
    if let Some(mtime) = changes.mtime {
        inode.mtime = mtime;
        inode.set_logged();
    }
    inode.ctime = time;
}

/// What becomes of a page that no file refers to any more.
fn release(space: Option<&mut Space>) -> impl FnMut(PageRef) + '_ {
    let mut space = space;
    move |page| {
        if let Some(space) = space.as_deref_mut() {
            space.release(page);
        }
    }
}

/// Records that pages from `at` on are used in the place of `replaced`.
fn take_place(space: &mut Space, at: RegionOffset, replaced: &Replaced) -> Result<()> {
    let pages = replaced.iter().len() as u64;
    if replaced.iter().all(|old| old.is_none()) {
        space.reference_run(at, pages);
        return Ok(());
    }
    for (page, old) in (0..).zip(replaced.iter()) {
        let new = at.checked_add(page * BLOCK_SIZE);
        let new = PageRef::at(new.ok_or(Error::Corrupt { what: "page", at: at.get() })?)?;
        replace(space, new, old);
    }
    Ok(())
}

/// Records that one page is used in the place of another.
fn replace(space: &mut Space, new: PageRef, old: Option<PageRef>) {
    if old != Some(new) {
        space.reference(new);
        if let Some(old) = old {
            space.release(old);
        }
    }
}
