//! Mounts at work while a peer writes into their range what it likes.
//!
//! Whatever the operations return, they do return: none panics, leaves the range, goes on for ever, or
//! takes more memory than the image can explain.
//!
//! | module | what it owns |
//! |---|---|
//! | [`guard`] | memory for images between pages that nobody may touch |
//! | [`memory`] | the allocator of this program, which counts |
//! | [`lying`] | a range in which a peer lies at any single access |
//! | [`story`] | what mounts do meanwhile, and the bounds on it |
//! | [`between`] | the peer acts between two accesses, each in turn |
//! | [`beside`] | the peer is a thread of its own |
//!
//! Each test takes a few seconds; `DAXFS_HOSTILE_SECONDS=N` makes it N. The cases are the same each time,
//! in the same order, so more time means more of them. They run in a child process: an access out of
//! bounds ends it, and the case that was running is told.

mod beside;
mod between;
mod guard;
mod lying;
mod memory;
mod story;

use std::process::Command;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// In the environment of the child process.
const CHILD: &str = "DAXFS_HOSTILE_CHILD";
/// How long a test goes on, unless told otherwise.
const SECONDS: u64 = 6;

/// Runs the cases of the test called `test` in a process of their own.
fn in_a_child(test: &str, cases: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return cases();
    }
    let program = std::env::current_exe().expect("this program has a name");
    let mut child = Command::new(program);
    child.args([test, "--exact", "--nocapture"]).env(CHILD, "1");
    let output = child.output().expect("this program can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let (cases, complaints): (Vec<_>, Vec<_>) =
        complained.lines().partition(|line| line.starts_with("case "));
    let last = cases.last().copied().unwrap_or("no case");
    let complaints = complaints.join("\n");
    assert!(output.status.success(), "{}, in {last}:\n{complaints}\n{said}", output.status);
    said.lines().filter(|line| line.starts_with("hostile")).for_each(|line| println!("{line}"));
}

#[test]
fn an_access_out_of_bounds_would_be_seen() {
    const TEST: &str = "an_access_out_of_bounds_would_be_seen";
    let touch = || {
        let memory = guard::Guarded::new(4096);
        let behind = daxfs::region::Backing::address(memory.range(), 4096).expect("its end");
        begin("behind the range");
        // SAFETY: there is nothing, as it should be: the process ends here.
        let byte = unsafe { behind.read_volatile() };
        println!("hostile: {byte} was read");
    };
    if std::env::var_os(CHILD).is_some() {
        return touch();
    }
    let told = std::panic::catch_unwind(|| in_a_child(TEST, || ()));
    let told = *told.expect_err("it should have ended").downcast::<String>().expect("a message");
    assert!(told.contains("signal: 11") && told.contains("in case behind the range"), "{told}");
}

/// Notes which case begins, for the parent process.
fn begin(case: &str) {
    eprintln!("case {case}");
}

/// When the test has to end.
fn deadline() -> Instant {
    let told = std::env::var("DAXFS_HOSTILE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Instant::now() + Duration::from_secs(told.unwrap_or(SECONDS))
}
