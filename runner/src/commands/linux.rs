//! `runner linux`: Linux, with the file system's module, on an image of the user's.

use super::options::{Range, Work};
use crate::error::Result;
use crate::image::Image;
use crate::linux::{Beside, Parts, Run, System};
use crate::memory::SharedMemory;
use crate::qemu::{Accel, AccelChoice, Shape, Signals, accel};
use crate::setup::{self, Cache, Flavour, Kernel, Programs, Qemu, Report};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Everything the user can say about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shared range.
    pub range: Range,
    /// Files and folders of this machine, and their paths in the initial file system.
    pub additions: Vec<(PathBuf, String)>,
    /// Packages of the distribution, whose programs are brought.
    pub packages: Vec<String>,
    /// Which kernel.
    pub flavour: Flavour,
    /// Whether the project's modules are left out.
    pub no_modules: bool,
    /// What the kernel is told besides.
    pub append: String,
    /// A file that gets the kernel's log.
    pub log: Option<PathBuf>,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// What Linux does.
    pub work: Work,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// Processors.
    pub cpus: u32,
    /// MiB of memory of Linux's own.
    pub memory: u32,
    /// Bytes of a persistent memory device for file systems, `/dev/pmem0`.
    pub pmem: u64,
    /// Bytes of a persistent memory device for programs to map, `/dev/dax`.
    pub dax: u64,
    /// Whether QEMU's command line and all of the kernel's log is shown.
    pub verbose: bool,
}

/// Everything a machine with Linux needs that does not depend on its image.
#[derive(Debug)]
pub struct Prepared {
    /// The QEMU to use.
    pub qemu: Qemu,
    /// The kernel.
    pub kernel: Kernel,
    /// Modules for it.
    pub modules: Vec<PathBuf>,
    /// How many warnings their build has.
    pub warnings: usize,
    /// Programs that run on it.
    pub programs: Programs,
    /// What executes instructions.
    pub accel: Accel,
}

impl Prepared {
    /// Sets up what is missing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`], and those of [`AccelChoice::decide`].
    pub fn new(
        flavour: Flavour,
        no_modules: bool,
        accel: AccelChoice,
        report: &dyn Report,
    ) -> Result<Self> {
        let cache = Cache::open()?;
        let qemu = setup::qemu(&cache, report)?;
        let programs = setup::programs(&cache, report)?;
        let kernel = setup::kernel(&cache, flavour, report)?;
        let (mut modules, mut warnings) = (Vec::new(), 0);
        if !no_modules {
            let built = setup::modules(&cache, &kernel, report)?;
            built.warnings.iter().for_each(|warning| report.step(warning));
            warnings = built.warnings.len();
            modules = built.files;
        }
        let trial = || kvm_runs(&qemu, &kernel, &programs);
        let accel = accel.decide(&cache, &qemu, trial, report)?;
        Ok(Self { qemu, kernel, modules, warnings, programs, accel })
    }
}

/// Runs Linux. Returns the exit status of the commands.
///
/// # Errors
///
/// [`crate::Error`].
pub fn run(options: &Options, report: &dyn Report) -> Result<u8> {
    let script = options.work.script()?;
    let prepared = Prepared::new(options.flavour, options.no_modules, options.accel, report)?;
    let cache = Cache::open()?;
    let packages = options.packages.iter().map(|name| setup::package(&cache, name, report));
    let packages = packages.collect::<std::result::Result<Vec<_>, _>>()?;
    // Until here a signal ends the runner and whatever it has just started, as usual.
    let signals = Signals::catch()?;
    let memory = options.range.memory()?;
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &prepared.programs.tools,
        modules: &prepared.modules,
        packages: &packages,
        additions: &options.additions,
    })?;
    let run = Run {
        qemu: &prepared.qemu,
        shape: Shape {
            nvdimms: [options.pmem, options.dax],
            ..Shape::new(prepared.accel, options.cpus, options.memory)
        },
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: None,
        beside: Beside::default(),
        append: &format!("{} {}", patience(options.flavour), options.append),
        timeout: options.timeout,
        verbose: options.verbose,
        log: options.log.as_deref(),
    };
    let status = match &script {
        Some(text) => run.script(text, &mut io::stdout(), &mut io::stderr(), &signals)?,
        None => run.interactive(&signals)?,
    };
    options.range.keep(&memory)?;
    Ok(status)
}

/// What a kernel is told about time. One that checks itself is so slow, in the emulator, that it would take
/// itself for stuck.
#[must_use]
pub const fn patience(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Plain => "",
        Flavour::Debug => "sysctl.kernel.watchdog_thresh=60 workqueue.watchdog_thresh=120",
    }
}

/// Whether Linux runs under KVM.
fn kvm_runs(qemu: &Qemu, kernel: &Kernel, programs: &Programs) -> Result<bool> {
    let image = Image::demo(2 << 20)?;
    let memory = SharedMemory::copy_of(image.path(), None)?;
    let busybox = &programs.busybox;
    let system =
        System::new(&Parts { busybox, tools: &[], modules: &[], packages: &[], additions: &[] })?;
    let run = Run {
        qemu,
        shape: Shape::new(Accel::Kvm, 1, 256),
        kernel: &kernel.image,
        system: &system,
        memory: &memory,
        root: None,
        beside: Beside::default(),
        append: "",
        timeout: Some(accel::TRIAL),
        verbose: false,
        log: None,
    };
    let (mut output, mut errors) = (io::sink(), io::sink());
    Ok(run.script("exit 0", &mut output, &mut errors, &Signals::ignored()).is_ok())
}
