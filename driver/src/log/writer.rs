//! Appending to a branch's log.
//!
//! # Invariants
//!
//! - Only the branch's owner appends, so there is one writer per chain.
//! - An entry lies in one segment. Its bytes are written first; then the head segment's published
//!   position is stored with release: that store makes the entry exist.
//! - A segment is linked into the chain (its header written, then `end` and `next` of its
//!   predecessor) before anything in it is published.
//! - A chain that goes on where another ended starts with a link entry for that one, which is never
//!   appended to again.

use crate::branch;
use crate::error::{Error, Result};
use crate::log::encode::{encode, Encoded};
use crate::log::entry::{Entry, Operation};
use crate::log::reader::ChainLog;
use crate::region::{Backing, Region, StoreOrder};
use crate::segment::{self, Incarnation};
use crate::storage::Bitmap;
use crate::superblock::{Geometry, Segments};
use daxfs_format::branch::LogWord;
use daxfs_format::segment::{
    LogSegmentHeader, SegmentKind, LOG_END_OFFSET, LOG_HEADER_SIZE, LOG_MAGIC, LOG_NEXT_OFFSET,
    LOG_PUBLISHED_OFFSET,
};
use daxfs_format::{BranchId, Ino, LogPosition, RegionOffset, SegmentIndex, Slot, Timestamp};

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
    slot: Slot,
    /// The branch's log word.
    word: LogWord,
    tail: Option<Tail>,
    /// A segment taken ahead, so that removing things works when the region is full.
    spare: Option<SegmentIndex>,
    /// The entry to append next: here, because kernels have small stacks.
    entry: Encoded,
}

/// Whether an entry may use what is held back for making space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserve {
    /// It leaves the reserve alone.
    Keep,
    /// It makes space or ends things: it may use the reserve.
    Use,
}

/// What a chain has to start with: everything that was said before it.
#[derive(Clone, Copy)]
pub struct Base<'c> {
    /// The chain it goes on from, read to its end; `None` where the base image is all there is.
    pub chain: Option<&'c ChainLog>,
    /// The lowest inode number not used so far.
    pub next_ino: Ino,
}

impl LogWriter {
    /// The writing end of the log of `branch` in `slot`. `chain` is what was read to its end: the
    /// branch's own chain, or that of whoever it goes on from.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn new(
        segments: &Segments,
        (branch, slot): (BranchId, Slot),
        word: LogWord,
        chain: Option<&ChainLog>,
    ) -> Result<Self> {
        let (tail, spare, entry) = (None, None, Encoded::default());
        let mut writer = Self { branch, slot, word, tail, spare, entry };
        // A chain that a commit brought was another branch's: it is finished.
        if let Some(chain) =
            chain.filter(|chain| word.head == Some(chain.head()) && chain.writer() == branch)
        {
            let at = chain.position();
            writer.tail = Some(Tail {
                head: segments.start_of(chain.head())?,
                segment: chain.segment(),
                ordinal: at.ordinal(),
                offset: at.offset(),
            });
        }
        Ok(writer)
    }

    /// Whether there is a chain to append to.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.tail.is_some()
    }

    /// The branch's log word as this writer left it.
    #[must_use]
    pub const fn word(&self) -> LogWord {
        self.word
    }

    /// The chain, as far as it is written; `None` before it was started.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if its segments do not exist (they do).
    pub fn chain(&self, segments: &Segments) -> Result<Option<ChainLog>> {
        let (Some(tail), Some(head)) = (&self.tail, self.word.head) else { return Ok(None) };
        let at = LogPosition::at(tail.ordinal, tail.offset);
        ChainLog::written(segments, (head, self.branch), tail.segment, at).map(Some)
    }

    /// Where the next entry goes; the chain's start before it was started.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.tail.map_or(LogPosition::new(0), |tail| LogPosition::at(tail.ordinal, tail.offset))
    }

    /// Starts the chain to append to, if there is none; says whether it did. Segments that become part
    /// of it are marked in `chain_segments`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::Stale`] if somebody else has given the branch a log,
    /// [`Error::Corrupt`].
    pub fn start<B: Backing>(
        &mut self,
        region: &Region<B>,
        geometry: &Geometry,
        base: Base<'_>,
        reserve: Reserve,
        chain_segments: &mut Bitmap,
    ) -> Result<bool> {
        if self.tail.is_some() {
            return Ok(false);
        }
        let segments = geometry.segments()?;
        self.hold_reserve(region, segments, reserve)?;
        let segment = self.next_segment(region, segments, reserve)?;
        let started = self.write_head(region, segments, segment, base);
        match started.and_then(|tail| self.install(region, geometry, segment, tail)) {
            Ok(()) => {
                chain_segments.set(u64::from(segment.get()));
                Ok(true)
            }
            Err(error) => {
                self.give_back(region, segments, segment)?;
                Err(error)
            }
        }
    }

    /// Makes a chain that was written beforehand the branch's log: everybody sees it, and nobody
    /// the old one, from one exchange on.
    fn install<B: Backing>(
        &mut self,
        region: &Region<B>,
        geometry: &Geometry,
        head: SegmentIndex,
        tail: Tail,
    ) -> Result<()> {
        let word = self.word.then(head);
        if !branch::exchange_log(region, geometry, self.slot, self.word, word)? {
            return Err(Error::Stale);
        }
        self.word = word;
        self.tail = Some(tail);
        Ok(())
    }

    /// Replaces the whole log by the entries that `write` appends to the writer it is given. The
    /// segments of the new chain are returned; those of the old one are garbage.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::NoMemory`], [`Error::Stale`], what `write` returns; the log is
    /// what it was then.
    pub fn rewrite<B: Backing>(
        &mut self,
        region: &Region<B>,
        geometry: &Geometry,
        write: impl FnOnce(&mut Self, &mut Bitmap) -> Result<()>,
    ) -> Result<Bitmap> {
        let segments = geometry.segments()?;
        let mut chain = Bitmap::new(u64::from(segments.count))?;
        let (branch, slot, word) = (self.branch, self.slot, self.word);
        let (tail, spare, entry) = (None, self.spare.take(), Encoded::default());
        let mut fresh = Self { branch, slot, word, tail, spare, entry };
        let written = fresh.write_unseen(region, segments, &mut chain, write).and_then(|head| {
            let tail = fresh.tail.ok_or(Error::Stale)?;
            self.install(region, geometry, head, tail)
        });
        // What is left of the reserve stays the reserve.
        self.spare = fresh.spare.take();
        match written {
            Ok(()) => Ok(chain),
            Err(error) => {
                for index in (0..segments.count).filter(|&i| chain.get(u64::from(i))) {
                    self.give_back(region, segments, SegmentIndex::new(index))?;
                }
                Err(error)
            }
        }
    }

    /// Writes a chain that nobody sees yet; returns its head.
    fn write_unseen<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        chain: &mut Bitmap,
        write: impl FnOnce(&mut Self, &mut Bitmap) -> Result<()>,
    ) -> Result<SegmentIndex> {
        let head = self.next_segment(region, segments, Reserve::Use)?;
        chain.set(u64::from(head.get()));
        let base = Base { chain: None, next_ino: Ino::ROOT };
        self.tail = Some(self.write_head(region, segments, head, base)?);
        write(self, chain)?;
        Ok(head)
    }

    /// Whether the next entry, of `len` bytes, needs another segment.
    #[must_use]
    pub fn is_at_border(&self, segments: &Segments, len: u32) -> bool {
        self.tail.is_none_or(|tail| u64::from(tail.offset) + u64::from(len) > segments.size())
    }

    /// Writes the head of a new chain, link entry included, which nobody sees yet.
    fn write_head<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        segment: SegmentIndex,
        base: Base<'_>,
    ) -> Result<Tail> {
        let head = segments.start_of(segment)?;
        let mut end = LOG_HEADER_SIZE;
        if let Some(chain) = base.chain {
            let operation = Operation::Link {
                branch: chain.writer(),
                head: chain.head(),
                published: chain.position(),
                next_ino: base.next_ino,
            };
            let time = Timestamp::default();
            let mut link = Encoded::default();
            encode(&Entry { ino: Ino::ROOT, time, operation }, &mut link)?;
            region.copy_in(offset(head, u64::from(end))?, link.front())?;
            end = end.saturating_add(link.total());
        }
        self.prepare(region, head, 0, LogPosition::at(0, end))?;
        Ok(Tail { head, segment, ordinal: 0, offset: end })
    }

    /// Encodes the entry to append next; returns its length in the log.
    ///
    /// # Errors
    ///
    /// As [`encode`].
    pub fn encode(&mut self, entry: &Entry<'_>) -> Result<u32> {
        encode(entry, &mut self.entry)?;
        Ok(self.entry.total())
    }

    /// Appends and publishes the entry that was encoded last, with the `target` of a symbolic link, to a
    /// chain that was started.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`]; nothing was published.
    pub fn append<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        target: &[u8],
        reserve: Reserve,
        chain_segments: &mut Bitmap,
    ) -> Result<()> {
        let len = self.entry.total();
        if u64::from(LOG_HEADER_SIZE) + u64::from(len) > segments.size() {
            return Err(Error::InvalidArgument("log entry larger than a segment"));
        }
        self.hold_reserve(region, segments, reserve)?;
        let mut tail = self.tail.ok_or(Error::Stale)?;
        if u64::from(tail.offset) + u64::from(len) > segments.size() {
            tail = self.extend(region, segments, tail, reserve)?;
            chain_segments.set(u64::from(tail.segment.get()));
        }
        let start = segments.start_of(tail.segment)?;
        let at = offset(start, u64::from(tail.offset))?;
        let end = tail.offset.saturating_add(len);
        let front = self.entry.front();
        region.copy_in(at, front)?;
        if !target.is_empty() {
            let at = offset(at, front.len() as u64)?;
            region.copy_in(at, target)?;
            // Its NUL and the padding.
            let at = offset(at, target.len() as u64)?;
            let rest = offset(start, u64::from(end))?.checked_since(at);
            region.zero(at, rest.ok_or(Error::NameTooLong)?)?;
        }
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

    /// The segment held in reserve.
    #[must_use]
    pub const fn spare(&self) -> Option<SegmentIndex> {
        self.spare
    }

    /// Gives the unused reserve back, when the mount stops writing.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the map left the range (it cannot: geometry is checked).
    pub fn close<B: Backing>(&mut self, region: &Region<B>, segments: &Segments) -> Result<()> {
        match self.spare.take() {
            Some(spare) => self.give_back(region, segments, spare),
            None => Ok(()),
        }
    }

    /// Gives back a segment of ours that nobody else has seen.
    fn give_back<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        index: SegmentIndex,
    ) -> Result<()> {
        let generation = segment::word(region, segments, index)?.generation;
        segment::free(region, segments, Incarnation { index, generation }).map(|_| ())
    }

    fn hold_reserve<B: Backing>(
        &mut self,
        region: &Region<B>,
        segments: &Segments,
        reserve: Reserve,
    ) -> Result<()> {
        if reserve == Reserve::Keep && self.spare.is_none() {
            self.spare = Some(self.take_segment(region, segments)?);
        }
        Ok(())
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

    /// Writes the header of segment number `ordinal`.
    fn prepare<B: Backing>(
        &self,
        region: &Region<B>,
        start: RegionOffset,
        ordinal: u32,
        published: LogPosition,
    ) -> Result<()> {
        region.write(
            start,
            &LogSegmentHeader {
                magic: LOG_MAGIC.into(),
                ordinal: ordinal.into(),
                writer: self.branch.get().into(),
                reserved0: 0.into(),
                next: 0.into(),
                end: 0.into(),
                published: published.get().into(),
                reserved: [0; 16],
            },
        )
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
        self.prepare(region, segments.start_of(segment)?, ordinal, LogPosition::new(0))?;
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
