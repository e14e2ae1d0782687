//! Images from the format crate's structures alone.
//!
//! The tree is always the same, small, and has one of everything: nested directories, an empty one, a
//! file of several pages, one of exactly a page, an empty one, a symbolic link, a fifo, a socket, a
//! device, and a name of the greatest length. [`ino`] numbers its inodes.

use crate::image::Image;
use daxfs::upgrade::make_segmented;
use daxfs_format::base::{
    self, BaseDirent, BaseFeatures, BaseInode, BaseSuperblock, DIRENT_SIZE, INODE_SIZE, encode_dev,
};
use daxfs_format::branch::{MAX_BRANCHES, RECORD_SIZE};
use daxfs_format::mode::FileType;
use daxfs_format::superblock::{self, Superblock};
use daxfs_format::{BLOCK_SIZE, NAME_MAX, VERSION};
use zerocopy::FromZeros;

/// Inode numbers of the tree.
#[expect(missing_docs, reason = "the names are the documentation: the tree's paths")]
pub mod ino {
    pub const ROOT: u64 = 1;
    pub const DIR: u64 = 2;
    pub const DIR_FILE: u64 = 3;
    pub const DIR_SUB: u64 = 4;
    pub const DIR_SUB_DEEP: u64 = 5;
    pub const DEVICE: u64 = 6;
    pub const EMPTY: u64 = 7;
    pub const EMPTYDIR: u64 = 8;
    pub const FIFO: u64 = 9;
    pub const LINK: u64 = 10;
    pub const LONG_NAME: u64 = 11;
    pub const SOCKET: u64 = 12;
    /// How many there are.
    pub const COUNT: u64 = 12;
}

/// What kind of image is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Read-only: no branch table, no delta region.
    Static,
    /// Writable as v3 has it, nothing written yet.
    Plain,
    /// Writable with segments and an empty `main`.
    Segmented,
}

/// Bytes of the delta region of writable images: room for a dozen of the smallest segments.
const DELTA_SIZE: u64 = 14 * SEGMENT;
/// Records in the branch table: one block of them.
const BRANCHES: u32 = 32;
/// Bytes of the smallest segment.
const SEGMENT: u64 = 64 * 1024;

/// Makes images of the tree.
#[derive(Clone, Copy, Debug)]
pub struct ImageBuilder {
    kind: Kind,
    sorted: bool,
    /// Bytes of the delta region, and records of the branch table.
    room: (u64, u32),
}

/// Names, and the inodes they name.
type Entries = Vec<(&'static [u8], u64)>;

/// An inode of the tree, and what it holds.
struct Node {
    mode: u32,
    rdev: u32,
    nlink: u32,
    content: Vec<u8>,
}

impl Node {
    fn new(kind: FileType, permissions: u32, content: &[u8]) -> Self {
        let mode = kind.mode_bits() | permissions;
        Self { mode, rdev: 0, nlink: 1, content: content.to_vec() }
    }
}

impl ImageBuilder {
    /// Makes images of `kind`, with sorted directories.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, sorted: true, room: (DELTA_SIZE, BRANCHES) }
    }

    /// Makes images whose directories are in no order, and do not say they were.
    #[must_use]
    pub const fn unsorted(self) -> Self {
        Self { sorted: false, ..self }
    }

    /// Makes images with a full branch table and a delta region of `delta` bytes.
    #[must_use]
    pub const fn roomy(self, delta: u64) -> Self {
        Self { room: (delta, MAX_BRANCHES), ..self }
    }

    /// An image of the tree.
    #[must_use]
    pub fn build(self) -> Image {
        let base = self.base();
        let (table, delta) = match self.kind {
            Kind::Static => (0, 0),
            Kind::Plain | Kind::Segmented => (u64::from(self.room.1) * RECORD_SIZE, self.room.0),
        };
        let base_offset = superblock::SIZE + table;
        let delta_offset = base_offset + base.len() as u64;
        let total = delta_offset + delta;
        let mut raw = Superblock::new_zeroed();
        raw.magic = superblock::MAGIC.into();
        raw.version = VERSION.into();
        raw.block_size = (BLOCK_SIZE as u32).into();
        raw.total_size = total.into();
        raw.base_offset = base_offset.into();
        raw.base_size = (base.len() as u64).into();
        raw.next_inode_id = (ino::COUNT + 1).into();
        if self.kind != Kind::Static {
            raw.branch_table_offset = superblock::SIZE.into();
            raw.branch_table_entries = self.room.1.into();
            raw.next_branch_id = 1.into();
            raw.delta_region_offset = delta_offset.into();
            raw.delta_region_size = delta.into();
            raw.delta_alloc_offset = delta_offset.into();
        }
        let mut image = Image { bytes: vec![0; total as usize] };
        image.put(0, &raw);
        image.put(base_offset, base.as_slice());
        if self.kind == Kind::Segmented {
            let region = image.region();
            make_segmented(&region, [0x5a; 16]).expect("a fresh plain image can be upgraded");
            image = Image::of_region(&region);
        }
        image
    }

    /// The directories' entries, by inode number.
    fn directories(self) -> Vec<(u64, Entries)> {
        static LONG: [u8; NAME_MAX] = [b'n'; NAME_MAX];
        let mut all: Vec<(u64, Entries)> = vec![
            (
                ino::ROOT,
                vec![
                    (b"device", ino::DEVICE),
                    (b"dir", ino::DIR),
                    (b"empty", ino::EMPTY),
                    (b"emptydir", ino::EMPTYDIR),
                    (b"fifo", ino::FIFO),
                    (b"link", ino::LINK),
                    (&LONG, ino::LONG_NAME),
                    (b"socket", ino::SOCKET),
                ],
            ),
            (ino::DIR, vec![(b"file", ino::DIR_FILE), (b"sub", ino::DIR_SUB)]),
            (ino::DIR_SUB, vec![(b"deep", ino::DIR_SUB_DEEP)]),
            (ino::EMPTYDIR, vec![]),
        ];
        if !self.sorted {
            for (_, entries) in &mut all {
                entries.reverse();
            }
        }
        all
    }

    fn nodes(self) -> Vec<Node> {
        let pages: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8 + 1).collect();
        let mut nodes = vec![
            Node::new(FileType::Directory, 0o755, b""),
            Node::new(FileType::Directory, 0o755, b""),
            Node::new(FileType::Regular, 0o644, &pages),
            Node::new(FileType::Directory, 0o700, b""),
            Node::new(FileType::Regular, 0o4755, b"deep\n"),
            Node::new(FileType::CharDevice, 0o666, b""),
            Node::new(FileType::Regular, 0o600, b""),
            Node::new(FileType::Directory, 0o1777, b""),
            Node::new(FileType::Fifo, 0o644, b""),
            Node::new(FileType::Symlink, 0o777, b"dir/file"),
            Node::new(FileType::Regular, 0o444, &pages[..BLOCK_SIZE as usize]),
            Node::new(FileType::Socket, 0o755, b""),
        ];
        nodes[ino::DEVICE as usize - 1].rdev = encode_dev(1, 3);
        for (dir, entries) in self.directories() {
            let mut subdirectories = 0;
            let mut content = Vec::new();
            for (name, ino) in entries {
                let mode = nodes[ino as usize - 1].mode;
                subdirectories += u32::from(FileType::from_mode(mode) == Some(FileType::Directory));
                let mut raw = BaseDirent::new_zeroed();
                raw.ino = (ino as u32).into();
                raw.mode = mode.into();
                raw.name_len = (name.len() as u16).into();
                raw.name[..name.len()].copy_from_slice(name);
                content.extend_from_slice(zerocopy::IntoBytes::as_bytes(&raw));
            }
            debug_assert_eq!(content.len() as u64 % DIRENT_SIZE, 0);
            let node = &mut nodes[dir as usize - 1];
            node.nlink = 2 + subdirectories;
            node.content = content;
        }
        nodes
    }

    /// The base image.
    fn base(self) -> Vec<u8> {
        let nodes = self.nodes();
        let table = base::SUPERBLOCK_SIZE;
        let data = (table + nodes.len() as u64 * INODE_SIZE).next_multiple_of(BLOCK_SIZE);
        let mut bytes = vec![0; data as usize];
        for (index, node) in nodes.iter().enumerate() {
            let mut raw = BaseInode::new_zeroed();
            raw.ino = (index as u32 + 1).into();
            raw.mode = node.mode.into();
            raw.uid = (1000 + index as u32).into();
            raw.gid = (2000 + index as u32).into();
            raw.size = (node.content.len() as u64).into();
            raw.nlink = node.nlink.into();
            raw.rdev = node.rdev.into();
            raw.mtime_sec = 1_700_000_000.into();
            raw.mtime_nsec = 123_456_789.into();
            if !node.content.is_empty() {
                raw.data_offset = (bytes.len() as u64).into();
                bytes.extend_from_slice(&node.content);
                // A link's NUL, and the rest of the block.
                let end = (bytes.len() + 1).next_multiple_of(BLOCK_SIZE as usize);
                bytes.resize(end, 0);
            }
            let at = (table + index as u64 * INODE_SIZE) as usize;
            bytes[at..at + INODE_SIZE as usize]
                .copy_from_slice(zerocopy::IntoBytes::as_bytes(&raw));
        }
        let mut features = BaseFeatures::INODE_EXTRA;
        features.set(BaseFeatures::SORTED, self.sorted);
        let mut raw = BaseSuperblock::new_zeroed();
        raw.magic = base::MAGIC.into();
        raw.version = VERSION.into();
        raw.block_size = (BLOCK_SIZE as u32).into();
        raw.total_size = (bytes.len() as u64).into();
        raw.inode_offset = table.into();
        raw.inode_count = (nodes.len() as u32).into();
        raw.root_inode = 1.into();
        raw.data_offset = data.into();
        raw.features_magic = base::FEATURES_MAGIC.into();
        raw.features = features.bits().into();
        bytes[..table as usize].copy_from_slice(zerocopy::IntoBytes::as_bytes(&raw));
        bytes
    }
}
