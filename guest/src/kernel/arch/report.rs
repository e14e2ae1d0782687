//! What an exception looks like on the console.
//!
//! A report takes no lock and allocates nothing: whatever the kernel was doing, it gets through.

use super::interrupts::Frame;
use super::{exit, serial};
use crate::kernel::memory;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use daxfs::format::handover::ExitStatus;
use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};

const PAGE_FAULT: u64 = 14;

/// Set once a report has begun: a fault inside of it must not start another.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Name of an exception.
const fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        9 => "coprocessor segment overrun",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection exception",
        28 => "hypervisor injection exception",
        29 => "VMM communication exception",
        30 => "security exception",
        _ => "reserved exception",
    }
}

/// Reports an exception and ends the kernel.
pub fn exception(frame: &Frame) -> ! {
    // Relaxed: one processor.
    if !REPORTING.swap(true, Ordering::Relaxed) {
        // Writing to the port does not fail.
        let _ = write_report(&mut serial::emergency(), frame);
    }
    exit::exit(ExitStatus::Exception)
}

fn write_report(out: &mut impl Write, frame: &Frame) -> fmt::Result {
    let vector = frame.vector;
    writeln!(out, "\nEXCEPTION {vector}: {}, error code {:#x}", name(vector), frame.error)?;
    if vector == PAGE_FAULT {
        write_page_fault(out, frame.error)?;
    }
    writeln!(
        out,
        "  rip {:016x}  cs {:04x}  rflags {:016x}\n  rsp {:016x}  ss {:04x}",
        frame.rip, frame.cs, frame.rflags, frame.rsp, frame.ss
    )?;
    let registers = [
        ("rax", frame.rax),
        ("rbx", frame.rbx),
        ("rcx", frame.rcx),
        ("rdx", frame.rdx),
        ("rsi", frame.rsi),
        ("rdi", frame.rdi),
        ("rbp", frame.rbp),
        ("r8 ", frame.r8),
        ("r9 ", frame.r9),
        ("r10", frame.r10),
        ("r11", frame.r11),
        ("r12", frame.r12),
        ("r13", frame.r13),
        ("r14", frame.r14),
        ("r15", frame.r15),
        ("cr0", Cr0::read_raw()),
        ("cr2", Cr2::read_raw()),
        ("cr3", Cr3::read().0.start_address().as_u64()),
        ("cr4", Cr4::read_raw()),
    ];
    for row in registers.chunks(3) {
        for (name, value) in row {
            write!(out, "  {name} {value:016x}")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "  kernel image at {:#x}", super::image::base())
}

/// The error code of a page fault, in words, and what lies at the address.
fn write_page_fault(out: &mut impl Write, error: u64) -> fmt::Result {
    let address = Cr2::read_raw();
    let access = match error {
        _ if error & (1 << 4) != 0 => "instruction fetch",
        _ if error & (1 << 1) != 0 => "write",
        _ => "read",
    };
    let cause = if error & (1 << 3) != 0 {
        "reserved bit set in a page table"
    } else if error & 1 != 0 {
        "not permitted by the page's protection"
    } else {
        "page not present"
    };
    let mode = if error & (1 << 2) != 0 { "user" } else { "kernel" };
    writeln!(
        out,
        "  {access} at {address:#018x} ({}), {cause}, {mode} mode",
        memory::describe(address)
    )
}
