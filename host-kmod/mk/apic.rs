// SPDX-License-Identifier: GPL-2.0

//! The interrupts that reset and start another processor, sent through the local APIC's registers in
//! memory (xAPIC). In x2APIC mode there are none, and the module refuses to load.

use crate::helpers;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;

/// Interrupt command register: target.
const TARGET: usize = 0x310;
/// Interrupt command register: what to send; writing it sends.
const COMMAND: usize = 0x300;
/// Bit of [`COMMAND`]: not sent yet.
const PENDING: u32 = 1 << 12;
/// INIT, asserted.
const INIT: u32 = 0x4500;
/// Start-up, asserted; the lowest byte is the page to start at.
const STARTUP: u32 = 0x4600;
/// Most looks at [`PENDING`].
const PATIENCE: u32 = 1_000_000;

/// Identity of a processor, as its APIC knows it. Fits a byte, and is not the broadcast address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApicId(u8);

impl ApicId {
    /// The identity of a processor that Linux knows.
    pub(crate) fn of(cpu: u32) -> Option<Self> {
        // SAFETY: it only asks; the caller's number is of a processor that is present.
        let id = unsafe { helpers::daxfs_mk_apic_id(cpu) };
        u8::try_from(id).ok().filter(|&id| id != u8::MAX).map(Self)
    }
}

/// The local APIC of whatever processor this runs on.
///
/// # Invariants
///
/// The page of the registers is mapped, uncached.
pub(crate) struct Apic(NonNull<u8>);

// SAFETY: the registers are mapped everywhere; each processor sees its own.
unsafe impl Send for Apic {}

impl Apic {
    /// Maps the registers.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: it only asks.
        if unsafe { helpers::daxfs_mk_x2apic() } {
            pr_err!("the APICs are in x2APIC mode, which is not supported: boot with nox2apic\n");
            return Err(EOPNOTSUPP);
        }
        // SAFETY: the registers are there, and Linux has them mapped uncached as well.
        let at = unsafe { helpers::daxfs_mk_map_apic() };
        Ok(Self(NonNull::new(at.cast()).ok_or(ENOMEM)?))
    }

    /// Resets a processor: it does nothing until it is started.
    pub(crate) fn reset(&self, target: ApicId) -> Result {
        self.send(target, INIT)
    }

    /// Starts a processor that was reset, at a page below 1 MiB.
    pub(crate) fn start(&self, target: ApicId, page: u8) -> Result {
        self.send(target, STARTUP | u32::from(page))
    }

    /// `EIO` if it does not go out.
    fn send(&self, target: ApicId, command: u32) -> Result {
        // Linux sends from interrupt handlers too, and the command takes two writes.
        // SAFETY: restored below.
        let flags = unsafe { helpers::daxfs_mk_irq_save() };
        let mut sent = self.is_idle();
        if sent {
            self.write(TARGET, u32::from(target.0) << 24);
            self.write(COMMAND, command);
            sent = self.is_idle();
        }
        // SAFETY: saved above, by this processor.
        unsafe { helpers::daxfs_mk_irq_restore(flags) };
        if sent {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    fn is_idle(&self) -> bool {
        (0..PATIENCE).any(|_| self.read(COMMAND) & PENDING == 0)
    }

    fn register(&self, register: usize) -> *mut u32 {
        self.0.as_ptr().wrapping_add(register).cast()
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a register in the page that is mapped (type invariant).
        unsafe { self.register(register).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: a register in the page that is mapped (type invariant); the two that are written
        // only have an effect on the processor they name.
        unsafe { self.register(register).write_volatile(value) };
    }
}

impl Drop for Apic {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and not used any more.
        unsafe { bindings::iounmap(self.0.as_ptr().cast()) };
    }
}
