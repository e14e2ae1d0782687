//! A member in a process of its own, for tests that kill it.
//!
//!     member race FILE TITLE SEED
//!     member checkpoint FILE TITLE SEED
//!
//! It works until its standard input ends, and tells what it does, a line each.

#![forbid(unsafe_code)]

use daxfs_tests::checkpoint;
use daxfs_tests::racer::{Event, Racer};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path, title, seed] = arguments.as_slice() else {
        panic!("usage: member race|checkpoint FILE TITLE SEED");
    };
    let file = File::options().read(true).write(true).open(path).expect("the image");
    let seed = seed.parse().expect("a number");
    let goes_on = Arc::new(AtomicBool::new(true));
    let until = Arc::clone(&goes_on);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // Relaxed: a flag by itself.
        until.store(false, Ordering::Relaxed);
    });
    // One write each, so that no line is ever told in part.
    let tell = |line: String| {
        let mut out = std::io::stdout().lock();
        // Nobody listens any more: whoever started this has ended.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    };
    let goes_on = move || goes_on.load(Ordering::Relaxed);
    match what.as_str() {
        "race" => {
            let mut racer = Racer::new(&file, title, seed);
            while goes_on() {
                racer.round(&mut |event| {
                    tell(match event {
                        Event::Trying(state) => {
                            format!("trying {} {}\n", state.number, state.digest)
                        }
                        Event::Committed(state) => {
                            format!("committed {} {}\n", state.number, state.digest)
                        }
                        Event::Lost => "lost\n".to_owned(),
                    });
                });
                let slowest = racer.slowest.as_millis();
                tell(format!("work {} {} {slowest}\n", racer.operations, racer.verified));
                (racer.operations, racer.verified) = (0, 0);
            }
        }
        "checkpoint" => checkpoint::save_for_ever(&file, title, seed, &goes_on, &mut |number| {
            tell(format!("saved {number}\n"));
        }),
        other => panic!("unknown work {other}"),
    }
}
