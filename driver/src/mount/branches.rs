//! The branch a mount is on: made, left, committed, aborted.

use super::state::{Adoption, Company, Current, Writing};
use super::{Mount, State};
use crate::branch::Branch;
use crate::error::{Error, Result};
use crate::member::Member;
use crate::options::Access;
use crate::platform::{Lock, Platform};
use crate::storage::TryVec;
use crate::superblock::Delta;
use crate::tree::{Actor, Keep, Parent, Tree};
use crate::volume::BranchInfo;
use daxfs_format::branch::BranchName;
use daxfs_format::coordination::MemberIndex;
use daxfs_format::{BranchId, Slot};

impl<P: Platform> Mount<P> {
    /// Calls `emit` for every branch of the image.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Contended`].
    pub fn branches(&self, emit: &mut dyn FnMut(&BranchInfo)) -> Result<()> {
        self.volume.branches(emit)
    }

    /// Makes branch `name` and moves to it. Its parent is the branch this mount is on, unless
    /// another is named; a branch this mount was writing to is frozen from then on, and stays this
    /// mount's if it is the parent.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::BranchExists`], [`Error::BranchTableFull`],
    /// [`Error::NoSuchBranch`], [`Error::Owned`] if another mount is writing to the parent,
    /// [`Error::Stale`], [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn create_branch(&self, name: &BranchName, parent: Option<&BranchName>) -> Result<()> {
        let mut state = self.leaving()?;
        let State { current, company, held } = &mut *state;
        let here = current.branch.ok_or(Error::ReadOnly)?;
        let parent = parent.copied().unwrap_or(here.name);
        if parent == here.name {
            held.reserve(1)?;
        }
        // Nothing may be stored in the parent's pages any more.
        self.volume.platform.outdated();
        // What this mount knows but has not written down belongs to the parent.
        self.flush(current, company)?;
        self.close_log(current)?;
        let space = current.writing.as_mut().map(|writing| &mut writing.space);
        let from = if parent == here.name {
            // Its name may be another's by now.
            Parent::Is(here.slot, here.id)
        } else {
            Parent::Named(&parent)
        };
        let made = Self::make_branch(&self.volume, company, space, (name, from), Keep(self.keep))?;
        if parent != here.name {
            self.let_go(&mut state)?;
            return self.load_owned(&mut state, made, Adoption::Done);
        }
        if current.writing.is_none() {
            return self.load_owned(&mut state, made, Adoption::Done);
        }
        held.push((here.slot, here.id))?;
        let gone_on = self.go_on(current, company, made);
        self.arrived(current, made, gone_on)
    }

    /// The mount's branch has a child now, which it goes on on: that says what its parent says, nothing
    /// has to be replayed.
    #[inline(never)]
    fn go_on(
        &self,
        current: &mut Current,
        company: &mut Company,
        (slot, id): (Slot, BranchId),
    ) -> Result<()> {
        if let Some(me) = &company.me {
            me.learn(&self.volume.region, self.volume.geometry.segments()?, id)?;
        }
        company.reclaim.forget_pages();
        let (_, table) = Tree::new(&self.volume.region, &self.volume.geometry)?.table()?;
        let branch = *table.live(slot, id)?;
        let Some(Writing { log, mut space, .. }) = current.writing.take() else {
            return Err(Error::ReadOnly);
        };
        if let Some(written) = log.chain(self.volume.geometry.segments()?)? {
            current.source.chain = Some(written);
        }
        space.disown()?;
        current.branch = Some(branch);
        current.begin_writing(&self.volume, space, Adoption::Done)?;
        current.refresh(&self.volume, company)
    }

    /// Moves to branch `name`, and takes it. The branches left behind are nobody's from then on.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::Owned`] by another mount, [`Error::ReadOnly`],
    /// [`Error::Stale`], [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn switch(&self, name: &BranchName) -> Result<()> {
        let mut state = self.leaving()?;
        let State { current, company, held } = &mut *state;
        if current.branch.is_some_and(|branch| branch.name == *name) && current.writing.is_some() {
            return Ok(());
        }
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        let me = company.me.as_ref().map(Member::index).ok_or(Error::ReadOnly)?;
        let (_, table) = tree.table()?;
        let target = table.named(name)?;
        let (slot, id) = (target.slot, target.id);
        self.volume.platform.outdated();
        self.flush(current, company)?;
        if target.word.owner != Some(me) {
            tree.claim(slot, id, me, Keep(self.keep))?;
        }
        held.retain(|&(_, held)| held != id);
        self.let_go(&mut state)?;
        self.load_owned(&mut state, (slot, id), Adoption::Done)
    }

    /// Commits the branch this mount is on into its parent, discards its siblings, and moves to the
    /// parent, with the rights this mount had there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for `main`, [`Error::HasChildren`], [`Error::ReadOnly`],
    /// [`Error::NoSpace`], [`Error::Stale`] if a sibling was faster, [`Error::Corrupt`],
    /// [`Error::NoMemory`]. Nothing has changed then.
    pub fn commit(&self) -> Result<()> {
        let mut state = self.state.write();
        let (branch, me) = self.may_end(&mut state)?;
        let State { current, company, held } = &mut *state;
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        // Nothing may be stored in what becomes the parent's.
        self.volume.platform.outdated();
        self.flush(current, company)?;
        self.close_log(current)?;
        let (_, table) = tree.table()?;
        let parent = *table.parent(table.live(branch.slot, branch.id)?)?;
        let access = rights(held, &parent, me);
        // What neither the branch nor its parent needs any more when they are one. Segments of a
        // parent that another mount owns are that mount's business.
        let mine = [branch.id, parent.id];
        let mine = match parent.word.owner {
            Some(owner) if owner != me => mine.get(..1),
            _ => mine.get(..),
        };
        let writing = current.writing.as_ref().ok_or(Error::ReadOnly)?;
        let mut garbage = TryVec::new();
        if current.leaves_garbage() {
            // What earlier commits brought is the parent's.
            tree.pass_on(&table, Some(parent.id))?;
            let (region, log) = (&self.volume.region, &current.source.segments);
            garbage = writing.space.garbage(region, mine.unwrap_or(&[]), log)?;
        }
        if access == Access::ReadOnly {
            self.announce(company, &parent)?;
        }
        tree.commit(branch.slot, branch.id, Actor::Member(me))?;
        held.retain(|&(_, held)| held != parent.id);
        let arrived = self.arrive(current, company, &parent, access);
        if arrived.is_err() {
            return self.arrived(current, (parent.slot, parent.id), arrived);
        }
        if let Some(writing) = &current.writing {
            // Pages are still taken from a segment that happens to be empty now.
            garbage.retain(|segment| !writing.space.holds(u64::from(segment.index.get())));
        }
        company.reclaim.segments(&garbage, current.stamp());
        // It is committed: what cannot be given back now is given back later.
        let _ = current.drain(&self.volume, company);
        Ok(())
    }

    /// The mount's branch has become its parent: so does its state, nothing has to be replayed.
    fn arrive(
        &self,
        current: &mut Current,
        company: &mut Company,
        parent: &Branch,
        access: Access,
    ) -> Result<()> {
        let segments = self.volume.geometry.segments()?;
        let Some(Writing { log, space, .. }) = current.writing.take() else {
            return Err(Error::ReadOnly);
        };
        if let Some(written) = log.chain(segments)? {
            current.source.chain = Some(written);
        }
        // Segments of the branch become the parent's by and by; this mount has them all the time.
        let (_, table) = Tree::new(&self.volume.region, &self.volume.geometry)?.table()?;
        current.branch = Some(*table.live(parent.slot, parent.id)?);
        match access {
            Access::ReadWrite => {
                current.begin_writing(&self.volume, space, Adoption::BeforeWriting)?;
            }
            Access::ReadOnly => {
                company.reclaim.forget_pages();
                // Their pages are for the next owner of the parent to use.
                current.index.forget_all(self.volume.view())?;
            }
        }
        current.refresh(&self.volume, company)
    }

    /// Discards the branch this mount is on, and moves to its parent, with the rights this mount
    /// had there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for `main`, [`Error::HasChildren`], [`Error::ReadOnly`],
    /// [`Error::Stale`], [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn abort(&self) -> Result<()> {
        let mut state = self.state.write();
        let (branch, me) = self.may_end(&mut state)?;
        let State { current, company, held } = &mut *state;
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        let (_, table) = tree.table()?;
        let parent = *table.parent(table.live(branch.slot, branch.id)?)?;
        self.volume.platform.outdated();
        self.close_log(current)?;
        tree.abort(branch.slot, branch.id, Actor::Member(me))?;
        company.reclaim.forget_pages();
        let access = rights(held, &parent, me);
        held.retain(|&(_, held)| held != parent.id);
        if access == Access::ReadWrite {
            let back = Adoption::BeforeWriting;
            return self.load_owned(&mut state, (parent.slot, parent.id), back);
        }
        let followed = self.follow(&mut state, &parent);
        self.volume.platform.switched();
        self.arrived(&mut state.current, (parent.slot, parent.id), followed)
    }

    /// Replaces the branch's log by a snapshot of what it says. A mount does this by itself when it
    /// pays; it can be asked for before a branch is left alone for long.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Frozen`], [`Error::Stale`], [`Error::NoSpace`] if there is no
    /// room for the snapshot beside the log, [`Error::NoMemory`], [`Error::Corrupt`].
    pub fn compact(&self) -> Result<()> {
        self.writing(|current, company| {
            self.flush(current, company)?;
            current.compact(&self.volume, company)
        })
    }

    /// The branch this mount may end.
    fn may_end(&self, state: &mut State) -> Result<(Branch, MemberIndex)> {
        self.refresh(state)?;
        state.current.check_readable()?;
        if state.current.writing.is_none() {
            return Err(Error::ReadOnly);
        }
        let branch = state.current.branch.ok_or(Error::ReadOnly)?;
        let me = state.company.me.as_ref().map(Member::index).ok_or(Error::ReadOnly)?;
        match state.current.frozen() {
            Some(child) => Err(Error::HasChildren { child }),
            None if branch.parent.is_none() => {
                Err(Error::InvalidArgument("main can be neither committed nor aborted"))
            }
            None => Ok((branch, me)),
        }
    }

    /// Tells the owner of `branch`, should there be one, that this mount is going to look at it.
    fn announce(&self, company: &Company, branch: &Branch) -> Result<()> {
        if let (Some(me), Delta::Segmented(segments)) = (&company.me, &self.volume.geometry.delta) {
            me.follow(&self.volume.region, segments, Some(branch.id))?;
        }
        Ok(())
    }

    /// The state, if this mount may move to another branch.
    fn leaving(&self) -> Result<<P::Lock<State> as Lock<State>>::Write<'_>> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let mut state = self.state.write();
        self.refresh(&mut state)?;
        state.current.check_readable()?;
        Ok(state)
    }

    /// Gives the log's reserve back: this mount stops writing to the branch.
    fn close_log(&self, current: &mut Current) -> Result<()> {
        match &mut current.writing {
            Some(writing) => {
                writing.log.close(&self.volume.region, self.volume.geometry.segments()?)
            }
            None => Ok(()),
        }
    }

    /// Stops owning the current branch, and those held on the way to it.
    fn let_go(&self, state: &mut State) -> Result<()> {
        let State { current, company, held } = state;
        self.close_log(current)?;
        company.reclaim.forget_pages();
        let Some(me) = company.me.as_ref().map(Member::index) else { return Ok(()) };
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        if let (Some(branch), Some(_)) = (current.branch, current.writing.take()) {
            tree.release(branch.slot, branch.id, me)?;
        }
        for &(slot, id) in held.iter() {
            tree.release(slot, id, me)?;
        }
        held.clear();
        Ok(())
    }

    /// Goes to a branch this mount owns.
    fn load_owned(
        &self,
        state: &mut State,
        branch: (Slot, BranchId),
        adoption: Adoption,
    ) -> Result<()> {
        let owned = self.own(state, branch, adoption);
        self.volume.platform.switched();
        self.arrived(&mut state.current, branch, owned)
    }

    /// The tree has changed so that this mount is on branch `id`, and `loaded` came of loading that. If
    /// memory was short, the change has happened all the same: the next operation loads the branch.
    fn arrived(
        &self,
        current: &mut Current,
        (slot, id): (Slot, BranchId),
        loaded: Result<()>,
    ) -> Result<()> {
        let Err(Error::NoMemory) = loaded else { return loaded };
        let found = crate::branch::read(&self.volume.region, &self.volume.geometry, slot)?;
        current.go_to(found.filter(|found| found.id == id).ok_or(Error::Stale)?);
        Ok(())
    }
}

/// What this mount may do on `parent`, should it return there.
fn rights(held: &[(Slot, BranchId)], parent: &Branch, me: MemberIndex) -> Access {
    let was_held = held.iter().any(|&(_, id)| id == parent.id);
    if was_held && parent.word.owner == Some(me) {
        Access::ReadWrite
    } else {
        Access::ReadOnly
    }
}
