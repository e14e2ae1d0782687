//! The local APIC: its timer, and the end of every interrupt.

use super::interrupts::{SPURIOUS, TIMER};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use x86_64::registers::model_specific::Msr;

/// Ticks per second.
pub const FREQUENCY: u32 = 100;
/// How long the timer is watched to learn its frequency.
const CALIBRATION: Duration = Duration::from_millis(5);

const BASE_MSR: u32 = 0x1b;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Registers, as offsets in the APIC's page.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Register {
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    InterruptCommand = 0x300,
    Timer = 0x320,
    Lint0 = 0x350,
    Error = 0x370,
    InitialCount = 0x380,
    CurrentCount = 0x390,
    DivideConfiguration = 0x3e0,
}

const ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_16: u32 = 0b0011;
/// Interrupt command: fixed delivery, asserted, to the sender.
const TO_ITSELF: u32 = (1 << 18) | (1 << 14);

/// Where the registers are mapped; 0 while they are not.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Physical address of the APIC's registers; `None` if it is off or in a mode that has none.
pub fn physical_address() -> Option<u64> {
    let msr = Msr::new(BASE_MSR);
    // SAFETY: every 64-bit processor has this register.
    let base = unsafe { msr.read() };
    (base & BASE_ENABLED != 0 && base & BASE_X2APIC == 0).then_some(base & BASE_ADDRESS)
}

/// Starts the timer. Interrupts stay as they are. `elapsed` is the kernel's clock.
///
/// # Safety
///
/// The APIC's registers are mapped, uncached, at `registers` from now on.
pub unsafe fn start(registers: usize, elapsed: impl Fn() -> Duration) {
    // Release: pairs with the load in `write`; the mapping is made before the address is seen.
    REGISTERS.store(registers, Ordering::Release);
    write(Register::TaskPriority, 0);
    write(Register::Lint0, MASKED);
    write(Register::Error, MASKED);
    write(Register::SpuriousVector, ENABLE | u32::from(SPURIOUS));
    write(Register::DivideConfiguration, DIVIDE_BY_16);
    write(Register::Timer, MASKED | u32::from(TIMER));

    write(Register::InitialCount, u32::MAX);
    let start = elapsed();
    let passed = loop {
        let passed = elapsed().saturating_sub(start);
        if passed >= CALIBRATION {
            break passed;
        }
    };
    let counted = u32::MAX - read(Register::CurrentCount);
    let per_second = u128::from(counted) * 1_000_000_000 / passed.as_nanos().max(1);
    let period = u32::try_from(per_second / u128::from(FREQUENCY)).unwrap_or(u32::MAX);

    write(Register::Timer, PERIODIC | u32::from(TIMER));
    write(Register::InitialCount, period.max(1));
}

/// Tells the APIC that an interrupt was handled.
pub fn acknowledge() {
    write(Register::EndOfInterrupt, 0);
}

/// Sends an interrupt to this processor; `false` without an APIC.
pub fn interrupt_itself(vector: u8) -> bool {
    write(Register::InterruptCommand, TO_ITSELF | u32::from(vector));
    address(Register::InterruptCommand).is_some()
}

fn address(register: Register) -> Option<usize> {
    // Acquire: pairs with the store in `start`.
    let base = REGISTERS.load(Ordering::Acquire);
    (base != 0).then_some(base + register as usize)
}

fn write(register: Register, value: u32) {
    if let Some(address) = address(register) {
        let at = core::ptr::with_exposed_provenance_mut::<u32>(address);
        // SAFETY: a register of the APIC, mapped as `start`'s caller promised.
        unsafe { at.write_volatile(value) };
    }
}

fn read(register: Register) -> u32 {
    match address(register) {
        Some(address) => {
            let at = core::ptr::with_exposed_provenance::<u32>(address);
            // SAFETY: a register of the APIC, mapped as `start`'s caller promised.
            unsafe { at.read_volatile() }
        }
        None => 0,
    }
}
