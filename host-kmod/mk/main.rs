// SPDX-License-Identifier: GPL-2.0

//! Starts and stops kernels on processors and memory that Linux does not use.
//!
//! What needs privilege is here, and nothing else: `daxfs-mk` in user space reads the ELF file, makes
//! page tables and everything else that a kernel finds in its memory. See docs/multikernel.md.
//!
//! | module | what it owns |
//! |---|---|
//! | [`device`] | `/dev/daxfs_mk`: ioctls and mappings |
//! | [`machine`] | which kernel runs where; starting and stopping |
//! | [`place`] | physical ranges for kernels |
//! | [`tables`] | checking the page tables that a kernel starts with |
//! | [`low`] | the page that a processor starts from |
//! | [`apic`] | interrupts that reset and start processors |
//!
//! # Locking
//!
//! One mutex around [`machine::Machine`]; inside of it the kernel's lock against processors coming and
//! going. The callback that keeps Linux from using a processor reads [`machine::TAKEN`] without a lock.

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "registers of the APIC")]
mod apic;
#[allow(unsafe_code, reason = "maps memory into processes")]
mod device;
#[allow(unsafe_code, reason = "declares what is in C")]
mod helpers;
#[allow(unsafe_code, reason = "raw access to low memory")]
mod low;
#[allow(unsafe_code, reason = "the kernel's processors")]
mod machine;
#[allow(unsafe_code, reason = "raw access to the ranges")]
mod place;
mod tables;

use kernel::miscdevice::{MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;

module! {
    type: MultikernelModule,
    name: "daxfs_mk",
    authors: ["The DAXFS authors"],
    description: "Starts kernels beside Linux",
    license: "GPL",
}

/// Fields are dropped in this order: the device goes first.
#[pin_data]
struct MultikernelModule {
    #[pin]
    _device: MiscDeviceRegistration<device::Device>,
    _machine: machine::Installed,
}

impl kernel::InPlaceModule for MultikernelModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _machine: machine::Installed::new(module)?,
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"daxfs_mk" }),
        })
    }
}
