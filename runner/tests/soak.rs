//! `runner soak`, for a short time.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, status};
use serde_json::Value;

#[test]
fn kernels_that_are_killed_lose_nothing_that_they_have_committed() {
    machine::needed();
    let output = common::runner(&["soak", "--minutes", "0.7", "--json"]).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    for count in [
        "operations",
        "commits",
        "kills",
        "machines_ended",
        "recoveries",
        "looks",
        "bytes_verified",
    ] {
        assert!(counts[count].as_u64().unwrap() > 0, "{count}: {counts}");
    }
    assert_eq!(counts["failures"], 0, "{counts}");
    println!("{counts}");
}
