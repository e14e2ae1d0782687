//! Mounts at work while a peer writes into their range what it likes.
//!
//! A writer, a follower and the writer of a second branch do everything a mount can do, mounting
//! again and again, while a peer writes random bytes anywhere, or lies in fields of structures.
//! Whatever the operations return, they do return, and nothing panics.

use daxfs::{MountOptions, Region, RegionOffset, std_platform::MappedFile};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::cases::Cases;
use daxfs_tests::field::{Field, fields};
use daxfs_tests::history;
use daxfs_tests::image::{Image, Scratch, read_only, read_write};
use daxfs_tests::walk::{look, look_and_change};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times each worker mounts in a case.
const MOUNTS: u32 = 2;
/// Longest time a mount with all its operations may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What happened, so that a test that did nothing is seen.
#[derive(Default, Debug)]
struct Counts {
    mounts: AtomicU64,
    operations: AtomicU64,
    disturbances: AtomicU64,
}

/// What the peer does.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// Random bytes anywhere.
    Noise,
    /// Values that are nearly right, zero, all ones or random, in fields.
    Lies,
}

impl Peer {
    fn disturb(self, rng: &mut fastrand::Rng, fields: &[Field], region: &Region<MappedFile>) {
        let (at, bytes) = match self {
            Self::Noise => {
                let len = rng.usize(1..64);
                let at = rng.u64(0..region.size() - len as u64);
                (at, (0..len).map(|_| rng.u8(..)).collect())
            }
            Self::Lies => {
                let field = fields[rng.usize(..fields.len())];
                let mut word = [0; 8];
                let at = RegionOffset::new(field.at);
                region.copy_out(at, &mut word[..field.width]).expect("a field is in the range");
                let value = u64::from_le_bytes(word);
                let lie = match rng.u32(..6) {
                    0 => value.wrapping_add(1),
                    1 => value.wrapping_sub(1),
                    2 => value ^ (1 << rng.u32(..64)),
                    3 => 0,
                    4 => u64::MAX,
                    _ => rng.u64(..),
                };
                (field.at, lie.to_le_bytes()[..field.width].to_vec())
            }
        };
        region.copy_in(RegionOffset::new(at), &bytes).expect("inside the range");
    }
}

/// A worker's mounts; returns the longest time one took with all its operations.
fn work(scratch: &Scratch, options: &MountOptions, counts: &Counts) -> Duration {
    let mut longest = Duration::ZERO;
    for round in 0..MOUNTS {
        let start = Instant::now();
        if let Ok(mount) = scratch.mount(options) {
            let writes = options.access == daxfs::Access::ReadWrite;
            let count = if writes { look_and_change(&mount) } else { look(&mount) };
            counts.mounts.fetch_add(1, Ordering::Relaxed);
            counts.operations.fetch_add(count, Ordering::Relaxed);
            // The result does not matter, only that there is one.
            let _ = mount.tick(u64::from(round) * 1000);
            let _ = mount.unmount();
        }
        longest = longest.max(start.elapsed());
    }
    longest
}

fn hostile(image: &Image, peer: Peer, seed: u64, counts: &Counts) -> Result<Duration, String> {
    let scratch = Scratch::new();
    scratch.fill(image);
    let fields = fields(image);
    let mut options =
        [read_write(Some("first")), read_write(Some("second")), read_only(Some("main"))];
    for options in &mut options {
        options.exclusive = false;
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let region = scratch.region();
            let mut rng = fastrand::Rng::with_seed(seed);
            while !done.load(Ordering::Relaxed) {
                peer.disturb(&mut rng, &fields, &region);
                counts.disturbances.fetch_add(1, Ordering::Relaxed);
                for _ in 0..rng.u32(..2000) {
                    std::hint::spin_loop();
                }
            }
        });
        let workers = options.each_ref().map(|o| scope.spawn(|| work(&scratch, o, counts)));
        let ends = workers.map(|worker| worker.join().map_err(|_| "a worker panicked".to_owned()));
        done.store(true, Ordering::Relaxed);
        ends.into_iter().try_fold(Duration::ZERO, |longest, end| Ok(longest.max(end?)))
    })
}

fn many(peer: Peer, seeds: u64) {
    let images = [ImageBuilder::new(Kind::Segmented).build(), history::segmented()];
    let counts = Counts::default();
    let (mut cases, mut longest) = (Cases::new(), Duration::ZERO);
    for seed in 0..seeds {
        for (number, image) in images.iter().enumerate() {
            cases.run(&format!("{peer:?}, seed {seed}, image {number}"), || {
                let took = hostile(image, peer, seed, &counts)?;
                longest = longest.max(took);
                if took > LIMIT { Err(format!("a mount took {took:?}")) } else { Ok(()) }
            });
        }
    }
    println!("{peer:?}: {counts:?}, longest mount {longest:?}");
    assert!(counts.mounts.into_inner() > seeds, "hardly anything was mounted");
    cases.finish(seeds * 2);
}

#[test]
fn mounts_outlive_a_peer_that_writes_random_bytes() {
    many(Peer::Noise, 60);
}

#[test]
fn mounts_outlive_a_peer_that_lies_in_fields() {
    many(Peer::Lies, 60);
}
