//! Runs the guest kernel and Linux: sets up what is missing on this machine, makes images, starts QEMU.
//!
//! The binary is a thin layer over this library, which the integration tests use as well.
//!
//! # Module structure
//!
//! | module | what it owns |
//! |---|---|
//! | [`setup`] | QEMU, toolchains, kernels, modules, tools: found or made, cached |
//! | [`image`] | images from directories and files |
//! | [`memory`] | the shared memory file a machine gets |
//! | [`qemu`] | the command line, the process, the accelerator |
//! | [`guest`] | one run of the guest kernel |
//! | [`linux`] | one run of Linux: its first file system, its log |
//! | [`multikernel`] | stories of several kernels on one range, and their proof |
//! | [`story`] | steps that are told while kernels live them, and checked |
//! | [`mod@bench`] | measurements in Linux: what is measured, the table |
//! | [`streams`], [`terminal`] | what comes out of a machine, and the terminal it is given |
//! | [`commands`] | what the subcommands do |
//! | [`console`] | how the runner talks |
//! | [`error`] | what can go wrong, and the exit status for it |

#![forbid(unsafe_code)]

pub mod bench;
pub mod commands;
pub mod console;
pub mod error;
pub mod guest;
pub mod image;
pub mod linux;
pub mod memory;
pub mod multikernel;
pub mod qemu;
pub mod setup;
pub mod story;
pub mod streams;
pub mod terminal;

pub use error::Error;
