//! What executes the guest's instructions: KVM where it works, else QEMU's emulator.
//!
//! A `/dev/kvm` that opens proves nothing: guests may hang, or QEMU may give up. So a kernel is
//! started once for a bounded time, and has to leave by itself; the verdict is remembered until the
//! machine boots again.

use crate::error::Result;
use crate::setup::{Cache, Qemu, Report};
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, fs};

/// How long a trial may take.
pub const TRIAL: Duration = Duration::from_secs(5);

/// What the user wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum)]
pub enum AccelChoice {
    /// KVM if it works, else the emulator.
    #[default]
    Auto,
    /// KVM, come what may.
    Kvm,
    /// The emulator.
    Tcg,
    /// The emulator with one processor, whose clock counts instructions: measurements can be repeated
    /// to the digit. Not for several kernels at once: its atomic operations are not.
    Icount,
}

/// What is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The kernel's virtual machines.
    Kvm,
    /// QEMU's emulator.
    Tcg,
    /// QEMU's emulator, counting instructions.
    Icount,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "QEMU's emulator",
            Self::Icount => "QEMU's emulator, counting instructions",
        })
    }
}

impl AccelChoice {
    /// Decides; tries KVM if that has not been done since this machine was booted. `trial` starts a
    /// kernel under KVM, for [`TRIAL`] at most, and says whether it got through.
    ///
    /// # Errors
    ///
    /// What `trial` returns.
    pub fn decide(
        self,
        cache: &Cache,
        qemu: &Qemu,
        trial: impl FnOnce() -> Result<bool>,
        report: &dyn Report,
    ) -> Result<Accel> {
        match self {
            Self::Kvm => Ok(Accel::Kvm),
            Self::Tcg => Ok(Accel::Tcg),
            Self::Icount => Ok(Accel::Icount),
            Self::Auto => {
                if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
                    return Ok(Accel::Tcg);
                }
                let verdict = verdict_file(cache, qemu);
                match fs::read_to_string(&verdict).as_deref() {
                    Ok("kvm") => return Ok(Accel::Kvm),
                    Ok("tcg") => return Ok(Accel::Tcg),
                    _ => {}
                }
                report.step("trying whether KVM works");
                let (accel, word) =
                    if trial()? { (Accel::Kvm, "kvm") } else { (Accel::Tcg, "tcg") };
                if accel == Accel::Tcg {
                    report.step("/dev/kvm is there but does not work: using QEMU's emulator");
                }
                // Without a place to remember it, it is tried again.
                let _ = fs::write(&verdict, word);
                Ok(accel)
            }
        }
    }
}

/// Where the verdict for this boot and this QEMU is kept.
fn verdict_file(cache: &Cache, qemu: &Qemu) -> PathBuf {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let text = format!("kvm-{}-{}", boot.trim(), qemu.version);
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    cache.path().join(name)
}
