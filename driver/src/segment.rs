//! The segment map: whose each segment of the delta region is.
//!
//! # Invariants
//!
//! A segment is allocated by one compare-and-swap of its map word from free, and freed by one store
//! of the free word, which only its owner does (or whoever ends a branch whose owner is gone). The
//! map alone says who owns what: after a crash nothing else has to be looked at.

use crate::error::{Error, Result};
use crate::region::{Backing, LoadOrder, Region, StoreOrder};
use crate::superblock::Segments;
use daxfs_format::segment::{SegmentKind, SegmentState};
use daxfs_format::{BranchId, SegmentIndex};

/// The state of segment `index`.
///
/// # Errors
///
/// [`Error::Corrupt`] for a word that is no state.
pub fn state<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: SegmentIndex,
) -> Result<SegmentState> {
    // Acquire: pairs with the exchange in `allocate` and the store in `free`.
    let word = region.load(segments.map_word(index)?, LoadOrder::Acquire)?;
    SegmentState::from_word(word)
        .ok_or(Error::Corrupt { what: "segment map word", at: u64::from(index.get()) })
}

/// Takes a free segment for `owner`, looking from `hint` on and round once.
///
/// # Errors
///
/// [`Error::NoSpace`] if there is none.
pub fn allocate<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    owner: BranchId,
    kind: SegmentKind,
    hint: SegmentIndex,
) -> Result<SegmentIndex> {
    let taken = SegmentState::Owned { owner, kind }.to_word();
    let start = if hint.get() < segments.count { hint.get() } else { 0 };
    for index in (start..segments.count).chain(0..start) {
        let index = SegmentIndex::new(index);
        let at = segments.map_word(index)?;
        // Relaxed: a hint only, the exchange decides.
        if region.load(at, LoadOrder::Relaxed)? != 0 {
            continue;
        }
        // Acquires what the last owner did before `free`, releases nothing yet.
        if region.compare_exchange(at, 0, taken)?.is_ok() {
            return Ok(index);
        }
    }
    Err(Error::NoSpace)
}

/// Gives segment `index` back.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such segment.
pub fn free<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: SegmentIndex,
) -> Result<()> {
    // Release: what we did to the segment comes before the next owner's exchange in `allocate`.
    region.store(segments.map_word(index)?, 0, StoreOrder::Release)
}

/// Calls `each` for every segment that is not free. Words that are no state are skipped: they can
/// be neither used nor freed safely.
///
/// # Errors
///
/// What `each` returns.
pub fn for_each_owned<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    mut each: impl FnMut(SegmentIndex, BranchId, SegmentKind) -> Result<()>,
) -> Result<()> {
    for index in 0..segments.count {
        let index = SegmentIndex::new(index);
        if let Ok(SegmentState::Owned { owner, kind }) = state(region, segments, index) {
            each(index, owner, kind)?;
        }
    }
    Ok(())
}

/// Gives every segment of `from` to `to`, or back to the pool.
///
/// # Errors
///
/// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
pub fn transfer<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    from: BranchId,
    to: Option<BranchId>,
) -> Result<()> {
    for_each_owned(region, segments, |index, owner, kind| {
        if owner != from {
            return Ok(());
        }
        let word = to.map_or(0, |owner| SegmentState::Owned { owner, kind }.to_word());
        // Release: as in `free`.
        region.store(segments.map_word(index)?, word, StoreOrder::Release)
    })
}

/// Number of free segments.
///
/// # Errors
///
/// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
pub fn count_free<B: Backing>(region: &Region<B>, segments: &Segments) -> Result<u32> {
    let mut free = 0;
    for index in 0..segments.count {
        // Relaxed: a count is out of date when it is returned.
        let word = region.load(segments.map_word(SegmentIndex::new(index))?, LoadOrder::Relaxed)?;
        free += u32::from(word == 0);
    }
    Ok(free)
}
