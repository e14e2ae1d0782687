//! Superblocks: what [`Geometry`] and [`Base`] do not need to know, but the format says.

use super::{Report, Subject};
use crate::base::Base;
use crate::error::Result;
use crate::region::{Backing, Region};
use crate::superblock::{Delta, Geometry};
use daxfs_format::base::BaseSuperblock;
use daxfs_format::extension::ExtensionHeader;
use daxfs_format::superblock::Superblock;
use daxfs_format::{BranchId, RegionOffset};
use zerocopy::IntoBytes;

pub(super) fn check<B: Backing>(
    region: &Region<B>,
    geometry: &Geometry,
    base: &Base,
    report: &mut Report<'_>,
) -> Result<()> {
    let raw = region.read_large::<Superblock>(RegionOffset::new(0))?;
    let raw = raw.get()?;
    let subject = Subject::Superblock;
    let is_static = geometry.branch_slots == 0;
    let flags = raw.flags.get();
    report.expect(flags == 0, subject, "unknown flags", flags.into());
    let zero = raw.reserved_before.iter().chain(&raw.reserved_after).all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 96);

    let delta = match &geometry.delta {
        Delta::None => None,
        Delta::Plain(span) => Some(*span),
        Delta::Segmented(segments) => Some(segments.delta),
    };
    let end = delta.map_or(geometry.base.end(), |d| d.end().max(geometry.base.end()));
    let total = geometry.total_size;
    report.expect(total == end, subject, "image does not end with its last region", total);
    if is_static {
        let table = raw.branch_table_offset.get();
        report.expect(table == 0, subject, "branch table of a static image", table);
        let delta = raw.delta_region_offset.get();
        report.expect(delta == 0, subject, "delta region of a static image", delta);
        let alloc = raw.delta_alloc_offset.get();
        report.expect(alloc == 0, subject, "log allocation of a static image", alloc);
        let next = raw.next_branch_id.get();
        report.expect(next == 0, subject, "next branch id of a static image", next);
    } else {
        let next = raw.next_branch_id.get();
        let good = next > 0 && next <= BranchId::MAX.get();
        report.expect(good, subject, "next branch id", next);
    }
    let active = raw.active_branches.get();
    let slots = geometry.branch_slots;
    report.expect(active <= slots, subject, "more active branches than records", active.into());
    let next_ino = raw.next_inode_id.get();
    let first_new = u64::from(base.inode_count()) + 1;
    report.expect(next_ino == first_new, subject, "next inode number", next_ino);
    if let Some(delta) = delta {
        let alloc = raw.delta_alloc_offset.get();
        let good = match geometry.delta {
            Delta::Segmented(_) => alloc == delta.end(),
            _ => alloc >= delta.start.get() && alloc <= delta.end(),
        };
        report.expect(good, subject, "log allocation outside of the delta region", alloc);
    }
    extension(&raw.extension, geometry, report);

    let raw = region.read_large::<BaseSuperblock>(geometry.base.start)?;
    let raw = raw.get()?;
    let subject = Subject::BaseSuperblock;
    let flags = raw.flags.get();
    report.expect(flags == 0, subject, "unknown flags", flags.into());
    let size = raw.total_size.get();
    report.expect(size == geometry.base.len, subject, "size differs from the superblock's", size);
    let inodes = raw.inode_offset.get();
    report.expect(inodes % 64 == 0, subject, "inode table not aligned", inodes);
    let zero = raw.reserved.iter().all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes are not zero", 56);
    let known = raw.features_magic.get() == daxfs_format::base::FEATURES_MAGIC
        && daxfs_format::base::BaseFeatures::from_bits(raw.features.get()).is_some();
    let none = raw.features_magic.get() == 0 && raw.features.get() == 0;
    report.expect(known || none, subject, "unknown base features", raw.features.get().into());
    Ok(())
}

fn extension(raw: &ExtensionHeader, geometry: &Geometry, report: &mut Report<'_>) {
    let subject = Subject::Superblock;
    let zero = raw.reserved.iter().all(|&b| b == 0);
    report.expect(zero, subject, "reserved bytes of the extension header are not zero", 128);
    if let Delta::Segmented(segments) = &geometry.delta {
        report.expect(segments.count > 0, subject, "no segments", 128);
    } else if raw.magic.get() == 0 {
        let zero = raw.as_bytes().iter().all(|&b| b == 0);
        report.expect(zero, subject, "an upgrade was interrupted: mount for writing", 128);
    } else {
        let zero = raw.coordination_offset.get() == 0
            && raw.member_table_offset.get() == 0
            && raw.segment_map_offset.get() == 0
            && raw.segments_offset.get() == 0
            && raw.segment_count.get() == 0
            && raw.segment_shift.get() == 0
            && raw.member_count.get() == 0
            && raw.lease_ms.get() == 0;
        report.expect(zero, subject, "an extension header without the feature it is for", 128);
    }
}
