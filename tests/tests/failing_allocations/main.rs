//! Memory may be short at any allocation: each operation is done with its first allocation failing, then
//! with its second, and so on until none fails; once with only that one failing, once with all from that
//! one on.
//!
//! It returns ENOMEM, or does without. Nothing is broken then: the mount shows the whole operation or
//! nothing of it, others see the same, the image is good, the operation can be done again, and what is
//! there is there after a remount.

mod allocator;
mod operations;

use allocator::{Fail, Failing, with_failures};
use daxfs::std_platform::StdPlatform;
use daxfs::{Access, BranchInfo, Errno, FileType, Ino, MountOptions, Volume};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::cases::Cases;
use daxfs_tests::image::{Image, Scratch, TestMount, problems, read_only, read_write};
use operations::{CASES, Case};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// The branch the operations are done on.
const BRANCH: &str = "work";

/// One mount that works, and the memory it is on.
pub struct World {
    scratch: Scratch,
    mount: Option<TestMount>,
}

/// What there is to see: everything below the root, by path, and the branches with their parents.
#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    files: BTreeMap<String, (u32, u64, Vec<u8>)>,
    branches: Vec<(String, Option<String>)>,
}

impl World {
    /// A fresh image, and a mount on a branch of its own.
    fn new(image: &Image) -> Self {
        let scratch = Scratch::new();
        scratch.fill(image);
        let mount = scratch.mount(&options()).unwrap();
        Self { scratch, mount: Some(mount) }
    }

    /// The mount.
    pub fn mount(&self) -> &TestMount {
        self.mount.as_ref().unwrap()
    }

    /// The memory.
    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The image, with nothing mounted.
    pub fn volume(&self) -> daxfs::Result<Volume<StdPlatform>> {
        Volume::open(StdPlatform, self.scratch.region())
    }

    fn state(&self, mount: &TestMount) -> daxfs::Result<State> {
        let mut files = BTreeMap::new();
        walk(mount, Ino::ROOT, "", &mut files)?;
        let mut found: Vec<BranchInfo> = Vec::new();
        self.volume()?.branches(&mut |branch| found.push(*branch)).unwrap();
        found.retain(BranchInfo::is_live);
        let named = |id| found.iter().find(|b| Some(b.id) == id).map(|b| b.name.to_string());
        let mut branches: Vec<_> =
            found.iter().map(|b| (b.name.to_string(), named(b.parent))).collect();
        branches.sort();
        Ok(State { files, branches })
    }
}

/// A mount that is not alone, on a branch that stays.
pub fn options() -> MountOptions {
    MountOptions { exclusive: false, ..read_write(Some(BRANCH)) }
}

fn walk(
    mount: &TestMount,
    dir: Ino,
    path: &str,
    files: &mut BTreeMap<String, (u32, u64, Vec<u8>)>,
) -> daxfs::Result<()> {
    let mut entries = Vec::new();
    mount.readdir(dir, 0, &mut |entry| {
        entries.push((entry.name.escape_ascii().to_string(), entry.ino));
        true
    })?;
    for (name, ino) in entries {
        let attributes = mount.getattr(ino)?;
        let path = format!("{path}/{name}");
        let mut content = vec![0; attributes.size as usize];
        match attributes.kind {
            FileType::Regular => assert_eq!(mount.read(ino, 0, &mut content)?, content.len()),
            FileType::Symlink => assert_eq!(mount.readlink(ino, &mut content)?, content.len()),
            FileType::Directory => walk(mount, ino, &path, files)?,
            _ => {}
        }
        let old = files.insert(path, (attributes.mode, attributes.size, content));
        assert!(old.is_none(), "a name is listed twice");
    }
    Ok(())
}

/// What is to be compared with: the states before and after.
struct Expected {
    before: State,
    after: State,
}

fn expected(case: &Case, image: &Image) -> Expected {
    let world = World::new(image);
    (case.prepare)(&world).unwrap();
    let before = world.state(world.mount()).unwrap();
    (case.act)(&world).unwrap();
    let after = world.state(world.mount()).unwrap();
    Expected { before, after }
}

/// Does `case` with failures; says whether any allocation failed.
fn run(case: &Case, image: &Image, plan: Fail, expected: &Expected) -> bool {
    let mut world = World::new(image);
    (case.prepare)(&world).unwrap();
    let (result, failed) = with_failures(plan, || (case.act)(&world));
    match result {
        Ok(()) => {}
        Err(error) if failed > 0 => assert_eq!(error.errno(), Errno::ENOMEM),
        Err(error) => panic!("{error}"),
    }
    let shown = world.state(world.mount()).unwrap_or_else(|error| panic!("{error}"));
    // A long write may have got a part of the way.
    let partial = case.may_stop_between && shown.branches == expected.before.branches;
    let whole = [&expected.before, &expected.after].contains(&&shown);
    assert!(whole || partial, "neither before nor after");
    assert!(result.is_err() || partial || shown == expected.after, "it was not done");
    let branch = world.mount().info().branch.unwrap().to_string();
    let other = world.scratch.mount(&read_only(Some(&branch))).unwrap();
    assert!(world.state(&other).unwrap() == shown, "others see something else");
    other.unmount().unwrap();
    assert_eq!(problems(&world.scratch.region()), [""; 0]);
    // It goes on, with this operation and with others.
    if shown == expected.before {
        (case.act)(&world).unwrap_or_else(|error| panic!("again: {error}"));
        let shown = world.state(world.mount()).unwrap();
        assert!(shown == expected.after, "something else came of doing it again");
    }
    if world.mount().info().access == Access::ReadWrite {
        operations::anything_else(world.mount()).unwrap_or_else(|e| panic!("then: {e}"));
    }
    let branch = world.mount().info().branch.unwrap().to_string();
    let last = world.state(world.mount()).unwrap();
    world.mount.take().unwrap().unmount().unwrap_or_else(|e| panic!("unmounting: {e}"));
    assert_eq!(problems(&world.scratch.region()), [""; 0], "afterwards");
    let again = world.scratch.mount(&read_only(Some(&branch))).unwrap();
    assert!(world.state(&again).unwrap().files == last.files, "after a remount");
    failed > 0
}

#[test]
fn every_operation_survives_every_failing_allocation() {
    let image = ImageBuilder::new(Kind::Segmented).roomy(4 << 20).build();
    let mut cases = Cases::new();
    for case in CASES {
        let expected = expected(case, &image);
        let (mut allocations, mut failed) = (0, true);
        while failed {
            for plan in [Fail::Once(allocations), Fail::From(allocations)] {
                cases.run(&format!("{}, {plan:?}", case.name), || {
                    failed = run(case, &image, plan, &expected);
                    Ok(())
                });
            }
            allocations += u64::from(failed);
        }
        println!("{}: {allocations} allocations", case.name);
    }
    cases.finish(4 * CASES.len() as u64);
}

/// Everything in memory grows on the way to this many files, and may not when it has to.
#[test]
fn whatever_has_to_grow_may_fail_to() {
    let image = ImageBuilder::new(Kind::Segmented).roomy(16 << 20).build();
    let world = World::new(&image);
    let mount = world.mount();
    let mut failures = 0;
    let mut with_failures = |operation: &dyn Fn() -> daxfs::Result<()>| {
        let (result, failed) = with_failures(Fail::Once(0), operation);
        failures += u64::from(result.is_err());
        match result {
            Err(error) if failed > 0 => {
                assert_eq!(error.errno(), Errno::ENOMEM);
                operation().unwrap();
            }
            result => result.unwrap(),
        }
    };
    for i in 0..1500_u64 {
        let (name, renamed) = (format!("file {i}"), format!("another file {i}"));
        let (name, renamed) = (name.as_bytes(), renamed.as_bytes());
        let file = |name| mount.lookup(Ino::ROOT, name).map(|found| found.ino);
        with_failures(&|| operations::make(mount, name));
        with_failures(&|| mount.write(file(name)?, i % 100 * 4096, &[i as u8; 5000]).map(|_| ()));
        with_failures(&|| mount.rename(Ino::ROOT, name, Ino::ROOT, renamed, Default::default()));
        if i % 4 == 0 {
            with_failures(&|| mount.unlink(Ino::ROOT, renamed));
        }
    }
    println!("{failures} failures");
    assert!(failures > 10, "hardly anything had to grow");
    let shown = world.state(mount).unwrap();
    let other = world.scratch.mount(&read_only(Some(BRANCH))).unwrap();
    assert!(world.state(&other).unwrap() == shown, "others see something else");
    assert_eq!(problems(&world.scratch.region()), [""; 0]);
}

/// What mounting returns is a mount or ENOMEM; then it can be mounted all the same.
#[test]
fn mounting_survives_every_failing_allocation() {
    let fresh = ImageBuilder::new(Kind::Segmented).roomy(4 << 20).build();
    let plain = ImageBuilder::new(Kind::Plain).build();
    let used = daxfs_tests::history::compacted();
    let validate = MountOptions { validate: true, ..read_only(None) };
    let kinds: [(&str, &Image, MountOptions); 7] = [
        ("a new branch", &fresh, options()),
        ("a branch there is", &used, read_write(Some("c"))),
        ("main", &used, read_only(None)),
        ("a follower", &used, read_only(Some("c"))),
        ("with validation", &used, validate),
        ("an upgrade", &plain, options()),
        ("the base alone", &plain, read_only(None)),
    ];
    for (name, image, options) in kinds {
        let mut at = 0;
        loop {
            let mut failures = 0;
            for plan in [Fail::Once(at), Fail::From(at)] {
                let scratch = Scratch::new();
                scratch.fill(image);
                let region = scratch.region();
                let mounting = || daxfs::Mount::new(StdPlatform, region, &options);
                let (mounted, failed) = with_failures(plan, mounting);
                failures += failed;
                match mounted {
                    Ok(mount) => mount.unmount().unwrap(),
                    Err(error) => {
                        assert!(failed > 0, "{name}: {error}");
                        assert_eq!(error.errno(), Errno::ENOMEM, "{name}, {plan:?}");
                    }
                }
                // Nothing is left of it: not its place, and not its branch in nobody's way.
                let mount = scratch.mount(&options);
                let mount = mount.unwrap_or_else(|error| panic!("{name}, {plan:?}: {error}"));
                let mut members = 0;
                mount.members(&mut |_| members += 1).unwrap();
                assert!(members <= 1, "{name}, {plan:?}: {members} members");
                mount.unmount().unwrap();
                assert_eq!(problems(&scratch.region()), [""; 0], "{name}, {plan:?}");
            }
            if failures == 0 {
                break;
            }
            at += 1;
        }
        println!("{name}: {at} allocations");
        assert!(at > 0, "{name}: hardly anything was allocated");
    }
}

/// Unmounting may fail to tidy up, but never to end.
#[test]
fn unmounting_survives_every_failing_allocation() {
    let image = ImageBuilder::new(Kind::Segmented).roomy(4 << 20).build();
    let mut at = 0;
    loop {
        let mut failures = 0;
        for plan in [Fail::Once(at), Fail::From(at)] {
            let mut world = World::new(&image);
            operations::anything_else(world.mount()).unwrap();
            world.mount().create_branch(&daxfs_tests::image::name("inner"), None).unwrap();
            operations::anything_else(world.mount()).unwrap();
            let before = world.state(world.mount()).unwrap();
            let mount = world.mount.take().unwrap();
            let (ended, failed) = with_failures(plan, || mount.unmount());
            failures += failed;
            if let Err(error) = ended {
                assert_eq!(error.errno(), Errno::ENOMEM, "{plan:?}");
            }
            let volume = world.volume().unwrap();
            let mut left = Vec::new();
            volume.members(&mut |member| left.push(member.index)).unwrap();
            // Without memory it may not have been able to leave: then it looks like one that died.
            left.into_iter().for_each(|member| volume.reap(member).unwrap());
            assert_eq!(problems(&world.scratch.region()), [""; 0], "{plan:?}");
            let again = world.scratch.mount(&read_only(Some("inner"))).unwrap();
            assert!(world.state(&again).unwrap() == before, "{plan:?}");
        }
        if failures == 0 {
            break;
        }
        at += 1;
    }
    println!("unmounting: {at} allocations");
}
