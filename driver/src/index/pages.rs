//! Page maps: which page of the range holds which page of a file.
//!
//! A map is a radix tree of 64-way nodes kept in one arena per mount. A leaf slot is a 32-bit page
//! reference, so a densely changed file costs 4.1 bytes per changed page, and a single changed page
//! at most one node of 256 bytes per level. A file of one page, as most are, needs no node at all.
//!
//! # Invariants
//!
//! The height of a map covers its largest page; a map of height 0 has its page 0 in `root` itself. A
//! node is in one map only, or in the free list.

use crate::error::{Error, Result};
use crate::storage::Chunks;
use core::ops::Range;
use daxfs_format::{RegionOffset, BLOCK_SIZE};

const FANOUT: usize = 64;
const FANOUT_SHIFT: u32 = 6;
/// Levels that cover every page of the largest file.
const MAX_HEIGHT: u8 = 9;

/// Where a file's page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageRef {
    /// A page of the range.
    Region(u32),
    /// A page in private memory, made from inline writes.
    Private(u32),
}

impl PageRef {
    const PRIVATE: u32 = 1 << 31;

    /// The page of the range that starts at `at`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] past [`crate::superblock::MAX_IMAGE_SIZE`].
    pub fn at(at: RegionOffset) -> Result<Self> {
        u32::try_from(at.get() / BLOCK_SIZE)
            .ok()
            .filter(|page| page & Self::PRIVATE == 0)
            .map(Self::Region)
            .ok_or(Error::Corrupt { what: "page reference", at: at.get() })
    }

    const fn to_slot(self) -> u32 {
        match self {
            Self::Region(page) => page,
            Self::Private(id) => id | Self::PRIVATE,
        }
    }

    /// 0 is "no page": page 0 of the range is the superblock.
    const fn from_slot(slot: u32) -> Option<Self> {
        if slot == 0 {
            None
        } else if slot & Self::PRIVATE == 0 {
            Some(Self::Region(slot))
        } else {
            Some(Self::Private(slot & !Self::PRIVATE))
        }
    }
}

type Node = [u32; FANOUT];

/// Where pages that were mapped anew were before, in their order.
pub struct Replaced {
    slots: Node,
    count: usize,
}

impl Default for Replaced {
    fn default() -> Self {
        Self { slots: [0; FANOUT], count: 0 }
    }
}

impl Replaced {
    /// One after the other; none for those that were nowhere.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<PageRef>> + '_ {
        self.slots.iter().take(self.count).map(|&slot| PageRef::from_slot(slot))
    }
}

/// The nodes of all page maps of a mount.
#[derive(Default)]
pub struct PageArena {
    /// Node `n` is at index `n - 1`: 0 is "no node".
    nodes: Chunks<Node>,
    /// Free nodes, linked through their first slot.
    free: u32,
    free_count: usize,
    mapped: u64,
}

/// A page map that is gone through in the order of its pages, or nearly: the leaf that it is at is not
/// looked for again.
pub struct Walk<'a> {
    arena: &'a PageArena,
    map: &'a PageMap,
    /// Which leaf it is at, counted from the map's start.
    number: u64,
    /// That leaf, if there is one.
    leaf: Option<&'a Node>,
}

impl<'a> Walk<'a> {
    /// The slots from that of `page` on, in the leaf that has it.
    #[inline(always)]
    fn slots(&mut self, page: u64) -> Option<&'a [u32]> {
        let number = page >> FANOUT_SHIFT;
        if number != self.number {
            (self.number, self.leaf) = (number, self.arena.leaf(self.map, page));
        }
        self.leaf?.get(slot_of(page, 0)..)
    }

    /// As [`PageArena::run`].
    #[inline(always)]
    pub fn run(&mut self, page: u64, max: u64) -> Option<(PageRef, u64)> {
        if self.map.height == 0 {
            let first = PageRef::from_slot(self.map.root).filter(|_| page == 0);
            return first.map(|first| (first, 1));
        }
        let mut slots = self.slots(page)?.iter();
        let start = *slots.next()?;
        let first = PageRef::from_slot(start)?;
        let mut count = 1;
        if matches!(first, PageRef::Private(_)) {
            return Some((first, count));
        }
        while count < max {
            match slots.next() {
                // The references of neighbours in the range are, too.
                Some(&slot) if slot == start + count as u32 && slot & PageRef::PRIVATE == 0 => {
                    count += 1;
                }
                Some(_) => break,
                // The next leaf.
                None => match page.checked_add(count).and_then(|next| self.slots(next)) {
                    Some(next) => slots = next.iter(),
                    None => break,
                },
            }
        }
        Some((first, count))
    }

    /// As [`PageArena::first_mapped`].
    #[inline]
    pub fn first_mapped(&mut self, from: u64, to: u64) -> Option<u64> {
        if self.map.height > 0 {
            let near = self.slots(from).and_then(|slots| slots.iter().position(|&slot| slot != 0));
            if let Some(near) = near {
                return from.checked_add(near as u64).filter(|&page| page < to);
            }
        }
        self.arena.first_mapped(self.map, from, to)
    }
}

/// One file's page map.
#[derive(Clone, Copy, Default, Debug)]
pub struct PageMap {
    root: u32,
    height: u8,
    pages: u64,
}

impl PageMap {
    /// Pages mapped.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    const fn covers(&self, page: u64) -> bool {
        (page >> (FANOUT_SHIFT * self.height as u32)) == 0
    }
}

fn slot_of(page: u64, level: u8) -> usize {
    (page >> (FANOUT_SHIFT * u32::from(level))) as usize % FANOUT
}

impl PageArena {
    /// Makes sure that mapping `pages` neighbouring pages does not fail.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve(&mut self, pages: u64) -> Result<()> {
        // Two partial leaves, a path of inner nodes above each, and a few more levels at the root.
        let wanted = pages / FANOUT as u64 + 4 * u64::from(MAX_HEIGHT);
        let wanted = usize::try_from(wanted).map_err(|_| Error::NoMemory)?;
        self.nodes.reserve(wanted.saturating_sub(self.free_count))
    }

    /// Where `page` of the file is.
    #[must_use]
    pub fn get(&self, map: &PageMap, page: u64) -> Option<PageRef> {
        if map.height == 0 {
            return PageRef::from_slot(map.root).filter(|_| page == 0);
        }
        let leaf = self.leaf(map, page)?;
        PageRef::from_slot(*leaf.get(slot_of(page, 0))?)
    }

    /// Where `page` of the file is, and how many of its following pages, `max` in all at most,
    /// follow it in the range.
    #[must_use]
    pub fn run(&self, map: &PageMap, page: u64, max: u64) -> Option<(PageRef, u64)> {
        self.walk(map).run(page, max)
    }

    /// To go through a map in the order of its pages.
    #[must_use]
    #[inline]
    pub const fn walk<'a>(&'a self, map: &'a PageMap) -> Walk<'a> {
        Walk { arena: self, map, number: u64::MAX, leaf: None }
    }

    /// The first mapped page in `from..to`.
    #[must_use]
    pub fn first_mapped(&self, map: &PageMap, from: u64, to: u64) -> Option<u64> {
        if map.height == 0 {
            return (from == 0 && to > 0 && map.root != 0).then_some(0);
        }
        let mut page = from;
        while page < to && map.covers(page) {
            // The lowest level at which there is nothing: skip all that it covers.
            let mut node = map.root;
            let mut level = map.height;
            while level > 0 {
                level -= 1;
                node = *self.node(node)?.get(slot_of(page, level))?;
                if node == 0 {
                    break;
                }
            }
            if node != 0 {
                return Some(page);
            }
            let covered = FANOUT_SHIFT * u32::from(level);
            page = ((page >> covered) + 1) << covered;
        }
        None
    }

    /// Maps `page` and returns where it was before.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::FileTooBig`].
    pub fn set(&mut self, map: &mut PageMap, page: u64, to: PageRef) -> Result<Option<PageRef>> {
        self.grow(map, page)?;
        let slot = match map.height {
            0 => &mut map.root,
            _ => {
                let leaf = self.leaf_mut(map, page)?;
                leaf.get_mut(slot_of(page, 0)).ok_or(Error::NoMemory)?
            }
        };
        let old = PageRef::from_slot(core::mem::replace(slot, to.to_slot()));
        map.pages += u64::from(old.is_none());
        self.mapped += u64::from(old.is_none());
        Ok(old)
    }

    /// Maps `page` and those behind it, `count` at most and as far as one node reaches, to pages of
    /// the range that follow each other, `to` first; tells where they were before.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], [`Error::FileTooBig`], [`Error::Corrupt`] past the largest page.
    pub fn set_run(
        &mut self,
        map: &mut PageMap,
        page: u64,
        count: u64,
        to: RegionOffset,
        replaced: &mut Replaced,
    ) -> Result<()> {
        replaced.count = 0;
        let reach = count.min((FANOUT - slot_of(page, 0)) as u64).max(1);
        let corrupt = Error::Corrupt { what: "page reference", at: to.get() };
        let last = to.checked_add((reach - 1) * BLOCK_SIZE).ok_or(corrupt)?;
        let (first, _) = (PageRef::at(to)?, PageRef::at(last)?);
        if reach == 1 {
            let old = self.set(map, page, first)?;
            if let Some(slot) = replaced.slots.first_mut() {
                *slot = old.map_or(0, PageRef::to_slot);
            }
            replaced.count = 1;
            return Ok(());
        }
        self.grow(map, page.checked_add(reach - 1).ok_or(Error::FileTooBig)?)?;
        let leaf = self.leaf_mut(map, page)?;
        let mut added = 0;
        let slots = leaf.iter_mut().skip(slot_of(page, 0)).zip(&mut replaced.slots);
        for ((slot, old), new) in slots.zip(first.to_slot()..).take(reach as usize) {
            *old = core::mem::replace(slot, new);
            added += u64::from(*old == 0);
            replaced.count += 1;
        }
        map.pages += added;
        self.mapped += added;
        Ok(())
    }

    /// Makes the map high enough for `page`.
    fn grow(&mut self, map: &mut PageMap, page: u64) -> Result<()> {
        while !map.covers(page) {
            if map.height >= MAX_HEIGHT {
                return Err(Error::FileTooBig);
            }
            let root = self.take()?;
            if let Some(slot) = self.node_mut(root).and_then(|n| n.first_mut()) {
                *slot = map.root;
            }
            map.root = root;
            map.height += 1;
        }
        Ok(())
    }

    /// The leaf with `page`, which a map that is high enough for it gets if it has none.
    fn leaf_mut(&mut self, map: &PageMap, page: u64) -> Result<&mut Node> {
        let mut node = map.root;
        for level in (1..map.height).rev() {
            let at = slot_of(page, level);
            let child = self.node(node).and_then(|n| n.get(at)).copied().unwrap_or(0);
            node = if child != 0 {
                child
            } else {
                let child = self.take()?;
                if let Some(slot) = self.node_mut(node).and_then(|n| n.get_mut(at)) {
                    *slot = child;
                }
                child
            };
        }
        self.node_mut(node).ok_or(Error::NoMemory)
    }

    /// Unmaps all pages of a range, calling `each` for every one.
    pub fn remove(&mut self, map: &mut PageMap, range: Range<u64>, each: &mut dyn FnMut(PageRef)) {
        if map.height == 0 {
            if let Some(page) = PageRef::from_slot(map.root).filter(|_| range.contains(&0)) {
                each(page);
                self.mapped -= 1;
                *map = PageMap::default();
            }
            return;
        }
        let mut removed = 0;
        let empty = self.prune(map.root, map.height - 1, 0, &range, &mut |page| {
            removed += 1;
            each(page);
        });
        map.pages -= removed;
        self.mapped -= removed;
        if empty {
            self.give_back(map.root);
            *map = PageMap::default();
        }
    }

    /// Unmaps the pages of `range` below `node` (whose first page is `base`); says whether the node is
    /// empty now. Recursion is as deep as a map is high: 9 at most.
    fn prune(
        &mut self,
        node: u32,
        level: u8,
        base: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(PageRef),
    ) -> bool {
        let mut empty = true;
        for i in 0..FANOUT {
            let Some(&slot) = self.node(node).and_then(|n| n.get(i)) else { continue };
            if slot == 0 {
                continue;
            }
            let first = base + ((i as u64) << (FANOUT_SHIFT * u32::from(level)));
            let last = first + ((1_u64 << (FANOUT_SHIFT * u32::from(level))) - 1);
            if last < range.start || first >= range.end {
                empty = false;
                continue;
            }
            let gone = if level == 0 {
                if let Some(page) = PageRef::from_slot(slot) {
                    each(page);
                }
                true
            } else {
                let gone = self.prune(slot, level - 1, first, range, each);
                if gone {
                    self.give_back(slot);
                }
                gone
            };
            if gone {
                if let Some(slot) = self.node_mut(node).and_then(|n| n.get_mut(i)) {
                    *slot = 0;
                }
            } else {
                empty = false;
            }
        }
        empty
    }

    /// Pages mapped, in all maps together.
    #[must_use]
    pub const fn mapped(&self) -> u64 {
        self.mapped
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.nodes.memory()
    }

    #[inline(never)]
    fn leaf(&self, map: &PageMap, page: u64) -> Option<&Node> {
        if !map.covers(page) {
            return None;
        }
        let mut node = map.root;
        for level in (1..map.height).rev() {
            node = *self.node(node)?.get(slot_of(page, level))?;
        }
        self.node(node)
    }

    fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get((node as usize).checked_sub(1)?)
    }

    fn node_mut(&mut self, node: u32) -> Option<&mut Node> {
        self.nodes.get_mut((node as usize).checked_sub(1)?)
    }

    fn take(&mut self) -> Result<u32> {
        if self.free != 0 {
            let node = self.free;
            if let Some(place) = self.node_mut(node) {
                let next = *place.first().unwrap_or(&0);
                *place = [0; FANOUT];
                self.free = next;
                self.free_count -= 1;
                return Ok(node);
            }
        }
        self.nodes.push([0; FANOUT])?;
        u32::try_from(self.nodes.len()).map_err(|_| Error::NoMemory)
    }

    fn give_back(&mut self, node: u32) {
        let next = self.free;
        if let Some(slot) = self.node_mut(node).and_then(|n| n.first_mut()) {
            *slot = next;
            self.free = node;
            self.free_count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn behaves_like_an_ordered_map() {
        let mut arena = PageArena::default();
        let mut map = PageMap::default();
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 20
        };
        for step in 0..30_000_u32 {
            let page = match random() % 4 {
                0 => random() % 64,
                1 => random() % 5000,
                2 => (random() % 1000) << 20,
                _ => (1 << 50) + random() % 200,
            };
            if random() % 50 == 0 {
                let mut removed = Vec::new();
                let end = page.saturating_add(match random() % 3 {
                    0 => random() % 100,
                    1 => random() % (1 << 30),
                    _ => u64::MAX,
                });
                arena.remove(&mut map, page..end, &mut |p| removed.push(p));
                let mut expected = model.split_off(&page);
                model.append(&mut expected.split_off(&end));
                let expected: Vec<_> = expected.into_values().map(PageRef::Region).collect();
                assert_eq!(removed, expected, "in ascending order");
            } else {
                let old = arena.set(&mut map, page, PageRef::Region(step + 1)).unwrap();
                assert_eq!(old, model.insert(page, step + 1).map(PageRef::Region));
            }
            let probe = page ^ (random() % 3);
            assert_eq!(arena.get(&map, probe), model.get(&probe).copied().map(PageRef::Region));
            assert_eq!(map.pages(), model.len() as u64);
            let next = model.range(probe..).next().map(|(&p, _)| p);
            assert_eq!(arena.first_mapped(&map, probe, u64::MAX), next);
        }
        arena.remove(&mut map, 0..u64::MAX, &mut |_| {});
        assert_eq!(arena.free_count, arena.nodes.len(), "no node is lost");
    }

    #[test]
    fn runs_join_neighbours_across_nodes() {
        let mut arena = PageArena::default();
        let mut map = PageMap::default();
        for page in 60..200 {
            arena.set(&mut map, page, PageRef::Region(1000 + page as u32)).unwrap();
        }
        arena.set(&mut map, 100, PageRef::Region(5)).unwrap();
        assert_eq!(arena.run(&map, 60, 1000), Some((PageRef::Region(1060), 40)));
        assert_eq!(arena.run(&map, 60, 7), Some((PageRef::Region(1060), 7)));
        assert_eq!(arena.run(&map, 101, 1000), Some((PageRef::Region(1101), 99)));
        assert_eq!(arena.run(&map, 200, 1), None);
        // In one go, there and back.
        let mut walk = arena.walk(&map);
        for page in (55..205).chain((55..205).rev()) {
            assert_eq!(walk.run(page, 30), arena.run(&map, page, 30));
            for to in [page, page + 1, page + 4, u64::MAX] {
                assert_eq!(walk.first_mapped(page, to), arena.first_mapped(&map, page, to));
            }
        }
    }
}
