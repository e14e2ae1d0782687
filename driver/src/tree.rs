//! Changes of the branch tree: publishing, claiming, committing and aborting branches.
//!
//! # Protocol
//!
//! All of them go through one word, the tree word (docs/coordination.md):
//!
//! 1. The word is idle: what the branch table says now is what it said when the word was read.
//!    Whether the change may happen is checked against it.
//! 2. One compare-and-swap from that idle word installs the change. **This is the change**: before
//!    it nothing has happened, after it everything will.
//! 3. The records are brought up to date, each by a compare-and-swap from the word seen while the
//!    change was installed. Should that fail, because an owner has given its branch up meanwhile or
//!    another kernel was faster, the record is looked at again. Anybody who finds the word not idle
//!    does this, so nobody waits for anybody.
//! 4. One compare-and-swap makes the word idle again, with the next sequence number.
//!
//! # Invariants
//!
//! - No tree word, state word or log word ever comes back, so a helper that slept through the end
//!   of a change cannot do any of its steps any more.
//! - Only in step 3 does a record become, or stop being, active.

use crate::branch::{self, Branch, Table};
use crate::error::{Error, Result};
use crate::member::Dead;
use crate::region::{Backing, LoadOrder, Region};
use crate::segment;
use crate::superblock::{Geometry, Segments};
use daxfs_format::branch::{BranchName, BranchRecord, BranchState, BranchWord};
use daxfs_format::coordination::{MemberIndex, TreeOperation, TreeWord, TREE_OFFSET};
use daxfs_format::{BranchId, RegionOffset, Slot};

/// How often a change is tried before the others' changes are too many.
const TRIES: usize = 1000;

/// The branch tree of a segmented image.
pub struct Tree<'r, B: Backing> {
    /// The range.
    pub region: &'r Region<B>,
    /// What lies where.
    pub geometry: &'r Geometry,
    /// The segmented delta region.
    pub segments: &'r Segments,
}

impl<B: Backing> Clone for Tree<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backing> Copy for Tree<'_, B> {}

/// Who may change a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A mount: it may change its own branches and those nobody owns.
    Member(MemberIndex),
    /// Somebody who acts for a member that is dead.
    For(Dead),
}

impl Actor {
    const fn member(self) -> MemberIndex {
        match self {
            Self::Member(member) => member,
            Self::For(dead) => dead.index(),
        }
    }

    fn may_change(self, branch: &Branch) -> Result<()> {
        match branch.word.owner {
            Some(owner) if owner != self.member() => Err(Error::Owned { branch: branch.name }),
            _ => Ok(()),
        }
    }
}

impl<'r, B: Backing> Tree<'r, B> {
    /// The tree of the image in `region`.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] if it has none that could change.
    pub fn new(region: &'r Region<B>, geometry: &'r Geometry) -> Result<Self> {
        Ok(Self { region, geometry, segments: geometry.segments()? })
    }

    /// The tree word as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn word(&self) -> Result<TreeWord> {
        let word = self.raw_word()?;
        TreeWord::from_word(word).ok_or(Error::Corrupt { what: "tree word", at: word })
    }

    /// The tree word, unparsed: what a mount compares with what it saw last.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn raw_word(&self) -> Result<u64> {
        // Acquire: pairs with the exchanges below; the records are as the word says.
        self.region.load(self.word_at()?, LoadOrder::Acquire)
    }

    fn word_at(&self) -> Result<RegionOffset> {
        let start = self.segments.coordination.start;
        start
            .checked_add(TREE_OFFSET)
            .ok_or(Error::OutOfBounds { offset: start.get(), len: TREE_OFFSET })
    }

    /// Finishes what is in progress; returns the idle word. Whoever cannot write to the range takes
    /// the records as they are: somebody else finishes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn settle(&self) -> Result<TreeWord> {
        self.settled().map(|word| TreeWord::idle(word.sequence))
    }

    /// As [`Self::settle`], but the word itself.
    fn settled(&self) -> Result<TreeWord> {
        for _ in 0..TRIES {
            let word = self.word()?;
            if word.operation == TreeOperation::Idle || !self.region.is_writable() {
                return Ok(word);
            }
            self.finish(word)?;
        }
        Err(Error::Contended)
    }

    /// The branch table as it was at one moment, and the idle word of that moment. (What does not go
    /// through the tree word may be older or newer: who has given a branch up, where a log starts.)
    ///
    /// # Errors
    ///
    /// As [`Self::settle`].
    pub fn table(&self) -> Result<(TreeWord, Table)> {
        for _ in 0..TRIES {
            let word = self.settled()?;
            let table = Table::read(self.region, self.geometry);
            // What was read while another change went on says nothing, not even that it is corrupt.
            if self.is_still(word)? {
                return Ok((TreeWord::idle(word.sequence), table?));
            }
        }
        Err(Error::Contended)
    }

    /// Replaces the tree word; says whether it was `from`.
    fn exchange(&self, from: TreeWord, to: TreeWord) -> Result<bool> {
        if to.sequence >= TreeWord::MAX_SEQUENCE {
            return Err(Error::Corrupt { what: "tree sequence used up", at: to.sequence });
        }
        // Releases the records as this kernel saw or made them; acquires what others did.
        Ok(self.region.compare_exchange(self.word_at()?, from.to_word(), to.to_word())?.is_ok())
    }

    /// Makes every mount look at the tree again.
    ///
    /// # Errors
    ///
    /// As [`Self::settle`].
    pub fn bump(&self) -> Result<()> {
        for _ in 0..TRIES {
            let idle = self.settle()?;
            if self.exchange(idle, TreeWord::idle(idle.sequence + 1))? {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Installs the change that `check` allows and finishes it. `check` is asked again, with the
    /// table as it is then, each time another change comes first.
    fn change<R>(
        &self,
        operation: TreeOperation,
        slot: Slot,
        member: MemberIndex,
        mut check: impl FnMut(&Table) -> Result<R>,
    ) -> Result<R> {
        for _ in 0..TRIES {
            let (idle, table) = self.table()?;
            let allowed = check(&table)?;
            let word = TreeWord { sequence: idle.sequence, operation, slot, member };
            if self.exchange(idle, word)? {
                // The change has happened. Should this kernel be unable to bring the records up to
                // date now, whoever looks at the tree next does, or fails for the same reason.
                let _ = self.finish(word);
                return Ok(allowed);
            }
        }
        Err(Error::Contended)
    }

    /// Makes branch `name` from `parent`, owned by `owner` (and kept when that ends, if `keep`) or
    /// by nobody. `maker` fills the record in.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`] or [`Error::Stale`] if the parent is not there,
    /// [`Error::BranchExists`], [`Error::BranchTableFull`], [`Error::Owned`] if another mount is
    /// writing to the parent, [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn create(
        &self,
        name: &BranchName,
        parent: Parent<'_>,
        maker: MemberIndex,
        own: Option<Keep>,
    ) -> Result<Slot> {
        let (slot, making) = self.reserve_slot(maker, own.is_some_and(|keep| keep.0))?;
        let operation = match own {
            Some(_) => TreeOperation::PublishOwned,
            None => TreeOperation::Publish,
        };
        let published = branch::next_id(self.region).and_then(|id| {
            self.change(operation, slot, maker, |table| {
                let parent = match parent {
                    Parent::Named(name) => table.named(name)?,
                    Parent::Is(slot, id) => table.live(slot, id)?,
                };
                if table.named(name).is_ok() {
                    return Err(Error::BranchExists { branch: *name });
                }
                Actor::Member(maker).may_change(parent)?;
                self.fill_in(slot, id, parent.id, name)
            })
        });
        if published.is_err() {
            let free = making.then(BranchState::Free, None, false);
            // If it fails, the record is somebody else's business by now.
            branch::exchange(self.region, self.geometry, slot, making, free)?;
        }
        published.map(|()| slot)
    }

    /// Makes the root branch of an image that has none.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn create_root(&self) -> Result<()> {
        let maker = MemberIndex::new(0);
        let (slot, _) = self.reserve_slot(maker, false)?;
        let id = branch::next_id(self.region)?;
        self.change(TreeOperation::Publish, slot, maker, |_| {
            self.fill_in(slot, id, BranchId::NONE, &BranchName::main())
        })
    }

    fn reserve_slot(&self, maker: MemberIndex, keep: bool) -> Result<(Slot, BranchWord)> {
        for slot in 0..self.geometry.branch_slots {
            let slot = Slot::new(slot);
            let word = branch::word(self.region, self.geometry, slot)?;
            if word.state != BranchState::Free {
                continue;
            }
            branch::use_slot(self.region, self.segments, slot)?;
            let making = word.then(BranchState::Making, Some(maker), keep);
            if branch::exchange(self.region, self.geometry, slot, word, making)? {
                return Ok((slot, making));
            }
        }
        Err(Error::BranchTableFull)
    }

    /// Fills in everything but the state word of a record this member is making.
    fn fill_in(&self, slot: Slot, id: BranchId, parent: BranchId, name: &BranchName) -> Result<()> {
        let at = self.geometry.branch_record(slot)?;
        // The state word keeps its value: it is written with the rest, by the only one who may
        // change it now.
        let word = branch::word(self.region, self.geometry, slot)?;
        let log = branch::log_word(self.region, self.geometry, slot)?;
        let none = daxfs_format::branch::LogWord {
            head: None,
            generation: log.generation.wrapping_add(1),
        };
        self.region.write(
            at,
            &BranchRecord {
                branch_id: id.get().into(),
                parent_id: parent.get().into(),
                delta_log_offset: 0.into(),
                delta_log_size: 0.into(),
                delta_log_capacity: 0.into(),
                state: (word.to_word() as u32).into(),
                refcount: ((word.to_word() >> 32) as u32).into(),
                next_local_ino: 0.into(),
                name: name.to_field(),
                log: none.to_word().into(),
                reserved: [0; 32],
            },
        )
    }

    /// Makes the branch in `slot` the member's. Returns it as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if branch `id` is not there any more, [`Error::Owned`], [`Error::Corrupt`],
    /// [`Error::NoMemory`], [`Error::Contended`].
    pub fn claim(
        &self,
        slot: Slot,
        id: BranchId,
        member: MemberIndex,
        keep: Keep,
    ) -> Result<Branch> {
        let operation = if keep.0 { TreeOperation::ClaimKeep } else { TreeOperation::Claim };
        self.change(operation, slot, member, |table| {
            let branch = table.live(slot, id)?;
            match branch.word.owner {
                Some(_) => Err(Error::Owned { branch: branch.name }),
                None => Ok(*branch),
            }
        })
    }

    /// Makes the branch in `slot` nobody's. The member must own it, and have written its last to it.
    ///
    /// The tree moves on first: whoever has followed it to a moment at which the branch is nobody's has
    /// read all that was written to the branch.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Contended`].
    pub fn release(&self, slot: Slot, id: BranchId, member: MemberIndex) -> Result<()> {
        let Some(branch) = branch::read(self.region, self.geometry, slot)? else { return Ok(()) };
        if branch.id == id && branch.is_live() && branch.word.owner == Some(member) {
            self.bump()?;
            let free = branch.word.then(BranchState::Active, None, false);
            // If it fails, the branch has ended.
            branch::exchange(self.region, self.geometry, slot, branch.word, free)?;
        }
        Ok(())
    }

    /// Commits the branch in `slot` into its parent, and discards its siblings.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if branch `id` is not there any more: a sibling was faster, for instance;
    /// [`Error::InvalidArgument`] for the root branch, [`Error::HasChildren`], [`Error::Owned`],
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`]. Nothing has happened then.
    pub fn commit(&self, slot: Slot, id: BranchId, actor: Actor) -> Result<()> {
        self.change(TreeOperation::Commit, slot, actor.member(), |table| {
            let branch = table.live(slot, id)?;
            table.parent(branch)?;
            self.may_end(table, branch, actor)?;
            self.pass_on(table, Some(id))
        })
    }

    /// Discards the branch in `slot`.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    pub fn abort(&self, slot: Slot, id: BranchId, actor: Actor) -> Result<()> {
        self.change(TreeOperation::Abort, slot, actor.member(), |table| {
            let branch = table.live(slot, id)?;
            table.parent(branch)?;
            self.may_end(table, branch, actor)?;
            self.pass_on(table, Some(id))
        })
    }

    /// Passes the segments of committed branches to their parents: of all, or of `parent`'s children.
    /// Nothing waits for it but the records, which are free afterwards; and the parent, which cannot
    /// end before (what is passed to it later would be lost).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn pass_on(&self, table: &Table, parent: Option<BranchId>) -> Result<()> {
        for branch in table.iter() {
            let committed = branch.word.state == BranchState::Committed;
            if committed && parent.is_none_or(|parent| parent == branch.parent) {
                segment::pass(self.region, self.segments, branch.id, branch.parent)?;
                self.free_record(branch)?;
            }
        }
        Ok(())
    }

    /// Frees the record of a branch that has ended and has no segment any more.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn free_record(&self, branch: &Branch) -> Result<()> {
        let free = branch.word.then(BranchState::Free, None, false);
        // If it fails, another mount has done it.
        branch::exchange(self.region, self.geometry, branch.slot, branch.word, free).map(|_| ())
    }

    /// Step 3 and 4: everything after the change was installed. Anybody may do it, any number of
    /// times.
    fn finish(&self, change: TreeWord) -> Result<()> {
        let slot = change.slot;
        match change.operation {
            TreeOperation::Idle => return Ok(()),
            TreeOperation::Publish | TreeOperation::PublishOwned => {
                let owned = change.operation == TreeOperation::PublishOwned;
                self.turn(change, slot, BranchState::Making, |word| {
                    let owner = word.owner.filter(|_| owned);
                    word.then(BranchState::Active, owner, owned && word.keep)
                })?;
            }
            TreeOperation::Claim | TreeOperation::ClaimKeep => {
                let keep = change.operation == TreeOperation::ClaimKeep;
                self.turn(change, slot, BranchState::Active, |word| match word.owner {
                    // Claimed already, or not to be had.
                    Some(_) => word,
                    None => word.then(BranchState::Active, Some(change.member), keep),
                })?;
            }
            TreeOperation::Commit => self.finish_commit(change)?,
            TreeOperation::Abort => {
                self.turn(change, slot, BranchState::Active, |word| {
                    word.then(BranchState::Aborted, None, false)
                })?;
            }
        }
        // If it fails, somebody else has done it.
        self.exchange(change, TreeWord::idle(change.sequence + 1)).map(|_| ())
    }

    /// Whether the tree word is still `word`. What was read before this says yes was read while it
    /// was: during the change, if `word` is one, so that an exchange from what was read does what the
    /// change wants, or fails.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn is_still(&self, word: TreeWord) -> Result<bool> {
        self.region.fence(crate::region::Fence::Loads);
        Ok(self.raw_word()? == word.to_word())
    }

    /// Changes the state word of a record, if it is in state `from`, as long as `change` is in
    /// progress.
    fn turn(
        &self,
        change: TreeWord,
        slot: Slot,
        from: BranchState,
        to: impl Fn(BranchWord) -> BranchWord,
    ) -> Result<()> {
        // An exchange fails if another kernel has done the same, and then there is nothing left to
        // do; or if the owner has given the branch up, and then there is.
        for _ in 0..TRIES {
            let word = branch::word(self.region, self.geometry, slot)?;
            if word.state != from || !self.is_still(change)? {
                return Ok(());
            }
            let to = to(word);
            if to == word || branch::exchange(self.region, self.geometry, slot, word, to)? {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    fn finish_commit(&self, change: TreeWord) -> Result<()> {
        let table = Table::read(self.region, self.geometry)?;
        let Some(branch) = table.iter().find(|branch| branch.slot == change.slot) else {
            return Ok(());
        };
        // The branch itself turns last: if it has, so has everything else.
        if !branch.is_live() {
            return Ok(());
        }
        let parent = match table.parent(branch) {
            // Not the branch it was: the change is over.
            Err(_) if !self.is_still(change)? => return Ok(()),
            parent => parent?,
        };
        if branch.log.head.is_some() && branch.log.head != parent.log.head {
            // The parent says what the branch said: its log is the branch's, which starts where the
            // parent's ended. Nobody else changes that word: a child freezes the parent.
            if let (Some(head), true) = (branch.log.head, self.is_still(change)?) {
                let to = parent.log.then(head);
                branch::exchange_log(self.region, self.geometry, parent.slot, parent.log, to)?;
            }
        }
        // All live descendants of the parent are siblings or below one: the branch has none.
        for other in table.iter().filter(|other| other.is_live() && other.id != branch.id) {
            // Live during the change, it keeps its slot during the change.
            if table.descends(other, branch.parent) {
                self.turn(change, other.slot, BranchState::Active, |word| {
                    word.then(BranchState::Aborted, None, false)
                })?;
            }
        }
        self.turn(change, change.slot, BranchState::Active, |word| {
            word.then(BranchState::Committed, None, false)
        })
    }

    fn may_end(&self, table: &Table, branch: &Branch, actor: Actor) -> Result<()> {
        actor.may_change(branch)?;
        if let Actor::For(dead) = actor {
            // The branch was found to be the dead member's before this: if somebody else has taken
            // its place since, this says so.
            if !dead.is_in_place(self.region, self.segments)? {
                return Err(Error::Stale);
            }
        }
        match table.live_child(branch.id) {
            Some(child) => Err(Error::HasChildren { child: child.name }),
            None => Ok(()),
        }
    }
}

/// Which branch a new one is made from.
#[derive(Clone, Copy, Debug)]
pub enum Parent<'n> {
    /// The one called so.
    Named(&'n BranchName),
    /// This one, if it has not ended.
    Is(Slot, BranchId),
}

/// Whether a branch is to outlive the mount that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep(pub bool);
