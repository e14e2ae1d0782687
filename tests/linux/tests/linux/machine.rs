//! A machine with Linux, in a process of its own.

use crate::job::Job;
use daxfs_linux_tests::tree;
use libtest_mimic::Failed;
use mkdaxfs::{BuildOptions, DeltaSize};
use runner::Error;
use runner::commands::linux::Prepared;
use runner::console::Lines;
use runner::linux::{Beside, Parts, Run, System};
use runner::memory::SharedMemory;
use runner::qemu::{AccelChoice, Shape, Signals};
use runner::setup::{self, Cache, Flavour, Report};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, process, thread};

/// Names the job of a process that is a machine.
pub const JOB: &str = "DAXFS_LINUX_JOB";
/// The checks of that job that are wanted.
const CHECKS: &str = "DAXFS_LINUX_CHECKS";

/// Mebibytes of memory for Linux itself: by far enough for kernels that remember what was freed, too.
const MEMORY: u32 = 2048;

/// What has become of a check: nothing, or what is wrong.
type Outcome = Result<(), String>;

/// A machine at work.
#[derive(Debug)]
pub struct Machine {
    job: &'static str,
    state: &'static (Mutex<State>, Condvar),
}

#[derive(Default, Debug)]
struct State {
    outcomes: HashMap<String, Outcome>,
    /// How the whole ended, if it has.
    end: Option<Outcome>,
}

fn lock(state: &'static (Mutex<State>, Condvar)) -> MutexGuard<'static, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// None at all.
    pub fn none() -> Self {
        let state = State { end: Some(Ok(())), ..State::default() };
        Self { job: "", state: Box::leak(Box::new((Mutex::new(state), Condvar::new()))) }
    }

    /// Starts one, for these checks.
    pub fn start(job: &'static Job, checks: Vec<String>) -> Self {
        let state: &'static (Mutex<State>, Condvar) = Box::leak(Box::default());
        thread::spawn(move || {
            let end = listen(job, &checks, state).unwrap_or_else(|error| Err(error.to_string()));
            lock(state).end = Some(end);
            state.1.notify_all();
        });
        Self { job: job.name, state }
    }

    /// Waits for what becomes of a check.
    pub fn result(&self, name: &str) -> Result<(), Failed> {
        let mut state = lock(self.state);
        loop {
            if let Some(outcome) = state.outcomes.get(name) {
                return outcome.clone().map_err(Failed::from);
            }
            if state.end.is_some() {
                let why = format!("{}::the_kernel_has_no_complaint tells why", self.job);
                return Err(format!("the machine ended without an answer: {why}").into());
            }
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the machine's end.
    pub fn end(&self) -> Result<(), Failed> {
        let mut state = lock(self.state);
        loop {
            match &state.end {
                Some(Ok(())) => return Ok(()),
                Some(Err(how)) => {
                    let log = folder().join(format!("{}.log", self.job));
                    return Err(format!("{how}\n(all of it: {})", log.display()).into());
                }
                None => {
                    state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Starts the process, and hears its results to their end.
fn listen(
    job: &Job,
    checks: &[String],
    state: &'static (Mutex<State>, Condvar),
) -> io::Result<Outcome> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let said = folder.join(format!("{}.errors", job.name));
    let mut child = Command::new(env::current_exe()?)
        .env(JOB, job.name)
        .env(CHECKS, checks.join(" "))
        // Its end is ours.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&said)?)
        .spawn()?;
    let _alive = child.stdin.take();
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut last: Option<(String, Outcome)> = None;
    let publish = |next: Option<(String, Outcome)>, last: &mut Option<(String, Outcome)>| {
        if let Some((name, outcome)) = std::mem::replace(last, next) {
            lock(state).outcomes.insert(name, outcome);
            state.1.notify_all();
        }
    };
    for line in output.split(b'\n') {
        let line: Vec<u8> = line?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let name = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
        if let Some(rest) = line.strip_prefix("ok ") {
            publish(Some((name(rest), Ok(()))), &mut last);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            publish(Some((name(rest), Err(String::new()))), &mut last);
        } else if let (Some(text), Some((_, Err(said)))) = (line.strip_prefix("# "), &mut last) {
            said.push_str(text);
            said.push('\n');
        }
    }
    publish(None, &mut last);
    let status = child.wait()?;
    // That checks fail is told by them.
    if matches!(status.code(), Some(0 | 1)) {
        return Ok(Ok(()));
    }
    let said = fs::read(said)?;
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(60)..].join("\n");
    Ok(Err(format!("the machine's process left with {status}:\n{last}")))
}

/// Where logs lie, and what is made once.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../linux-tests")
}

/// The machine's process.
pub fn run(job: &str) -> ExitCode {
    let Some(job) = crate::job(job) else { return ExitCode::from(2) };
    thread::spawn(|| {
        // Nobody says anything there; it ends when the tests do, and so does QEMU.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(125);
    });
    let checks = env::var(CHECKS).unwrap_or_default();
    match machine(job, &checks) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            let status = error.downcast_ref::<Error>().map_or(125, Error::exit_status);
            ExitCode::from(status)
        }
    }
}

fn machine(job: &Job, checks: &str) -> Result<u8, Box<dyn StdError>> {
    let report = Lines::default();
    let is_debug = env::var("DAXFS_KERNEL").is_ok_and(|kernel| kernel == "debug");
    let flavour = if is_debug { Flavour::Debug } else { Flavour::Plain };
    let prepared = Prepared::new(flavour, false, AccelChoice::Auto, &report)?;
    let cache = Cache::open()?;
    let mut packages = Vec::new();
    // Where packages are not Debian's, the checks that need one look at nothing.
    if Command::new("apt-get").arg("--version").stdout(Stdio::null()).status().is_ok() {
        for name in job.packages {
            packages.push(setup::package(&cache, name, &report)?);
        }
    }
    let mut additions =
        vec![(env!("CARGO_BIN_EXE_daxfs-linux-tests").into(), "/usr/bin/checks".to_owned())];
    for (name, release) in job.programs {
        additions.push((program(name, release, &report)?, format!("/usr/bin/{name}")));
    }
    let memory = range(&prepared.programs.busybox)?;
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &prepared.programs.tools,
        modules: &prepared.modules,
        packages: &packages,
        additions: &additions,
    })?;
    let log = folder().join(format!("{}.log", job.name));
    let is_long = env::var_os("DAXFS_LONG").is_some();
    // While Linux identifies its processor it clears, for a moment, what it knows of it. KASAN takes accesses
    // for wild ones then, if page tables have five levels: an interrupt at that moment is a report.
    let append = if is_debug {
        "no5lvl sysctl.kernel.watchdog_thresh=60 workqueue.watchdog_thresh=120"
    } else {
        ""
    };
    let run = Run {
        qemu: &prepared.qemu,
        // A quarter of a gigabyte is for the DAX device, besides its header.
        shape: Shape { nvdimms: [0, 66 << 20], ..Shape::new(prepared.accel, 2, MEMORY) },
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: None,
        beside: Beside::default(),
        append,
        timeout: Some(Duration::from_secs(if is_debug || is_long { 6 * 3600 } else { 3600 })),
        verbose: false,
        log: Some(&log),
    };
    let long = if is_long { "export DAXFS_LONG=1; " } else { "" };
    let script = format!("export RUST_BACKTRACE=0; {long}exec checks run {checks}");
    Ok(run.script(&script, &mut io::stdout(), &mut io::stderr(), &Signals::catch()?)?)
}

/// The range, with the image that the checks know.
fn range(busybox: &Path) -> Result<SharedMemory, Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    tree::make(&root, busybox)?;
    let options = BuildOptions {
        writable: Some(DeltaSize::FillTo(tree::RANGE)),
        large_alignment: true,
        ..BuildOptions::default()
    };
    mkdaxfs::build(&root, &image, &options, &())?;
    Ok(SharedMemory::copy_of(&image, Some(tree::RANGE))?)
}

/// A program of crates.io, which is built once.
fn program(name: &str, release: &str, report: &dyn Report) -> Result<PathBuf, Box<dyn StdError>> {
    let root = folder().join(format!("{name}-{release}"));
    let built = root.join("bin").join(name);
    if !built.is_file() {
        report.step(&format!("building {name} {release} (once)"));
        let status = Command::new(env!("CARGO"))
            .args(["install", "--quiet", "--locked", "--version", release, "--root"])
            .arg(&root)
            .arg("--target-dir")
            .arg(root.join("target"))
            .arg(name)
            .status()?;
        if !status.success() {
            return Err(format!("{name} cannot be built: cargo install left with {status}").into());
        }
    }
    Ok(built)
}
