//! Writing the image: its bytes in order of their places, cut into jobs that threads share.
//!
//! A job either fills one window with everything that lies there (structures and small contents),
//! so that many small files cost one write, or streams a part of one large file, window by window.
//! Blocks of zeros are not written: the file starts as one hole.

use super::encode;
use super::layout::{Delta, INODE_TABLE, Layout};
use super::source::{Reader, WINDOW};
use super::target::Target;
use super::tree::{NodeIndex, Tree};
use crate::error::{BuildError, Result};
use crate::options::BuildOptions;
use crate::progress::{Phase, Progress};
use blake3::{Hash, Hasher};
use daxfs_format::base::{DIRENT_SIZE, INODE_SIZE};
use daxfs_format::mode::FileType;
use daxfs_format::segment::{DEFAULT_SHIFT, MAP_WORD_SIZE, SHIFT_RANGE};
use daxfs_format::{BLOCK_SIZE, BaseOffset, RegionOffset, Timestamp};
use rayon::prelude::*;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Bytes of one large file that one thread copies at a time; a multiple of the window.
const PART: u64 = 16 << 20;
/// Bytes of the smallest segment there is.
const SMALLEST_SEGMENT: u64 = 1 << *SHIFT_RANGE.start();

/// What comes of writing, besides the image.
pub(super) struct Written {
    /// A writable image's identity.
    pub(super) uuid: Option<[u8; 16]>,
}

/// Where the bytes of a piece come from.
enum Source {
    /// The inodes of these nodes.
    Inodes(Range<usize>),
    /// The directory entries of these nodes.
    Dirents(Range<u32>),
    /// The target of this symbolic link, and a NUL.
    Target(NodeIndex),
    /// A part of the content of this file.
    File(NodeIndex, Range<u64>),
}

/// A run of bytes of the image with one origin.
struct Piece {
    at: RegionOffset,
    len: u64,
    source: Source,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at.get() + self.len
    }
}

/// What one thread does without a break: some pieces that fit a window together, or one that does
/// not.
type Job<'p> = &'p [Piece];

/// Writes the image of `tree` as `layout` says to `output`.
pub(super) fn write(
    tree: &Tree,
    layout: &Layout,
    options: &BuildOptions,
    output: Target<'_>,
    progress: &dyn Progress,
) -> Result<Written> {
    let pieces = pieces(tree, layout);
    progress.begin(Phase::Write, Some(pieces.iter().map(|piece| piece.len).sum()));
    output.clear(layout, progress)?;

    // Only a reproducible image without a given uuid has to know its whole content.
    let derive_uuid =
        layout.delta.is_some() && options.uuid.is_none() && options.source_date_epoch.is_some();
    let latest = options
        .source_date_epoch
        .map(|sec| Timestamp { sec: i64::try_from(sec).unwrap_or(i64::MAX), nsec: 0 });
    let start = || Copier {
        tree,
        layout,
        latest,
        output,
        progress,
        reader: Reader::new(tree),
        window: vec![0; WINDOW],
    };
    let digests: Vec<Option<Hash>> = jobs(&pieces)
        .into_par_iter()
        .map_init(start, |copier, job| copier.run(job, derive_uuid))
        .collect::<Result<_>>()?;

    output.write_at(layout.base_offset.get(), encode::base_superblock(layout, tree).as_bytes())?;
    output.write_superblock(encode::superblock(layout, tree).as_bytes())?;
    let Some(delta) = layout.delta else { return Ok(Written { uuid: None }) };
    let uuid = options.uuid.unwrap_or_else(|| {
        if derive_uuid { content_uuid(&digests) } else { uuid::Uuid::new_v4().into_bytes() }
    });
    make_writable(layout, delta, output, uuid)?;
    Ok(Written { uuid: Some(uuid) })
}

/// Lets the engine turn the plain v3 writable image that `output` is into a segmented one.
fn make_writable(layout: &Layout, delta: Delta, output: Target<'_>, uuid: [u8; 16]) -> Result<()> {
    // What the engine writes lies before the base image and, up to some part of the segment map
    // and the gap to the first segment, at the start of the delta region.
    let map = delta.size / SMALLEST_SEGMENT * MAP_WORD_SIZE;
    let structures = 2 * SMALLEST_SEGMENT + map + (1 << DEFAULT_SHIFT);
    let parts = [(0, layout.base_offset.get()), (delta.at.get(), structures.min(delta.size))];
    let made = output.with_region(parts, |region| daxfs::upgrade::make_segmented(region, uuid))?;
    made.map_err(|reason| match reason {
        daxfs::Error::NoSpace => BuildError::DeltaTooSmall {
            size: delta.size,
            reason: "the smallest that holds anything has about 640K".to_owned(),
        },
        reason => BuildError::Engine { reason },
    })
}

/// A uuid (version 8: "custom") that depends on everything in the base image.
fn content_uuid(digests: &[Option<Hash>]) -> [u8; 16] {
    let mut hasher = Hasher::new();
    for digest in digests.iter().flatten() {
        hasher.update(digest.as_bytes());
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes()
}

/// The whole base image but for its superblock, in order of place.
fn pieces(tree: &Tree, layout: &Layout) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(layout.placements.len() + 1);
    let mut push = |at: BaseOffset, offset: u64, len: u64, source| {
        let at = RegionOffset::new(layout.region(at).get() + offset);
        pieces.push(Piece { at, len, source });
    };
    let inodes_per_piece = WINDOW / INODE_SIZE as usize;
    for start in (0..tree.nodes.len()).step_by(inodes_per_piece) {
        let range = start..tree.nodes.len().min(start + inodes_per_piece);
        let len = range.len() as u64 * INODE_SIZE;
        push(INODE_TABLE, start as u64 * INODE_SIZE, len, Source::Inodes(range));
    }
    let dirents_per_piece = WINDOW / DIRENT_SIZE as usize;
    for placement in &layout.placements {
        let node = tree.node(placement.node);
        match node.kind {
            FileType::Directory => {
                let children = node.children.clone();
                for start in children.clone().step_by(dirents_per_piece) {
                    let end = children.end.min(start.saturating_add(dirents_per_piece as u32));
                    let offset = u64::from(start - children.start) * DIRENT_SIZE;
                    let len = u64::from(end - start) * DIRENT_SIZE;
                    push(placement.at, offset, len, Source::Dirents(start..end));
                }
            }
            FileType::Symlink => {
                push(placement.at, 0, placement.len, Source::Target(placement.node));
            }
            _ if placement.len <= WINDOW as u64 => {
                let source = Source::File(placement.node, 0..placement.len);
                push(placement.at, 0, placement.len, source);
            }
            _ => {
                for part in 0..placement.len.div_ceil(PART) {
                    let start = part * PART;
                    let end = placement.len.min(start + PART);
                    let source = Source::File(placement.node, start..end);
                    push(placement.at, start, end - start, source);
                }
            }
        }
    }
    pieces
}

/// Cuts the pieces into jobs: as many neighbours as fit a window, or one piece.
fn jobs(pieces: &[Piece]) -> Vec<Job<'_>> {
    let mut jobs = Vec::new();
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let limit = first.at.get() + WINDOW as u64;
        let fitting = rest.iter().take_while(|piece| piece.end() <= limit).count();
        let (job, others) = rest.split_at(fitting.max(1));
        jobs.push(job);
        rest = others;
    }
    jobs
}

/// What one thread needs.
struct Copier<'b> {
    tree: &'b Tree,
    layout: &'b Layout,
    latest: Option<Timestamp>,
    output: Target<'b>,
    progress: &'b dyn Progress,
    reader: Reader<'b>,
    window: Vec<u8>,
}

impl Copier<'_> {
    /// Does a job; returns a digest of what it wrote, if wanted.
    fn run(&mut self, job: Job<'_>, digest: bool) -> Result<Option<Hash>> {
        if self.progress.cancelled() {
            return Err(BuildError::Cancelled);
        }
        let mut hasher = digest.then(Hasher::new);
        match job {
            [Piece { at, len, source: Source::File(node, range) }] if *len > WINDOW as u64 => {
                self.stream(*node, range.clone(), *at, hasher.as_mut())?;
            }
            [first, ..] => self.gather(job, first.at, hasher.as_mut())?,
            [] => {}
        }
        Ok(hasher.map(|hasher| hasher.finalize()))
    }

    /// Fills a window with pieces and writes it.
    fn gather(
        &mut self,
        job: Job<'_>,
        start: RegionOffset,
        hasher: Option<&mut Hasher>,
    ) -> Result<()> {
        let mut end = 0;
        for piece in job {
            let from = (piece.at.get() - start.get()) as usize;
            self.window[end..from].fill(0);
            end = from + piece.len as usize;
            self.fill(&piece.source, from..end)?;
        }
        write_data(self.output, start.get(), &self.window[..end], hasher)?;
        self.progress.advance(job.iter().map(|piece| piece.len).sum());
        Ok(())
    }

    fn fill(&mut self, source: &Source, place: Range<usize>) -> Result<()> {
        let into = &mut self.window[place];
        match source {
            Source::Inodes(range) => {
                let nodes = self.tree.iter().skip(range.start);
                for (raw, (index, node)) in into.chunks_exact_mut(INODE_SIZE as usize).zip(nodes) {
                    let inode = encode::inode(index, node, self.layout, self.latest);
                    raw.copy_from_slice(inode.as_bytes());
                }
            }
            Source::Dirents(range) => {
                let nodes = self.tree.children(range.clone());
                for (raw, (index, node)) in into.chunks_exact_mut(DIRENT_SIZE as usize).zip(nodes) {
                    raw.copy_from_slice(encode::dirent(index, node).as_bytes());
                }
            }
            Source::Target(index) => {
                let target = &self.tree.node(*index).target;
                let (text, terminator) = into.split_at_mut(target.len());
                text.copy_from_slice(target);
                terminator.fill(0);
            }
            Source::File(index, range) => {
                let file = self.reader.open(*index)?;
                file.read(range.start, into)?;
                file.finish()?;
            }
        }
        Ok(())
    }

    /// Copies a part of a large file.
    fn stream(
        &mut self,
        node: NodeIndex,
        range: Range<u64>,
        at: RegionOffset,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<()> {
        let file = self.reader.open(node)?;
        // The system copies what neither has to be looked at for a digest nor has holes: once
        // instead of twice, and without several threads in each other's way.
        let by_system = hasher.is_none() && !self.tree.node(node).sparse;
        let sender = if by_system { self.output.sender() } else { None };
        for part in file.windows(range.clone()) {
            if self.progress.cancelled() {
                return Err(BuildError::Cancelled);
            }
            let part = part?;
            let target = at.get() + (part.start - range.start);
            if let Some(sender) = &sender {
                // A window that starts with zeros is looked at: it may have nothing else.
                let len = BLOCK_SIZE.min(part.end - part.start);
                let block = &mut self.window[..len as usize];
                file.read(part.start, block)?;
                if !is_zero(block) && file.send(&part, sender, target) {
                    continue;
                }
            }
            let bytes = &mut self.window[..(part.end - part.start) as usize];
            file.read(part.start, bytes)?;
            write_data(self.output, target, bytes, hasher.as_deref_mut())?;
        }
        self.progress.advance(range.end - range.start);
        file.finish()
    }
}

/// Writes the blocks of `bytes` that are not zero. Adds `bytes` to a digest, unless all of them are:
/// holes count the same.
fn write_data(
    output: Target<'_>,
    at: u64,
    bytes: &[u8],
    hasher: Option<&mut Hasher>,
) -> Result<()> {
    let runs = data_runs(bytes);
    if let Some(hasher) = hasher.filter(|_| !runs.is_empty()) {
        hasher.update(&at.to_le_bytes());
        hasher.update(bytes);
    }
    for run in runs {
        output.write_at(at + run.start as u64, &bytes[run])?;
    }
    Ok(())
}

/// The runs of blocks of `bytes` that are not zero.
fn data_runs(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for block in bytes.chunks(BLOCK_SIZE as usize) {
        let end = start + block.len();
        if !is_zero(block) {
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

/// Whether all of `bytes` are zero. Fast where they are not, and at the speed of memory where they
/// are.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK_SIZE as usize] = [0; BLOCK_SIZE as usize];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_blocks_that_are_not_zero() {
        let mut bytes = vec![0; 5 * 4096 + 10];
        assert_eq!(data_runs(&bytes), []);
        assert_eq!(data_runs(&[]), []);
        bytes[4096] = 1;
        bytes[3 * 4096 - 1] = 1;
        bytes[5 * 4096 + 9] = 1;
        assert_eq!(data_runs(&bytes), [4096..3 * 4096, 5 * 4096..5 * 4096 + 10]);
    }
}
