//! Many members at once, each an engine of its own over its own mapping of one file of memory: as
//! threads and as processes they change what they branched off at random, check every outcome
//! against a reference, and race to commit. No commit may be lost or come through in part, whoever
//! looks, and nothing may be left behind.

use daxfs_tests::arena::Arena;
use daxfs_tests::processes::Processes;
use daxfs_tests::racer::{Event, Racer};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Long enough that no member is taken for dead for want of a processor.
const LEASE_MS: u32 = 20_000;

fn race_in_threads(members: u64, rounds: usize) {
    let arena = Arena::new(48 << 20, LEASE_MS);
    let events = Mutex::new(Vec::new());
    let totals = Mutex::new((0, 0, Duration::ZERO));
    std::thread::scope(|scope| {
        for member in 0..members {
            let (arena, events, totals) = (&arena, &events, &totals);
            scope.spawn(move || {
                let mut racer = Racer::new(arena.file(), &format!("m{member}"), member);
                for _ in 0..rounds {
                    racer.round(&mut |event| events.lock().unwrap().push(event));
                }
                let mut totals = totals.lock().unwrap();
                totals.0 += racer.operations;
                totals.1 += racer.verified;
                totals.2 = totals.2.max(racer.slowest);
            });
        }
    });
    let events = events.into_inner().unwrap();
    let last = arena.check(&events);
    let (operations, verified, slowest) = totals.into_inner().unwrap();
    let lost = events.iter().filter(|event| **event == Event::Lost).count();
    println!(
        "{members} threads: {} commits, {lost} branches lost to siblings, {operations} operations, \
         {verified} bytes verified, the slowest operation took {slowest:?}",
        last.number
    );
    assert!(last.number > 0, "somebody commits");
    assert!(slowest < Duration::from_millis(LEASE_MS.into()), "nobody waits for anybody");
}

#[test]
fn two_members_in_one_process() {
    race_in_threads(2, 60);
}

#[test]
fn sixteen_members_in_one_process() {
    race_in_threads(16, 15);
}

fn race_in_processes(members: u64, time: Duration) {
    let arena = Arena::new(48 << 20, LEASE_MS);
    let mut processes = Processes::new(Path::new(env!("CARGO_BIN_EXE_member")), &arena);
    for member in 0..members {
        processes.start("race", &format!("p{member}"), member);
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = processes.finish();
    let last = arena.check(&told.events);
    println!(
        "{members} processes: {} commits, {} operations, {} bytes verified, the slowest operation \
         took {} ms",
        last.number, told.operations, told.verified, told.slowest_ms
    );
    assert!(last.number > 0, "somebody commits");
    assert!(told.slowest_ms < LEASE_MS.into(), "nobody waits for anybody");
}

#[test]
fn two_members_in_processes_of_their_own() {
    race_in_processes(2, Duration::from_secs(4));
}

#[test]
fn sixteen_members_in_processes_of_their_own() {
    race_in_processes(16, Duration::from_secs(6));
}
