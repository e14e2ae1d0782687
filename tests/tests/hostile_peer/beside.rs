//! The peer is a thread of its own, beside a writer, the writer of another branch and a follower, which
//! mount again and again.

use crate::lying::{Peer, Plan, Range};
use crate::story::{Measure, work};
use crate::{begin, deadline, in_a_child};
use daxfs::{MountOptions, RegionOffset};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::cases::Cases;
use daxfs_tests::field::{Field, fields};
use daxfs_tests::history;
use daxfs_tests::image::{Image, read_only, read_write};
use daxfs_tests::lie::{by_kind, lie, shared};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times each worker mounts in a case.
const MOUNTS: u32 = 2;

/// What the peer writes.
#[derive(Clone, Copy, Debug)]
enum Hostility {
    /// Random bytes anywhere.
    Noise,
    /// Lies into what kernels coordinate with: the coordination block, member and branch records, the
    /// segment map, logs.
    Lies,
}

impl Hostility {
    fn bytes(
        self,
        rng: &mut fastrand::Rng,
        kinds: &[Vec<Field>],
        read: impl Fn(u64, &mut [u8]),
        size: u64,
    ) -> (u64, Vec<u8>) {
        match self {
            Self::Noise => {
                let len = rng.usize(1..64);
                (rng.u64(0..size - len as u64), (0..len).map(|_| rng.u8(..)).collect())
            }
            Self::Lies => {
                let kind = &kinds[rng.usize(..kinds.len())];
                let field = kind[rng.usize(..kind.len())];
                let mut word = [0; 8];
                read(field.at, &mut word[..field.width]);
                let lie = lie(&field, u64::from_le_bytes(word), rng);
                (field.at, lie.to_le_bytes()[..field.width].to_vec())
            }
        }
    }
}

/// What happened, so that a test that did nothing is seen.
#[derive(Default, Debug)]
struct Counts {
    mounts: AtomicU64,
    operations: AtomicU64,
    disturbances: AtomicU64,
    memory: AtomicU64,
    time: AtomicU64,
}

struct Case<'c> {
    image: &'c Image,
    kinds: &'c [Vec<Field>],
    range: &'c Range,
    counts: &'c Counts,
}

impl Case<'_> {
    fn run(&self, hostility: Hostility, seed: u64) -> Result<(), String> {
        self.range.fill(self.image);
        let options = [read_write(Some("first")), read_write(Some("second")), read_only(None)]
            .map(|options| MountOptions { exclusive: false, ..options });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let done = &done;
            scope.spawn(move || self.disturb(hostility, seed, done));
            let workers = options.each_ref().map(|options| scope.spawn(|| self.work(options)));
            let ends =
                workers.map(|worker| worker.join().map_err(|_| "a worker panicked".to_owned()));
            done.store(true, Ordering::Relaxed);
            ends.into_iter().try_for_each(|end| end?)
        })
    }

    fn disturb(&self, hostility: Hostility, seed: u64, done: &AtomicBool) {
        let region = self.range.region(&Peer::new(Plan::Honest, 0));
        let peer = region.size();
        let read = |at, into: &mut [u8]| {
            region.copy_out(RegionOffset::new(at), into).expect("a field is in the range");
        };
        let mut rng = fastrand::Rng::with_seed(seed);
        let pause = |spins: u32| (0..spins).for_each(|_| std::hint::spin_loop());
        // Some mounts find a good image.
        pause(rng.u32(..1 << 18));
        while !done.load(Ordering::Relaxed) {
            let (at, bytes) = hostility.bytes(&mut rng, self.kinds, read, peer);
            region.copy_in(RegionOffset::new(at), &bytes).expect("inside the range");
            self.counts.disturbances.fetch_add(1, Ordering::Relaxed);
            // Some peers are quick, others leave time for whole operations.
            pause(1 << rng.u32(..=seed as u32 % 17));
        }
    }

    fn work(&self, options: &MountOptions) -> Result<(), String> {
        let (peer, mut measure) = (Peer::new(Plan::Honest, 0), Measure::new());
        for _ in 0..MOUNTS {
            work(self.range, &peer, options, &mut measure);
        }
        let counts = self.counts;
        counts.mounts.fetch_add(measure.mounts, Ordering::Relaxed);
        counts.operations.fetch_add(measure.operations, Ordering::Relaxed);
        counts.memory.fetch_max(measure.memory(), Ordering::Relaxed);
        counts.time.fetch_max(measure.time.as_millis() as u64, Ordering::Relaxed);
        measure.verdict(self.image)
    }
}

fn until_the_end(hostility: Hostility) {
    let (end, mut cases, counts) = (deadline(), Cases::new(), Counts::default());
    let images = [ImageBuilder::new(Kind::Segmented).build(), history::segmented()].map(|image| {
        let (range, kinds) = (Range::new(&image), by_kind(&shared(&fields(&image))));
        (image, range, kinds)
    });
    let mut seed = 0;
    while seed < 4 || Instant::now() < end {
        for (number, (image, range, kinds)) in images.iter().enumerate() {
            let name = format!("{hostility:?}, seed {seed}, image {number}");
            begin(&name);
            let case = Case { image, range, kinds, counts: &counts };
            cases.run(&name, || case.run(hostility, seed));
        }
        seed += 1;
    }
    println!("hostile: {hostility:?}: {seed} seeds; {counts:?}");
    assert!(counts.mounts.into_inner() > seed / 2, "hardly anything was mounted");
    assert!(counts.disturbances.into_inner() > seed, "hardly a disturbance");
    let longest = Duration::from_millis(counts.time.into_inner());
    println!("hostile: longest operation {longest:?}");
    cases.finish(2 * 4);
}

#[test]
fn random_bytes_from_a_peer_harm_nothing() {
    in_a_child("beside::random_bytes_from_a_peer_harm_nothing", || {
        until_the_end(Hostility::Noise);
    });
}

#[test]
fn lies_of_a_peer_harm_nothing() {
    in_a_child("beside::lies_of_a_peer_harm_nothing", || until_the_end(Hostility::Lies));
}
