//! An image with arbitrary structures is validated, mounted and walked through.
//!
//! Input: one byte that chooses a good image (and, if its high bit is set, a mount that writes), then
//! patches (`daxfs_tests::patch`).

#![no_main]

use daxfs::std_platform::StdPlatform;
use daxfs::{Mount, validate};
use daxfs_tests::history::{CHILD, GRANDCHILD};
use daxfs_tests::image::{Scratch, read_only, read_write};
use daxfs_tests::patch::Template;
use daxfs_tests::walk::{look, look_and_change};
use libfuzzer_sys::fuzz_target;
use std::cell::LazyCell;

thread_local! {
    static TEMPLATES: LazyCell<Vec<Template>> = LazyCell::new(Template::all);
    static SCRATCH: Scratch = Scratch::new();
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, patches)) = input.split_first() else { return };
    let image = TEMPLATES
        .with(|templates| templates[usize::from(choice & 0x7f) % templates.len()].patched(patches));
    SCRATCH.with(|scratch| {
        scratch.fill(&image);
        let _ = validate(&StdPlatform, &scratch.fixed(), &mut |problem| {
            assert!(!problem.to_string().is_empty());
        });
        for branch in [None, Some(CHILD), Some(GRANDCHILD)] {
            if let Ok(mount) = Mount::new(StdPlatform, scratch.fixed(), &read_only(branch)) {
                look(&mount);
            }
        }
        if choice & 0x80 != 0 {
            if let Ok(mount) = scratch.mount(&read_write(Some(GRANDCHILD))) {
                look_and_change(&mount);
                let _ = mount.unmount();
            }
        }
    });
});
