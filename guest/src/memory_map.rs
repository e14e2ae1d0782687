//! Physical memory that nobody has been given yet.
//!
//! # Invariants
//!
//! The ranges are not empty and do not overlap; what was reserved is in none of them. Where the
//! fixed capacity runs out, memory is forgotten, never handed out twice.

/// Addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
}

impl Range {
    /// The range of `len` bytes at `start`, cut off at the end of the address space.
    #[must_use]
    pub const fn new(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no address in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    /// The largest part of it whose ends are multiples of `align`, a power of two.
    #[must_use]
    pub const fn aligned_inside(&self, align: u64) -> Self {
        let start = match self.start.checked_next_multiple_of(align) {
            Some(start) => start,
            None => self.end,
        };
        let end = self.end & !(align - 1);
        Self { start, end: if end > start { end } else { start } }
    }
}

/// A set of free ranges.
#[derive(Clone, Debug)]
pub struct MemoryMap<const N: usize> {
    free: [Range; N],
    len: usize,
}

impl<const N: usize> Default for MemoryMap<N> {
    fn default() -> Self {
        Self { free: [Range::default(); N], len: 0 }
    }
}

impl<const N: usize> MemoryMap<N> {
    /// The free ranges.
    #[must_use]
    pub fn free(&self) -> &[Range] {
        self.free.get(..self.len).unwrap_or(&[])
    }

    /// Adds free memory. What is in the map already is not added again.
    pub fn add(&mut self, range: Range) {
        // Firmware maps overlap now and then; the later entry only adds what is new.
        self.reserve(range);
        self.push(range);
    }

    /// Takes `range` out of the free memory.
    pub fn reserve(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(&free) = self.free().get(at) {
            let taken = free.intersection(&range);
            if taken.is_empty() {
                at += 1;
                continue;
            }
            self.remove(at);
            let below = Range { start: free.start, end: taken.start };
            let above = Range { start: taken.end, end: free.end };
            // The larger part first, in case there is room for one only.
            let (first, second) =
                if below.len() >= above.len() { (below, above) } else { (above, below) };
            self.push(first);
            self.push(second);
            // Whatever stands at `at` now has not been looked at, or does not overlap any more.
        }
    }

    /// Takes `len` bytes, aligned to `align`, that lie below `limit`: the lowest there are.
    pub fn take(&mut self, len: u64, align: u64, limit: u64) -> Option<Range> {
        let below = Range { start: 0, end: limit };
        let found = self
            .free()
            .iter()
            .filter_map(|free| {
                let usable = free.intersection(&below);
                let start = usable.start.checked_next_multiple_of(align)?;
                let end = start.checked_add(len).filter(|&end| end <= usable.end)?;
                Some(Range { start, end })
            })
            .min_by_key(|range| range.start)?;
        self.reserve(found);
        Some(found)
    }

    /// The largest free range inside `within`, by what is left when its ends are aligned to
    /// `align`.
    #[must_use]
    pub fn largest(&self, within: &Range, align: u64) -> Option<Range> {
        self.free()
            .iter()
            .map(|free| free.intersection(within).aligned_inside(align))
            .filter(|range| !range.is_empty())
            .max_by_key(Range::len)
    }

    fn push(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        if let Some(slot) = self.free.get_mut(self.len) {
            *slot = range;
            self.len += 1;
        }
    }

    fn remove(&mut self, at: usize) {
        self.len -= 1;
        self.free.swap(at, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[(u64, u64)]) -> MemoryMap<8> {
        let mut map = MemoryMap::default();
        for &(start, end) in ranges {
            map.add(Range { start, end });
        }
        map
    }

    fn total<const N: usize>(map: &MemoryMap<N>) -> u64 {
        map.free().iter().map(Range::len).sum()
    }

    #[test]
    fn overlapping_entries_are_counted_once() {
        assert_eq!(total(&map(&[(0, 10), (5, 20), (5, 6)])), 20);
    }

    #[test]
    fn reserving_splits_and_never_returns_what_it_took() {
        let mut map = map(&[(0, 100), (200, 300)]);
        map.reserve(Range { start: 40, end: 250 });
        assert_eq!(total(&map), 90);
        for range in map.free() {
            assert!(range.intersection(&Range { start: 40, end: 250 }).is_empty());
        }
    }

    #[test]
    fn taking_prefers_low_memory_and_keeps_the_limit() {
        let mut map = map(&[(0x10_000, 0x20_000), (0x1000, 0x3000)]);
        assert_eq!(map.take(0x1000, 0x1000, u64::MAX), Some(Range::new(0x1000, 0x1000)));
        assert_eq!(map.take(0x1000, 0x1000, 0x3000), Some(Range::new(0x2000, 0x1000)));
        assert_eq!(map.take(0x1000, 0x1000, 0x3000), None);
        assert_eq!(map.take(0x1000, 0x4000, u64::MAX), Some(Range::new(0x10_000, 0x1000)));
    }

    #[test]
    fn a_full_map_forgets_memory_rather_than_giving_it_twice() {
        let mut map: MemoryMap<2> = MemoryMap::default();
        map.add(Range { start: 0, end: 1000 });
        for at in [100, 300, 500] {
            map.reserve(Range::new(at, 10));
        }
        assert!(total(&map) <= 970);
        for at in [100, 300, 500] {
            assert!(map.free().iter().all(|r| r.intersection(&Range::new(at, 10)).is_empty()));
        }
    }

    #[test]
    fn the_largest_range_is_judged_after_alignment() {
        let map = map(&[(1, 0x2fff), (0x10_000, 0x12_000)]);
        let all = Range { start: 0, end: u64::MAX };
        assert_eq!(map.largest(&all, 0x1000), Some(Range { start: 0x10_000, end: 0x12_000 }));
        assert_eq!(map.largest(&Range { start: 0, end: 0x1000 }, 0x1000), None);
    }
}
