// SPDX-License-Identifier: GPL-2.0

//! Which kernel runs where; starting and stopping them.

use crate::apic::{Apic, ApicId};
use crate::helpers;
use crate::low::{Jump, LowPages};
use crate::place::{claim_all, Place};
use crate::tables::{self, Bounds, Problem, PAGE};
use daxfs_format::multikernel::{self as abi, NO_CPU};
use kernel::bindings;
use kernel::ffi::{c_int, c_uint};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::time::{delay::fsleep, Delta};

/// Most places.
const MOST_PLACES: usize = 64;
/// A processor's time to reset.
const RESET: Delta = Delta::from_millis(10);
/// How long the first start-up interrupt is given before the second one.
const SECOND_STARTUP: usize = 10;
/// How long a processor is given to answer.
const ANSWER: usize = 5000;
/// Between two looks whether it has answered.
const LOOK: Delta = Delta::from_micros(100);
/// How often stopping is tried.
const TRIES: usize = 3;

/// Numbers of the processors that kernels run on, plus one; 0: none.
///
/// Written under the lock of processors coming and going, for reading; read by the callback under the
/// same lock, for writing.
static TAKEN: [Atomic<u32>; MOST_PLACES] = [const { Atomic::new(0) }; MOST_PLACES];

kernel::sync::global_lock! {
    // SAFETY: initialised in `Installed::new`, before the device is there.
    unsafe(uninit) static MACHINE: Mutex<Option<Machine>> = None;
}

/// Everything the module has.
pub(crate) struct Machine {
    places: KVec<Place>,
    low: LowPages,
    apic: Apic,
    module: &'static ThisModule,
}

/// The machine is there, and Linux is kept from starting processors that are taken, as long as this
/// lives.
pub(crate) struct Installed {
    state: c_int,
}

impl Installed {
    /// Sets everything up.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: a module is loaded once, and this is called once for it.
        unsafe { MACHINE.init() };
        let machine = Machine {
            apic: Apic::new()?,
            places: claim_all(MOST_PLACES)?,
            low: LowPages::new()?,
            module,
        };
        for (index, place) in machine.places.iter().enumerate() {
            pr_info!("place {index}: {:#x}@{:#x}\n", place.size(), place.phys());
        }
        // SAFETY: the callback is there until `drop` removes it.
        let state = unsafe { helpers::daxfs_mk_watch_cpus(may_start) };
        if state < 0 {
            return Err(Error::from_errno(state));
        }
        *MACHINE.lock() = Some(machine);
        Ok(Self { state })
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // SAFETY: set up by `new`.
        unsafe { helpers::daxfs_mk_unwatch_cpus(self.state) };
        // Nothing runs: every kernel that does holds on to the module.
        *MACHINE.lock() = None;
    }
}

/// Whether Linux may start a processor.
extern "C" fn may_start(cpu: c_uint) -> c_int {
    if is_taken(cpu) {
        pr_warn!("processor {cpu} runs another kernel\n");
        return EBUSY.to_errno();
    }
    0
}

fn is_taken(cpu: u32) -> bool {
    TAKEN.iter().any(|taken| taken.load(Relaxed) == cpu + 1)
}

/// Keeps processors from coming and going.
struct CpusLocked;

impl CpusLocked {
    fn new() -> Self {
        // SAFETY: the caller may sleep; unlocked when dropped.
        unsafe { bindings::cpus_read_lock() };
        Self
    }
}

impl Drop for CpusLocked {
    fn drop(&mut self) {
        // SAFETY: locked by `new`.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// Does something with the machine.
pub(crate) fn with<R>(action: impl FnOnce(&mut Machine) -> Result<R>) -> Result<R> {
    action(MACHINE.lock().as_mut().ok_or(ENODEV)?)
}

impl Machine {
    /// Describes a place.
    pub(crate) fn query(&self, index: u32) -> Result<abi::Place> {
        let place = self.places.get(index as usize).ok_or(EINVAL)?;
        Ok(abi::Place {
            index: index.into(),
            count: (self.places.len() as u32).into(),
            phys: place.phys().into(),
            size: place.size().into(),
            trampoline: self.low.phys().into(),
            tsc_khz: u64::from(tsc_khz()).into(),
            cpu: place.cpu.unwrap_or(NO_CPU).into(),
            flags: 0.into(),
            starts: place.starts.into(),
            kernel: place.kernel.into(),
        })
    }

    /// Whether `len` bytes from physical address `at` on are one place's.
    pub(crate) fn is_ours(&self, at: u64, len: u64) -> bool {
        self.places.iter().any(|place| place.contains(at, len))
    }

    /// Starts a kernel.
    pub(crate) fn start(&mut self, wanted: &abi::Start) -> Result {
        let index = wanted.index.get() as usize;
        let place = self.places.get_mut(index).ok_or(EINVAL)?;
        let taken = TAKEN.get(index).ok_or(EINVAL)?;
        if let Some(cpu) = place.cpu {
            pr_err!("place {index}: a kernel is there already, on processor {cpu}\n");
            return Err(EBUSY);
        }
        let jump = Jump {
            root: wanted.root.get(),
            entry: wanted.entry.get(),
            stack: wanted.stack.get(),
            argument: wanted.argument.get(),
        };
        check(place, self.low.phys(), &jump).inspect_err(|_| {
            pr_err!("place {index}: its kernel cannot be started\n");
        })?;

        let cpu = wanted.cpu.get();
        let locked = CpusLocked::new();
        let target = startable(cpu)?;
        let root = jump.root;
        self.low.prepare_start(&jump, |entry| place.read(root + entry * 8))?;
        // SAFETY: the module is this one, which is alive.
        if !unsafe { bindings::try_module_get(self.module.as_ptr()) } {
            return Err(ENODEV);
        }
        taken.store(cpu + 1, Relaxed);
        let started = launch(&self.apic, &self.low, target);
        if started.is_ok() {
            place.cpu = Some(cpu);
            place.starts += 1;
            place.kernel = wanted.kernel.get();
            pr_info!("place {index}: started on processor {cpu}\n");
        } else {
            pr_err!("place {index}: processor {cpu} does not start\n");
            // It may be late: it must not be on its way when the pages that it starts from change.
            let _ = self.apic.reset(target);
            fsleep(RESET);
            taken.store(0, Relaxed);
            // SAFETY: got above.
            unsafe { bindings::module_put(self.module.as_ptr()) };
        }
        drop(locked);
        started
    }

    /// Stops a kernel, and makes sure that it is stopped.
    pub(crate) fn stop(&mut self, wanted: &abi::Stop) -> Result {
        let index = wanted.index.get() as usize;
        let place = self.places.get_mut(index).ok_or(EINVAL)?;
        let taken = TAKEN.get(index).ok_or(EINVAL)?;
        let Some(cpu) = place.cpu else { return Ok(()) };
        let target = ApicId::of(cpu).ok_or(ENODEV)?;
        let locked = CpusLocked::new();
        // It is proven to be stopped when it does something else.
        let mut stopped = Err(ETIMEDOUT);
        for _ in 0..TRIES {
            self.low.prepare_park();
            stopped = launch(&self.apic, &self.low, target);
            if stopped.is_ok() {
                break;
            }
        }
        if stopped.is_err() {
            pr_err!("place {index}: processor {cpu} does not stop\n");
            return stopped;
        }
        // And that, too, ends, before its code goes.
        self.apic.reset(target)?;
        fsleep(RESET);
        place.cpu = None;
        taken.store(0, Relaxed);
        drop(locked);
        pr_info!("place {index}: processor {cpu} stopped\n");
        // SAFETY: got when it was started.
        unsafe { bindings::module_put(self.module.as_ptr()) };
        Ok(())
    }
}

/// Resets a processor and starts it; waits until it has done what is prepared.
fn launch(apic: &Apic, low: &LowPages, target: ApicId) -> Result {
    apic.reset(target)?;
    fsleep(RESET);
    for looks in [SECOND_STARTUP, ANSWER] {
        apic.start(target, low.page())?;
        for _ in 0..looks {
            if low.is_answered() {
                return Ok(());
            }
            fsleep(LOOK);
        }
    }
    Err(ETIMEDOUT)
}

/// Whether a processor can be started. The caller keeps processors from coming and going.
fn startable(cpu: u32) -> Result<ApicId> {
    // SAFETY: it only asks.
    if !unsafe { helpers::daxfs_mk_cpu_present(cpu) } {
        pr_err!("there is no processor {cpu}\n");
        return Err(ENXIO);
    }
    // SAFETY: it only asks.
    if unsafe { helpers::daxfs_mk_cpu_online(cpu) } {
        pr_err!("Linux uses processor {cpu} (echo 0 >/sys/devices/system/cpu/cpu{cpu}/online)\n");
        return Err(EBUSY);
    }
    if cpu == 0 {
        pr_err!("processor 0 is the machine's first: resetting it resets the machine\n");
        return Err(EINVAL);
    }
    if is_taken(cpu) {
        pr_err!("processor {cpu} runs another kernel\n");
        return Err(EBUSY);
    }
    ApicId::of(cpu).ok_or_else(|| {
        pr_err!("processor {cpu} cannot be reached without x2APIC\n");
        ENXIO
    })
}

/// Checks what a kernel is started with.
fn check(place: &Place, trampoline: u64, jump: &Jump) -> Result {
    let bounds = Bounds { start: place.phys(), end: place.phys() + place.size(), trampoline };
    if jump.stack % 16 != 0 || jump.root % PAGE != 0 {
        pr_err!("stack or page tables are misaligned\n");
        return Err(EINVAL);
    }
    // The kernel's memory is mapped where it is, or anywhere else: what matters is where it leads.
    let checked = tables::check(jump.root, jump.entry, jump.stack, &bounds, &|at| place.read(at));
    checked.map_err(|problem| {
        match problem {
            Problem::Table(at) => pr_err!("page table at {at:#x} outside of the place\n"),
            Problem::Leads { virt, phys } => {
                pr_err!("page tables lead from {virt:#x} to {phys:#x}, outside of the place\n")
            }
            Problem::Entry(virt) => pr_err!("impossible page table entry for {virt:#x}\n"),
            Problem::TooMany => pr_err!("more page tables than memory\n"),
            Problem::Missing(virt) => pr_err!("{virt:#x} is not mapped as it must be\n"),
        }
        EFAULT
    })
}

fn tsc_khz() -> u32 {
    // SAFETY: set long ago, and not changed any more.
    unsafe { bindings::tsc_khz }
}
