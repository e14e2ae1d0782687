//! Images as a template and patches: the form in which fuzzers change images.
//!
//! A raw image is a bad thing to mutate: nearly all of it is file data, and a single wrong magic hides
//! everything behind it. So an input is a list of patches of a good image, whose places count through
//! the bytes of its structures only.

use crate::builder::{ImageBuilder, Kind};
use crate::entries::{log_segments, segments};
use crate::field::{Field, Structure, fields};
use crate::history;
use crate::image::Image;
use daxfs::{Delta, Geometry, Slot};
use daxfs_format::LogPosition;
use daxfs_format::branch::{BranchRecord, BranchState, LogWord};
use daxfs_format::segment::{LOG_HEADER_SIZE, LOG_PUBLISHED_OFFSET, LogSegmentHeader};
use std::ops::Range;

/// A good image, and where its structures lie.
pub struct Template {
    /// The image.
    pub image: Image,
    /// Its structures, as ranges of region offsets.
    structures: Vec<Range<u64>>,
}

/// Bytes of a structure that patches reach, at most.
const MAX_STRUCTURE: u64 = 256;
/// Bytes of a log segment that patches reach.
const LOG_BYTES: u64 = 3072;
/// Bytes of a patch: place (2), width and operation (1), value (8).
pub const PATCH_SIZE: usize = 11;

impl Template {
    /// One template of each kind. The first byte of an input chooses.
    #[must_use]
    pub fn all() -> Vec<Self> {
        [
            ImageBuilder::new(Kind::Static).build(),
            ImageBuilder::new(Kind::Static).unsorted().build(),
            history::plain(),
            history::segmented(),
            history::compacted(),
        ]
        .map(Self::new)
        .into()
    }

    /// A template of a good image.
    #[must_use]
    pub fn new(image: Image) -> Self {
        let mut structures: Vec<Range<u64>> = Vec::new();
        let mut current = None;
        for field in fields(&image) {
            if matches!(field.structure, Structure::LogHeader { .. } | Structure::Entry { .. }) {
                continue;
            }
            // Of superblocks the reserved tails are left out.
            let end = field.at + field.width as u64;
            match structures.last_mut().filter(|_| current == Some(field.structure)) {
                Some(range) => range.end = end.min(range.start + MAX_STRUCTURE).max(range.end),
                None => structures.push(field.at..end),
            }
            current = Some(field.structure);
        }
        let logs = log_segments(&image);
        structures.extend(logs.iter().map(|log| log.at..log.at + LOG_BYTES));
        if let Delta::Plain(delta) = geometry(&image).delta {
            let start = delta.start.get();
            structures.push(start..start + LOG_BYTES);
        }
        Self { image, structures }
    }

    /// The region offset of byte `place` of the structures, taken in a circle.
    #[must_use]
    pub fn offset(&self, place: u64) -> u64 {
        let total: u64 = self.structures.iter().map(|range| range.end - range.start).sum();
        let mut place = place % total;
        for range in &self.structures {
            let len = range.end - range.start;
            if place < len {
                return range.start + place;
            }
            place -= len;
        }
        unreachable!("the place is below the total")
    }

    /// The image with the patches in `input`; a part of a patch at the end is ignored.
    #[must_use]
    pub fn patched(&self, input: &[u8]) -> Image {
        let mut image = self.image.clone();
        for patch in input.chunks_exact(PATCH_SIZE) {
            let place = u64::from(u16::from_le_bytes([patch[0], patch[1]]));
            let value = u64::from_le_bytes(patch[3..].try_into().expect("eight bytes"));
            let width = 1 << (patch[2] % 4);
            let at = self.offset(place);
            let old = image.number(at, width);
            let new = match patch[2] / 4 % 4 {
                0 => value,
                1 => old.wrapping_add(value),
                2 => old.wrapping_sub(value % 16),
                _ => old ^ (1 << (value % 64)),
            };
            image.set_number(at, width, new);
        }
        image
    }

    /// A patch that sets the field at region offset `at` to `value`, if it is in a structure.
    #[must_use]
    pub fn patch(&self, field: &Field, value: u64) -> Option<[u8; PATCH_SIZE]> {
        let mut place = 0;
        for range in &self.structures {
            if range.contains(&field.at) {
                let place = u16::try_from(place + field.at - range.start).ok()?;
                let mut patch = [0; PATCH_SIZE];
                patch[..2].copy_from_slice(&place.to_le_bytes());
                patch[2] = field.width.trailing_zeros() as u8;
                patch[3..].copy_from_slice(&value.to_le_bytes());
                return Some(patch);
            }
            place += range.end - range.start;
        }
        None
    }
}

/// A good image, one log of which is replaced.
pub struct LogTemplate {
    image: Image,
    /// Where the head of the log of [`history::GRANDCHILD`] starts.
    head: u64,
}

impl Default for LogTemplate {
    fn default() -> Self {
        Self::new()
    }
}

impl LogTemplate {
    /// The image of [`history::segmented`].
    #[must_use]
    pub fn new() -> Self {
        let image = history::segmented();
        let head = grandchild_head(&image);
        Self { image, head }
    }

    /// The image with `content` as all that the log says, as far as it fits a segment.
    #[must_use]
    pub fn with_log(&self, content: &[u8]) -> Image {
        let mut image = self.image.clone();
        let header = u64::from(LOG_HEADER_SIZE);
        let room = segments(&image).map_or(0, |segments| segments.size() - header);
        // Entries stand at multiples of eight bytes, and so does their end.
        let len = content.len().min(room as usize) / 8 * 8;
        image.put(self.head + header, &content[..len]);
        let published = LogPosition::at(0, LOG_HEADER_SIZE + len as u32);
        image.put(self.head + LOG_PUBLISHED_OFFSET, &published.get().to_le_bytes());
        image
    }

    /// Good contents to start with: first segments of all logs there are, snapshots included.
    #[must_use]
    pub fn seeds() -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for image in [history::segmented(), history::compacted()] {
            for log in log_segments(&image).iter().filter(|log| log.at == log.head) {
                let header: LogSegmentHeader = image.get(log.at);
                let published = LogPosition::new(header.published.get());
                let end = match log.has_next {
                    true => header.end.get(),
                    false => u64::from(published.offset()),
                };
                let content = log.at + u64::from(LOG_HEADER_SIZE)..log.at + end;
                seeds.push(image.bytes[content.start as usize..content.end as usize].to_vec());
            }
        }
        seeds
    }
}

/// Where the log of [`history::GRANDCHILD`] starts.
fn grandchild_head(image: &Image) -> u64 {
    let geometry = geometry(image);
    let segments = segments(image).expect("a segmented image");
    (0..geometry.branch_slots)
        .map(|slot| geometry.branch_record(Slot::new(slot)).expect("a slot").get())
        .map(|at| image.get::<BranchRecord>(at))
        .filter(|record| record.state.get() == BranchState::Active.raw())
        .find(|record| record.name.starts_with(history::GRANDCHILD.as_bytes()))
        .and_then(|record| LogWord::from_word(record.log.get()).head)
        .and_then(|head| segments.start_of(head).ok())
        .expect("a branch with a log")
        .get()
}

fn geometry(image: &Image) -> Geometry {
    Geometry::read(&image.region()).expect("a good image")
}
