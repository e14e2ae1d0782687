//! `runner bench`: measures DAXFS in Linux, beside other file systems.

use super::linux::Prepared;
use crate::bench::{FIO, PACKAGES, Plan, Results, SUBJECTS, Table};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::linux::{Beside, Parts, Run, System};
use crate::memory::SharedMemory;
use crate::qemu::{Accel, AccelChoice, Shape, Signals};
use crate::setup::{self, Cache, Flavour, Package, Report};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of the range.
const RANGE: u64 = 768 << 20;

/// Bytes of the device for ext4.
const DEVICE: u64 = 512 << 20;

/// MiB of Linux's own: tmpfs is in there.
const OWN_MIB: u32 = 2048;

/// How often everything is done where numbers are not the same again.
const PASSES: u32 = 3;

/// Everything the user can say about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What executes instructions; nothing: the emulator counting them, then whatever is best.
    pub accel: Option<AccelChoice>,
    /// How often everything is done.
    pub passes: Option<u32>,
    /// The file systems that are measured; nothing: all.
    pub only: Vec<&'static str>,
    /// Whether fio is left out.
    pub no_fio: bool,
    /// Whether the result is for programs.
    pub json: bool,
    /// When to give up, for each machine.
    pub timeout: Duration,
    /// Whether QEMU's command line and all of the kernel's log is shown.
    pub verbose: bool,
}

/// Measures, and prints a table for each machine.
///
/// # Errors
///
/// [`Error`]; those of the measurements themselves are [`Error::Measurement`].
pub fn run(options: &Options, report: &dyn Report) -> Result<()> {
    let choices = match options.accel {
        Some(accel) => vec![accel],
        None => vec![AccelChoice::Icount, AccelChoice::Auto],
    };
    let cache = Cache::open()?;
    let program = setup::bench(report)?;
    let mut packages = Vec::new();
    let fio = !options.no_fio && choices.iter().any(|&choice| choice != AccelChoice::Icount);
    for name in PACKAGES.into_iter().chain(fio.then_some(FIO)) {
        match setup::package(&cache, name, report) {
            Ok(package) => packages.push((name, package)),
            // What needs it is left out.
            Err(error) => report.step(&error.to_string()),
        }
    }
    let image = Image::of_bench(RANGE)?;
    let mut prepared = Vec::new();
    for choice in choices {
        prepared.push(Prepared::new(Flavour::Plain, false, choice, report)?);
    }
    let signals = Signals::catch()?;
    let mut tables = Vec::new();
    for prepared in &prepared {
        let bench = Bench { options, prepared, program: &program, packages: &packages };
        let table = bench.measure(image.path(), &signals, report)?;
        if !options.json {
            anstream::println!("{table}");
        }
        tables.push(table);
    }
    if options.json {
        let text = serde_json::to_string_pretty(&tables)
            .map_err(|reason| Error::Measurement(reason.to_string()))?;
        anstream::println!("{text}");
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    prepared: &'a Prepared,
    program: &'a PathBuf,
    packages: &'a [(&'static str, Package)],
}

impl Bench<'_> {
    /// One boot.
    fn measure(&self, image: &Path, signals: &Signals, report: &dyn Report) -> Result<Table> {
        let Self { options, prepared, .. } = self;
        let counted = prepared.accel == Accel::Icount;
        let plan = Plan {
            passes: options.passes.unwrap_or(if counted { 1 } else { PASSES }),
            // It would count its own instructions most of all.
            subjects: match options.only.as_slice() {
                [] => SUBJECTS.to_vec(),
                only => only.to_vec(),
            },
            fio: !counted && self.packages.iter().any(|(name, _)| *name == FIO),
        };
        let packages: Vec<_> = self.packages.iter().map(|(_, package)| package.clone()).collect();
        let system = System::new(&Parts {
            busybox: &prepared.programs.busybox,
            tools: std::slice::from_ref(self.program),
            modules: &prepared.modules,
            packages: &packages,
            additions: &[],
        })?;
        let memory = SharedMemory::copy_of(image, None)?;
        let shape = Shape::new(prepared.accel, 2, OWN_MIB);
        let run = Run {
            qemu: &prepared.qemu,
            shape: Shape { nvdimms: [DEVICE, 0], ..shape },
            kernel: &prepared.kernel.image,
            system: &system,
            memory: &memory,
            root: None,
            beside: Beside::default(),
            append: "",
            timeout: Some(options.timeout),
            verbose: options.verbose,
            log: None,
        };
        report.step(&format!("measuring ({})", prepared.accel));
        let mut output = Vec::new();
        let status = run.script(&plan.script(), &mut output, &mut io::stderr(), signals)?;
        if status != 0 {
            return Err(Error::Measurement(format!("its commands end with status {status}")));
        }
        let results = Results::read(&String::from_utf8_lossy(&output))
            .map_err(|error| Error::Measurement(error.to_string()))?;
        let (machine, kernel) = (prepared.accel.to_string(), prepared.kernel.release.clone());
        Ok(Table::new(&results, machine, kernel, plan.passes, counted))
    }
}
