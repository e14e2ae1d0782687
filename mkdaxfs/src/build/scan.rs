//! Listing the source tree, level by level, each level in parallel.

use super::output::Output;
use super::source::Reader;
use super::tree::{Node, NodeIndex, Stamp, Tree};
use crate::error::{BuildError, Result};
use crate::progress::{Phase, Progress};
use daxfs_format::base::encode_dev;
use daxfs_format::mode::FileType;
use daxfs_format::{NAME_MAX, SYMLINK_MAX};
use rayon::prelude::*;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawDir, Stat, fstat, major, minor, openat, readlinkat, statat,
};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::Path;

/// Bytes of names fetched from the system at a time.
const LISTING_BUFFER: usize = 32 << 10;

/// Lists the tree at `source`.
pub(super) fn scan(
    source: &Path,
    output: Option<&Output>,
    progress: &dyn Progress,
) -> Result<Tree> {
    progress.begin(Phase::Scan, None);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, source, flags, Mode::empty())
        .map_err(|e| BuildError::io("open the source directory", source, e))?;
    let stat = fstat(&root).map_err(|e| BuildError::io("read the attributes", source, e))?;
    let mut tree = Tree { root, root_path: source.to_path_buf(), nodes: Vec::new() };
    let root_node = node(&tree, NodeIndex::ROOT, Box::default(), &stat, Box::default())?;
    expect_outside(output, &root_node.stamp)?;
    tree.nodes.push(root_node);
    progress.advance(1);

    // Each turn lists the directories among the nodes that the turn before added.
    let mut level = 0..1;
    while !level.is_empty() {
        let next = scan_level(&mut tree, level, output, progress)?;
        level = next;
    }
    Ok(tree)
}

/// Makes sure that a directory is not the one that the output will be in.
fn expect_outside(output: Option<&Output>, directory: &Stamp) -> Result<()> {
    output.map_or(Ok(()), |output| output.expect_outside(directory))
}

/// Adds the children of the directories in `level`; returns where they stand.
fn scan_level(
    tree: &mut Tree,
    level: std::ops::Range<usize>,
    output: Option<&Output>,
    progress: &dyn Progress,
) -> Result<std::ops::Range<usize>> {
    let directories: Vec<NodeIndex> = level
        .filter(|&index| tree.nodes[index].kind == FileType::Directory)
        .filter_map(NodeIndex::new)
        .collect();
    let listings: Vec<Vec<CString>> = directories
        .par_iter()
        .map_init(
            || Reader::new(tree),
            |reader, &directory| {
                if progress.cancelled() {
                    return Err(BuildError::Cancelled);
                }
                list(tree, reader, directory)
            },
        )
        .collect::<Result<_>>()?;

    // Flat, not nested per directory: one huge directory is as parallel as many small ones.
    let names: Vec<(NodeIndex, &CStr)> = directories
        .iter()
        .zip(&listings)
        .flat_map(|(&directory, names)| names.iter().map(move |name| (directory, name.as_c_str())))
        .collect();
    let children: Vec<Node> = names
        .par_iter()
        .with_min_len(64)
        .map_init(
            || Reader::new(tree),
            |reader, &(directory, name)| {
                let child = examine(tree, reader, directory, name)?;
                if child.kind == FileType::Directory {
                    expect_outside(output, &child.stamp)?;
                }
                progress.advance(1);
                Ok(child)
            },
        )
        .collect::<Result<_>>()?;
    drop(names);

    let first = tree.nodes.len();
    let end = first + children.len();
    NodeIndex::new(end).ok_or(BuildError::TooManyFiles)?;
    tree.nodes.extend(children);
    let mut at = first;
    for (directory, names) in directories.iter().zip(&listings) {
        let children = at..at + names.len();
        at = children.end;
        let subdirectories = tree.nodes[children.clone()]
            .iter()
            .filter(|child| child.kind == FileType::Directory)
            .count();
        let directory = &mut tree.nodes[directory.get()];
        // No truncation: `end` is a node index, and so fits.
        directory.children = children.start as u32..children.end as u32;
        directory.subdirectories = subdirectories as u32;
    }
    Ok(first..end)
}

/// The names in a directory, sorted by their bytes.
fn list(tree: &Tree, reader: &mut Reader<'_>, directory: NodeIndex) -> Result<Vec<CString>> {
    let error = |action, e| BuildError::io(action, tree.path(directory), e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Through ".", so that the root, which is open for good, gets a reading position of its own.
    let fd = openat(reader.directory(directory)?, ".", flags, Mode::empty())
        .map_err(|e| error("open the directory", e))?;
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); LISTING_BUFFER];
    let mut entries = RawDir::new(&fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|e| error("list the directory", e))?;
        let name = entry.file_name();
        match name.to_bytes() {
            b"." | b".." => {}
            bytes if bytes.len() > NAME_MAX => {
                let path = tree.path_in(directory, bytes);
                return Err(BuildError::NameTooLong { path, len: bytes.len() });
            }
            _ => names.push(name.to_owned()),
        }
    }
    let now = fstat(&fd).map_err(|e| error("read the attributes", e))?;
    if let Some(what) = tree.node(directory).stamp.difference(&Stamp::of(&now)) {
        return Err(BuildError::Changed { path: tree.path(directory), what });
    }
    names.sort_unstable();
    Ok(names)
}

/// Looks at one name in a directory.
fn examine(
    tree: &Tree,
    reader: &mut Reader<'_>,
    directory: NodeIndex,
    name: &CStr,
) -> Result<Node> {
    let error = |action, e| BuildError::io(action, tree.path_in(directory, name.to_bytes()), e);
    let fd = reader.directory(directory)?;
    let stat =
        statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| error("read the attributes", e))?;
    let mut target = Box::default();
    if FileType::from_mode(stat.st_mode) == Some(FileType::Symlink) {
        let text = readlinkat(fd, name, Vec::new()).map_err(|e| error("read the link", e))?;
        if text.count_bytes() > SYMLINK_MAX {
            return Err(error("store the link's target", rustix::io::Errno::NAMETOOLONG));
        }
        target = text.into_bytes().into_boxed_slice();
    }
    node(tree, directory, name.to_bytes().into(), &stat, target)
}

fn node(
    tree: &Tree,
    parent: NodeIndex,
    name: Box<[u8]>,
    stat: &Stat,
    target: Box<[u8]>,
) -> Result<Node> {
    let mode = stat.st_mode;
    let kind = FileType::from_mode(mode)
        .ok_or_else(|| BuildError::UnknownType { path: tree.path_in(parent, &name), mode })?;
    let stamp = Stamp::of(stat);
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    Ok(Node {
        parent,
        name,
        kind,
        mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: if kind.is_device() {
            encode_dev(major(stat.st_rdev), minor(stat.st_rdev))
        } else {
            0
        },
        hard_linked: stat.st_nlink > 1,
        sparse: allocated < stamp.size,
        stamp,
        children: 0..0,
        subdirectories: 0,
        target,
    })
}
