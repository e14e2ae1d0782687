//! One look at a range.

use daxfs::format::coordination::{TREE_OFFSET, TreeOperation, TreeWord};
use daxfs::format::segment::{SegmentState, SegmentWord};
use daxfs::region::LoadOrder;
use daxfs::{BranchId, BranchInfo, Delta, Geometry, MemberInfo, Platform, SegmentIndex, Volume};

/// What a range holds, as seen within a moment. Its parts may be some stores apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Where everything lies.
    pub geometry: Geometry,
    /// Inodes of the base image.
    pub base_inodes: u32,
    /// What is being done to the branch tree, and how often something was; `None` where the image
    /// has no coordination block.
    pub tree: Option<TreeWord>,
    /// All branches, those that end included, in the order of their table.
    pub branches: Vec<BranchInfo>,
    /// All members.
    pub members: Vec<MemberInfo>,
    /// All segments, by index.
    pub segments: Vec<Segment>,
}

/// What a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Its map word says whose it is.
    Is(SegmentState),
    /// Its map word means nothing.
    Nonsense,
}

impl Segment {
    /// The branch that has it.
    #[must_use]
    pub const fn owner(self) -> Option<BranchId> {
        match self {
            Self::Is(SegmentState::Owned { owner, .. }) => Some(owner),
            Self::Is(SegmentState::Free) | Self::Nonsense => None,
        }
    }
}

impl Snapshot {
    /// Looks.
    ///
    /// # Errors
    ///
    /// The engine's: [`daxfs::Error::Contended`] while others change the tree all the time,
    /// [`daxfs::Error::Corrupt`].
    pub fn read<P: Platform>(volume: &Volume<P>) -> daxfs::Result<Self> {
        let geometry = *volume.geometry();
        let (mut branches, mut members, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        let mut tree = None;
        if let Delta::Segmented(map) = &geometry.delta {
            let region = volume.region();
            let at = map.coordination.start.checked_add(TREE_OFFSET);
            let at = at.ok_or(daxfs::Error::Corrupt { what: "coordination block", at: 0 })?;
            // What is read below is at least as new.
            tree = TreeWord::from_word(region.load(at, LoadOrder::Acquire)?);
            segments.reserve(map.count as usize);
            for index in 0..map.count {
                // Relaxed: of every word by itself, for people.
                let word =
                    region.load(map.map_word(SegmentIndex::new(index))?, LoadOrder::Relaxed)?;
                let word = SegmentWord::from_word(word);
                segments.push(word.map_or(Segment::Nonsense, |word| Segment::Is(word.state)));
            }
        }
        volume.branches(&mut |branch| branches.push(*branch))?;
        volume.members(&mut |member| members.push(*member))?;
        let base_inodes = volume.base().inode_count();
        Ok(Self { geometry, base_inodes, tree, branches, members, segments })
    }

    /// The branch with this identity.
    #[must_use]
    pub fn branch(&self, id: BranchId) -> Option<&BranchInfo> {
        self.branches.iter().find(|branch| branch.id == id)
    }

    /// The branches in the order of a tree, each with its depth: children behind their parents.
    ///
    /// A branch whose parent is not there, as of one that is ending, starts a tree of its own; so
    /// does, if peers wrote nonsense, one of a circle.
    #[must_use]
    pub fn forest(&self) -> Vec<(usize, &BranchInfo)> {
        let mut forest = Vec::with_capacity(self.branches.len());
        let mut taken = vec![false; self.branches.len()];
        let is_root = |branch: &BranchInfo| branch.parent.is_none_or(|p| self.branch(p).is_none());
        let roots = self.branches.iter().enumerate().filter(|(_, branch)| is_root(branch));
        let rest = self.branches.iter().enumerate();
        for (root, _) in roots.chain(rest) {
            let mut todo = vec![(0, root)];
            while let Some((depth, index)) = todo.pop() {
                if std::mem::replace(&mut taken[index], true) {
                    continue;
                }
                let branch = &self.branches[index];
                forest.push((depth, branch));
                let children = self.branches.iter().enumerate().rev();
                let children = children.filter(|(_, child)| child.parent == Some(branch.id));
                todo.extend(children.map(|(child, _)| (depth + 1, child)));
            }
        }
        forest
    }

    /// What is being done to the tree.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        match self.tree?.operation {
            TreeOperation::Idle => None,
            TreeOperation::Publish | TreeOperation::PublishOwned => Some("making"),
            TreeOperation::Claim | TreeOperation::ClaimKeep => Some("taking"),
            TreeOperation::Commit => Some("committing"),
            TreeOperation::Abort => Some("aborting"),
        }
    }
}
