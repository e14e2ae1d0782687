//! The branch a mount is on: made, left, committed, aborted.

use super::state::{open_log, Current, Writing};
use super::{Mount, State};
use crate::branch::{self, Branch};
use crate::commit;
use crate::error::{Error, Result};
use crate::options::Access;
use crate::platform::{Lock, Platform};
use crate::volume::BranchInfo;
use daxfs_format::branch::BranchName;

impl<P: Platform> Mount<P> {
    /// Calls `emit` for every branch of the image.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn branches(&self, emit: &mut dyn FnMut(&BranchInfo)) -> Result<()> {
        self.volume.branches(emit)
    }

    /// Makes branch `name` and moves to it. Its parent is the branch this mount is on, unless
    /// another is named; a branch this mount was writing to is frozen from then on.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::BranchExists`], [`Error::BranchTableFull`],
    /// [`Error::NoSuchBranch`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn create_branch(&self, name: &BranchName, parent: Option<&BranchName>) -> Result<()> {
        let mut state = self.leaving()?;
        let current = state.current.branch.map(|branch| branch.name);
        let parent = parent.copied().or(current).unwrap_or(BranchName::main());
        branch::named(&self.volume.region, &self.volume.geometry, &parent)?;
        self.leave(&mut state)?;
        self.volume.create_branch(name, &parent)?;
        self.enter_named(&mut state, name)
    }

    /// Moves to branch `name`, and takes it. The branch left behind stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::ReadOnly`], [`Error::Stale`], [`Error::Corrupt`].
    pub fn switch(&self, name: &BranchName) -> Result<()> {
        let mut state = self.leaving()?;
        branch::named(&self.volume.region, &self.volume.geometry, name)?;
        self.leave(&mut state)?;
        self.enter_named(&mut state, name)
    }

    /// Commits the branch this mount is on into its parent, discards its siblings, and moves to the
    /// parent, with the rights this mount had there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for `main`, [`Error::HasChildren`], [`Error::ReadOnly`],
    /// [`Error::NoSpace`], [`Error::Stale`] if a sibling was faster, [`Error::Corrupt`]. Nothing has
    /// changed then.
    pub fn commit(&self) -> Result<()> {
        let mut state = self.state.write();
        let branch = self.owned_branch(&mut state)?;
        self.flush(&mut state.current)?;
        let (region, geometry) = (&self.volume.region, &self.volume.geometry);
        if let Some(writing) = &mut state.current.writing {
            writing.log.close(region, geometry.segments()?)?;
        }
        let next_ino = state.current.index.next_ino();
        let now = self.volume.platform.now();
        commit::commit(region, geometry, &branch, next_ino, now)?;
        // What the index says is what the parent says now: nothing has to be replayed.
        self.move_to_parent(&mut state, &branch)
    }

    /// Discards the branch this mount is on, and moves to its parent, with the rights this mount
    /// had there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for `main`, [`Error::HasChildren`], [`Error::ReadOnly`],
    /// [`Error::Stale`], [`Error::Corrupt`].
    pub fn abort(&self) -> Result<()> {
        let mut state = self.state.write();
        let branch = self.owned_branch(&mut state)?;
        let parent = self.parent(&branch)?;
        commit::abort(&self.volume.region, &self.volume.geometry, &branch)?;
        let access = Self::rights(&mut state, &parent);
        state.current = self.volume.load(Some(parent), access)?;
        Ok(())
    }

    /// The branch this mount may end.
    fn owned_branch(&self, state: &mut State) -> Result<Branch> {
        state.current.refresh(&self.volume)?;
        state.current.check_readable()?;
        if state.current.writing.is_none() {
            return Err(Error::ReadOnly);
        }
        let branch = state.current.branch.ok_or(Error::ReadOnly)?;
        match branch::live_child(&self.volume.region, &self.volume.geometry, branch.id)? {
            Some(child) => Err(Error::HasChildren { child: child.name }),
            None => Ok(branch),
        }
    }

    fn parent(&self, branch: &Branch) -> Result<Branch> {
        if branch.parent.is_none() {
            return Err(Error::InvalidArgument("main can be neither committed nor aborted"));
        }
        branch::by_id(&self.volume.region, &self.volume.geometry, branch.parent)?
            .filter(Branch::is_live)
            .ok_or(Error::Corrupt { what: "parent of a live branch", at: branch.parent.get() })
    }

    fn move_to_parent(&self, state: &mut State, branch: &Branch) -> Result<()> {
        let parent = self.parent(branch)?;
        let access = Self::rights(state, &parent);
        let current = &mut state.current;
        current.writing = match (access, current.writing.take()) {
            (Access::ReadWrite, Some(Writing { mut space, .. })) => {
                space.adopt_committed(&self.volume.region, parent.id)?;
                Some(Writing { log: open_log(&self.volume, &parent)?, space })
            }
            _ => None,
        };
        current.branch = Some(parent);
        current.refresh(&self.volume)
    }

    /// What this mount may do on `parent`, to which it returns.
    fn rights(state: &mut State, parent: &Branch) -> Access {
        let held = state.held.contains(&parent.id);
        state.held.retain(|&id| id != parent.id);
        if held {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        }
    }

    /// The state, if this mount may move to another branch.
    fn leaving(&self) -> Result<<P::Lock<State> as Lock<State>>::Write<'_>> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let mut state = self.state.write();
        state.current.refresh(&self.volume)?;
        state.current.check_readable()?;
        Ok(state)
    }

    /// Stops writing to the current branch, and remembers that this mount could.
    fn leave(&self, state: &mut State) -> Result<()> {
        self.flush(&mut state.current)?;
        if let (Some(writing), Some(branch)) = (&mut state.current.writing, state.current.branch) {
            writing.log.close(&self.volume.region, self.volume.geometry.segments()?)?;
            if !state.held.contains(&branch.id) {
                state.held.push(branch.id)?;
            }
        }
        Ok(())
    }

    fn enter_named(&self, state: &mut State, name: &BranchName) -> Result<()> {
        let branch = branch::named(&self.volume.region, &self.volume.geometry, name)?;
        state.current = Current::load(&self.volume, Some(branch), Access::ReadWrite)?;
        Ok(())
    }
}
