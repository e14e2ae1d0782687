//! Kernels that are killed while they save their state, and others that go on from there.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, runner, status};

/// How many kernels are killed; `DAXFS_KILLS` asks for more.
fn kills(few: u32) -> String {
    std::env::var("DAXFS_KILLS").unwrap_or_else(|_| few.to_string())
}

#[track_caller]
fn takeover(kills: &str, more: &[&str]) {
    let arguments = [&["takeover", "--rounds", kills], more].concat();
    let output = runner(&arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 0, "{text}\n{}", errors(&output));
    assert_eq!(text.matches(" killed").count(), kills.parse::<usize>().unwrap() + 1, "{text}");
    assert!(text.contains(&format!("{kills} kernels killed")), "{text}");
    assert!(text.contains(" 0 lost"), "{text}");
}

#[test]
fn the_next_kernel_finds_the_last_checkpoint_whenever_one_is_killed() {
    takeover(&kills(12), &[]);
}

#[test]
fn so_does_a_kernel_that_has_waited_for_its_turn() {
    takeover(&kills(6), &["--standby"]);
}

#[test]
fn linux_takes_over_from_a_guest_and_a_guest_from_linux() {
    machine::needed();
    takeover(&kills(4), &["--kernels", "guest,linux"]);
}

#[test]
fn linux_takes_over_from_linux() {
    machine::needed();
    takeover(&kills(2), &["--kernels", "linux", "--standby"]);
}
