//! Machines that share memory: whichever is killed, the others carry on.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, runner, status};

/// How many hosts are killed; `DAXFS_KILLS` asks for more.
fn kills(few: u32) -> String {
    std::env::var("DAXFS_KILLS").unwrap_or_else(|_| few.to_string())
}

#[track_caller]
fn pool(kernels: &str, kills: &str) {
    let output = runner(&["pool", "--kernels", kernels, "--rounds", kills]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 0, "{text}\n{}", errors(&output));
    let kills: usize = kills.parse().unwrap();
    for told in [" is killed while it ", " holds no space any more", " is back, with "] {
        assert_eq!(text.matches(told).count(), kills, "{told}: {text}");
    }
    assert!(text.contains(&format!("{kills} hosts killed")), "{text}");
    assert!(text.contains("failures: 0"), "{text}");
}

#[test]
fn guests_carry_on_when_one_is_killed() {
    pool("guest,guest,guest", &kills(6));
}

#[test]
fn linux_and_a_guest_carry_on_without_each_other() {
    machine::needed();
    pool("guest,linux", &kills(4));
}

#[test]
fn linux_carries_on_without_another_linux() {
    machine::needed();
    pool("linux,linux", &kills(2));
}

#[test]
fn one_host_is_no_pool() {
    let output = runner(&["pool", "--kernels", "guest"]).output().unwrap();
    assert_eq!(status(&output), 2, "{}", errors(&output));
}
