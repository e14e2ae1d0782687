//! Walking a log from front to back.
//!
//! # Invariants
//!
//! A walk is bounded whatever the media says: a contiguous log by its length, a chain by the number
//! of segments, each of which a walk enters at most once (also through link entries: the visited
//! set is shared by the whole walk).

use crate::error::{Error, Result};
use crate::log::entry::{self, Entry};
use crate::region::{Backing, LoadOrder, Region};
use crate::storage::Bitmap;
use crate::superblock::{Segments, Span};
use daxfs_format::log::ENTRY_ALIGN;
use daxfs_format::segment::{
    LogSegmentHeader, LOG_END_OFFSET, LOG_HEADER_SIZE, LOG_MAGIC, LOG_NEXT_OFFSET,
    LOG_PUBLISHED_OFFSET,
};
use daxfs_format::{BranchId, LogPosition, RegionOffset, SegmentIndex};

/// Reads a contiguous v3 log.
pub struct PlainLog {
    at: RegionOffset,
    left: u64,
}

impl PlainLog {
    /// The log in `span`.
    #[must_use]
    pub const fn new(span: Span) -> Self {
        Self { at: span.start, left: span.len }
    }

    /// The next entry with where it starts; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]; the walk must not go on.
    pub fn next<B: Backing>(
        &mut self,
        region: &Region<B>,
    ) -> Result<Option<(RegionOffset, Entry)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let at = self.at;
        let (entry, size) = entry::decode(region, at, self.left)?;
        self.left = self.left.saturating_sub(size);
        self.at = at
            .checked_add(size)
            .ok_or(Error::Corrupt { what: "size of a log entry", at: at.get() })?;
        Ok(Some((at, entry)))
    }
}

/// The checked header of a log segment.
pub(crate) struct ChainSegment {
    pub(crate) index: SegmentIndex,
    pub(crate) start: RegionOffset,
    pub(crate) ordinal: u32,
}

impl ChainSegment {
    /// Enters segment `index`, which must be number `ordinal` of `writer`'s chain.
    pub(crate) fn enter<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        index: SegmentIndex,
        ordinal: u32,
        writer: BranchId,
    ) -> Result<Self> {
        let start = segments.start_of(index)?;
        let header: LogSegmentHeader = region.read(start)?;
        let corrupt = |what| Error::Corrupt { what, at: start.get() };
        if header.magic.get() != LOG_MAGIC {
            return Err(corrupt("log segment magic"));
        }
        if header.ordinal.get() != ordinal {
            return Err(corrupt("place of a log segment in its chain"));
        }
        if header.writer.get() != writer.get() {
            return Err(corrupt("writer of a log segment"));
        }
        Ok(Self { index, start, ordinal })
    }

    /// Enters the segment that follows this one in the chain.
    fn next<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        writer: BranchId,
    ) -> Result<Self> {
        let next = self.word(region, LOG_NEXT_OFFSET)?;
        let index =
            next.checked_sub(1).and_then(|i| u32::try_from(i).ok()).ok_or(Error::Corrupt {
                what: "log chain ends before what is published",
                at: self.start.get(),
            })?;
        let ordinal = self.ordinal.saturating_add(1);
        Self::enter(region, segments, SegmentIndex::new(index), ordinal, writer)
    }

    /// Loads one of the header's words.
    pub(crate) fn word<B: Backing>(&self, region: &Region<B>, offset: u64) -> Result<u64> {
        let at = self.start.checked_add(offset);
        let at = at.ok_or(Error::OutOfBounds { offset: self.start.get(), len: offset })?;
        // Acquire: pairs with the releasing stores of `LogWriter`; what they publish lies before.
        region.load(at, LoadOrder::Acquire)
    }
}

/// How much of the chain that starts at `head` is published.
///
/// # Errors
///
/// [`Error::Corrupt`] if `head` is not the head of `writer`'s chain.
pub fn published<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    head: SegmentIndex,
    writer: BranchId,
) -> Result<LogPosition> {
    let head = ChainSegment::enter(region, segments, head, 0, writer)?;
    head.word(region, LOG_PUBLISHED_OFFSET).map(LogPosition::new)
}

/// The last segment of the chain that starts at `head`, and the position up to which the chain is
/// published: where a writer goes on. Looks at segment headers only.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn tail<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    head: SegmentIndex,
    writer: BranchId,
) -> Result<(SegmentIndex, LogPosition)> {
    let end = published(region, segments, head, writer)?;
    let mut segment = ChainSegment::enter(region, segments, head, 0, writer)?;
    // A chain has each segment once, so this many steps are enough for an honest one.
    for _ in 0..segments.count {
        if segment.ordinal >= end.ordinal() {
            check_end(&segment, segments, u64::from(end.offset()))?;
            return Ok((segment.index, end));
        }
        segment = segment.next(region, segments, writer)?;
    }
    Err(Error::Corrupt { what: "log segment is in a chain twice", at: segment.start.get() })
}

/// Checks a place where the entries of `segment` may end.
fn check_end(segment: &ChainSegment, segments: &Segments, end: u64) -> Result<u32> {
    if end < u64::from(LOG_HEADER_SIZE)
        || end > segments.size()
        || end % u64::from(ENTRY_ALIGN) != 0
    {
        return Err(Error::Corrupt { what: "end of a log segment", at: segment.start.get() });
    }
    Ok(end as u32)
}

/// Reads a chain of log segments.
pub struct ChainLog {
    segment: ChainSegment,
    writer: BranchId,
    offset: u32,
    published: LogPosition,
}

impl ChainLog {
    /// The chain that starts at `head`, as far as `published`. Segments entered are marked in
    /// `visited`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn new<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        head: SegmentIndex,
        writer: BranchId,
        published: LogPosition,
        visited: &mut Bitmap,
    ) -> Result<Self> {
        let segment = ChainSegment::enter(region, segments, head, 0, writer)?;
        visit(visited, segments, head)?;
        Ok(Self { segment, writer, offset: LOG_HEADER_SIZE, published })
    }

    /// The next entry with where it starts; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]; the walk must not go on.
    pub fn next<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        visited: &mut Bitmap,
    ) -> Result<Option<(RegionOffset, Entry)>> {
        loop {
            let end = self.end(region, segments)?;
            if self.offset < end {
                let at = self
                    .segment
                    .start
                    .checked_add(u64::from(self.offset))
                    .ok_or(self.corrupt("log position"))?;
                let (entry, size) = entry::decode(region, at, u64::from(end - self.offset))?;
                if size % u64::from(ENTRY_ALIGN) != 0 {
                    return Err(self.corrupt("size of a log entry"));
                }
                // `decode` keeps size within `end - offset`.
                self.offset = self.offset.saturating_add(size as u32);
                return Ok(Some((at, entry)));
            }
            if self.segment.ordinal >= self.published.ordinal() {
                return Ok(None);
            }
            self.segment = self.segment.next(region, segments, self.writer)?;
            visit(visited, segments, self.segment.index)?;
            self.offset = LOG_HEADER_SIZE;
        }
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { what, at: self.segment.start.get() }
    }

    /// Where the entries of the current segment end.
    fn end<B: Backing>(&self, region: &Region<B>, segments: &Segments) -> Result<u32> {
        let end = if self.segment.ordinal < self.published.ordinal() {
            self.segment.word(region, LOG_END_OFFSET)?
        } else {
            u64::from(self.published.offset())
        };
        check_end(&self.segment, segments, end)
    }
}

fn visit(visited: &mut Bitmap, segments: &Segments, index: SegmentIndex) -> Result<()> {
    if index.get() >= segments.count || !visited.set(u64::from(index.get())) {
        let at = u64::from(index.get());
        return Err(Error::Corrupt { what: "log segment is in a chain twice", at });
    }
    Ok(())
}
