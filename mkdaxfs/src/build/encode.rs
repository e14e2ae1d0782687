//! The structures of an image, made from the tree and the layout.

use super::layout::{BRANCH_TABLE, INODE_TABLE, Layout};
use super::tree::{Node, NodeIndex, Tree};
use daxfs_format::base::{
    self, BaseDirent, BaseFeatures, BaseInode, BaseSuperblock, DIRENT_SIZE, FEATURES_MAGIC,
};
use daxfs_format::branch::MAX_BRANCHES;
use daxfs_format::mode::FileType;
use daxfs_format::superblock::{self, Superblock};
use daxfs_format::{BLOCK_SIZE, Ino, NAME_MAX, Timestamp, VERSION};
use zerocopy::FromZeros;

/// Inode numbers and counts have 32 bits in the base image; the tree has no more of them.
fn number(ino: Ino) -> u32 {
    u32::try_from(ino.get()).unwrap_or(u32::MAX)
}

/// The block size, as the superblocks have it.
const BLOCK_SIZE_FIELD: u32 = BLOCK_SIZE as u32;

/// The superblock: of a static image, or of a plain v3 writable one.
pub(super) fn superblock(layout: &Layout, tree: &Tree) -> Superblock {
    let mut raw = Superblock::new_zeroed();
    raw.magic.set(superblock::MAGIC);
    raw.version.set(VERSION);
    raw.block_size.set(BLOCK_SIZE_FIELD);
    raw.total_size.set(layout.image_size);
    raw.base_offset.set(layout.base_offset.get());
    raw.base_size.set(layout.base_size);
    raw.next_inode_id.set(tree.nodes.len() as u64 + 1);
    if let Some(delta) = layout.delta {
        raw.branch_table_offset.set(BRANCH_TABLE.get());
        raw.branch_table_entries.set(MAX_BRANCHES);
        raw.next_branch_id.set(1);
        raw.delta_region_offset.set(delta.at.get());
        raw.delta_region_size.set(delta.size);
        raw.delta_alloc_offset.set(delta.at.get());
    }
    raw
}

/// The base image's superblock.
pub(super) fn base_superblock(layout: &Layout, tree: &Tree) -> BaseSuperblock {
    let mut raw = BaseSuperblock::new_zeroed();
    raw.magic.set(base::MAGIC);
    raw.version.set(VERSION);
    raw.block_size.set(BLOCK_SIZE_FIELD);
    raw.total_size.set(layout.base_size);
    raw.inode_offset.set(INODE_TABLE.get());
    raw.inode_count.set(tree.nodes.len() as u32);
    raw.root_inode.set(number(Ino::ROOT));
    raw.data_offset.set(layout.data_offset.get());
    raw.features_magic.set(FEATURES_MAGIC);
    raw.features.set((BaseFeatures::SORTED | BaseFeatures::INODE_EXTRA).bits());
    raw
}

/// The inode of the node at `index`; its modification time is `latest` at most.
pub(super) fn inode(
    index: NodeIndex,
    node: &Node,
    layout: &Layout,
    latest: Option<Timestamp>,
) -> BaseInode {
    let mut raw = BaseInode::new_zeroed();
    let mtime = latest.map_or(node.stamp.mtime, |latest| latest.min(node.stamp.mtime));
    raw.ino.set(number(index.ino()));
    raw.mode.set(node.mode);
    raw.uid.set(node.uid);
    raw.gid.set(node.gid);
    raw.size.set(match node.kind {
        FileType::Regular => node.stamp.size,
        FileType::Directory => node.children.len() as u64 * DIRENT_SIZE,
        FileType::Symlink => node.target.len() as u64,
        FileType::Fifo | FileType::Socket | FileType::CharDevice | FileType::BlockDevice => 0,
    });
    raw.data_offset.set(layout.content[index.get()].get());
    raw.nlink.set(match node.kind {
        FileType::Directory => node.subdirectories.saturating_add(2),
        _ => 1,
    });
    raw.rdev.set(node.rdev);
    raw.mtime_sec.set(mtime.sec);
    raw.mtime_nsec.set(mtime.nsec);
    raw
}

/// The directory entry of the node at `index`.
pub(super) fn dirent(index: NodeIndex, node: &Node) -> BaseDirent {
    let mut raw = BaseDirent::new_zeroed();
    raw.ino.set(number(index.ino()));
    raw.mode.set(node.mode);
    // The scan refuses longer names.
    let len = node.name.len().min(NAME_MAX);
    raw.name_len.set(len as u16);
    raw.name[..len].copy_from_slice(&node.name[..len]);
    raw
}
