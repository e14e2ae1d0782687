//! Members are killed at random moments while they work, with SIGKILL, which asks nobody. The others
//! go on without waiting, no commit is lost, a kept branch holds a complete state, and what the dead
//! had comes back.
//!
//! `DAXFS_KILLS=1000 cargo test --release -p daxfs-tests --test killed_members -- --nocapture` kills
//! more of them; `DAXFS_SEED` chooses the moments.

use daxfs::{MemberState, MountOptions};
use daxfs_tests::arena::Arena;
use daxfs_tests::checkpoint;
use daxfs_tests::image::read_only;
use daxfs_tests::processes::Processes;
use fastrand::Rng;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LEASE_MS: u32 = 4000;
const RACERS: u64 = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Waits until a survivor has noticed that a member is dead: the racers do not, whose mounts are
/// shorter than the lease.
fn wait_for_expiry(arena: &Arena, title: &str) -> Duration {
    let start = Instant::now();
    // A member that was between two mounts is not in the table.
    while arena.member(title).is_some_and(|state| state != MemberState::Expired) {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(300), "nobody notices that {title} is dead");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// A mount that is there, and shows life, all the time.
struct Survivor {
    goes_on: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Survivor {
    fn new(arena: &Arena) -> Self {
        let mount = arena.mount(&read_only(None));
        let goes_on = Arc::new(AtomicBool::new(true));
        let until = Arc::clone(&goes_on);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            // Relaxed: a flag by itself.
            while until.load(Ordering::Relaxed) {
                mount.tick(start.elapsed().as_millis() as u64 + 1).expect("it lives");
                std::thread::sleep(Duration::from_millis(10));
            }
            mount.unmount().expect("it lives");
        });
        Self { goes_on, thread }
    }

    fn end(self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.join().expect("it lives");
    }
}

#[test]
fn killed_members_take_nothing_with_them_but_their_own() {
    let kills = number("DAXFS_KILLS").unwrap_or(25);
    let seed = number("DAXFS_SEED").unwrap_or_else(|| Rng::new().u64(..));
    println!("DAXFS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let arena = Arena::new(128 << 20, LEASE_MS);
    let survivor = Survivor::new(&arena);
    let mut processes = Processes::new(Path::new(env!("CARGO_BIN_EXE_member")), &arena);
    let mut started = 0;
    let mut start = |processes: &mut Processes, work: &str| {
        started += 1;
        processes.start(work, &format!("{work}{started}"), seed ^ started);
    };
    for _ in 0..RACERS {
        start(&mut processes, "race");
    }
    start(&mut processes, "checkpoint");
    let (mut expired, mut states, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(rng.u64(0..120_000)));
        let titles = processes.titles();
        let title = titles[rng.usize(..titles.len())].clone();
        processes.kill(&title);
        // Sometimes the survivors find out by themselves, sometimes whoever stopped it says so.
        if rng.u8(..) < 64 {
            slowest = slowest.max(wait_for_expiry(&arena, &title));
            expired += 1;
        }
        arena.reap(&title);
        if let Some(number) = title.strip_prefix("checkpoint") {
            let its_seed = seed ^ number.parse::<u64>().unwrap();
            let saved = processes.told().saved.get(&title).copied().unwrap_or(0);
            let found = checkpoint::take_over(arena.file(), &title, its_seed);
            // It may have been killed between the rename and telling of it.
            assert!(found == saved || found == saved + 1, "{saved} was saved, {found} is there");
            states += 1;
            start(&mut processes, "checkpoint");
        } else {
            start(&mut processes, "race");
        }
    }
    // The last of the checkpointing processes keeps its branch: it has to go for the final check.
    let last =
        processes.titles().into_iter().find(|title| title.starts_with("checkpoint")).unwrap();
    let told = processes.finish();
    let its_seed = seed ^ last["checkpoint".len()..].parse::<u64>().unwrap();
    let saved = told.saved.get(&last).copied().unwrap_or(0);
    assert_eq!(checkpoint::take_over(arena.file(), &last, its_seed), saved);
    survivor.end();
    let state = arena.check(&told.events);
    println!(
        "{kills} kills: {} commits, {} operations, {} bytes verified, {states} states taken over, \
         {expired} deaths noticed by survivors after {slowest:?} at most, the slowest operation of a \
         survivor took {} ms, failures: 0",
        state.number, told.operations, told.verified, told.slowest_ms
    );
    assert!(state.number > 0, "somebody commits");
    assert!(told.slowest_ms < u64::from(LEASE_MS), "survivors never wait for the lease");
    let options: MountOptions = read_only(None);
    arena.mount(&options).unmount().unwrap();
}
