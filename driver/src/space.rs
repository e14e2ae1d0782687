//! Data pages of the delta region, as one mount sees them.
//!
//! Which pages are in use is nowhere on the media: it follows from the log, and is rebuilt by
//! replay. This is the private bookkeeping for it, and the allocator of the mount that owns a
//! branch.
//!
//! # Invariants
//!
//! - `used` has a bit for each page the mount's index refers to, of whatever branch; `in_use` counts
//!   the bits per segment.
//! - Pages are handed out only from `owned` segments, which the segment map gives to this mount's
//!   branch; `free_owned` is the number of their unused pages.
//! - A page goes back only after the log entry that drops it is published.

use crate::error::{Error, Result};
use crate::index::pages::PageRef;
use crate::region::{page_of, Backing, Region};
use crate::segment;
use crate::storage::{Bitmap, TryVec};
use crate::superblock::Segments;
use daxfs_format::segment::SegmentKind;
use daxfs_format::{BranchId, RegionOffset, SegmentIndex, BLOCK_SIZE};

/// Bookkeeping of data pages.
pub struct Space {
    segments: Segments,
    used: Bitmap,
    in_use: TryVec<u32>,
    owned: Bitmap,
    free_owned: u64,
    /// The segment pages are being taken from, and the page to look at next.
    current: Option<(SegmentIndex, u64)>,
}

/// Neighbouring pages, newly allocated.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first page.
    pub start: RegionOffset,
    /// How many.
    pub pages: u64,
}

impl Space {
    /// Bookkeeping for a delta region of which nothing is known to be used or owned yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new(segments: &Segments) -> Result<Self> {
        let mut in_use = TryVec::new();
        in_use.resize(segments.count as usize, 0)?;
        Ok(Self {
            segments: *segments,
            used: Bitmap::new(u64::from(segments.count).saturating_mul(segments.pages()))?,
            in_use,
            owned: Bitmap::new(u64::from(segments.count))?,
            free_owned: 0,
            current: None,
        })
    }

    /// Takes possession of the data segments that the map gives to `branch`. Pages in use must have
    /// been recorded before. Segments without any go back to the pool; so do log segments that
    /// `in_log` does not know (left over from a crash).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn adopt<B: Backing>(
        &mut self,
        region: &Region<B>,
        branch: BranchId,
        in_log: &Bitmap,
    ) -> Result<()> {
        let segments = self.segments;
        segment::for_each_owned(region, &segments, |index, owner, kind| {
            let at = u64::from(index.get());
            if owner != branch {
                return Ok(());
            }
            match kind {
                SegmentKind::Log if !in_log.get(at) => segment::free(region, &segments, index),
                SegmentKind::Data if self.count(index) == 0 => {
                    segment::free(region, &segments, index)
                }
                SegmentKind::Log => Ok(()),
                SegmentKind::Data => {
                    self.own(index);
                    Ok(())
                }
            }
        })
    }

    /// Takes possession of `from`'s data segments after they became this mount's by a commit.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn adopt_committed<B: Backing>(
        &mut self,
        region: &Region<B>,
        branch: BranchId,
    ) -> Result<()> {
        let segments = self.segments;
        segment::for_each_owned(region, &segments, |index, owner, kind| {
            if owner == branch && kind == SegmentKind::Data {
                self.own(index);
            }
            Ok(())
        })
    }

    /// Whether this mount may write to the page at `at` in place.
    #[must_use]
    pub fn owns(&self, at: RegionOffset) -> bool {
        self.segments.index_of(at).is_some_and(|index| self.owned.get(u64::from(index.get())))
    }

    /// Records that the index refers to `page` now.
    pub fn reference(&mut self, page: PageRef) {
        let Some((bit, index)) = self.locate(page) else { return };
        if self.used.set(bit) {
            if let Some(count) = self.in_use.get_mut(index.get() as usize) {
                *count += 1;
            }
            if self.owned.get(u64::from(index.get())) {
                self.free_owned = self.free_owned.saturating_sub(1);
            }
        }
    }

    /// Records that the index does not refer to `page` any more. A segment of ours that holds
    /// nothing else goes back to the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn release<B: Backing>(&mut self, region: &Region<B>, page: PageRef) -> Result<()> {
        let Some((bit, index)) = self.locate(page) else { return Ok(()) };
        if !self.used.clear(bit) {
            return Ok(());
        }
        let Some(count) = self.in_use.get_mut(index.get() as usize) else { return Ok(()) };
        *count = count.saturating_sub(1);
        let empty = *count == 0;
        if !self.owned.get(u64::from(index.get())) {
            return Ok(());
        }
        self.free_owned += 1;
        if empty && self.current.is_none_or(|(current, _)| current != index) {
            self.owned.clear(u64::from(index.get()));
            self.free_owned = self.free_owned.saturating_sub(self.segments.pages());
            segment::free(region, &self.segments, index)?;
        }
        Ok(())
    }

    /// Allocates between 1 and `wanted` neighbouring pages for `branch`. They count as used only
    /// once they are referenced; until then the next call may hand them out again, so the caller
    /// references them (through the index) before it allocates more.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    pub fn allocate<B: Backing>(
        &mut self,
        region: &Region<B>,
        branch: BranchId,
        wanted: u64,
    ) -> Result<Run> {
        if let Some((index, from)) = self.current {
            if let Some(run) = self.take(index, from, wanted)? {
                return Ok(run);
            }
        }
        // Long runs want a fresh segment, short ones fill gaps first.
        let fresh_first = self.free_owned == 0 || wanted >= self.segments.pages() / 2;
        if fresh_first {
            match self.fresh(region, branch, wanted) {
                Err(Error::NoSpace) => {}
                done => return done,
            }
        }
        if self.free_owned > 0 {
            for index in 0..self.segments.count {
                let index = SegmentIndex::new(index);
                let full = u64::from(self.count(index)) >= self.segments.pages();
                if full || !self.owned.get(u64::from(index.get())) {
                    continue;
                }
                if let Some(run) = self.take(index, self.first_page(index), wanted)? {
                    return Ok(run);
                }
            }
        }
        if fresh_first {
            return Err(Error::NoSpace);
        }
        self.fresh(region, branch, wanted)
    }

    /// Unused pages in segments this mount owns.
    #[must_use]
    pub const fn free_owned(&self) -> u64 {
        self.free_owned
    }

    /// Bytes of private memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.in_use.memory()
            + (u64::from(self.segments.count) * self.segments.pages() / 8) as usize
            + self.segments.count as usize / 8
    }

    fn fresh<B: Backing>(
        &mut self,
        region: &Region<B>,
        branch: BranchId,
        wanted: u64,
    ) -> Result<Run> {
        let hint = self.current.map_or(0, |(index, _)| index.get().saturating_add(1));
        let kind = SegmentKind::Data;
        let index =
            segment::allocate(region, &self.segments, branch, kind, SegmentIndex::new(hint))?;
        self.own(index);
        self.take(index, self.first_page(index), wanted)?.ok_or(Error::NoSpace)
    }

    /// Takes a run of unused pages of segment `index` from page number `from` on.
    fn take(&mut self, index: SegmentIndex, from: u64, wanted: u64) -> Result<Option<Run>> {
        let end = self.first_page(index).saturating_add(self.segments.pages());
        let Some(first) = self.used.first_clear(from, end) else { return Ok(None) };
        let limit = first.saturating_add(wanted.max(1)).min(end);
        let pages = self.used.first_set(first, limit) - first;
        // Pages become used when they are referenced; go on behind them meanwhile.
        self.current = Some((index, first + pages));
        let start = self.segments.area.start.checked_add(first.saturating_mul(BLOCK_SIZE));
        let start = start.ok_or(Error::Corrupt { what: "segment area", at: first })?;
        Ok(Some(Run { start, pages }))
    }

    /// Forgets that the last run was handed out: the operation that wanted it failed.
    pub fn give_up(&mut self) {
        if let Some((index, _)) = self.current {
            self.current = Some((index, self.first_page(index)));
        }
    }

    fn own(&mut self, index: SegmentIndex) {
        if self.owned.set(u64::from(index.get())) {
            let unused = self.segments.pages().saturating_sub(u64::from(self.count(index)));
            self.free_owned += unused;
        }
    }

    fn count(&self, index: SegmentIndex) -> u32 {
        self.in_use.get(index.get() as usize).copied().unwrap_or(0)
    }

    fn first_page(&self, index: SegmentIndex) -> u64 {
        u64::from(index.get()).saturating_mul(self.segments.pages())
    }

    /// The bit and the segment of a page of the range, if it lies in a segment.
    fn locate(&self, page: PageRef) -> Option<(u64, SegmentIndex)> {
        let PageRef::Region(page) = page else { return None };
        let at = RegionOffset::new(u64::from(page) * BLOCK_SIZE);
        let index = self.segments.index_of(at)?;
        Some((u64::from(page).checked_sub(page_of(self.segments.area.start))?, index))
    }
}
