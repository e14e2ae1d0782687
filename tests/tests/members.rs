//! Several mounts of one image at once, as kernels that share memory are: each has an engine of its
//! own and knows of the others only what is in the range.

use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, BranchName, Errno, Extent, FileType, Ino, LastLink, MemberIndex, MemberState, Mount,
    MountOptions, NewInode, Region, SetAttributes, Volume, validate,
};
use std::fs::File;
use std::sync::Barrier;

type TestMount = Mount<StdPlatform>;

/// An image in a file, which every mount maps for itself.
struct Image {
    file: File,
}

impl Image {
    fn with_delta(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("dir")).unwrap();
        std::fs::write(source.join("dir/file"), vec![b'x'; 10_000]).unwrap();
        let path = folder.path().join("image");
        let options = mkdaxfs::BuildOptions {
            writable: Some(mkdaxfs::DeltaSize::Bytes(bytes)),
            ..Default::default()
        };
        mkdaxfs::build(&source, &path, &options, &()).unwrap();
        Self { file: File::options().read(true).write(true).open(path).unwrap() }
    }

    fn new() -> Self {
        Self::with_delta(8 << 20)
    }

    fn region(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.file, true).unwrap())
    }

    fn try_mount(&self, options: &MountOptions) -> daxfs::Result<TestMount> {
        Mount::new(StdPlatform, self.region(), options)
    }

    /// A mount that writes to a branch, made from main if there is none.
    fn writer(&self, branch: &str) -> TestMount {
        self.try_mount(&writing(branch)).unwrap()
    }

    fn reader(&self, branch: &str) -> TestMount {
        let options = MountOptions { branch: Some(name(branch)), ..Default::default() };
        self.try_mount(&options).unwrap()
    }

    fn volume(&self) -> Volume<StdPlatform> {
        Volume::open(StdPlatform, self.region()).unwrap()
    }

    fn check(&self) {
        validate(&StdPlatform, &self.region(), &mut |problem| panic!("{problem}")).unwrap();
    }
}

fn name(text: &str) -> BranchName {
    BranchName::new(text.as_bytes()).unwrap()
}

fn writing(branch: &str) -> MountOptions {
    MountOptions { branch: Some(name(branch)), access: Access::ReadWrite, ..Default::default() }
}

const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };

fn put(mount: &TestMount, path: &str, content: &[u8]) {
    let (dir, name) = mount.resolve_parent(path.as_bytes()).unwrap();
    let ino = match mount.lookup(dir, name) {
        Ok(found) => found.ino,
        Err(_) => mount.create(dir, name, &FILE).unwrap().ino,
    };
    let mut done = 0;
    while done < content.len() {
        done += mount.write(ino, done as u64, &content[done..]).unwrap();
    }
}

fn get(mount: &TestMount, path: &str) -> Result<Vec<u8>, Errno> {
    let read = || {
        let found = mount.resolve(path.as_bytes(), LastLink::Follow)?;
        let mut content = vec![0; found.size as usize];
        let count = mount.read(found.ino, 0, &mut content)?;
        content.truncate(count);
        Ok(content)
    };
    read().map_err(|error: daxfs::Error| error.errno())
}

fn free_segments(mount: &TestMount) -> u32 {
    mount.statfs().unwrap().segments_free
}

fn errno<T>(result: daxfs::Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.errno(),
    }
}

#[test]
fn a_branch_has_one_writer_and_its_name_is_in_the_refusal() {
    let image = Image::new();
    let first = image.writer("b");
    let Err(refused) = image.try_mount(&writing("b")) else { panic!("two writers") };
    assert_eq!(refused.errno(), Errno::EBUSY);
    assert!(refused.to_string().contains("'b'"), "{refused}");
    first.unmount().unwrap();
    image.writer("b").unmount().unwrap();
}

#[test]
fn a_child_is_made_from_a_branch_nobody_writes_to_or_by_its_writer() {
    let image = Image::new();
    let owner = image.writer("b");
    let other = image.writer("c");
    assert_eq!(errno(other.create_branch(&name("child"), Some(&name("b")))), Errno::EBUSY);
    put(&owner, "/f", b"parent");
    owner.create_branch(&name("child"), None).unwrap();
    assert_eq!(get(&owner, "/f").unwrap(), b"parent");
    put(&owner, "/f", b"child!");
    let reader = image.reader("b");
    assert_eq!(get(&reader, "/f").unwrap(), b"parent");
}

#[test]
fn a_follower_sees_what_is_published_without_remounting() {
    let image = Image::new();
    let writer = image.writer("b");
    let reader = image.reader("b");
    for round in 0..50_u32 {
        let content = vec![round as u8; 1 + 5000 * (round as usize % 7)];
        put(&writer, &format!("/f{}", round % 5), &content);
        writer
            .rename(
                Ino::ROOT,
                format!("f{}", round % 5).as_bytes(),
                Ino::ROOT,
                b"x",
                Default::default(),
            )
            .unwrap();
        assert_eq!(get(&reader, "/x").unwrap(), content);
        assert_eq!(get(&reader, &format!("/f{}", round % 5)), Err(Errno::ENOENT));
        writer.unlink(Ino::ROOT, b"x").unwrap();
        assert_eq!(get(&reader, "/x"), Err(Errno::ENOENT));
    }
    assert_eq!(errno(reader.create(Ino::ROOT, b"n", &FILE)), Errno::EROFS);
}

#[test]
fn a_commit_reaches_every_mount_and_its_siblings_become_stale() {
    let image = Image::new();
    let main = image.reader("main");
    let (winner, loser) = (image.writer("winner"), image.writer("loser"));
    put(&loser, "/lost", b"x");
    loser.create_branch(&name("grandchild"), None).unwrap();
    put(&winner, "/dir/file", b"new");
    put(&winner, "/won", &[7; 100_000]);
    assert_eq!(get(&main, "/won"), Err(Errno::ENOENT));
    winner.commit().unwrap();
    // Segments still bear the winner's id.
    image.check();
    assert_eq!(get(&main, "/won").unwrap(), [7; 100_000]);
    assert_eq!(get(&main, "/dir/file").unwrap()[..3], *b"new");
    assert_eq!(get(&loser, "/lost"), Err(Errno::ESTALE));
    assert_eq!(errno(loser.create(Ino::ROOT, b"n", &FILE)), Errno::ESTALE);
    assert_eq!(errno(loser.commit()), Errno::ESTALE);
    loser.unmount().unwrap();
    // The winner is on main now, where it could not write before.
    assert_eq!(get(&winner, "/won").unwrap(), [7; 100_000]);
    assert_eq!(errno(winner.create(Ino::ROOT, b"n", &FILE)), Errno::EROFS);
    winner.unmount().unwrap();
    image.check();
    // Main goes on, on top of what was committed.
    let main = image.writer("main");
    put(&main, "/later", b"y");
    main.unmount().unwrap();
    let main = image.writer("main");
    assert_eq!(get(&main, "/later").unwrap(), b"y");
    assert_eq!(get(&main, "/won").unwrap(), [7; 100_000]);
    image.check();
}

#[test]
fn of_racing_committers_exactly_one_wins() {
    for round in 0..30_u8 {
        let image = Image::new();
        let mounts: Vec<_> = (0..4).map(|i| image.writer(&format!("b{i}"))).collect();
        for (i, mount) in mounts.iter().enumerate() {
            put(mount, "/winner", &[round, i as u8]);
        }
        let barrier = Barrier::new(mounts.len());
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = mounts
                .iter()
                .map(|mount| {
                    scope.spawn(|| {
                        barrier.wait();
                        mount.commit().map_err(|error| error.errno())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..4).filter(|&i| results[i].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        for (i, result) in results.iter().enumerate() {
            assert!(i == winners[0] || *result == Err(Errno::ESTALE), "{results:?}");
        }
        assert_eq!(get(&image.reader("main"), "/winner").unwrap(), [round, winners[0] as u8]);
        for mount in mounts {
            mount.unmount().unwrap();
        }
        image.check();
    }
}

/// Where the first byte of a file lies in the range.
fn place(mount: &TestMount, path: &str) -> daxfs::RegionOffset {
    let ino = mount.resolve(path.as_bytes(), LastLink::Follow).unwrap().ino;
    match mount.extent(ino, 0).unwrap() {
        Extent::Data { at, .. } => at,
        other => panic!("no data in the range: {other:?}"),
    }
}

/// Writes files until the region is full, and removes them again.
fn fill_up(mount: &TestMount, byte: u8) {
    let mut count = 0;
    loop {
        let name = format!("filler{count}");
        let Ok(made) = mount.create(Ino::ROOT, name.as_bytes(), &FILE) else { break };
        count += 1;
        if mount.write(made.ino, 0, &[byte; 64 * 1024]).is_err() {
            break;
        }
    }
    assert!(count > 3, "there was room");
    for i in 0..count {
        mount.unlink(Ino::ROOT, format!("filler{i}").as_bytes()).unwrap();
    }
}

#[test]
fn dropped_pages_are_not_used_again_while_a_follower_may_read_them() {
    let image = Image::with_delta(2 << 20);
    let writer = image.writer("b");
    put(&writer, "/f", &[1; 200_000]);
    let reader = image.reader("b");
    // The reader looks at the pages themselves, as a mapping or a slow copy does.
    let (at, region) = (place(&reader, "/f"), image.region());
    let look = || {
        let mut byte = [0];
        region.copy_out(at, &mut byte).unwrap();
        byte[0]
    };
    writer.unlink(Ino::ROOT, b"f").unwrap();
    fill_up(&writer, 2);
    assert_eq!(look(), 1, "the follower would have read another file's data");
    // Once the reader has followed, the pages are used again.
    reader.tick(1).unwrap();
    fill_up(&writer, 3);
    assert_eq!(look(), 3);
}

#[test]
fn segments_of_a_discarded_branch_are_not_used_again_before_its_mounts_know() {
    let image = Image::with_delta(2 << 20);
    let (winner, loser) = (image.writer("winner"), image.writer("loser"));
    put(&loser, "/f", &[1; 200_000]);
    let (at, region) = (place(&loser, "/f"), image.region());
    let look = || {
        let mut byte = [0];
        region.copy_out(at, &mut byte).unwrap();
        byte[0]
    };
    winner.commit().unwrap();
    winner.create_branch(&name("next"), None).unwrap();
    fill_up(&winner, 2);
    assert_eq!(look(), 1, "the stale mount would have read another branch's data");
    assert_eq!(errno(loser.tick(1)), Errno::ESTALE);
    fill_up(&winner, 3);
    assert_eq!(look(), 3);
    loser.unmount().unwrap();
}

#[test]
fn a_member_that_rests_for_the_lease_is_expired_and_its_branch_ends() {
    let image = Image::new();
    let survivor = image.writer("survivor");
    let dead = image.writer("dead");
    put(&dead, "/f", &[1; 2_000_000]);
    let lease = survivor.lease_ms().unwrap();
    survivor.tick(1000).unwrap();
    let before = free_segments(&survivor);
    survivor.tick(1000 + lease).unwrap();
    let mut names = Vec::new();
    survivor.branches(&mut |branch| names.push(branch.name.to_string())).unwrap();
    assert!(names.contains(&"dead".to_owned()), "not before the lease is over");
    survivor.tick(1001 + lease).unwrap();
    assert_eq!(errno(survivor.switch(&name("dead"))), Errno::ENOENT, "the branch has ended");
    assert_eq!(free_segments(&survivor), before, "its space is in quarantine");
    // It only slept. It notices, and can do no harm.
    assert_eq!(errno(dead.create(Ino::ROOT, b"n", &FILE)), Errno::ESTALE);
    assert_eq!(get(&dead, "/f"), Err(Errno::ESTALE));
    let mut expired = None;
    survivor
        .members(&mut |member| {
            if member.state == MemberState::Expired {
                expired = Some(member.index);
            }
        })
        .unwrap();
    drop(dead);
    image.volume().reap(expired.unwrap()).unwrap();
    survivor.tick(1002 + lease).unwrap();
    assert!(free_segments(&survivor) >= before + 7, "its space is back");
    image.check();
}

#[test]
fn a_mount_that_ends_takes_its_branches_with_it_unless_they_are_kept() {
    let image = Image::new();
    let branches = || {
        let mut names = Vec::new();
        let mut look = |branch: &daxfs::BranchInfo| {
            if branch.is_live() {
                names.push(branch.name.to_string());
            }
        };
        image.volume().branches(&mut look).unwrap();
        names.sort();
        names
    };
    let mount = image.writer("outer");
    mount.create_branch(&name("inner"), None).unwrap();
    mount.create_branch(&name("innermost"), None).unwrap();
    put(&mount, "/f", b"f");
    mount.unmount().unwrap();
    assert_eq!(branches(), ["main"]);
    let mount = image.try_mount(&MountOptions { keep: true, ..writing("outer") }).unwrap();
    mount.create_branch(&name("inner"), None).unwrap();
    mount.unmount().unwrap();
    assert_eq!(branches(), ["inner", "main", "outer"]);
    // What has a child that is somebody else's stays, too.
    let mount = image.writer("outer2");
    let child = name("child");
    image.volume().create_branch(&child, &name("inner")).unwrap();
    mount.switch(&name("inner")).unwrap();
    mount.unmount().unwrap();
    assert_eq!(branches(), ["child", "inner", "main", "outer", "outer2"]);
}

fn heartbeat_of(volume: &Volume<StdPlatform>, member: Option<u8>) -> u64 {
    let mut heartbeat = None;
    let mut look = |info: &daxfs::MemberInfo| {
        if Some(info.index.get()) == member {
            heartbeat = Some(info.heartbeat);
        }
    };
    volume.members(&mut look).unwrap();
    heartbeat.unwrap()
}

#[test]
fn a_member_shows_its_life_while_it_reads_or_rewrites_a_long_log() {
    let image = Image::with_delta(64 << 20);
    let mount = image.writer("main");
    for i in 0..20_000 {
        mount.create(Ino::ROOT, format!("file{i}").as_bytes(), &FILE).unwrap();
    }
    let volume = image.volume();
    let member = mount.info().member;
    let before = heartbeat_of(&volume, member);
    mount.compact().unwrap();
    let rewriting = heartbeat_of(&volume, member) - before;
    assert!(rewriting > 10, "{rewriting} beats for 40000 entries");
    let follower = image.reader("main");
    // It starts at 1, and nobody has ticked.
    let reading = heartbeat_of(&volume, follower.info().member) - 1;
    assert!(reading > 10, "{reading} beats for 40000 entries");
}

#[test]
fn a_heartbeat_needs_no_lock_and_ends_with_the_life_it_proves() {
    let image = Image::new();
    let mount = image.writer("b");
    let volume = image.volume();
    let heartbeat = mount.heartbeat().unwrap();
    let member = mount.info().member;
    // Inside an operation, as an interrupt may come.
    let before = heartbeat_of(&volume, member);
    let mut beats = 0;
    mount
        .readdir(Ino::ROOT, 0, &mut |_| {
            heartbeat.beat(volume.region()).unwrap();
            mount.beat();
            beats += 2;
            true
        })
        .unwrap();
    assert!(beats > 0);
    assert_eq!(heartbeat_of(&volume, member), before + beats);
    // Its place is given to another: the old proof proves nothing any more.
    mount.unmount().unwrap();
    let next = image.writer("c");
    assert_eq!(next.info().member, member);
    let before = heartbeat_of(&volume, member);
    heartbeat.beat(volume.region()).unwrap();
    assert_eq!(heartbeat_of(&volume, member), before);
}

#[test]
fn writing_over_own_pages_goes_on_while_others_read_and_write() {
    // What shares the lock must not tear: each thread has a page of its own in one file, and the
    // file's time is that of the last write, also after a remount.
    let image = Image::new();
    let mount = image.try_mount(&MountOptions { keep: true, ..writing("b") }).unwrap();
    put(&mount, "/f", &[0; 4 * 4096]);
    let ino = mount.resolve(b"/f", LastLink::Follow).unwrap().ino;
    let old = SetAttributes { mtime: Some(daxfs::Timestamp::new(1, 0)), ..Default::default() };
    mount.setattr(ino, &old).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let mount = &mount;
            scope.spawn(move || {
                let mut page = [0; 4096];
                for round in 1..=200_u8 {
                    let at = u64::from(thread) * 4096;
                    assert_eq!(mount.write(ino, at, &[round ^ thread; 4096]).unwrap(), 4096);
                    assert_eq!(mount.read(ino, at, &mut page).unwrap(), 4096);
                    assert_eq!(page, [round ^ thread; 4096]);
                }
            });
        }
    });
    let expected: Vec<u8> = (0..4_u8).flat_map(|thread| [200 ^ thread; 4096]).collect();
    assert_eq!(get(&mount, "/f").unwrap(), expected);
    let mtime = mount.getattr(ino).unwrap().mtime;
    assert!(mtime.sec > 1, "{mtime:?}");
    mount.unmount().unwrap();
    let mount = image.writer("b");
    assert_eq!(mount.getattr(ino).unwrap().mtime, mtime);
    assert_eq!(get(&mount, "/f").unwrap(), expected);
}

#[test]
fn branches_made_after_a_death_do_not_wait_for_it_to_be_confirmed() {
    let image = Image::with_delta(8 << 20);
    let dead = image.writer("dead");
    put(&dead, "/f", &[1; 500_000]);
    // It has ended without a word; nobody confirms its death.
    std::mem::forget(dead);
    let mount = image.writer("main");
    for round in 0..600_u32 {
        mount.create_branch(&name("attempt"), None).unwrap();
        put(&mount, "/f", &[round as u8; 2_000_000]);
        mount.abort().unwrap();
    }
}

#[test]
fn a_kept_branch_of_a_dead_member_is_there_for_others_once_the_death_is_confirmed() {
    let image = Image::new();
    let dead = image.try_mount(&MountOptions { keep: true, ..writing("kept") }).unwrap();
    put(&dead, "/checkpoint", &[9; 300_000]);
    drop(dead);
    let survivor = image.writer("survivor");
    let lease = survivor.lease_ms().unwrap();
    survivor.tick(10).unwrap();
    survivor.tick(11 + lease).unwrap();
    assert_eq!(errno(survivor.switch(&name("kept"))), Errno::EBUSY, "it may only sleep");
    image.volume().reap(MemberIndex::new(0)).unwrap();
    survivor.switch(&name("kept")).unwrap();
    assert_eq!(get(&survivor, "/checkpoint").unwrap(), [9; 300_000]);
    put(&survivor, "/checkpoint", b"goes on");
    survivor.commit().unwrap();
    image.check();
}

#[test]
fn the_death_of_a_kernel_is_confirmed_without_harm_to_the_others() {
    let image = Image::new();
    let (survivor, dead, reader) =
        (image.writer("survivor"), image.writer("dead"), image.reader("main"));
    put(&survivor, "/f", b"lives");
    let before = free_segments(&survivor);
    put(&dead, "/f", &[1; 2_000_000]);
    let kernel_of = |index| {
        let mut kernel = None;
        let mut look = |member: &daxfs::MemberInfo| {
            if member.index == MemberIndex::new(index) {
                kernel = Some(member.identity.kernel);
            }
        };
        image.volume().members(&mut look).unwrap();
        kernel.unwrap()
    };
    let kernel = kernel_of(1);
    drop(dead);
    assert_eq!(image.volume().reap_kernel(kernel).unwrap(), 1);
    assert_eq!(image.volume().reap_kernel(kernel).unwrap(), 0, "it is gone");
    survivor.tick(10).unwrap();
    reader.tick(10).unwrap();
    assert_eq!(errno(survivor.switch(&name("dead"))), Errno::ENOENT, "its branch has ended");
    survivor.tick(11).unwrap();
    assert!(free_segments(&survivor) >= before, "its space is back, no lease has passed");
    assert_eq!(get(&survivor, "/f").unwrap(), b"lives");
    put(&survivor, "/g", b"goes on");
    assert_eq!(get(&reader, "/dir/file").unwrap(), [b'x'; 10_000]);

    // Whoever takes the place is somebody else.
    let next = image.writer("next");
    assert_ne!(kernel_of(1), kernel);
    assert_eq!(image.volume().reap_kernel(kernel).unwrap(), 0);
    put(&next, "/f", b"next");
    next.commit().unwrap();
    assert_eq!(errno(survivor.create(Ino::ROOT, b"n", &FILE)), Errno::ESTALE);
    image.check();
}

#[test]
fn a_mount_that_is_the_only_one_may_take_over_at_once() {
    let image = Image::new();
    let dead = image.try_mount(&MountOptions { keep: true, ..writing("kept") }).unwrap();
    put(&dead, "/f", b"x");
    drop(dead);
    let options = MountOptions { exclusive: true, ..writing("kept") };
    assert_eq!(get(&image.try_mount(&options).unwrap(), "/f").unwrap(), b"x");
}

#[test]
fn making_writing_and_aborting_branches_runs_for_ever() {
    let image = Image::with_delta(64 << 20);
    let mount = image.writer("main");
    let content = vec![5; 10 << 20];
    for round in 0..40 {
        mount.create_branch(&name("try"), None).unwrap();
        put(&mount, "/big", &content);
        mount.abort().unwrap_or_else(|error| panic!("round {round}: {error}"));
        mount.switch(&name("main")).unwrap();
    }
    mount.unmount().unwrap();
    image.check();
}

#[test]
fn making_writing_and_committing_branches_over_one_file_runs_for_ever() {
    let image = Image::with_delta(64 << 20);
    let content = vec![5; 10 << 20];
    for round in 0..40 {
        let mount = image.writer("try");
        put(&mount, "/big", &content);
        mount.commit().unwrap_or_else(|error| panic!("round {round}: {error}"));
        mount.unmount().unwrap();
    }
    image.check();
}

#[test]
fn small_commits_into_a_branch_nobody_writes_to_do_not_scatter_what_they_leave() {
    let image = Image::with_delta(16 << 20);
    let watcher = image.reader("main");
    let total = watcher.statfs().unwrap().segments_total;
    // Of each commit one page stays: 300 pages, which fill 5 segments.
    for round in 0..300_u32 {
        let mount = image.writer(&format!("b{round}"));
        put(&mount, &format!("/f{round}"), &round.to_le_bytes());
        put(&mount, "/dir/file", &[round as u8; 100_000]);
        mount.commit().unwrap();
        mount.unmount().unwrap();
        watcher.tick(u64::from(round) + 1).unwrap();
    }
    let free = free_segments(&watcher);
    assert!(free > total / 3, "{free} of {total} segments are free");
    for round in 0..300_u32 {
        assert_eq!(get(&watcher, &format!("/f{round}")).unwrap(), round.to_le_bytes());
    }
    assert_eq!(get(&watcher, "/dir/file").unwrap(), [299_u32 as u8; 100_000]);
    watcher.unmount().unwrap();
    image.check();
}

#[test]
fn making_writing_renaming_and_removing_files_runs_for_ever() {
    let image = Image::with_delta(4 << 20);
    let mount = image.writer("main");
    let reader = image.reader("main");
    put(&mount, "/stays", &[7; 100_000]);
    for round in 0..60_000_u32 {
        let made = mount.create(Ino::ROOT, b"tmp", &FILE);
        let ino = made.unwrap_or_else(|error| panic!("round {round}: {error}")).ino;
        mount.write(ino, 0, &round.to_le_bytes()).unwrap();
        mount.rename(Ino::ROOT, b"tmp", Ino::ROOT, b"file", Default::default()).unwrap();
        if round % 100 == 0 {
            assert_eq!(get(&reader, "/file").unwrap(), round.to_le_bytes());
            assert_eq!(get(&reader, "/stays").unwrap(), [7; 100_000]);
        }
        if round % 3 == 0 {
            mount.unlink(Ino::ROOT, b"file").unwrap();
        }
    }
    mount.unmount().unwrap();
    image.check();
    assert_eq!(get(&image.reader("main"), "/stays").unwrap(), [7; 100_000]);
}

#[test]
fn a_follower_goes_on_through_a_rewritten_log() {
    let image = Image::new();
    let writer = image.writer("b");
    let reader = image.reader("b");
    for round in 0..20_u8 {
        put(&writer, "/dir/file", &[round; 6000]);
        put(&writer, &format!("/f{round}"), &[round; 3000]);
        writer.rename(Ino::ROOT, b"dir", Ino::ROOT, b"moved", Default::default()).unwrap();
        writer.compact().unwrap();
        put(&writer, &format!("/g{round}"), &[round; 10]);
        assert_eq!(get(&reader, "/moved/file").unwrap()[..6000], [round; 6000]);
        assert_eq!(get(&reader, &format!("/g{round}")).unwrap(), [round; 10]);
        writer.rename(Ino::ROOT, b"moved", Ino::ROOT, b"dir", Default::default()).unwrap();
        assert_eq!(get(&reader, "/dir/file").unwrap()[..6000], [round; 6000]);
    }
    image.check();
}

#[test]
fn all_slots_can_be_used_and_are_used_again() {
    let image = Image::new();
    let mount = image.writer("main");
    for round in 0..2 {
        let mut made = 0;
        let full = loop {
            match mount.create_branch(&name(&format!("b{made}")), None) {
                Ok(()) => made += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((made, full.errno()), (255, Errno::ENOSPC), "round {round}");
        for _ in 0..made {
            mount.abort().unwrap();
        }
        assert_eq!(mount.info().branch, Some(name("main")));
    }
    put(&mount, "/still", b"writable");
    image.check();
}

#[test]
fn a_deep_branch_is_read_like_any_other() {
    let image = Image::with_delta(64 << 20);
    let mount = image.writer("main");
    for depth in 0..60 {
        put(&mount, &format!("/f{depth}"), &[depth; 5000]);
        mount.create_branch(&name(&format!("b{depth}")), None).unwrap();
    }
    for depth in 0..60 {
        assert_eq!(get(&mount, &format!("/f{depth}")).unwrap(), [depth; 5000]);
    }
    for _ in 0..60 {
        mount.commit().unwrap();
    }
    assert_eq!(mount.info().branch, Some(name("main")));
    mount.unmount().unwrap();
    let mount = image.writer("main");
    for depth in 0..60 {
        assert_eq!(get(&mount, &format!("/f{depth}")).unwrap(), [depth; 5000]);
    }
    image.check();
}

#[test]
fn a_full_region_breaks_nothing_and_can_be_emptied() {
    let image = Image::with_delta(4 << 20);
    let mount = image.writer("main");
    let mut written = Vec::new();
    for i in 0_u32.. {
        let name = format!("f{i}");
        let Ok(made) = mount.create(Ino::ROOT, name.as_bytes(), &FILE) else { break };
        match mount.write(made.ino, 0, &vec![i as u8; 30_000]) {
            Ok(count) => written.push((name, i as u8, count)),
            Err(error) => {
                assert_eq!(error.errno(), Errno::ENOSPC);
                break;
            }
        }
    }
    let whole = |mount: &TestMount, files: &[(String, u8, usize)]| {
        for (name, byte, count) in files {
            assert_eq!(get(mount, &format!("/{name}")).unwrap(), vec![*byte; *count], "{name}");
        }
    };
    whole(&mount, &written);
    // Writing in place needs nothing.
    let ino = mount.lookup(Ino::ROOT, b"f0").unwrap().ino;
    mount.write(ino, 5, b"in place").unwrap();
    mount.write(ino, 5, &[0; 8]).unwrap();
    let kept = written.split_off(written.len() / 2);
    for (name, ..) in &written {
        mount.unlink(Ino::ROOT, name.as_bytes()).unwrap();
    }
    let last = mount.lookup(Ino::ROOT, kept[0].0.as_bytes()).unwrap().ino;
    mount
        .setattr(last, &SetAttributes { size: Some(kept[0].2 as u64), ..Default::default() })
        .unwrap();
    whole(&mount, &kept);
    put(&mount, "/new", &[1; 1_000_000]);
    mount.unmount().unwrap();
    image.check();
    let mount = image.writer("main");
    whole(&mount, &kept);
    assert_eq!(get(&mount, "/new").unwrap(), [1; 1_000_000]);
    assert_eq!(mount.lookup(Ino::ROOT, b"new").unwrap().kind, FileType::Regular);
}
