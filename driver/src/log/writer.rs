//! Appending to a branch's log.
//!
//! # Invariants
//!
//! - Only the branch's owner appends, so there is one writer per chain.
//! - An entry lies in one segment. Its bytes are written first; then the head segment's published
//!   position is stored with release: that store makes the entry exist.
//! - A segment is linked into the chain (its header written, then `end` and `next` of its
//!   predecessor) before anything in it is published.

use crate::error::{Error, Result};
use crate::log::encode::Encoded;
use crate::log::reader::tail;
use crate::region::{Backing, Region, StoreOrder};
use crate::segment;
use crate::superblock::Segments;
use daxfs_format::branch::LOG_OFFSET_OFFSET;
use daxfs_format::segment::{
    LogSegmentHeader, SegmentKind, LOG_END_OFFSET, LOG_HEADER_SIZE, LOG_MAGIC, LOG_NEXT_OFFSET,
    LOG_PUBLISHED_OFFSET,
};
use daxfs_format::{BranchId, LogPosition, RegionOffset, SegmentIndex};

/// Where the next entry goes.
#[derive(Clone, Copy)]
struct Tail {
    head: RegionOffset,
    segment: SegmentIndex,
    ordinal: u32,
    offset: u32,
}

/// The writing end of one branch's log.
pub struct LogWriter {
    branch: BranchId,
    record: RegionOffset,
    tail: Option<Tail>,
    /// A segment taken ahead, so that removing things works when the region is full.
    spare: Option<SegmentIndex>,
}

/// Whether an entry may use what is held back for making space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserve {
    /// It leaves the reserve alone.
    Keep,
    /// It makes space or ends things: it may use the reserve.
    Use,
}

impl LogWriter {
    /// The writing end of the log of `branch`, whose record lies at `record` and whose chain starts
    /// at `head`, if it has one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for a broken chain.
    pub fn open<B: Backing>(
        region: &Region<B>,
        segments: &Segments,
        branch: BranchId,
        record: RegionOffset,
        head: Option<SegmentIndex>,
    ) -> Result<Self> {
        let mut writer = Self { branch, record, tail: None, spare: None };
        if let Some(head) = head {
            let (segment, end) = tail(region, segments, head, branch)?;
            let head = segments.start_of(head)?;
            let (ordinal, offset) = (end.ordinal(), end.offset());
            writer.tail = Some(Tail { head, segment, ordinal, offset });
        }
        Ok(writer)
    }

    /// Appends and publishes one entry, with the `target` of a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`]; nothing was published.
    pub fn append<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        entry: &Encoded,
        target: &[u8],
        reserve: Reserve,
    ) -> Result<()> {
        let len = entry.total();
        if u64::from(LOG_HEADER_SIZE) + u64::from(len) > segments.size() {
            return Err(Error::InvalidArgument("log entry larger than a segment"));
        }
        if reserve == Reserve::Keep && self.spare.is_none() {
            self.spare = Some(self.take_segment(region, segments)?);
        }
        let tail = match self.tail {
            None => self.start(region, segments, reserve)?,
            Some(tail) if u64::from(tail.offset) + u64::from(len) > segments.size() => {
                self.extend(region, segments, tail, reserve)?
            }
            Some(tail) => tail,
        };
        let start = segments.start_of(tail.segment)?;
        let at = offset(start, u64::from(tail.offset))?;
        let end = tail.offset.saturating_add(len);
        region.copy_in(at, entry.front())?;
        let at = offset(at, entry.front().len() as u64)?;
        region.copy_in(at, target)?;
        // A target's NUL and the padding.
        let at = offset(at, target.len() as u64)?;
        let rest = offset(start, u64::from(end))?.checked_since(at);
        region.zero(at, rest.ok_or(Error::NameTooLong)?)?;
        // Release: pairs with the acquiring load of `published`; whoever sees the position sees the
        // entry, and the data pages it refers to.
        region.store(
            offset(tail.head, LOG_PUBLISHED_OFFSET)?,
            LogPosition::at(tail.ordinal, end).get(),
            StoreOrder::Release,
        )?;
        self.tail = Some(Tail { offset: end, ..tail });
        Ok(())
    }

    /// Gives the unused reserve back, when the mount stops writing.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn close<B: Backing>(&mut self, region: &Region<B>, segments: &Segments) -> Result<()> {
        match self.spare.take() {
            Some(spare) => segment::free(region, segments, spare),
            None => Ok(()),
        }
    }

    fn take_segment<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
    ) -> Result<SegmentIndex> {
        // Logs grow from the end of the region and data from its start, so that data stays together.
        let hint = SegmentIndex::new(segments.count.saturating_sub(segments.count / 8 + 1));
        segment::allocate(region, segments, self.branch, SegmentKind::Log, hint)
    }

    /// A segment for the log: a new one, or else the reserve.
    fn next_segment<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        reserve: Reserve,
    ) -> Result<SegmentIndex> {
        match self.take_segment(region, segments) {
            Err(Error::NoSpace) if reserve == Reserve::Use => {
                self.spare.take().ok_or(Error::NoSpace)
            }
            taken => taken,
        }
    }

    fn prepare<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        segment: SegmentIndex,
        ordinal: u32,
    ) -> Result<RegionOffset> {
        let start = segments.start_of(segment)?;
        let published = LogPosition::at(0, LOG_HEADER_SIZE).get();
        region.write(
            start,
            &LogSegmentHeader {
                magic: LOG_MAGIC.into(),
                ordinal: ordinal.into(),
                writer: self.branch.get().into(),
                reserved0: 0.into(),
                next: 0.into(),
                end: 0.into(),
                published: if ordinal == 0 { published.into() } else { 0.into() },
                reserved: [0; 16],
            },
        )?;
        Ok(start)
    }

    /// Gives the branch its first log segment.
    fn start<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        reserve: Reserve,
    ) -> Result<Tail> {
        let segment = self.next_segment(region, segments, reserve)?;
        let head = self.prepare(region, segments, segment, 0)?;
        // Release: pairs with the acquiring load of the record's log word; the header is there.
        region.store(offset(self.record, LOG_OFFSET_OFFSET)?, head.get(), StoreOrder::Release)?;
        let tail = Tail { head, segment, ordinal: 0, offset: LOG_HEADER_SIZE };
        self.tail = Some(tail);
        Ok(tail)
    }

    /// Goes on in a new segment.
    fn extend<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        tail: Tail,
        reserve: Reserve,
    ) -> Result<Tail> {
        let ordinal = tail.ordinal.checked_add(1).ok_or(Error::NoSpace)?;
        let segment = self.next_segment(region, segments, reserve)?;
        self.prepare(region, segments, segment, ordinal)?;
        let old = segments.start_of(tail.segment)?;
        // Relaxed: `next`, stored after it with release, orders it.
        region.store(offset(old, LOG_END_OFFSET)?, tail.offset.into(), StoreOrder::Relaxed)?;
        // Release: pairs with the acquiring load of `next` in `ChainLog::next`; the new segment's
        // header and this one's `end` are there.
        region.store(
            offset(old, LOG_NEXT_OFFSET)?,
            u64::from(segment.get()) + 1,
            StoreOrder::Release,
        )?;
        let tail = Tail { segment, ordinal, offset: LOG_HEADER_SIZE, ..tail };
        self.tail = Some(tail);
        Ok(tail)
    }
}

fn offset(start: RegionOffset, bytes: u64) -> Result<RegionOffset> {
    start.checked_add(bytes).ok_or(Error::OutOfBounds { offset: start.get(), len: bytes })
}
