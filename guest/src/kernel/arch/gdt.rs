//! Segments, and the stacks exceptions run on.
//!
//! Every exception runs on a stack of its own kind: one that used up the kernel's stack can still
//! be reported. The stacks are part of the image, so they exist before any memory is managed.

use core::cell::UnsafeCell;
use core::ptr::addr_of;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// A place in the interrupt stack table, as a gate names it: 0 is none, 1 the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum InterruptStack {
    /// The stack that was interrupted.
    Current = 0,
    /// Exceptions.
    Exception = 1,
    /// Double faults: the exception stack may be what is wrong.
    DoubleFault = 2,
    /// Non-maskable interrupts, which may interrupt an exception report.
    Nmi = 3,
    /// Machine checks, likewise.
    MachineCheck = 4,
}

const STACK_SIZE: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the processor uses the bytes, as the stack of one interrupt at a time.
unsafe impl Sync for Stack {}

static STACKS: [Stack; 4] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; 4];
static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<(GlobalDescriptorTable, Selectors)> = Once::new();

struct Selectors {
    code: SegmentSelector,
    data: SegmentSelector,
    tss: SegmentSelector,
}

/// Replaces the segments of whoever started this kernel by its own.
pub fn load() {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        // The structure is packed: its fields are copied, not referred to.
        let mut table = tss.interrupt_stack_table;
        for (entry, stack) in table.iter_mut().zip(&STACKS) {
            *entry = VirtAddr::from_ptr(addr_of!(*stack)) + STACK_SIZE as u64;
        }
        tss.interrupt_stack_table = table;
        tss
    });
    let (gdt, selectors) = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        let tss = gdt.append(Descriptor::tss_segment(tss));
        (gdt, Selectors { code, data, tss })
    });
    gdt.load();
    // SAFETY: the selector is of the 64-bit code segment in the table just loaded.
    unsafe { CS::set_reg(selectors.code) };
    // SAFETY: the selector is of the data segment in the table just loaded.
    unsafe { SS::set_reg(selectors.data) };
    for set in [DS::set_reg, ES::set_reg, FS::set_reg, GS::set_reg] {
        // SAFETY: the null selector is allowed in these in 64-bit mode; nothing uses their bases.
        unsafe { set(SegmentSelector::NULL) };
    }
    // SAFETY: the selector is of the task state segment in the table just loaded.
    unsafe { load_tss(selectors.tss) };
}

/// The selector of the kernel's code.
pub fn code_selector() -> SegmentSelector {
    GDT.get().map_or(SegmentSelector::NULL, |(_, selectors)| selectors.code)
}
