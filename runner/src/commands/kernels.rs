//! Kernels in machines of their own: what they need is set up once, and then they are started as often as
//! a story wants.

use super::Prepared;
use super::linux;
use crate::error::{Error, Result};
use crate::guest;
use crate::linux::{Beside, Parts, Run, System};
use crate::memory::SharedMemory;
use crate::multikernel::host::Host;
use crate::multikernel::kernel::{Kernel, Kind};
use crate::qemu::{Accel, AccelChoice, Shape};
use crate::setup::{Flavour, Report};

/// MiB of a guest's own memory.
const GUEST_MIB: u32 = 64;
/// MiB of Linux's own memory.
const LINUX_MIB: u32 = 384;

/// Starts kernels.
#[derive(Debug)]
pub struct Kernels {
    guest: Option<Prepared>,
    linux: Option<(linux::Prepared, System)>,
    verbose: bool,
}

impl Kernels {
    /// Sets up what kernels of these kinds need.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`], [`Error::Usage`] for an emulator that counts instructions: its processor is the
    /// only one in its world, and its exchanges are not atomic towards others.
    pub fn new(
        kinds: &[Kind],
        accel: AccelChoice,
        verbose: bool,
        report: &dyn Report,
    ) -> Result<Self> {
        let mut kernels = Self { guest: None, linux: None, verbose };
        if kinds.contains(&Kind::Guest) {
            kernels.guest = Some(Prepared::new(accel, report)?);
        }
        if kinds.contains(&Kind::Linux) {
            let prepared = linux::Prepared::new(Flavour::Plain, false, accel, report)?;
            let system = System::new(&Parts {
                busybox: &prepared.programs.busybox,
                tools: &prepared.programs.tools,
                modules: &prepared.modules,
                packages: &[],
                additions: &[],
            })?;
            kernels.linux = Some((prepared, system));
        }
        let chosen = [
            kernels.guest.as_ref().map(|prepared| prepared.accel),
            kernels.linux.as_ref().map(|(prepared, _)| prepared.accel),
        ];
        if chosen.contains(&Some(Accel::Icount)) {
            return Err(Error::Usage("--accel icount does not share memory with others".into()));
        }
        Ok(kernels)
    }

    /// Starts one. It is not waited for, but for Linux's first process. A guest will mount with `options`.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for a kind that was not set up, and those of [`Kernel::guest`] and
    /// [`Kernel::linux`].
    pub fn start(
        &self,
        kind: Kind,
        name: &str,
        memory: &SharedMemory,
        options: &str,
    ) -> Result<Host> {
        let kernel = match (kind, &self.guest, &self.linux) {
            (Kind::Guest, Some(prepared), _) => {
                let run = guest::Run {
                    qemu: &prepared.qemu,
                    accel: prepared.accel,
                    guest: &prepared.guest,
                    memory,
                    options,
                    own_mib: GUEST_MIB,
                    timeout: None,
                    verbose: self.verbose,
                    quiet: true,
                };
                Kernel::guest(&run, name)?
            }
            (Kind::Linux, _, Some((prepared, system))) => {
                let run = Run {
                    qemu: &prepared.qemu,
                    shape: Shape::new(prepared.accel, 1, LINUX_MIB),
                    kernel: &prepared.kernel.image,
                    system,
                    memory,
                    root: None,
                    beside: Beside::default(),
                    append: "",
                    timeout: None,
                    verbose: self.verbose,
                    log: None,
                };
                Kernel::linux(&run, name)?
            }
            _ => return Err(Error::Usage(format!("{kind} kernels are not set up"))),
        };
        Ok(Host::new(kernel))
    }
}
