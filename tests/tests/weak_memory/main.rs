//! The engine on memory that keeps no more order than its orderings ask for: loom gives loads any
//! value that the memory model allows, and tries schedules of two kernels with at most two
//! preemptions, for some time.
//!
//! `DAXFS_LOOM_SECONDS=600 cargo test -p daxfs-tests --test weak_memory -- --nocapture` looks for longer;
//! each test says how many executions it saw, and whether these were all.

mod memory;

use daxfs::{
    Access, Errno, Ino, LastLink, MemberState, Mount, MountOptions, NewInode, Volume, validate,
};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::image::{Image, name};
use memory::{Kernel, Memory, region};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type TestMount = Mount<Kernel>;

const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };

/// An image with branch `p`, which is nobody's.
fn image() -> Image {
    let file = ImageBuilder::new(Kind::Segmented).roomy(1 << 20).build().file();
    let start = Image::of_file(&file).bytes;
    let memory = Memory::new(&start);
    let mount = mount(&memory, "p", "main");
    put(&mount, b"of-p").expect("room");
    mount.unmount().expect("kept");
    let mut bytes = vec![0; start.len()];
    region(&memory).copy_out(daxfs::RegionOffset::new(0), &mut bytes).expect("inside");
    Image { bytes }
}

/// A mount that writes to `branch`, made from `parent`.
fn mount(memory: &Rc<Memory>, branch: &str, parent: &str) -> TestMount {
    let options = MountOptions {
        branch: Some(name(branch)),
        parent: Some(name(parent)),
        access: Access::ReadWrite,
        keep: true,
        ..Default::default()
    };
    Mount::new(Kernel, region(memory), &options).expect("a mount")
}

fn put(mount: &TestMount, file: &[u8]) -> daxfs::Result<()> {
    let ino = mount.create(Ino::ROOT, file, &FILE)?.ino;
    mount.write(ino, 0, file).map(|_| ())
}

/// The content of a file of the root directory.
fn get(mount: &TestMount, file: &[u8]) -> Result<Vec<u8>, Errno> {
    let read = || {
        let found = mount.lookup(Ino::ROOT, file)?;
        let mut content = vec![0; found.size as usize];
        mount.read(found.ino, 0, &mut content)?;
        Ok(content)
    };
    read().map_err(|error: daxfs::Error| error.errno())
}

fn errno(result: daxfs::Result<()>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

/// Runs `first` and `second`, each on the mount that `stage` makes of it, in every order and with every
/// value, and then `check` with what they said.
fn race<A: 'static, B: 'static>(
    title: &str,
    stage: impl Fn(&Rc<Memory>) -> [TestMount; 2] + Send + Sync + 'static,
    first: impl Fn(&TestMount) -> A + Send + Sync + 'static,
    second: impl Fn(&TestMount) -> B + Send + Sync + 'static,
    check: impl Fn(&Rc<Memory>, [&TestMount; 2], (A, B)) + Send + Sync + 'static,
) {
    let seconds = std::env::var("DAXFS_LOOM_SECONDS").ok().and_then(|text| text.parse().ok());
    let most = Duration::from_secs(seconds.unwrap_or(8));
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&executions);
    let image = image();
    let mut records = BTreeSet::new();
    for first_is_first in [true, false] {
        let memory = Memory::new(&image.bytes);
        let [one, other] = stage(&memory);
        memory.learn();
        if first_is_first {
            first(&one);
            second(&other);
        } else {
            second(&other);
            first(&one);
        }
        records.append(&mut memory.learned());
    }
    let (first, second) = (Arc::new(first), Arc::new(second));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 100_000;
    // The time is looked at that often.
    builder.checkpoint_interval = 16;
    builder.max_duration = Some(most);
    let start = Instant::now();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let memory = Memory::new(&image.bytes);
        let [one, other] = stage(&memory).map(Rc::new);
        memory.begin(&records);
        let (act, actor) = (Arc::clone(&second), Rc::clone(&other));
        let thread = loom::thread::spawn(move || act(&actor));
        let said = first(&one);
        let answered = thread.join().expect("it does not panic");
        memory.end();
        check(&memory, [&one, &other], (said, answered));
        let mut look = |problem: &daxfs::Problem| panic!("{problem}");
        validate(&Kernel, &region(&memory), &mut look).expect("an image");
    });
    let all = if start.elapsed() < most { "all" } else { "as many as there was time for" };
    println!("{title}: {} executions, {all}", executions.load(Ordering::Relaxed));
}

/// A follower of `p`.
fn follower(memory: &Rc<Memory>) -> TestMount {
    let options = MountOptions { branch: Some(name("p")), ..Default::default() };
    Mount::new(Kernel, region(memory), &options).expect("a mount")
}

#[test]
fn a_follower_sees_an_entry_whole_or_not_at_all() {
    race(
        "publication",
        |memory| {
            let writer = mount(memory, "p", "main");
            put(&writer, b"before").expect("room");
            [writer, follower(memory)]
        },
        |writer| writer.create(Ino::ROOT, b"a-new-name", &FILE).map(|_| ()).map_err(|e| e.errno()),
        |follower| get(follower, b"a-new-name"),
        |_, _, (created, found)| {
            assert_eq!(created, Ok(()));
            assert!(matches!(found, Ok(_) | Err(Errno::ENOENT)), "{found:?}");
        },
    );
}

#[test]
fn a_follower_that_sees_the_size_sees_the_bytes() {
    race(
        "a write",
        |memory| {
            let writer = mount(memory, "p", "main");
            writer.create(Ino::ROOT, b"file", &FILE).expect("room");
            [writer, follower(memory)]
        },
        |writer| {
            let file = writer.resolve(b"/file", LastLink::Follow).expect("it is there").ino;
            writer.write(file, 0, b"content").map_err(|error| error.errno())
        },
        |follower| get(follower, b"file"),
        |_, _, (written, found)| {
            assert_eq!(written, Ok(7));
            let found = found.expect("the file was there");
            assert!(found.is_empty() || found == b"content", "{found:?}");
        },
    );
}

#[test]
fn of_two_siblings_that_commit_one_wins() {
    race(
        "two commits",
        |memory| {
            let mounts = [mount(memory, "x", "p"), mount(memory, "y", "p")];
            put(&mounts[0], b"of-x").expect("room");
            put(&mounts[1], b"of-y").expect("room");
            mounts
        },
        |x| errno(x.commit()),
        |y| errno(y.commit()),
        |memory, _, said| {
            assert!(
                matches!(said, (None, Some(Errno::ESTALE)) | (Some(Errno::ESTALE), None)),
                "{said:?}"
            );
            let main = follower(memory);
            let won = said.0.is_none();
            assert_eq!(get(&main, b"of-x").is_ok(), won);
            assert_eq!(get(&main, b"of-y").is_ok(), !won);
        },
    );
}

#[test]
fn a_commit_and_an_abort_of_siblings_both_happen_or_the_abort_comes_too_late() {
    race(
        "a commit and an abort",
        |memory| {
            let mounts = [mount(memory, "x", "p"), mount(memory, "y", "p")];
            put(&mounts[0], b"of-x").expect("room");
            mounts
        },
        |x| errno(x.commit()),
        |y| errno(y.abort()),
        |memory, _, said| {
            assert!(matches!(said, (None, None | Some(Errno::ESTALE))), "{said:?}");
            assert_eq!(get(&follower(memory), b"of-x").as_deref(), Ok(&b"of-x"[..]));
        },
    );
}

#[test]
fn two_branches_made_at_once_are_two() {
    race(
        "two creations",
        |memory| [follower(memory), follower(memory)],
        |one| errno(one.volume().create_branch(&name("x"), &name("p")).map(|_| ())),
        |other| errno(other.volume().create_branch(&name("y"), &name("p")).map(|_| ())),
        |memory, _, said| {
            assert_eq!(said, (None, None));
            let mut found = Vec::new();
            let volume = Volume::open(Kernel, region(memory)).expect("an image");
            volume.branches(&mut |branch| found.push((branch.name, branch.slot))).expect("listed");
            found.retain(|(branch, _)| [name("x"), name("y")].contains(branch));
            assert_eq!(found.len(), 2);
            assert_ne!(found[0].1, found[1].1);
        },
    );
}

#[test]
fn two_writers_never_get_the_same_segment() {
    race(
        "two first writes",
        |memory| [mount(memory, "x", "p"), mount(memory, "y", "p")],
        |x| errno(put(x, b"of-x")),
        |y| errno(put(y, b"of-y")),
        |_, [x, y], said| {
            assert_eq!(said, (None, None));
            assert_eq!(get(x, b"of-x").as_deref(), Ok(&b"of-x"[..]));
            assert_eq!(get(y, b"of-y").as_deref(), Ok(&b"of-y"[..]));
        },
    );
}

#[test]
fn a_member_commits_or_is_taken_for_dead() {
    race(
        "a commit and an expiry",
        |memory| {
            let x = mount(memory, "x", "p");
            put(&x, b"of-x").expect("room");
            let watcher = follower(memory);
            watcher.tick(1).expect("alive");
            [x, watcher]
        },
        |x| errno(x.commit()),
        |watcher| errno(watcher.tick(watcher.lease_ms().expect("a lease") + 10)),
        |memory, [x, _], (committed, watched)| {
            assert_eq!(watched, None);
            let mut expired = false;
            x.members(&mut |member| {
                expired |= member.state == MemberState::Expired && member.index.get() == 0;
            })
            .expect("listed");
            let there = get(&follower(memory), b"of-x").is_ok();
            // It asked for its branch to be kept, so a commit after the expiry may still be one.
            assert_eq!(there, committed.is_none(), "{committed:?}, expired: {expired}");
        },
    );
}
