//! The cleaner: what is left in segments that hold little is moved together.
//!
//! A branch takes whole segments, and a commit hands them to its parent as they are. What later
//! branches change leaves holes in them that nobody fills, if nobody ever writes to the parent itself:
//! one page that stays is enough to keep a segment. So a mount that replaces its log by a snapshot
//! moves the pages of such segments of the parent into segments of its own first. When it commits,
//! the parent's are garbage.
//!
//! # Invariants
//!
//! - Only the snapshot tells where a page was moved to. Should it not come to be, everything goes back
//!   before anything else is done.
//! - Nothing is written to the old pages: the parent, and whoever follows it, has them until the
//!   commit, as with any page that a branch replaces.

use super::state::Current;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::segment;
use crate::storage::{Bitmap, TryVec};
use crate::volume::Volume;
use daxfs_format::segment::SegmentKind;
use daxfs_format::{Ino, RegionOffset, BLOCK_SIZE};

/// Pages moved at a time, at most: 8 MiB.
const MOST_PAGES: u64 = 2048;
/// Segments that have to be won for the trouble.
const LEAST_GAIN: u64 = 8;

/// A run of pages that was moved.
#[derive(Clone, Copy)]
struct Moved {
    ino: Ino,
    page: u64,
    pages: u64,
    from: RegionOffset,
}

/// What was moved for a snapshot.
#[derive(Default)]
pub(super) struct Cleaned(TryVec<Moved>);

impl Cleaned {
    /// Tells the front end that the pages are elsewhere.
    pub(super) fn tell<P: Platform>(&self, platform: &P) {
        for run in self.0.iter() {
            platform.moved(run.ino, run.page..run.page.saturating_add(run.pages));
        }
    }
}

impl Current {
    /// Whether [`Self::clean`] would win enough.
    pub(super) fn cleaning_pays<P: Platform>(&self, volume: &Volume<P>) -> Result<bool> {
        let is_sparse = self.writing.as_ref().is_some_and(|writing| writing.space.is_sparse());
        Ok(is_sparse && self.victims(volume)?.is_some())
    }

    /// Segments of the parent that hold little, if there are enough of them.
    fn victims<P: Platform>(&self, volume: &Volume<P>) -> Result<Option<Bitmap>> {
        let segments = volume.geometry.segments()?;
        let parent = self.branch.ok_or(Error::ReadOnly)?.parent;
        let space = &self.writing.as_ref().ok_or(Error::ReadOnly)?.space;
        if parent.is_none() {
            return Ok(None);
        }
        let mut victims = Bitmap::new(u64::from(segments.count))?;
        let (mut won, mut pages) = (0_u64, 0);
        // The emptiest first.
        for (above, limit) in
            [(0, segments.pages() / 8), (segments.pages() / 8, segments.pages() / 2)]
        {
            segment::for_each_owned(&volume.region, segments, |segment, owner, kind| {
                let used = u64::from(space.count(segment.index));
                let holds_little = used > above && used <= limit && pages + used <= MOST_PAGES;
                if owner == parent && kind == SegmentKind::Data && holds_little {
                    victims.set(u64::from(segment.index.get()));
                    won += 1;
                    pages += used;
                }
                Ok(())
            })?;
        }
        let needed = pages.div_ceil(segments.pages().max(1));
        Ok((won >= needed + LEAST_GAIN).then_some(victims))
    }

    /// Moves the pages of segments that hold little, where that pays. Call before a snapshot is
    /// written, and [`Self::undo`] if it is not.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::Corrupt`]; nothing was moved then.
    pub(super) fn clean<P: Platform>(&mut self, volume: &Volume<P>) -> Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        if !self.writing.as_ref().is_some_and(|writing| writing.space.is_sparse()) {
            return Ok(cleaned);
        }
        let Some(victims) = self.victims(volume)? else { return Ok(cleaned) };
        // Something may be about to be written to pages of ours.
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        let kept = writing.space.keep_back();
        let moved = self.move_out_of(volume, &victims, &mut cleaned.0);
        if let Some(writing) = &mut self.writing {
            writing.space.let_out(kept);
        }
        match moved {
            // As far as there is room.
            Ok(()) | Err(Error::NoSpace) => Ok(cleaned),
            Err(error) => {
                self.undo(volume, cleaned)?;
                Err(error)
            }
        }
    }

    /// Moves the pages of segments `victims`.
    fn move_out_of<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        victims: &Bitmap,
        moved: &mut TryVec<Moved>,
    ) -> Result<()> {
        let segments = volume.geometry.segments()?;
        let mut runs = TryVec::new();
        self.index.for_each_run(|ino, page, pages, at| {
            let mut done = 0;
            while done < pages {
                let from = at.checked_add(done * BLOCK_SIZE);
                let from = from.ok_or(Error::Corrupt { what: "page", at: at.get() })?;
                let index = segments.index_of(from);
                let count = segments.pages_left(from).clamp(1, pages - done);
                if index.is_some_and(|index| victims.get(u64::from(index.get()))) {
                    runs.push(Moved { ino, page: page + done, pages: count, from })?;
                }
                done += count;
            }
            Ok(())
        })?;
        runs.iter().try_for_each(|run| self.move_run(volume, run, moved))
    }

    /// Moves one run of pages, in pieces if need be.
    fn move_run<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        run: &Moved,
        moved: &mut TryVec<Moved>,
    ) -> Result<()> {
        let branch = self.branch.ok_or(Error::ReadOnly)?.id;
        let mut left = *run;
        while left.pages > 0 {
            moved.reserve(1)?;
            let space = &mut self.writing.as_mut().ok_or(Error::ReadOnly)?.space;
            let new = space.allocate(&volume.region, branch, left.pages)?;
            let pages = new.pages.min(left.pages);
            volume.region.copy_within(left.from, new.start, pages * BLOCK_SIZE)?;
            self.index.relocate(volume.view(), space, left.ino, (left.page, pages), new.start)?;
            moved.push(Moved { pages, ..left })?;
            volume.show_life(0)?;
            let from = left.from.checked_add(pages * BLOCK_SIZE);
            left.from = from.ok_or(Error::Corrupt { what: "page", at: left.from.get() })?;
            left.page += pages;
            left.pages -= pages;
        }
        Ok(())
    }

    /// Puts everything back where it was: the log says that it is there.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] (it cannot: the maps have these pages); the mount must not be used then.
    pub(super) fn undo<P: Platform>(&mut self, volume: &Volume<P>, cleaned: Cleaned) -> Result<()> {
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        for run in cleaned.0.iter() {
            let place = (run.page, run.pages);
            let back = &mut writing.space;
            let done = self.index.relocate(volume.view(), back, run.ino, place, run.from);
            self.torn |= done.is_err();
            done?;
        }
        Ok(())
    }
}
