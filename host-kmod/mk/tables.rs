// SPDX-License-Identifier: GPL-2.0

//! Checks the page tables that a kernel starts with: 4 levels, and everything that they lead to is the
//! kernel's own.
//!
//! This finds mistakes of the loader before they become a reset of the machine. It does not confine
//! the kernel, which makes page tables of its own.

/// Size of a page, and of a table.
pub(crate) const PAGE: u64 = 4096;
const ENTRIES: u64 = 512;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
/// In an entry for a large page, the bit that means caching in others.
const LARGE_CACHING: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Levels of tables.
const LEVELS: u32 = 4;

/// What page tables may lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Physical address of the kernel's own memory.
    pub(crate) start: u64,
    /// Its end.
    pub(crate) end: u64,
    /// The page in low memory that must be mapped to itself.
    pub(crate) trampoline: u64,
}

impl Bounds {
    /// Whether `len` bytes from `at` on are the kernel's own.
    pub(crate) fn contain(&self, at: u64, len: u64) -> bool {
        at >= self.start && at.checked_add(len).is_some_and(|end| end <= self.end)
    }
}

/// What is wrong with page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    /// A table is not the kernel's own memory, or misaligned.
    Table(u64),
    /// A virtual address leads to memory that is not the kernel's own.
    Leads {
        /// The virtual address.
        virt: u64,
        /// Where it leads.
        phys: u64,
    },
    /// An entry that the processor does not accept, for this virtual address.
    Entry(u64),
    /// There are more tables than there is memory for: some are used several times.
    TooMany,
    /// This virtual address is not mapped as it must be.
    Missing(u64),
}

/// Checks all that `root` leads to. Every address is mapped inside of `bounds`, but for the
/// trampoline's page, which is mapped to itself, writable and executable; `entry` is executable, and
/// the 8 bytes below `stack` are writable. `read` reads a word of the kernel's own memory, at a
/// physical address.
pub(crate) fn check(
    root: u64,
    entry: u64,
    stack: u64,
    bounds: &Bounds,
    read: &dyn Fn(u64) -> Option<u64>,
) -> Result<(), Problem> {
    // A table each for all the memory there is.
    let mut budget = (bounds.end - bounds.start) / PAGE;
    check_table(root, LEVELS, 0, bounds, read, &mut budget)?;
    let wanted = [
        (entry, PRESENT, NO_EXECUTE),
        (stack.wrapping_sub(8), PRESENT | WRITABLE, 0),
        (bounds.trampoline, PRESENT | WRITABLE, NO_EXECUTE),
    ];
    for (virt, set, clear) in wanted {
        let flags = flags(root, virt, read).ok_or(Problem::Missing(virt))?;
        if flags & set != set || flags & clear != 0 {
            return Err(Problem::Missing(virt));
        }
    }
    Ok(())
}

/// log2 of the bytes that an entry of a table of this level (1 is the lowest) maps.
fn shift(level: u32) -> u32 {
    9 * level + 3
}

/// The bytes that an entry of a table of this level maps.
fn span(level: u32) -> u64 {
    1 << (shift(level) & 63)
}

/// A virtual address with its highest bits as the processor wants them.
fn canonical(virt: u64) -> u64 {
    ((virt << 16) as i64 >> 16) as u64
}

fn check_table(
    table: u64,
    level: u32,
    start: u64,
    bounds: &Bounds,
    read: &dyn Fn(u64) -> Option<u64>,
    budget: &mut u64,
) -> Result<(), Problem> {
    if table % PAGE != 0 || !bounds.contain(table, PAGE) {
        return Err(Problem::Table(table));
    }
    *budget = budget.checked_sub(1).ok_or(Problem::TooMany)?;
    for index in 0..ENTRIES {
        let entry = read(table + index * 8).ok_or(Problem::Table(table))?;
        if entry & PRESENT == 0 {
            continue;
        }
        let virt = canonical(start + index * span(level));
        if level > 1 && entry & LARGE == 0 {
            check_table(
                entry & ADDRESS,
                level - 1,
                start + index * span(level),
                bounds,
                read,
                budget,
            )?;
            continue;
        }
        let phys = if level == 1 { entry & ADDRESS } else { entry & ADDRESS & !LARGE_CACHING };
        if level == LEVELS || phys & (span(level) - 1) != 0 {
            return Err(Problem::Entry(virt));
        }
        let is_trampoline = level == 1 && phys == bounds.trampoline && virt == phys;
        if !is_trampoline && !bounds.contain(phys, span(level)) {
            return Err(Problem::Leads { virt, phys });
        }
    }
    Ok(())
}

/// What the tables, which were checked, permit at `virt`: flags that all entries on the way have, and
/// [`NO_EXECUTE`] if any has it.
fn flags(root: u64, virt: u64, read: &dyn Fn(u64) -> Option<u64>) -> Option<u64> {
    if canonical(virt) != virt {
        return None;
    }
    let (mut table, mut all, mut any) = (root, u64::MAX, 0);
    for level in (1..=LEVELS).rev() {
        let entry = read(table + ((virt >> (shift(level) & 63)) % ENTRIES) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        all &= entry;
        any |= entry;
        if entry & LARGE != 0 {
            break;
        }
        table = entry & ADDRESS;
    }
    Some((all & (PRESENT | WRITABLE)) | (any & NO_EXECUTE))
}
