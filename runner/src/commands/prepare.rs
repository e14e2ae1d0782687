//! `runner setup` and `runner env`: everything a run or a build needs, found or made, and where it is.

use super::{Prepared, linux};
use crate::error::{Bytes, Result};
use crate::qemu::AccelChoice;
use crate::setup::{self, Cache, Flavour, Report, SetupError};

/// Sets up and tells. These kinds of Linux are wanted, too; `strict` is whether warnings of the modules'
/// build are errors.
///
/// # Errors
///
/// As [`Prepared::new`] and [`linux::Prepared::new`]; [`SetupError::Warnings`].
pub fn run(
    flavours: impl IntoIterator<Item = Flavour>,
    strict: bool,
    report: &dyn Report,
) -> Result<()> {
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
    anstream::println!("machine  {accel}");
    for flavour in flavours {
        let prepared = linux::Prepared::new(flavour, false, AccelChoice::Auto, report)?;
        let kernel = prepared.kernel;
        anstream::println!(
            "linux    {} ({}, {})",
            kernel.image.display(),
            kernel.release,
            kernel.found
        );
        anstream::println!("KDIR     {}", kernel.tree.display());
        for module in prepared.modules {
            anstream::println!("module   {}", module.display());
        }
        if strict && prepared.warnings > 0 {
            return Err(SetupError::Warnings(prepared.warnings).into());
        }
    }
    Ok(())
}

/// Prints commands for a shell that give it the environment for building modules by hand.
///
/// # Errors
///
/// [`crate::Error::Setup`].
pub fn environment(flavour: Flavour, report: &dyn Report) -> Result<()> {
    let kernel = setup::kernel(&Cache::open()?, flavour, report)?;
    for (name, value) in kernel.environment() {
        let value = value.to_string_lossy().replace('\'', "'\\''");
        anstream::println!("export {name}='{value}'");
    }
    Ok(())
}
