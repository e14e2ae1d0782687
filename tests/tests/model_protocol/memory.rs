//! What the kernels share, and what they cannot see: what is true of it.
//!
//! The branches are `main` (slot 0) and two children of it (1 and 2), each with a log and a segment.

use crate::mutation::Mutation;

pub const SLOTS: usize = 3;
pub const PLACES: usize = 3;

/// What the tree word says is being done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    Idle,
    Claim { keep: bool },
    Commit,
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tree {
    pub change: Change,
    pub slot: u8,
    pub place: u8,
    pub sequence: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BranchState {
    Free,
    Active,
    Committed,
    Aborted,
}

/// The state word of a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Branch {
    pub state: BranchState,
    pub owner: Option<u8>,
    pub keep: bool,
    pub generation: u8,
}

/// The log word of `main`: whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    pub head: u8,
    pub generation: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemberState {
    Free,
    Joining,
    Alive,
    Expired,
}

/// The state word of a member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    pub state: MemberState,
    pub epoch: u8,
}

/// A process while it has a place: what a member's word stands for, whatever it says.
pub type Life = u8;

/// A property that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// A branch got a second owner, or its record names another.
    SecondOwner,
    /// What was committed into had been discarded, or what was discarded goes on.
    Winner,
    /// The parent does not say what was committed last.
    Lost,
    /// Something was done to a member, or to its branch, that nobody had taken for dead.
    Innocent,
    /// A place became free, and something was still its last member's.
    Leftover,
    /// A segment was given back that a running process looks at.
    Reused,
}

/// What is true.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Truth {
    pub won: [bool; SLOTS],
    pub void: [bool; SLOTS],
    pub head: u8,
    pub owner: [Option<Life>; SLOTS],
    pub lives: [Option<Life>; PLACES],
    /// Lives that were declared over.
    pub expired: Vec<Life>,
    pub fault: Option<Fault>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Memory {
    pub tree: Tree,
    pub branches: [Branch; SLOTS],
    pub log: Log,
    pub members: [Member; PLACES],
    pub acknowledged: [u8; PLACES],
    pub truth: Truth,
}

impl Memory {
    /// Nothing has happened; `owners` of the branches are in place.
    pub fn new(owners: [Option<u8>; SLOTS], alive: [bool; PLACES]) -> Self {
        let branch =
            |owner| Branch { state: BranchState::Active, owner, keep: false, generation: 0 };
        let member = |alive| Member {
            state: if alive { MemberState::Alive } else { MemberState::Free },
            epoch: 0,
        };
        let lives = core::array::from_fn(|place| alive[place].then_some(place as Life));
        Self {
            tree: Tree { change: Change::Idle, slot: 0, place: 0, sequence: 0 },
            branches: owners.map(branch),
            log: Log { head: 0, generation: 0 },
            members: alive.map(member),
            acknowledged: [0; PLACES],
            truth: Truth {
                won: [false; SLOTS],
                void: [false; SLOTS],
                head: 0,
                owner: owners,
                lives,
                expired: Vec::new(),
                fault: None,
            },
        }
    }

    pub fn fault(&mut self, fault: Fault) {
        self.truth.fault.get_or_insert(fault);
    }

    fn check(&mut self, holds: bool, fault: Fault) {
        if !holds {
            self.fault(fault);
        }
    }

    /// The tree word after `self.tree`, idle.
    pub fn idle_after(from: Tree, mutation: Mutation) -> Tree {
        let step = u8::from(mutation != Mutation::NoSequence);
        Tree { change: Change::Idle, slot: 0, place: 0, sequence: from.sequence + step }
    }

    /// The word after `from`, in another state.
    pub fn branch_after(
        from: Branch,
        state: BranchState,
        owner: Option<u8>,
        keep: bool,
        mutation: Mutation,
    ) -> Branch {
        let step = u8::from(mutation != Mutation::NoBranchGeneration);
        Branch { state, owner, keep, generation: from.generation + step }
    }

    /// The word after `from`, in another state.
    pub fn member_after(from: Member, state: MemberState, mutation: Mutation) -> Member {
        let step = u8::from(mutation != Mutation::NoEpoch);
        Member { state, epoch: from.epoch + step }
    }

    /// Exchanges the tree word. If it installs a change, this is the change: `by` does it.
    pub fn exchange_tree(&mut self, from: Tree, to: Tree, by: Life) -> bool {
        if self.tree != from {
            return false;
        }
        self.tree = to;
        let slot = to.slot as usize;
        let owner = self.truth.owner[slot];
        match to.change {
            Change::Idle => {}
            Change::Claim { .. } => {
                self.check(owner.is_none() && !self.has_ended(slot), Fault::SecondOwner);
                self.truth.owner[slot] = Some(by);
            }
            Change::Commit | Change::Abort => {
                self.check(!self.has_ended(slot), Fault::Winner);
                let may = owner.is_none_or(|life| life == by || self.is_over(life));
                self.check(may, Fault::Innocent);
                self.truth.owner[slot] = None;
                if to.change == Change::Abort {
                    self.truth.void[slot] = true;
                    return true;
                }
                self.truth.won[slot] = true;
                self.truth.head = to.slot;
                for other in (1..SLOTS).filter(|&other| other != slot) {
                    if !self.has_ended(other) {
                        self.truth.void[other] = true;
                        self.truth.owner[other] = None;
                    }
                }
            }
        }
        true
    }

    fn has_ended(&self, slot: usize) -> bool {
        self.truth.won[slot] || self.truth.void[slot]
    }

    fn is_over(&self, life: Life) -> bool {
        self.truth.expired.contains(&life)
    }

    /// Exchanges the state word of a record.
    pub fn exchange_branch(&mut self, slot: u8, from: Branch, to: Branch, by: Life) -> bool {
        let slot = slot as usize;
        if self.branches[slot] != from {
            return false;
        }
        self.branches[slot] = to;
        if to.state == BranchState::Active
            && to.owner.is_none()
            && let Some(owner) = self.truth.owner[slot]
        {
            let may = owner == by || self.is_over(owner);
            self.check(may, Fault::Innocent);
            self.truth.owner[slot] = None;
        }
        if matches!(to.state, BranchState::Aborted | BranchState::Committed) {
            self.check(self.has_ended(slot), Fault::Winner);
        }
        true
    }

    /// Exchanges the log word of `main`.
    pub fn exchange_log(&mut self, from: Log, to: Log) -> bool {
        if self.log != from {
            return false;
        }
        self.log = to;
        self.check(to.head == self.truth.head, Fault::Lost);
        true
    }

    /// Exchanges the state word of a member: its own (`by` its life), or another's of which the
    /// caller knows that it was `of`.
    pub fn exchange_member(
        &mut self,
        place: u8,
        from: Member,
        to: Member,
        of: Option<Life>,
    ) -> bool {
        let at = place as usize;
        if self.members[at] != from {
            return false;
        }
        self.members[at] = to;
        match to.state {
            MemberState::Joining => self.truth.lives[at] = of,
            MemberState::Alive => {}
            MemberState::Expired => {
                self.check(self.truth.lives[at] == of, Fault::Innocent);
                self.truth.expired.extend(of);
            }
            MemberState::Free => {
                self.check(self.truth.lives[at] == of, Fault::Innocent);
                let left = self.branches.iter().any(|branch| branch.owner == Some(place));
                self.check(!left, Fault::Leftover);
                self.truth.lives[at] = None;
            }
        }
        true
    }

    /// What the records have to say when no change is in progress.
    pub fn agrees(&self) -> Option<Fault> {
        if self.tree.change != Change::Idle {
            return None;
        }
        for slot in 0..SLOTS {
            let branch = self.branches[slot];
            if branch.state != BranchState::Active {
                continue;
            }
            if self.has_ended(slot) {
                return Some(Fault::Winner);
            }
            let owner = self.truth.owner[slot];
            let place = owner
                .and_then(|owner| self.truth.lives.iter().position(|&life| life == Some(owner)));
            if branch.owner.map(usize::from) != place {
                return Some(Fault::SecondOwner);
            }
        }
        (self.log.head != self.truth.head).then_some(Fault::Lost)
    }
}
