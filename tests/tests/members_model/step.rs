//! What may happen.

use daxfs::RenameMode;
use daxfs_tests::operation::{Operation, Path};
use proptest::prelude::*;

/// Names of branches: few, so that they meet.
pub const BRANCHES: [&str; 6] = ["main", "b1", "b2", "b3", "b4", "b5"];
/// Members that can run at once.
pub const PLACES: usize = 4;

/// A branch: mostly one that is there, the first, second and so on of them; else a name.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    There(usize),
    Named(usize),
}

/// One step. Numbers of members count those who run. It does nothing if there are none, if there is no
/// place for one more, or nobody is dead.
#[derive(Clone, Debug)]
pub enum Step {
    /// A member comes, to look at a branch.
    Look(Pick),
    /// A member comes, to write to a branch, which it makes from `parent` if there is none.
    Write {
        branch: Pick,
        parent: Pick,
        keep: bool,
    },
    /// A member goes.
    Unmount(usize),
    /// A member stops without a word.
    Crash(usize),
    /// A member operates on files.
    Files(usize, Vec<Operation>),
    CreateBranch(usize, usize, Option<Pick>),
    Switch(usize, Pick),
    Commit(usize),
    Abort(usize),
    Compact(usize),
    Sync(usize),
    /// Time passes, and then those members tick whose bits are set.
    Tick {
        ms: u64,
        who: u8,
    },
    /// Somebody confirms the death of one of those who do not run any more.
    Reap(usize),
    /// A tool changes branches that nobody owns.
    ToolCreate(usize, Pick),
    ToolCommit(Pick),
    ToolAbort(Pick),
}

/// What most of the steps are.
#[derive(Clone, Copy, Debug)]
pub enum Story {
    /// Files and branches.
    Work,
    /// Crashes, rests, and what comes after them.
    Death,
}

/// Few paths, so that operations meet. Some are the base image's.
fn path() -> impl Strategy<Value = Path> {
    let paths =
        vec!["a", "b", "c", "empty", "dir", "dir/a", "dir/file", "dir/sub", "dir/sub/deep", "c/a"];
    prop::sample::select(paths)
        .prop_map(|path| path.split('/').map(|name| name.as_bytes().to_vec()).collect())
}

fn pick() -> impl Strategy<Value = Pick> {
    let named = (0..BRANCHES.len()).prop_map(Pick::Named);
    prop_oneof![3 => (0..BRANCHES.len()).prop_map(Pick::There), 1 => named]
}

fn rename_mode() -> impl Strategy<Value = RenameMode> {
    prop::sample::select(vec![RenameMode::Replace, RenameMode::Exchange, RenameMode::NoReplace])
}

fn operation() -> impl Strategy<Value = Operation> {
    let offset = prop_oneof![Just(0_usize), 0..10_000_usize, 4090..4100_usize];
    let len = prop_oneof![1..100_usize, Just(4096_usize), 1..20_000_usize];
    let extent = (offset, len);
    prop_oneof![
        4 => path().prop_map(|p| Operation::Create(p, 0o644)),
        2 => path().prop_map(|p| Operation::MakeDirectory(p, 0o755)),
        8 => (path(), extent, any::<u8>()).prop_map(|(p, e, s)| Operation::Write(p, e, s)),
        2 => (path(), 1..9000_usize, any::<u8>()).prop_map(|(p, l, s)| Operation::Append(p, l, s)),
        2 => (path(), 0..20_000_usize).prop_map(|(p, s)| Operation::Truncate(p, s)),
        2 => (path(), (0..20_000_usize, 1..20_000_usize)).prop_map(|(p, s)| Operation::Punch(p, s)),
        1 => (path(), 0..0o10000_u32).prop_map(|(p, m)| Operation::Chmod(p, m)),
        3 => path().prop_map(Operation::Unlink),
        1 => path().prop_map(Operation::RemoveDirectory),
        3 => (path(), path(), rename_mode()).prop_map(|(f, t, m)| Operation::Rename(f, t, m)),
        1 => (path(), 0..9000_usize).prop_map(|(p, at)| Operation::Read(p, (at, 5000))),
    ]
}

/// Steps of a story.
pub fn step(story: Story) -> impl Strategy<Value = Step> {
    let (work, death) = match story {
        Story::Work => (60, 1),
        Story::Death => (25, 6),
    };
    let member = || 0..PLACES;
    let name = || 0..BRANCHES.len();
    let write = (name().prop_map(Pick::Named), pick(), any::<bool>())
        .prop_map(|(branch, parent, keep)| Step::Write { branch, parent, keep });
    // The lease is 2000 ms: some of these do not end it, some just do.
    let ms = prop::sample::select(vec![1, 400, 999, 1001, 1999, 2000, 2001, 5000]);
    prop_oneof![
        work => (member(), prop::collection::vec(operation(), 1..8))
            .prop_map(|(member, operations)| Step::Files(member, operations)),
        12 => write,
        3 => pick().prop_map(Step::Look),
        3 => member().prop_map(Step::Unmount),
        10 => (member(), name(), prop::option::weighted(0.3, pick()))
            .prop_map(|(member, name, parent)| Step::CreateBranch(member, name, parent)),
        3 => (member(), pick()).prop_map(|(member, to)| Step::Switch(member, to)),
        5 => member().prop_map(Step::Commit),
        4 => member().prop_map(Step::Abort),
        2 => member().prop_map(Step::Compact),
        1 => member().prop_map(Step::Sync),
        death => member().prop_map(Step::Crash),
        3 * death => (ms, any::<u8>()).prop_map(|(ms, who)| Step::Tick { ms, who }),
        2 * death => (0..4_usize).prop_map(Step::Reap),
        2 => (name(), pick()).prop_map(|(name, parent)| Step::ToolCreate(name, parent)),
        1 => pick().prop_map(Step::ToolCommit),
        1 => pick().prop_map(Step::ToolAbort),
    ]
}
