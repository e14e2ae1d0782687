//! Replay: building the index from the logs of a branch and its ancestors.

use crate::base::Base;
use crate::branch::{self, Branch};
use crate::error::{Error, Result};
use crate::index::{Index, View};
use crate::log::entry::{Entry, Operation, WriteSource};
use crate::log::reader::{published, ChainLog, PlainLog};
use crate::region::{Backing, Region};
use crate::space::Space;
use crate::storage::{Bitmap, TryVec};
use crate::superblock::{Delta, Geometry, Segments};
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// What replay is about, and where it puts what it finds.
pub struct Replay<'r, B: Backing> {
    region: &'r Region<B>,
    geometry: &'r Geometry,
    base: &'r Base,
    visited: Bitmap,
    entries: u64,
}

impl<'r, B: Backing> Replay<'r, B> {
    /// A replay over `region`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new(region: &'r Region<B>, geometry: &'r Geometry, base: &'r Base) -> Result<Self> {
        let segments = match &geometry.delta {
            Delta::Segmented(segments) => segments.count,
            Delta::None | Delta::Plain(_) => 0,
        };
        Ok(Self { region, geometry, base, visited: Bitmap::new(segments.into())?, entries: 0 })
    }

    /// Entries replayed so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Log segments walked so far.
    #[must_use]
    pub const fn visited(&self) -> &Bitmap {
        &self.visited
    }

    /// Replays the logs of `branch`'s ancestors, from the root on, and its own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming the entry that makes no sense, [`Error::NoMemory`].
    pub fn branch(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        branch: &Branch,
    ) -> Result<()> {
        for ancestor in self.lineage(branch)?.iter().rev() {
            self.own_log(index, space.as_deref_mut(), ancestor)?;
        }
        Ok(())
    }

    /// `branch` and its ancestors, the root last.
    fn lineage(&self, branch: &Branch) -> Result<TryVec<Branch>> {
        let mut lineage = TryVec::new();
        lineage.push(*branch)?;
        let mut parent = branch.parent;
        while !parent.is_none() {
            if lineage.len() > self.geometry.branch_slots as usize {
                return Err(Error::Corrupt { what: "branches form a circle", at: parent.get() });
            }
            let ancestor = branch::by_id(self.region, self.geometry, parent)?
                .filter(Branch::is_live)
                .ok_or(Error::Corrupt { what: "parent of a live branch", at: parent.get() })?;
            parent = ancestor.parent;
            lineage.push(ancestor)?;
        }
        Ok(lineage)
    }

    fn own_log(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        branch: &Branch,
    ) -> Result<()> {
        match &self.geometry.delta {
            Delta::None => Ok(()),
            Delta::Plain(delta) => {
                let Some(span) = branch.plain_log(delta)? else { return Ok(()) };
                let mut log = PlainLog::new(span);
                while let Some((at, entry)) = log.next(self.region)? {
                    if matches!(entry.operation, Operation::Link { .. }) {
                        let at = at.get();
                        return Err(Error::Corrupt { what: "link entry in a v3 log", at });
                    }
                    self.entry(index, space.as_deref_mut(), at, &entry)?;
                }
                Ok(())
            }
            Delta::Segmented(segments) => {
                let Some(head) = branch.head(self.geometry)? else { return Ok(()) };
                let end = published(self.region, segments, head, branch.id)?;
                let (region, visited) = (self.region, &mut self.visited);
                let log = ChainLog::new(region, segments, head, branch.id, end, visited)?;
                self.chain(index, space, segments, log)
            }
        }
    }

    /// Replays a chain and the chains its link entries name, in place. No segment is entered twice,
    /// so this ends.
    fn chain(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        segments: &Segments,
        log: ChainLog,
    ) -> Result<()> {
        // With each chain, the number behind the last that its branch used: known when it ends.
        let mut stack = TryVec::new();
        stack.push((log, Ino::ROOT))?;
        while let Some((log, next_ino)) = stack.last_mut() {
            let Some((at, entry)) = log.next(self.region, segments, &mut self.visited)? else {
                index.raise_next_ino(*next_ino);
                stack.pop();
                continue;
            };
            if let Operation::Link { branch, head, published, next_ino } = entry.operation {
                let (region, visited) = (self.region, &mut self.visited);
                let log = ChainLog::new(region, segments, head, branch, published, visited)?;
                stack.push((log, next_ino))?;
                self.entries += 1;
            } else {
                self.entry(index, space.as_deref_mut(), at, &entry)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        index: &mut Index,
        space: Option<&mut Space>,
        at: RegionOffset,
        entry: &Entry,
    ) -> Result<()> {
        let view = View { region: self.region, base: self.base };
        self.entries += 1;
        index.check(view, entry).map_err(|error| match error {
            Error::NoMemory => error,
            Error::Corrupt { what, .. } => Error::Corrupt { what, at: at.get() },
            _ => Error::Corrupt { what: "log entry that makes no sense here", at: at.get() },
        })?;
        let mut target = TryVec::new();
        match &entry.operation {
            Operation::Symlink { target: from, target_len, .. } => {
                target.resize(usize::from(*target_len), 0)?;
                self.region.copy_out(*from, &mut target)?;
                if target.contains(&0) {
                    let at = at.get();
                    return Err(Error::Corrupt { what: "NUL in a symbolic link", at });
                }
            }
            Operation::Write { offset, len, source: WriteSource::Pages(pages) } => {
                self.check_reference(*pages, offset % BLOCK_SIZE + u64::from(*len))?;
            }
            _ => {}
        }
        index.apply(view, space, entry, target)
    }

    /// Data pages lie in segments: a reference to anything else would let a log make a file of the
    /// branch table.
    fn check_reference(&self, at: RegionOffset, bytes: u64) -> Result<()> {
        let inside = self.geometry.segments().is_ok_and(|segments| {
            let area = &segments.area;
            let end = at.checked_add(bytes.div_ceil(BLOCK_SIZE).saturating_mul(BLOCK_SIZE));
            at >= area.start && end.is_some_and(|end| end.get() <= area.end())
        });
        if inside {
            Ok(())
        } else {
            Err(Error::Corrupt { what: "reference outside of the segments", at: at.get() })
        }
    }
}
