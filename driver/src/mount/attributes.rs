//! Attributes of inodes and of the filesystem.

use super::locked::{Changing, Looking};
use super::state::{Company, Current};
use super::{Mount, State};
use crate::error::{Error, Result};
use crate::index::inode::Attributes;
use crate::log::entry::{Changes, Entry, Operation};
use crate::log::writer::Reserve;
use crate::platform::{Lock, Platform};
use crate::segment;
use crate::storage::TryVec;
use crate::superblock::Delta;
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::{Ino, BLOCK_SIZE, NAME_MAX};

/// What `statfs` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatFs {
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks of the base image and of the delta region's segments.
    pub total_blocks: u64,
    /// Blocks that this mount can still fill.
    pub free_blocks: u64,
    /// Inodes of the base image, and numbers used since.
    pub files: u64,
    /// Bytes of the base image.
    pub base_bytes: u64,
    /// Segments of the delta region.
    pub segments_total: u32,
    /// Segments nobody has.
    pub segments_free: u32,
    /// Bytes of a segment; 0 without any.
    pub segment_size: u64,
    /// Longest name, in bytes.
    pub name_max: u32,
}

impl<P: Platform> Looking<'_, P> {
    /// As [`Mount::getattr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn getattr(&self, ino: Ino) -> Result<Attributes> {
        self.current.index.attributes(self.mount.volume.view(), ino)
    }

    /// As [`Mount::readlink`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn readlink(&self, ino: Ino, into: &mut [u8]) -> Result<usize> {
        self.current.index.symlink_target(self.mount.volume.view(), ino, into)
    }
}

impl<P: Platform> Changing<'_, P> {
    /// As [`Mount::setattr`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn setattr(&mut self, ino: Ino, changes: &Changes) -> Result<Attributes> {
        let Self { mount, current, company } = self;
        if let Some(size) = changes.size {
            mount.resize(current, company, ino, size)?;
        }
        let mode = changes.mode.map(|mode| mode & PERMISSIONS);
        let rest = Changes { size: None, mode, ..*changes };
        if rest != Changes::default() {
            let time = mount.volume.platform.now();
            let entry = Entry { ino, time, operation: Operation::Setattr(rest) };
            current.record(&mount.volume, company, &entry, TryVec::new(), Reserve::Keep)?;
        }
        self.look().getattr(ino)
    }
}

impl<P: Platform> Mount<P> {
    /// What `stat` says about `ino`.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn getattr(&self, ino: Ino) -> Result<Attributes> {
        self.looking(|look| look.getattr(ino))
    }

    /// Changes attributes of `ino`, and says what they are then. Permission checks and the clearing
    /// of set-id bits are the front end's: it knows who asks.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Frozen`], [`Error::Stale`], [`Error::NoSpace`],
    /// [`Error::IsDirectory`] or [`Error::InvalidArgument`] for a size of no regular file,
    /// [`Error::FileTooBig`], [`Error::Corrupt`].
    pub fn setattr(&self, ino: Ino, changes: &Changes) -> Result<Attributes> {
        self.changing(|change| change.setattr(ino, changes))
    }

    /// The target of symbolic link `ino`, copied into `into`; returns its length, of which at most
    /// `into.len()` bytes were copied.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for another kind of inode, [`Error::Stale`], [`Error::Corrupt`].
    pub fn readlink(&self, ino: Ino, into: &mut [u8]) -> Result<usize> {
        self.looking(|look| look.readlink(ino, into))
    }

    /// The directory that holds directory `dir`; the root holds itself.
    ///
    /// # Errors
    ///
    /// [`Error::NotDirectory`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn parent_of(&self, dir: Ino) -> Result<Ino> {
        let mut state = self.state.write();
        self.refresh(&mut state)?;
        state.current.check_readable()?;
        let kind = state.current.index.attributes(self.volume.view(), dir)?.kind;
        if kind != FileType::Directory {
            return Err(Error::NotDirectory);
        }
        state.current.index.parent_of(self.volume.view(), dir)
    }

    /// How much there is, and how much is left.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn statfs(&self) -> Result<StatFs> {
        if !self.state.read().current.has_adopted() {
            // Pages that are free in the branch's segments count.
            self.state.write().adopt(&self.volume)?;
        }
        self.reading(|current| {
            let base_bytes = self.volume.base.size();
            let mut stat = StatFs {
                block_size: BLOCK_SIZE,
                total_blocks: base_bytes.div_ceil(BLOCK_SIZE),
                free_blocks: 0,
                files: current.index.next_ino().get().saturating_sub(1),
                base_bytes,
                segments_total: 0,
                segments_free: 0,
                segment_size: 0,
                name_max: NAME_MAX as u32,
            };
            if let Delta::Segmented(segments) = &self.volume.geometry.delta {
                let free = segment::count_free(&self.volume.region, segments)?;
                stat.segments_total = segments.count;
                stat.segments_free = free;
                stat.segment_size = segments.size();
                stat.total_blocks += u64::from(segments.count) * segments.pages();
                let own = current.writing.as_ref().map_or(0, |w| w.space.free_owned());
                stat.free_blocks = u64::from(free) * segments.pages() + own;
            }
            Ok(stat)
        })
    }

    /// Writes down what is known only in this kernel's memory: times of files written in place; and
    /// waits until everything is on the medium, if it is a persistent one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::NoMemory`], [`Error::Stale`].
    pub fn sync(&self) -> Result<()> {
        let mut state = self.state.write();
        self.refresh(&mut state)?;
        state.current.check_readable()?;
        let State { current, company, .. } = &mut *state;
        self.flush(current, company)?;
        self.volume.region.persist();
        Ok(())
    }

    /// Writes down what only this mount knows.
    pub(super) fn flush(&self, current: &mut Current, company: &mut Company) -> Result<()> {
        if current.check_writable().is_err() {
            return Ok(());
        }
        let flushed = self.log_writes(current, company);
        if flushed.is_err() {
            current.index.keep_unlogged();
        }
        flushed
    }

    fn log_writes(&self, current: &mut Current, company: &mut Company) -> Result<()> {
        let mut writes = TryVec::new();
        for write in current.index.take_unlogged() {
            writes.push(write)?;
        }
        for &(ino, time) in writes.iter() {
            let changes = Changes { mtime: Some(time), ..Changes::default() };
            let entry = Entry { ino, time, operation: Operation::Setattr(changes) };
            current.record(&self.volume, company, &entry, TryVec::new(), Reserve::Keep)?;
        }
        Ok(())
    }
}
