//! Walking a log from front to back.
//!
//! # Invariants
//!
//! A walk is bounded whatever the media says: a contiguous log by its length, a chain by the number
//! of segments, each of which a walk enters at most once (also through link entries: the visited
//! set is shared by the whole walk).

use crate::error::{Error, Result};
use crate::log::decode::{decode, Decoded, Window};
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

    /// Decodes the next entry, and says where it starts; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]; the walk must not go on.
    pub fn next<'w, B: Backing>(
        &mut self,
        region: &Region<B>,
        window: &'w mut Window,
    ) -> Result<Option<(RegionOffset, Decoded<'w>)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let at = self.at;
        let found = decode(region, at, self.left, window)?;
        self.left = self.left.saturating_sub(found.size);
        self.at = at
            .checked_add(found.size)
            .ok_or(Error::Corrupt { what: "size of a log entry", at: at.get() })?;
        Ok(Some((at, found)))
    }
}

/// The checked header of a log segment.
#[derive(Clone, Copy)]
struct ChainSegment {
    index: SegmentIndex,
    start: RegionOffset,
    ordinal: u32,
    writer: BranchId,
}

impl ChainSegment {
    /// Enters segment `index` as number `ordinal` of a chain.
    fn enter<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        index: SegmentIndex,
        ordinal: u32,
        visited: &mut Bitmap,
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
        if !visited.set(u64::from(index.get())) {
            return Err(corrupt("log segment is in a chain twice"));
        }
        Ok(Self { index, start, ordinal, writer: BranchId::new(header.writer.get()) })
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { what, at: self.start.get() }
    }

    /// Enters the segment that follows this one in the chain.
    fn next<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        visited: &mut Bitmap,
    ) -> Result<Self> {
        let next = self.word(region, LOG_NEXT_OFFSET)?;
        let index = next
            .checked_sub(1)
            .and_then(|i| u32::try_from(i).ok())
            .ok_or(self.corrupt("log chain ends before what is published"))?;
        let ordinal = self.ordinal.saturating_add(1);
        let next = Self::enter(region, segments, SegmentIndex::new(index), ordinal, visited)?;
        if next.writer != self.writer {
            return Err(next.corrupt("writer of a log segment"));
        }
        Ok(next)
    }

    /// Loads one of the header's words.
    fn word<B: Backing>(&self, region: &Region<B>, offset: u64) -> Result<u64> {
        let at = self.start.checked_add(offset);
        let at = at.ok_or(Error::OutOfBounds { offset: self.start.get(), len: offset })?;
        // Acquire: pairs with the releasing stores of `LogWriter`; what they publish lies before.
        region.load(at, LoadOrder::Acquire)
    }

    /// Checks a place where the entries of this segment may end.
    fn check_end(&self, segments: &Segments, end: u64) -> Result<u32> {
        if end < u64::from(LOG_HEADER_SIZE)
            || end > segments.size()
            || end % u64::from(ENTRY_ALIGN) != 0
        {
            return Err(self.corrupt("end of a log segment"));
        }
        Ok(end as u32)
    }
}

/// Reads a chain of log segments, as far as it is published; can go on when more is.
#[derive(Clone, Copy)]
pub struct ChainLog {
    head: ChainSegment,
    segment: ChainSegment,
    offset: u32,
    published: LogPosition,
}

impl ChainLog {
    /// The chain that starts at `head`, as far as it is published now. Segments entered are marked
    /// in `visited`, and must not be marked before.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn open<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        head: SegmentIndex,
        visited: &mut Bitmap,
    ) -> Result<Self> {
        let head = ChainSegment::enter(region, segments, head, 0, visited)?;
        let mut log = Self {
            head,
            segment: head,
            offset: LOG_HEADER_SIZE,
            published: LogPosition::at(0, LOG_HEADER_SIZE),
        };
        log.catch_up(region)?;
        Ok(log)
    }

    /// The chain of `writer` that starts at `head`, as far as `published`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn part<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        (head, writer): (SegmentIndex, BranchId),
        published: LogPosition,
        visited: &mut Bitmap,
    ) -> Result<Self> {
        let head = ChainSegment::enter(region, segments, head, 0, visited)?;
        if head.writer != writer {
            return Err(head.corrupt("writer of a log segment"));
        }
        Ok(Self { head, segment: head, offset: LOG_HEADER_SIZE, published })
    }

    /// The chain of `writer` that starts at `head` and was written, by the caller, up to `at` in
    /// `segment`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there are no such segments.
    pub fn written(
        segments: &Segments,
        (head, writer): (SegmentIndex, BranchId),
        segment: SegmentIndex,
        at: LogPosition,
    ) -> Result<Self> {
        let place = |index, ordinal| -> Result<ChainSegment> {
            let start = segments.start_of(index)?;
            Ok(ChainSegment { index, start, ordinal, writer })
        };
        Ok(Self {
            head: place(head, 0)?,
            segment: place(segment, at.ordinal())?,
            offset: at.offset(),
            published: at,
        })
    }

    /// The first segment of the chain.
    #[must_use]
    pub const fn head(&self) -> SegmentIndex {
        self.head.index
    }

    /// The branch that wrote the chain.
    #[must_use]
    pub const fn writer(&self) -> BranchId {
        self.head.writer
    }

    /// The segment that was reached.
    #[must_use]
    pub const fn segment(&self) -> SegmentIndex {
        self.segment.index
    }

    /// The position that was reached: where the next entry starts.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        LogPosition::at(self.segment.ordinal, self.offset)
    }

    /// Whether more is published than was read when this was last asked.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: segments are checked).
    pub fn has_more<B: Backing>(&self, region: &Region<B>) -> Result<bool> {
        Ok(self.head.word(region, LOG_PUBLISHED_OFFSET)? != self.published.get())
    }

    /// Takes notice of what has been published since.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if less is published than before.
    pub fn catch_up<B: Backing>(&mut self, region: &Region<B>) -> Result<()> {
        let published = LogPosition::new(self.head.word(region, LOG_PUBLISHED_OFFSET)?);
        if published < self.published {
            return Err(self.head.corrupt("published position of a log"));
        }
        self.published = published;
        Ok(())
    }

    /// Decodes the next entry, and says where it starts; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]; the walk must not go on.
    pub fn next<'w, B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        visited: &mut Bitmap,
        window: &'w mut Window,
    ) -> Result<Option<(RegionOffset, Decoded<'w>)>> {
        loop {
            let end = self.end(region, segments)?;
            if self.offset < end {
                let at = self
                    .segment
                    .start
                    .checked_add(u64::from(self.offset))
                    .ok_or(self.segment.corrupt("log position"))?;
                let found = decode(region, at, u64::from(end - self.offset), window)?;
                if found.size % u64::from(ENTRY_ALIGN) != 0 {
                    return Err(self.segment.corrupt("size of a log entry"));
                }
                // `decode` keeps size within `end - offset`.
                self.offset = self.offset.saturating_add(found.size as u32);
                return Ok(Some((at, found)));
            }
            if self.segment.ordinal >= self.published.ordinal() {
                return Ok(None);
            }
            self.segment = self.segment.next(region, segments, visited)?;
            self.offset = LOG_HEADER_SIZE;
        }
    }

    /// Where the entries of the current segment end.
    fn end<B: Backing>(&self, region: &Region<B>, segments: &Segments) -> Result<u32> {
        let end = if self.segment.ordinal < self.published.ordinal() {
            self.segment.word(region, LOG_END_OFFSET)?
        } else {
            u64::from(self.published.offset())
        };
        self.segment.check_end(segments, end)
    }
}
