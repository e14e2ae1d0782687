//! What a kernel can do while another does something.

use crate::gate::Kernel;
use crate::stage::{Actor, get, put, remove, writing};
use daxfs::{Errno, Error, Mount, RenameMode};
use daxfs::{Ino, MemberIndex, MountOptions};
use daxfs_tests::image::name;

/// The operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Makes a child of its branch.
    CreateChild,
    /// Makes a branch that the other may make, too.
    Create,
    /// Takes a branch that the other may take, too.
    Claim,
    /// Gives its branch up, to be kept.
    Release,
    /// Unmounts, and its branch ends.
    Unmount,
    Commit,
    Abort,
    /// Finds that two others have died.
    Expire,
    /// The same, and takes its peer for dead, too.
    ExpirePeer,
    /// Is told that one of the others has died.
    Reap,
    /// Mounts once more, to look.
    Join,
    /// New pages, pages it has, and pages of the parent's.
    Write,
    /// Renames over a name, removes a file, gives back, and uses what it has got.
    Recycle,
    /// Looks at the other's branch.
    Follow,
    /// Follows the tree, and gives back.
    Tick,
    Compact,
}

pub const ALL: [Operation; 16] = {
    use Operation::*;
    [
        CreateChild,
        Create,
        Claim,
        Release,
        Unmount,
        Commit,
        Abort,
        Expire,
        ExpirePeer,
        Reap,
        Join,
        Write,
        Recycle,
        Follow,
        Tick,
        Compact,
    ]
};

/// When the leases are over that began when the clocks said 1.
const LATER: u64 = 1_000_000_000;

impl Operation {
    /// Whether whoever does it wants its branch to be kept.
    pub const fn keeps(self) -> bool {
        matches!(self, Self::Release)
    }

    /// Whether it takes the other's branch away from it, or what both want.
    pub fn hinders(self, other: Self) -> bool {
        match self {
            Self::Commit | Self::ExpirePeer => true,
            Self::Create | Self::Claim => self == other,
            // What is looked at has ended.
            Self::Unmount | Self::Abort => other == Self::Follow,
            // Somebody else has cleaned up.
            Self::Reap => other == Self::Reap,
            _ => false,
        }
    }

    /// What its kernel did before.
    pub fn prepare(self, actor: &mut Actor) {
        let mount = actor.mount();
        let path = |what: &str| format!("/{what}-{}", actor.branch);
        put(mount, &path("old"), b'o').expect("room");
        put(mount, &path("older"), b'O').expect("room");
        if matches!(self, Self::Tick | Self::Compact) {
            remove(mount, &path("older")[1..]).expect("it is there");
        }
    }

    /// Does it.
    pub fn run(self, actor: &mut Actor) -> Result<(), Error> {
        let branch = actor.branch;
        let path = |what: &str| format!("/{what}-{branch}");
        if let Self::Release | Self::Unmount = self {
            let over = actor.mount.take().map(Mount::unmount);
            return over.expect("it was there");
        }
        let mount = actor.mount.as_ref().expect("it is not over");
        match self {
            Self::CreateChild => mount.create_branch(&name(&path("child")[1..]), None),
            Self::Create => mount.create_branch(&name("new"), Some(&name("p"))),
            Self::Claim => mount.switch(&name("idle")),
            Self::Commit => mount.commit(),
            Self::Abort => mount.abort(),
            Self::Expire | Self::ExpirePeer => mount.tick(LATER),
            Self::Reap => actor.volume.reap(MemberIndex::new(0)),
            Self::Join => {
                let options = MountOptions { branch: Some(name("p")), ..Default::default() };
                let region = actor.fresh.take().expect("it mounts once");
                let joined = Mount::new(Kernel, region, &options)?;
                assert!(get(&joined, "/of-p")?.iter().all(|&byte| byte == b'p'));
                actor.follower = Some(joined);
                Ok(())
            }
            Self::Write => {
                put(mount, &path("new"), b'n')?;
                put(mount, &path("of"), b'w')?;
                put(mount, "/of-p", b'w')
            }
            Self::Recycle => {
                let (new, old) = (path("older"), path("old"));
                let root = Ino::ROOT;
                let (from, to) = (&new.as_bytes()[1..], &old.as_bytes()[1..]);
                mount.rename(root, from, root, to, RenameMode::Replace)?;
                remove(mount, &path("of")[1..])?;
                mount.tick(2)?;
                for i in 0..3 {
                    put(mount, &format!("/again-{i}"), b'!')?;
                }
                Ok(())
            }
            Self::Follow => {
                let follower = actor.follower.as_ref().expect("it follows");
                look_at(follower, if branch == "x" { "y" } else { "x" })?;
                follower.tick(2)
            }
            Self::Tick => mount.tick(2),
            Self::Compact => {
                mount.compact()?;
                put(mount, &path("new"), b'n')
            }
            Self::Release | Self::Unmount => unreachable!("done above"),
        }
    }
}

/// Reads what there is to read of a branch that its owner changes: every byte is one that was in
/// that file at some time.
fn look_at(follower: &Mount<Kernel>, branch: &str) -> Result<(), Error> {
    let files = [("old", &b"oO"[..]), ("older", b"O"), ("of", b"xyw"), ("new", b"\0n")];
    for (what, allowed) in files {
        match get(follower, &format!("/{what}-{branch}")) {
            Ok(content) => {
                let strange = content.iter().find(|byte| !allowed.contains(byte));
                assert_eq!(strange, None, "bytes that were never in '{what}-{branch}'");
            }
            Err(error) if error.errno() == Errno::ENOENT => {}
            // Removed after its name was looked up, if the branch is there.
            Err(Error::Stale) => follower.look()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Options for looking at a branch that stays.
pub fn kept(branch: &str) -> MountOptions {
    writing(branch, true)
}
