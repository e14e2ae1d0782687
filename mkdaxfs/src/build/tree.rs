//! The source tree as the scan saw it.
//!
//! # Invariants
//!
//! Nodes stand in breadth-first order, the children of a directory sorted by the bytes of their
//! names: a directory's children are one run of nodes, and a node's place is its inode number - 1.

use daxfs_format::mode::FileType;
use daxfs_format::{Ino, Timestamp};
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A node's place in its [`Tree`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct NodeIndex(u32);

impl NodeIndex {
    /// The root directory's place.
    pub(super) const ROOT: Self = Self(0);

    /// The place with number `index`, if inodes can have so large a number.
    pub(super) fn new(index: usize) -> Option<Self> {
        // The inode number, one more, has to fit as well.
        u32::try_from(index).ok().filter(|&index| index < u32::MAX).map(Self)
    }

    /// The place as an index into a slice of something per node.
    pub(super) const fn get(self) -> usize {
        self.0 as usize
    }

    /// The inode number of the node there.
    pub(super) const fn ino(self) -> Ino {
        Ino::new(self.0 as u64 + 1)
    }
}

/// Two stamps of one file differ if its content may have changed in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// File system and inode number.
    pub(super) identity: (u64, u64),
    /// Bytes of content.
    pub(super) size: u64,
    /// Modification time.
    pub(super) mtime: Timestamp,
    /// Change time.
    pub(super) ctime: Timestamp,
}

impl Stamp {
    /// The stamp of the file whose attributes these are.
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            identity: (stat.st_dev, stat.st_ino),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// What differs in `now`, in words.
    pub(super) fn difference(&self, now: &Self) -> Option<&'static str> {
        if self.identity != now.identity {
            Some("another file has its name")
        } else if self.size != now.size {
            Some("its size differs")
        } else if self.mtime != now.mtime {
            Some("its modification time differs")
        } else if self.ctime != now.ctime {
            Some("its change time differs")
        } else {
            None
        }
    }
}

fn time(sec: i64, nsec: impl TryInto<u32>) -> Timestamp {
    Timestamp::new(sec, nsec.try_into().unwrap_or(0))
}

/// One file, directory, link or special file.
#[derive(Debug)]
pub(super) struct Node {
    /// The directory it is in; the root is its own.
    pub(super) parent: NodeIndex,
    /// Its name there; the root has none.
    pub(super) name: Box<[u8]>,
    /// What it is.
    pub(super) kind: FileType,
    /// Type and permissions.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Device number of a device node, in the format's encoding, else 0.
    pub(super) rdev: u32,
    /// Whether the source has other names for it.
    pub(super) hard_linked: bool,
    /// Whether it takes less space than its size: it may have holes.
    pub(super) sparse: bool,
    /// What it looked like.
    pub(super) stamp: Stamp,
    /// A directory's children.
    pub(super) children: Range<u32>,
    /// How many of them are directories.
    pub(super) subdirectories: u32,
    /// A symbolic link's target.
    pub(super) target: Box<[u8]>,
}

/// The source tree as the scan saw it.
pub(super) struct Tree {
    /// The root directory, open.
    pub(super) root: OwnedFd,
    /// What the caller called it.
    pub(super) root_path: PathBuf,
    /// All nodes, in the module's order.
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    /// The node at `index`.
    pub(super) fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.get()]
    }

    /// All nodes with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        (0..).map(NodeIndex).zip(&self.nodes)
    }

    /// The children of a directory, with their places.
    pub(super) fn children(
        &self,
        range: Range<u32>,
    ) -> impl ExactSizeIterator<Item = (NodeIndex, &Node)> {
        let nodes = &self.nodes[range.start as usize..range.end as usize];
        nodes.iter().zip(range).map(|(node, index)| (NodeIndex(index), node))
    }

    /// The names that lead from the root to a node, outermost first.
    pub(super) fn components(&self, index: NodeIndex) -> Vec<&OsStr> {
        let mut names = Vec::new();
        let mut at = index;
        while at != NodeIndex::ROOT {
            let node = self.node(at);
            names.push(OsStr::from_bytes(&node.name));
            at = node.parent;
        }
        names.reverse();
        names
    }

    /// The path of a node, for messages.
    pub(super) fn path(&self, index: NodeIndex) -> PathBuf {
        let mut path = self.root_path.clone();
        path.extend(self.components(index));
        path
    }

    /// The path of `name` in a directory, for messages.
    pub(super) fn path_in(&self, directory: NodeIndex, name: &[u8]) -> PathBuf {
        self.path(directory).join(Path::new(OsStr::from_bytes(name)))
    }
}
