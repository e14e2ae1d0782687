//! Linux, for tests that need it.

use runner::console::Lines;
use runner::setup::{self, Cache, Flavour};
use std::env;
use std::io::{self, Write};
use std::process;
use std::sync::Once;

/// Set where a machine without Linux is no excuse.
const REQUIRED: &str = "DAXFS_REQUIRE_LINUX";

/// Sees to it that Linux is there: builds it if it has to be. On a machine that cannot have it, because
/// its distribution does not offer the source, for instance, none of a program's tests can run: the
/// program says why, and ends without a failure.
pub fn needed() {
    static SET_UP: Once = Once::new();
    SET_UP.call_once(|| {
        // Its progress is for whoever runs the tests.
        let report = Lines::default();
        let kernel = Cache::open().and_then(|cache| setup::kernel(&cache, Flavour::Plain, &report));
        match kernel {
            Ok(_) => {}
            Err(error) if error.is_missing() && env::var_os(REQUIRED).is_none() => {
                // Not with a macro: what those print is not shown.
                let _ = writeln!(io::stderr(), "not tested: there is no Linux here: {error}");
                process::exit(0);
            }
            Err(error) => panic!("{error}"),
        }
    });
}
