//! The page tables that a kernel starts with: 4 levels, made here, for physical memory elsewhere.

use crate::elf::Protection;
use crate::layout::{LARGE_PAGE, PAGE};

const ENTRIES: usize = 512;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Page tables, the first of which is the root.
#[derive(Debug)]
pub(crate) struct PageTables {
    tables: Vec<[u64; ENTRIES]>,
    /// Physical address of the first; the others follow.
    base: u64,
}

impl PageTables {
    /// Page tables that map nothing, to be put at physical address `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self { tables: vec![[0; ENTRIES]], base }
    }

    /// Physical address of the root.
    pub(crate) const fn root(&self) -> u64 {
        self.base
    }

    /// How many tables there are.
    pub(crate) fn len(&self) -> u64 {
        self.tables.len() as u64
    }

    /// Maps a page.
    pub(crate) fn map(&mut self, virt: u64, phys: u64, protection: Protection) {
        *self.entry(virt, 1) = phys | flags(protection);
    }

    /// Maps a large page.
    pub(crate) fn map_large(&mut self, virt: u64, phys: u64, protection: Protection) {
        debug_assert!((virt | phys).is_multiple_of(LARGE_PAGE));
        *self.entry(virt, 2) = phys | flags(protection) | LARGE;
    }

    /// The tables' bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.tables.iter().flatten().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    /// The entry for an address in a table of this level; tables above it are made.
    fn entry(&mut self, virt: u64, level: u32) -> &mut u64 {
        let mut table = 0;
        for above in (level + 1..=4).rev() {
            let slot = index(virt, above);
            let entry = self.tables[table][slot];
            table = if entry & PRESENT != 0 {
                ((entry & ADDRESS) - self.base) as usize / PAGE as usize
            } else {
                let next = self.tables.len();
                // What is permitted is said at the lowest level.
                let phys = self.base + next as u64 * PAGE;
                self.tables[table][slot] = phys | PRESENT | WRITABLE;
                self.tables.push([0; ENTRIES]);
                next
            };
        }
        &mut self.tables[table][index(virt, level)]
    }
}

const fn index(virt: u64, level: u32) -> usize {
    (virt >> (3 + 9 * level)) as usize % ENTRIES
}

const fn flags(protection: Protection) -> u64 {
    let write = if protection.write { WRITABLE } else { 0 };
    let execute = if protection.execute { 0 } else { NO_EXECUTE };
    PRESENT | write | execute
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the processor would find.
    fn walk(tables: &PageTables, virt: u64) -> Option<u64> {
        let bytes = tables.bytes();
        let mut at = tables.root();
        for level in (1..=4).rev() {
            let place = (at - tables.root()) as usize + index(virt, level) * 8;
            let entry = u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap());
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || entry & LARGE != 0 {
                return Some(entry);
            }
            at = entry & ADDRESS;
        }
        unreachable!()
    }

    #[test]
    fn what_is_mapped_is_found_and_nothing_else() {
        let mut tables = PageTables::new(0x3803_0000);
        let code = Protection { write: false, execute: true };
        let data = Protection { write: true, execute: false };
        tables.map(0x20_0000, 0x3810_0000, code);
        tables.map(0x20_1000, 0x3810_1000, data);
        tables.map_large(0xffff_8000_3800_0000, 0x3800_0000, data);
        assert_eq!(walk(&tables, 0x20_0000), Some(0x3810_0000 | PRESENT));
        assert_eq!(walk(&tables, 0x20_1000), Some(0x3810_1000 | PRESENT | WRITABLE | NO_EXECUTE));
        let large = walk(&tables, 0xffff_8000_3800_0000).unwrap();
        assert_eq!(large, 0x3800_0000 | PRESENT | WRITABLE | LARGE | NO_EXECUTE);
        for nothing in [0, 0x20_2000, 0x3800_0000, 0xffff_8000_3820_0000] {
            assert_eq!(walk(&tables, nothing), None, "{nothing:#x}");
        }
        // Root, three for the low half, two for the high one.
        assert_eq!(tables.len(), 6);
    }
}
