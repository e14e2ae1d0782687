//! The interrupt descriptor table, and what happens when an interrupt arrives.
//!
//! All 256 vectors have a gate. The 32 exceptions end the kernel with a report. The timer counts, and
//! shows the other kernels that this one runs.
//! Anything else is counted and tolerated: on a machine shared with another kernel, its broadcasts
//! reach this processor too.

use super::gdt::{self, InterruptStack};
use super::{apic, report};
use crate::kernel::{heartbeat, mailbox};
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering};
use daxfs_guest::Interrupts;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// Vectors below this one are exceptions.
const EXCEPTIONS: u64 = 32;
/// The APIC timer's vector.
pub const TIMER: u8 = 0x20;
/// The vector of interrupts that the APIC withdrew; they are not acknowledged.
pub const SPURIOUS: u8 = 0xff;

static TICKS: AtomicU64 = AtomicU64::new(0);
static STRAY: AtomicU64 = AtomicU64::new(0);

/// What the stubs leave on the stack for [`dispatch`]: registers, vector and error code, and what
/// the processor pushed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    /// 0 for vectors without one.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(offset_of!(Frame, vector) == 15 * 8 && size_of::<Frame>() == 22 * 8);

/// Bytes from one stub to the next.
const STUB_SIZE: usize = 16;

// One stub a vector: pushes a 0 where the processor pushes no error code, then the vector.
global_asm!(
    ".section .text.interrupts, \"ax\", @progbits",
    ".balign {size}",
    "interrupt_stubs:",
    ".set vector, 0",
    ".rept 256",
    "    .balign {size}",
    "    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)",
    "        push 0",
    "    .endif",
    "    push vector",
    "    jmp interrupt_common",
    "    .set vector, vector + 1",
    ".endr",
    ".balign {size}",
    "interrupt_common:",
    "    push rax",
    "    push rbx",
    "    push rcx",
    "    push rdx",
    "    push rsi",
    "    push rdi",
    "    push rbp",
    "    push r8",
    "    push r9",
    "    push r10",
    "    push r11",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    cld",
    "    mov rdi, rsp",
    // The processor aligns the stack before it pushes its five words; with ours the call below
    // keeps the alignment only by rounding down.
    "    mov rbx, rsp",
    "    and rsp, -16",
    "    call {dispatch}",
    "    mov rsp, rbx",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop r11",
    "    pop r10",
    "    pop r9",
    "    pop r8",
    "    pop rbp",
    "    pop rdi",
    "    pop rsi",
    "    pop rdx",
    "    pop rcx",
    "    pop rbx",
    "    pop rax",
    "    add rsp, 16",
    "    iretq",
    size = const STUB_SIZE,
    dispatch = sym dispatch,
);

unsafe extern "C" {
    /// The first stub.
    safe static interrupt_stubs: u8;
}

/// A gate of the table.
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    flags: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

impl Gate {
    /// Present, ring 0, interrupt gate: interrupts are off in the handler.
    const FLAGS: u8 = 0x8e;

    const fn new(handler: u64, selector: u16, stack: InterruptStack) -> Self {
        Self {
            offset_low: handler as u16,
            selector,
            stack: stack as u8,
            flags: Self::FLAGS,
            offset_middle: (handler >> 16) as u16,
            offset_high: (handler >> 32) as u32,
            reserved: 0,
        }
    }
}

#[repr(C, align(16))]
struct Table([Gate; 256]);

static IDT: Once<Table> = Once::new();

/// Makes exceptions reportable. The segments must be this kernel's already.
pub fn load() {
    let table = IDT.call_once(|| {
        let selector = gdt::code_selector().0;
        let stubs = addr_of!(interrupt_stubs).addr();
        Table(core::array::from_fn(|vector| {
            let stack = match vector as u64 {
                2 => InterruptStack::Nmi,
                8 => InterruptStack::DoubleFault,
                18 => InterruptStack::MachineCheck,
                0..EXCEPTIONS => InterruptStack::Exception,
                _ => InterruptStack::Current,
            };
            Gate::new((stubs + vector * STUB_SIZE) as u64, selector, stack)
        }))
    });
    let pointer = DescriptorTablePointer {
        base: VirtAddr::from_ptr(addr_of!(*table)),
        limit: (size_of::<Table>() - 1) as u16,
    };
    // SAFETY: the table lives as long as the kernel, and each of its gates leads to a stub that
    // keeps every register.
    unsafe { lidt(&pointer) };
}

/// Interrupts taken so far.
pub fn counts() -> Interrupts {
    // Relaxed: they are counters, nothing is ordered by them.
    Interrupts { ticks: TICKS.load(Ordering::Relaxed), stray: STRAY.load(Ordering::Relaxed) }
}

/// Where every stub leads.
extern "C" fn dispatch(frame: &Frame) {
    match frame.vector {
        0..EXCEPTIONS => report::exception(frame),
        vector if vector == u64::from(TIMER) => {
            // Relaxed: as in `counts`.
            let before = TICKS.fetch_add(1, Ordering::Relaxed);
            mailbox::set_ticks(before + 1);
            heartbeat::beat();
            apic::acknowledge();
        }
        vector if vector == u64::from(SPURIOUS) => {}
        _ => {
            // Relaxed: as in `counts`.
            STRAY.fetch_add(1, Ordering::Relaxed);
            apic::acknowledge();
        }
    }
}
