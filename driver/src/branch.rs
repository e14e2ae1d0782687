//! The branch table: records of branches, found, made and ended.
//!
//! # Invariants
//!
//! - A record exists while its state word is not "free"; the word is stored last when a record is
//!   made. Everything else in a live record is constant, but for the log's head.
//! - Names of live branches are unique; ids are never used twice.

use crate::error::{Error, Result};
use crate::region::{Backing, LoadOrder, Region, StoreOrder};
use crate::superblock::{Geometry, Span};
use daxfs_format::branch::{
    BranchName, BranchRecord, BranchState, LOG_OFFSET_OFFSET, STATE_WORD_OFFSET,
};
use daxfs_format::superblock::NEXT_BRANCH_ID_OFFSET;
use daxfs_format::{BranchId, Ino, RegionOffset, SegmentIndex, Slot};

/// A checked branch record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its place in the table.
    pub slot: Slot,
    /// Its identity.
    pub id: BranchId,
    /// Its parent's; none for the root branch.
    pub parent: BranchId,
    /// Its name.
    pub name: BranchName,
    /// Its state; never free.
    pub state: BranchState,
    /// Where its log starts, if it has one.
    pub log: Option<RegionOffset>,
    /// Bytes of log, in a plain v3 image.
    pub plain_log_size: u64,
}

impl Branch {
    /// Whether it can be mounted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == BranchState::Active
    }

    /// The head segment of its log chain, if it has been started.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the log does not start at a segment.
    pub fn head(&self, geometry: &Geometry) -> Result<Option<SegmentIndex>> {
        let Some(log) = self.log else { return Ok(None) };
        let segments = geometry.segments()?;
        let corrupt = Error::Corrupt { what: "log of a branch record", at: log.get() };
        let index = segments.index_of(log).ok_or(corrupt)?;
        if segments.start_of(index)? != log {
            return Err(corrupt);
        }
        Ok(Some(index))
    }

    /// Where its log lies, in a plain v3 image.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if it leaves the delta region.
    pub fn plain_log(&self, delta: &Span) -> Result<Option<Span>> {
        let Some(start) = self.log.filter(|_| self.plain_log_size > 0) else { return Ok(None) };
        let len = self.plain_log_size;
        let inside = start >= delta.start
            && start.checked_add(len).is_some_and(|end| end.get() <= delta.end());
        if !inside {
            return Err(Error::Corrupt { what: "log of a branch record", at: start.get() });
        }
        Ok(Some(Span { start, len }))
    }
}

/// Reads and checks the record in `slot`; `None` if it is free.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn read<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
) -> Result<Option<Branch>> {
    let at = geometry.branch_record(slot)?;
    // Acquire: pairs with the store that made the record; what it says is there.
    let state = region.load(offset(at, STATE_WORD_OFFSET)?, LoadOrder::Acquire)?;
    let corrupt = |what| Error::Corrupt { what, at: at.get() };
    let state = BranchState::from_raw(state as u32).ok_or(corrupt("state of a branch record"))?;
    if state == BranchState::Free {
        return Ok(None);
    }
    let raw: BranchRecord = region.read(at)?;
    let id = BranchId::new(raw.branch_id.get());
    if id.is_none() || id > BranchId::MAX {
        return Err(corrupt("id of a branch record"));
    }
    let name = BranchName::from_field(&raw.name).ok_or(corrupt("name of a branch record"))?;
    // Acquire: pairs with the store of the head by `LogWriter`; the head segment is there.
    let log = region.load(offset(at, LOG_OFFSET_OFFSET)?, LoadOrder::Acquire)?;
    Ok(Some(Branch {
        slot,
        id,
        parent: BranchId::new(raw.parent_id.get()),
        name,
        state,
        log: (log != 0).then(|| RegionOffset::new(log)),
        plain_log_size: raw.delta_log_size.get(),
    }))
}

/// All records that are not free. A record that cannot be read is an error at its turn.
pub fn all<'r, B: Backing>(
    region: &'r Region<B>,
    geometry: &'r Geometry,
) -> impl Iterator<Item = Result<Branch>> + 'r {
    (0..geometry.branch_slots)
        .filter_map(|slot| read(region, geometry, Slot::new(slot)).transpose())
}

/// The live branch called `name`.
///
/// # Errors
///
/// [`Error::NoSuchBranch`], [`Error::Corrupt`].
pub fn named<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    name: &BranchName,
) -> Result<Branch> {
    for branch in all(region, geometry) {
        let branch = branch?;
        if branch.is_live() && branch.name == *name {
            return Ok(branch);
        }
    }
    Err(Error::NoSuchBranch { branch: *name })
}

/// The record of branch `id`, whatever its state.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn by_id<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    id: BranchId,
) -> Result<Option<Branch>> {
    for branch in all(region, geometry) {
        let branch = branch?;
        if branch.id == id {
            return Ok(Some(branch));
        }
    }
    Ok(None)
}

/// A live child of branch `id`, if there is one.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn live_child<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    id: BranchId,
) -> Result<Option<Branch>> {
    for branch in all(region, geometry) {
        let branch = branch?;
        if branch.is_live() && branch.parent == id {
            return Ok(Some(branch));
        }
    }
    Ok(None)
}

/// Whether `inner` descends from `outer`. Bounded by the number of records.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn descends<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    inner: &Branch,
    outer: BranchId,
) -> Result<bool> {
    let mut parent = inner.parent;
    for _ in 0..geometry.branch_slots {
        if parent == outer {
            return Ok(true);
        }
        match by_id(region, geometry, parent)? {
            Some(branch) => parent = branch.parent,
            None => break,
        }
    }
    Ok(false)
}

/// Makes a live branch without a log.
///
/// # Errors
///
/// [`Error::BranchExists`], [`Error::BranchTableFull`], [`Error::Corrupt`].
pub fn create<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    name: &BranchName,
    parent: BranchId,
    next_ino: Ino,
    sequence: u64,
) -> Result<Branch> {
    let mut free = None;
    for slot in 0..geometry.branch_slots {
        let slot = Slot::new(slot);
        match read(region, geometry, slot)? {
            Some(branch) if branch.is_live() && branch.name == *name => {
                return Err(Error::BranchExists { branch: *name });
            }
            Some(_) => {}
            None => free = free.or(Some(slot)),
        }
    }
    let slot = free.ok_or(Error::BranchTableFull)?;
    let id = next_id(region)?;
    let at = geometry.branch_record(slot)?;
    region.write(
        at,
        &BranchRecord {
            branch_id: id.get().into(),
            parent_id: parent.get().into(),
            delta_log_offset: 0.into(),
            delta_log_size: 0.into(),
            delta_log_capacity: 0.into(),
            state: BranchState::Free.raw().into(),
            refcount: 0.into(),
            next_local_ino: next_ino.get().into(),
            name: name.to_field(),
            owner: 0.into(),
            sequence: sequence.into(),
            reserved: [0; 24],
        },
    )?;
    set_state(region, geometry, slot, BranchState::Active)?;
    Ok(Branch {
        slot,
        id,
        parent,
        name: *name,
        state: BranchState::Active,
        log: None,
        plain_log_size: 0,
    })
}

/// Changes the state of a record.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such slot.
pub fn set_state<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
    state: BranchState,
) -> Result<()> {
    let at = offset(geometry.branch_record(slot)?, STATE_WORD_OFFSET)?;
    // Release: pairs with the acquiring load in `read`; the rest of the record was written before.
    region.store(at, state.raw().into(), StoreOrder::Release)
}

/// Takes the next branch id.
fn next_id<B: Backing>(region: &Region<B>) -> Result<BranchId> {
    let at = RegionOffset::new(NEXT_BRANCH_ID_OFFSET);
    // Relaxed: a first guess, the exchange decides.
    let mut id = region.load(at, LoadOrder::Relaxed)?;
    // Each failure means that another kernel got an id; with hostile peers somebody has to stop.
    for _ in 0..1024 {
        if id == 0 || id >= BranchId::MAX.get() {
            return Err(Error::Corrupt { what: "next branch id", at: id });
        }
        match region.compare_exchange(at, id, id + 1)? {
            Ok(_) => return Ok(BranchId::new(id)),
            Err(found) => id = found,
        }
    }
    Err(Error::Corrupt { what: "next branch id never rests", at: id })
}

fn offset(start: RegionOffset, bytes: u64) -> Result<RegionOffset> {
    start.checked_add(bytes).ok_or(Error::OutOfBounds { offset: start.get(), len: bytes })
}
