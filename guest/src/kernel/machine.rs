//! What the shell asks of the kernel.

use super::arch::{self, apic, interrupts, serial};
use super::{clock, memory};
use core::arch::asm;
use core::hint::black_box;
use core::time::Duration;
use daxfs::{RegionOffset, Timestamp};
use daxfs_guest::{Crash, Interrupts, Mapping, Memory, Protection, SharedRange, System};

/// An address where nothing is mapped.
const NOWHERE: u64 = 0x0000_4444_dead_0000;

/// A vector that is nobody's here; Linux broadcasts on it.
const STRAY_VECTOR: u8 = 0xfc;

/// The machine this kernel runs on.
pub struct Machine {
    /// Where the shared range is.
    pub shared: SharedRange,
}

impl System for Machine {
    fn output(&mut self, bytes: &[u8]) {
        serial::write_output(bytes);
    }

    fn message(&mut self, bytes: &[u8]) {
        serial::write_console(bytes);
    }

    fn interrupted(&mut self) -> bool {
        serial::interrupted()
    }

    fn uptime(&self) -> Duration {
        clock::uptime()
    }

    fn counter(&self) -> u64 {
        arch::tsc()
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn interrupts(&self) -> Interrupts {
        interrupts::counts()
    }

    fn raise_stray_interrupt(&mut self) -> bool {
        apic::interrupt_itself(STRAY_VECTOR)
    }

    fn memory(&self) -> Memory {
        memory::usage()
    }

    fn shared(&self) -> SharedRange {
        self.shared
    }

    fn shared_protection(&self, at: RegionOffset) -> Option<Protection> {
        memory::shared_protection(at)
    }

    fn mappings(&self, emit: &mut dyn FnMut(&Mapping)) {
        memory::mappings(emit);
    }

    fn crash(&mut self, how: Crash) {
        match how {
            Crash::PageFault => load(NOWHERE),
            Crash::Null => store(0),
            Crash::InvalidOpcode => {
                // SAFETY: raises an exception, which ends the kernel.
                unsafe { asm!("ud2") }
            }
            Crash::Divide => {
                // SAFETY: raises an exception, which ends the kernel.
                unsafe { asm!("div {0:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) }
            }
            Crash::Panic => panic!("asked for by `crash panic`"),
            Crash::WriteBase(at) => memory::shared_address(at).into_iter().for_each(store),
            Crash::ExecuteShared(at) => memory::shared_address(at).into_iter().for_each(execute),
            Crash::Stack => {
                dive(0);
            }
        }
    }
}

/// Reads a byte where none may be.
fn load(address: u64) {
    // SAFETY: raises a page fault, which ends the kernel; otherwise a byte is read for nothing.
    unsafe { asm!("mov {0}, byte ptr [{1}]", out(reg_byte) _, in(reg) address) };
}

/// Stores a byte where none may be.
fn store(address: u64) {
    // SAFETY: raises a page fault, which ends the kernel, wherever the page tables are as they
    // should be; that is what the caller wants to see.
    unsafe { asm!("mov byte ptr [{0}], 0", in(reg) address) };
}

/// Executes what is not code.
fn execute(address: u64) {
    // SAFETY: raises a page fault, which ends the kernel, wherever the page tables are as they
    // should be; that is what the caller wants to see.
    unsafe { asm!("call {0}", in(reg) address, clobber_abi("C")) };
}

/// Uses up the stack.
#[expect(unconditional_recursion, reason = "that is what uses up the stack")]
fn dive(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    dive(depth + 1) + black_box(frame)[3]
}
