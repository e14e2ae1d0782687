//! The portable half of the guest: everything that does not touch the processor.
//!
//! The shell works on any [`daxfs::Mount`] and asks the kernel for what it needs through
//! [`System`], so all of it is tested on the host. The kernel itself is the binary of this package.
//!
//! ```text
//!   main.rs        the kernel image               (target_os = "none")
//!     kernel/      boot, memory, interrupts, devices
//!   lib.rs
//!     shell        grammar and commands           over daxfs::Mount and System
//!     console      line editing
//!     handover     what the starter asked for
//!     mailbox      what a started kernel shares with its starter
//!     memory_map   physical memory not yet given away
//!     fill         reproducible file contents
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod console;
pub mod fill;
pub mod handover;
pub mod mailbox;
pub mod memory_map;
pub mod shell;
mod system;

pub use system::{Crash, Interrupts, Mapping, Memory, Protection, SharedRange, System};
