//! The kernel's end of the mailbox, if another kernel started this one.
//!
//! Nothing here takes a lock: whatever the kernel was doing, a report gets through. There is one
//! processor, and no interrupt handler writes to the console, so the counts have one user.

use super::arch;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use daxfs::format::mailbox::{Progress, SIZE};
use daxfs::{MappedRange, Region};
use daxfs_guest::mailbox::{self, Consumer, INPUT, OUTPUT, Producer};

/// Where the mailbox is mapped; 0 while there is none.
static ADDRESS: AtomicU64 = AtomicU64::new(0);
/// Bytes put into the ring of the console's output.
static PRODUCED: AtomicU64 = AtomicU64::new(0);
/// Bytes taken out of the ring of the console's input.
static CONSUMED: AtomicU64 = AtomicU64::new(0);
/// Up to when the last wait for a reader was in vain: the count that reader had.
static GIVEN_UP_AT: AtomicU64 = AtomicU64::new(u64::MAX);

/// How long a full ring is waited for while its reader does nothing, in cycles: a fraction of a
/// second. After that, what does not fit is lost until the reader moves.
const PATIENCE: u64 = 500_000_000;

/// Uses the mailbox at `address` from now on; returns whether there is one.
///
/// # Safety
///
/// The mailbox is mapped and writable there until this is called again, and nobody has a Rust
/// reference to it.
pub unsafe fn open(address: u64) -> bool {
    // SAFETY: the caller's condition.
    let found = unsafe { region_at(address) }.is_some_and(|region| mailbox::is_mailbox(&region));
    // Relaxed, here and below: one processor.
    ADDRESS.store(if found { address } else { 0 }, Ordering::Relaxed);
    found
}

/// # Safety
///
/// As [`open`], for as long as the region lives.
unsafe fn region_at(address: u64) -> Option<Region<MappedRange>> {
    let start = NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))?;
    // SAFETY: the caller's condition.
    Some(Region::new(unsafe { MappedRange::new(start, SIZE as usize) }))
}

fn region() -> Option<Region<MappedRange>> {
    // SAFETY: `open` was promised that it stays mapped until another address is set.
    unsafe { region_at(ADDRESS.load(Ordering::Relaxed)) }
}

/// Says how far this kernel is.
pub fn set_progress(progress: Progress) {
    if let Some(region) = region() {
        // It is in bounds.
        let _ = mailbox::set_progress(&region, progress);
    }
}

/// Says how often the timer has ticked.
pub fn set_ticks(ticks: u64) {
    if let Some(region) = region() {
        // It is in bounds.
        let _ = mailbox::set_ticks(&region, ticks);
    }
}

/// Puts text into the ring of the console's output. If the ring stays full, the rest is lost.
pub fn write(mut text: &[u8]) {
    let Some(region) = region() else { return };
    let mut producer = Producer::new(OUTPUT, PRODUCED.load(Ordering::Relaxed));
    let mut since = arch::tsc();
    while !text.is_empty() {
        // It is in bounds.
        let put = producer.put(&region, text).unwrap_or(0);
        text = text.get(put..).unwrap_or(&[]);
        if put > 0 {
            since = arch::tsc();
            GIVEN_UP_AT.store(u64::MAX, Ordering::Relaxed);
        } else {
            let given_up = GIVEN_UP_AT.load(Ordering::Relaxed) == producer.produced();
            if given_up || arch::tsc().wrapping_sub(since) > PATIENCE {
                GIVEN_UP_AT.store(producer.produced(), Ordering::Relaxed);
                break;
            }
            core::hint::spin_loop();
        }
    }
    PRODUCED.store(producer.produced(), Ordering::Relaxed);
}

/// The next byte typed at the console.
pub fn read() -> Option<u8> {
    let region = region()?;
    let mut consumer = Consumer::new(INPUT, CONSUMED.load(Ordering::Relaxed));
    let mut byte = [0];
    let taken = consumer.take(&region, &mut byte).unwrap_or(0);
    CONSUMED.store(consumer.consumed(), Ordering::Relaxed);
    (taken == 1).then_some(byte[0])
}
