//! Kernels that are killed while they save their state, and others that go on from there.

mod common;

use common::{errors, runner, status};

/// How many kernels are killed; `DAXFS_KILLS` asks for more.
fn kills() -> String {
    std::env::var("DAXFS_KILLS").unwrap_or_else(|_| "12".into())
}

#[test]
fn the_next_kernel_finds_the_last_checkpoint_whenever_one_is_killed() {
    let kills = kills();
    let output = runner(&["takeover", "--rounds", &kills]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 0, "{text}\n{}", errors(&output));
    assert!(text.contains(&format!("{kills} kernels killed")), "{text}");
}
