//! Everything that is particular to the processor and the machine around it.
//!
//! | module | what it owns |
//! |---|---|
//! | [`pvh`] | the way in from QEMU: 32-bit entry, first page tables, `BootInfo` |
//! | [`gdt`] | segments, and the stacks exceptions run on |
//! | [`interrupts`] | the interrupt descriptor table, dispatch |
//! | [`report`] | what an exception looks like on the console |
//! | [`paging`] | page tables |
//! | [`image`] | the kernel's own ELF segments |
//! | [`apic`] | the local APIC and its timer |
//! | [`pc`] | PIC, PIT and real-time clock, where the machine is this kernel's |
//! | [`serial`] | the serial ports |
//! | [`exit`] | leaving |

pub mod apic;
pub mod exit;
pub mod gdt;
pub mod image;
pub mod interrupts;
pub mod paging;
pub mod pc;
pub mod pvh;
pub mod report;
pub mod serial;

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};

/// Turns on what the page tables rely on: no-execute, write protection of the kernel itself, and
/// caching (a processor started by INIT has it off). Also makes machine checks exceptions, which are
/// reported; without that they stop the processor.
pub fn enable_protection() {
    // SAFETY: long mode stays on; no-execute only adds a meaning to a bit that is reserved so far,
    // and no page table in use has it set by accident.
    unsafe { Efer::update(|efer| efer.insert(EferFlags::NO_EXECUTE_ENABLE)) };
    // SAFETY: paging and protection stay on; write protection makes the kernel keep what its page
    // tables say, which is what it wants.
    unsafe {
        Cr0::update(|cr0| {
            cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR);
            cr0.remove(Cr0Flags::CACHE_DISABLE | Cr0Flags::NOT_WRITE_THROUGH);
        });
    }
    // SAFETY: every 64-bit processor has them, and there is a gate for them.
    unsafe { Cr4::update(|cr4| cr4.insert(Cr4Flags::MACHINE_CHECK_EXCEPTION)) };
}

/// The time stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: every 64-bit processor has it, and the kernel runs in ring 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}
