//! The base's tree: every inode, every directory entry, every inode reached exactly once.

use super::{Report, Subject};
use crate::base::{Base, Inode};
use crate::error::{Error, Result};
use crate::region::{Backing, Region};
use crate::storage::{Bitmap, Table, TryVec};
use core::hash::BuildHasher;
use daxfs_format::base::{BaseDirent, BaseFeatures, BaseInode, DIRENT_SIZE};
use daxfs_format::mode::FileType;
use daxfs_format::{Ino, RegionOffset, SYMLINK_MAX};
use foldhash::fast::SeedableRandomState;
use foldhash::SharedSeed;

pub(super) fn check<B: Backing>(
    region: &Region<B>,
    base: &Base,
    seed: u64,
    report: &mut Report<'_>,
) -> Result<()> {
    let count = u64::from(base.inode_count());
    let mut walk = Walk {
        region,
        base,
        hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        reached: Bitmap::new(count + 1)?,
        entries_left: count,
        pending: TryVec::new(),
    };
    walk.inodes(report)?;
    walk.root(report)?;
    while let Some(dir) = walk.pending.pop() {
        if !walk.directory(dir, report)? {
            return Ok(());
        }
    }
    for ino in 1..=count {
        let reached = walk.reached.get(ino);
        report.expect(reached, Subject::Inode(ino), "no directory names it", ino);
    }
    Ok(())
}

struct Walk<'r, B: Backing> {
    region: &'r Region<B>,
    base: &'r Base,
    hasher: SeedableRandomState,
    reached: Bitmap,
    /// Every inode has one name, so there are no more entries than inodes. The bound keeps a
    /// hostile image, whose directories may all share one huge array, from taking for ever.
    entries_left: u64,
    pending: TryVec<u32>,
}

impl<B: Backing> Walk<'_, B> {
    /// Every inode by itself.
    fn inodes(&mut self, report: &mut Report<'_>) -> Result<()> {
        let mut target = TryVec::new();
        target.resize(SYMLINK_MAX, 0_u8)?;
        for number in 1..=self.base.inode_count() {
            report.summary.inodes += 1;
            let number = u64::from(number);
            let subject = Subject::Inode(number);
            let (inode, raw) = match self.base.inode_with_raw(self.region, Ino::new(number)) {
                Ok(inode) => inode,
                Err(error) => {
                    report.problem(subject, error);
                    continue;
                }
            };
            if inode.kind == FileType::Symlink {
                let checked = self.base.symlink_target(self.region, &inode, &mut target);
                if let Err(error) = checked {
                    report.problem(subject, error);
                }
            }
            self.inode_extra(&inode, &raw, report);
        }
        Ok(())
    }

    /// What use does not rely on, but the format says.
    fn inode_extra(&self, inode: &Inode, raw: &BaseInode, report: &mut Report<'_>) {
        let subject = Subject::Inode(inode.ino.get());
        let zero = raw.reserved.iter().all(|&b| b == 0);
        report.expect(zero, subject, "reserved bytes are not zero", 52);
        if inode.kind != FileType::Directory {
            // v3's own tool notes how many links the source had.
            let extra = self.base.features().contains(BaseFeatures::INODE_EXTRA);
            let nlink = u64::from(raw.nlink.get());
            report.expect(nlink == 1 || (nlink > 1 && !extra), subject, "link count", nlink);
        }
        if !self.base.features().contains(BaseFeatures::INODE_EXTRA) || !inode.kind.is_device() {
            let rdev = u64::from(raw.rdev.get());
            report.expect(rdev == 0, subject, "device number", rdev);
        }
        if !self.base.features().contains(BaseFeatures::INODE_EXTRA) {
            let (sec, nsec) = (raw.mtime_sec.get() as u64, u64::from(raw.mtime_nsec.get()));
            report.expect(sec | nsec == 0, subject, "time without the feature for it", sec);
        }
        let nsec = raw.mtime_nsec.get();
        report.expect(nsec < 1_000_000_000, subject, "nanoseconds", nsec.into());
        if inode.size == 0 && self.base.data_end() < raw.data_offset.get() {
            let at = raw.data_offset.get();
            report.corrupt(subject, "file data outside of the data area", at);
        }
    }

    fn root(&mut self, report: &mut Report<'_>) -> Result<()> {
        self.reached.set(Ino::ROOT.get());
        match self.base.inode(self.region, Ino::ROOT) {
            Ok(root) if root.kind == FileType::Directory => self.pending.push(1),
            Ok(_) => {
                report.corrupt(Subject::Inode(1), "the root is no directory", 1);
                Ok(())
            }
            // Reported with the inodes.
            Err(_) => Ok(()),
        }
    }

    /// One directory. Says whether the walk may go on.
    fn directory(&mut self, dir: u32, report: &mut Report<'_>) -> Result<bool> {
        let subject = Subject::Directory(u64::from(dir));
        let Ok(inode) = self.base.inode(self.region, Ino::new(u64::from(dir))) else {
            return Ok(true);
        };
        let sorted = self.base.features().contains(BaseFeatures::SORTED);
        let mut names = Table::default();
        let mut subdirectories = 0;
        let mut previous = None;
        for index in 0..inode.entries() {
            let Some(left) = self.entries_left.checked_sub(1) else {
                report.corrupt(subject, "more directory entries than inodes", index);
                return Ok(false);
            };
            self.entries_left = left;
            report.summary.dirents += 1;
            let entry = match self.base.dirent(self.region, &inode, index) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    report.problem(subject, error);
                    continue;
                }
            };
            self.entry_extra(&inode, index, entry.name().len(), subject, report)?;
            let target = self.base.inode(self.region, entry.ino);
            if target.is_ok_and(|target| target.kind != entry.kind) {
                report.corrupt(subject, "type of an entry differs from its inode's", index);
            }
            if entry.kind == FileType::Directory {
                subdirectories += 1;
            }
            if !self.reached.set(entry.ino.get()) {
                let ino = entry.ino.get();
                report.corrupt(subject, "an entry names an inode that has a name already", ino);
            } else if target.is_ok_and(|target| target.kind == FileType::Directory) {
                self.pending.push(entry.ino.get() as u32)?;
            }
            if self.is_duplicate(&inode, index, entry.name(), &mut names)? {
                report.corrupt(subject, "duplicate name", index);
            } else if sorted
                && previous.is_some_and(|p: crate::base::Dirent| p.name() >= entry.name())
            {
                report.corrupt(subject, "entries are not sorted, as the image says", index);
            }
            previous = Some(entry);
        }
        let nlink = u64::from(inode.nlink);
        report.expect(nlink == subdirectories + 2, subject, "link count", nlink);
        Ok(true)
    }

    /// What use does not rely on, but the format says.
    fn entry_extra(
        &self,
        dir: &Inode,
        index: u64,
        name_len: usize,
        subject: Subject,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let at = dir.data.get().saturating_add(index.saturating_mul(DIRENT_SIZE));
        let raw: BaseDirent = self.region.read(RegionOffset::new(at))?;
        let padding = raw.name.iter().skip(name_len).chain(&raw.reserved).all(|&b| b == 0);
        report.expect(padding, subject, "padding of an entry is not zero", index);
        let inode = self.base.inode_with_raw(self.region, Ino::new(raw.ino.get().into()));
        if inode.is_ok_and(|(_, inode)| inode.mode.get() != raw.mode.get()) {
            report.corrupt(subject, "mode of an entry differs from its inode's", index);
        }
        Ok(())
    }

    /// Whether an entry before `index` has the same name.
    fn is_duplicate(
        &self,
        dir: &Inode,
        index: u64,
        name: &[u8],
        names: &mut Table,
    ) -> Result<bool> {
        let hash = self.hasher.hash_one(name);
        let same = |other: u32| {
            let other = self.base.dirent(self.region, dir, u64::from(other));
            matches!(other, Ok(Some(other)) if other.name() == name)
        };
        if names.find(hash, same).is_some() {
            return Ok(true);
        }
        let index = u32::try_from(index)
            .map_err(|_| Error::Corrupt { what: "directory size", at: dir.ino.get() })?;
        names.insert(hash, index)?;
        Ok(false)
    }
}
