//! Branch table, segment map, coordination block and logs.

use super::{Report, Subject};
use crate::base::Base;
use crate::branch::{self, Branch};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::region::{Backing, Region};
use crate::replay::Replay;
use crate::segment;
use crate::storage::TryVec;
use crate::superblock::{Delta, Geometry, Segments};
use daxfs_format::branch::BranchRecord;
use daxfs_format::coordination::{self, CoordinationBlock, MemberRecord};
use daxfs_format::segment::{LogSegmentHeader, SegmentKind, SegmentState};
use daxfs_format::superblock::Superblock;
use daxfs_format::{RegionOffset, SegmentIndex, Slot, BLOCK_SIZE};
use zerocopy::IntoBytes;

pub(super) fn check<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    seed: u64,
    report: &mut Report<'_>,
) -> Result<()> {
    let before = report.summary.problems;
    let live = records(region, geometry, base, report)?;
    if let Delta::Segmented(segments) = &geometry.delta {
        coordination(region, segments, report)?;
        map(region, segments, &live, report)?;
    }
    if report.summary.problems > before {
        // Logs hang on the records: walking them now would repeat what was said.
        return Ok(());
    }
    for branch in live.iter() {
        // The logs of a branch with children are walked with its children's.
        let is_leaf = !live.iter().any(|other| other.parent == branch.id);
        if is_leaf {
            logs(region, geometry, base, seed, branch, report)?;
        }
    }
    Ok(())
}

/// The branch table. Returns the live branches that can be read.
fn records<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    report: &mut Report<'_>,
) -> Result<TryVec<Branch>> {
    let mut live: TryVec<Branch> = TryVec::new();
    let superblock: Superblock = region.read(RegionOffset::new(0))?;
    let segmented = matches!(geometry.delta, Delta::Segmented(_));
    for slot in 0..geometry.branch_slots {
        let subject = Subject::Branch(slot);
        let branch = match branch::read(region, geometry, Slot::new(slot)) {
            Ok(None) => continue,
            Ok(Some(branch)) => branch,
            Err(error) => {
                report.problem(subject, error);
                continue;
            }
        };
        let id = branch.id.get();
        let next = superblock.next_branch_id.get();
        report.expect(id < next, subject, "id was never handed out", id);
        let same = |other: &&Branch| other.id == branch.id || other.name == branch.name;
        if branch.is_live() && live.iter().any(|other| same(&other)) {
            report.corrupt(subject, "two branches with one name or id", id);
            continue;
        }
        if segmented {
            record_extra(region, geometry, base, &branch, report)?;
        }
        if branch.is_live() {
            report.summary.branches += 1;
            live.push(branch)?;
        }
    }
    if segmented {
        let active = u64::from(superblock.active_branches.get());
        report.expect(active == 0, Subject::Superblock, "active branches", active);
        report.expect(
            live.iter().filter(|b| b.parent.is_none()).count() == 1,
            Subject::Superblock,
            "there is not exactly one root branch",
            0,
        );
    }
    for branch in live.iter().filter(|b| !b.parent.is_none()) {
        let subject = Subject::Branch(branch.slot.get());
        if !live.iter().any(|other| other.id == branch.parent) {
            report.corrupt(subject, "parent of a live branch", branch.parent.get());
        } else if branch::descends(region, geometry, branch, branch.id).unwrap_or(true) {
            report.corrupt(subject, "branches form a circle", branch.id.get());
        }
    }
    Ok(live)
}

/// What use does not rely on, but the format says.
fn record_extra<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    branch: &Branch,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Branch(branch.slot.get());
    let raw: BranchRecord = region.read(geometry.branch_record(branch.slot)?)?;
    let zero = raw.delta_log_size.get() == 0
        && raw.delta_log_capacity.get() == 0
        && raw.refcount.get() == 0
        && raw.owner.get() == 0
        && raw.reserved.iter().all(|&b| b == 0)
        && raw.name.iter().skip(branch.name.as_bytes().len()).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    let next = raw.next_local_ino.get();
    report.expect(next > u64::from(base.inode_count()), subject, "next inode number", next);
    Ok(())
}

fn coordination<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    report: &mut Report<'_>,
) -> Result<()> {
    let subject = Subject::Coordination;
    let raw: CoordinationBlock = region.read(segments.coordination.start)?;
    let magic = u64::from(raw.magic.get());
    report.expect(magic == u64::from(coordination::MAGIC), subject, "magic", magic);
    let revision = u64::from(raw.revision.get());
    report.expect(revision == 1, subject, "revision", revision);
    let word = raw.commit_word.get();
    report.expect(word == 0, subject, "a commit was interrupted: mount for writing", word);
    let zero = raw.pad0.iter().chain(&raw.pad1).chain(&raw.reserved).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 0);
    for index in 0..u64::from(segments.member_count) {
        let at = segments.members.start.checked_add(index * coordination::MEMBER_SIZE);
        let at = at.ok_or(Error::Corrupt { what: "member table", at: index })?;
        let member: MemberRecord = region.read(at)?;
        let zero = member.as_bytes().iter().all(|&b| b == 0);
        report.expect(zero, subject, "a member record is in use", index);
    }
    Ok(())
}

fn map<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    live: &[Branch],
    report: &mut Report<'_>,
) -> Result<()> {
    for index in 0..segments.count {
        let subject = Subject::Segment(index);
        let index = SegmentIndex::new(index);
        match segment::state(region, segments, index) {
            Err(error) => report.problem(subject, error),
            Ok(SegmentState::Free) => {}
            Ok(SegmentState::Owned { owner, kind }) => {
                let known = live.iter().any(|branch| branch.id == owner);
                report.expect(known, subject, "owned by a branch that is not", owner.get());
                if kind == SegmentKind::Log {
                    log_header(region, segments, index, report)?;
                }
            }
        }
    }
    Ok(())
}

/// Reserved bytes of a log segment's header; walking the log checks the rest. A segment taken ahead
/// has no header yet.
fn log_header<B: Backing>(
    region: &Region<B>,
    segments: &Segments,
    index: SegmentIndex,
    report: &mut Report<'_>,
) -> Result<()> {
    let raw: LogSegmentHeader = region.read(segments.start_of(index)?)?;
    if raw.magic.get() == daxfs_format::segment::LOG_MAGIC {
        let zero = raw.reserved0.get() == 0 && raw.reserved.iter().all(|&b| b == 0);
        let subject = Subject::Segment(index.get());
        report.expect(zero, subject, "reserved bytes are not zero", 0);
    }
    Ok(())
}

/// The logs of `branch` and its ancestors: each entry decodes and makes sense where it stands.
fn logs<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    seed: u64,
    branch: &Branch,
    report: &mut Report<'_>,
) -> Result<()> {
    let mut index = Index::new(base, seed, geometry.total_size / BLOCK_SIZE);
    let mut replay = Replay::new(region, geometry, base)?;
    let result = replay.branch(&mut index, None, branch);
    report.summary.log_entries += replay.entries();
    match result {
        Err(error @ Error::NoMemory) => Err(error),
        Err(error) => {
            report.problem(Subject::Log(branch.slot.get()), error);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
