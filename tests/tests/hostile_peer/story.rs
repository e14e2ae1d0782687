//! What mounts do while a peer is hostile, and the bounds that hold for each operation.

use crate::lying::{Peer, Range, Victim};
use crate::memory::Usage;
use daxfs::{Mount, MountOptions, Volume, validate};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::history::{self, GRANDCHILD};
use daxfs_tests::image::{Image, read_only, read_write};
use daxfs_tests::walk::{look_and_change_each, look_each};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time an operation may take. They take milliseconds; a loaded machine gets plenty of time.
const MOST_TIME: Duration = Duration::from_secs(20);
/// Bytes of private memory that a mount, with what looks at it, may take for each byte of the image. The
/// good images take a quarter of a byte.
const MOST_MEMORY: u64 = 4;

/// What mounts do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    /// A writer does everything there is to do.
    Work,
    /// The same on a branch of its own, made for it.
    NewBranch,
    /// Somebody looks at a branch with ancestors.
    Follow,
    /// A mount ends without a word; another notices, and its death is confirmed.
    Death,
    /// An image of the old format is mounted for writing for the first time.
    Upgrade,
    /// The image is checked.
    Validate,
}

impl Story {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Work, Self::NewBranch, Self::Follow, Self::Death, Self::Upgrade, Self::Validate];

    /// The image it is about.
    pub fn image(self) -> Image {
        match self {
            Self::Work | Self::Follow | Self::Validate => history::compacted(),
            Self::NewBranch | Self::Death => history::segmented(),
            Self::Upgrade => ImageBuilder::new(Kind::Plain).build(),
        }
    }

    /// Tells it on `range`, beside `peer`.
    pub fn tell(self, range: &Range, peer: &Arc<Peer>, measure: &mut Measure) {
        match self {
            Self::Work => work(range, peer, &shared(read_write(Some(GRANDCHILD))), measure),
            Self::NewBranch | Self::Upgrade => {
                work(range, peer, &shared(read_write(Some("new"))), measure);
            }
            Self::Follow => work(range, peer, &read_only(Some(GRANDCHILD)), measure),
            Self::Death => death(range, peer, measure),
            Self::Validate => {
                let mut note = |problem: &daxfs::Problem| {
                    assert!(!problem.to_string().is_empty());
                };
                // The result does not matter, here and below: only that there is one.
                let _ = validate(&Victim, &range.region(peer), &mut note);
                measure.operation(peer);
            }
        }
    }
}

/// The options of a mount that is not alone.
fn shared(options: MountOptions) -> MountOptions {
    MountOptions { exclusive: false, ..options }
}

/// Mounts, does everything there is to do with such a mount, and unmounts.
pub fn work(range: &Range, peer: &Arc<Peer>, options: &MountOptions, measure: &mut Measure) {
    let mounted = Mount::new(Victim, range.region(peer), options);
    measure.operation(peer);
    let Ok(mount) = mounted else { return };
    measure.mounts += 1;
    let each = &mut || measure.operation(peer);
    if options.access == daxfs::Access::ReadWrite {
        look_and_change_each(&mount, each);
    } else {
        look_each(&mount, each);
    }
    let _ = mount.tick(1000);
    measure.operation(peer);
    let _ = mount.unmount();
    measure.operation(peer);
}

fn death(range: &Range, peer: &Arc<Peer>, measure: &mut Measure) {
    let mount = |branch| {
        let options = MountOptions { keep: false, ..shared(read_write(Some(branch))) };
        Mount::new(Victim, range.region(peer), &options)
    };
    let dead = mount("dead");
    measure.operation(peer);
    if let Ok(dead) = &dead {
        let _ = dead.create_branch(&daxfs_tests::image::name("nested"), None);
        measure.operation(peer);
    }
    let survivor = mount("survivor");
    measure.operation(peer);
    let Ok(survivor) = survivor else { return };
    measure.mounts += 1;
    for now in [1, 1 << 40, 1 << 41] {
        let _ = survivor.tick(now);
        measure.operation(peer);
    }
    if let Ok(dead) = dead {
        let _ = dead.tick(1);
        measure.operation(peer);
        drop(dead);
    }
    if let Ok(volume) = Volume::open(Victim, range.region(peer)) {
        let mut members = Vec::new();
        let _ = volume.members(&mut |member| members.push(member.index));
        measure.operation(peer);
        for member in members {
            let _ = volume.reap(member);
            measure.operation(peer);
        }
    }
    let _ = survivor.commit();
    measure.operation(peer);
    let _ = survivor.unmount();
    measure.operation(peer);
    let alone = Mount::new(Victim, range.region(peer), &read_write(None));
    measure.operation(peer);
    if let Ok(alone) = alone {
        let _ = alone.compact();
        measure.operation(peer);
    }
}

/// What the operations of a thread take.
pub struct Measure {
    usage: Usage,
    began: Instant,
    /// Operations so far.
    pub operations: u64,
    /// Mounts that came about.
    pub mounts: u64,
    /// Longest time of one.
    pub time: Duration,
}

impl Measure {
    /// Starts to measure.
    pub fn new() -> Self {
        let (time, began) = (Duration::ZERO, Instant::now());
        Self { usage: Usage::new(), began, operations: 0, mounts: 0, time }
    }

    /// An operation is over.
    fn operation(&mut self, peer: &Peer) {
        peer.next_operation();
        self.operations += 1;
        self.time = self.time.max(self.began.elapsed());
        self.began = Instant::now();
    }

    /// What is wrong with what was measured on `image`, if anything.
    pub fn verdict(&self, image: &Image) -> Result<(), String> {
        let most = MOST_MEMORY * image.bytes.len() as u64;
        if self.time > MOST_TIME {
            return Err(format!("an operation took {:?}", self.time));
        }
        match self.memory() {
            memory if memory > most => Err(format!("{memory} bytes of memory, more than {most}")),
            _ => Ok(()),
        }
    }

    /// The most memory there was at once.
    pub fn memory(&self) -> u64 {
        self.usage.most()
    }
}
