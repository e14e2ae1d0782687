//! A good image one log of which says anything. The input is all that the log says.

#![no_main]

use daxfs::std_platform::StdPlatform;
use daxfs::validate;
use daxfs_tests::history::GRANDCHILD;
use daxfs_tests::image::{Scratch, read_write};
use daxfs_tests::patch::LogTemplate;
use daxfs_tests::walk::look_and_change;
use libfuzzer_sys::fuzz_target;
use std::cell::LazyCell;

thread_local! {
    static TEMPLATE: LazyCell<LogTemplate> = LazyCell::new(LogTemplate::new);
    static SCRATCH: Scratch = Scratch::new();
}

fuzz_target!(|input: &[u8]| {
    let image = TEMPLATE.with(|template| template.with_log(input));
    SCRATCH.with(|scratch| {
        scratch.fill(&image);
        let _ = validate(&StdPlatform, &scratch.fixed(), &mut |problem| {
            assert!(!problem.to_string().is_empty());
        });
        if let Ok(mount) = scratch.mount(&read_write(Some(GRANDCHILD))) {
            look_and_change(&mount);
            let _ = mount.unmount();
        }
    });
});
