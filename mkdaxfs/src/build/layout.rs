//! Where everything lies in the image (format.md, "Regions" and "Base image").
//!
//! Base image: superblock, inode table, then the data area: directories, link targets, file
//! contents, each from a block boundary on and in the order of the inodes that first need them;
//! files with a 2 MiB alignment come last, to leave few gaps.

use super::contents::Contents;
use super::tree::{NodeIndex, Tree};
use crate::error::{BuildError, Result};
use crate::options::{BuildOptions, DeltaSize};
use daxfs_format::base::{DIRENT_SIZE, INODE_SIZE, SUPERBLOCK_SIZE};
use daxfs_format::branch::{MAX_BRANCHES, RECORD_SIZE};
use daxfs_format::mode::FileType;
use daxfs_format::{BLOCK_SHIFT, BLOCK_SIZE, BaseOffset, RegionOffset, align_up, superblock};
use std::collections::HashMap;

/// Largest image the format has page numbers for (31 bits of them).
const MAX_IMAGE_SIZE: u64 = 1 << (31 + BLOCK_SHIFT);
/// Where large files start, if asked for: x86's size of a huge page.
const LARGE_ALIGN: u64 = 2 << 20;

/// A content and its place in the base image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placement {
    /// Whose content.
    pub(super) node: NodeIndex,
    /// Where it starts.
    pub(super) at: BaseOffset,
    /// Its bytes, without padding.
    pub(super) len: u64,
}

/// The delta region of a writable image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delta {
    /// Where it starts.
    pub(super) at: RegionOffset,
    /// Its bytes.
    pub(super) size: u64,
}

/// Where everything lies in the image.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where the base image starts.
    pub(super) base_offset: RegionOffset,
    /// Its bytes.
    pub(super) base_size: u64,
    /// Where its data area starts.
    pub(super) data_offset: BaseOffset,
    /// The delta region of a writable image.
    pub(super) delta: Option<Delta>,
    /// Bytes of the image.
    pub(super) image_size: u64,
    /// For each node, where its content starts.
    pub(super) content: Vec<BaseOffset>,
    /// All contents in the order of their places.
    pub(super) placements: Vec<Placement>,
}

/// Where the branch table of a writable image starts.
pub(super) const BRANCH_TABLE: RegionOffset = RegionOffset::new(superblock::SIZE);
/// Where the inode table starts.
pub(super) const INODE_TABLE: BaseOffset = BaseOffset::new(SUPERBLOCK_SIZE);

impl Layout {
    /// Decides where everything lies.
    pub(super) fn new(tree: &Tree, contents: &Contents, options: &BuildOptions) -> Result<Self> {
        let base_offset = match options.writable {
            Some(_) => BRANCH_TABLE.get() + u64::from(MAX_BRANCHES) * RECORD_SIZE,
            None => superblock::SIZE,
        };
        // Neither sum nor product overflows: there are fewer than 2^32 inodes.
        let inodes_end = INODE_TABLE.get() + tree.nodes.len() as u64 * INODE_SIZE;
        let data_offset = inodes_end.next_multiple_of(BLOCK_SIZE);
        let mut cursor = Cursor { base_offset, at: data_offset };
        let mut content = vec![BaseOffset::new(data_offset); tree.nodes.len()];
        let mut placements = Vec::new();
        let mut place = |node: NodeIndex, len, align| -> Result<BaseOffset> {
            let at = cursor.place(len, align)?;
            placements.push(Placement { node, at, len });
            Ok(at)
        };

        for (index, node) in tree.iter().filter(|(_, node)| !node.children.is_empty()) {
            let len = node.children.len() as u64 * DIRENT_SIZE;
            content[index.get()] = place(index, len, BLOCK_SIZE)?;
        }
        let mut targets = HashMap::new();
        for (index, node) in tree.iter().filter(|(_, node)| node.kind == FileType::Symlink) {
            content[index.get()] = match targets.get(&node.target) {
                Some(&at) => at,
                None => {
                    let at = place(index, node.target.len() as u64 + 1, BLOCK_SIZE)?;
                    targets.insert(&node.target, at);
                    at
                }
            };
        }
        let stored = |&index: &NodeIndex| {
            let node = tree.node(index);
            node.kind == FileType::Regular
                && node.stamp.size > 0
                && contents.representative(index) == index
        };
        let size = |index: NodeIndex| tree.node(index).stamp.size;
        let is_large = |index| options.large_alignment && size(index) >= LARGE_ALIGN;
        let stored: Vec<NodeIndex> = tree.iter().map(|(index, _)| index).filter(stored).collect();
        for &index in stored.iter().filter(|&&index| !is_large(index)) {
            content[index.get()] = place(index, size(index), BLOCK_SIZE)?;
        }
        for &index in stored.iter().filter(|&&index| is_large(index)) {
            content[index.get()] = place(index, size(index), LARGE_ALIGN)?;
        }
        for (index, _) in tree.iter() {
            content[index.get()] = content[contents.representative(index).get()];
        }

        let base_size = cursor.place(0, BLOCK_SIZE)?.get();
        let base_end = base_offset + base_size;
        let delta = match options.writable {
            Some(size) => Some(delta(base_end, size)?),
            None => None,
        };
        Ok(Self {
            base_offset: RegionOffset::new(base_offset),
            base_size,
            data_offset: BaseOffset::new(data_offset),
            delta,
            image_size: base_end + delta.map_or(0, |delta| delta.size),
            content,
            placements,
        })
    }

    /// The place in the image of a place in its base image.
    pub(super) fn region(&self, at: BaseOffset) -> RegionOffset {
        // Everything placed ends at most at the largest image's end.
        RegionOffset::new(self.base_offset.get() + at.get())
    }
}

/// The end of what was placed so far.
struct Cursor {
    base_offset: u64,
    at: u64,
}

impl Cursor {
    /// Takes `len` bytes from the next place on whose region offset is a multiple of `align`.
    fn place(&mut self, len: u64, align: u64) -> Result<BaseOffset> {
        let start = align_up(self.base_offset + self.at, align);
        let end = start.and_then(|start| start.checked_add(len));
        match (start, end) {
            (Some(start), Some(end)) if end <= MAX_IMAGE_SIZE => {
                self.at = end - self.base_offset;
                Ok(BaseOffset::new(start - self.base_offset))
            }
            _ => {
                Err(BuildError::TooLarge { needed: end.unwrap_or(u64::MAX), limit: MAX_IMAGE_SIZE })
            }
        }
    }
}

fn delta(base_end: u64, size: DeltaSize) -> Result<Delta> {
    let size = match size {
        DeltaSize::Bytes(size) => align_up(size, BLOCK_SIZE)
            .filter(|size| size.checked_add(base_end).is_some_and(|end| end <= MAX_IMAGE_SIZE))
            .ok_or(BuildError::TooLarge {
                needed: base_end.saturating_add(size),
                limit: MAX_IMAGE_SIZE,
            })?,
        DeltaSize::FillTo(total) => {
            let end = total.min(MAX_IMAGE_SIZE) / BLOCK_SIZE * BLOCK_SIZE;
            match end.checked_sub(base_end) {
                Some(size) if size > 0 => size,
                _ => {
                    return Err(BuildError::TooLarge {
                        needed: base_end + BLOCK_SIZE,
                        limit: total,
                    });
                }
            }
        }
    };
    if size == 0 {
        let reason = "a writable image needs room to write; give -D a size".into();
        return Err(BuildError::DeltaTooSmall { size, reason });
    }
    Ok(Delta { at: RegionOffset::new(base_end), size })
}
