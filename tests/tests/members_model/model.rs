//! What has to come of it: the rules of branches and members, without anything that is shared.

use daxfs::Errno;
use daxfs_tests::operation::Operation;
use daxfs_tests::reference::{Outcome, Tree};
use std::collections::BTreeMap;

/// One mount from its beginning to its end.
pub type Life = u64;
/// One branch from its beginning to its end.
pub type Id = u64;

/// A branch that is active.
pub struct Branch {
    pub id: Id,
    pub name: &'static str,
    pub parent: Option<Id>,
    pub owner: Option<Life>,
    pub tree: Tree,
    /// Whether it outlives its owner.
    keep: bool,
}

/// A mount that has a place in the member table.
pub struct Member {
    /// Whether it may write to branches at all.
    writes: bool,
    keep: bool,
    /// The branch it is on.
    pub at: Id,
    /// Whether that is its own.
    writing: bool,
    /// Branches on the way to it that are its own, too.
    held: Vec<Id>,
    expired: bool,
    /// Whether it does not run any more.
    pub dead: bool,
    /// The heartbeats of others, and when it saw them change last.
    seen: BTreeMap<Life, (u64, u64)>,
}

/// All branches and members.
pub struct Model {
    branches: Vec<Branch>,
    members: BTreeMap<Life, Member>,
    next: u64,
    lease_ms: u64,
}

impl Model {
    /// An image whose `main` says `tree`.
    pub fn new(tree: Tree, lease_ms: u64) -> Self {
        let main = Branch { id: 0, name: "main", parent: None, owner: None, tree, keep: false };
        Self { branches: vec![main], members: BTreeMap::new(), next: 1, lease_ms }
    }

    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    pub fn branch(&self, id: Id) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.id == id)
    }

    fn branch_mut(&mut self, id: Id) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.id == id)
    }

    fn named(&self, name: &str) -> Outcome<&Branch> {
        self.branches.iter().find(|branch| branch.name == name).ok_or(Errno::ENOENT)
    }

    fn has_children(&self, id: Id) -> bool {
        self.branches.iter().any(|branch| branch.parent == Some(id))
    }

    pub fn member(&self, life: Life) -> &Member {
        &self.members[&life]
    }

    fn member_mut(&mut self, life: Life) -> &mut Member {
        self.members.get_mut(&life).expect("a member of the model")
    }

    /// Those who do not run any more, but still have a place.
    pub fn dead(&self) -> Vec<Life> {
        let dead = self.members.iter().filter(|(_, member)| member.dead);
        dead.map(|(life, _)| *life).collect()
    }

    /// Whether the member has lost its branch, or was taken for dead.
    pub fn is_stale(&self, life: Life) -> bool {
        let member = self.member(life);
        let lost = |branch: &Branch| member.writing && branch.owner != Some(life);
        member.expired || self.branch(member.at).is_none_or(lost)
    }

    fn check_fresh(&self, life: Life) -> Outcome {
        if self.is_stale(life) { Err(Errno::ESTALE) } else { Ok(()) }
    }

    fn is_writable(&self, life: Life) -> bool {
        let member = self.member(life);
        member.writing && !self.has_children(member.at)
    }

    /// What the member shows.
    pub fn tree(&self, life: Life) -> Option<&Tree> {
        if self.is_stale(life) {
            return None;
        }
        self.branch(self.member(life).at).map(|branch| &branch.tree)
    }

    fn fresh_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn join(&mut self, at: Id, writes: bool, keep: bool) -> Life {
        let life = self.fresh_number();
        self.enter(life, at, writes, keep);
        life
    }

    fn enter(&mut self, life: Life, at: Id, writes: bool, keep: bool) {
        let member = Member {
            writes,
            keep,
            at,
            writing: writes,
            held: Vec::new(),
            expired: false,
            dead: false,
            seen: BTreeMap::new(),
        };
        self.members.insert(life, member);
    }

    /// A member that looks at a branch.
    pub fn look(&mut self, name: &str) -> Outcome<Life> {
        let at = self.named(name)?.id;
        Ok(self.join(at, false, false))
    }

    /// A member that writes to a branch, made from `parent` if there is none.
    pub fn write(&mut self, name: &'static str, parent: &str, keep: bool) -> Outcome<Life> {
        let life = self.fresh_number();
        let at = match self.named(name) {
            Ok(branch) => {
                let id = branch.id;
                self.claim(id, life, keep)?;
                id
            }
            Err(_) => {
                let parent = self.named(parent)?.id;
                self.make(name, parent, Some(life), keep)?
            }
        };
        self.enter(life, at, true, keep);
        Ok(life)
    }

    fn claim(&mut self, id: Id, life: Life, keep: bool) -> Outcome {
        match self.branch_mut(id) {
            Some(branch) if branch.owner.is_none() => {
                (branch.owner, branch.keep) = (Some(life), keep);
                Ok(())
            }
            _ => Err(Errno::EBUSY),
        }
    }

    fn make(
        &mut self,
        name: &'static str,
        parent: Id,
        owner: Option<Life>,
        keep: bool,
    ) -> Outcome<Id> {
        if self.named(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let from = self.branch(parent).ok_or(Errno::ENOENT)?;
        if from.owner.is_some() && from.owner != owner {
            return Err(Errno::EBUSY);
        }
        let tree = from.tree.clone();
        let id = self.fresh_number();
        self.branches.push(Branch { id, name, parent: Some(parent), owner, tree, keep });
        Ok(id)
    }

    /// Makes a branch nobody's, if it is the member's.
    fn release(&mut self, life: Life, id: Id) {
        if let Some(branch) = self.branch_mut(id).filter(|branch| branch.owner == Some(life)) {
            (branch.owner, branch.keep) = (None, false);
        }
    }

    fn let_go(&mut self, life: Life) {
        let member = self.member_mut(life);
        let mut ids = std::mem::take(&mut member.held);
        if std::mem::take(&mut member.writing) {
            ids.push(member.at);
        }
        ids.into_iter().for_each(|id| self.release(life, id));
    }

    fn may_leave(&self, life: Life) -> Outcome {
        if !self.member(life).writes {
            return Err(Errno::EROFS);
        }
        self.check_fresh(life)
    }

    /// Makes a branch and moves to it.
    pub fn create(&mut self, life: Life, name: &'static str, parent: Option<&str>) -> Outcome {
        self.may_leave(life)?;
        let here = self.member(life).at;
        let parent = parent.map_or(Ok(here), |parent| self.named(parent).map(|p| p.id))?;
        let keep = self.member(life).keep;
        let made = self.make(name, parent, Some(life), keep)?;
        if parent != here {
            self.let_go(life);
        }
        let member = self.member_mut(life);
        if member.writing {
            member.held.push(here);
        }
        (member.at, member.writing) = (made, true);
        Ok(())
    }

    /// Moves to a branch and takes it.
    pub fn switch(&mut self, life: Life, name: &str) -> Outcome {
        self.may_leave(life)?;
        let (here, writing) = (self.member(life).at, self.member(life).writing);
        let target = self.named(name)?;
        let (id, owner) = (target.id, target.owner);
        if writing && id == here {
            return Ok(());
        }
        if owner != Some(life) {
            let keep = self.member(life).keep;
            self.claim(id, life, keep)?;
        }
        self.member_mut(life).held.retain(|held| *held != id);
        self.let_go(life);
        let member = self.member_mut(life);
        (member.at, member.writing) = (id, true);
        Ok(())
    }

    /// The branch the member may end, and its parent.
    fn may_end(&self, life: Life) -> Outcome<(Id, Id)> {
        self.check_fresh(life)?;
        let member = self.member(life);
        if !member.writing {
            return Err(Errno::EROFS);
        }
        if self.has_children(member.at) {
            return Err(Errno::EBUSY);
        }
        let parent = self.branch(member.at).and_then(|branch| branch.parent);
        Ok((member.at, parent.ok_or(Errno::EINVAL)?))
    }

    fn arrive(&mut self, life: Life, parent: Id) {
        let mine = self.branch(parent).is_some_and(|branch| branch.owner == Some(life));
        let member = self.member_mut(life);
        member.writing = mine && member.held.contains(&parent);
        member.held.retain(|held| *held != parent);
        member.at = parent;
    }

    pub fn commit(&mut self, life: Life) -> Outcome {
        let (branch, parent) = self.may_end(life)?;
        self.merge(branch, parent);
        self.arrive(life, parent);
        Ok(())
    }

    pub fn abort(&mut self, life: Life) -> Outcome {
        let (branch, parent) = self.may_end(life)?;
        self.remove(branch);
        self.arrive(life, parent);
        Ok(())
    }

    fn merge(&mut self, branch: Id, parent: Id) {
        let tree = self.branch(branch).map(|branch| branch.tree.clone());
        let mut gone = vec![parent];
        let mut at = 0;
        while let Some(&id) = gone.get(at) {
            gone.extend(self.branches.iter().filter(|b| b.parent == Some(id)).map(|b| b.id));
            at += 1;
        }
        self.branches.retain(|b| b.id == parent || !gone.contains(&b.id));
        if let (Some(tree), Some(parent)) = (tree, self.branch_mut(parent)) {
            parent.tree = tree;
        }
    }

    fn remove(&mut self, id: Id) {
        self.branches.retain(|branch| branch.id != id);
    }

    /// The member does something to a file.
    pub fn file(&mut self, life: Life, operation: &Operation) -> Outcome {
        self.check_fresh(life)?;
        let (at, writable) = (self.member(life).at, self.is_writable(life));
        let branch = self.branch_mut(at).ok_or(Errno::ESTALE)?;
        operation.on_reference(&mut branch.tree, writable)
    }

    /// The member writes to its branch without changing what it says.
    pub fn rewrite(&self, life: Life) -> Outcome {
        self.check_fresh(life)?;
        if self.is_writable(life) { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// The member makes sure that all it wrote is there.
    pub fn sync(&self, life: Life) -> Outcome {
        self.check_fresh(life)
    }

    /// Discards a branch of the member that leaves it, or makes it nobody's.
    fn discard(&mut self, life: Life, id: Id) {
        let keep = self.member(life).keep;
        let ends = self.branch(id).is_some_and(|branch| {
            branch.parent.is_some() && branch.owner.is_none_or(|owner| owner == life)
        });
        if ends && !keep && !self.has_children(id) {
            self.remove(id);
        } else {
            self.release(life, id);
        }
    }

    /// The member goes. Whoever was taken for dead keeps its place until the death is confirmed.
    pub fn unmount(&mut self, life: Life) {
        let stale = self.is_stale(life);
        let member = self.member(life);
        let mut ids = member.held.clone();
        if member.writing && !stale {
            ids.push(member.at);
        }
        // The nearest first: what it made it from has a child no more then.
        ids.into_iter().rev().for_each(|id| self.discard(life, id));
        if self.member(life).expired {
            self.crash(life);
        } else {
            self.members.remove(&life);
        }
    }

    /// The member does not run any more.
    pub fn crash(&mut self, life: Life) {
        self.member_mut(life).dead = true;
    }

    /// The member looks after the others at time `now`. `beats` are the heartbeats of all, in the order
    /// in which they stand in the table: a branch of one that dies with a child of one that comes after
    /// it ends when it is reaped.
    pub fn tick(&mut self, life: Life, now: u64, beats: &[(Life, u64)]) -> Outcome {
        let lease = self.lease_ms;
        for &(other, beat) in beats.iter().filter(|(other, _)| *other != life) {
            let expired = self.member(other).expired;
            let seen = &mut self.member_mut(life).seen;
            match seen.get(&other) {
                Some(&(old, since)) if old == beat => {
                    if now - since > lease && !expired {
                        self.expire(other);
                    }
                }
                _ => {
                    seen.insert(other, (beat, now));
                }
            }
        }
        self.check_fresh(life)
    }

    fn expire(&mut self, life: Life) {
        self.member_mut(life).expired = true;
        self.end_branches(life);
    }

    /// Ends the branches of a dead member that are not to be kept, children first.
    fn end_branches(&mut self, life: Life) {
        let ends = |model: &Self| {
            let mut all = model.branches.iter();
            all.find(|branch| {
                let its = branch.owner == Some(life) && !branch.keep && branch.parent.is_some();
                its && !model.has_children(branch.id)
            })
            .map(|branch| branch.id)
        };
        while let Some(id) = ends(self) {
            self.remove(id);
        }
    }

    /// Somebody confirms that the member does not run any more.
    pub fn reap(&mut self, life: Life) {
        self.expire(life);
        let its: Vec<Id> =
            self.branches.iter().filter(|b| b.owner == Some(life)).map(|b| b.id).collect();
        its.into_iter().for_each(|id| self.release(life, id));
        self.members.remove(&life);
    }

    pub fn tool_create(&mut self, name: &'static str, parent: &str) -> Outcome {
        let parent = self.named(parent)?.id;
        self.make(name, parent, None, false).map(|_| ())
    }

    /// The branch a tool may end, and its parent.
    fn tool_may_end(&self, name: &str) -> Outcome<(Id, Id)> {
        let branch = self.named(name)?;
        let parent = branch.parent.ok_or(Errno::EINVAL)?;
        if branch.owner.is_some() || self.has_children(branch.id) {
            return Err(Errno::EBUSY);
        }
        Ok((branch.id, parent))
    }

    pub fn tool_commit(&mut self, name: &str) -> Outcome {
        let (branch, parent) = self.tool_may_end(name)?;
        self.merge(branch, parent);
        Ok(())
    }

    pub fn tool_abort(&mut self, name: &str) -> Outcome {
        let (branch, _) = self.tool_may_end(name)?;
        self.remove(branch);
        Ok(())
    }
}
