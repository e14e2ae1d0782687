//! A volume: an image in its range, with nothing of it mounted.
//!
//! It holds what is true of the whole image (geometry, base) and gives offline tools the branch
//! table and the logs.

use crate::base::Base;
use crate::branch::{self, Branch};
use crate::commit;
use crate::error::{Error, Result};
use crate::index::{Index, View};
use crate::log::entry::Entry;
use crate::log::reader::{published, ChainLog, PlainLog};
use crate::mount::state::Current;
use crate::options::Access;
use crate::platform::Platform;
use crate::region::Region;
use crate::replay::Replay;
use crate::segment;
use crate::space::Space;
use crate::storage::Bitmap;
use crate::superblock::{Delta, Geometry};
use daxfs_format::branch::{BranchName, BranchState};
use daxfs_format::{BranchId, Ino, RegionOffset, Slot, BLOCK_SIZE};

/// An image in its range.
pub struct Volume<P: Platform> {
    pub(crate) platform: P,
    pub(crate) region: Region<P::Backing>,
    pub(crate) geometry: Geometry,
    pub(crate) base: Base,
}

/// What is known of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BranchInfo {
    /// Its place in the branch table.
    pub slot: Slot,
    /// Its identity.
    pub id: BranchId,
    /// Its name.
    pub name: BranchName,
    /// Its parent; `None` for the root branch.
    pub parent: Option<BranchId>,
    /// Its state.
    pub state: BranchState,
    /// Segments it has.
    pub segments: u64,
}

impl<P: Platform> Volume<P> {
    /// The image in `region`: superblocks are read and checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotDaxfs`], [`Error::Unsupported`], [`Error::Corrupt`].
    pub fn open(platform: P, region: Region<P::Backing>) -> Result<Self> {
        let geometry = Geometry::read(&region)?;
        let base = Base::read(&region, geometry.base)?;
        Ok(Self { platform, region, geometry, base })
    }

    /// Where everything in the range lies.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The base image's geometry.
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// The range.
    pub const fn region(&self) -> &Region<P::Backing> {
        &self.region
    }

    /// The world it is used in.
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// Calls `emit` for every branch, in table order.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn branches(&self, emit: &mut dyn FnMut(&BranchInfo)) -> Result<()> {
        for branch in branch::all(&self.region, &self.geometry) {
            let branch = branch?;
            let mut segments = 0;
            if let Delta::Segmented(map) = &self.geometry.delta {
                segment::for_each_owned(&self.region, map, |_, owner, _| {
                    segments += u64::from(owner == branch.id);
                    Ok(())
                })?;
            }
            emit(&BranchInfo {
                slot: branch.slot,
                id: branch.id,
                name: branch.name,
                parent: (!branch.parent.is_none()).then_some(branch.parent),
                state: branch.state,
                segments,
            });
        }
        Ok(())
    }

    /// Calls `emit` for the entries of a branch's own log, with where each starts, in order; stops
    /// when it says `false`. Link entries are shown, not followed.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn log(
        &self,
        name: &BranchName,
        emit: &mut dyn FnMut(RegionOffset, &Entry) -> bool,
    ) -> Result<()> {
        let branch = branch::named(&self.region, &self.geometry, name)?;
        match &self.geometry.delta {
            Delta::None => Ok(()),
            Delta::Plain(delta) => {
                let Some(span) = branch.plain_log(delta)? else { return Ok(()) };
                let mut log = PlainLog::new(span);
                while let Some((at, entry)) = log.next(&self.region)? {
                    if !emit(at, &entry) {
                        break;
                    }
                }
                Ok(())
            }
            Delta::Segmented(segments) => {
                let Some(head) = branch.head(&self.geometry)? else { return Ok(()) };
                let mut visited = Bitmap::new(u64::from(segments.count))?;
                let end = published(&self.region, segments, head, branch.id)?;
                let region = &self.region;
                let mut log = ChainLog::new(region, segments, head, branch.id, end, &mut visited)?;
                while let Some((at, entry)) = log.next(region, segments, &mut visited)? {
                    if !emit(at, &entry) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Makes branch `name` from `parent`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::BranchExists`], [`Error::BranchTableFull`],
    /// [`Error::ReadOnly`], [`Error::Corrupt`].
    pub fn create_branch(&self, name: &BranchName, parent: &BranchName) -> Result<BranchId> {
        let segments = self.writable()?;
        let parent = branch::named(&self.region, &self.geometry, parent)?;
        let sequence = commit::sequence(&self.region, segments)?;
        let next_ino = Ino::new(u64::from(self.base.inode_count()) + 1);
        let branch =
            branch::create(&self.region, &self.geometry, name, parent.id, next_ino, sequence)?;
        commit::tree_changed(&self.region, segments)?;
        Ok(branch.id)
    }

    /// Commits branch `name` into its parent, and discards its siblings.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::HasChildren`], [`Error::NoSpace`], [`Error::ReadOnly`],
    /// [`Error::InvalidArgument`] for `main`, [`Error::Corrupt`].
    pub fn commit(&self, name: &BranchName) -> Result<()> {
        self.writable()?;
        commit::recover(&self.region, &self.geometry)?;
        let branch = branch::named(&self.region, &self.geometry, name)?;
        let (index, _) = self.replay(&branch, Access::ReadOnly)?;
        let now = self.platform.now();
        commit::commit(&self.region, &self.geometry, &branch, index.next_ino(), now)
    }

    /// Discards branch `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::HasChildren`], [`Error::ReadOnly`],
    /// [`Error::InvalidArgument`] for `main`, [`Error::Corrupt`].
    pub fn abort(&self, name: &BranchName) -> Result<()> {
        self.writable()?;
        commit::recover(&self.region, &self.geometry)?;
        let branch = branch::named(&self.region, &self.geometry, name)?;
        commit::abort(&self.region, &self.geometry, &branch)
    }

    /// The segments, if the image may be written to.
    pub(crate) fn writable(&self) -> Result<&crate::superblock::Segments> {
        if self.geometry.read_only_features {
            return Err(Error::ReadOnly);
        }
        self.geometry.segments()
    }

    pub(crate) const fn view(&self) -> View<'_, P::Backing> {
        View { region: &self.region, base: &self.base }
    }

    /// Builds the index of `branch`, and the space bookkeeping for a mount that writes.
    pub(crate) fn replay(&self, branch: &Branch, access: Access) -> Result<(Index, Option<Space>)> {
        // Inline data can fill no more pages than the delta region has, when written honestly.
        let private = match &self.geometry.delta {
            Delta::Plain(delta) => delta.len / BLOCK_SIZE,
            _ => self.geometry.total_size / BLOCK_SIZE / 16,
        };
        let mut index = Index::new(&self.base, self.platform.random(), private);
        let mut replay = Replay::new(&self.region, &self.geometry, &self.base)?;
        let mut space = match access {
            Access::ReadWrite => Some(Space::new(self.geometry.segments()?)?),
            Access::ReadOnly => None,
        };
        replay.branch(&mut index, space.as_mut(), branch)?;
        if let Some(space) = &mut space {
            space.adopt(&self.region, branch.id, replay.visited())?;
        }
        Ok((index, space))
    }

    /// The branch a mount is on, freshly replayed.
    pub(crate) fn load(&self, branch: Option<Branch>, access: Access) -> Result<Current> {
        Current::load(self, branch, access)
    }
}
