//! Page tables.
//!
//! # Invariants
//!
//! A [`Tables`] owns its table frames; they come from its pool and are reached at their physical
//! address plus `offset`, which is mapped for as long as the value lives. Only 2 MiB and 4 KiB
//! leaves are made; table entries above a leaf permit everything, so the leaf alone decides.

use daxfs_guest::Protection;
use daxfs_guest::memory_map::Range;
use x86_64::instructions::tlb;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{PageTable, PageTableFlags, PageTableIndex};
use x86_64::{PhysAddr, VirtAddr};

/// Size of a page, and of a table.
pub const PAGE: u64 = 4096;
/// Size of a large page.
pub const LARGE_PAGE: u64 = 2 << 20;

/// How memory is cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// As ordinary memory.
    Normal,
    /// Not at all: device registers.
    Uncached,
}

/// Why a mapping could not be made or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame is left for another table.
    OutOfFrames,
    /// Something is mapped there already.
    Occupied(u64),
    /// Nothing is mapped there.
    NotMapped(u64),
    /// Addresses or length are not multiples of the page size.
    Misaligned,
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutOfFrames => f.write_str("no memory left for page tables"),
            Self::Occupied(at) => write!(f, "{at:#x} is mapped already"),
            Self::NotMapped(at) => write!(f, "{at:#x} is not mapped"),
            Self::Misaligned => f.write_str("not a multiple of the page size"),
        }
    }
}

/// A leaf of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    /// Physical address of the page.
    pub phys: u64,
    /// Its size.
    pub size: u64,
    /// What it permits.
    pub protection: Protection,
}

/// A hierarchy of page tables.
#[derive(Debug)]
pub struct Tables {
    root: PhysAddr,
    /// What is added to a table's physical address to reach it.
    offset: u64,
    pool: Range,
    pool_size: u64,
}

impl Tables {
    /// Tables that map nothing yet, made of the frames of `pool` (physical addresses).
    ///
    /// # Safety
    ///
    /// The pool is memory nobody else uses, page aligned, and mapped at its physical address plus
    /// `offset` for as long as the tables are used with that offset.
    pub unsafe fn new(pool: Range, offset: u64) -> Result<Self, MapError> {
        let mut tables = Self { root: PhysAddr::zero(), offset, pool, pool_size: pool.len() };
        tables.root = tables.allocate()?;
        Ok(tables)
    }

    /// The tables in use, for looking only: they have no pool.
    ///
    /// # Safety
    ///
    /// All physical memory with tables in it is mapped at its address plus `offset`.
    pub unsafe fn active(offset: u64) -> Self {
        let (frame, _) = x86_64::registers::control::Cr3::read();
        let pool = Range::default();
        Self { root: frame.start_address(), offset, pool, pool_size: 0 }
    }

    /// The same tables, reached at another offset from now on.
    ///
    /// # Safety
    ///
    /// The pool given to [`Self::new`] is mapped at its physical address plus `offset`.
    pub unsafe fn at_offset(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Physical address of the root.
    pub fn root(&self) -> u64 {
        self.root.as_u64()
    }

    /// Bytes of tables in use, and bytes set aside for them.
    pub fn usage(&self) -> (u64, u64) {
        (self.pool_size - self.pool.len(), self.pool_size)
    }

    /// Maps `len` bytes at `virt` to those at `phys`, with large pages where both are aligned.
    pub fn map(
        &mut self,
        virt: u64,
        phys: u64,
        len: u64,
        protection: Protection,
        caching: Caching,
    ) -> Result<(), MapError> {
        if !(virt | phys | len).is_multiple_of(PAGE) {
            return Err(MapError::Misaligned);
        }
        let flags = leaf_flags(protection)
            | match caching {
                Caching::Normal => PageTableFlags::empty(),
                Caching::Uncached => PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH,
            };
        let mut done = 0;
        while done < len {
            let (at, to) = (virt + done, phys + done);
            let large = (at | to).is_multiple_of(LARGE_PAGE) && len - done >= LARGE_PAGE;
            let (level, size, flags) = if large {
                (PageTableLevel::Two, LARGE_PAGE, flags | PageTableFlags::HUGE_PAGE)
            } else {
                (PageTableLevel::One, PAGE, flags)
            };
            let entry = self.entry(at, level, Missing::Make)?;
            if !entry.is_unused() {
                return Err(MapError::Occupied(at));
            }
            entry.set_addr(PhysAddr::new(to), flags);
            done += size;
        }
        Ok(())
    }

    /// Changes what is permitted at `virt..virt + len`, down to single pages.
    pub fn protect(&mut self, virt: u64, len: u64, protection: Protection) -> Result<(), MapError> {
        if !(virt | len).is_multiple_of(PAGE) {
            return Err(MapError::Misaligned);
        }
        let kept = PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH;
        let mut done = 0;
        while done < len {
            let at = virt + done;
            let leaf = self.leaf(at).ok_or(MapError::NotMapped(at))?;
            let whole = at.is_multiple_of(leaf.size) && len - done >= leaf.size;
            let level = match leaf.size {
                LARGE_PAGE if whole => PageTableLevel::Two,
                _ => PageTableLevel::One,
            };
            let entry = self.entry(at, level, Missing::Fail)?;
            let huge = entry.flags() & (kept | PageTableFlags::HUGE_PAGE);
            entry.set_flags(leaf_flags(protection) | huge);
            tlb::flush(VirtAddr::new_truncate(at));
            done += if level == PageTableLevel::Two { LARGE_PAGE } else { PAGE };
        }
        Ok(())
    }

    /// The page that holds `virt`, if it is mapped.
    pub fn leaf(&self, virt: u64) -> Option<Leaf> {
        let address = VirtAddr::new_truncate(virt);
        let mut table = self.root;
        let mut level = PageTableLevel::Four;
        loop {
            let entry = &self.table(table)[address.page_table_index(level)];
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                return None;
            }
            if level == PageTableLevel::One || flags.contains(PageTableFlags::HUGE_PAGE) {
                let size = level.entry_address_space_alignment();
                let protection = protection(flags);
                return Some(Leaf { phys: entry.addr().as_u64(), size, protection });
            }
            table = entry.addr();
            level = level.next_lower_level()?;
        }
    }

    /// Physical address of `virt`, if it is mapped.
    pub fn translate(&self, virt: u64) -> Option<u64> {
        self.leaf(virt).map(|leaf| leaf.phys + virt % leaf.size)
    }

    /// Calls `emit` with the address of every leaf, ascending.
    pub fn for_each_leaf(&self, emit: &mut dyn FnMut(u64, Leaf)) {
        self.walk(self.root, PageTableLevel::Four, 0, emit);
    }

    fn walk(
        &self,
        table: PhysAddr,
        level: PageTableLevel,
        start: u64,
        emit: &mut dyn FnMut(u64, Leaf),
    ) {
        let size = level.entry_address_space_alignment();
        for (index, entry) in (0..).zip(self.table(table).iter()) {
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                continue;
            }
            let virt = start + index * size;
            match level.next_lower_level() {
                Some(lower) if !flags.contains(PageTableFlags::HUGE_PAGE) => {
                    self.walk(entry.addr(), lower, virt, emit);
                }
                _ => {
                    // Addresses in the upper half continue their highest bit.
                    let virt = VirtAddr::new_truncate(virt).as_u64();
                    let protection = protection(flags);
                    emit(virt, Leaf { phys: entry.addr().as_u64(), size, protection });
                }
            }
        }
    }

    /// The entry for `virt` in its table of `level`. A large page on the way is split.
    fn entry(
        &mut self,
        virt: u64,
        level: PageTableLevel,
        missing: Missing,
    ) -> Result<&mut PageTableEntry, MapError> {
        let address = VirtAddr::new_truncate(virt);
        let mut table = self.root;
        let mut at = PageTableLevel::Four;
        while at != level {
            let index = address.page_table_index(at);
            let entry = &self.table(table)[index];
            let (flags, frame) = (entry.flags(), entry.addr());
            table = if !flags.contains(PageTableFlags::PRESENT) {
                match missing {
                    Missing::Fail => return Err(MapError::NotMapped(virt)),
                    Missing::Make => self.link(table, index, |_| {})?,
                }
            } else if flags.contains(PageTableFlags::HUGE_PAGE) {
                // Only 2 MiB leaves are made, so this is one, and its pages go to level 1.
                let small = flags - PageTableFlags::HUGE_PAGE;
                self.link(table, index, |pages| {
                    for (page, entry) in (0..).zip(pages.iter_mut()) {
                        entry.set_addr(frame + page * PAGE, small);
                    }
                })?
            } else {
                frame
            };
            at = at.next_lower_level().ok_or(MapError::NotMapped(virt))?;
        }
        Ok(&mut self.table_mut(table)[address.page_table_index(level)])
    }

    /// Puts a new table, prepared by `prepare`, into entry `index` of `table`.
    fn link(
        &mut self,
        table: PhysAddr,
        index: PageTableIndex,
        prepare: impl FnOnce(&mut PageTable),
    ) -> Result<PhysAddr, MapError> {
        let new = self.allocate()?;
        prepare(self.table_mut(new));
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        self.table_mut(table)[index].set_addr(new, flags);
        Ok(new)
    }

    /// A zeroed frame for a table.
    fn allocate(&mut self) -> Result<PhysAddr, MapError> {
        if self.pool.len() < PAGE {
            return Err(MapError::OutOfFrames);
        }
        let frame = PhysAddr::new(self.pool.start);
        self.pool.start += PAGE;
        self.table_mut(frame).zero();
        Ok(frame)
    }

    fn table(&self, at: PhysAddr) -> &PageTable {
        let table = self.address_of(at);
        // SAFETY: `at` is a table of this hierarchy, mapped there (type invariant); the only
        // references to it are made from `self`, and so borrow it.
        unsafe { &*table }
    }

    fn table_mut(&mut self, at: PhysAddr) -> &mut PageTable {
        let table = self.address_of(at);
        // SAFETY: as in `table`, with `self` borrowed mutably. The processor sets accessed and
        // dirty bits in between, which nothing here depends on.
        unsafe { &mut *table }
    }

    fn address_of(&self, table: PhysAddr) -> *mut PageTable {
        let address = table.as_u64().wrapping_add(self.offset);
        core::ptr::with_exposed_provenance_mut(address as usize)
    }
}

/// What to do where a table is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fail,
    Make,
}

fn leaf_flags(protection: Protection) -> PageTableFlags {
    let mut flags = PageTableFlags::PRESENT;
    flags.set(PageTableFlags::WRITABLE, protection.write);
    flags.set(PageTableFlags::NO_EXECUTE, !protection.execute);
    flags
}

fn protection(flags: PageTableFlags) -> Protection {
    Protection {
        write: flags.contains(PageTableFlags::WRITABLE),
        execute: !flags.contains(PageTableFlags::NO_EXECUTE),
    }
}
