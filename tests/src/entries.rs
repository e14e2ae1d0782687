//! Where log entries lie. Reads the bytes by itself, trusting an image that was made well, so that
//! what it says does not depend on the engine's own reader.

use crate::image::Image;
use daxfs::{Delta, Geometry, Segments};
use daxfs_format::branch::BranchRecord;
use daxfs_format::log::{EntryHeader, EntryType};
use daxfs_format::segment::{LOG_HEADER_SIZE, LOG_MAGIC, LogSegmentHeader};
use daxfs_format::{LogPosition, Slot};

/// A log segment that is in use.
#[derive(Clone, Copy, Debug)]
pub struct LogSegment {
    /// Its index.
    pub index: u32,
    /// Where it starts.
    pub at: u64,
    /// Where the head of its chain starts.
    pub head: u64,
    /// Whether another segment of the chain follows.
    pub has_next: bool,
}

/// A log entry.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry {
    /// What it records.
    pub kind: EntryType,
    /// Where it starts.
    pub at: u64,
    /// Bytes of it.
    pub size: u64,
    /// How much of its log comes before it, as the word at `end_word` counts.
    pub position: u64,
    /// The word that says how far the log counts: the head's `published`, or the size in the record
    /// of a plain v3 branch.
    pub end_word: u64,
}

/// The segments of all log chains of a segmented image.
#[must_use]
pub fn log_segments(image: &Image) -> Vec<LogSegment> {
    let Some(segments) = segments(image) else { return Vec::new() };
    let start = |index: u32| segments.area.start.get() + (u64::from(index) << segments.shift);
    let mut found = Vec::new();
    for head in 0..segments.count {
        let word = image.number(segments.map.start.get() + u64::from(head) * 8, 8);
        let header: LogSegmentHeader = image.get(start(head));
        if word & 0xff != 1 || header.magic.get() != LOG_MAGIC || header.ordinal.get() != 0 {
            continue;
        }
        let last = LogPosition::new(header.published.get()).ordinal();
        let mut index = head;
        for ordinal in 0..=last {
            let (at, has_next) = (start(index), ordinal < last);
            found.push(LogSegment { index, at, head: start(head), has_next });
            if has_next {
                let header: LogSegmentHeader = image.get(at);
                index = header.next.get() as u32 - 1;
            }
        }
    }
    found
}

/// The log entries of an image, chain by chain.
#[must_use]
pub fn log_entries(image: &Image) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    for segment in log_segments(image) {
        let header: LogSegmentHeader = image.get(segment.at);
        let head: LogSegmentHeader = image.get(segment.head);
        let published = LogPosition::new(head.published.get());
        let end = match segment.has_next {
            true => header.end.get(),
            false => u64::from(published.offset()),
        };
        let start = u64::from(LOG_HEADER_SIZE);
        let base = LogPosition::at(header.ordinal.get(), 0).get();
        walk(image, segment.at, (start, end), segment.head + 40, base, &mut entries);
    }
    let geometry = Geometry::read(&image.region()).expect("a good image");
    if let Delta::Plain(_) = geometry.delta {
        for slot in 0..geometry.branch_slots {
            let at = geometry.branch_record(Slot::new(slot)).expect("a slot").get();
            let record: BranchRecord = image.get(at);
            let span = (0, record.delta_log_size.get());
            walk(image, record.delta_log_offset.get(), span, at + 24, 0, &mut entries);
        }
    }
    entries
}

/// The segments of a segmented image.
#[must_use]
pub fn segments(image: &Image) -> Option<Segments> {
    match Geometry::read(&image.region()).expect("a good image").delta {
        Delta::Segmented(segments) => Some(segments),
        Delta::None | Delta::Plain(_) => None,
    }
}

fn walk(
    image: &Image,
    start: u64,
    (mut offset, end): (u64, u64),
    end_word: u64,
    base: u64,
    entries: &mut Vec<LogEntry>,
) {
    while offset < end {
        let header: EntryHeader = image.get(start + offset);
        let kind = EntryType::from_raw(header.kind.get()).expect("a good log");
        let size = u64::from(header.total_size.get());
        entries.push(LogEntry {
            kind,
            at: start + offset,
            size,
            position: base + offset,
            end_word,
        });
        offset += size;
    }
}
