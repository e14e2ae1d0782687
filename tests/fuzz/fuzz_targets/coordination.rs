//! Members at work on one image while somebody stores whatever it likes in what they coordinate with.
//!
//! Input: one byte that chooses an image, then steps (`daxfs_tests::script`).

#![no_main]

use daxfs_tests::script::Script;
use libfuzzer_sys::fuzz_target;
use std::cell::LazyCell;

thread_local! {
    static SCRIPT: LazyCell<Script> = LazyCell::new(Script::default);
}

fuzz_target!(|input: &[u8]| SCRIPT.with(|script| script.run(input)));
