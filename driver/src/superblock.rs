//! The superblock, parsed once: where everything in the range lies.
//!
//! # Invariants
//!
//! A [`Geometry`] is a private copy made at mount. Every region in it lies inside the range, they
//! do not overlap, and counts and alignments are within the format's limits. The superblock is not
//! read again for geometry, so a peer that changes it later changes nothing here.

use crate::error::{Error, Result};
use crate::region::{Backing, Region};
use daxfs_format::base::SUPERBLOCK_SIZE;
use daxfs_format::branch::{MAX_BRANCHES, RECORD_SIZE};
use daxfs_format::extension::{self, Compat, ExtensionHeader, Incompat, RoCompat};
use daxfs_format::segment::{MAP_WORD_SIZE, SHIFT_RANGE};
use daxfs_format::superblock::{self, Superblock};
use daxfs_format::{coordination, RegionOffset, SegmentIndex, Slot, BLOCK_SIZE, VERSION};

/// Largest image: page references are 31-bit page numbers.
pub const MAX_IMAGE_SIZE: u64 = BLOCK_SIZE << 31;

/// A run of bytes of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its first byte.
    pub start: RegionOffset,
    /// Its length in bytes.
    pub len: u64,
}

impl Span {
    /// The span of `len` bytes at `start`, if it lies inside `total` bytes.
    fn within(start: u64, len: u64, total: u64, what: &'static str) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= total => Ok(Self { start: RegionOffset::new(start), len }),
            _ => Err(Error::Corrupt { what, at: start }),
        }
    }

    /// The byte behind the last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.get().saturating_add(self.len)
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.len > 0
            && other.len > 0
            && self.start.get() < other.end()
            && other.start.get() < self.end()
    }
}

/// What the delta region is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delta {
    /// There is none: a static image.
    None,
    /// A plain v3 delta region: one contiguous log per branch.
    Plain(Span),
    /// A segmented one (format.md, "Segments").
    Segmented(Segments),
}

/// Where the structures of a segmented delta region lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segments {
    /// The delta region.
    pub delta: Span,
    /// The coordination block.
    pub coordination: Span,
    /// The member table.
    pub members: Span,
    /// Records in the member table.
    pub member_count: u32,
    /// The segment map.
    pub map: Span,
    /// All segments.
    pub area: Span,
    /// Number of segments.
    pub count: u32,
    /// log2 of the segment size.
    pub shift: u32,
    /// How long a member may go without a heartbeat, in milliseconds.
    pub lease_ms: u64,
}

impl Segments {
    /// Bytes of one segment.
    #[must_use]
    pub const fn size(&self) -> u64 {
        1 << self.shift
    }

    /// Pages of one segment.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.size() / BLOCK_SIZE
    }

    /// Where segment `index` starts.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there is no such segment.
    pub fn start_of(&self, index: SegmentIndex) -> Result<RegionOffset> {
        if index.get() >= self.count {
            return Err(Error::Corrupt { what: "segment index", at: u64::from(index.get()) });
        }
        let bytes = u64::from(index.get()) << self.shift;
        self.area
            .start
            .checked_add(bytes)
            .ok_or(Error::Corrupt { what: "segment index", at: bytes })
    }

    /// The segment that holds `at`, if one does.
    #[must_use]
    pub fn index_of(&self, at: RegionOffset) -> Option<SegmentIndex> {
        let bytes = at.checked_since(self.area.start)?;
        if bytes >= self.area.len {
            return None;
        }
        u32::try_from(bytes >> self.shift).ok().map(SegmentIndex::new)
    }

    /// Pages from that at `at` to the end of its segment; none if it lies in none.
    #[must_use]
    pub fn pages_left(&self, at: RegionOffset) -> u64 {
        match at.checked_since(self.area.start).filter(|&bytes| bytes < self.area.len) {
            Some(bytes) => (self.size() - (bytes & (self.size() - 1))) / BLOCK_SIZE,
            None => 0,
        }
    }

    /// Where the map word of segment `index` lies.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there is no such segment.
    pub fn map_word(&self, index: SegmentIndex) -> Result<RegionOffset> {
        let corrupt = Error::Corrupt { what: "segment index", at: u64::from(index.get()) };
        if index.get() >= self.count {
            return Err(corrupt);
        }
        self.map.start.checked_add(u64::from(index.get()) * MAP_WORD_SIZE).ok_or(corrupt)
    }
}

/// Where everything in the range lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes of the image.
    pub total_size: u64,
    /// The base image.
    pub base: Span,
    /// The branch table; empty in a static image.
    pub branch_table: Span,
    /// Records in the branch table.
    pub branch_slots: u32,
    /// The delta region.
    pub delta: Delta,
    /// The image's identity; zero where it has none.
    pub uuid: [u8; 16],
    /// Whether unknown `ro_compat` features forbid writing.
    pub read_only_features: bool,
}

impl Geometry {
    /// Reads and checks the superblock and its extension header.
    ///
    /// # Errors
    ///
    /// [`Error::NotDaxfs`], [`Error::Unsupported`], or [`Error::Corrupt`] naming the first rule
    /// that is broken.
    pub fn read<B: Backing>(region: &Region<B>) -> Result<Self> {
        if region.size() < superblock::SIZE {
            return Err(Error::NotDaxfs { magic: 0 });
        }
        let raw = region.read_large::<Superblock>(RegionOffset::new(0))?;
        Self::parse(raw.get()?, region.size())
    }

    /// Checks a copy of the superblock of a range of `range` bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(raw: &Superblock, range: u64) -> Result<Self> {
        if raw.magic.get() != superblock::MAGIC {
            return Err(Error::NotDaxfs { magic: raw.magic.get() });
        }
        if raw.version.get() != VERSION {
            let value = u64::from(raw.version.get());
            return Err(Error::Unsupported { what: "format version", value });
        }
        if u64::from(raw.block_size.get()) != BLOCK_SIZE {
            let value = u64::from(raw.block_size.get());
            return Err(Error::Unsupported { what: "block size", value });
        }
        let total_size = raw.total_size.get();
        if total_size > range {
            return Err(Error::Corrupt { what: "image larger than the range", at: total_size });
        }
        if total_size > MAX_IMAGE_SIZE {
            return Err(Error::Unsupported { what: "image size", value: total_size });
        }
        let base = Span::within(
            raw.base_offset.get(),
            raw.base_size.get(),
            total_size,
            "base image outside of the image",
        )?;
        if !base.start.is_aligned(BLOCK_SIZE) {
            return Err(Error::Corrupt { what: "base image not aligned", at: base.start.get() });
        }
        if base.len < SUPERBLOCK_SIZE {
            return Err(Error::Corrupt { what: "base image too small", at: base.len });
        }

        let branch_slots = raw.branch_table_entries.get();
        if branch_slots > MAX_BRANCHES {
            let at = u64::from(branch_slots);
            return Err(Error::Corrupt { what: "branch table too large", at });
        }
        let branch_table = Span::within(
            raw.branch_table_offset.get(),
            u64::from(branch_slots) * RECORD_SIZE,
            total_size,
            "branch table outside of the image",
        )?;
        if !branch_table.start.is_aligned(8) {
            let at = branch_table.start.get();
            return Err(Error::Corrupt { what: "branch table not aligned", at });
        }
        let delta = Span::within(
            raw.delta_region_offset.get(),
            raw.delta_region_size.get(),
            total_size,
            "delta region outside of the image",
        )?;
        let superblock = Span { start: RegionOffset::new(0), len: superblock::SIZE };
        disjoint(&[superblock, branch_table, base, delta], "regions overlap")?;

        let mut geometry = Self {
            total_size,
            base,
            branch_table,
            branch_slots,
            delta: if delta.len == 0 { Delta::None } else { Delta::Plain(delta) },
            uuid: [0; 16],
            read_only_features: false,
        };
        if raw.extension.magic.get() != 0 {
            geometry.extend(&raw.extension, delta)?;
        } else if (branch_slots == 0) != (delta.len == 0) {
            let at = u64::from(branch_slots);
            return Err(Error::Corrupt { what: "branch table and delta region disagree", at });
        }
        Ok(geometry)
    }

    /// Adds what the extension header says.
    fn extend(&mut self, raw: &ExtensionHeader, delta: Span) -> Result<()> {
        if raw.magic.get() != extension::MAGIC {
            let at = u64::from(raw.magic.get());
            return Err(Error::Corrupt { what: "extension header magic", at });
        }
        if raw.revision.get() != extension::REVISION {
            let value = u64::from(raw.revision.get());
            return Err(Error::Unsupported { what: "extension revision", value });
        }
        // Unknown compat bits are ignored: that is what they are for.
        let _ = Compat::from_bits_truncate(raw.compat.get());
        let unknown = raw.incompat.get() & !Incompat::all().bits();
        if unknown != 0 {
            return Err(Error::Unsupported { what: "incompat features", value: unknown });
        }
        self.read_only_features = raw.ro_compat.get() & !RoCompat::all().bits() != 0;
        self.uuid = raw.uuid;
        if !Incompat::from_bits_truncate(raw.incompat.get()).contains(Incompat::SEGMENTS) {
            return Ok(());
        }
        if delta.len == 0 || self.branch_slots == 0 {
            return Err(Error::Corrupt { what: "segments without a delta region", at: delta.len });
        }
        self.delta = Delta::Segmented(Segments::parse(raw, delta)?);
        Ok(())
    }

    /// The segmented delta region.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] if there is none.
    pub const fn segments(&self) -> Result<&Segments> {
        match &self.delta {
            Delta::Segmented(segments) => Ok(segments),
            Delta::None | Delta::Plain(_) => Err(Error::ReadOnly),
        }
    }

    /// Where the record in `slot` of the branch table lies.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there is no such slot.
    pub fn branch_record(&self, slot: Slot) -> Result<RegionOffset> {
        let corrupt = Error::Corrupt { what: "branch slot", at: u64::from(slot.get()) };
        if slot.get() >= self.branch_slots {
            return Err(corrupt);
        }
        self.branch_table.start.checked_add(u64::from(slot.get()) * RECORD_SIZE).ok_or(corrupt)
    }
}

impl Segments {
    fn parse(raw: &ExtensionHeader, delta: Span) -> Result<Self> {
        let shift = raw.segment_shift.get();
        if !SHIFT_RANGE.contains(&shift) {
            return Err(Error::Corrupt { what: "segment size", at: u64::from(shift) });
        }
        let count = raw.segment_count.get();
        let member_count = raw.member_count.get();
        if member_count == 0 || member_count > coordination::MAX_MEMBERS {
            return Err(Error::Corrupt { what: "member table size", at: u64::from(member_count) });
        }
        let lease_ms = raw.lease_ms.get();
        if !coordination::LEASE_RANGE.contains(&lease_ms) {
            return Err(Error::Corrupt { what: "lease", at: u64::from(lease_ms) });
        }
        let end = delta.end();
        let inside = |start: u64, len: u64, what| {
            if start < delta.start.get() {
                return Err(Error::Corrupt { what, at: start });
            }
            Span::within(start, len, end, what)
        };
        let segments = Self {
            delta,
            coordination: inside(
                raw.coordination_offset.get(),
                coordination::SIZE,
                "coordination block outside of the delta region",
            )?,
            members: inside(
                raw.member_table_offset.get(),
                u64::from(member_count) * coordination::MEMBER_SIZE,
                "member table outside of the delta region",
            )?,
            member_count,
            map: inside(
                raw.segment_map_offset.get(),
                u64::from(count) * MAP_WORD_SIZE,
                "segment map outside of the delta region",
            )?,
            area: inside(
                raw.segments_offset.get(),
                u64::from(count) << shift,
                "segments outside of the delta region",
            )?,
            count,
            shift,
            lease_ms: u64::from(lease_ms),
        };
        for (span, align) in [
            (segments.coordination, BLOCK_SIZE),
            (segments.members, BLOCK_SIZE),
            (segments.map, BLOCK_SIZE),
            (segments.area, segments.size()),
        ] {
            if !span.start.is_aligned(align) {
                let at = span.start.get();
                return Err(Error::Corrupt { what: "delta structure not aligned", at });
            }
        }
        disjoint(
            &[segments.coordination, segments.members, segments.map, segments.area],
            "delta structures overlap",
        )?;
        Ok(segments)
    }
}

fn disjoint(spans: &[Span], what: &'static str) -> Result<()> {
    for (i, a) in spans.iter().enumerate() {
        for b in spans.iter().skip(i + 1) {
            if a.overlaps(b) {
                return Err(Error::Corrupt { what, at: b.start.get() });
            }
        }
    }
    Ok(())
}
