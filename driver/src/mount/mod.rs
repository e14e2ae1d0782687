//! A mounted branch: the operations every front end translates its own into.
//!
//! # Locking
//!
//! One reader-writer lock per mount guards the private index; nothing in the range is ever locked.
//! Operations that only look share the lock, and so do those that write over pages which the branch
//! has already: they change content, and a time that is an atomic word.
//!
//! # Module structure
//!
//! | module | what it does |
//! |---|---|
//! | `state` | the branch a mount is on |
//! | `record` | changes: log entries, snapshots |
//! | `locked` | several operations as one |
//! | `attributes` | stat, setattr, statfs |
//! | `namespace` | lookup, readdir, create, unlink, rename |
//! | `read` | reading files, and where their pages are |
//! | `write` | writing, truncating |
//! | `allocate` | space ahead of time, zeros in the place of data |
//! | `path` | resolution of paths |
//! | `branches` | create, switch, commit, abort |

mod allocate;
mod attributes;
mod branches;
mod cleaner;
mod locked;
mod namespace;
mod path;
mod read;
mod record;
pub(crate) mod state;
mod write;

pub use attributes::StatFs;
pub use locked::{Changing, Looking};
pub use namespace::RenameMode;
pub use path::LastLink;
pub use read::{Pages, Seek};

use crate::branch::{Branch, Table};
use crate::error::{Error, Result};
use crate::member::{self, Heartbeat, Identity, Member, MemberInfo};
use crate::options::{Access, MountOptions};
use crate::platform::{Lock, Platform};
use crate::reclaim::Stamp;
use crate::region::{Backing, Region};
use crate::space::Space;
use crate::storage::TryVec;
use crate::superblock::{Delta, Geometry};
use crate::tree::{Actor, Keep, Parent, Tree};
use crate::upgrade;
use crate::volume::Volume;
use daxfs_format::branch::BranchName;
use daxfs_format::coordination::{MemberIndex, TreeWord};
use daxfs_format::{BranchId, Slot};
use state::{Adoption, Company, Current};

/// A mounted image.
///
/// Dropping a mount without [`Mount::unmount`] is what a crash is: the others notice by and by.
pub struct Mount<P: Platform> {
    volume: Volume<P>,
    access: Access,
    keep: bool,
    state: P::Lock<State>,
}

/// What the lock guards.
struct State {
    current: Current,
    company: Company,
    /// Ancestors of the current branch that this mount owns since it was on them: it can write to
    /// them again when it returns.
    held: TryVec<(Slot, BranchId)>,
}

/// What a mount is.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Where everything in the range lies.
    pub geometry: Geometry,
    /// The branch's name; `None` for the base alone.
    pub branch: Option<BranchName>,
    /// The branch's id.
    pub branch_id: Option<BranchId>,
    /// Its parent's id.
    pub parent_id: Option<BranchId>,
    /// Whether this mount may write to the branch.
    pub access: Access,
    /// Whether the branch outlives the mount.
    pub keep: bool,
    /// Private memory the index and the space bookkeeping hold, in bytes.
    pub memory: usize,
    /// Changed inodes in the index.
    pub changed_inodes: usize,
    /// Changed names in the index.
    pub changed_names: usize,
    /// This mount's place in the member table, if it has one.
    pub member: Option<u8>,
}

impl State {
    fn adopt<P: Platform>(&mut self, volume: &Volume<P>) -> Result<()> {
        self.current.adopt(volume, &mut self.company)
    }
}

impl<P: Platform> Mount<P> {
    /// Mounts the image in `region`.
    ///
    /// Read-only, a mount shows a branch (`main` unless told otherwise), or the base alone where
    /// there is none. To write, it takes the branch the options name, and makes it from `parent` if
    /// it does not exist; without a name it takes `main`. A plain v3 writable image is made a
    /// segmented one first.
    ///
    /// # Errors
    ///
    /// [`Error::NotDaxfs`], [`Error::Unsupported`], [`Error::Corrupt`] (also what `validate` finds),
    /// [`Error::ReadOnly`] for writing to a static image, [`Error::NoSuchBranch`], and the errors of
    /// making a branch.
    pub fn new(platform: P, region: Region<P::Backing>, options: &MountOptions) -> Result<Self> {
        let mount = Self::prepare(platform, region, options)?;
        mount.enter(options)?;
        Ok(mount)
    }

    /// The first half of [`Self::new`], for kernels, whose stacks are small: what it returns can be
    /// put where it is to stay before [`Self::enter`] fills it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    #[inline(never)]
    pub fn prepare(
        platform: P,
        region: Region<P::Backing>,
        options: &MountOptions,
    ) -> Result<Self> {
        if options.validate {
            let mut first = None;
            crate::validate::validate(&platform, &region, &mut |problem| {
                first = first.or(Some(problem.error));
            })?;
            if let Some(problem) = first {
                return Err(problem);
            }
        }
        let mut volume = Volume::open(platform, region)?;
        if options.access == Access::ReadWrite {
            if let Delta::Plain(_) = volume.geometry.delta {
                let mut uuid = [0; 16];
                let (high, low) = (volume.platform.random(), volume.platform.random());
                for (byte, random) in
                    uuid.iter_mut().zip(high.to_le_bytes().into_iter().chain(low.to_le_bytes()))
                {
                    *byte = random;
                }
                upgrade::make_segmented(&volume.region, uuid)?;
                volume.geometry = Geometry::read(&volume.region)?;
            }
            volume.writable()?;
        }
        let mut state = State {
            current: Current::base(&volume)?,
            company: Company::default(),
            held: TryVec::new(),
        };
        if matches!(volume.geometry.delta, Delta::Segmented(_)) && volume.region.is_writable() {
            let tree = Tree::new(&volume.region, &volume.geometry)?;
            if options.exclusive {
                member::reap_all(&tree, None)?;
            }
            let name = options.name.as_ref().map_or(&b"kernel"[..], BranchName::as_bytes);
            let identity = Identity::new(volume.platform.kernel_id(), name);
            if options.access == Access::ReadWrite {
                state.company.before = Some(tree.table()?);
            }
            let me = Member::join(&tree, &identity)?;
            state.company.me = Some(me);
            volume.heartbeat = Some(me.heartbeat(tree.segments)?);
        }
        Ok(Self { volume, access: options.access, keep: options.keep, state: Lock::new(state)? })
    }

    /// Goes to the branch the options ask for, which is made if they ask for that. The second half of
    /// [`Self::new`], with the same options. After an error the mount is over.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn enter(&self, options: &MountOptions) -> Result<()> {
        let entered = self.go_in(&mut self.state.write(), options);
        if entered.is_err() {
            // The first error is the one to tell.
            let _ = self.leave();
        }
        entered
    }

    fn go_in(&self, state: &mut State, options: &MountOptions) -> Result<()> {
        let volume = &self.volume;
        let name = options.branch.unwrap_or(BranchName::main());
        match &volume.geometry.delta {
            Delta::Segmented(_) => {}
            Delta::None | Delta::Plain(_) => {
                // What v3 leaves behind: branches to look at, or none.
                let table = Table::read(&volume.region, &volume.geometry)?;
                return match table.named(&name) {
                    Ok(branch) => state.current.load(volume, (*branch, &table), TreeWord::idle(0)),
                    Err(error) if options.branch.is_some() && name != BranchName::main() => {
                        Err(error)
                    }
                    Err(_) => Ok(()),
                };
            }
        }
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        let (_, table) = tree.table()?;
        if options.access == Access::ReadOnly {
            let branch = *table.named(&name)?;
            return self.follow(state, &branch);
        }
        let me = state.company.me.as_ref().ok_or(Error::ReadOnly)?.index();
        let (slot, id) = match table.named(&name) {
            Ok(branch) => {
                tree.claim(branch.slot, branch.id, me, Keep(options.keep))?;
                (branch.slot, branch.id)
            }
            Err(Error::NoSuchBranch { .. }) => {
                let parent = options.parent.unwrap_or(BranchName::main());
                let company = &mut state.company;
                let from = Parent::Named(&parent);
                Self::make_branch(volume, company, None, (&name, from), Keep(options.keep))?
            }
            Err(error) => return Err(error),
        };
        let owned = self.own(state, (slot, id), Adoption::Done);
        if owned.is_err() {
            // It would be left to whoever takes this mount's place.
            let _ = self.discard(&tree, (slot, id), me);
        }
        owned
    }

    /// Makes a branch that this mount owns.
    fn make_branch(
        volume: &Volume<P>,
        company: &mut Company,
        space: Option<&mut Space>,
        (name, parent): (&BranchName, Parent<'_>),
        keep: Keep,
    ) -> Result<(Slot, BranchId)> {
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        let me = company.me.as_ref().ok_or(Error::ReadOnly)?.index();
        let slot = match tree.create(name, parent, me, Some(keep)) {
            Err(Error::BranchTableFull) => {
                // Records of branches that have ended may be free by now.
                company.give_back(&tree, space)?;
                tree.create(name, parent, me, Some(keep))?
            }
            made => made?,
        };
        let made = crate::branch::read(&volume.region, &volume.geometry, slot)?;
        made.filter(|made| made.name == *name).map(|made| (slot, made.id)).ok_or(Error::Stale)
    }

    /// Loads a branch this mount owns, for writing. What earlier owners left behind is looked for now,
    /// or before something is written.
    #[inline(never)]
    fn own(
        &self,
        state: &mut State,
        (slot, id): (Slot, BranchId),
        adoption: Adoption,
    ) -> Result<()> {
        let (volume, State { current, company, .. }) = (&self.volume, state);
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        if let Some(me) = &company.me {
            me.learn(tree.region, tree.segments, id)?;
        }
        let (_, table) = tree.table()?;
        // Segments of what was committed into the branch are the branch's.
        tree.pass_on(&table, Some(id))?;
        company.reclaim.look(&tree, &table)?;
        let (idle, table) = tree.table()?;
        // It may have ended since it was taken, and so may this mount.
        let branch = *table.live(slot, id)?;
        if let Some(me) = &company.me {
            if !me.is_alive(&volume.region, tree.segments)? {
                return Err(Error::Stale);
            }
            me.follow(&volume.region, tree.segments, None)?;
        }
        let garbage = current.load_to_write(volume, (branch, &table), idle, adoption)?;
        company.reclaim.segments(&garbage, current.stamp());
        if branch.log.head.is_none() && adoption == Adoption::Done {
            // It says what its parent says. If the parent is nobody's, nobody else looks for what
            // mounts that ended have left behind there.
            let parent = table.iter().find(|p| p.id == branch.parent && p.is_live());
            if let Some(parent) = parent.filter(|parent| parent.word.owner.is_none()) {
                let garbage = current.unused(&volume.region, parent.id)?;
                // Who has followed the tree to where it was has read all that the parent's last owner
                // wrote, if the parent was then what it is now: nobody has to follow it further.
                let then = company.before.as_ref();
                let then = then.filter(|(_, then)| then.iter().any(|then| then == parent));
                let sequence = then.map_or(current.stamp().sequence, |(idle, _)| idle.sequence);
                let stamp = Stamp { branch: parent.id, sequence, position: None };
                // Had a sibling been committed meanwhile, the parent would have segments that are
                // not known here.
                if tree.is_still(idle)? {
                    company.reclaim.segments(&garbage, stamp);
                }
            }
        }
        company.before = None;
        current.refresh(volume, company)?;
        current.drain_all(volume, company)
    }

    /// Loads a branch, to look at it.
    #[inline(never)]
    fn follow(&self, state: &mut State, branch: &Branch) -> Result<()> {
        let (volume, State { current, company, .. }) = (&self.volume, state);
        let tree = Tree::new(&volume.region, &volume.geometry)?;
        if let Some(me) = &company.me {
            me.follow(&volume.region, tree.segments, Some(branch.id))?;
            me.learn(&volume.region, tree.segments, branch.id)?;
        }
        let (idle, table) = tree.table()?;
        let now = *table.live(branch.slot, branch.id)?;
        current.load(volume, (now, &table), idle)?;
        current.refresh(volume, company)
    }

    /// Ends the mount. An uncommitted branch without live children is discarded, unless the mount
    /// keeps it, and so are those on the way to it that are this mount's; `main` stays in any case, and
    /// so do branches with children, for anybody to mount.
    ///
    /// # Errors
    ///
    /// What writing the last changes, or discarding, says; the mount is over all the same.
    pub fn unmount(self) -> Result<()> {
        self.leave()
    }

    /// [`Self::unmount`], for front ends that share the mount: all operations are stale afterwards.
    ///
    /// # Errors
    ///
    /// As [`Self::unmount`].
    pub fn leave(&self) -> Result<()> {
        let mut state = self.state.write();
        let ended = self.end(&mut state);
        state.current.leave();
        let Some(me) = state.company.me.take() else { return ended };
        ended.and(me.leave(&Tree::new(&self.volume.region, &self.volume.geometry)?))
    }

    /// Everything of [`Self::unmount`] but giving the member's place back.
    fn end(&self, state: &mut State) -> Result<()> {
        let State { current, company, held } = state;
        let Some(me) = company.me.as_ref().map(Member::index) else { return Ok(()) };
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        // One that was not loaded is not needed any more.
        if !current.is_torn() {
            let _ = current.refresh(&self.volume, company);
        }
        let mut result = Ok(());
        if let (Some(branch), Ok(())) = (current.branch, current.check_readable()) {
            if current.writing.is_some() {
                result = self.flush(current, company);
            }
            if let Some(writing) = &mut current.writing {
                result = result.and(writing.log.close(&self.volume.region, tree.segments));
                result = result.and(self.discard(&tree, (branch.slot, branch.id), me));
            }
        } else if let (Some(branch), true) = (current.branch, current.is_torn()) {
            result = self.discard(&tree, (branch.slot, branch.id), me);
        }
        // The nearest ancestor first: it has a live child no more.
        for &branch in held.iter().rev() {
            result = result.and(self.discard(&tree, branch, me));
        }
        // What this mount discarded can go at once where nobody else looks at it.
        if !current.is_torn() {
            let _ = current.refresh(&self.volume, company);
        }
        result.and(company.give_back(&tree, None))
    }

    /// Discards a branch, if it is this mount's, or makes it nobody's, if it is to stay.
    fn discard(
        &self,
        tree: &Tree<'_, P::Backing>,
        (slot, id): (Slot, BranchId),
        me: MemberIndex,
    ) -> Result<()> {
        if self.owner((slot, id))? != Some(me) {
            return Ok(());
        }
        if !self.keep && tree.abort(slot, id, Actor::Member(me)).is_ok() {
            return Ok(());
        }
        tree.release(slot, id, me)
    }

    /// Shows the others that this mount lives, follows what they did, gives back what nobody needs
    /// any more, and looks after members that have died. `now` is this kernel's monotonic clock, in
    /// milliseconds.
    ///
    /// A front end calls this at least four times per lease ([`Self::lease_ms`]), from a timer or an
    /// idle loop; a mount that is not heard of for the lease is taken for dead.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if this mount was taken for dead or its branch has ended, [`Error::Corrupt`],
    /// [`Error::NoMemory`], [`Error::Contended`].
    pub fn tick(&self, now: u64) -> Result<()> {
        let mut state = self.state.write();
        if state.company.me.is_none() {
            return Ok(());
        }
        self.beat();
        if !state.current.is_fresh(&self.volume)? {
            self.refresh(&mut state)?;
        }
        let State { current, company, .. } = &mut *state;
        let tree = Tree::new(&self.volume.region, &self.volume.geometry)?;
        if current.has_committed() {
            let (_, table) = tree.table()?;
            tree.pass_on(&table, None)?;
            current.passed_on();
        }
        company.others.look(&tree, company.me.as_ref())?;
        if company.others.watch(&tree, now)? {
            current.refresh(&self.volume, company)?;
        }
        current.drain_all(&self.volume, company)?;
        current.check_readable()
    }

    /// Finds out what the others did, as every operation does, and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn look(&self) -> Result<()> {
        self.reading(|_| Ok(()))
    }

    /// Memory of the range has gone bad, which its [`Backing`] knows by now: has the front end take its
    /// mappings down and forget what it remembers, when nobody works on what was there before.
    ///
    /// [`Backing`]: crate::Backing
    pub fn damaged(&self) {
        let _state = self.state.write();
        self.volume.platform.outdated();
    }

    /// Shows the others that this mount lives, and does nothing else: takes no lock and waits for
    /// nothing. For kernels whose operations may keep them from [`Self::tick`].
    pub fn beat(&self) {
        if let Some(heartbeat) = &self.volume.heartbeat {
            // It is for this region.
            let _ = heartbeat.beat(&self.volume.region);
        }
    }

    /// What [`Self::beat`] does, for an interrupt handler; not to be used any more when the mount
    /// ends.
    pub const fn heartbeat(&self) -> Option<Heartbeat> {
        self.volume.heartbeat
    }

    /// How long a mount may go without [`Self::tick`], in milliseconds; `None` where nobody asks.
    pub fn lease_ms(&self) -> Option<u64> {
        match &self.volume.geometry.delta {
            Delta::Segmented(segments) => Some(segments.lease_ms),
            Delta::None | Delta::Plain(_) => None,
        }
    }

    /// Calls `emit` for every member: every mount of the image, of whatever kernel.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn members(&self, emit: &mut dyn FnMut(&MemberInfo)) -> Result<()> {
        self.volume.members(emit)
    }

    /// What this mount is.
    pub fn info(&self) -> Info {
        let state = self.state.read();
        let current = &state.current;
        let (changed_inodes, changed_names) = current.index.counts();
        Info {
            geometry: self.volume.geometry,
            branch: current.branch.map(|b| b.name),
            branch_id: current.branch.map(|b| b.id),
            parent_id: current.branch.map(|b| b.parent).filter(|p| !p.is_none()),
            access: if current.writing.is_some() { Access::ReadWrite } else { Access::ReadOnly },
            keep: self.keep,
            memory: current.index.memory()
                + current.writing.as_ref().map_or(0, |w| w.space.memory()),
            changed_inodes,
            changed_names,
            member: state.company.me.map(|me| me.index().get()),
        }
    }

    /// The image that is mounted.
    pub const fn volume(&self) -> &Volume<P> {
        &self.volume
    }

    /// Runs `look` on a state that is up to date.
    #[inline]
    fn reading<R>(&self, look: impl FnOnce(&Current) -> Result<R>) -> Result<R> {
        let (shared, mut alone);
        let state = self.state.read();
        let state: &State = if state.current.is_fresh(&self.volume)? {
            shared = state;
            &shared
        } else {
            drop(state);
            alone = self.state.write();
            self.refresh(&mut alone)?;
            &alone
        };
        state.current.check_readable()?;
        // Called in one place only: it becomes part of this function, and this one of the operation.
        look(&state.current)
    }

    /// Brings the state up to date.
    #[cold]
    #[inline(never)]
    fn refresh(&self, state: &mut State) -> Result<()> {
        if state.current.is_torn() {
            return self.reload(state);
        }
        let State { current, company, .. } = state;
        current.refresh(&self.volume, company)
    }

    /// Loads the branch this mount is on, all of which could not be loaded, or followed, before.
    #[inline(never)]
    fn reload(&self, state: &mut State) -> Result<()> {
        let branch = state.current.branch.ok_or(Error::Stale)?;
        self.volume.platform.outdated();
        state.company.reclaim.forget_pages();
        let me = state.company.me.as_ref().map(Member::index);
        if me.is_some() && self.owner((branch.slot, branch.id))? == me {
            return self.own(state, (branch.slot, branch.id), Adoption::Done);
        }
        self.follow(state, &branch)
    }

    /// The member that owns a branch, if it is still there.
    fn owner(&self, (slot, id): (Slot, BranchId)) -> Result<Option<MemberIndex>> {
        let found = crate::branch::read(&self.volume.region, &self.volume.geometry, slot)?;
        let found = found.filter(|found| found.id == id && found.is_live());
        Ok(found.and_then(|found| found.word.owner))
    }

    /// Runs `change` on a state that is up to date and may be written to.
    fn writing<R>(
        &self,
        change: impl FnOnce(&mut Current, &mut Company) -> Result<R>,
    ) -> Result<R> {
        let mut state = self.state.write();
        if !state.current.is_fresh(&self.volume)? {
            self.refresh(&mut state)?;
        }
        let State { current, company, .. } = &mut *state;
        current.check_writable()?;
        current.adopt(&self.volume, company)?;
        change(current, company)
    }
}

impl Company {
    /// Gives back what nobody can see any more. `space` is this mount's, if it owns its branch.
    fn give_back<B: Backing>(
        &mut self,
        tree: &Tree<'_, B>,
        space: Option<&mut Space>,
    ) -> Result<()> {
        let (_, table) = tree.table()?;
        tree.pass_on(&table, None)?;
        self.reclaim.look(tree, &table)?;
        self.others.look(tree, self.me.as_ref())?;
        self.reclaim.drain(tree, &self.others, space)?;
        self.reclaim.drain_branches(tree, &self.others)
    }
}
