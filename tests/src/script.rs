//! A story of members on one image and of lies between their operations, told by bytes: what fuzzers
//! change.
//!
//! Each step is one byte, with the bytes it asks for behind it; an input that ends has ended. A step is
//! either an operation of one of a few members (mount, commit, tick, ...), or a lie: a value stored in a
//! field that kernels coordinate with. Nothing is expected of what the operations return.

use crate::field::{Field, fields};
use crate::history::{self, CHILD, GRANDCHILD};
use crate::image::{Image, Scratch, TestMount, name, read_only, read_write};
use crate::lie::{Choices, by_kind, lie, shared};
use crate::walk::{look, look_and_change};
use daxfs::std_platform::StdPlatform;
use daxfs::{FileType, Ino, MemberIndex, MountOptions, NewInode, RegionOffset, RenameMode, Volume};

/// Members that can run at once.
const PLACES: usize = 3;
/// Steps of an input, at most: one that says "mount" again and again takes long.
const MOST_STEPS: usize = 60;
/// Of these, those that look at everything.
const MOST_WALKS: u32 = 6;

/// Good images, and where lies are stored in them.
pub struct Script {
    images: Vec<(Image, Vec<Vec<Field>>)>,
    scratch: Scratch,
}

impl Default for Script {
    fn default() -> Self {
        let images = [history::segmented(), history::compacted()];
        let images = images.map(|image| {
            let kinds = by_kind(&shared(&fields(&image)));
            (image, kinds)
        });
        Self { images: images.into(), scratch: Scratch::new() }
    }
}

/// Bytes that are used one after the other; zeros at the end.
struct Input<'i> {
    bytes: &'i [u8],
}

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }
}

impl Choices for Input<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let low = u64::from(self.next().unwrap_or(0));
        let number = if bound > 256 { low | u64::from(self.next().unwrap_or(0)) << 8 } else { low };
        number % bound
    }

    fn any(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.next().unwrap_or(0)))
    }
}

/// Steps, as their bytes have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Step {
    /// A lie: the kind of structure, the field, and what is stored.
    Lie,
    /// A member comes: its place, and how.
    Mount,
    /// A member goes.
    Unmount,
    /// A member stops without a word.
    Crash,
    /// A member changes a file.
    Write,
    /// A member makes a branch.
    CreateBranch,
    /// A member goes to another branch.
    Switch,
    /// A member commits.
    Commit,
    /// A member aborts.
    Abort,
    /// A member rewrites its log.
    Compact,
    /// Time passes for a member.
    Tick,
    /// A member looks at everything.
    Look,
    /// A member does everything there is to do.
    Change,
    /// Somebody confirms a death.
    Reap,
    /// A tool makes, commits or aborts a branch.
    Tool,
}

/// All steps.
pub const STEPS: [Step; 15] = [
    Step::Lie,
    Step::Mount,
    Step::Unmount,
    Step::Crash,
    Step::Write,
    Step::CreateBranch,
    Step::Switch,
    Step::Commit,
    Step::Abort,
    Step::Compact,
    Step::Tick,
    Step::Look,
    Step::Change,
    Step::Reap,
    Step::Tool,
];

/// Names of branches that steps choose from.
const BRANCHES: [&str; 6] = ["main", CHILD, GRANDCHILD, "one", "two", "three"];

impl Script {
    /// Tells the story in `input`.
    pub fn run(&self, input: &[u8]) {
        let mut input = Input { bytes: input };
        let Some(choice) = input.next() else { return };
        let (image, kinds) = &self.images[usize::from(choice) % self.images.len()];
        self.scratch.fill(image);
        let mut stage = Stage {
            scratch: &self.scratch,
            kinds,
            places: [const { None }; PLACES],
            clock: 1,
            walks: 0,
        };
        for _ in 0..MOST_STEPS {
            let Some(step) = input.next() else { break };
            stage.step(STEPS[usize::from(step) % STEPS.len()], &mut input);
        }
    }
}

struct Stage<'s> {
    scratch: &'s Scratch,
    kinds: &'s [Vec<Field>],
    places: [Option<TestMount>; PLACES],
    clock: u64,
    walks: u32,
}

impl Stage<'_> {
    fn step(&mut self, step: Step, input: &mut Input<'_>) {
        let place = input.below(PLACES as u64) as usize;
        match step {
            Step::Lie => self.lie(input),
            Step::Mount => self.mount(place, input),
            Step::Unmount => {
                let _ = self.places[place].take().map(TestMount::unmount);
            }
            Step::Crash => drop(self.places[place].take()),
            Step::Reap => {
                let index = MemberIndex::new(input.below(4) as u8);
                self.tool(|volume| volume.reap(index));
            }
            Step::Tool => {
                let (one, two) = (branch(input), branch(input));
                match input.below(3) {
                    0 => self.tool(|volume| volume.create_branch(&one, &two).map(|_| ())),
                    1 => self.tool(|volume| volume.commit(&one)),
                    _ => self.tool(|volume| volume.abort(&one)),
                }
            }
            _ => {
                self.walks += u32::from(matches!(step, Step::Look | Step::Change));
                if let Some(mount) =
                    self.places[place].as_ref().filter(|_| self.walks <= MOST_WALKS)
                {
                    self.clock += input.below(4) * 1000;
                    operate(mount, step, self.clock, input);
                }
            }
        }
    }

    fn lie(&self, input: &mut Input<'_>) {
        let kind = &self.kinds[input.below(self.kinds.len() as u64) as usize];
        let field = kind[input.below(kind.len() as u64) as usize];
        let (region, at) = (self.scratch.region(), RegionOffset::new(field.at));
        let mut word = [0; 8];
        region.copy_out(at, &mut word[..field.width]).expect("a field is in the range");
        let lie = lie(&field, u64::from_le_bytes(word), input).to_le_bytes();
        region.copy_in(at, &lie[..field.width]).expect("a field is in the range");
    }

    fn mount(&mut self, place: usize, input: &mut Input<'_>) {
        let how = input.below(8);
        let (at, from) = (branch(input), branch(input));
        let options = if how & 1 == 0 { read_write(None) } else { read_only(None) };
        let (keep, exclusive) = (how & 2 != 0, how == 4);
        let options =
            MountOptions { branch: Some(at), parent: Some(from), keep, exclusive, ..options };
        if self.places[place].is_none() {
            self.places[place] = self.scratch.mount(&options).ok();
        }
    }

    fn tool(&self, act: impl FnOnce(&Volume<StdPlatform>) -> daxfs::Result<()>) {
        if let Ok(volume) = Volume::open(StdPlatform, self.scratch.region()) {
            let _ = act(&volume);
        }
    }
}

fn branch(input: &mut Input<'_>) -> daxfs::BranchName {
    name(BRANCHES[input.below(BRANCHES.len() as u64) as usize])
}

/// A member does something; the result does not matter, only that there is one.
fn operate(mount: &TestMount, step: Step, clock: u64, input: &mut Input<'_>) {
    let result = match step {
        Step::Write => write(mount, input),
        Step::CreateBranch => {
            let (new, parent) = (branch(input), branch(input));
            mount.create_branch(&new, (input.below(2) == 0).then_some(&parent))
        }
        Step::Switch => mount.switch(&branch(input)),
        Step::Commit => mount.commit(),
        Step::Abort => mount.abort(),
        Step::Compact => mount.compact(),
        Step::Tick => mount.tick(clock),
        Step::Look => {
            look(mount);
            Ok(())
        }
        _ => {
            look_and_change(mount);
            Ok(())
        }
    };
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}

fn write(mount: &TestMount, input: &mut Input<'_>) -> daxfs::Result<()> {
    let new = NewInode { mode: FileType::Regular.mode_bits() | 0o644, uid: 0, gid: 0, rdev: 0 };
    let title = [b'f', b'0' + input.below(4) as u8];
    let ino = match mount.lookup(Ino::ROOT, &title) {
        Ok(found) => found.ino,
        Err(_) => mount.create(Ino::ROOT, &title, &new)?.ino,
    };
    match input.below(4) {
        0 => mount.unlink(Ino::ROOT, &title),
        1 => mount.rename(Ino::ROOT, &title, Ino::ROOT, b"f0", RenameMode::Replace),
        _ => {
            let (offset, len) = (input.below(1 << 16), input.below(1 << 15) as usize);
            mount.write(ino, offset, &vec![b'f'; len]).map(|_| ())
        }
    }
}

/// Inputs to start with: what members do when nobody lies, and the same with a lie before each step.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let step = |step: Step, bytes: &[u8]| [&[step as u8], bytes].concat();
    // The first byte behind a step is the place.
    let stories: [&[Vec<u8>]; 4] = [
        &[
            step(Step::Mount, &[0, 0, 3, 0]),
            step(Step::Mount, &[1, 1, 3, 0]),
            step(Step::Write, &[0, 0, 0, 3, 0, 0, 0, 64]),
            step(Step::Look, &[1, 0]),
            step(Step::Compact, &[0, 0]),
            step(Step::Tick, &[1, 1]),
            step(Step::Commit, &[0, 0]),
            step(Step::Look, &[1, 0]),
            step(Step::Unmount, &[0]),
        ],
        &[
            step(Step::Mount, &[0, 0, 3, 1]),
            step(Step::CreateBranch, &[0, 0, 4, 0, 1]),
            step(Step::Write, &[0, 0, 0, 2, 0, 0, 0, 16]),
            step(Step::Mount, &[1, 0, 5, 0]),
            step(Step::Crash, &[0]),
            step(Step::Tick, &[1, 0]),
            step(Step::Tick, &[1, 3]),
            step(Step::Reap, &[0, 0]),
            step(Step::Switch, &[1, 0, 1]),
            step(Step::Change, &[1, 0]),
        ],
        &[
            step(Step::Tool, &[0, 3, 0, 0]),
            step(Step::Tool, &[0, 4, 3, 0]),
            step(Step::Tool, &[0, 4, 0, 1]),
            step(Step::Mount, &[0, 4, 3, 0]),
            step(Step::Change, &[0, 0]),
            step(Step::Tool, &[0, 3, 0, 2]),
        ],
        &[
            step(Step::Mount, &[0, 0, 0, 0]),
            step(Step::CreateBranch, &[0, 0, 3, 0, 1]),
            step(Step::Abort, &[0, 0]),
            step(Step::CreateBranch, &[0, 0, 4, 0, 1]),
            step(Step::Mount, &[1, 1, 0, 0]),
            step(Step::Commit, &[0, 0]),
            step(Step::Write, &[0, 0, 0, 0]),
            step(Step::Look, &[1, 0]),
        ],
    ];
    let mut seeds = Vec::new();
    for image in 0..2_u8 {
        for story in stories {
            seeds.push([&[image], &*story.concat()].concat());
            for kind in 0..6_u8 {
                for number in 0..8_u8 {
                    // Kind, field, and a lie that means something.
                    let lie = step(Step::Lie, &[0, kind, number, 1, number, kind, 1, 0]);
                    let steps: Vec<u8> =
                        story.iter().flat_map(|step| [lie.as_slice(), step].concat()).collect();
                    seeds.push([&[image], &*steps].concat());
                }
            }
        }
    }
    seeds
}
