//! Giving space back: what nobody can see any more is used again, and nothing else.
//!
//! What ends (pages dropped by an entry, segments of a discarded branch, log segments no chain has
//! any more) is put in a queue with a stamp: the tree sequence, and the position in the log, at
//! which it had ended. It is used again when every other member that knows the branch has followed
//! the tree to that sequence, and every follower of the branch has read its log to that position. A
//! member that has expired never gets there: what it could see or write to stays out of use until
//! its death is confirmed; branches made later do not wait for it.
//!
//! The queue is private. When a mount ends, or forgets something for want of memory, nothing is
//! lost: the branch table, the segment map and the log say what is in use, and the next owner of
//! the branch finds the rest.

use crate::branch::{Branch, Table};
use crate::error::Result;
use crate::member::{FollowPosition, Others};
use crate::region::Backing;
use crate::segment::{self, Incarnation};
use crate::space::{Pages, Space};
use crate::storage::TryVec;
use crate::tree::Tree;
use daxfs_format::branch::BranchState;
use daxfs_format::BranchId;

/// Since when something has been out of sight, and for whom that matters.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The branch it belonged to.
    pub branch: BranchId,
    /// The tree sequence.
    pub sequence: u64,
    /// The log position, where followers of a branch matter.
    pub position: Option<(BranchId, FollowPosition)>,
}

/// A part of a branch that has ended.
#[derive(Clone, Copy)]
enum Part {
    /// Pages of this mount's branch.
    Pages(Pages),
    /// A segment nothing is in.
    Segment(Incarnation),
}

/// Parts of one branch, in the order in which they ended: where one has to wait, so have those
/// behind it.
struct Queue {
    branch: BranchId,
    parts: TryVec<(Part, Stamp)>,
    /// Parts before this one are done.
    done: usize,
}

/// Queues kept apart. If there are more, what was left behind longest waits together.
const MOST_QUEUES: usize = 16;

/// What waits for being used again.
#[derive(Default)]
pub struct Reclaim {
    /// By branch; the branch this mount is on comes last.
    queues: TryVec<Queue>,
    /// Discarded branches.
    branches: TryVec<(Branch, Stamp)>,
}

impl Reclaim {
    fn push(&mut self, part: Part, stamp: Stamp) {
        // Without memory to remember it, it waits for the next owner.
        let Ok(queue) = self.queue(stamp.branch) else { return };
        let _ = queue.parts.push((part, stamp));
    }

    /// The queue for parts of `branch`.
    fn queue(&mut self, branch: BranchId) -> Result<&mut Queue> {
        if let Some(at) = self.queues.iter().position(|queue| queue.branch == branch) {
            if let Some(queue) = self.queues.remove(at) {
                self.queues.push(queue)?;
            }
        } else {
            self.merge_oldest()?;
            self.queues.push(Queue { branch, parts: TryVec::new(), done: 0 })?;
        }
        self.queues.last_mut().ok_or(crate::Error::NoMemory)
    }

    /// Makes room for a queue.
    fn merge_oldest(&mut self) -> Result<()> {
        if self.queues.len() < MOST_QUEUES {
            return Ok(());
        }
        let Some(oldest) = self.queues.remove(0) else { return Ok(()) };
        if let Some(next) = self.queues.first_mut() {
            let mut parts = TryVec::new();
            for (part, stamp) in oldest.parts.iter().skip(oldest.done) {
                parts.push((*part, *stamp))?;
            }
            for (part, stamp) in next.parts.iter().skip(next.done) {
                parts.push((*part, *stamp))?;
            }
            *next = Queue { branch: next.branch, parts, done: 0 };
        }
        Ok(())
    }

    /// Puts dropped pages in the queue.
    pub fn pages(&mut self, pages: &[Pages], stamp: Stamp) {
        for &pages in pages {
            self.push(Part::Pages(pages), stamp);
        }
    }

    /// Puts unused segments in the queue.
    pub fn segments(&mut self, segments: &[Incarnation], stamp: Stamp) {
        for &segment in segments {
            self.push(Part::Segment(segment), stamp);
        }
    }

    /// Looks for branches that were discarded, and remembers them.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Contended`](crate::Error::Contended).
    pub fn look<B: Backing>(&mut self, tree: &Tree<'_, B>, table: &Table) -> Result<()> {
        let is_aborted = |branch: &&Branch| branch.word.state == BranchState::Aborted;
        if !table.iter().any(|branch| is_aborted(&branch)) {
            self.branches.clear();
            return Ok(());
        }
        // Others may have given some back.
        self.branches.retain(|(known, _)| {
            table.iter().any(|branch| is_aborted(&branch) && branch.id == known.id)
        });
        // The table may show a change that is not complete yet. Whoever has followed the tree to
        // this sequence, at which it is, knows of it.
        let sequence = tree.settle()?.sequence;
        for branch in table.iter().filter(is_aborted) {
            if !self.branches.iter().any(|(known, _)| known.id == branch.id) {
                let stamp = Stamp { branch: branch.id, sequence, position: None };
                // Without memory to remember it, it is found again.
                let _ = self.branches.push((*branch, stamp));
            }
        }
        Ok(())
    }

    /// Forgets pages: this mount has left the branch they belong to.
    pub fn forget_pages(&mut self) {
        for queue in self.queues.iter_mut() {
            let mut done = core::mem::take(&mut queue.done);
            queue.parts.retain(|(part, _)| {
                let waits = done == 0;
                done = done.saturating_sub(1);
                waits && !matches!(part, Part::Pages(_))
            });
        }
        self.queues.retain(|queue| !queue.parts.is_empty());
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.branches.is_empty()
    }

    /// Gives back what all `others` have seen the end of. `space` is this mount's, if it owns its
    /// branch. Of discarded branches only the one that has waited longest is looked at; see
    /// [`Self::drain_branches`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn drain<B: Backing>(
        &mut self,
        tree: &Tree<'_, B>,
        others: &Others,
        mut space: Option<&mut Space>,
    ) -> Result<()> {
        let mut emptied = false;
        for queue in self.queues.iter_mut() {
            while let Some((part, stamp)) = queue.parts.get(queue.done).copied() {
                if !others.have_seen(tree, &stamp)? {
                    break;
                }
                queue.done += 1;
                match part {
                    Part::Pages(pages) => {
                        if let Some(space) = space.as_deref_mut() {
                            space.reclaim(tree.region, pages)?;
                        }
                    }
                    Part::Segment(segment) => {
                        segment::free(tree.region, tree.segments, segment)?;
                    }
                }
            }
            if queue.done > queue.parts.len() / 2 {
                let mut done = core::mem::take(&mut queue.done);
                queue.parts.retain(|_| {
                    let waits = done == 0;
                    done = done.saturating_sub(1);
                    waits
                });
            }
            emptied |= queue.parts.is_empty();
        }
        if emptied {
            self.queues.retain(|queue| !queue.parts.is_empty());
        }
        self.drain_oldest_branch(tree, others).map(|_| ())
    }

    /// Gives back the discarded branch that has waited longest, if all `others` have seen its end;
    /// says whether it did.
    fn drain_oldest_branch<B: Backing>(
        &mut self,
        tree: &Tree<'_, B>,
        others: &Others,
    ) -> Result<bool> {
        let Some((branch, stamp)) = self.branches.first().copied() else { return Ok(false) };
        if !others.have_seen(tree, &stamp)? {
            return Ok(false);
        }
        self.branches.remove(0);
        give_back(tree, &branch).map(|()| true)
    }

    /// Gives back all discarded branches of which all `others` have seen the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn drain_branches<B: Backing>(
        &mut self,
        tree: &Tree<'_, B>,
        others: &Others,
    ) -> Result<()> {
        let mut at = 0;
        while let Some((branch, stamp)) = self.branches.get(at).copied() {
            if others.have_seen(tree, &stamp)? {
                self.branches.remove(at);
                give_back(tree, &branch)?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }
}

/// Gives back what a discarded branch has: its segments, and its record.
fn give_back<B: Backing>(tree: &Tree<'_, B>, branch: &Branch) -> Result<()> {
    let (_, table) = tree.table()?;
    tree.pass_on(&table, Some(branch.id))?;
    segment::for_each_owned(tree.region, tree.segments, |segment, owner, _| {
        if owner == branch.id {
            segment::free(tree.region, tree.segments, segment)?;
        }
        Ok(())
    })?;
    tree.free_record(branch)
}
