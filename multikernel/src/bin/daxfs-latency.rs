//! `daxfs-latency`: how long it takes until one kernel sees what another has done.
//!
//! Both kernels read the time stamp counter, which all processors of a machine share, and print it; the
//! difference is for whoever reads both. The guest's side is its shell's `bench commit` and `bench stale`.
//!
//! | command | |
//! |---|---|
//! | `stale PATH` | reads a byte of PATH until it is stale; prints the counter, and how many counts a read took |
//! | `commit MOUNT` | commits the branch that MOUNT is on; prints the counter before and after |
//! | `bounce` | prints how many counts a line of memory takes from one processor to another, an atomic load, and a microsecond |

use daxfs_format::ioctl::COMMIT;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, ioctl};
use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a line of memory goes back and forth.
const BOUNCES: u64 = 100_000;
/// Loads that are measured.
const LOADS: u64 = 1_000_000;
/// How long the counter is compared with the clock.
const COMPARED: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *words.as_slice() {
        ["stale", path] => stale(path),
        ["commit", mount] => commit(mount),
        ["bounce"] => {
            bounce();
            Ok(())
        }
        _ => Err("stale PATH, commit MOUNT, or bounce".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daxfs-latency: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The time stamp counter.
fn counter() -> u64 {
    // SAFETY: every processor of this architecture has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

fn stale(path: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    // What the kernel has cached of a file, only it can have changed: it would not ask the others for that.
    let file = File::open(path).map_err(failed)?;
    let mut byte = [0];
    println!("looking");
    let (start, mut looks) = (counter(), 0);
    loop {
        match file.read_at(&mut byte, 0) {
            Ok(_) => looks += 1,
            Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    let now = counter();
    println!("{now} {}", (now - start) / (looks + 1));
    Ok(())
}

fn commit(mount: &str) -> Result<(), String> {
    let file = File::open(mount).map_err(|error| format!("{mount}: {error}"))?;
    // SAFETY: the operation has no argument.
    let operation = unsafe { NoArg::<COMMIT>::new() };
    let before = counter();
    // SAFETY: it touches no memory of this process.
    let done = unsafe { ioctl(&file, operation) };
    let after = counter();
    done.map_err(|error| format!("{mount}: {error}"))?;
    println!("{before} {after}");
    Ok(())
}

fn bounce() {
    let word = AtomicU64::new(0);
    let wait = |odd: u64| {
        for _ in 0..BOUNCES {
            while word.load(Ordering::Acquire) % 2 != odd {
                spin_loop();
            }
            word.fetch_add(1, Ordering::AcqRel);
        }
    };
    let start = counter();
    thread::scope(|scope| {
        scope.spawn(|| wait(1));
        wait(0);
    });
    let bounce = (counter() - start) / (2 * BOUNCES);
    let start = counter();
    for _ in 0..LOADS {
        black_box(word.load(Ordering::Acquire));
    }
    let load = (counter() - start) as f64 / LOADS as f64;
    let (since, start) = (Instant::now(), counter());
    while since.elapsed() < COMPARED {
        spin_loop();
    }
    let microsecond = (counter() - start) as f64 / since.elapsed().as_secs_f64() / 1e6;
    println!("{bounce} {load:.1} {microsecond:.1}");
}
