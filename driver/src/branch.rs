//! The branch table: its records, read and checked.
//!
//! A record changes in three ways: its maker fills it in while the state word says "making"; its
//! state word changes by compare-and-swap, from the exact word seen ([`crate::tree`]); its log word
//! changes by compare-and-swap when its owner starts or replaces the log, or a commit does.
//!
//! # Invariants
//!
//! - While a record is active, committed or aborted, nothing in it changes but the two words.
//! - Names of active branches are unique; ids are never used twice.
//! - Records that are not free lie in the slots that [`slots_used`] counts.

use crate::error::{Error, Result};
use crate::region::{Backing, Fence, LoadOrder, Region};
use crate::storage::TryVec;
use crate::superblock::{Delta, Geometry, Segments, Span};
use daxfs_format::branch::{
    BranchName, BranchRecord, BranchState, BranchWord, LogWord, LOG_WORD_OFFSET, MAX_BRANCHES,
    STATE_WORD_OFFSET,
};
use daxfs_format::coordination::SLOTS_USED_OFFSET;
use daxfs_format::superblock::NEXT_BRANCH_ID_OFFSET;
use daxfs_format::{BranchId, RegionOffset, Slot};

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
    /// Its state, never free or making, and its owner.
    pub word: BranchWord,
    /// Where its log starts, if it has one of its own.
    pub log: LogWord,
    /// Its log in a plain v3 image.
    pub plain_log: Option<Span>,
}

impl Branch {
    /// Whether it can be mounted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.word.state == BranchState::Active
    }
}

/// The state word of the record in `slot`.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub fn word<B: Backing>(region: &Region<B>, geometry: &Geometry, slot: Slot) -> Result<BranchWord> {
    let record = geometry.branch_record(slot)?;
    // Acquire: pairs with the exchanges of `exchange`; the record's other fields are there.
    let word = region.load(offset(record, STATE_WORD_OFFSET)?, LoadOrder::Acquire)?;
    // In a plain v3 image the high half counts mounts.
    let word =
        if matches!(geometry.delta, Delta::Segmented(_)) { word } else { word & 0xffff_ffff };
    BranchWord::from_word(word)
        .ok_or(Error::Corrupt { what: "state of a branch record", at: record.get() })
}

/// Replaces the state word of the record in `slot`; says whether it was `from`.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such slot.
pub fn exchange<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
    from: BranchWord,
    to: BranchWord,
) -> Result<bool> {
    let at = offset(geometry.branch_record(slot)?, STATE_WORD_OFFSET)?;
    // Releases what was written to the record, or read from it, before; acquires for what follows.
    Ok(region.compare_exchange(at, from.to_word(), to.to_word())?.is_ok())
}

/// The log word of the record in `slot`.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such slot.
pub fn log_word<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
) -> Result<LogWord> {
    let at = offset(geometry.branch_record(slot)?, LOG_WORD_OFFSET)?;
    // Acquire: pairs with `exchange_log`; the head segment's header is there.
    region.load(at, LoadOrder::Acquire).map(LogWord::from_word)
}

/// Replaces the log word of the record in `slot`; says whether it was `from`.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no such slot.
pub fn exchange_log<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
    from: LogWord,
    to: LogWord,
) -> Result<bool> {
    let at = offset(geometry.branch_record(slot)?, LOG_WORD_OFFSET)?;
    // Releases the new chain.
    Ok(region.compare_exchange(at, from.to_word(), to.to_word())?.is_ok())
}

/// Reads and checks the record in `slot`; `None` if there is no branch in it.
///
/// # Errors
///
/// [`Error::Corrupt`], [`Error::Contended`].
pub fn read<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    slot: Slot,
) -> Result<Option<Branch>> {
    let at = geometry.branch_record(slot)?;
    let corrupt = |what| Error::Corrupt { what, at: at.get() };
    // The state word is read before and after: its generation tells whether the copy is of one
    // piece. Each repetition means that another kernel has changed it.
    for _ in 0..64 {
        let word = word(region, geometry, slot)?;
        if matches!(word.state, BranchState::Free | BranchState::Making) {
            return Ok(None);
        }
        let raw: BranchRecord = region.read(at)?;
        let log = log_word(region, geometry, slot)?;
        region.fence(Fence::Loads);
        if self::word(region, geometry, slot)? != word {
            continue;
        }
        let id = BranchId::new(raw.branch_id.get());
        if id.is_none() || id > BranchId::MAX {
            return Err(corrupt("id of a branch record"));
        }
        let name = BranchName::from_field(&raw.name).ok_or(corrupt("name of a branch record"))?;
        let (log, plain_log) = match &geometry.delta {
            Delta::Segmented(segments) => {
                if log.head.is_some_and(|head| head.get() >= segments.count) {
                    return Err(corrupt("log of a branch record"));
                }
                (log, None)
            }
            Delta::Plain(delta) => (LogWord::default(), plain_log(&raw, delta)?),
            Delta::None => (LogWord::default(), None),
        };
        return Ok(Some(Branch {
            slot,
            id,
            parent: BranchId::new(raw.parent_id.get()),
            name,
            word,
            log,
            plain_log,
        }));
    }
    Err(Error::Contended)
}

/// Where a branch's log lies in a plain v3 image.
fn plain_log(raw: &BranchRecord, delta: &Span) -> Result<Option<Span>> {
    let start = RegionOffset::new(raw.delta_log_offset.get());
    let len = raw.delta_log_size.get();
    if start.get() == 0 || len == 0 {
        return Ok(None);
    }
    let inside =
        start >= delta.start && start.checked_add(len).is_some_and(|end| end.get() <= delta.end());
    if !inside {
        return Err(Error::Corrupt { what: "log of a branch record", at: start.get() });
    }
    Ok(Some(Span { start, len }))
}

/// Number of slots that may hold something: records behind them were never used.
///
/// # Errors
///
/// [`Error::OutOfBounds`] (it cannot: geometry is checked).
pub fn slots_used<B: Backing>(region: &Region<B>, geometry: &Geometry) -> Result<u32> {
    let Delta::Segmented(segments) = &geometry.delta else { return Ok(geometry.branch_slots) };
    // Acquire: pairs with `use_slot`, which comes before anything is in the record.
    let used = region.load(used_at(segments)?, LoadOrder::Acquire)?;
    Ok(u32::try_from(used).unwrap_or(u32::MAX).min(geometry.branch_slots))
}

/// Makes sure that everybody looks at the record in `slot`. Call before it is changed.
///
/// # Errors
///
/// [`Error::Contended`].
pub fn use_slot<B: Backing>(region: &Region<B>, segments: &Segments, slot: Slot) -> Result<()> {
    let at = used_at(segments)?;
    let wanted = u64::from(slot.get()) + 1;
    let mut used = region.load(at, LoadOrder::Acquire)?;
    // Each failure means that it has grown, and there are few slots.
    for _ in 0..MAX_BRANCHES {
        if used >= wanted {
            return Ok(());
        }
        match region.compare_exchange(at, used, wanted)? {
            Ok(_) => return Ok(()),
            Err(found) => used = found,
        }
    }
    Err(Error::Contended)
}

fn used_at(segments: &Segments) -> Result<RegionOffset> {
    offset(segments.coordination.start, SLOTS_USED_OFFSET)
}

/// A copy of the branch table: every record that holds a branch, whatever its state.
pub struct Table {
    branches: TryVec<Branch>,
}

impl Table {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Contended`], [`Error::NoMemory`].
    pub fn read<B: Backing>(region: &Region<B>, geometry: &Geometry) -> Result<Self> {
        let mut branches = TryVec::new();
        for slot in 0..slots_used(region, geometry)? {
            if let Some(branch) = read(region, geometry, Slot::new(slot))? {
                branches.push(branch)?;
            }
        }
        Ok(Self { branches })
    }

    /// All of them, in table order.
    pub fn iter(&self) -> impl Iterator<Item = &Branch> {
        self.branches.iter()
    }

    /// The live branch called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBranch`].
    pub fn named(&self, name: &BranchName) -> Result<&Branch> {
        self.iter()
            .find(|branch| branch.is_live() && branch.name == *name)
            .ok_or(Error::NoSuchBranch { branch: *name })
    }

    /// The live branch `id` in `slot`.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    pub fn live(&self, slot: Slot, id: BranchId) -> Result<&Branch> {
        self.iter()
            .find(|branch| branch.slot == slot && branch.id == id && branch.is_live())
            .ok_or(Error::Stale)
    }

    /// The record of branch `id`, whatever its state.
    #[must_use]
    pub fn by_id(&self, id: BranchId) -> Option<&Branch> {
        self.iter().find(|branch| branch.id == id)
    }

    /// The live parent of a branch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for the root branch, [`Error::Corrupt`].
    pub fn parent(&self, branch: &Branch) -> Result<&Branch> {
        if branch.parent.is_none() {
            return Err(Error::InvalidArgument("main can be neither committed nor aborted"));
        }
        self.by_id(branch.parent)
            .filter(|parent| parent.is_live())
            .ok_or(Error::Corrupt { what: "parent of a live branch", at: branch.parent.get() })
    }

    /// A live child of branch `id`, if there is one.
    #[must_use]
    pub fn live_child(&self, id: BranchId) -> Option<&Branch> {
        self.iter().find(|branch| branch.is_live() && branch.parent == id)
    }

    /// Whether `inner` descends from `outer`. Bounded by the number of records.
    #[must_use]
    pub fn descends(&self, inner: &Branch, outer: BranchId) -> bool {
        let mut parent = inner.parent;
        for _ in 0..self.branches.len() {
            if parent == outer {
                return true;
            }
            match self.by_id(parent) {
                Some(branch) => parent = branch.parent,
                None => break,
            }
        }
        false
    }
}

/// Takes the next branch id.
///
/// # Errors
///
/// [`Error::Corrupt`] when they are used up, [`Error::Contended`].
pub fn next_id<B: Backing>(region: &Region<B>) -> Result<BranchId> {
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
    Err(Error::Contended)
}

fn offset(start: RegionOffset, bytes: u64) -> Result<RegionOffset> {
    start.checked_add(bytes).ok_or(Error::OutOfBounds { offset: start.get(), len: bytes })
}
