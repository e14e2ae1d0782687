//! A front end that maps pages, as a kernel does: it is told when a mapping is good no more.

use daxfs::std_platform::{MappedFile, StdLock};
use daxfs::{Ino, Mount, MountOptions, Platform, Timestamp};
use daxfs_tests::image::Scratch;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// What the engine has told the front end, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Pages of a file are elsewhere.
    Moved(Ino, Range<u64>),
    /// No mapping is good any more.
    Outdated,
    /// Inode numbers mean other files.
    Switched,
}

/// The front end.
#[derive(Clone, Default)]
pub struct Front {
    told: Arc<Mutex<Vec<Told>>>,
}

impl Front {
    /// What it was told since it was asked last.
    pub fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    fn note(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }
}

impl Platform for Front {
    type Backing = MappedFile;
    type Lock<T> = StdLock<T>;

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn random(&self) -> u64 {
        0x5eed
    }

    fn moved(&self, ino: Ino, pages: Range<u64>) {
        self.note(Told::Moved(ino, pages));
    }

    fn outdated(&self) {
        self.note(Told::Outdated);
    }

    fn switched(&self) {
        self.note(Told::Switched);
    }
}

/// A mount of a front end.
pub fn mount(scratch: &Scratch, front: &Front, options: &MountOptions) -> Mount<Front> {
    Mount::new(front.clone(), scratch.region(), options).unwrap()
}
