//! Processes that a test has started, and theirs.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The first process that another one has started: a runner's QEMU.
pub fn first_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().next().expect("a child").parse().unwrap()
}

pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// Waits until a process is gone.
pub fn gone(pid: u32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return true,
            Ok(stat) if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) => {
                return true;
            }
            Ok(_) => std::thread::yield_now(),
        }
    }
    false
}
