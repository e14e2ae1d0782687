//! The kernel's address space.
//!
//! Nothing is mapped but the kernel's image, its own memory, the devices it uses and the shared
//! range. Everything but the image's code is no-execute.
//!
//! ```text
//!   where the starter put it     the image: code (RX), constants (R), data (RW)
//!   OWN      guard page          not mapped
//!            stack               RW
//!            handover record     RW  (a copy)
//!            page tables         RW
//!            heap                RW
//!   SHARED   shared range        R, and W where `protect_shared` says so
//!   DEVICES  local APIC          RW, uncached
//!   MAILBOX  mailbox             RW
//! ```
//!
//! # Locking
//!
//! The page tables are behind [`TABLES`]. What never changes is in [`LAYOUT`], which exception
//! reports read without a lock.

use super::arch::paging::{Caching, Leaf, MapError, PAGE, Tables};
use super::arch::{apic, image};
use super::heap;
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::fmt;
use core::ptr::NonNull;
use daxfs::format::mailbox;
use daxfs::{MappedRange, Region, RegionOffset, Span};
use daxfs_guest::handover::{Request, Starter};
use daxfs_guest::memory_map::{MemoryMap, Range};
use daxfs_guest::{Mapping, Memory, Protection, SharedRange};
use spin::{Mutex, Once};

/// Where the kernel's own memory is mapped.
const OWN: u64 = 0xffff_9000_0000_0000;
/// Where the shared range is mapped.
const SHARED: u64 = 0xffff_a000_0000_0000;
/// Where devices are mapped.
const DEVICES: u64 = 0xffff_b000_0000_0000;
/// Where the mailbox is mapped.
const MAILBOX: u64 = 0xffff_c000_0000_0000;

/// Alignment of own memory, so that it is mapped with large pages.
const ALIGN: u64 = 2 << 20;
/// Bytes of the stack.
const STACK_SIZE: u64 = 256 << 10;
/// The mapping of physical memory by firmware or a boot loader need not reach further.
const REACH: u64 = 4 << 30;
/// The first megabyte is firmware's and nobody's.
const LOW_MEMORY: u64 = 1 << 20;
/// Least own memory the kernel starts with.
const LEAST_MEMORY: u64 = 4 << 20;
/// Bytes mapped for the mailbox.
const MAILBOX_SIZE: u64 = mailbox::SIZE.next_multiple_of(PAGE);
/// Page tables besides those of large ranges: upper levels, the image, split pages.
const SPARE_TABLES: u64 = 64;

const READ: Protection = Protection { write: false, execute: false };
const READ_WRITE: Protection = Protection { write: true, execute: false };

/// Why the kernel cannot have its address space.
#[derive(Clone, Copy, Debug)]
pub enum MemoryError {
    /// The starter did not map physical memory.
    NoPhysicalMapping,
    /// There is too little free memory.
    TooLittle,
    /// Something the starter passed is not mapped.
    NotMapped(u64),
    /// Page tables.
    Map(MapError),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPhysicalMapping => f.write_str("the starter did not map physical memory"),
            Self::TooLittle => write!(f, "less than {} MiB of free memory", LEAST_MEMORY >> 20),
            Self::NotMapped(at) => write!(f, "the starter left {at:#x} unmapped"),
            Self::Map(error) => write!(f, "page tables: {error}"),
        }
    }
}

impl From<MapError> for MemoryError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// Where everything is; virtual addresses unless it says otherwise.
struct Layout {
    /// Physical.
    own: Range,
    guard: Range,
    stack: Range,
    handover: Range,
    tables: Range,
    heap: Range,
    shared: Range,
    shared_phys: u64,
    mailbox: Range,
    apic: Option<u64>,
}

static LAYOUT: Once<Layout> = Once::new();
static TABLES: Mutex<Option<Tables>> = Mutex::new(None);

/// What it takes to go to the kernel's own address space.
#[derive(Clone, Copy, Debug)]
pub struct AddressSpace {
    /// Physical address of its page tables.
    pub root: u64,
    /// The end of its stack.
    pub stack_top: u64,
}

/// Makes the kernel's address space, with a copy of the handover record in it.
pub fn prepare(
    boot_info: &BootInfo,
    handover: &[u8],
    request: &Request<'_>,
) -> Result<AddressSpace, MemoryError> {
    let offset = boot_info.physical_memory_offset.as_ref().ok_or(MemoryError::NoPhysicalMapping)?;
    // SAFETY: the starter mapped physical memory at this offset.
    let active = unsafe { Tables::active(*offset) };
    let own = choose(boot_info, &active, handover, request)?;
    let layout = lay_out(own, handover.len() as u64, request)?;

    let pool = Range::new(own.start + (layout.tables.start - OWN), layout.tables.len());
    // SAFETY: free memory below `REACH`, which the starter mapped at this offset; `enter` is told
    // the place it has in the new address space.
    let mut tables = unsafe { Tables::new(pool, *offset) }?;
    map_image(&mut tables, &active)?;
    let (start, phys) = (layout.stack.start, own.start + PAGE);
    tables.map(start, phys, own.len() - PAGE, READ_WRITE, Caching::Normal)?;
    if let Some(apic) = layout.apic {
        tables.map(DEVICES, apic, PAGE, READ_WRITE, Caching::Uncached)?;
    }
    if let Some(mailbox) = request.mailbox {
        tables.map(MAILBOX, mailbox.start, layout.mailbox.len(), READ_WRITE, Caching::Normal)?;
    }
    let shared = layout.shared;
    tables.map(shared.start, layout.shared_phys, shared.len(), READ, Caching::Normal)?;

    let copy = own.start + (layout.handover.start - OWN) + offset;
    let copy = core::ptr::with_exposed_provenance_mut(copy as usize);
    // SAFETY: part of the free memory chosen, mapped at the offset, and as long as the record.
    unsafe { core::ptr::copy_nonoverlapping(handover.as_ptr(), copy, handover.len()) };

    let space = AddressSpace { root: tables.root(), stack_top: layout.stack.end };
    *TABLES.lock() = Some(tables);
    LAYOUT.call_once(|| layout);
    Ok(space)
}

/// Takes possession of the address space: the page tables are reached through it from now on, and
/// there is a heap. Returns the handover record, `len` bytes of it.
///
/// # Safety
///
/// The processor uses the address space that [`prepare`] made. This is done once.
pub unsafe fn enter(len: usize) -> Option<&'static [u8]> {
    let layout = LAYOUT.get()?;
    let mut tables = TABLES.lock();
    // SAFETY: the pool is part of own memory, which is mapped at `OWN` now.
    *tables = tables.take().map(|t| unsafe { t.at_offset(OWN.wrapping_sub(layout.own.start)) });
    let heap = NonNull::new(pointer(layout.heap.start))?;
    // SAFETY: mapped and writable, and this layout gives it to the heap alone.
    unsafe { heap::init(heap, layout.heap.len() as usize) };
    let handover = pointer(layout.handover.start);
    // SAFETY: `prepare` put the record there; nothing writes to it any more.
    Some(unsafe { core::slice::from_raw_parts(handover, len.min(layout.handover.len() as usize)) })
}

/// The largest piece of free memory the starter leaves to this kernel.
fn choose(
    boot_info: &BootInfo,
    active: &Tables,
    handover: &[u8],
    request: &Request<'_>,
) -> Result<Range, MemoryError> {
    let mut free: MemoryMap<64> = MemoryMap::default();
    for region in boot_info.memory_regions.iter() {
        if region.kind == MemoryRegionKind::Usable {
            free.add(Range { start: region.start, end: region.end });
        }
    }
    free.reserve(Range::new(0, LOW_MEMORY));
    free.reserve(Range::new(request.shared.phys, request.shared.size));
    free.reserve(request.mailbox.unwrap_or_default());
    for kept in [image::range(), Range::new(handover.as_ptr().addr() as u64, handover.len() as u64)]
    {
        let mut page = kept.start & !(PAGE - 1);
        while page < kept.end {
            let phys = active.translate(page).ok_or(MemoryError::NotMapped(page))?;
            free.reserve(Range::new(phys, PAGE));
            page += PAGE;
        }
    }
    let within = match request.starter {
        Starter::Machine => Range { start: 0, end: REACH },
        Starter::Kernel { own } => own,
    };
    free.largest(&within, ALIGN)
        .filter(|range| range.len() >= LEAST_MEMORY)
        .ok_or(MemoryError::TooLittle)
}

/// Divides own memory up.
fn lay_out(own: Range, handover: u64, request: &Request<'_>) -> Result<Layout, MemoryError> {
    let mut at = OWN;
    let mut take = |len: u64| {
        let range = Range::new(at, len.next_multiple_of(PAGE));
        at = range.end;
        range
    };
    let guard = take(PAGE);
    let stack = take(STACK_SIZE);
    let handover = take(handover);
    // A table of level 2 maps 1 GiB; at either end there may be one more, and one of level 1.
    let mapped = own.len() + request.shared.size;
    let tables = take((mapped.div_ceil(1 << 30) + SPARE_TABLES) * PAGE);
    let end = OWN + own.len();
    let heap = Range { start: at, end };
    if heap.is_empty() || heap.len() < LEAST_MEMORY / 4 {
        return Err(MemoryError::TooLittle);
    }
    let SharedRange { phys, size } = request.shared;
    Ok(Layout {
        own,
        guard,
        stack,
        handover,
        tables,
        heap,
        // Large pages want the same alignment on both sides.
        shared: Range::new(SHARED + phys % ALIGN, size),
        shared_phys: phys,
        mailbox: Range::new(MAILBOX, request.mailbox.map_or(0, |_| MAILBOX_SIZE)),
        apic: apic::physical_address(),
    })
}

/// Maps the image where it runs, each segment as the linker meant it.
fn map_image(tables: &mut Tables, active: &Tables) -> Result<(), MemoryError> {
    for segment in image::segments() {
        // A part of a segment that is mapped already only gets its own protection.
        if tables.leaf(segment.range.start).is_some() {
            tables.protect(segment.range.start, segment.range.len(), segment.protection)?;
            continue;
        }
        let mut page = segment.range.start;
        while page < segment.range.end {
            let phys = active.translate(page).ok_or(MemoryError::NotMapped(page))?;
            tables.map(page, phys & !(PAGE - 1), PAGE, segment.protection, Caching::Normal)?;
            page += PAGE;
        }
    }
    Ok(())
}

/// Where the APIC's registers are mapped.
pub fn apic_registers() -> Option<usize> {
    LAYOUT.get()?.apic.map(|_| DEVICES as usize)
}

/// Where the mailbox is mapped, if there is one.
pub fn mailbox_address() -> Option<u64> {
    LAYOUT.get().map(|layout| layout.mailbox).filter(|at| !at.is_empty()).map(|at| at.start)
}

/// The shared range, as the engine sees it.
pub fn shared_region() -> Option<Region<MappedRange>> {
    let shared = LAYOUT.get()?.shared;
    let start = NonNull::new(pointer(shared.start))?;
    // SAFETY: mapped for good, page aligned, accessed only through regions; before anything is
    // written there, `protect_shared` allows it.
    Some(Region::new(unsafe { MappedRange::new(start, shared.len() as usize) }))
}

/// Address of a byte of the shared range.
pub fn shared_address(at: RegionOffset) -> Option<u64> {
    LAYOUT.get()?.shared.start.checked_add(at.get())
}

/// Says whether stores into part of the shared range are allowed. Pages that are only partly in
/// `span` stay as they are.
pub fn protect_shared(span: Span, write: bool) -> Result<(), MemoryError> {
    let Some(layout) = LAYOUT.get() else { return Ok(()) };
    let wanted = Range::new(span.start.get(), span.len).aligned_inside(PAGE);
    let inside = wanted.intersection(&Range::new(0, layout.shared.len()));
    if inside.is_empty() {
        return Ok(());
    }
    let protection = if write { READ_WRITE } else { READ };
    if let Some(tables) = &mut *TABLES.lock() {
        tables.protect(layout.shared.start + inside.start, inside.len(), protection)?;
    }
    Ok(())
}

/// What the page tables permit at an offset of the shared range.
pub fn shared_protection(at: RegionOffset) -> Option<Protection> {
    let layout = LAYOUT.get()?;
    let at = layout.shared.start.checked_add(at.get()).filter(|&at| at < layout.shared.end)?;
    TABLES.lock().as_ref()?.leaf(at).map(|leaf| leaf.protection)
}

/// The kernel's own memory.
pub fn usage() -> Memory {
    let (heap_size, heap_used) = heap::usage();
    let (tables_used, tables_size) = TABLES.lock().as_ref().map_or((0, 0), Tables::usage);
    Memory {
        heap_size: heap_size as u64,
        heap_used: heap_used as u64,
        tables_used,
        tables_size,
        stack_size: STACK_SIZE,
    }
}

/// Calls `emit` for every run of pages that is mapped alike.
pub fn mappings(emit: &mut dyn FnMut(&Mapping)) {
    let tables = TABLES.lock();
    let Some(tables) = &*tables else { return };
    let mut run: Option<Mapping> = None;
    tables.for_each_leaf(&mut |virt, Leaf { phys, size, protection }| {
        // The largest pages are smaller than what has a name, but may hold parts of several.
        let mut done = 0;
        while done < size {
            let name = describe(virt + done);
            let len = named_until(virt + done).saturating_sub(virt + done).clamp(PAGE, size - done);
            let next = Mapping { virt: virt + done, phys: phys + done, len, protection, name };
            done += len;
            match &mut run {
                Some(run) if continues(run, &next) => run.len += next.len,
                _ => {
                    if let Some(complete) = run.replace(next) {
                        emit(&complete);
                    }
                }
            }
        }
    });
    if let Some(last) = run {
        emit(&last);
    }
}

fn continues(run: &Mapping, next: &Mapping) -> bool {
    run.virt.wrapping_add(run.len) == next.virt
        && run.protection == next.protection
        && run.name == next.name
}

/// What is, or would be, at an address. Takes no lock.
pub fn describe(address: u64) -> &'static str {
    if address < PAGE {
        return "null page";
    }
    named(address).map_or("nothing", |(_, name)| name)
}

/// Where the thing that is at an address ends.
fn named_until(address: u64) -> u64 {
    named(address).map_or(u64::MAX, |(range, _)| range.end)
}

fn named(address: u64) -> Option<(Range, &'static str)> {
    let segment = image::segments()
        .filter(|segment| (segment.range.start..segment.range.end).contains(&address))
        .last()
        .map(|segment| (segment.range, segment.name));
    let part = || {
        let layout = LAYOUT.get()?;
        let devices = Range::new(DEVICES, layout.apic.map_or(0, |_| PAGE));
        [
            (layout.guard, "stack guard page"),
            (layout.stack, "stack"),
            (layout.handover, "handover record"),
            (layout.tables, "page tables"),
            (layout.heap, "heap"),
            (layout.shared, "shared range"),
            (devices, "local APIC"),
            (layout.mailbox, "mailbox"),
        ]
        .into_iter()
        .find(|(range, _)| (range.start..range.end).contains(&address))
    };
    segment.or_else(part)
}

fn pointer(at: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(at as usize)
}
