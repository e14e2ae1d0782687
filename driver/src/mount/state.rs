//! What a mount knows of the branch it is on, and how it stays true.

use crate::branch::{Branch, Table};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::log::reader::ChainLog;
use crate::log::writer::LogWriter;
use crate::member::{FollowPosition, Member, Others};
use crate::platform::Platform;
use crate::reclaim::{Reclaim, Stamp};
use crate::region::{Backing, Region};
use crate::replay::Source;
use crate::segment::Incarnation;
use crate::space::Space;
use crate::storage::TryVec;
use crate::superblock::Delta;
use crate::tree::Tree;
use crate::volume::Volume;
use daxfs_format::branch::{BranchName, BranchState};
use daxfs_format::coordination::TreeWord;
use daxfs_format::{BranchId, LogPosition};

/// The writing half of a mount that owns its branch.
pub(crate) struct Writing {
    pub(crate) log: LogWriter,
    pub(crate) space: Space,
    /// Whether the branch has segments that `space` does not know yet.
    adoption: Adoption,
    /// Whether a log was replaced that the branch has from its parent.
    pub(super) rewritten: bool,
}

/// When a writer looks through the segment map for what its branch has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Adoption {
    /// It has, or there is nothing.
    Done,
    /// Before it writes: a mount that passes through a branch on its way never does.
    BeforeWriting,
}

/// The branch a mount is on.
pub(crate) struct Current {
    /// `None`: the base alone.
    pub(crate) branch: Option<Branch>,
    pub(crate) index: Index,
    /// What the index was built from.
    pub(crate) source: Source,
    /// `None`: the mount only looks.
    pub(crate) writing: Option<Writing>,
    /// The tree word for which `frozen` and `ended` hold.
    tree: TreeWord,
    frozen: Option<BranchName>,
    ended: bool,
    /// Whether there were committed branches whose segments still have to be passed on.
    committed: bool,
    /// The index does not say what the log says: an update of it failed half way.
    pub(super) torn: bool,
}

/// What a mount knows of the others, and of what it shares with them.
#[derive(Default)]
pub(crate) struct Company {
    /// The branch tree as it was before this mount became a member, until that is of no use any more.
    pub(crate) before: Option<(TreeWord, Table)>,
    /// This mount's place in the member table; `None` where there is none: an image that never
    /// changes, or a range that cannot be written to.
    pub(crate) me: Option<Member>,
    pub(crate) others: Others,
    pub(crate) reclaim: Reclaim,
}

// A kernel's stack is small and this state is not: it is filled where it is, never passed around, and
// what is big and rare is kept out of line.
impl Current {
    /// The base alone.
    pub(crate) fn base<P: Platform>(volume: &Volume<P>) -> Result<Self> {
        Ok(Self {
            branch: None,
            index: Index::new(&volume.base, volume.platform.random(), 0),
            source: Source::new(&volume.geometry)?,
            writing: None,
            tree: TreeWord::idle(0),
            frozen: None,
            ended: false,
            committed: false,
            torn: false,
        })
    }

    /// Goes to `branch` and replays it, to look at it. After an error nothing can be looked at.
    #[inline(never)]
    pub(crate) fn load<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        (branch, table): (Branch, &Table),
        tree: TreeWord,
    ) -> Result<()> {
        self.replay(volume, (branch, table), tree, None)
    }

    /// Goes to `branch`, which the member owns, and replays it, to write to it. Returns what it does
    /// not need any more. After an error nothing can be looked at.
    #[inline(never)]
    pub(crate) fn load_to_write<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        (branch, table): (Branch, &Table),
        tree: TreeWord,
        adoption: Adoption,
    ) -> Result<TryVec<Incarnation>> {
        let mut space = Space::new(volume.geometry.segments()?)?;
        self.replay(volume, (branch, table), tree, Some(&mut space))?;
        match adoption {
            Adoption::Done => self.take_up(volume, space),
            Adoption::BeforeWriting => {
                self.begin_writing(volume, space, adoption).map(|()| TryVec::new())
            }
        }
    }

    #[inline(never)]
    fn replay<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        (branch, table): (Branch, &Table),
        tree: TreeWord,
        space: Option<&mut Space>,
    ) -> Result<()> {
        self.branch = Some(branch);
        self.writing = None;
        self.tree = tree;
        self.frozen = table.live_child(branch.id).map(|child| child.name);
        (self.ended, self.committed) = (false, false);
        self.torn = true;
        self.source = volume.replay(table, &branch, space, &mut self.index)?;
        self.torn = false;
        Ok(())
    }

    /// Becomes the writer of its branch, which the member owns. Returns what the branch does not need
    /// any more.
    pub(crate) fn take_up<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        mut space: Space,
    ) -> Result<TryVec<Incarnation>> {
        let branch = self.branch.as_ref().ok_or(Error::ReadOnly)?;
        let garbage = space.adopt(&volume.region, branch.id, &self.source.segments)?;
        self.begin_writing(volume, space, Adoption::Done)?;
        Ok(garbage)
    }

    /// Becomes the writer of its branch, of which `space` may know everything, or not yet.
    pub(crate) fn begin_writing<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        space: Space,
        adoption: Adoption,
    ) -> Result<()> {
        let branch = self.branch.as_ref().ok_or(Error::ReadOnly)?;
        let segments = volume.geometry.segments()?;
        let owner = (branch.id, branch.slot);
        let log = LogWriter::new(segments, owner, branch.log, self.source.chain.as_ref())?;
        self.writing = Some(Writing { log, space, adoption, rewritten: false });
        Ok(())
    }

    /// Whether the writer knows all segments of its branch.
    pub(crate) fn has_adopted(&self) -> bool {
        self.writing.as_ref().is_none_or(|writing| writing.adoption == Adoption::Done)
    }

    /// Makes sure that the writer knows all segments of its branch.
    pub(crate) fn adopt<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
    ) -> Result<()> {
        let (Some(branch), Some(writing)) = (&self.branch, &mut self.writing) else {
            return Ok(());
        };
        if writing.adoption == Adoption::BeforeWriting {
            let mut garbage =
                writing.space.adopt(&volume.region, branch.id, &self.source.segments)?;
            garbage.retain(|segment| Some(segment.index) != writing.log.spare());
            writing.adoption = Adoption::Done;
            let stamp = self.stamp();
            company.reclaim.segments(&garbage, stamp);
        }
        Ok(())
    }

    /// Segments of `branch`, which this one says the same as, in which nothing is used.
    pub(crate) fn unused<B: Backing>(
        &self,
        region: &Region<B>,
        branch: BranchId,
    ) -> Result<TryVec<Incarnation>> {
        let writing = self.writing.as_ref().ok_or(Error::ReadOnly)?;
        writing.space.garbage(region, &[branch], &self.source.segments)
    }

    /// Whether this mount may have made something superfluous that its branch has from its parent.
    pub(crate) fn leaves_garbage(&self) -> bool {
        let writing = self.writing.as_ref();
        writing.is_some_and(|writing| writing.rewritten || writing.space.has_emptied())
    }

    /// Whether segments of committed branches have to be passed on. That can wait: nobody needs it
    /// but the records and, in the end, the parents.
    pub(crate) const fn has_committed(&self) -> bool {
        self.committed
    }

    /// They were.
    pub(crate) const fn passed_on(&mut self) {
        self.committed = false;
    }

    /// A live child that freezes the branch.
    pub(crate) const fn frozen(&self) -> Option<BranchName> {
        self.frozen
    }

    /// Whether nothing has happened since this mount last looked: one load, and one more for a mount
    /// that follows a branch others write to.
    #[inline]
    pub(crate) fn is_fresh<P: Platform>(&self, volume: &Volume<P>) -> Result<bool> {
        if !matches!(volume.geometry.delta, Delta::Segmented(_)) {
            return Ok(true);
        }
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        if self.is_torn() || tree.raw_word()? != self.tree.to_word() {
            return Ok(false);
        }
        match &self.source.chain {
            Some(chain) if self.writing.is_none() => Ok(!chain.has_more(&volume.region)?),
            _ => Ok(true),
        }
    }

    /// Brings the state up to date: is this branch still live, does a child freeze it, what does
    /// its log say now? Then tells the others that this was done.
    pub(crate) fn refresh<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
    ) -> Result<()> {
        if !matches!(volume.geometry.delta, Delta::Segmented(_)) {
            return Ok(());
        }
        let followed = self.follow(volume, company);
        if !matches!(followed, Ok(false)) {
            volume.platform.outdated();
        }
        followed?;
        self.tell(volume, company)
    }

    /// Follows what the others did; says whether this mount shows something else now.
    fn follow<P: Platform>(&mut self, volume: &Volume<P>, company: &mut Company) -> Result<bool> {
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        let mut changed = false;
        if tree.settle()? != self.tree {
            let (idle, table) = tree.table()?;
            changed = self.look(volume, &table, company)?;
            self.tree = idle;
            self.committed = table.iter().any(|branch| branch.word.state == BranchState::Committed);
            if company.me.is_some() {
                company.reclaim.look(&tree, &table)?;
            }
        }
        if self.writing.is_none() && !self.ended {
            let before = self.source.chain.as_ref().map(ChainLog::position);
            let caught_up = volume.replay_on().catch_up(&mut self.index, None, &mut self.source);
            self.torn |= caught_up.is_err();
            caught_up?;
            changed |= self.source.chain.as_ref().map(ChainLog::position) != before;
        }
        Ok(changed)
    }

    /// Tells the others how far this mount has followed.
    fn tell<P: Platform>(&self, volume: &Volume<P>, company: &Company) -> Result<()> {
        let (Some(me), Delta::Segmented(segments)) = (&company.me, &volume.geometry.delta) else {
            return Ok(());
        };
        if self.writing.is_none() {
            me.read_up_to(&volume.region, segments, self.follow_position())?;
        }
        me.acknowledge(&volume.region, segments, self.tree.sequence)
    }

    /// How far this mount has read, as followers say it.
    pub(crate) fn follow_position(&self) -> FollowPosition {
        let generation = self.branch.map_or(0, |branch| branch.log.generation);
        // A chain that was inherited does not change: the branch's own has not begun.
        let own = self.branch.is_some_and(|branch| branch.log.head.is_some());
        let at = self.source.chain.filter(|_| own).map_or(LogPosition::new(0), |c| c.position());
        FollowPosition::new(generation, at)
    }

    /// Looks at the branch tree again; says whether the branch has ended, or has another log.
    #[inline(never)]
    fn look<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        table: &Table,
        company: &Company,
    ) -> Result<bool> {
        let had_ended = self.ended;
        let segments = volume.geometry.segments()?;
        if let Some(me) = &company.me {
            // Whoever was taken for dead has lost its branch, even if the record does not say so yet.
            self.ended |= !me.is_alive(&volume.region, segments)?;
        }
        let Some(old) = self.branch else { return Ok(self.ended != had_ended) };
        let now =
            table.iter().find(|now| now.slot == old.slot && now.id == old.id && now.is_live());
        let owner = company.me.map(|me| me.index());
        let Some(now) = now.filter(|now| self.writing.is_none() || now.word.owner == owner) else {
            self.ended = true;
            return Ok(!had_ended);
        };
        self.branch = Some(*now);
        self.frozen = table.live_child(now.id).map(|child| child.name);
        let known = self.writing.as_ref().map_or(old.log, |writing| writing.log.word());
        if now.log != known && !self.ended {
            let followed = self.follow_log(volume, table, now);
            self.torn |= followed.is_err();
            followed?;
            return Ok(true);
        }
        Ok(self.ended != had_ended)
    }

    /// The branch has another log than before: a child was committed into it, or its owner has
    /// started or rewritten it.
    #[inline(never)]
    fn follow_log<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        table: &Table,
        branch: &Branch,
    ) -> Result<()> {
        if self.writing.is_some() {
            // What a child had is this branch's now, and is adopted below.
            let tree = Tree::new(&volume.region, &volume.geometry)?;
            tree.pass_on(table, Some(branch.id))?;
        }
        let mut writing = self.writing.take();
        if let (Some(writing), Some(chain)) = (&writing, &mut self.source.chain) {
            if let Some(written) = writing.log.chain(volume.geometry.segments()?)? {
                *chain = written;
            }
        }
        let space = writing.as_mut().map(|writing| &mut writing.space);
        let head = branch.log.head.ok_or(Error::Corrupt {
            what: "log of a branch record",
            at: u64::from(branch.slot.get()),
        })?;
        let mut replay = volume.replay_on();
        let space = if replay.go_on(&mut self.index, space, &mut self.source, head)? {
            writing.map(|writing| writing.space)
        } else {
            let mut space = match writing {
                Some(_) => Some(Space::new(volume.geometry.segments()?)?),
                None => None,
            };
            self.source = volume.replay(table, branch, space.as_mut(), &mut self.index)?;
            space
        };
        match space {
            Some(space) => self.take_up(volume, space).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The mount is over.
    pub(crate) fn leave(&mut self) {
        self.ended = true;
        self.writing = None;
    }

    /// Whether not all of what the branch says is known: memory was short, or the log is corrupt.
    pub(crate) const fn is_torn(&self) -> bool {
        self.torn && !self.ended
    }

    /// The mount is on `branch` from now on, of which nothing is known yet.
    pub(crate) fn go_to(&mut self, branch: Branch) {
        self.branch = Some(branch);
        (self.writing, self.frozen) = (None, None);
        (self.ended, self.torn) = (false, true);
    }

    /// The state may be read from.
    pub(crate) const fn check_readable(&self) -> Result<()> {
        if self.ended || self.torn {
            Err(Error::Stale)
        } else {
            Ok(())
        }
    }

    /// The state may be changed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_readable()?;
        if self.writing.is_none() {
            return Err(Error::ReadOnly);
        }
        match self.frozen {
            Some(child) => Err(Error::Frozen { child }),
            None => Ok(()),
        }
    }

    /// The stamp for what this mount has just put out of sight.
    pub(crate) fn stamp(&self) -> Stamp {
        let branch = self.branch.map_or(BranchId::NONE, |branch| branch.id);
        let position = match (&self.branch, &self.writing) {
            (Some(branch), Some(writing)) => {
                let at = writing.log.position();
                Some((branch.id, FollowPosition::new(writing.log.word().generation, at)))
            }
            _ => None,
        };
        Stamp { branch, sequence: self.tree.sequence, position }
    }

    /// Gives back what nobody can see any more.
    pub(crate) fn drain<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
    ) -> Result<()> {
        if company.reclaim.is_empty() || company.me.is_none() {
            return Ok(());
        }
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        company.others.look(&tree, company.me.as_ref())?;
        let space = self.writing.as_mut().map(|writing| &mut writing.space);
        company.reclaim.drain(&tree, &company.others, space)
    }

    /// Gives back what nobody can see any more, of discarded branches, too.
    pub(crate) fn drain_all<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
    ) -> Result<()> {
        self.drain(volume, company)?;
        if company.reclaim.is_empty() || company.me.is_none() {
            return Ok(());
        }
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        company.reclaim.drain_branches(&tree, &company.others)
    }
}
