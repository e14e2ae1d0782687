//! What the subcommands do.

pub mod bench;
pub mod demo;
pub mod guest;
pub mod kernels;
pub mod linux;
pub mod multikernel;
pub mod options;
pub mod pool;
pub mod prepare;
pub mod soak;
pub mod takeover;

use crate::error::Result;
use crate::guest::Run;
use crate::image::Image;
use crate::memory::SharedMemory;
use crate::qemu::{Accel, AccelChoice, accel};
use crate::setup::{self, Cache, Guest, Qemu, Report};

/// Everything a machine with the guest kernel needs that does not depend on its image.
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
        let accel = accel.decide(&cache, &qemu, || kvm_runs(&qemu, &guest), report)?;
        Ok(Self { qemu, guest, accel })
    }
}

/// Whether the guest kernel runs under KVM.
fn kvm_runs(qemu: &Qemu, guest: &Guest) -> Result<bool> {
    let image = Image::demo(2 << 20)?;
    let memory = SharedMemory::copy_of(image.path(), None)?;
    let run = Run {
        qemu,
        accel: Accel::Kvm,
        guest,
        memory: &memory,
        options: "ro,exclusive",
        own_mib: 64,
        timeout: Some(accel::TRIAL),
        verbose: false,
        quiet: true,
    };
    run.works()
}
