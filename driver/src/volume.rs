//! A volume: an image in its range, with nothing of it mounted.
//!
//! It holds what is true of the whole image (geometry, base) and gives offline tools the branch
//! table and the logs.

use crate::base::Base;
use crate::branch::{Branch, Table};
use crate::error::{Error, Result};
use crate::index::{Index, View};
use crate::log::decode::Window;
use crate::log::entry::Entry;
use crate::log::reader::{ChainLog, PlainLog};
use crate::member::{self, Heartbeat, Identity, Member, MemberInfo, Others, STEPS_PER_BEAT};
use crate::platform::Platform;
use crate::reclaim::Reclaim;
use crate::region::Region;
use crate::replay::{Replay, Source};
use crate::segment;
use crate::space::Space;
use crate::storage::Bitmap;
use crate::superblock::{Delta, Geometry, Segments};
use crate::tree::{Actor, Parent, Tree};
use daxfs_format::branch::{BranchName, BranchState};
use daxfs_format::coordination::MemberIndex;
use daxfs_format::{BranchId, RegionOffset, Slot, BLOCK_SIZE};

/// An image in its range.
pub struct Volume<P: Platform> {
    pub(crate) platform: P,
    pub(crate) region: Region<P::Backing>,
    pub(crate) geometry: Geometry,
    pub(crate) base: Base,
    /// To be shown while something takes long; `None` where nobody looks at it.
    pub(crate) heartbeat: Option<Heartbeat>,
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
    /// The member that owns it.
    pub owner: Option<MemberIndex>,
    /// Segments it has.
    pub segments: u64,
}

impl BranchInfo {
    /// Whether it can be mounted: it has neither been committed nor discarded.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == BranchState::Active
    }
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
        Ok(Self { platform, region, geometry, base, heartbeat: None })
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

    /// The branch table as it is at one moment.
    fn table(&self) -> Result<Table> {
        match &self.geometry.delta {
            Delta::Segmented(_) => Ok(Tree::new(&self.region, &self.geometry)?.table()?.1),
            Delta::None | Delta::Plain(_) => Table::read(&self.region, &self.geometry),
        }
    }

    /// Calls `emit` for every branch, in table order.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn branches(&self, emit: &mut dyn FnMut(&BranchInfo)) -> Result<()> {
        for branch in self.table()?.iter() {
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
                state: branch.word.state,
                owner: branch.word.owner,
                segments,
            });
        }
        Ok(())
    }

    /// Calls `emit` for every member: every mount of the image, of whatever kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn members(&self, emit: &mut dyn FnMut(&MemberInfo)) -> Result<()> {
        match &self.geometry.delta {
            Delta::Segmented(segments) => member::list(&self.region, segments, emit),
            Delta::None | Delta::Plain(_) => Ok(()),
        }
    }

    /// Calls `emit` for the entries of the log chain that a branch's record names, with where each
    /// starts, in order; stops when it says `false`. A link entry, with which a chain goes on from
    /// another, is shown, not followed.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn log(
        &self,
        name: &BranchName,
        emit: &mut dyn FnMut(RegionOffset, &Entry<'_>) -> bool,
    ) -> Result<()> {
        let table = self.table()?;
        let branch = table.named(name)?;
        let mut window = Window::default();
        match &self.geometry.delta {
            Delta::None => {}
            Delta::Plain(_) => {
                let Some(span) = branch.plain_log else { return Ok(()) };
                let mut log = PlainLog::new(span);
                while let Some((at, found)) = log.next(&self.region, &mut window)? {
                    if !emit(at, &found.entry) {
                        break;
                    }
                }
            }
            Delta::Segmented(segments) => {
                let Some(head) = branch.log.head else { return Ok(()) };
                let mut visited = Bitmap::new(u64::from(segments.count))?;
                let region = &self.region;
                let mut log = ChainLog::open(region, segments, head, &mut visited)?;
                while let Some((at, found)) =
                    log.next(region, segments, &mut visited, &mut window)?
                {
                    if !emit(at, &found.entry) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes branch `name` from `parent`, for anybody to mount.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::BranchExists`], [`Error::BranchTableFull`],
    /// [`Error::Owned`] if a mount is writing to the parent, [`Error::ReadOnly`],
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn create_branch(&self, name: &BranchName, parent: &BranchName) -> Result<BranchId> {
        self.as_member(|tree, me| {
            let slot = tree.create(name, Parent::Named(parent), me, None)?;
            let made = crate::branch::read(tree.region, tree.geometry, slot)?;
            made.map(|made| made.id).ok_or(Error::Stale)
        })
    }

    /// Commits branch `name`, which no mount may own, into its parent, and discards its siblings.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`], [`Error::HasChildren`], [`Error::Owned`], [`Error::ReadOnly`],
    /// [`Error::InvalidArgument`] for `main`, [`Error::Corrupt`], [`Error::NoMemory`],
    /// [`Error::Contended`].
    pub fn commit(&self, name: &BranchName) -> Result<()> {
        self.as_member(|tree, me| {
            let (slot, id) = named(tree, name)?;
            tree.commit(slot, id, Actor::Member(me))
        })
    }

    /// Discards branch `name`, which no mount may own.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    pub fn abort(&self, name: &BranchName) -> Result<()> {
        self.as_member(|tree, me| {
            let (slot, id) = named(tree, name)?;
            tree.abort(slot, id, Actor::Member(me))
        })
    }

    /// Cleans up after a member of which the caller knows that it does not run any more.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there is no such member, [`Error::ReadOnly`],
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn reap(&self, member: MemberIndex) -> Result<()> {
        self.writable()?;
        member::reap(&Tree::new(&self.region, &self.geometry)?, member)
    }

    /// Cleans up after all mounts of a kernel of which the caller knows that it does not run any more,
    /// and says how many there were. `kernel` is its [`Identity::kernel`]. All others are left alone.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn reap_kernel(&self, kernel: u64) -> Result<u32> {
        self.writable()?;
        member::reap_kernel(&Tree::new(&self.region, &self.geometry)?, kernel)
    }

    /// Cleans up after all members: the caller knows that nobody uses the range.
    ///
    /// # Errors
    ///
    /// As [`Self::reap`].
    pub fn reap_all(&self) -> Result<()> {
        self.writable()?;
        member::reap_all(&Tree::new(&self.region, &self.geometry)?, None)
    }

    /// Does something as a member of its own, and leaves the image tidy.
    fn as_member<R>(
        &self,
        operation: impl FnOnce(&Tree<'_, P::Backing>, MemberIndex) -> Result<R>,
    ) -> Result<R> {
        self.writable()?;
        let tree = Tree::new(&self.region, &self.geometry)?;
        let me = Member::join(&tree, &Identity::new(self.platform.kernel_id(), b"tool"))?;
        let result = operation(&tree, me.index());
        let tidied = Self::tidy(&tree, &me);
        me.leave(&tree)?;
        result.and_then(|result| tidied.map(|()| result))
    }

    /// Gives back what nobody can see any more.
    fn tidy(tree: &Tree<'_, P::Backing>, me: &Member) -> Result<()> {
        let (mut reclaim, mut others) = (Reclaim::default(), Others::default());
        let (_, table) = tree.table()?;
        tree.pass_on(&table, None)?;
        reclaim.look(tree, &table)?;
        others.look(tree, Some(me))?;
        reclaim.drain_branches(tree, &others)
    }

    /// The segments, if the image may be written to.
    pub(crate) fn writable(&self) -> Result<&Segments> {
        if !self.region.is_writable() {
            return Err(Error::ReadOnly);
        }
        if self.geometry.read_only_features {
            return Err(Error::ReadOnlyFeatures);
        }
        self.geometry.segments()
    }

    pub(crate) const fn view(&self) -> View<'_, P::Backing> {
        View { region: &self.region, base: &self.base }
    }

    /// Builds the index of `branch`, and notes the pages it uses in `space`.
    pub(crate) fn replay(
        &self,
        table: &Table,
        branch: &Branch,
        space: Option<&mut Space>,
        index: &mut Index,
    ) -> Result<Source> {
        // Inline data can fill no more pages than the delta region has, when written honestly.
        let private = match &self.geometry.delta {
            Delta::Plain(delta) => delta.len / BLOCK_SIZE,
            _ => self.geometry.total_size / BLOCK_SIZE / 16,
        };
        index.clear(&self.base, self.platform.random(), private);
        self.replay_on().branch(index, space, table, branch)
    }

    /// A replay over this image.
    pub(crate) const fn replay_on(&self) -> Replay<'_, P::Backing> {
        Replay::new(&self.region, &self.geometry, &self.base, self.heartbeat)
    }

    /// Shows that this kernel lives, at every so many of the steps of something that takes long.
    pub(crate) fn show_life(&self, step: u64) -> Result<()> {
        match &self.heartbeat {
            Some(heartbeat) if step % STEPS_PER_BEAT == 0 => heartbeat.beat(&self.region),
            _ => Ok(()),
        }
    }
}

/// Where the live branch called `name` is.
fn named<B: crate::region::Backing>(
    tree: &Tree<'_, B>,
    name: &BranchName,
) -> Result<(Slot, BranchId)> {
    let (_, table) = tree.table()?;
    table.named(name).map(|branch| (branch.slot, branch.id))
}
