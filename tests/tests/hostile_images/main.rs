//! Hostile images: whatever an image says, `validate` refuses it with a message, and without
//! `validate` every operation returns. Nothing panics, and nothing runs for ever.
//!
//! | module | what is hostile |
//! |---|---|
//! | [`fields`] | every field of every structure, one at a time |
//! | [`trees`] | directories, names, links, regions that overlap |
//! | [`logs`] | logs cut at every byte, chains that lead in circles or astray |
//! | [`bytes`] | random bytes, images cut short, a peer that writes while we look |

mod bytes;
mod fields;
mod free;
mod logs;
mod trees;

use daxfs::Mount;
use daxfs::std_platform::StdPlatform;
use daxfs_tests::history::{CHILD, GRANDCHILD};
use daxfs_tests::image::{Image, Scratch, problems, read_only, read_write};
use daxfs_tests::walk::{look, look_and_change};
use std::cell::Cell;

/// What hostile images are tried on.
#[derive(Default)]
struct Victim {
    scratch: Scratch,
    /// Cases so far: each takes its turn at what is done to a mount that writes.
    turn: Cell<u32>,
}

impl Victim {
    /// Mounts `image` without validation, looks at everything, and changes everything.
    fn survive(&self, image: &Image) {
        self.scratch.fill(image);
        for branch in [None, Some(CHILD), Some(GRANDCHILD)] {
            let mount = Mount::new(StdPlatform, self.scratch.fixed(), &read_only(branch));
            if let Ok(mount) = mount {
                look(&mount);
                let _ = mount.unmount();
            }
        }
        let turn = self.turn.replace(self.turn.get() + 1);
        let branch = if turn.is_multiple_of(2) { Some(GRANDCHILD) } else { Some("new") };
        if let Ok(mount) = self.scratch.mount(&read_write(branch)) {
            look_and_change(&mount);
            let _ = mount.unmount();
        }
    }

    /// `validate` must have something to say about `image`.
    fn refuse(&self, image: &Image) -> Result<(), String> {
        self.scratch.fill(image);
        let problems = problems(&self.scratch.fixed());
        if problems.is_empty() {
            return Err("validate finds nothing wrong".into());
        }
        match problems.iter().find(|text| text.is_empty()) {
            Some(_) => Err("a problem without a message".into()),
            None => Ok(()),
        }
    }

    /// Both.
    fn refuse_and_survive(&self, image: &Image) -> Result<(), String> {
        self.refuse(image)?;
        self.survive(image);
        Ok(())
    }
}
