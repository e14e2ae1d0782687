//! `runner soak`: kernels of all kinds work on one range, and are killed, for a long time.

use super::linux::{self, Prepared};
use crate::console;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::linux::{Beside, Parts, Run, System};
use crate::memory::SharedMemory;
use crate::multikernel::places;
use crate::multikernel::soak::{Ledger, Native, script};
use crate::qemu::{Accel, AccelChoice, Shape, Signals};
use crate::setup::{self, Cache, Flavour, Report};
use fastrand::Rng;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the range. What a kernel was waiting to give back when it died, its successor finds, and waits
/// itself: there has to be room for what several short lives leave.
const SIZE: u64 = 256 << 20;
/// Nobody is taken for dead who only has to wait for a processor: all deaths here are confirmed. Not longer,
/// because a mount that nobody uses follows the others four times in a lease, and space waits for it.
const LEASE: Duration = Duration::from_secs(8);
/// A line is printed so often.
const REPORT: Duration = Duration::from_secs(60);
/// How long a machine that is killed lives.
const LIVES: std::ops::Range<f64> = 12.0..75.0;
/// How long kernels work in a machine that ends in order.
const WORK: std::ops::RangeInclusive<u64> = 15..=90;
/// How long a machine that ends in order may take besides.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long.
    pub time: Duration,
    /// Guests beside Linux.
    pub guests: u32,
    /// Which Linux.
    pub flavour: Flavour,
    /// Chooses moments.
    pub seed: Option<u64>,
    /// Whether the counts are printed for programs.
    pub json: bool,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// Whether QEMU's command line and all of Linux's log is shown.
    pub verbose: bool,
}

/// Does it.
///
/// # Errors
///
/// [`Error::Story`] for everything that went wrong, and what a run can end with.
pub fn run(options: &Options, report: &dyn Report) -> Result<()> {
    let prepared = Prepared::new(options.flavour, false, options.accel, report)?;
    if prepared.accel == Accel::Icount {
        return Err(Error::Usage(
            "--accel icount has one processor, and this needs several".into(),
        ));
    }
    let guest = setup::guest(&Cache::open()?, report)?;
    let signals = Signals::catch()?;
    let seed = options.seed.unwrap_or_else(|| Rng::new().u64(..1_000_000));
    report.step(&format!("--seed {seed}"));
    let memory = SharedMemory::copy_of(Image::demo(SIZE)?.with_lease(LEASE)?.path(), None)?;
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &prepared.programs.tools,
        modules: &prepared.modules,
        packages: &[],
        additions: &[(guest.elf, "/daxfs-guest".into())],
    })?;
    let append =
        format!("{} {}", places::reservation(options.guests), linux::patience(options.flavour));
    let machine = Run {
        qemu: &prepared.qemu,
        shape: Shape::new(prepared.accel, options.guests + 1, places::machine_mib(options.guests)),
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: None,
        // That a branch has ended is no news here; problems are told at the end.
        beside: Beside { log: (!options.verbose).then_some(&|_: &str| {}), ..Beside::default() },
        append: &append,
        timeout: None,
        verbose: options.verbose,
        log: None,
    };
    let ledger = Ledger::default();
    let soak =
        Soak { options, ledger: &ledger, native: Native::new(&memory, &ledger, options.guests) };
    let (sender, receiver) = mpsc::channel::<()>();
    let outcome = thread::scope(|scope| {
        let soak = &soak;
        scope.spawn(move || soak.tell(&receiver));
        let outcome = soak.machines(&machine, &signals, Rng::with_seed(seed));
        drop(sender);
        outcome
    });
    let counts = ledger.counts();
    if options.json {
        let text = serde_json::to_string(&counts).map_err(io::Error::other);
        let text = text.map_err(|reason| Error::System { action: "print the counts", reason })?;
        anstream::println!("{text}");
    } else {
        anstream::println!("{counts}");
    }
    for failure in ledger.failures() {
        console::error(failure);
    }
    outcome?;
    if counts.failures > 0 {
        return Err(Error::Story(format!("{} failures (--seed {seed})", counts.failures)));
    }
    Ok(())
}

struct Soak<'a> {
    options: &'a Options,
    ledger: &'a Ledger,
    native: Native<'a>,
}

impl Soak<'_> {
    /// Says from time to time how it goes, until the other end of the channel is gone.
    fn tell(&self, until: &mpsc::Receiver<()>) {
        let start = Instant::now();
        while until.recv_timeout(REPORT) == Err(RecvTimeoutError::Timeout) {
            let minutes = start.elapsed().as_secs() / 60;
            anstream::eprintln!("minute {minutes}: {}", self.ledger.counts());
        }
    }

    /// One machine after the other, on the same memory.
    fn machines(&self, machine: &Run<'_>, signals: &Signals, mut random: Rng) -> Result<()> {
        let start = Instant::now();
        loop {
            self.native.recover()?;
            let left = self.options.time.saturating_sub(start.elapsed()).as_secs_f64();
            let longest = left - *WORK.start() as f64;
            // The last one ends in order: only then it shows that it can.
            let killed = longest > LIVES.start && random.u32(..3) > 0;
            let (seconds, timeout) = if killed {
                let life = LIVES.start + random.f64() * (LIVES.end.min(longest) - LIVES.start);
                (1_000_000, Duration::from_secs_f64(life))
            } else {
                let work = (left as u64).clamp(*WORK.start(), *WORK.end());
                (work, Duration::from_secs(work) + PATIENCE)
            };
            let script = script::script(self.options.guests, seconds, random.u64(..));
            let run = Run { timeout: Some(timeout), ..machine.clone() };
            self.machine(&run, &script, killed, signals, &mut random)?;
            if self.ledger.counts().failures > 0 || start.elapsed() >= self.options.time {
                return self.native.recover();
            }
        }
    }

    /// One machine, with this process as a member beside it.
    fn machine(
        &self,
        run: &Run<'_>,
        script: &str,
        killed: bool,
        signals: &Signals,
        random: &mut Rng,
    ) -> Result<()> {
        let goes_on = AtomicBool::new(true);
        let [watching, working] = [random.fork(), random.fork()];
        let mut output = self.ledger.lines();
        let errors = Mutex::new(Vec::new());
        let (ended, watched, worked) = thread::scope(|scope| {
            let watching = scope.spawn(|| self.native.watch(&goes_on, watching));
            let working = scope.spawn(|| self.native.work(&goes_on, working));
            let mut said = errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let ended = run.script(script, &mut output, &mut *said, signals);
            // Relaxed: a flag by itself.
            goes_on.store(false, Ordering::Relaxed);
            (ended, watching.join(), working.join())
        });
        let errors = errors.into_inner().unwrap_or_default();
        for line in String::from_utf8_lossy(&errors).lines() {
            self.ledger.failure(format!("linux: {line}"));
        }
        for result in [watched, worked] {
            result
                .unwrap_or_else(|_| Err(Error::Story("this process's member panicked".into())))?;
        }
        match ended {
            Err(Error::Timeout { .. }) if killed => {
                self.ledger.count(|counts| counts.machines_killed += 1);
                Ok(())
            }
            Ok(0) if !killed => {
                self.ledger.count(|counts| counts.machines_ended += 1);
                Ok(())
            }
            Ok(status) => Err(Error::Story(format!("Linux's script ended with status {status}"))),
            Err(error) => Err(error),
        }
    }
}
