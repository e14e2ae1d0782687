//! A program that saves its state as such programs do: it writes a new file and renames it over the
//! old one. Whenever it is killed, the name leads to a complete state, the last or the one before.

use crate::image::{TestMount, name};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, Errno, Ino, LastLink, Mount, MountOptions, NewInode, Region, RenameMode, SetAttributes,
};
use std::fs::File;
use std::time::{Duration, Instant};

/// Name of the branch that the program called `title` works on.
#[must_use]
pub fn branch(title: &str) -> String {
    format!("keep-{title}")
}

/// State number `number`: it says its number, and everything else in it follows from that.
fn content(number: u64, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9));
    let mut content = number.to_le_bytes().to_vec();
    let len = rng.usize(0..200_000);
    content.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
    content
}

fn options(title: &str, keep: bool) -> MountOptions {
    MountOptions {
        branch: Some(name(&branch(title))),
        access: Access::ReadWrite,
        name: Some(name(title)),
        keep,
        ..Default::default()
    }
}

fn mount(file: &File, title: &str, keep: bool) -> TestMount {
    let region = Region::new(MappedFile::new(file, true).expect("mapping the image"));
    Mount::new(StdPlatform, region, &options(title, keep)).expect("a branch of its own")
}

/// Does `operation`, as soon as there is room: a dead member keeps what it could see from being used
/// again until its death is confirmed.
fn patiently<T>(mount: &TestMount, start: Instant, operation: impl Fn() -> daxfs::Result<T>) -> T {
    let full_since = Instant::now();
    loop {
        mount.tick(start.elapsed().as_millis() as u64 + 1).expect("alive");
        match operation() {
            Ok(done) => return done,
            Err(error) => {
                let waited = full_since.elapsed();
                let full = error.errno() == Errno::ENOSPC && waited < Duration::from_secs(30);
                assert!(full, "{error}, after {waited:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Saves one state after the other, and tells the number of each that is saved.
///
/// # Panics
///
/// If the engine fails.
pub fn save_for_ever(
    file: &File,
    title: &str,
    seed: u64,
    goes_on: &dyn Fn() -> bool,
    saved: &mut dyn FnMut(u64),
) {
    let mount = mount(file, title, true);
    let start = Instant::now();
    let new = NewInode { mode: 0o100_600, uid: 0, gid: 0, rdev: 0 };
    for number in 1.. {
        if !goes_on() {
            break;
        }
        let made = patiently(&mount, start, || mount.create(Ino::ROOT, b"state.new", &new)).ino;
        let content = content(number, seed);
        let mut done = 0;
        while done < content.len() {
            let piece = &content[done..content.len().min(done + 30_000)];
            done += patiently(&mount, start, || mount.write(made, done as u64, piece));
        }
        patiently(&mount, start, || {
            mount.rename(Ino::ROOT, b"state.new", Ino::ROOT, b"state", RenameMode::Replace)
        });
        saved(number);
    }
    mount.unmount().expect("the branch is kept");
}

/// Takes over from the program called `title`, which has ended: checks the state that its name leads
/// to, and returns its number, 0 if there is none. The branch ends.
///
/// # Panics
///
/// If the state is not complete.
#[must_use]
pub fn take_over(file: &File, title: &str, seed: u64) -> u64 {
    let mount = mount(file, title, false);
    let number = match mount.resolve(b"/state", LastLink::Keep) {
        Ok(found) => {
            let mut bytes = vec![0; found.size as usize];
            let read = mount.read(found.ino, 0, &mut bytes).expect("a file that is there");
            assert_eq!(read, bytes.len());
            let (number, _) = bytes.split_first_chunk().expect("a number");
            let number = u64::from_le_bytes(*number);
            assert!(bytes == content(number, seed), "state {number} is not complete");
            number
        }
        Err(_) => 0,
    };
    // Who takes over can go on from there.
    if let Ok(found) = mount.resolve(b"/state.new", LastLink::Keep) {
        let empty = SetAttributes { size: Some(0), ..Default::default() };
        mount.setattr(found.ino, &empty).expect("a file that is there");
    }
    mount.unmount().expect("the branch is discarded");
    number
}
