//! The old devices of a PC: interrupt controller, interval timer, real-time clock. They belong to
//! whoever owns the machine; a kernel started beside another one leaves them alone.

use super::tsc;
use time::{Date, Month, PrimitiveDateTime, Time};
use x86_64::instructions::port::Port;

/// Frequency of the interval timer.
const PIT_HZ: u64 = 1_193_182;
/// Ticks of it in one measurement: about 5 ms.
const PIT_TICKS: u16 = 5966;
/// Measurements; the shortest is the one nothing came between.
const MEASUREMENTS: usize = 3;
/// Bound on waiting for a device that may not exist.
const PATIENCE: u32 = 1_000_000;

const PIC_DATA: [u16; 2] = [0x21, 0xa1];
const PIC_COMMAND: [u16; 2] = [0x20, 0xa0];
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
const PIT_CONTROL: u16 = 0x61;
const RTC_INDEX: u16 = 0x70;
const RTC_DATA: u16 = 0x71;

fn write(port: u16, value: u8) {
    // SAFETY: a port of one of this module's devices, which are this kernel's; none of them
    // accesses memory.
    unsafe { Port::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: as in `write`.
    unsafe { Port::new(port).read() }
}

/// Silences the interrupt controllers; all interrupts come through the APIC. Their vectors are
/// moved out of the exceptions' way first: one that is withdrawn is delivered all the same.
pub fn mask_pic() {
    const FIRST_VECTOR: [u8; 2] = [0xe0, 0xe8];
    const WIRING: [u8; 2] = [1 << 2, 2];
    for chip in 0..2 {
        write(PIC_COMMAND[chip], 0x11);
        write(PIC_DATA[chip], FIRST_VECTOR[chip]);
        write(PIC_DATA[chip], WIRING[chip]);
        write(PIC_DATA[chip], 0x01);
        write(PIC_DATA[chip], 0xff);
    }
}

/// The time stamp counter's frequency in kHz, measured with the interval timer; `None` without one.
pub fn measure_tsc_khz() -> Option<u64> {
    const GATE: u8 = 1;
    const SPEAKER: u8 = 2;
    const OUTPUT: u8 = 1 << 5;
    let control = read(PIT_CONTROL);
    let mut best = None;
    for _ in 0..MEASUREMENTS {
        write(PIT_CONTROL, control & !(GATE | SPEAKER));
        // Channel 2, both bytes, mode 0: the output rises when the count is over.
        write(PIT_COMMAND, 0b1011_0000);
        let [low, high] = PIT_TICKS.to_le_bytes();
        write(PIT_CHANNEL_2, low);
        write(PIT_CHANNEL_2, high);
        write(PIT_CONTROL, (control & !SPEAKER) | GATE);
        let start = tsc();
        if read(PIT_CONTROL) & OUTPUT != 0 {
            // Nothing counts there.
            return None;
        }
        let over = (0..PATIENCE).any(|_| read(PIT_CONTROL) & OUTPUT != 0);
        let cycles = tsc().wrapping_sub(start);
        if !over {
            return None;
        }
        best = Some(best.map_or(cycles, |best: u64| best.min(cycles)));
    }
    write(PIT_CONTROL, control);
    best.map(|cycles| cycles * PIT_HZ / u64::from(PIT_TICKS) / 1000).filter(|&khz| khz > 0)
}

/// The real-time clock, as seconds since the epoch; `None` without one, or if it talks nonsense.
/// It is taken to run on UTC.
pub fn read_clock() -> Option<i64> {
    // A reading that an update came between differs from the next one.
    let mut last = read_clock_once()?;
    for _ in 0..10 {
        let now = read_clock_once()?;
        if now == last {
            return Some(now);
        }
        last = now;
    }
    None
}

fn read_clock_once() -> Option<i64> {
    const UPDATING: u8 = 1 << 7;
    const BINARY: u8 = 1 << 2;
    const HOURS_24: u8 = 1 << 1;
    const PM: u8 = 1 << 7;
    let register = |index: u8| {
        write(RTC_INDEX, index);
        read(RTC_DATA)
    };
    if !(0..PATIENCE / 100).any(|_| register(0x0a) & UPDATING == 0) {
        return None;
    }
    let format = register(0x0b);
    let number = |raw: u8| {
        if format & BINARY != 0 { raw } else { (raw >> 4) * 10 + (raw & 0xf) }
    };
    let second = number(register(0x00));
    let minute = number(register(0x02));
    let raw_hour = register(0x04);
    let hour = if format & HOURS_24 != 0 {
        number(raw_hour)
    } else {
        number(raw_hour & !PM) % 12 + if raw_hour & PM != 0 { 12 } else { 0 }
    };
    let month = Month::try_from(number(register(0x08))).ok()?;
    // The clock has two digits of the year; this program is not older than 2000.
    let year = 2000 + i32::from(number(register(0x09)));
    let date = Date::from_calendar_date(year, month, number(register(0x07))).ok()?;
    let time = Time::from_hms(hour, minute, second).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}
