//! Which files share their content.
//!
//! Reading is avoided wherever something cheaper decides: a size that no other file has, a hard
//! link, a first part that no file of that size shares. What remains is compared by a
//! cryptographic hash of everything, for which two different contents cannot be found.

use super::source::{Reader, WINDOW};
use super::tree::{NodeIndex, Tree};
use super::write::is_zero;
use crate::error::{BuildError, Result};
use crate::progress::{Phase, Progress};
use blake3::{Hash, Hasher};
use daxfs_format::mode::FileType;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::Hash as HashKey;

/// Bytes at the start of a file that are compared first.
const HEAD: u64 = 16 << 10;
/// Bytes of one file that one thread hashes at a time; a multiple of the window.
const PART: u64 = 16 << 20;

/// Which files share their content.
pub(super) struct Contents {
    /// For each node, the file whose content it shares: itself, for most.
    representative: Vec<NodeIndex>,
    /// Bytes of content of all regular files.
    pub(super) total_bytes: u64,
    /// Bytes of content of those that represent themselves.
    pub(super) stored_bytes: u64,
    /// Files that have content and are represented by another one.
    pub(super) shared_files: u64,
}

impl Contents {
    /// The file whose content the one at `index` shares; the first of them in the tree's order.
    pub(super) fn representative(&self, index: NodeIndex) -> NodeIndex {
        self.representative[index.get()]
    }
}

/// Finds out which files share their content.
pub(super) fn identify(tree: &Tree, progress: &dyn Progress) -> Result<Contents> {
    let mut representative: Vec<NodeIndex> = tree.iter().map(|(index, _)| index).collect();
    let mut distinct = Vec::new();
    let mut empty = Vec::new();
    let mut links = HashMap::new();
    for (index, node) in tree.iter().filter(|(_, node)| node.kind == FileType::Regular) {
        if node.stamp.size == 0 {
            empty.push(index);
        } else if !node.hard_linked {
            distinct.push(index);
        } else {
            let first = *links.entry(node.stamp.identity).or_insert(index);
            representative[index.get()] = first;
            if first == index {
                distinct.push(index);
            }
        }
    }

    let size = |index: NodeIndex| tree.node(index).stamp.size;
    let same_size = shared(distinct, |&index| size(index));
    let to_read = same_size.iter().map(|&index| size(index).min(HEAD)).sum();
    progress.begin(Phase::Compare, Some(to_read));
    check_empty(tree, &empty, progress)?;
    let heads = hash_heads(tree, &same_size, progress)?;
    let same_head = shared(same_size.into_iter().zip(heads), |&(index, head)| (size(index), head));

    let (whole, longer): (Vec<_>, Vec<_>) =
        same_head.into_iter().partition(|&(index, _)| size(index) <= HEAD);
    let longer: Vec<NodeIndex> = longer.into_iter().map(|(index, _)| index).collect();
    if !longer.is_empty() {
        progress.begin(Phase::Compare, Some(longer.iter().map(|&index| size(index)).sum()));
    }
    let hashes = hash_whole(tree, &longer, progress)?;
    let mut first_with = HashMap::new();
    for (index, hash) in whole.into_iter().chain(longer.into_iter().zip(hashes)) {
        representative[index.get()] = *first_with.entry((size(index), hash)).or_insert(index);
    }

    // A hard link's representative may have turned out to be a duplicate itself.
    for index in 0..representative.len() {
        representative[index] = representative[representative[index].get()];
    }
    Ok(account(tree, representative))
}

fn account(tree: &Tree, representative: Vec<NodeIndex>) -> Contents {
    let mut contents =
        Contents { representative, total_bytes: 0, stored_bytes: 0, shared_files: 0 };
    for (index, node) in tree.iter().filter(|(_, node)| node.kind == FileType::Regular) {
        contents.total_bytes += node.stamp.size;
        if contents.representative(index) == index {
            contents.stored_bytes += node.stamp.size;
        } else {
            contents.shared_files += 1;
        }
    }
    contents
}

/// Those of `items` whose key another one has too, in their order.
fn shared<T, K: HashKey + Eq>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let items: Vec<T> = items.into_iter().collect();
    let mut count = HashMap::<K, u32>::with_capacity(items.len());
    for item in &items {
        let count = count.entry(key(item)).or_default();
        *count = count.saturating_add(1);
    }
    items.into_iter().filter(|item| count.get(&key(item)).is_some_and(|&n| n > 1)).collect()
}

fn check_empty(tree: &Tree, files: &[NodeIndex], progress: &dyn Progress) -> Result<()> {
    files.par_iter().with_min_len(16).try_for_each_init(
        || Reader::new(tree),
        |reader, &index| {
            stop_if_cancelled(progress)?;
            let file = reader.open(index)?;
            file.expect_empty()?;
            file.finish()
        },
    )
}

fn hash_heads(tree: &Tree, files: &[NodeIndex], progress: &dyn Progress) -> Result<Vec<Hash>> {
    let start = || (Reader::new(tree), vec![0; HEAD as usize]);
    files
        .par_iter()
        .with_min_len(16)
        .map_init(start, |(reader, buffer), &index| {
            stop_if_cancelled(progress)?;
            let file = reader.open(index)?;
            let len = tree.node(index).stamp.size.min(HEAD);
            let head = &mut buffer[..len as usize];
            file.read(0, head)?;
            let hash = blake3::hash(head);
            progress.advance(len);
            file.finish()?;
            Ok(hash)
        })
        .collect()
}

/// A hash of all of each file. Files are cut into parts, so that few large ones keep all threads
/// busy; windows of zeros count as holes, so that it does not matter which of them are stored.
fn hash_whole(tree: &Tree, files: &[NodeIndex], progress: &dyn Progress) -> Result<Vec<Hash>> {
    let parts: Vec<(usize, NodeIndex, u64)> = files
        .iter()
        .enumerate()
        .flat_map(|(place, &index)| {
            let size = tree.node(index).stamp.size;
            (0..size.div_ceil(PART)).map(move |part| (place, index, part * PART))
        })
        .collect();
    let start = || (Reader::new(tree), vec![0; WINDOW]);
    let hashes: Vec<Hash> = parts
        .par_iter()
        .map_init(start, |(reader, buffer), &(_, index, start)| {
            let file = reader.open(index)?;
            let end = tree.node(index).stamp.size.min(start.saturating_add(PART));
            let mut hasher = Hasher::new();
            for window in file.windows(start..end) {
                stop_if_cancelled(progress)?;
                let window = window?;
                let bytes = &mut buffer[..(window.end - window.start) as usize];
                file.read(window.start, bytes)?;
                if !is_zero(bytes) {
                    hasher.update(&window.start.to_le_bytes());
                    hasher.update(bytes);
                }
            }
            progress.advance(end - start);
            file.finish()?;
            Ok(hasher.finalize())
        })
        .collect::<Result<_>>()?;

    let mut hashers = vec![Hasher::new(); files.len()];
    for (&(place, _, _), hash) in parts.iter().zip(&hashes) {
        hashers[place].update(hash.as_bytes());
    }
    Ok(hashers.iter().map(Hasher::finalize).collect())
}

fn stop_if_cancelled(progress: &dyn Progress) -> Result<()> {
    if progress.cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
}
