//! What the shell asks of the kernel it runs in.

use core::time::Duration;
use daxfs::{RegionOffset, Timestamp};

/// Where the shared range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedRange {
    /// Physical address of its first byte.
    pub phys: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// What a mapping permits besides reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    /// Stores are allowed.
    pub write: bool,
    /// Instructions may be fetched.
    pub execute: bool,
}

/// A run of pages that are mapped alike, as the page tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Address of its first byte.
    pub virt: u64,
    /// Physical address of its first byte.
    pub phys: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What it permits.
    pub protection: Protection,
    /// What is there.
    pub name: &'static str,
}

/// The kernel's own memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Memory {
    /// Bytes of the heap.
    pub heap_size: u64,
    /// Bytes of the heap in use.
    pub heap_used: u64,
    /// Bytes of page tables in use.
    pub tables_used: u64,
    /// Bytes set aside for page tables.
    pub tables_size: u64,
    /// Bytes of the stack.
    pub stack_size: u64,
}

/// Interrupts taken since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interrupts {
    /// From the timer.
    pub ticks: u64,
    /// From anything else; none is expected.
    pub stray: u64,
}

/// Ways to bring the kernel down, to see how it says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Read from an address where nothing is mapped.
    PageFault,
    /// Store to address 0.
    Null,
    /// Execute an undefined instruction.
    InvalidOpcode,
    /// Divide by zero.
    Divide,
    /// Panic.
    Panic,
    /// Store into the shared base image at this place.
    WriteBase(RegionOffset),
    /// Execute what lies in the shared range at this place.
    ExecuteShared(RegionOffset),
    /// Use more stack than there is.
    Stack,
}

/// The kernel, as the shell sees it.
pub trait System: 'static {
    /// Takes bytes that a command prints. Nothing is added, changed or left out.
    fn output(&mut self, bytes: &[u8]);

    /// Takes bytes of a message to whoever operates the machine.
    fn message(&mut self, bytes: &[u8]);

    /// Whether the operator asked for the running command to end, since the last call.
    fn interrupted(&mut self) -> bool;

    /// Time since the start; never goes back.
    fn uptime(&self) -> Duration;

    /// A counter that goes up evenly and fast, and that all processors of a machine share.
    fn counter(&self) -> u64;

    /// The time of day, as far as known.
    fn now(&self) -> Timestamp;

    /// Interrupts taken.
    fn interrupts(&self) -> Interrupts;

    /// Raises an interrupt that nobody expects, as another kernel on the machine might; it arrives
    /// soon. Returns whether there is a way to do that.
    fn raise_stray_interrupt(&mut self) -> bool;

    /// The kernel's own memory.
    fn memory(&self) -> Memory;

    /// The shared range.
    fn shared(&self) -> SharedRange;

    /// What the page tables permit at an offset of the shared range; `None` where nothing is
    /// mapped.
    fn shared_protection(&self, at: RegionOffset) -> Option<Protection>;

    /// Calls `emit` for every run of pages that is mapped, by ascending address.
    fn mappings(&self, emit: &mut dyn FnMut(&Mapping));

    /// Brings the kernel down. Returns only where there is no kernel to bring down.
    fn crash(&mut self, how: Crash);
}
