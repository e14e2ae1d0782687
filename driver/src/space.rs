//! Data pages of the delta region, as one mount sees them.
//!
//! Which pages are in use is nowhere on the media: it follows from the log, and is rebuilt by
//! replay. This is the private bookkeeping for it, and the allocator of the mount that owns a
//! branch.
//!
//! # Invariants
//!
//! - `used` has a bit for each page the mount's index refers to, of whatever branch, and for each
//!   page of `owned` segments that others may still look at; `in_use` counts the bits per segment.
//! - Pages are handed out only from `owned` segments, which the segment map gives to this mount's
//!   branch; `free_owned` is the number of their unused pages.
//! - A page the index stops referring to goes to `dropped`; its owner's mount uses it again only
//!   through [`Space::reclaim`], after the log entry that drops it is published and everybody has
//!   seen it.

use crate::error::{Error, Result};
use crate::index::pages::PageRef;
use crate::region::{page_of, Backing, Region};
use crate::segment::{self, Incarnation};
use crate::storage::{Bitmap, TryVec};
use crate::superblock::Segments;
use daxfs_format::segment::SegmentKind;
use daxfs_format::{BranchId, RegionOffset, SegmentIndex, BLOCK_SIZE};

/// Bookkeeping of data pages.
pub struct Space {
    segments: Segments,
    used: Bitmap,
    in_use: TryVec<u32>,
    /// Bits set in `used`, and segments with any.
    used_pages: u64,
    used_segments: u32,
    owned: Bitmap,
    free_owned: u64,
    /// Whether a page was referred to that was in use already.
    shared: bool,
    /// Whether the last page of a segment that is not owned was given up.
    emptied: bool,
    /// The segment pages are being taken from, and the page to look at next.
    current: Option<(SegmentIndex, u64)>,
    /// The pages that were handed out last, until they are referenced or given up.
    handed_out: Option<Pages>,
    /// Pages of owned segments that the index does not refer to any more.
    dropped: TryVec<Pages>,
}

/// Neighbouring pages, counted from the start of the segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pages {
    first: u64,
    count: u64,
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
            used_pages: 0,
            used_segments: 0,
            owned: Bitmap::new(u64::from(segments.count))?,
            free_owned: 0,
            shared: false,
            emptied: false,
            current: None,
            handed_out: None,
            dropped: TryVec::new(),
        })
    }

    /// Takes possession of the data segments that the map gives to `branch`. Pages in use must have
    /// been recorded before.
    ///
    /// Segments without any are not taken, because somebody else may be about to free them: they are
    /// garbage, and returned with the branch's log segments that are not in `log`, as
    /// [`Self::garbage`] does.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn adopt<B: Backing>(
        &mut self,
        region: &Region<B>,
        branch: BranchId,
        log: &Bitmap,
    ) -> Result<TryVec<Incarnation>> {
        let segments = self.segments;
        let mut garbage = TryVec::new();
        segment::for_each_owned(region, &segments, |segment, owner, kind| {
            if owner != branch || self.owned.get(u64::from(segment.index.get())) {
                return Ok(());
            }
            if self.is_unused(segment.index, kind, log) {
                garbage.push(segment)?;
            } else if kind == SegmentKind::Data {
                self.own(segment.index);
            }
            Ok(())
        })?;
        Ok(garbage)
    }

    fn is_unused(&self, index: SegmentIndex, kind: SegmentKind, log: &Bitmap) -> bool {
        match kind {
            SegmentKind::Log => !log.get(u64::from(index.get())),
            SegmentKind::Data => self.count(index) == 0,
        }
    }

    /// Gives up all segments: this mount goes on on a child of its branch.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn disown(&mut self) -> Result<()> {
        self.owned = Bitmap::new(u64::from(self.segments.count))?;
        self.free_owned = 0;
        self.emptied = false;
        self.current = None;
        self.dropped.clear();
        Ok(())
    }

    /// The segments of `branches` in which nothing is used: data segments without a used page, log
    /// segments that are not in `log`. Nobody will ever use them in this life of theirs again.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn garbage<B: Backing>(
        &self,
        region: &Region<B>,
        branches: &[BranchId],
        log: &Bitmap,
    ) -> Result<TryVec<Incarnation>> {
        let mut garbage = TryVec::new();
        segment::for_each_owned(region, &self.segments, |segment, owner, kind| {
            if branches.contains(&owner) && self.is_unused(segment.index, kind, log) {
                garbage.push(segment)?;
            }
            Ok(())
        })?;
        Ok(garbage)
    }

    /// Whether this mount may write to the page at `at` in place.
    #[must_use]
    pub fn owns(&self, at: RegionOffset) -> bool {
        self.segments.index_of(at).is_some_and(|index| self.owned.get(u64::from(index.get())))
    }

    /// How many pages from that at `at` on, `max` at most, this mount may write to in place: none, or
    /// up to the end of a segment, out of which no log entry reaches.
    #[must_use]
    pub fn owned_pages(&self, at: RegionOffset, max: u64) -> u64 {
        if self.owns(at) {
            self.pages_in_segment(at, max)
        } else {
            0
        }
    }

    /// How many pages from that at `at` on, `max` at most, lie in its segment; 1 if it is in none.
    #[must_use]
    pub fn pages_in_segment(&self, at: RegionOffset, max: u64) -> u64 {
        max.min(self.segments.pages_left(at).max(1))
    }

    /// Whether segment `index` is one this mount takes pages from.
    #[must_use]
    pub fn holds(&self, index: u64) -> bool {
        self.owned.get(index)
    }

    /// Whether the last page in use of a segment was given up that somebody else owns: a commit may
    /// make it garbage.
    #[must_use]
    pub const fn has_emptied(&self) -> bool {
        self.emptied
    }

    /// Records that the index refers to `page` now.
    pub fn reference(&mut self, page: PageRef) {
        self.handed_out = None;
        let Some((bit, index)) = self.locate(page) else { return };
        let was_unused = self.used.set(bit);
        self.shared |= !was_unused;
        if was_unused {
            self.count_used(index, 1);
        }
    }

    /// Counts pages of segment `index` whose bits were set.
    fn count_used(&mut self, index: SegmentIndex, pages: u64) {
        let Some(count) = self.in_use.get_mut(index.get() as usize) else { return };
        self.used_segments += u32::from(*count == 0 && pages > 0);
        self.used_pages += pages;
        // A segment has fewer pages than that.
        *count = count.saturating_add(pages as u32);
        if self.owned.get(u64::from(index.get())) {
            self.free_owned = self.free_owned.saturating_sub(pages);
        }
    }

    /// Records that the index refers to `pages` pages from that at `at` on now.
    pub fn reference_run(&mut self, at: RegionOffset, pages: u64) {
        self.handed_out = None;
        let Some((mut bit, _)) = self.locate_at(at) else { return };
        let end = bit.saturating_add(pages);
        while bit < end {
            let Some((index, behind)) = self.segment_of(bit) else { return };
            let (count, to) = (behind.min(end) - bit, behind.min(end));
            let added = self.used.set_run(bit, to);
            self.shared |= added < count;
            self.count_used(index, added);
            bit = to;
        }
    }

    /// Records that the index does not refer to `page` any more.
    pub fn release(&mut self, page: PageRef) {
        let Some((bit, index)) = self.locate(page) else { return };
        if !self.used.get(bit) {
            return;
        }
        if !self.owned.get(u64::from(index.get())) {
            // Not ours to use again: nobody has to be asked.
            self.unuse(bit, index);
            self.emptied |= self.count(index) == 0;
            return;
        }
        if let Some(last) = self.dropped.last_mut() {
            if last.first.saturating_add(last.count) == bit {
                last.count += 1;
                return;
            }
        }
        // Without memory to remember it, the page stays out of use until the next mount.
        let _ = self.dropped.push(Pages { first: bit, count: 1 });
    }

    /// What was dropped since this was last asked.
    pub fn take_dropped(&mut self) -> TryVec<Pages> {
        core::mem::take(&mut self.dropped)
    }

    /// Whether something was dropped since [`Self::take_dropped`] was last asked.
    #[must_use]
    pub fn has_dropped(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Makes dropped pages usable again: nobody looks at them any more. Segments of ours that hold
    /// nothing else go back to the pool.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn reclaim<B: Backing>(&mut self, region: &Region<B>, pages: Pages) -> Result<()> {
        for bit in pages.first..pages.first.saturating_add(pages.count) {
            let Ok(index) =
                u32::try_from(bit.checked_div(self.segments.pages()).unwrap_or(u64::MAX))
            else {
                break;
            };
            let index = SegmentIndex::new(index);
            if !self.unuse(bit, index) || !self.owned.get(u64::from(index.get())) {
                continue;
            }
            self.free_owned += 1;
            let empty = self.count(index) == 0;
            if empty && self.current.is_none_or(|(current, _)| current != index) {
                self.owned.clear(u64::from(index.get()));
                self.free_owned = self.free_owned.saturating_sub(self.segments.pages());
                let generation = segment::word(region, &self.segments, index)?.generation;
                segment::free(region, &self.segments, Incarnation { index, generation })?;
            }
        }
        Ok(())
    }

    /// Clears a page's bit; says whether it was set.
    fn unuse(&mut self, bit: u64, index: SegmentIndex) -> bool {
        let was_used = self.used.clear(bit);
        if was_used {
            if let Some(count) = self.in_use.get_mut(index.get() as usize) {
                *count = count.saturating_sub(1);
                self.used_segments = self.used_segments.saturating_sub(u32::from(*count == 0));
                self.used_pages = self.used_pages.saturating_sub(1);
            }
        }
        was_used
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
            if let Some(run) = self.take(region, index, from, wanted)? {
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
                if let Some(run) = self.take(region, index, self.first_page(index), wanted)? {
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
        let hint = SegmentIndex::new(hint);
        let index = segment::allocate(region, &self.segments, branch, kind, hint)?;
        self.own(index);
        self.take(region, index, self.first_page(index), wanted)?.ok_or(Error::NoSpace)
    }

    /// Takes a run of unused pages of segment `index` from page number `from` on.
    fn take<B: Backing>(
        &mut self,
        region: &Region<B>,
        index: SegmentIndex,
        from: u64,
        wanted: u64,
    ) -> Result<Option<Run>> {
        let end = self.first_page(index).saturating_add(self.segments.pages());
        while let Some(first) = self.used.first_clear(from, end) {
            let limit = first.saturating_add(wanted.max(1)).min(end);
            let pages = self.used.first_set(first, limit) - first;
            let start = self.segments.area.start.checked_add(first.saturating_mul(BLOCK_SIZE));
            let start = start.ok_or(Error::Corrupt { what: "segment area", at: first })?;
            let pages = region.good_pages(start, pages);
            if pages == 0 {
                // It counts as used: nobody gets it as long as this mount has the segment.
                if self.used.set(first) {
                    self.count_used(index, 1);
                }
                continue;
            }
            // Pages become used when they are referenced; go on behind them meanwhile.
            self.current = Some((index, first + pages));
            self.handed_out = Some(Pages { first, count: pages });
            return Ok(Some(Run { start, pages }));
        }
        Ok(None)
    }

    /// Counts the pages that were handed out, and are not referenced yet, as used: for whoever has to
    /// allocate in between. [`Self::let_out`] with what is returned ends it.
    pub fn keep_back(&mut self) -> Option<Pages> {
        let pages = self.handed_out.take()?;
        for bit in pages.first..pages.first.saturating_add(pages.count) {
            if let Some((index, _)) = self.segment_of(bit).filter(|_| self.used.set(bit)) {
                self.count_used(index, 1);
            }
        }
        Some(pages)
    }

    /// The end of [`Self::keep_back`].
    pub fn let_out(&mut self, kept: Option<Pages>) {
        let Some(pages) = kept else { return };
        for bit in pages.first..pages.first.saturating_add(pages.count) {
            let Some((index, _)) = self.segment_of(bit) else { continue };
            let owned = self.owned.get(u64::from(index.get()));
            self.free_owned += u64::from(self.unuse(bit, index) && owned);
        }
        self.handed_out = kept;
    }

    /// Forgets that the last run was handed out: the operation that wanted it failed.
    pub fn give_up(&mut self) {
        self.handed_out = None;
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

    /// Whether two files, or two places of one, were ever given the same page: no driver does that,
    /// because writing to the one would change the other.
    #[must_use]
    pub const fn shared(&self) -> bool {
        self.shared
    }

    /// Whether pages in use are spread over many more segments than they would fill.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        let full = self.used_pages.div_ceil(self.segments.pages().max(1));
        u64::from(self.used_segments) > 2 * full + Self::SPARE_SEGMENTS
    }

    /// Segments that may be spread over before it is worth a thought.
    const SPARE_SEGMENTS: u64 = 16;

    /// Pages of segment `index` that are in use.
    #[must_use]
    pub fn count(&self, index: SegmentIndex) -> u32 {
        self.in_use.get(index.get() as usize).copied().unwrap_or(0)
    }

    fn first_page(&self, index: SegmentIndex) -> u64 {
        u64::from(index.get()).saturating_mul(self.segments.pages())
    }

    /// The segment of a bit, and the bit behind those of the segment.
    fn segment_of(&self, bit: u64) -> Option<(SegmentIndex, u64)> {
        let index = u32::try_from(bit.checked_div(self.segments.pages())?).ok()?;
        let index = SegmentIndex::new(index);
        let behind = self.first_page(index).saturating_add(self.segments.pages());
        (index.get() < self.segments.count).then_some((index, behind))
    }

    /// The bit and the segment of a page of the range, if it lies in a segment.
    fn locate(&self, page: PageRef) -> Option<(u64, SegmentIndex)> {
        let PageRef::Region(page) = page else { return None };
        self.locate_at(RegionOffset::new(u64::from(page) * BLOCK_SIZE))
    }

    fn locate_at(&self, at: RegionOffset) -> Option<(u64, SegmentIndex)> {
        let index = self.segments.index_of(at)?;
        Some((page_of(at).checked_sub(page_of(self.segments.area.start))?, index))
    }
}
