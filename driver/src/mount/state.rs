//! What a mount knows of the branch it is on, and how it stays true.

use crate::branch::{self, Branch};
use crate::commit;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::log::encode::encode;
use crate::log::entry::Entry;
use crate::log::writer::{LogWriter, Reserve};
use crate::options::Access;
use crate::platform::Platform;
use crate::space::Space;
use crate::storage::TryVec;
use crate::superblock::Delta;
use crate::volume::Volume;
use daxfs_format::branch::BranchName;

/// The writing half of a mount that owns its branch.
pub(crate) struct Writing {
    pub(crate) log: LogWriter,
    pub(crate) space: Space,
}

/// The branch a mount is on.
pub(crate) struct Current {
    /// `None`: the base alone.
    pub(crate) branch: Option<Branch>,
    pub(crate) index: Index,
    /// `None`: the mount only looks.
    pub(crate) writing: Option<Writing>,
    /// The commit sequence for which `frozen` and `discarded` hold.
    sequence: u64,
    frozen: Option<BranchName>,
    discarded: bool,
    /// The index does not say what the log says: memory ran out between the two.
    torn: bool,
}

impl Current {
    /// Replays `branch`; `None` is the base alone.
    pub(crate) fn load<P: Platform>(
        volume: &Volume<P>,
        branch: Option<Branch>,
        access: Access,
    ) -> Result<Self> {
        // The sequence is read first: a change during replay is noticed by the first operation.
        let sequence = match &volume.geometry.delta {
            Delta::Segmented(segments) => commit::sequence(&volume.region, segments)?,
            Delta::None | Delta::Plain(_) => 0,
        };
        let Some(branch) = branch else {
            let index = Index::new(&volume.base, volume.platform.random(), 0);
            return Ok(Self::new(None, index, None, sequence));
        };
        let (index, space) = volume.replay(&branch, access)?;
        let writing = match space {
            Some(space) => Some(Writing { log: open_log(volume, &branch)?, space }),
            None => None,
        };
        let mut current = Self::new(Some(branch), index, writing, sequence);
        current.look(volume)?;
        Ok(current)
    }

    const fn new(
        branch: Option<Branch>,
        index: Index,
        writing: Option<Writing>,
        sequence: u64,
    ) -> Self {
        Self { branch, index, writing, sequence, frozen: None, discarded: false, torn: false }
    }

    /// Whether the branch tree is as it was when this mount last looked: one load.
    pub(crate) fn is_fresh<P: Platform>(&self, volume: &Volume<P>) -> Result<bool> {
        match &volume.geometry.delta {
            Delta::Segmented(segments) => {
                Ok(commit::sequence(&volume.region, segments)? == self.sequence)
            }
            Delta::None | Delta::Plain(_) => Ok(true),
        }
    }

    /// Looks at the branch tree again: is this branch still live, does a child freeze it?
    pub(crate) fn refresh<P: Platform>(&mut self, volume: &Volume<P>) -> Result<()> {
        if let Delta::Segmented(segments) = &volume.geometry.delta {
            self.sequence = commit::sequence(&volume.region, segments)?;
            self.look(volume)?;
        }
        Ok(())
    }

    fn look<P: Platform>(&mut self, volume: &Volume<P>) -> Result<()> {
        let Some(branch) = &self.branch else { return Ok(()) };
        let (region, geometry) = (&volume.region, &volume.geometry);
        let now = branch::read(region, geometry, branch.slot)?;
        self.discarded = !now.is_some_and(|now| now.id == branch.id && now.is_live());
        self.frozen = branch::live_child(region, geometry, branch.id)?.map(|child| child.name);
        Ok(())
    }

    /// The state may be read from.
    pub(crate) const fn check_readable(&self) -> Result<()> {
        if self.discarded || self.torn {
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

    /// Checks `entry`, publishes it, and does what it says. `target` is a symbolic link's.
    pub(crate) fn record<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        entry: &Entry,
        target: TryVec<u8>,
        reserve: Reserve,
    ) -> Result<()> {
        let view = volume.view();
        self.index.check(view, entry)?;
        self.index.prepare(view, entry)?;
        let encoded = encode(entry)?;
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        let segments = volume.geometry.segments()?;
        writing.log.append(&volume.region, segments, &encoded, &target, reserve)?;
        let applied = self.index.apply(view, Some(&mut writing.space), entry, target);
        // The entry is published. An index that does not know it must not answer any more.
        self.torn = applied.is_err();
        applied
    }
}

/// The writing end of `branch`'s log.
pub(crate) fn open_log<P: Platform>(volume: &Volume<P>, branch: &Branch) -> Result<LogWriter> {
    let segments = volume.geometry.segments()?;
    let record = volume.geometry.branch_record(branch.slot)?;
    // The record may have got its log since it was read.
    let head = branch::read(&volume.region, &volume.geometry, branch.slot)?
        .filter(|now| now.id == branch.id)
        .ok_or(Error::Stale)?
        .head(&volume.geometry)?;
    LogWriter::open(&volume.region, segments, branch.id, record, head)
}
