//! What the subcommands do.

pub mod demo;
pub mod guest;
pub mod prepare;

use crate::error::Result;
use crate::qemu::{Accel, AccelChoice};
use crate::setup::{self, Cache, Guest, Qemu, Report};

/// Everything a machine needs that does not depend on its image.
#[derive(Debug)]
pub struct Prepared {
    /// The QEMU to use.
    pub qemu: Qemu,
    /// The kernel.
    pub guest: Guest,
    /// What executes instructions.
    pub accel: Accel,
}

impl Prepared {
    /// Sets up what is missing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`], and those of [`AccelChoice::decide`].
    pub fn new(accel: AccelChoice, report: &dyn Report) -> Result<Self> {
        let cache = Cache::open()?;
        let qemu = setup::qemu(&cache, report)?;
        let guest = setup::guest(&cache, report)?;
        let accel = accel.decide(&cache, &qemu, &guest, report)?;
        Ok(Self { qemu, guest, accel })
    }
}
