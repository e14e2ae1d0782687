// SPDX-License-Identifier: GPL-2.0

//! DAXFS for Linux: a copy-on-write file system over memory that several kernels share.
//!
//! The file system itself is the `daxfs` crate, the same that other kernels and user tools use. The
//! `vfs` crate makes the kernel's VFS safe. What is here translates.
//!
//! | module | what it does |
//! |---|---|
//! | [`options`] | parameters of a mount |
//! | [`platform`] | what the engine asks of Linux |
//! | [`range`] | the shared range, and copies between it and processes |
//! | [`mount`] | a mount, and what the VFS asks of it |
//! | [`control`] | ioctls: branches |

#![deny(unsafe_code)]

mod control;
mod error;
mod mount;
mod options;
mod platform;
#[allow(unsafe_code, reason = "raw access to the range, for the engine and for processes")]
mod range;

use kernel::prelude::*;
use vfs::bad_memory::{Registry, Watcher};
use vfs::context::Registration;

module! {
    type: DaxfsModule,
    name: "daxfs",
    authors: ["The DAXFS authors"],
    description: "Copy-on-write file system for shared memory",
    license: "GPL",
    alias: ["fs-daxfs"],
    imports_ns: ["DMA_BUF"],
}

#[pin_data]
struct DaxfsModule {
    #[pin]
    _registration: Registration,
    // Behind the file system: it goes when nothing is mounted any more.
    _registry: Watcher<Registry>,
}

impl kernel::InPlaceModule for DaxfsModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        platform::choose_kernel_id();
        try_pin_init!(Self {
            // Before anything can be mounted.
            _registry: Registry::begin()?,
            _registration <- Registration::new::<mount::Daxfs>(module),
        })
    }
}
