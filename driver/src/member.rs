//! Members: mounts that are up, and how the others learn that one is not any more.
//!
//! A member proves that it lives by changing its heartbeat. Clocks are not shared: each observer
//! measures on its own how long a heartbeat has rested. A member that rested for the lease is
//! *expired* by whoever notices; its branches are ended, but what it could write to is not used
//! again before its death is *confirmed* by somebody who knows ([`reap`]), because a kernel that
//! only slept may wake up and write.
//!
//! # Invariants
//!
//! - A member's record is changed by the member, but for its state word.
//! - `acknowledged` never says more than the member has dropped: it is stored after the member's
//!   index, and the front end's mappings, have followed the tree to that sequence.

use crate::branch;
use crate::error::{Error, Result};
use crate::reclaim::Stamp;
use crate::region::{Backing, Fence, LoadOrder, Region, StoreOrder};
use crate::storage::TryVec;
use crate::superblock::Segments;
use crate::tree::{Actor, Tree};
use daxfs_format::branch::BranchState;
use daxfs_format::coordination::{
    MemberIndex, MemberRecord, MemberState, MemberWord, MEMBER_ACKNOWLEDGED_OFFSET,
    MEMBER_FOLLOWING_OFFSET, MEMBER_HEARTBEAT_OFFSET, MEMBER_KERNEL_OFFSET, MEMBER_KNOWS_OFFSET,
    MEMBER_NAME_SIZE, MEMBER_POSITION_OFFSET, MEMBER_SIZE, MEMBER_STATE_OFFSET,
};
use daxfs_format::{BranchId, RegionOffset, Slot};
use zerocopy::IntoBytes;

/// Who a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The same number for all mounts of one kernel.
    pub kernel: u64,
    /// What people call it, NUL-padded.
    pub name: [u8; MEMBER_NAME_SIZE],
}

impl Identity {
    /// A kernel's identity; a name that is too long is cut.
    #[must_use]
    pub fn new(kernel: u64, name: &[u8]) -> Self {
        let mut field = [0; MEMBER_NAME_SIZE];
        for (to, from) in field.iter_mut().zip(name) {
            *to = *from;
        }
        Self { kernel, name: field }
    }
}

/// What is known of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberInfo {
    /// Its place in the table.
    pub index: MemberIndex,
    /// Its state; never free.
    pub state: MemberState,
    /// Who it is.
    pub identity: Identity,
    /// Its heartbeat.
    pub heartbeat: u64,
    /// The tree sequence it has followed to.
    pub acknowledged: u64,
    /// The branch it shows without owning it.
    pub following: Option<BranchId>,
}

/// This mount's place in the member table.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    index: MemberIndex,
    word: MemberWord,
}

impl Member {
    /// Takes a place in the table.
    ///
    /// # Errors
    ///
    /// [`Error::MemberTableFull`], [`Error::Corrupt`], [`Error::Contended`].
    pub fn join<B: Backing>(tree: &Tree<'_, B>, identity: &Identity) -> Result<Self> {
        let (index, joining) = Self::reserve(tree)?;
        let (region, segments) = (tree.region, tree.segments);
        // Before anything that takes time, so that [`reap_kernel`] knows whose this is.
        let kernel_at = field(segments, index, MEMBER_KERNEL_OFFSET)?;
        region.store(kernel_at, identity.kernel, StoreOrder::Relaxed)?;
        let idle = tree.settle()?;
        let raw = MemberRecord {
            state: joining.to_word().into(),
            kernel: identity.kernel.into(),
            name: identity.name,
            reserved0: [0; 16],
            heartbeat: 1.into(),
            // What ended before is not looked at any more.
            acknowledged: idle.sequence.into(),
            following: 0.into(),
            position: 0.into(),
            knows: 0.into(),
            reserved1: [0; 24],
        };
        // Everything but the state word, which others may change at any time.
        let behind = raw.as_bytes().get(MEMBER_KERNEL_OFFSET as usize..).unwrap_or(&[]);
        region.copy_in(field(segments, index, MEMBER_KERNEL_OFFSET)?, behind)?;
        let alive = joining.then(MemberState::Alive);
        if !exchange(region, segments, index, joining, alive)? {
            return Err(Error::Stale);
        }
        // From now on others ask before they use again what this member may see.
        tree.bump()?;
        // What this member reads from here on comes after the others can know of it: pairs with the
        // fence in `Others::look`.
        region.fence(Fence::Full);
        Ok(Self { index, word: alive })
    }

    fn reserve<B: Backing>(tree: &Tree<'_, B>) -> Result<(MemberIndex, MemberWord)> {
        for index in all(tree.segments) {
            let word = state(tree.region, tree.segments, index)?;
            if word.state == MemberState::Free {
                let joining = word.then(MemberState::Joining);
                if exchange(tree.region, tree.segments, index, word, joining)? {
                    return Ok((index, joining));
                }
            }
        }
        Err(Error::MemberTableFull)
    }

    /// Its place.
    #[must_use]
    pub const fn index(&self) -> MemberIndex {
        self.index
    }

    /// Gives the place back. Nothing of the image may be in use any more.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Contended`].
    pub fn leave<B: Backing>(self, tree: &Tree<'_, B>) -> Result<()> {
        let free = self.word.then(MemberState::Free);
        if exchange(tree.region, tree.segments, self.index, self.word, free)? {
            tree.bump()?;
        }
        Ok(())
    }

    /// Whether nobody has declared this member dead.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn is_alive<B: Backing>(&self, region: &Region<B>, segments: &Segments) -> Result<bool> {
        Ok(state(region, segments, self.index)? == self.word)
    }

    /// What it proves with that it lives.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn heartbeat(&self, segments: &Segments) -> Result<Heartbeat> {
        Ok(Heartbeat {
            word: self.word.to_word(),
            word_at: field(segments, self.index, MEMBER_STATE_OFFSET)?,
            at: field(segments, self.index, MEMBER_HEARTBEAT_OFFSET)?,
        })
    }

    /// Says that this member has dropped what ended up to `sequence`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn acknowledge<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        sequence: u64,
    ) -> Result<()> {
        let at = field(segments, self.index, MEMBER_ACKNOWLEDGED_OFFSET)?;
        // Release: our last looks at what ended come before whoever acquires this uses it again.
        region.store(at, sequence, StoreOrder::Release)
    }

    /// Says which branch this member shows without owning it, from the start of its log.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn follow<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        branch: Option<BranchId>,
    ) -> Result<()> {
        // Relaxed: the next store orders it.
        region.store(
            field(segments, self.index, MEMBER_POSITION_OFFSET)?,
            0,
            StoreOrder::Relaxed,
        )?;
        let at = field(segments, self.index, MEMBER_FOLLOWING_OFFSET)?;
        region.store(at, branch.map_or(0, BranchId::get), StoreOrder::Release)?;
        // The log is read after the owner can know of this: pairs with the fence in `Others::look`.
        region.fence(Fence::Full);
        Ok(())
    }

    /// Says that this member is going to look at branch `id`. Whether the branch is still there has to be
    /// asked after this.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn learn<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        id: BranchId,
    ) -> Result<()> {
        let at = field(segments, self.index, MEMBER_KNOWS_OFFSET)?;
        let known = id.get().saturating_add(1);
        // Relaxed, both: nobody else changes it, and the fence orders the store.
        if region.load(at, LoadOrder::Relaxed)? < known {
            region.store(at, known, StoreOrder::Relaxed)?;
        }
        // Either we see that the branch has ended, or whoever gives its space back sees that we know
        // it: pairs with the fence in `Others::look`.
        region.fence(Fence::Full);
        Ok(())
    }

    /// Says up to where this member has read the log of the branch it follows.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn read_up_to<B: Backing>(
        &self,
        region: &Region<B>,
        segments: &Segments,
        position: FollowPosition,
    ) -> Result<()> {
        let at = field(segments, self.index, MEMBER_POSITION_OFFSET)?;
        // Release: our last looks at pages dropped before the position come before the owner uses
        // them again.
        region.store(at, position.0, StoreOrder::Release)
    }
}

/// How many log entries are read or written between two heartbeats: about a millisecond's worth.
pub const STEPS_PER_BEAT: u64 = 2048;

/// A member's heartbeat: proves that its kernel runs. It takes no lock and waits for nothing, so a
/// timer's interrupt can do it.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    word: u64,
    word_at: RegionOffset,
    at: RegionOffset,
}

impl Heartbeat {
    /// Proves that the member lives, unless it was declared dead: its place is another's then, or
    /// will be.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if `region` is not the one it is for.
    pub fn beat<B: Backing>(&self, region: &Region<B>) -> Result<()> {
        // Relaxed, all: the value alone is the message, and nobody else changes it. A timer that
        // comes between does the same, which is enough.
        if region.load(self.word_at, LoadOrder::Relaxed)? == self.word {
            let beat = region.load(self.at, LoadOrder::Relaxed)?;
            region.store(self.at, beat.wrapping_add(1), StoreOrder::Relaxed)?;
        }
        Ok(())
    }
}

/// How far a branch's log was read, in a form that can be compared across a change of chains:
/// generation of the log word (16 bits), ordinal of the segment (26 bits), offset in units of 8
/// bytes (22 bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowPosition(u64);

impl FollowPosition {
    /// The place `at` of the chain that stands in the log word with `generation`.
    #[must_use]
    pub const fn new(generation: u32, at: daxfs_format::LogPosition) -> Self {
        let ordinal = at.ordinal() as u64 & ((1 << 26) - 1);
        Self(((generation as u64) << 48) | (ordinal << 22) | (at.offset() as u64 >> 3))
    }

    /// Whether this is `other` or lies behind it. Generations wrap, hence the difference; 0 says that
    /// nothing was read yet, and lies behind nothing.
    #[must_use]
    pub const fn has_reached(self, other: Self) -> bool {
        self.0 == other.0 || (self.0 != 0 && self.0.wrapping_sub(other.0) as i64 >= 0)
    }
}

/// The other members, as one mount knows them.
#[derive(Default)]
pub struct Others {
    /// The tree word with which the list was made.
    tree: Option<u64>,
    list: TryVec<Watched>,
}

/// What this mount remembers of another member.
struct Watched {
    index: MemberIndex,
    word: MemberWord,
    heartbeat: u64,
    /// When the heartbeat was first seen with this value, on this kernel's clock, in milliseconds.
    since: u64,
}

impl Others {
    /// Brings the list up to date if the tree has changed. Everything this mount published before
    /// the call is seen by any member that is not in the list after it.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`].
    pub fn look<B: Backing>(&mut self, tree: &Tree<'_, B>, me: Option<&Member>) -> Result<()> {
        // Pairs with the fences in `Member::join` and `Member::follow`: either we see that the
        // member is there, or it sees what we published.
        tree.region.fence(Fence::Full);
        let now = tree.raw_word()?;
        if self.tree == Some(now) {
            return Ok(());
        }
        let mut list = TryVec::new();
        for index in all(tree.segments) {
            let word = state(tree.region, tree.segments, index)?;
            if word.state == MemberState::Free || me.is_some_and(|me| me.index == index) {
                continue;
            }
            let known = self.list.iter().find(|old| old.index == index && old.word == word);
            let (heartbeat, since) = known.map_or((0, 0), |old| (old.heartbeat, old.since));
            list.push(Watched { index, word, heartbeat, since })?;
        }
        self.list = list;
        self.tree = Some(now);
        Ok(())
    }

    /// Whether every other member that knows the branch of `stamp` has followed the tree to its
    /// sequence, and, where it shows the branch of its position, that branch's log so far.
    /// [`Self::look`] comes before it.
    ///
    /// Descendants have higher ids than their ancestors, so whoever has looked neither at a branch nor
    /// at any with a higher id has seen nothing of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] (it cannot: geometry is checked).
    pub fn have_seen<B: Backing>(&self, tree: &Tree<'_, B>, stamp: &Stamp) -> Result<bool> {
        for other in self.list.iter() {
            if other.word.state == MemberState::Joining {
                // It has not read anything yet.
                continue;
            }
            let word = |offset| {
                // Acquire: pairs with the releasing stores of `Member`.
                tree.region.load(field(tree.segments, other.index, offset)?, LoadOrder::Acquire)
            };
            if word(MEMBER_KNOWS_OFFSET)? <= stamp.branch.get() {
                continue;
            }
            if word(MEMBER_ACKNOWLEDGED_OFFSET)? < stamp.sequence {
                return Ok(false);
            }
            let Some((branch, position)) = stamp.position else { continue };
            if word(MEMBER_FOLLOWING_OFFSET)? == branch.get()
                && !FollowPosition(word(MEMBER_POSITION_OFFSET)?).has_reached(position)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at the heartbeats at time `now`, and expires whoever has rested for the lease. Says
    /// whether somebody was.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
    pub fn watch<B: Backing>(&mut self, tree: &Tree<'_, B>, now: u64) -> Result<bool> {
        let mut expired = false;
        for other in self.list.iter_mut() {
            let at = field(tree.segments, other.index, MEMBER_HEARTBEAT_OFFSET)?;
            // Relaxed: the value alone is the message.
            let heartbeat = tree.region.load(at, LoadOrder::Relaxed)?;
            if heartbeat != other.heartbeat || other.since == 0 {
                other.heartbeat = heartbeat;
                other.since = now.max(1);
            } else if now.saturating_sub(other.since) > tree.segments.lease_ms
                && other.word.state != MemberState::Expired
            {
                expire(tree, other.index, other.word)?;
                expired = true;
            }
        }
        Ok(expired)
    }
}

/// A member that was declared dead: exactly this life of it, so that nothing is done to whoever
/// takes its place after somebody else has cleaned up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dead {
    index: MemberIndex,
    /// Its state word: expired.
    word: MemberWord,
}

impl Dead {
    /// Its place.
    #[must_use]
    pub const fn index(self) -> MemberIndex {
        self.index
    }

    /// Whether it still has its place. If so, what was found to be its before this is its.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn is_in_place<B: Backing>(self, region: &Region<B>, segments: &Segments) -> Result<bool> {
        region.fence(Fence::Loads);
        Ok(state(region, segments, self.index)? == self.word)
    }
}

/// Declares a member dead, if it is still what it was, and ends its branches, as far as they are
/// not to be kept.
///
/// # Errors
///
/// [`Error::Corrupt`], [`Error::NoMemory`], [`Error::Contended`].
fn expire<B: Backing>(tree: &Tree<'_, B>, index: MemberIndex, word: MemberWord) -> Result<Dead> {
    let dead = Dead { index, word: word.then(MemberState::Expired) };
    if exchange(tree.region, tree.segments, index, word, dead.word)? {
        tree.bump()?;
        end_branches(tree, dead)?;
    }
    Ok(dead)
}

/// Discards the branches of a dead member that it did not ask to be kept.
fn end_branches<B: Backing>(tree: &Tree<'_, B>, dead: Dead) -> Result<()> {
    // A branch with a child can end after the child.
    for _ in 0..tree.geometry.branch_slots {
        let (_, table) = tree.table()?;
        let mut ended = false;
        for branch in table.iter().filter(|branch| branch.word.owner == Some(dead.index)) {
            let ends = branch.is_live() && !branch.word.keep && !branch.parent.is_none();
            if !ends || table.live_child(branch.id).is_some() {
                continue;
            }
            match tree.abort(branch.slot, branch.id, Actor::For(dead)) {
                Ok(()) => ended = true,
                // Somebody was faster, or made a child of it.
                Err(Error::Stale | Error::HasChildren { .. } | Error::Owned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !ended {
            break;
        }
    }
    Ok(())
}

/// Cleans up after a member of which it is certain that it does not run any more, and gives its
/// place back: its branches become nobody's, or end.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if there is no such member, [`Error::Corrupt`], [`Error::NoMemory`],
/// [`Error::Contended`].
pub fn reap<B: Backing>(tree: &Tree<'_, B>, index: MemberIndex) -> Result<()> {
    if u32::from(index.get()) >= tree.segments.member_count {
        return Err(Error::InvalidArgument("no such member"));
    }
    let word = state(tree.region, tree.segments, index)?;
    if word.state == MemberState::Free {
        return Err(Error::InvalidArgument("no such member"));
    }
    reap_life(tree, index, word)
}

/// Cleans up after all members of kernel `kernel`, of which it is certain that it does not run any
/// more. Says how many there were.
///
/// Members of other kernels are left alone, also where they take places of the dead meanwhile.
///
/// # Errors
///
/// As [`reap`].
pub fn reap_kernel<B: Backing>(tree: &Tree<'_, B>, kernel: u64) -> Result<u32> {
    let mut reaped = 0;
    for index in all(tree.segments) {
        let word = state(tree.region, tree.segments, index)?;
        if word.state == MemberState::Free {
            continue;
        }
        let at = field(tree.segments, index, MEMBER_KERNEL_OFFSET)?;
        // Relaxed: read between two looks at the state word, which order it.
        let found = tree.region.load(at, LoadOrder::Relaxed)?;
        tree.region.fence(Fence::Loads);
        if found == kernel && state(tree.region, tree.segments, index)? == word {
            reap_life(tree, index, word)?;
            reaped += 1;
        }
    }
    Ok(reaped)
}

/// Cleans up after the member that has, or had, this state word.
fn reap_life<B: Backing>(tree: &Tree<'_, B>, index: MemberIndex, word: MemberWord) -> Result<()> {
    let dead = match word.state {
        MemberState::Free => return Ok(()),
        MemberState::Expired => Dead { index, word },
        MemberState::Joining | MemberState::Alive => expire(tree, index, word)?,
    };
    end_branches(tree, dead)?;
    // As in `Tree::release`: it may have gone on after it was taken for dead.
    tree.bump()?;
    for slot in 0..branch::slots_used(tree.region, tree.geometry)? {
        let slot = Slot::new(slot);
        let word = branch::word(tree.region, tree.geometry, slot)?;
        if word.owner != Some(index) {
            continue;
        }
        if !dead.is_in_place(tree.region, tree.segments)? {
            // Somebody else has cleaned up: the record is another member's.
            return Ok(());
        }
        let to = match word.state {
            BranchState::Making => BranchState::Free,
            other => other,
        };
        // If it fails, the record has changed hands.
        branch::exchange(tree.region, tree.geometry, slot, word, word.then(to, None, false))?;
    }
    if exchange(tree.region, tree.segments, index, dead.word, dead.word.then(MemberState::Free))? {
        tree.bump()?;
    }
    Ok(())
}

/// Cleans up after every member but `me`: the caller knows that no other kernel uses the range.
///
/// # Errors
///
/// As [`reap`].
pub fn reap_all<B: Backing>(tree: &Tree<'_, B>, me: Option<MemberIndex>) -> Result<()> {
    for index in all(tree.segments) {
        let word = state(tree.region, tree.segments, index)?;
        if word.state != MemberState::Free && me != Some(index) {
            reap(tree, index)?;
        }
    }
    Ok(())
}

/// Calls `emit` for every member.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn list<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    emit: &mut dyn FnMut(&MemberInfo),
) -> Result<()> {
    for index in all(segments) {
        let word = state(region, segments, index)?;
        if word.state == MemberState::Free {
            continue;
        }
        let raw: MemberRecord = region.read(record(segments, index)?)?;
        let following = BranchId::new(raw.following.get());
        emit(&MemberInfo {
            index,
            state: word.state,
            identity: Identity { kernel: raw.kernel.get(), name: raw.name },
            heartbeat: raw.heartbeat.get(),
            acknowledged: raw.acknowledged.get(),
            following: (!following.is_none()).then_some(following),
        });
    }
    Ok(())
}

fn all(segments: &Segments) -> impl Iterator<Item = MemberIndex> {
    (0..segments.member_count).filter_map(|index| u8::try_from(index).ok().map(MemberIndex::new))
}

fn record(segments: &Segments, index: MemberIndex) -> Result<RegionOffset> {
    let start = segments.members.start;
    let bytes = u64::from(index.get()) * MEMBER_SIZE;
    start.checked_add(bytes).ok_or(Error::OutOfBounds { offset: start.get(), len: bytes })
}

fn field(segments: &Segments, index: MemberIndex, offset: u64) -> Result<RegionOffset> {
    let start = record(segments, index)?;
    start.checked_add(offset).ok_or(Error::OutOfBounds { offset: start.get(), len: offset })
}

fn state<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: MemberIndex,
) -> Result<MemberWord> {
    // Acquire: pairs with `exchange`; the rest of the record is there.
    let word = region.load(field(segments, index, MEMBER_STATE_OFFSET)?, LoadOrder::Acquire)?;
    MemberWord::from_word(word)
        .ok_or(Error::Corrupt { what: "state of a member", at: u64::from(index.get()) })
}

fn exchange<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: MemberIndex,
    from: MemberWord,
    to: MemberWord,
) -> Result<bool> {
    let at = field(segments, index, MEMBER_STATE_OFFSET)?;
    // Releases the record, or what the member did; acquires for whoever cleans up after it.
    Ok(region.compare_exchange(at, from.to_word(), to.to_word())?.is_ok())
}
