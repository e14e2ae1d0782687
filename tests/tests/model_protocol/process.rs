//! A kernel: a program of operations, each a sequence of steps with one access to what is shared.
//! The names are those of `driver/src/{tree,member,reclaim}.rs`.

use crate::memory::{
    Branch, BranchState, Change, Life, Log, Member, MemberState, Memory, PLACES, SLOTS, Tree,
};
use crate::mutation::Mutation;

/// Something a kernel is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    Join,
    /// Take the branch, and load it.
    Claim(u8),
    Commit(u8),
    Abort(u8),
    Release(u8),
    /// Follow the tree, and say so.
    Refresh,
    /// Find that the heartbeat of whoever is in the place rests.
    Expire(u8),
    /// Clean up after whoever is in the place, who has stopped for certain.
    Reap(u8),
    /// Give back what the branch has, if it was aborted.
    Drain(u8),
}

/// Who changes a branch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Actor {
    Me,
    For(Dead),
}

/// A member that was declared dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Dead {
    pub place: u8,
    pub word: Member,
    /// Which life that is: for the properties only.
    pub life: Option<Life>,
    /// Whether its place is to become free.
    pub reap: bool,
}

/// A change that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wish {
    pub change: Change,
    pub slot: u8,
    pub actor: Actor,
}

/// What comes when the tree is idle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Then {
    Change(Wish),
    Bump(After),
    Load(u8),
    Refresh,
    Joined { place: u8, word: Member },
    Stamp { slot: u8, word: Branch },
}

/// What comes after something that several operations do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum After {
    Done,
    EndBranches(Dead),
}

/// A step of bringing the records up to date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finish {
    ReadBranch,
    ReadLog,
    LookAgainLog(Log),
    ExchangeLog(Log),
    Read(u8),
    LookAgain(u8, Branch),
    Exchange(u8, Branch),
    Idle,
}

/// The next access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The next operation.
    Next,
    Settle(Then),
    Finish(Tree, Finish, Option<Then>),
    Check(Wish, Tree),
    InPlace(Wish, Tree),
    Install(Wish, Tree),
    Bump(Tree, After),
    LoadRead(u8, u8),
    RefreshRead(u8),
    Acknowledge(u8),
    ReleaseRead(u8),
    ReleaseExchange(u8, Branch),
    JoinRead(u8),
    JoinReserve(u8, Member),
    JoinAlive(u8, Member),
    ReadMember(u8, bool),
    Expire(Dead, Member),
    EndRead(Dead, u8),
    ReapRead(Dead, u8),
    ReapInPlace(Dead, u8, Branch),
    ReapExchange(Dead, u8, Branch),
    ReapFree(Dead),
    DrainRead(u8),
    DrainAsk {
        slot: u8,
        word: Branch,
        stamp: u8,
        place: u8,
    },
    DrainSegments(u8, Branch),
    DrainRecord(u8, Branch),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    pub life: Life,
    pub place: Option<(u8, Member)>,
    pub program: Vec<Operation>,
    pub done: u8,
    pub step: Step,
    pub running: bool,
    /// The branch whose segment it looks at.
    pub view: Option<u8>,
    /// The tree sequence for which that holds.
    pub known: u8,
}

impl Process {
    pub fn is_over(&self) -> bool {
        !self.running || (self.step == Step::Next && self.done as usize == self.program.len())
    }

    fn place(&self) -> u8 {
        self.place.map_or(0, |(place, _)| place)
    }

    fn next(&self) -> Step {
        let Some(&operation) = self.program.get(self.done as usize) else { return Step::Next };
        let wish =
            |change, slot| Step::Settle(Then::Change(Wish { change, slot, actor: Actor::Me }));
        match operation {
            // Who has no place takes no part.
            Operation::Join => Step::JoinRead(0),
            _ if self.place.is_none() => Step::Next,
            Operation::Claim(slot) => wish(Change::Claim { keep: false }, slot),
            Operation::Commit(slot) => wish(Change::Commit, slot),
            Operation::Abort(slot) => wish(Change::Abort, slot),
            Operation::Release(slot) => Step::ReleaseRead(slot),
            Operation::Refresh => Step::Settle(Then::Refresh),
            Operation::Expire(place) => Step::ReadMember(place, false),
            Operation::Reap(place) => Step::ReadMember(place, true),
            Operation::Drain(slot) => Step::DrainRead(slot),
        }
    }

    /// Does the next access. `stopped` says whether a life has ended for certain, `looked_at` whether
    /// another running process looks at a branch.
    pub fn step(
        &mut self,
        memory: &mut Memory,
        mutation: Mutation,
        stopped: impl Fn(Life) -> bool,
        looked_at: impl Fn(u8) -> bool,
    ) {
        use crate::memory::Fault;
        if self.step == Step::Next {
            self.step = self.next();
            self.done += 1;
            if self.step == Step::Next {
                return;
            }
        }
        let me = self.life;
        self.step = match self.step {
            Step::Next => Step::Next,
            Step::Settle(then) => match memory.tree {
                Tree { change: Change::Idle, .. } => self.settled(then, memory.tree, mutation),
                change => Step::Finish(change, Finish::ReadBranch, Some(then)),
            },
            Step::Finish(change, step, then) => {
                match finish(memory, change, step, mutation, me) {
                    Some(step) => Step::Finish(change, step, then),
                    None => match then {
                        Some(then) => Step::Settle(then),
                        // It was this process's own.
                        None => self.changed(change),
                    },
                }
            }
            Step::Check(wish, idle) => {
                let branch = memory.branches[wish.slot as usize];
                let by = match wish.actor {
                    Actor::Me => self.place(),
                    Actor::For(dead) => dead.place,
                };
                let owner = branch.owner.is_none_or(|owner| owner == by);
                let claim = matches!(wish.change, Change::Claim { .. });
                let allowed = branch.state == BranchState::Active
                    && if claim { branch.owner.is_none() } else { owner };
                if !allowed && mutation != Mutation::NoCheck {
                    self.refused(wish, memory.tree == idle)
                } else if let (Actor::For(_), true) =
                    (wish.actor, mutation != Mutation::CleanUpByPlace)
                {
                    Step::InPlace(wish, idle)
                } else {
                    Step::Install(wish, idle)
                }
            }
            Step::InPlace(wish, idle) => match wish.actor {
                Actor::For(dead) if memory.members[dead.place as usize] != dead.word => {
                    self.refused(wish, true)
                }
                _ => Step::Install(wish, idle),
            },
            Step::Install(wish, idle) => {
                let place = self.place();
                let to = Tree { change: wish.change, slot: wish.slot, place, ..idle };
                match memory.exchange_tree(idle, to, me) {
                    true => match wish.actor {
                        Actor::Me => Step::Finish(to, Finish::ReadBranch, None),
                        // The next look at the records finishes it first.
                        Actor::For(dead) => Step::Settle(Then::Bump(After::EndBranches(dead))),
                    },
                    false => Step::Settle(Then::Change(wish)),
                }
            }
            Step::Bump(idle, after) => {
                match memory.exchange_tree(idle, Memory::idle_after(idle, mutation), me) {
                    false => Step::Settle(Then::Bump(after)),
                    true => match after {
                        After::Done => Step::Next,
                        After::EndBranches(dead) => Step::EndRead(dead, 1),
                    },
                }
            }
            Step::LoadRead(slot, sequence) => {
                self.known = sequence;
                let live = memory.branches[slot as usize].state == BranchState::Active;
                if live || mutation == Mutation::LoadWithoutLook {
                    self.view = Some(slot);
                }
                Step::Next
            }
            Step::RefreshRead(sequence) => {
                if sequence != self.known {
                    let alive = self
                        .place
                        .is_some_and(|(place, word)| memory.members[place as usize] == word);
                    self.view = self.view.filter(|&slot| {
                        alive && memory.branches[slot as usize].state == BranchState::Active
                    });
                    self.known = sequence;
                }
                match mutation {
                    Mutation::AcknowledgeEarly => Step::Next,
                    _ => Step::Acknowledge(sequence),
                }
            }
            Step::Acknowledge(sequence) => {
                if let Some((place, _)) = self.place
                    && memory.truth.lives[place as usize] == Some(me)
                {
                    memory.acknowledged[place as usize] = sequence;
                }
                match mutation {
                    Mutation::AcknowledgeEarly => Step::RefreshRead(sequence),
                    _ => Step::Next,
                }
            }
            Step::ReleaseRead(slot) => {
                let branch = memory.branches[slot as usize];
                let mine = branch.state == BranchState::Active
                    && branch.owner == self.place.map(|(place, _)| place);
                self.view = self.view.filter(|&view| view != slot);
                if mine { Step::ReleaseExchange(slot, branch) } else { Step::Next }
            }
            Step::ReleaseExchange(slot, from) => {
                let to = Memory::branch_after(from, BranchState::Active, None, false, mutation);
                memory.exchange_branch(slot, from, to, me);
                Step::Next
            }
            Step::JoinRead(place) => match memory.members[place as usize] {
                word if word.state == MemberState::Free => Step::JoinReserve(place, word),
                _ if usize::from(place) + 1 < PLACES => Step::JoinRead(place + 1),
                _ => Step::Next,
            },
            Step::JoinReserve(place, free) => {
                let word = Memory::member_after(free, MemberState::Joining, mutation);
                match memory.exchange_member(place, free, word, Some(me)) {
                    true => Step::Settle(Then::Joined { place, word }),
                    false => Step::JoinRead(place),
                }
            }
            Step::JoinAlive(place, joining) => {
                let word = Memory::member_after(joining, MemberState::Alive, mutation);
                if memory.exchange_member(place, joining, word, Some(me)) {
                    self.place = Some((place, word));
                    Step::Settle(Then::Bump(After::Done))
                } else {
                    Step::Next
                }
            }
            Step::ReadMember(place, reap) => {
                let word = memory.members[place as usize];
                let life = memory.truth.lives[place as usize];
                let dead = Dead { place, word, life, reap };
                let certain = life.is_some_and(&stopped);
                match word.state {
                    MemberState::Free => Step::Next,
                    // Whoever asks for it knows.
                    _ if reap && !certain => Step::Next,
                    MemberState::Expired if reap => Step::EndRead(dead, 1),
                    MemberState::Expired => Step::Next,
                    MemberState::Joining | MemberState::Alive => {
                        let word = Memory::member_after(word, MemberState::Expired, mutation);
                        Step::Expire(Dead { word, ..dead }, dead.word)
                    }
                }
            }
            Step::Expire(dead, from) => {
                match memory.exchange_member(dead.place, from, dead.word, dead.life) {
                    true => Step::Settle(Then::Bump(After::EndBranches(dead))),
                    false if dead.reap => Step::EndRead(dead, 1),
                    false => Step::Next,
                }
            }
            Step::EndRead(dead, slot) if usize::from(slot) == SLOTS => match dead.reap {
                true => Step::ReapRead(dead, 0),
                false => Step::Next,
            },
            Step::EndRead(dead, slot) => {
                let branch = memory.branches[slot as usize];
                if branch.owner == Some(dead.place) && !branch.keep {
                    let actor = Actor::For(dead);
                    Step::Settle(Then::Change(Wish { change: Change::Abort, slot, actor }))
                } else {
                    Step::EndRead(dead, slot + 1)
                }
            }
            Step::ReapRead(dead, slot) if usize::from(slot) == SLOTS => Step::ReapFree(dead),
            Step::ReapRead(dead, slot) => match memory.branches[slot as usize] {
                word if word.owner != Some(dead.place) => Step::ReapRead(dead, slot + 1),
                word if mutation == Mutation::CleanUpByPlace => {
                    Step::ReapExchange(dead, slot, word)
                }
                word => Step::ReapInPlace(dead, slot, word),
            },
            Step::ReapInPlace(dead, slot, word) => {
                match memory.members[dead.place as usize] == dead.word {
                    true => Step::ReapExchange(dead, slot, word),
                    false => Step::Next,
                }
            }
            Step::ReapExchange(dead, slot, word) => {
                let to = Memory::branch_after(word, word.state, None, false, mutation);
                memory.exchange_branch(slot, word, to, me);
                Step::ReapRead(dead, slot + 1)
            }
            Step::ReapFree(dead) => {
                let free = Memory::member_after(dead.word, MemberState::Free, mutation);
                match memory.exchange_member(dead.place, dead.word, free, dead.life) {
                    true => Step::Settle(Then::Bump(After::Done)),
                    false => Step::Next,
                }
            }
            Step::DrainRead(slot) => match memory.branches[slot as usize] {
                word if word.state != BranchState::Aborted => Step::Next,
                word if mutation == Mutation::FreeWithoutWaiting => Step::DrainSegments(slot, word),
                word if mutation == Mutation::StampEarly => {
                    Step::DrainAsk { slot, word, stamp: memory.tree.sequence, place: 0 }
                }
                word => Step::Settle(Then::Stamp { slot, word }),
            },
            Step::DrainAsk { slot, word, stamp, place } => {
                let asked = match memory.members[place as usize].state {
                    MemberState::Free | MemberState::Joining => false,
                    MemberState::Expired => mutation != Mutation::ForgetExpired,
                    MemberState::Alive => place != self.place(),
                };
                let next = place + 1;
                match asked && memory.acknowledged[place as usize] < stamp {
                    true => Step::Next,
                    false if usize::from(next) == PLACES => Step::DrainSegments(slot, word),
                    false => Step::DrainAsk { slot, word, stamp, place: next },
                }
            }
            Step::DrainSegments(slot, word) => {
                if looked_at(slot) && memory.branches[slot as usize] == word {
                    memory.fault(Fault::Reused);
                }
                Step::DrainRecord(slot, word)
            }
            Step::DrainRecord(slot, word) => {
                let to = Memory::branch_after(word, BranchState::Free, None, false, mutation);
                memory.exchange_branch(slot, word, to, me);
                Step::Next
            }
        };
    }

    fn settled(&self, then: Then, idle: Tree, mutation: Mutation) -> Step {
        match then {
            Then::Refresh if mutation == Mutation::AcknowledgeEarly => {
                Step::Acknowledge(idle.sequence)
            }
            Then::Change(wish) => Step::Check(wish, idle),
            Then::Bump(after) => Step::Bump(idle, after),
            Then::Load(slot) => Step::LoadRead(slot, idle.sequence),
            Then::Refresh => Step::RefreshRead(idle.sequence),
            Then::Joined { place, word } => Step::JoinAlive(place, word),
            Then::Stamp { slot, word } => {
                Step::DrainAsk { slot, word, stamp: idle.sequence, place: 0 }
            }
        }
    }

    /// What comes when a change is not allowed; `sure` if the table was of one piece.
    fn refused(&self, wish: Wish, sure: bool) -> Step {
        match wish.actor {
            _ if !sure => Step::Settle(Then::Change(wish)),
            Actor::Me => Step::Next,
            Actor::For(dead) => Step::EndRead(dead, wish.slot + 1),
        }
    }

    /// What comes after a change of its own.
    fn changed(&mut self, change: Tree) -> Step {
        match change.change {
            Change::Claim { .. } => Step::Settle(Then::Load(change.slot)),
            _ => {
                self.view = self.view.filter(|&view| view != change.slot);
                Step::Next
            }
        }
    }
}

/// A step of steps 3 and 4 of the protocol; `None` after the last.
fn finish(
    memory: &mut Memory,
    change: Tree,
    step: Finish,
    mutation: Mutation,
    me: Life,
) -> Option<Finish> {
    let still = memory.tree == change;
    let commit = change.change == Change::Commit;
    // In which order the records turn in a commit.
    let sibling = 3 - change.slot;
    let (first, last) = match mutation {
        Mutation::CommitTurnsFirst => (change.slot, sibling),
        _ => (sibling, change.slot),
    };
    let next = |slot| if commit && slot == first { Finish::Read(last) } else { Finish::Idle };
    Some(match step {
        Finish::ReadBranch if !commit => Finish::Read(change.slot),
        // If the branch itself has turned, so has everything else.
        Finish::ReadBranch => match memory.branches[change.slot as usize].state {
            BranchState::Active => Finish::ReadLog,
            _ => Finish::Idle,
        },
        Finish::ReadLog => match memory.log {
            log if log.head == change.slot => Finish::Read(first),
            log if mutation == Mutation::NoSecondLook => Finish::ExchangeLog(log),
            log => Finish::LookAgainLog(log),
        },
        Finish::LookAgainLog(log) if still => Finish::ExchangeLog(log),
        Finish::LookAgainLog(_) => Finish::Read(first),
        Finish::ExchangeLog(log) => {
            let to = Log { head: change.slot, generation: log.generation + 1 };
            memory.exchange_log(log, to);
            Finish::Read(first)
        }
        Finish::Read(slot) => match memory.branches[slot as usize] {
            word if word.state != BranchState::Active => next(slot),
            word if mutation == Mutation::NoSecondLook => Finish::Exchange(slot, word),
            word => Finish::LookAgain(slot, word),
        },
        Finish::LookAgain(slot, word) if still => Finish::Exchange(slot, word),
        Finish::LookAgain(slot, _) => next(slot),
        Finish::Exchange(slot, word) => {
            let turn =
                |state, owner, keep| Memory::branch_after(word, state, owner, keep, mutation);
            let to = match change.change {
                Change::Claim { .. } if word.owner.is_some() => return Some(next(slot)),
                Change::Claim { keep } => turn(BranchState::Active, Some(change.place), keep),
                Change::Commit if slot == change.slot => turn(BranchState::Committed, None, false),
                _ => turn(BranchState::Aborted, None, false),
            };
            let done = memory.exchange_branch(slot, word, to, me);
            if done || mutation == Mutation::OneTry { next(slot) } else { Finish::Read(slot) }
        }
        Finish::Idle => {
            memory.exchange_tree(change, Memory::idle_after(change, mutation), me);
            return None;
        }
    })
}
