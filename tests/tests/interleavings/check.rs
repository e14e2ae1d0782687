//! What has to hold after two kernels have met, whatever happened first: the invariants of
//! docs/coordination.md as far as they can be seen from outside.

use crate::gate::Kernel;
use crate::operation::{Operation, kept};
use crate::stage::{Actor, LEN, Stage, get};
use daxfs::{Access, BranchId, BranchInfo, Errno, Error, MountOptions, validate};

/// While both are still there.
pub fn while_up(stage: &Stage, actors: [&Actor; 2]) {
    for (actor, other) in [(actors[0], actors[1]), (actors[1], actors[0])] {
        let result = actor.result.as_ref().expect("it has acted");
        if let Err(error) = result {
            assert!(
                other.operation.hinders(actor.operation),
                "{:?} does not hinder {:?}: {error}",
                other.operation,
                actor.operation
            );
            assert!(is_refusal(error), "{:?} failed: {error}", actor.operation);
        }
    }
    one_wins(actors);
    valid(stage);
    one_owner(stage, actors);
    // Each can go on, or is told that it cannot.
    for mount in actors.iter().flat_map(|actor| [&actor.mount, &actor.follower]).flatten() {
        match mount.look() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.errno(), Errno::ESTALE, "{error}"),
        }
    }
}

/// Whether an error says that somebody was faster, not that something is broken.
fn is_refusal(error: &Error) -> bool {
    use Errno::{EBUSY, EEXIST, EINVAL, ENOENT, ESTALE};
    !matches!(error, Error::Contended)
        && [EBUSY, EEXIST, EINVAL, ENOENT, ESTALE].contains(&error.errno())
}

/// Of two that want the same, one gets it.
fn one_wins([first, second]: [&Actor; 2]) {
    use Operation::{Claim, Commit, Create};
    if first.operation == second.operation && matches!(first.operation, Commit | Claim | Create) {
        let both = (first.succeeded(), second.succeeded());
        assert!(both.0 != both.1, "{:?} by two: {both:?}", first.operation);
    }
}

fn valid(stage: &Stage) {
    validate(&Kernel, &stage.region(), &mut |problem| panic!("{problem}")).expect("an image");
}

/// Invariant 1: who believes to write to a branch is its owner, and so there is one.
fn one_owner(stage: &Stage, actors: [&Actor; 2]) {
    let branches = branches(stage);
    for mount in actors.iter().filter_map(|actor| actor.mount.as_ref()) {
        let info = mount.info();
        if mount.look().is_err() || mount.info().access == Access::ReadOnly {
            continue;
        }
        let (id, me) = (mount.info().branch_id, info.member);
        let found = branches.iter().find(|branch| Some(branch.id) == id).expect("its branch");
        assert!(found.is_live(), "{found:?} has ended, and its writer goes on");
        assert_eq!(found.owner.map(|owner| owner.get()), me, "{found:?} and its writer");
    }
}

fn branches(stage: &Stage) -> Vec<BranchInfo> {
    let mut found = Vec::new();
    stage.volume().branches(&mut |branch| found.push(*branch)).expect("a branch table");
    found
}

/// When nobody is left: the dead are cleaned up after, and everything is looked at.
pub fn when_over(stage: &Stage, actors: [&Actor; 2]) {
    stage.volume().reap_all().expect("nobody is there");
    valid(stage);
    let live: Vec<_> = branches(stage).into_iter().filter(BranchInfo::is_live).collect();
    for branch in &live {
        // Whoever takes a branch finds what earlier owners left.
        let mount = stage.mount(&kept(&branch.name.to_string()));
        content(&mount, &branch.name.to_string(), actors);
        match mount.compact() {
            Ok(()) | Err(Error::Frozen { .. }) => {}
            Err(error) => panic!("{} cannot be written to: {error}", branch.name),
        }
        mount.unmount().expect("it is kept");
    }
    let options = MountOptions { access: Access::ReadWrite, keep: true, ..Default::default() };
    let main = stage.mount(&options);
    main.tick(1).expect("alive");
    main.unmount().expect("main stays");
    valid(stage);
    accounted_for(stage);
}

/// Invariants 2, 3 and 5: what was committed is there, and only what was committed.
fn content(mount: &crate::stage::TestMount, branch: &str, actors: [&Actor; 2]) {
    let whole = |path: &str, fills: &[u8]| match get(mount, path) {
        Ok(bytes) => {
            assert_eq!(bytes.len(), LEN, "{path} of {branch}");
            let strange = bytes.iter().find(|byte| !fills.contains(byte));
            assert_eq!(strange, None, "{path} of {branch}");
            true
        }
        Err(error) => {
            assert_eq!(error.errno(), Errno::ENOENT, "{path} of {branch}: {error}");
            false
        }
    };
    if branch == "main" {
        assert!(!whole("/of-p", b"p"), "p was never committed");
        return;
    }
    assert!(whole("/of-p", b"pw"), "/of-p is missing in {branch}");
    let mut committed = 0;
    for actor in actors {
        let own = actor.branch;
        let found = whole(&format!("/of-{own}"), b"xyw");
        whole(&format!("/old-{own}"), b"oO");
        whole(&format!("/older-{own}"), b"O");
        if branch == "p" {
            committed += u32::from(found);
            let commits = actor.operation == Operation::Commit;
            assert!(commits || !found, "nobody committed {own}");
            assert!(!(commits && actor.succeeded()) || found, "the commit of {own} is lost");
        } else if branch == own && actor.succeeded() {
            match actor.operation {
                Operation::Write => {
                    assert!(whole(&format!("/new-{own}"), b"n"));
                    assert!(whole(&format!("/of-{own}"), b"w"));
                    assert!(whole("/of-p", b"w"));
                }
                Operation::Compact => assert!(whole(&format!("/new-{own}"), b"n") && found),
                Operation::Recycle => {
                    assert!(!found, "it was removed");
                    assert!(whole(&format!("/old-{own}"), b"O"));
                    assert!((0..3).all(|i| whole(&format!("/again-{i}"), b"!")));
                }
                _ => assert!(found, "/of-{own} is missing"),
            }
        }
    }
    assert!(committed <= 1, "two siblings were committed");
}

/// Everything but what the live branches say is free, and they say no more than they need.
fn accounted_for(stage: &Stage) {
    let volume = stage.volume();
    let mut members = 0;
    volume.members(&mut |_| members += 1).expect("a member table");
    assert_eq!(members, 0, "members that have left");
    let left = branches(stage);
    let ended: Vec<_> = left.iter().filter(|branch| !branch.is_live()).collect();
    assert!(ended.is_empty(), "{ended:?} should be gone");
    for branch in &left {
        assert_eq!(branch.owner, None, "{branch:?}");
        let parent = branch.parent.unwrap_or(BranchId::NONE);
        assert!(
            parent.is_none() || left.iter().any(|other| other.id == parent),
            "{branch:?} has lost its parent"
        );
        assert!(branch.segments <= 4, "{branch:?} has more than it needs");
    }
    let look = stage.mount(&MountOptions::default());
    let stat = look.statfs().expect("statfs");
    look.unmount().expect("nothing of it stays");
    let owned: u64 = left.iter().map(|branch| branch.segments).sum();
    let free = u64::from(stat.segments_free);
    assert_eq!(owned + free, u64::from(stat.segments_total), "segments of nobody: {left:?}");
}
