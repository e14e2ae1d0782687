//! `daxfs-mk`: loads, starts, watches and stops kernels on processors and memory that Linux has given up.
//!
//! Everything that needs no privilege is here: reading the ELF file, making page tables, `BootInfo` and
//! the handover record, in memory that `daxfs_mk.ko` lends. The module checks what comes out of it and
//! does the rest. See docs/multikernel.md.
//!
//! | module | what it owns |
//! |---|---|
//! | [`args`] | the command line |
//! | [`commands`] | what the commands do |
//! | [`device`] | `/dev/daxfs_mk` |
//! | [`layout`] | what lies where in a place |
//! | [`load`] | putting a kernel into a place |
//! | [`elf`] | the kernel's image |
//! | [`page_tables`] | the page tables that it starts with |
//! | [`boot_info`] | the `BootInfo` that it is passed |
//! | [`console`] | the rings of its mailbox |
//! | [`record`] | what was loaded where, from one command to the next |
//! | [`members`] | confirming its death to the other kernels |
//! | [`processors`] | Linux's processors, going and coming |
//! | [`error`] | what can go wrong |

#![deny(unsafe_code)]

mod args;
mod boot_info;
mod commands;
mod console;
#[allow(unsafe_code, reason = "ioctls")]
mod device;
mod elf;
mod error;
mod layout;
mod load;
mod members;
mod page_tables;
mod processors;
mod record;

use args::Arguments;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("daxfs-mk: {error}");
            ExitCode::from(error.status())
        }
    }
}
