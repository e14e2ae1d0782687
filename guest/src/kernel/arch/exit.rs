//! Leaving: how a kernel that is done, or cannot go on, says so.

use super::serial;
use crate::kernel::mailbox;
use core::sync::atomic::{AtomicBool, Ordering};
use daxfs::format::handover::{EXIT_PORT, ExitStatus};
use daxfs::format::mailbox::Progress;
use x86_64::instructions::{hlt, interrupts, port::Port};

/// Whether the machine is this kernel's to end. While nobody has said so, it is another's.
static OWNS_MACHINE: AtomicBool = AtomicBool::new(false);

/// Says that no other kernel runs on the machine.
pub fn machine_is_ours() {
    // Relaxed: one processor.
    OWNS_MACHINE.store(true, Ordering::Relaxed);
}

/// Ends the kernel with `status`. Without an exit device, or on a machine that is not this kernel's
/// to end, the processor stops for good.
pub fn exit(status: ExitStatus) -> ! {
    interrupts::disable();
    serial::drain();
    mailbox::set_progress(Progress::Ended(status));
    // Relaxed: one processor.
    if OWNS_MACHINE.load(Ordering::Relaxed) {
        let mut port = Port::new(EXIT_PORT);
        // SAFETY: QEMU's exit device, if it is there; nothing else decodes the port on a PC.
        unsafe { port.write(u32::from(status.to_port())) };
    }
    loop {
        hlt();
    }
}
