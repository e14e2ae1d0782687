//! Branch table, segment map, coordination block and logs.

use super::{Report, Subject};
use crate::base::Base;
use crate::branch::{self, Branch, Table};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::region::{Backing, Region};
use crate::replay::{lineage, Replay};
use crate::segment;
use crate::space::Space;
use crate::superblock::{Delta, Geometry, Segments};
use daxfs_format::branch::{BranchName, BranchRecord, BranchState};
use daxfs_format::coordination::{
    self, CoordinationBlock, MemberIndex, MemberRecord, MemberState, MemberWord, TreeOperation,
    TreeWord,
};
use daxfs_format::log::ENTRY_ALIGN;
use daxfs_format::segment::{LogSegmentHeader, SegmentKind, SegmentState, LOG_HEADER_SIZE};
use daxfs_format::superblock::Superblock;
use daxfs_format::{BranchId, RegionOffset, SegmentIndex, Slot, BLOCK_SIZE};

pub(super) fn check<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    seed: u64,
    report: &mut Report<'_>,
) -> Result<()> {
    let before = report.summary.problems;
    let superblock = region.read_large::<Superblock>(RegionOffset::new(0))?;
    records(region, geometry, superblock.get()?, report)?;
    if let Delta::Segmented(segments) = &geometry.delta {
        coordination(region, geometry, segments, report)?;
        members(region, segments, report)?;
    }
    if report.summary.problems > before {
        // The rest hangs on the records: looking at it now would repeat what was said.
        return Ok(());
    }
    let table = Table::read(region, geometry)?;
    tree(&table, geometry, report);
    if let Delta::Segmented(segments) = &geometry.delta {
        map(region, segments, &table, report)?;
    }
    if report.summary.problems > before {
        return Ok(());
    }
    for branch in table.iter().filter(|branch| branch.is_live()) {
        report.summary.branches += 1;
        // A branch without a log says what its parent says.
        let has_log = branch.log.head.is_some() || branch.plain_log.is_some();
        if has_log {
            logs(region, geometry, base, seed, (&table, branch), report)?;
        }
    }
    Ok(())
}

/// Each record by itself.
fn records<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    superblock: &Superblock,
    report: &mut Report<'_>,
) -> Result<()> {
    let looked_at = branch::slots_used(region, geometry)?;
    for slot in 0..geometry.branch_slots {
        let subject = Subject::Branch(slot);
        let slot = Slot::new(slot);
        let word = match branch::word(region, geometry, slot) {
            Ok(word) => word,
            Err(error) => {
                report.problem(subject, error);
                continue;
            }
        };
        let used = word.state == BranchState::Free || slot.get() < looked_at;
        report.expect(used, subject, "in a slot that nobody looks at", slot.get().into());
        if let Delta::Segmented(segments) = &geometry.delta {
            let owner = word.owner.filter(|_| word.state != BranchState::Free);
            let known = owner.is_none_or(|owner| is_member(region, segments, owner));
            report.expect(known, subject, "owned by a member that is not", slot.get().into());
        }
        match branch::read(region, geometry, slot) {
            Ok(None) => continue,
            Ok(Some(branch)) => {
                let id = branch.id.get();
                let next = superblock.next_branch_id.get();
                report.expect(id < next, subject, "id was never handed out", id);
                if matches!(geometry.delta, Delta::Segmented(_)) {
                    record_extra(region, geometry, &branch, report)?;
                } else {
                    plain_extra(region, geometry, &branch, report)?;
                }
            }
            Err(error) => report.problem(subject, error),
        }
    }
    if matches!(geometry.delta, Delta::Segmented(_)) {
        let active = u64::from(superblock.active_branches.get());
        report.expect(active == 0, Subject::Superblock, "active branches", active);
    }
    Ok(())
}

/// What use does not rely on, but the format says.
fn record_extra<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    branch: &Branch,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Branch(branch.slot.get());
    let raw: BranchRecord = region.read(geometry.branch_record(branch.slot)?)?;
    let zero = raw.delta_log_offset.get() == 0
        && raw.delta_log_size.get() == 0
        && raw.delta_log_capacity.get() == 0
        && raw.next_local_ino.get() == 0
        && raw.reserved.iter().all(|&b| b == 0)
        && raw.name.iter().skip(branch.name.as_bytes().len()).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    let unowned = branch.word.owner.is_none();
    report.expect(branch.is_live() || unowned, subject, "owner of a branch that ended", 0);
    Ok(())
}

/// The same, in a plain v3 image.
fn plain_extra<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    branch: &Branch,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Branch(branch.slot.get());
    let raw: BranchRecord = region.read(geometry.branch_record(branch.slot)?)?;
    let zero = raw.log.get() == 0
        && raw.reserved.iter().all(|&b| b == 0)
        && raw.name.iter().skip(branch.name.as_bytes().len()).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    let (start, capacity) = (raw.delta_log_offset.get(), raw.delta_log_capacity.get());
    let Delta::Plain(delta) = &geometry.delta else { return Ok(()) };
    let end = start.checked_add(capacity).filter(|&end| end <= delta.end());
    let good = start == 0 || (end.is_some() && start >= delta.start.get());
    report.expect(good, subject, "log outside of the delta region", start);
    let size = raw.delta_log_size.get();
    report.expect(size <= capacity, subject, "log larger than it may be", size);
    Ok(())
}

/// Whether the table has member `index`.
fn is_member<B: Backing>(region: &Region<B>, segments: &Segments, index: MemberIndex) -> bool {
    let at = u64::from(index.get()) * coordination::MEMBER_SIZE;
    let word = segments
        .members
        .start
        .checked_add(at)
        .filter(|_| u32::from(index.get()) < segments.member_count)
        .and_then(|at| region.read::<MemberRecord>(at).ok())
        .and_then(|raw| MemberWord::from_word(raw.state.get()));
    word.is_some_and(|word| word.state != MemberState::Free)
}

/// Whether the live branches form a tree.
fn tree(table: &Table, geometry: &Geometry, report: &mut Report<'_>) {
    for (position, branch) in table.iter().enumerate() {
        let subject = Subject::Branch(branch.slot.get());
        let same = |other: &&Branch| {
            other.id == branch.id
                || (other.is_live() && branch.is_live() && other.name == branch.name)
        };
        if table.iter().take(position).any(|other| same(&other)) {
            report.corrupt(subject, "two branches with one name or id", branch.id.get());
        }
        if !branch.is_live() || branch.parent.is_none() {
            continue;
        }
        if !table.by_id(branch.parent).is_some_and(Branch::is_live) {
            report.corrupt(subject, "parent of a live branch", branch.parent.get());
        } else if table.descends(branch, branch.id) {
            report.corrupt(subject, "branches form a circle", branch.id.get());
        }
    }
    if matches!(geometry.delta, Delta::Segmented(_)) {
        let is_root = |branch: &&Branch| branch.is_live() && branch.parent.is_none();
        let roots = table.iter().filter(is_root).count();
        for root in table.iter().filter(is_root) {
            let subject = Subject::Branch(root.slot.get());
            let named = root.name == BranchName::main();
            report.expect(named, subject, "the root branch is not called main", 0);
        }
        let what = "there is not exactly one root branch";
        report.expect(roots == 1, Subject::Superblock, what, roots as u64);
    }
}

fn coordination<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    segments: &Segments,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Coordination;
    let raw = region.read_large::<CoordinationBlock>(segments.coordination.start)?;
    let raw = raw.get()?;
    let magic = u64::from(raw.magic.get());
    report.expect(magic == u64::from(coordination::MAGIC), subject, "magic", magic);
    let revision = u64::from(raw.revision.get());
    report.expect(revision == coordination::REVISION.into(), subject, "revision", revision);
    // A change in progress is no fault: whoever comes next finishes it.
    let word = TreeWord::from_word(raw.tree.get()).filter(|word| {
        let idle = word.operation == TreeOperation::Idle;
        let zero = word.slot.get() == 0 && word.member.get() == 0;
        word.slot.get() < geometry.branch_slots && (!idle || zero)
    });
    report.expect(word.is_some(), subject, "tree word", raw.tree.get());
    let used = raw.slots_used.get();
    report.expect(used <= geometry.branch_slots.into(), subject, "slots used", used);
    let zero = raw.pad0.iter().chain(&raw.reserved).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    Ok(())
}

fn members<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Coordination;
    for index in 0..u64::from(segments.member_count) {
        let at = segments.members.start.checked_add(index * coordination::MEMBER_SIZE);
        let at = at.ok_or(Error::Corrupt { what: "member table", at: index })?;
        let raw: MemberRecord = region.read(at)?;
        let word = MemberWord::from_word(raw.state.get());
        report.expect(word.is_some(), subject, "state of a member", index);
        let zero = raw.reserved0.iter().chain(&raw.reserved1).all(|&b| b == 0);
        report.expect(zero, subject, "reserved bytes of a member are not zero", index);
    }
    Ok(())
}

fn map<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    table: &Table,
    report: &mut Report<'_>,
) -> Result<()> {
    for index in 0..segments.count {
        let subject = Subject::Segment(index);
        let index = SegmentIndex::new(index);
        match segment::word(region, segments, index).map(|word| word.state) {
            Err(error) => report.problem(subject, error),
            Ok(SegmentState::Free) => {}
            Ok(SegmentState::Owned { owner, .. }) => {
                let known = table.by_id(owner).is_some();
                report.expect(known, subject, "owned by a branch that is not", owner.get());
            }
        }
    }
    Ok(())
}

/// The logs that make up `branch`: each entry decodes and makes sense where it stands, and the
/// segments they are in, and refer to, are the branch's or what it inherits.
fn logs<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    seed: u64,
    (table, branch): (&Table, &Branch),
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Log(branch.slot.get());
    let mut index = Index::new(base, seed, geometry.total_size / BLOCK_SIZE);
    let mut space = match &geometry.delta {
        Delta::Segmented(segments) => Some(Space::new(segments)?),
        Delta::None | Delta::Plain(_) => None,
    };
    let mut replay = Replay::new(region, geometry, base, None);
    let result = replay.branch(&mut index, space.as_mut(), table, branch);
    report.summary.log_entries += replay.entries();
    let source = match result {
        Err(error @ Error::NoMemory) => return Err(error),
        Err(error) => {
            report.problem(subject, error);
            return Ok(());
        }
        Ok(source) => source,
    };
    let (Delta::Segmented(segments), Some(space)) = (&geometry.delta, space) else {
        return Ok(());
    };
    if let Some(error) = replay.untidy() {
        report.problem(subject, error);
    }
    report.expect(!space.shared(), subject, "a page is in two places", 0);
    let lineage = lineage(table, branch)?;
    for index in 0..segments.count {
        let index = SegmentIndex::new(index);
        let kind = match (source.segments.get(u64::from(index.get())), space.count(index) > 0) {
            (false, false) => continue,
            (true, false) => SegmentKind::Log,
            (false, true) => SegmentKind::Data,
            (true, true) => {
                report.corrupt(subject, "a log segment is used for data", index.get().into());
                continue;
            }
        };
        let word = segment::word(region, segments, index)?;
        let owned = match word.state {
            SegmentState::Owned { owner, kind: is } => {
                is == kind && belongs(table, &lineage, owner)
            }
            SegmentState::Free => false,
        };
        report.expect(owned, subject, "segment that is not the branch's", index.get().into());
        if kind == SegmentKind::Log {
            log_header(region, segments, index, report)?;
        }
    }
    Ok(())
}

/// Whether `owner` is one of the branches in `lineage`, or was committed into one and its segments
/// have not been passed on yet.
fn belongs(table: &Table, lineage: &[Branch], owner: BranchId) -> bool {
    let committed = table.by_id(owner).filter(|b| b.word.state == BranchState::Committed);
    lineage.iter().any(|branch| {
        branch.id == owner || committed.is_some_and(|committed| committed.parent == branch.id)
    })
}

/// What walking a log does not rely on in the header of one of its segments.
fn log_header<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: SegmentIndex,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Segment(index.get());
    let superblock = region.read_large::<Superblock>(RegionOffset::new(0))?;
    let superblock = superblock.get()?;
    let raw: LogSegmentHeader = region.read(segments.start_of(index)?)?;
    let zero = raw.reserved0.get() == 0 && raw.reserved.iter().all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    let writer = raw.writer.get();
    let known = writer > 0 && writer < superblock.next_branch_id.get();
    report.expect(known, subject, "writer of a log segment", writer);
    // At the end of a chain an append that was interrupted may have left both.
    let (next, end) = (raw.next.get(), raw.end.get());
    report.expect(next <= segments.count.into(), subject, "next log segment", next);
    let inside = end >= u64::from(LOG_HEADER_SIZE)
        && end <= segments.size()
        && end % u64::from(ENTRY_ALIGN) == 0;
    report.expect(end == 0 || inside, subject, "end of a log segment", end);
    let published = raw.published.get();
    let is_head = raw.ordinal.get() == 0;
    report.expect(is_head || published == 0, subject, "published position of a log", published);
    Ok(())
}
