//! The segment map: whose each segment of the delta region is.
//!
//! # Invariants
//!
//! - A segment is taken by one compare-and-swap of its map word from free, and passed on or given
//!   back by one from the exact word that was seen. A word of one segment does not come back while
//!   anybody remembers it (its generation goes up with each taking), so a kernel that slept can
//!   never free what is somebody else's by now.
//! - The map alone says who owns what: after a crash nothing else has to be looked at.

use crate::error::{Error, Result};
use crate::region::{Backing, LoadOrder, Region};
use crate::superblock::Segments;
use daxfs_format::segment::{SegmentKind, SegmentState, SegmentWord};
use daxfs_format::{BranchId, SegmentIndex};

/// One life of a segment, from taking to giving back: it keeps this identity while it is passed
/// from branch to branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// Which segment.
    pub index: SegmentIndex,
    /// Its map word's generation.
    pub generation: u16,
}

/// The map word of segment `index`.
///
/// # Errors
///
/// [`Error::Corrupt`] for a word that means nothing.
pub fn word<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: SegmentIndex,
) -> Result<SegmentWord> {
    // Acquire: pairs with the exchanges below.
    let word = region.load(segments.map_word(index)?, LoadOrder::Acquire)?;
    SegmentWord::from_word(word)
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
    let start = if hint.get() < segments.count { hint.get() } else { 0 };
    for index in (start..segments.count).chain(0..start) {
        let index = SegmentIndex::new(index);
        let at = segments.map_word(index)?;
        // Relaxed: a hint only, the exchange decides.
        let seen = region.load(at, LoadOrder::Relaxed)?;
        let Some(word) = SegmentWord::from_word(seen) else { continue };
        if word.state != SegmentState::Free {
            continue;
        }
        // A log needs all of a segment; data goes round what is bad.
        if kind == SegmentKind::Log && region.is_bad(segments.start_of(index)?, segments.size()) {
            continue;
        }
        // Acquires what the last owner did before it gave the segment back.
        if region.compare_exchange(at, seen, word.taken(owner, kind).to_word())?.is_ok() {
            return Ok(index);
        }
    }
    Err(Error::NoSpace)
}

/// Gives a segment back, if it still lives the life it is known by; says whether it did.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such segment.
pub fn free<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    segment: Incarnation,
) -> Result<bool> {
    let at = segments.map_word(segment.index)?;
    // Two tries: in between, the segment may have been passed to another branch once. If that
    // happens more often it is being looked after.
    for _ in 0..2 {
        // Relaxed: the exchange decides.
        let seen = region.load(at, LoadOrder::Relaxed)?;
        let Some(word) = SegmentWord::from_word(seen) else { return Ok(false) };
        if word.generation != segment.generation || word.state == SegmentState::Free {
            return Ok(false);
        }
        // Releases what we did to the segment to whoever takes it in `allocate`.
        if region.compare_exchange(at, seen, word.freed().to_word())?.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Calls `each` for every segment that is not free. Words that mean nothing are skipped: they can
/// be neither used nor freed safely.
///
/// # Errors
///
/// What `each` returns.
pub fn for_each_owned<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    mut each: impl FnMut(Incarnation, BranchId, SegmentKind) -> Result<()>,
) -> Result<()> {
    // Acquire: pairs with the exchanges above.
    region.load_each(segments.map.start, segments.count, LoadOrder::Acquire, |index, word| {
        let index = SegmentIndex::new(index);
        let Some(word) = SegmentWord::from_word(word) else { return Ok(()) };
        match word.state {
            SegmentState::Owned { owner, kind } => {
                each(Incarnation { index, generation: word.generation }, owner, kind)
            }
            SegmentState::Free => Ok(()),
        }
    })
}

/// Passes every segment of `from` to `to`.
///
/// # Errors
///
/// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
pub fn pass<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    from: BranchId,
    to: BranchId,
) -> Result<()> {
    for_each_owned(region, segments, |segment, owner, kind| {
        if owner != from {
            return Ok(());
        }
        let state = SegmentState::Owned { owner, kind };
        let word = SegmentWord { state, generation: segment.generation };
        let at = segments.map_word(segment.index)?;
        // If it fails, somebody else has passed it on.
        region.compare_exchange(at, word.to_word(), word.given_to(to).to_word()).map(|_| ())
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
        let word = SegmentWord::from_word(word);
        free += u32::from(word.is_some_and(|word| word.state == SegmentState::Free));
    }
    Ok(free)
}
