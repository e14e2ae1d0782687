//! `runner setup`: everything a run needs, found or made, and where it is.

use super::Prepared;
use crate::error::{Bytes, Result};
use crate::qemu::{Accel, AccelChoice};
use crate::setup::{self, Cache, Report};

/// Sets up and tells.
///
/// # Errors
///
/// As [`Prepared::new`].
pub fn run(report: &dyn Report) -> Result<()> {
    let cache = Cache::open()?;
    let target = setup::bare_metal_target(&cache, report)?;
    let Prepared { qemu, guest, accel } = Prepared::new(AccelChoice::Auto, report)?;
    anstream::println!("cache    {}", cache.path().display());
    anstream::println!(
        "qemu     {} ({}, version {})",
        qemu.program.display(),
        qemu.found,
        qemu.version
    );
    anstream::println!("target   x86_64-unknown-none ({})", target.found);
    anstream::println!("guest    {} ({})", guest.elf.display(), Bytes(guest.bytes));
    let accel = match accel {
        Accel::Kvm => "KVM",
        Accel::Tcg => "QEMU's emulator (TCG)",
    };
    anstream::println!("machine  {accel}");
    Ok(())
}
