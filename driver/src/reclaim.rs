//! Giving space back: what nobody can see any more is used again, and nothing else.
//!
//! What ends (pages dropped by an entry, segments of a discarded branch, log segments no chain has
//! any more) is put in a queue with a stamp: the tree sequence, and the position in the log, at
//! which it had ended. It is used again when every other member has followed the tree to that
//! sequence, and every follower of the branch has read its log to that position. A member that has
//! expired never gets there: what it could see or write to stays out of use until its death is
//! confirmed.
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

/// Something that has ended.
#[derive(Clone, Copy)]
enum Ended {
    /// Pages of this mount's branch.
    Pages(Pages),
    /// A segment nothing is in.
    Segment(Incarnation),
    /// A discarded branch.
    Branch(Branch),
}

#[derive(Clone, Copy)]
struct Item {
    what: Ended,
    sequence: u64,
    position: Option<(BranchId, FollowPosition)>,
}

/// Since when something has been out of sight for whoever follows.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The tree sequence.
    pub sequence: u64,
    /// The log position, where followers of a branch matter.
    pub position: Option<(BranchId, FollowPosition)>,
}

/// What waits for being used again.
#[derive(Default)]
pub struct Reclaim {
    items: TryVec<Item>,
    /// Items before this one are done.
    done: usize,
}

impl Reclaim {
    fn push(&mut self, what: Ended, stamp: Stamp) {
        let item = Item { what, sequence: stamp.sequence, position: stamp.position };
        // Without memory to remember it, it waits for the next owner.
        let _ = self.items.push(item);
    }

    /// Puts dropped pages in the queue.
    pub fn pages(&mut self, pages: &[Pages], stamp: Stamp) {
        for &pages in pages {
            self.push(Ended::Pages(pages), stamp);
        }
    }

    /// Puts unused segments in the queue.
    pub fn segments(&mut self, segments: &[Incarnation], stamp: Stamp) {
        for &segment in segments {
            self.push(Ended::Segment(segment), stamp);
        }
    }

    /// Looks for branches that were discarded, and puts them in the queue.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Contended`](crate::Error::Contended).
    pub fn look<B: Backing>(&mut self, tree: &Tree<'_, B>, table: &Table) -> Result<()> {
        let is_aborted = |branch: &&Branch| branch.word.state == BranchState::Aborted;
        if !table.iter().any(|branch| is_aborted(&branch)) {
            return Ok(());
        }
        // The table may show a change that is not complete yet. Whoever has followed the tree to
        // this sequence, at which it is, knows of it.
        let sequence = tree.settle()?.sequence;
        for branch in table.iter().filter(is_aborted) {
            let queued = self
                .items
                .iter()
                .skip(self.done)
                .any(|item| matches!(item.what, Ended::Branch(other) if other.id == branch.id));
            if !queued {
                self.push(Ended::Branch(*branch), Stamp { sequence, position: None });
            }
        }
        Ok(())
    }

    /// Forgets pages: this mount has left the branch they belong to.
    pub fn forget_pages(&mut self) {
        let mut done = core::mem::take(&mut self.done);
        self.items.retain(|item| {
            let waits = done == 0;
            done = done.saturating_sub(1);
            waits && !matches!(item.what, Ended::Pages(_))
        });
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Gives back what all `others` have seen the end of. `space` is this mount's, if it owns its
    /// branch. Says whether anything was given back.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn drain<B: Backing>(
        &mut self,
        tree: &Tree<'_, B>,
        others: &Others,
        mut space: Option<&mut Space>,
    ) -> Result<bool> {
        let before = self.done;
        // Stamps only grow, so what is behind the first that has to wait has to wait too.
        while let Some(item) = self.items.get(self.done).copied() {
            if !others.have_seen(tree, item.sequence, item.position)? {
                break;
            }
            self.done += 1;
            match item.what {
                Ended::Pages(pages) => {
                    if let Some(space) = space.as_deref_mut() {
                        space.reclaim(tree.region, pages)?;
                    }
                }
                Ended::Segment(segment) => {
                    segment::free(tree.region, tree.segments, segment)?;
                }
                Ended::Branch(branch) => {
                    let table = Table::read(tree.region, tree.geometry)?;
                    tree.pass_on(&table, Some(branch.id))?;
                    segment::for_each_owned(tree.region, tree.segments, |segment, owner, _| {
                        if owner == branch.id {
                            segment::free(tree.region, tree.segments, segment)?;
                        }
                        Ok(())
                    })?;
                    tree.free_record(&branch)?;
                }
            }
        }
        let drained = self.done > before;
        if self.done > self.items.len() / 2 {
            let mut done = core::mem::take(&mut self.done);
            self.items.retain(|_| {
                let waits = done == 0;
                done = done.saturating_sub(1);
                waits
            });
        }
        Ok(drained)
    }
}
