//! Changes of the branch tree: commit and abort, and finishing what a crash interrupted.
//!
//! # Commit
//!
//! 1. The coordination block's commit word names the branch.
//! 2. A link entry with the branch's chain is published in the parent's log. **This store is the
//!    commit**: before it nothing is visible in the parent, after it everything is.
//! 3. The branch's record becomes "committed"; siblings and their descendants become "aborted".
//! 4. Segments of the committed branch go to the parent, segments of the aborted to the pool, and
//!    the records become free.
//! 5. The commit sequence goes up, and the commit word is cleared.
//!
//! [`recover`] finishes from any of these states: it finds the commit word and looks whether the
//! link is there; records in a final state only lack step 4.

use crate::branch::{self, Branch};
use crate::error::{Error, Result};
use crate::log::encode::encode;
use crate::log::entry::{Entry, Operation};
use crate::log::reader::{published, ChainLog};
use crate::log::writer::{LogWriter, Reserve};
use crate::region::{Backing, LoadOrder, Region, StoreOrder};
use crate::segment;
use crate::storage::{Bitmap, TryVec};
use crate::superblock::{Geometry, Segments};
use daxfs_format::branch::BranchState;
use daxfs_format::coordination::{COMMIT_SEQUENCE_OFFSET, COMMIT_WORD_OFFSET};
use daxfs_format::{BranchId, Ino, RegionOffset, Timestamp};

/// The step in the low byte of the commit word: the link may or may not be published.
const COMMITTING: u64 = 1;

/// The commit sequence: changes whenever the branch tree does.
///
/// # Errors
///
/// [`Error::Corrupt`] if the block left the range (it cannot: geometry is checked).
pub fn sequence<B: Backing>(region: &Region<B>, segments: &Segments) -> Result<u64> {
    let at = word(segments, COMMIT_SEQUENCE_OFFSET)?;
    // Acquire: pairs with the store in `tree_changed`; the records' new states are there.
    region.load(at, LoadOrder::Acquire)
}

/// Tells all mounts that the branch tree has changed.
///
/// # Errors
///
/// As [`sequence`].
pub fn tree_changed<B: Backing>(region: &Region<B>, segments: &Segments) -> Result<()> {
    let at = word(segments, COMMIT_SEQUENCE_OFFSET)?;
    let next = sequence(region, segments)?.wrapping_add(1);
    // Release: whoever sees the number sees the records' new states.
    region.store(at, next, StoreOrder::Release)
}

/// Commits `branch` into its parent, and discards its siblings. `next_ino` is the lowest inode
/// number it did not use.
///
/// # Errors
///
/// [`Error::InvalidArgument`] for the root branch, [`Error::HasChildren`], [`Error::NoSpace`] if the
/// parent's log cannot take the link; nothing has happened then.
pub fn commit<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    branch: &Branch,
    next_ino: Ino,
    time: Timestamp,
) -> Result<()> {
    let segments = geometry.segments()?;
    let parent = parent_of(region, geometry, branch)?;
    no_children(region, geometry, branch)?;
    let current = branch::read(region, geometry, branch.slot)?
        .filter(|now| now.is_live() && now.id == branch.id)
        .ok_or(Error::Stale)?;
    let commit_word = word(segments, COMMIT_WORD_OFFSET)?;
    let mine = (branch.id.get() << 8) | COMMITTING;
    // Acquires the last change of the tree; releases our log to whoever finishes for us.
    if region.compare_exchange(commit_word, 0, mine)?.is_err() {
        return Err(Error::Stale);
    }
    if let Some(head) = current.head(geometry)? {
        let linked = link(region, segments, &parent, geometry, branch.id, head, next_ino, time);
        if let Err(error) = linked {
            // Release: nothing was published, the next committer may go ahead.
            region.store(commit_word, 0, StoreOrder::Release)?;
            return Err(error);
        }
    }
    finish_commit(region, geometry, segments, &current)
}

/// Publishes the link entry in the parent's log.
#[expect(clippy::too_many_arguments, reason = "one step of `commit`, with what it has at hand")]
fn link<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    parent: &Branch,
    geometry: &Geometry,
    branch: BranchId,
    head: daxfs_format::SegmentIndex,
    next_ino: Ino,
    time: Timestamp,
) -> Result<()> {
    let record = geometry.branch_record(parent.slot)?;
    let parent_head = parent.head(geometry)?;
    let mut writer = LogWriter::open(region, segments, parent.id, record, parent_head)?;
    let published = published(region, segments, head, branch)?;
    let operation = Operation::Link { branch, head, published, next_ino };
    let entry = encode(&Entry { ino: Ino::ROOT, time, operation })?;
    writer.append(region, segments, &entry, &[], Reserve::Use)
}

/// Steps 3 to 5: everything after the commit point. Doing it twice does no harm.
fn finish_commit<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    segments: &Segments,
    branch: &Branch,
) -> Result<()> {
    branch::set_state(region, geometry, branch.slot, BranchState::Committed)?;
    // All live descendants of the parent are siblings or below one: the branch itself has none.
    let mut losers = TryVec::new();
    for other in branch::all(region, geometry) {
        let other = other?;
        let loses = other.is_live()
            && other.id != branch.id
            && branch::descends(region, geometry, &other, branch.parent)?;
        if loses {
            losers.push(other.slot)?;
        }
    }
    for slot in losers.iter() {
        branch::set_state(region, geometry, *slot, BranchState::Aborted)?;
    }
    tree_changed(region, segments)?;
    settle(region, geometry, segments)?;
    // Release: the tree is settled; pairs with the exchange in `commit`.
    region.store(word(segments, COMMIT_WORD_OFFSET)?, 0, StoreOrder::Release)
}

/// Discards `branch`.
///
/// # Errors
///
/// [`Error::InvalidArgument`] for the root branch, [`Error::HasChildren`].
pub fn abort<B: Backing>(region: &Region<B>, geometry: &Geometry, branch: &Branch) -> Result<()> {
    let segments = geometry.segments()?;
    parent_of(region, geometry, branch)?;
    no_children(region, geometry, branch)?;
    branch::set_state(region, geometry, branch.slot, BranchState::Aborted)?;
    tree_changed(region, segments)?;
    settle(region, geometry, segments)
}

/// Finishes what was interrupted: a commit past its commit point, segments not yet passed on.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn recover<B: Backing>(region: &Region<B>, geometry: &Geometry) -> Result<()> {
    let segments = geometry.segments()?;
    let commit_word = word(segments, COMMIT_WORD_OFFSET)?;
    // Acquire: pairs with the exchange in `commit`; what the committer did before is there.
    let interrupted = region.load(commit_word, LoadOrder::Acquire)?;
    if interrupted != 0 {
        let id = BranchId::new(interrupted >> 8);
        match branch::by_id(region, geometry, id)? {
            Some(branch) if branch.state == BranchState::Committed => {
                finish_commit(region, geometry, segments, &branch)?;
            }
            Some(branch) if branch.is_live() && is_linked(region, geometry, &branch)? => {
                finish_commit(region, geometry, segments, &branch)?;
            }
            _ => {}
        }
        // Release: the tree is settled, or nothing had happened.
        region.store(commit_word, 0, StoreOrder::Release)?;
    }
    settle(region, geometry, segments)?;
    free_orphans(region, geometry, segments)
}

/// Gives segments back whose owner has no record: their branch ended and the end was interrupted.
fn free_orphans<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    segments: &Segments,
) -> Result<()> {
    let mut owners = TryVec::new();
    for branch in branch::all(region, geometry) {
        owners.push(branch?.id)?;
    }
    segment::for_each_owned(region, segments, |index, owner, _| {
        if owners.contains(&owner) {
            return Ok(());
        }
        segment::free(region, segments, index)
    })
}

/// Whether the log of `branch`'s parent has a link entry for it.
fn is_linked<B: Backing>(region: &Region<B>, geometry: &Geometry, branch: &Branch) -> Result<bool> {
    let segments = geometry.segments()?;
    let parent = parent_of(region, geometry, branch)?;
    let Some(head) = parent.head(geometry)? else { return Ok(false) };
    let end = published(region, segments, head, parent.id)?;
    let mut visited = Bitmap::new(u64::from(segments.count))?;
    let mut log = ChainLog::new(region, segments, head, parent.id, end, &mut visited)?;
    while let Some((_, entry)) = log.next(region, segments, &mut visited)? {
        if matches!(entry.operation, Operation::Link { branch: id, .. } if id == branch.id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Passes the segments of branches that ended on, and frees their records.
fn settle<B: Backing>(region: &Region<B>, geometry: &Geometry, segments: &Segments) -> Result<()> {
    let mut ended = TryVec::new();
    for branch in branch::all(region, geometry) {
        let branch = branch?;
        if !branch.is_live() {
            ended.push(branch)?;
        }
    }
    for branch in ended.iter() {
        let heir = match branch.state {
            BranchState::Committed => Some(branch.parent),
            _ => None,
        };
        segment::transfer(region, segments, branch.id, heir)?;
        branch::set_state(region, geometry, branch.slot, BranchState::Free)?;
    }
    Ok(())
}

fn parent_of<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    branch: &Branch,
) -> Result<Branch> {
    if branch.parent.is_none() {
        return Err(Error::InvalidArgument("the root branch can be neither committed nor aborted"));
    }
    branch::by_id(region, geometry, branch.parent)?
        .filter(Branch::is_live)
        .ok_or(Error::Corrupt { what: "parent of a live branch", at: branch.parent.get() })
}

fn no_children<B: Backing>(region: &Region<B>, geometry: &Geometry, branch: &Branch) -> Result<()> {
    match branch::live_child(region, geometry, branch.id)? {
        Some(child) => Err(Error::HasChildren { child: child.name }),
        None => Ok(()),
    }
}

fn word(segments: &Segments, offset: u64) -> Result<RegionOffset> {
    let start = segments.coordination.start;
    start.checked_add(offset).ok_or(Error::OutOfBounds { offset: start.get(), len: offset })
}
