//! Branches: what survives, who learns of a commit, who may write, and who is in the way.

use crate::{FILE, content, errno, mount, put, scratch, writer, writing};
use daxfs::format::coordination::{TREE_OFFSET, TreeOperation, TreeWord};
use daxfs::region::LoadOrder;
use daxfs::std_platform::StdPlatform;
use daxfs::{BranchInfo, Errno, Geometry, Ino, MemberState, MountOptions, RegionOffset, Volume};
use daxfs_tests::image::{Scratch, TestMount, name, problems, read_only, read_write};

fn volume(scratch: &Scratch) -> Volume<StdPlatform> {
    Volume::open(StdPlatform, scratch.region()).unwrap()
}

fn branches(scratch: &Scratch) -> Vec<BranchInfo> {
    let mut all = Vec::new();
    volume(scratch).branches(&mut |branch| all.push(*branch)).unwrap();
    all.retain(BranchInfo::is_live);
    all
}

fn names(scratch: &Scratch) -> Vec<String> {
    let mut names: Vec<_> = branches(scratch).iter().map(|b| b.name.to_string()).collect();
    names.sort();
    names
}

fn reader(scratch: &Scratch, branch: Option<&str>) -> TestMount {
    scratch.mount(&read_only(branch)).unwrap()
}

/// Nothing survived a remount: every mount made a new, empty main.
#[test]
fn what_was_written_is_there_after_a_remount() {
    let scratch = scratch();
    for round in 0..5_u8 {
        let main = scratch.mount(&read_write(None)).unwrap();
        for earlier in 0..round {
            assert_eq!(content(&main, &[b'f', b'0' + earlier]), [earlier; 6000]);
        }
        put(&main, &[b'f', b'0' + round], &[round; 6000]);
        main.unmount().unwrap();
        assert_eq!(names(&scratch), ["main"]);
        // Other branches that are kept survive as well, beside it.
        let kept = mount(&scratch);
        put(&kept, b"kept", &[round; 100]);
        kept.unmount().unwrap();
        let kept = mount(&scratch);
        assert_eq!(content(&kept, b"kept"), [round; 100]);
        kept.abort().unwrap();
        kept.unmount().unwrap();
    }
    assert_eq!(problems(&scratch.region()), [""; 0]);
}

/// The same for a kernel that has crashed: what it wrote to a branch that is to be kept is there.
#[test]
fn what_was_written_is_there_after_a_crash() {
    let scratch = scratch();
    let crashed = mount(&scratch);
    put(&crashed, b"f", &[1; 6000]);
    drop(crashed);
    let mount = mount(&scratch);
    assert_eq!(content(&mount, b"f"), [1; 6000]);
}

/// After a commit or an abort the mount could write to a main that it had no right to.
#[test]
fn ending_a_branch_gives_no_right_to_write_to_its_parent() {
    for end in [TestMount::commit, TestMount::abort] {
        let scratch = scratch();
        let mount = writer(&scratch, "work");
        let ino = put(&mount, b"f", b"f");
        end(&mount).unwrap();
        assert_eq!(errno(mount.create(Ino::ROOT, b"g", &FILE)), Errno::EROFS);
        assert_eq!(errno(mount.unlink(Ino::ROOT, b"empty")), Errno::EROFS);
        let written = errno(mount.write(ino, 0, b"g"));
        assert!([Errno::EROFS, Errno::ESTALE].contains(&written), "{written:?}");
        assert_eq!(errno(mount.commit()), Errno::EROFS);
        mount.unmount().unwrap();
        assert_eq!(names(&scratch), ["main"]);
    }
}

/// A commit was not seen by mounts of main that were there already.
#[test]
fn a_commit_is_seen_by_mounts_that_are_there_already() {
    let scratch = scratch();
    let mains = [reader(&scratch, None), reader(&scratch, Some("main"))];
    for round in 0..5_u8 {
        let child = writer(&scratch, "child");
        put(&child, b"f", &[round; 5000]);
        for main in &mains {
            assert_eq!(main.lookup(Ino::ROOT, b"f").is_ok(), round > 0, "not committed yet");
        }
        child.commit().unwrap();
        for main in &mains {
            assert_eq!(content(main, b"f"), [round; 5000]);
        }
    }
}

/// Discarded siblings, and what was made from them, went on as if nothing had happened.
#[test]
fn siblings_of_a_committed_branch_are_stale() {
    let scratch = scratch();
    let sibling = writer(&scratch, "sibling");
    let ino = put(&sibling, b"f", b"sibling");
    let follower = reader(&scratch, Some("sibling"));
    let nested = writer(&scratch, "other");
    nested.create_branch(&name("nested"), None).unwrap();
    put(&nested, b"f", b"nested");
    let winner = writer(&scratch, "winner");
    put(&winner, b"f", b"winner");
    winner.commit().unwrap();
    for stale in [&sibling, &follower, &nested] {
        assert_eq!(errno(stale.lookup(Ino::ROOT, b"f")), Errno::ESTALE);
        assert_eq!(errno(stale.read(ino, 0, &mut [0])), Errno::ESTALE);
        assert_eq!(errno(stale.readdir(Ino::ROOT, 0, &mut |_| true)), Errno::ESTALE);
    }
    for stale in [&sibling, &nested] {
        assert_eq!(errno(stale.write(ino, 0, b"x")), Errno::ESTALE);
        assert_eq!(errno(stale.commit()), Errno::ESTALE);
        assert_eq!(errno(stale.create_branch(&name("more"), None)), Errno::ESTALE);
    }
    assert_eq!(names(&scratch), ["main"]);
    assert_eq!(content(&reader(&scratch, None), b"f"), b"winner");
}

/// A parent could be written to, and ended, under its child.
#[test]
fn a_parent_is_frozen_while_a_child_is_mounted() {
    let scratch = scratch();
    let parent = scratch.mount(&MountOptions { keep: true, ..writing("parent") }).unwrap();
    let ino = put(&parent, b"f", b"parent");
    parent.unmount().unwrap();
    let from_parent = MountOptions { parent: Some(name("parent")), ..writing("child") };
    let child = scratch.mount(&from_parent).unwrap();
    let parent = writer(&scratch, "parent");
    assert_eq!(errno(parent.write(ino, 0, b"x")), Errno::EROFS);
    assert_eq!(errno(parent.create(Ino::ROOT, b"g", &FILE)), Errno::EROFS);
    assert_eq!(errno(parent.unlink(Ino::ROOT, b"f")), Errno::EROFS);
    assert_eq!(errno(parent.abort()), Errno::EBUSY);
    assert_eq!(errno(parent.commit()), Errno::EBUSY);
    let refused = parent.commit().unwrap_err().to_string();
    assert!(refused.contains("'child'"), "{refused}");
    put(&child, b"f", b"child!");
    child.commit().unwrap();
    // The child is part of it now, and it goes on from there.
    assert_eq!(content(&parent, b"f"), b"child!");
    put(&parent, b"f", b"again!");
    parent.commit().unwrap();
    assert_eq!(content(&reader(&scratch, None), b"f"), b"again!");
}

/// Unmounting a parent discarded it under its mounted child, whose commit then brought the discarded
/// parent's data into main.
#[test]
fn a_parent_that_is_unmounted_stays_for_its_child() {
    let scratch = scratch();
    let parent = scratch.mount(&MountOptions { keep: true, ..writing("parent") }).unwrap();
    put(&parent, b"parent", b"p");
    parent.unmount().unwrap();
    let from_parent = MountOptions { parent: Some(name("parent")), ..writing("child") };
    let child = scratch.mount(&from_parent).unwrap();
    // This mount does not ask for the branch to be kept.
    writer(&scratch, "parent").unmount().unwrap();
    assert_eq!(names(&scratch), ["child", "main", "parent"]);
    put(&child, b"child", b"c");
    child.commit().unwrap();
    let main = reader(&scratch, None);
    for name in [b"parent".as_slice(), b"child"] {
        assert_eq!(errno(main.lookup(Ino::ROOT, name)), Errno::ENOENT, "not committed to main");
    }
    // Now that nobody needs it, ending a mount of it discards it, with what was committed into it.
    child.unmount().unwrap();
    let parent = writer(&scratch, "parent");
    assert_eq!(content(&parent, b"child"), b"c");
    parent.unmount().unwrap();
    assert_eq!(names(&scratch), ["main"]);
    assert_eq!(errno(main.lookup(Ino::ROOT, b"parent")), Errno::ENOENT);
}

/// Whoever died in a commit held a lock for ever, for which all others waited.
#[test]
fn a_dead_committer_is_in_nobodys_way() {
    let scratch = scratch();
    let dead = scratch.mount(&MountOptions { keep: true, ..writing("dead") }).unwrap();
    put(&dead, b"f", b"dead's");
    let (slot, member) = {
        let all = branches(&scratch);
        let dead = all.iter().find(|branch| branch.name == name("dead")).unwrap();
        (dead.slot, dead.owner.unwrap())
    };
    let other = writer(&scratch, "other");
    let main = reader(&scratch, None);
    // It stops right after its commit has become one: the tree word says so, nothing is done yet.
    drop(dead);
    let region = scratch.region();
    let geometry = Geometry::read(&region).unwrap();
    let at = geometry.segments().unwrap().coordination.start.get() + TREE_OFFSET;
    let idle = TreeWord::from_word(region.load(RegionOffset::new(at), LoadOrder::Acquire).unwrap());
    let idle = idle.unwrap();
    assert_eq!(idle.operation, TreeOperation::Idle);
    let commit = TreeWord { operation: TreeOperation::Commit, slot, member, ..idle };
    region
        .compare_exchange(RegionOffset::new(at), idle.to_word(), commit.to_word())
        .unwrap()
        .unwrap();
    // Everybody else finds a commit that has happened, and goes on at once.
    assert_eq!(content(&main, b"f"), b"dead's");
    assert_eq!(errno(other.look()), Errno::ESTALE);
    let next = writer(&scratch, "next");
    put(&next, b"f", b"next's");
    next.commit().unwrap();
    assert_eq!(content(&main, b"f"), b"next's");
    assert_eq!(names(&scratch), ["main"]);
    // And its place can be given to another.
    volume(&scratch).reap(member).unwrap();
    let mut states = Vec::new();
    volume(&scratch).members(&mut |info| states.push(info.state)).unwrap();
    assert!(states.iter().all(|state| *state == MemberState::Alive), "{states:?}");
}

/// The same for one that dies with a branch: after a lease it is in nobody's way.
#[test]
fn a_dead_owner_is_in_nobodys_way_after_its_lease() {
    let scratch = scratch();
    let dead = writer(&scratch, "dead");
    put(&dead, b"f", b"f");
    drop(dead);
    let survivor = writer(&scratch, "survivor");
    let lease = survivor.lease_ms().unwrap();
    survivor.tick(1).unwrap();
    assert_eq!(names(&scratch), ["dead", "main", "survivor"]);
    survivor.tick(2 + lease).unwrap();
    assert_eq!(names(&scratch), ["main", "survivor"]);
    put(&survivor, b"f", b"s");
    survivor.commit().unwrap();
    assert_eq!(content(&reader(&scratch, None), b"f"), b"s");
}
