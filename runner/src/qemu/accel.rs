//! What executes the guest's instructions: KVM where it works, else QEMU's emulator.
//!
//! A `/dev/kvm` that opens proves nothing: guests may hang, or QEMU may give up. So the guest kernel
//! is started once for a bounded time, with a script that leaves at once; the verdict is remembered
//! until the machine boots again.

use super::machine::{Console, Machine};
use super::process::{Ended, Process, Signals};
use crate::error::Result;
use crate::image::Image;
use crate::memory::SharedMemory;
use crate::setup::{Cache, Guest, Qemu, Report};
use daxfs_format::handover::ExitStatus;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// How long the trial may take.
const TRIAL: Duration = Duration::from_secs(5);

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
}

/// What is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The kernel's virtual machines.
    Kvm,
    /// QEMU's emulator.
    Tcg,
}

impl AccelChoice {
    /// Decides; tries KVM if that has not been done since this machine was booted.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Build`], [`crate::Error::File`]: the trial needs a small image.
    pub fn decide(
        self,
        cache: &Cache,
        qemu: &Qemu,
        guest: &Guest,
        report: &dyn Report,
    ) -> Result<Accel> {
        match self {
            Self::Kvm => Ok(Accel::Kvm),
            Self::Tcg => Ok(Accel::Tcg),
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
                let accel = if kvm_works(qemu, guest)? { Accel::Kvm } else { Accel::Tcg };
                let word = match accel {
                    Accel::Kvm => "kvm",
                    Accel::Tcg => {
                        report.step("/dev/kvm is there but does not work: using QEMU's emulator");
                        "tcg"
                    }
                };
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

/// Whether the guest kernel gets through a script under KVM.
fn kvm_works(qemu: &Qemu, guest: &Guest) -> Result<bool> {
    let image = Image::demo(2 << 20)?;
    let memory = SharedMemory::copy_of(image.path(), None)?;
    let failed = |reason| crate::Error::System { action: "make a temporary file", reason };
    let mut script = tempfile::NamedTempFile::new().map_err(failed)?;
    script.write_all(b"halt 0\n").map_err(failed)?;
    let machine = Machine {
        qemu,
        accel: Accel::Kvm,
        guest,
        memory: &memory,
        options: "ro,exclusive",
        script: Some(script.path()),
        console: Console::Messages,
        own_mib: 64,
    };
    let mut command = machine.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut process) = Process::start(command) else { return Ok(false) };
    Ok(match process.wait(&Signals::ignored(), Some(TRIAL))? {
        Ended::Left(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.and_then(ExitStatus::from_qemu) == Some(ExitStatus::Shell(0))
        }
        Ended::TimedOut | Ended::Signal(_) => false,
    })
}
