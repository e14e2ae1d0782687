//! Making a plain v3 writable image a segmented one (format.md, "Upgrade").
//!
//! # Invariants
//!
//! The extension header's magic is stored last: an upgrade that is interrupted leaves a plain v3
//! image, and can be done again.

use crate::branch::Table;
use crate::error::{Error, Result};
use crate::region::{Backing, Region, StoreOrder};
use crate::superblock::{Delta, Geometry, Span};
use crate::tree::Tree;
use daxfs_format::branch::{BranchName, MAX_BRANCHES, RECORD_SIZE};
use daxfs_format::coordination::{self, TreeWord, DEFAULT_LEASE_MS, MAX_MEMBERS, MEMBER_SIZE};
use daxfs_format::extension::{ExtensionHeader, Incompat, EXTENSION_OFFSET, MAGIC, REVISION};
use daxfs_format::segment::{DEFAULT_SHIFT, MAP_WORD_SIZE, SHIFT_RANGE};
use daxfs_format::superblock::Superblock;
use daxfs_format::{align_up, RegionOffset, BLOCK_SIZE};
use zerocopy::IntoBytes;

/// Fewest segments worth having: two logs with their reserves, and data.
const MIN_SEGMENTS: u64 = 8;

/// Where the parts of a segmented delta region go.
struct Plan {
    members: u64,
    map: u64,
    area: u64,
    count: u32,
    shift: u32,
}

impl Plan {
    /// The largest segments, up to the default size, of which the delta region holds enough.
    fn new(delta: &Span) -> Result<Self> {
        (*SHIFT_RANGE.start()..=DEFAULT_SHIFT)
            .rev()
            .find_map(|shift| Self::with_shift(delta, shift))
            .ok_or(Error::NoSpace)
    }

    fn with_shift(delta: &Span, shift: u32) -> Option<Self> {
        let end = delta.end();
        let members = align_up(delta.start.get(), BLOCK_SIZE)?.checked_add(coordination::SIZE)?;
        let map = members.checked_add(u64::from(MAX_MEMBERS) * MEMBER_SIZE)?;
        let map = align_up(map, BLOCK_SIZE)?;
        // As many segments as would fit without the map; the map for so many is large enough.
        let most = end.checked_sub(map)? >> shift;
        let area = align_up(map.checked_add(most.checked_mul(MAP_WORD_SIZE)?)?, 1 << shift)?;
        let count = end.checked_sub(area)? >> shift;
        let count32 = u32::try_from(count).ok()?;
        (count >= MIN_SEGMENTS).then_some(Self { members, map, area, count: count32, shift })
    }
}

/// Turns the plain v3 writable image in `region` into a segmented one with an empty `main`.
///
/// # Errors
///
/// [`Error::ReadOnly`] for a static image, [`Error::InvalidArgument`] for one that is segmented
/// already or has branches, [`Error::NoSpace`] for a delta region of less than eight small segments,
/// [`Error::Corrupt`].
pub fn make_segmented<B: Backing>(region: &Region<B>, uuid: [u8; 16]) -> Result<()> {
    let geometry = Geometry::read(region)?;
    let delta = match geometry.delta {
        Delta::None => return Err(Error::ReadOnly),
        Delta::Segmented(_) => return Err(Error::InvalidArgument("image is segmented already")),
        Delta::Plain(delta) => delta,
    };
    if geometry.read_only_features {
        return Err(Error::ReadOnlyFeatures);
    }
    let mut copy = region.read_large::<Superblock>(RegionOffset::new(0))?;
    let superblock = copy.get_mut()?;
    // An upgrade that was interrupted before its last store left an empty `main`.
    let again = superblock.extension.revision.get() == REVISION;
    for branch in Table::read(region, &geometry)?.iter() {
        let made_here = branch.name == BranchName::main() && branch.parent.is_none();
        if !again || !made_here || branch.plain_log.is_some() {
            return Err(Error::InvalidArgument("a plain v3 image with branches is read-only"));
        }
    }
    let base = crate::base::Base::read(region, geometry.base)?;
    let plan = Plan::new(&delta)?;
    let coordination = align_up(delta.start.get(), BLOCK_SIZE).ok_or(Error::NoSpace)?;

    // The reference leaves old bytes in the delta region: clear what has a meaning from now on.
    let table = u64::from(geometry.branch_slots.min(MAX_BRANCHES)) * RECORD_SIZE;
    region.zero(geometry.branch_table.start, table)?;
    region.zero(RegionOffset::new(coordination), plan.area.saturating_sub(coordination))?;
    // The coordination block, all of whose other bytes are zero.
    let word = u64::from(coordination::MAGIC) | (u64::from(coordination::REVISION) << 32);
    region.store(RegionOffset::new(coordination), word, StoreOrder::Relaxed)?;
    let tree = RegionOffset::new(coordination).checked_add(coordination::TREE_OFFSET);
    let tree = tree.ok_or(Error::NoSpace)?;
    region.store(tree, TreeWord::idle(1).to_word(), StoreOrder::Relaxed)?;

    let next_ino = u64::from(base.inode_count()) + 1;
    superblock.active_branches = 0.into();
    superblock.next_branch_id = 1.into();
    superblock.next_inode_id = next_ino.into();
    superblock.delta_alloc_offset = delta.end().into();
    superblock.extension = ExtensionHeader {
        magic: 0.into(),
        revision: REVISION.into(),
        compat: 0.into(),
        ro_compat: 0.into(),
        incompat: Incompat::SEGMENTS.bits().into(),
        uuid,
        coordination_offset: coordination.into(),
        member_table_offset: plan.members.into(),
        segment_map_offset: plan.map.into(),
        segments_offset: plan.area.into(),
        segment_count: plan.count.into(),
        segment_shift: plan.shift.into(),
        member_count: MAX_MEMBERS.into(),
        lease_ms: DEFAULT_LEASE_MS.into(),
        reserved: [0; 32],
    };
    region.copy_in(RegionOffset::new(0), superblock.as_bytes())?;
    // The same superblock as it will be, to make `main` with.
    superblock.extension.magic = MAGIC.into();
    let segmented = Geometry::parse(superblock, region.size())?;
    Tree::new(region, &segmented)?.create_root()?;
    // Release: whoever finds the magic (a peer that acquires it, or the next mount) finds the rest.
    let word = u64::from(MAGIC) | (u64::from(REVISION) << 32);
    region.store(RegionOffset::new(EXTENSION_OFFSET), word, StoreOrder::Release)
}
