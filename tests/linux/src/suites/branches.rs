//! Branches: what a mount does with them, and what becomes of others.

use super::mapped::{ask, dies, toucher};
use crate::branch::{self, abort, commit, create, find, list, list_some, switch};
use crate::buffer::Buffer;
use crate::check::{is_debug_kernel, is_long, suite};
use crate::files::{Errno, edit, exists, has, make, names, refused};
use crate::mapping::{Mapping, PAGE, Use};
use crate::mounted::{Mounted, own_name, place, range};
use crate::tree;
use crate::user::as_user;
use crate::worker::{Job, Worker, say, told};
use daxfs_format::coordination::MemberRecord;
use daxfs_format::ioctl::CreateBranch;
use daxfs_tests::builder::{ImageBuilder, Kind};
use std::fs::{self, File};
use std::io::Read;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use zerocopy::FromZeros;

suite!(
    "branches",
    120,
    [
        the_command_does_what_the_manual_says,
        branches_are_listed,
        the_interface_refuses_what_it_does_not_know,
        only_an_administrator_changes_branches,
        siblings_know_nothing_of_each_other,
        a_commit_discards_the_siblings,
        everything_on_a_discarded_branch_is_stale,
        a_discarded_branch_can_be_unmounted_and_made_again,
        of_two_who_commit_at_once_one_wins,
        an_unmounted_branch_is_gone,
        a_kept_branch_is_there_for_the_next_mount,
        followers_see_changes_without_a_remount,
        a_commit_is_seen_by_mounts_of_the_parent,
        open_files_of_a_committed_branch_go_on,
        after_a_commit_the_mount_has_the_rights_it_had,
        a_writer_of_main_creates_and_commits_again_and_again,
        nested_branches_come_back_to_their_parents,
        a_branch_with_children_is_frozen,
        a_child_of_a_kept_branch_commits_into_it,
        switching_moves_a_mount_to_another_branch,
        files_of_a_branch_that_was_left_cannot_be_mapped,
        commits_of_any_size_take_effect_at_once,
        many_branches_come_and_go,
        a_mount_shows_others_that_it_lives,
    ]
);

/// What workers do.
pub static JOBS: &[Job] = &[("race", race)];

/// `daxfs-branch`.
fn command(arguments: &[&str], mount: &Mounted) -> Output {
    let mut all = arguments.to_vec();
    all.extend(["-m", mount.root().to_str().unwrap()]);
    Command::new("daxfs-branch").args(all).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn the_command_does_what_the_manual_says() {
    let (name, other) = (own_name("feature"), own_name("other"));
    // As in the manual, but for the names.
    let at = place();
    let options = format!("{},rw,branch=main", range());
    let status =
        Command::new("mount").args(["-t", "daxfs", "-o", &options, "none"]).arg(&at).status();
    assert!(status.unwrap().success());
    let mount = Mounted::at(at);
    succeeds(&command(&["create", &name, "-p", "main"], &mount));
    assert!(mount.line().has(&format!("branch={name}")), "{:?}", mount.line());
    fs::write(mount.path("new"), "x").unwrap();
    let listed = succeeds(&command(&["list"], &mount));
    assert!(listed.contains(&name) && listed.contains("main"), "{listed}");
    succeeds(&command(&["commit"], &mount));
    has(mount.path("new"), b"x");
    assert!(mount.line().has("branch=main"));
    succeeds(&command(&["create", &other, "-p", "main"], &mount));
    fs::remove_file(mount.path("new")).unwrap();
    succeeds(&command(&["abort"], &mount));
    has(mount.path("new"), b"x");
    // What is refused is told in words.
    let output = command(&["commit"], &mount);
    assert!(!output.status.success() && !output.stderr.is_empty(), "{output:?}");
    succeeds(&command(&["create", &other, "-p", "main"], &mount));
    let output = command(&["create", &other], &mount);
    assert!(!output.status.success(), "{output:?}");
    fs::remove_file(mount.path("new")).unwrap();
    succeeds(&command(&["commit"], &mount));
}

fn branches_are_listed() {
    let (one, other) = (own_name("one"), own_name("other"));
    let mounts = [Mounted::branch(&one), Mounted::branch(&other)];
    let control = mounts[0].open();
    let all = list(&control).unwrap();
    let main = all.iter().find(|branch| branch.name == "main").expect("main");
    assert_eq!((main.parent, main.is_owned, main.is_current), (0, false, false));
    for (name, current) in [(&one, true), (&other, false)] {
        let found = find(&control, name).unwrap();
        assert_eq!((found.parent, found.is_owned, found.is_current), (main.id, true, current));
    }
    // With too little room, as many as there is room for.
    let (count, some) = list_some(&control, 2).unwrap();
    assert_eq!((count, &*some), (all.len(), &all[..2]));
    assert_eq!(list_some(&control, 0).unwrap(), (all.len(), Vec::new()));
    // From any file, also one that looks on.
    let main = Mounted::main();
    let seen = list(&File::open(main.path("hello")).unwrap()).unwrap();
    let names = |list: &[branch::Branch]| -> Vec<String> {
        list.iter().map(|branch| branch.name.clone()).collect()
    };
    assert_eq!(names(&seen), names(&all));
}

fn the_interface_refuses_what_it_does_not_know() {
    let mount = Mounted::new();
    let control = mount.open();
    refused(branch::nonsense(&control), Errno::NOTTY);
    let name = own_name("x");
    let mut good = CreateBranch::new_zeroed();
    good.name[..name.len()].copy_from_slice(name.as_bytes());
    for (what, change) in [
        ("flags", (|wanted: &mut CreateBranch| wanted.flags = 1.into()) as fn(&mut CreateBranch)),
        ("reserved bytes", |wanted| wanted.reserved[59] = 1),
        ("a name without an end", |wanted| wanted.name = [b'n'; 32]),
        ("no name", |wanted| wanted.name = [0; 32]),
        ("a slash", |wanted| wanted.name[0] = b'/'),
        ("something behind the name", |wanted| wanted.name[31] = 1),
        ("something behind no parent", |wanted| wanted.parent[31] = 1),
    ] {
        let mut wrong = good;
        change(&mut wrong);
        assert_eq!(branch::create_raw(&control, wrong), Err(Errno::INVAL), "{what}");
    }
    refused(create(&control, &name, Some("nowhere")), Errno::NOENT);
    refused(switch(&control, "nowhere"), Errno::NOENT);
    refused(create(&control, "main", None), Errno::EXIST);
    assert!(mount.line().has(&format!("branch={}", own_name("own"))));
}

fn only_an_administrator_changes_branches() {
    let mount = Mounted::new();
    let control = mount.open();
    as_user(1000, 1000, || {
        refused(create(&control, "x", None), Errno::PERM);
        refused(switch(&control, "main"), Errno::PERM);
        refused(commit(&control), Errno::PERM);
        refused(abort(&control), Errno::PERM);
        assert!(list(&control).unwrap().len() >= 2);
    });
}

fn siblings_know_nothing_of_each_other() {
    let [one, other] = [own_name("one"), own_name("other")].map(|name| Mounted::branch(&name));
    for (mount, text) in [(&one, "one"), (&other, "other")] {
        fs::write(mount.path("new"), text).unwrap();
        fs::write(mount.path("hello"), text).unwrap();
        fs::create_dir(mount.path(text)).unwrap();
    }
    fs::remove_file(one.path("small")).unwrap();
    fs::rename(other.path("dir"), other.path("moved")).unwrap();
    for (mount, text, missing) in [(&one, "one", "moved"), (&other, "other", "one")] {
        has(mount.path("new"), text.as_bytes());
        has(mount.path("hello"), text.as_bytes());
        assert!(!exists(mount.path(missing)));
    }
    has(other.path("small"), b"abc");
    has(one.path("dir/sub/deep"), b"deep\n");
    let main = Mounted::main();
    has(main.path("hello"), tree::HELLO.as_bytes());
    assert!(!exists(main.path("new")));
    // The same inode in all, with pages of its own in each.
    let memory = [&one, &other]
        .map(|mount| Mapping::new(&edit(mount.path("big")), 0, 4096, Use::Write).unwrap());
    memory[0].set(0, 1);
    memory[1].set(0, 2);
    assert_eq!((memory[0].get(0), memory[1].get(0)), (1, 2));
    has(main.path("big"), &tree::patterns(0, tree::BIG));
}

/// Undoes what a commit has done, by another one.
fn take_back(files: &[&str]) {
    let mount = Mounted::branch(&own_name("take-back"));
    for file in files {
        let path = mount.path(file);
        if exists(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    commit(&mount.open()).unwrap();
}

fn a_commit_discards_the_siblings() {
    let (one, other) = (own_name("one"), own_name("other"));
    let (winner, loser) = (Mounted::branch(&one), Mounted::branch(&other));
    fs::write(winner.path("by-one"), "x").unwrap();
    fs::write(loser.path("by-other"), "x").unwrap();
    let control = loser.open();
    commit(&winner.open()).unwrap();
    refused(fs::read(loser.path("by-other")), Errno::STALE);
    refused(commit(&control), Errno::STALE);
    drop(control);
    let main = Mounted::main();
    assert!(exists(main.path("by-one")) && !exists(main.path("by-other")));
    assert_eq!((find(&main.open(), &one), find(&main.open(), &other)), (None, None));
    drop((winner, loser, main));
    take_back(&["by-one"]);
}

fn everything_on_a_discarded_branch_is_stale() {
    let (winner, loser) = (Mounted::branch(&own_name("one")), Mounted::branch(&own_name("other")));
    let file = make(loser.path("new"));
    file.write_all_at(&[1; 100_000], 0).unwrap();
    let changed = edit(loser.path("big"));
    changed.write_all_at(b"x", 0).unwrap();
    let untouched = File::open(loser.path("small")).unwrap();
    let (dir, root) = (File::open(loser.path("dir")).unwrap(), loser.open());
    let workers = [
        (toucher(&loser.path("new"), 100_000), "load 0"),
        (toucher(&loser.path("big"), 100_000), "store 1 1"),
        (toucher(&loser.path("small"), 3), "load 0"),
    ];
    let workers = workers.map(|(mut worker, question)| {
        ask(&mut worker, "load 0").unwrap();
        (worker, question)
    });
    fs::metadata(loser.path("new")).unwrap();
    commit(&winner.open()).unwrap();
    // Though Linux remembers what this was, and nobody has told it yet.
    refused(fs::metadata(loser.path("new")).map(drop), Errno::STALE);
    let mut byte = [0];
    for file in [&file, &changed, &untouched] {
        refused(file.read_at(&mut byte, 0), Errno::STALE);
        refused(file.metadata().map(drop), Errno::STALE);
    }
    refused(file.write_at(&byte, 0), Errno::STALE);
    refused(file.set_len(0), Errno::STALE);
    refused(changed.write_at(&byte, 200_000), Errno::STALE);
    refused(
        fs::read_dir(loser.root()).and_then(Iterator::collect::<Result<Vec<_>, _>>),
        Errno::STALE,
    );
    refused(File::open(loser.path("hello")).map(drop), Errno::STALE);
    refused(File::create(loser.path("x")).map(drop), Errno::STALE);
    refused(fs::metadata(loser.path("dir/sub")).map(drop), Errno::STALE);
    refused(fs::create_dir(loser.path("y")), Errno::STALE);
    refused(fs::remove_file(loser.path("new")), Errno::STALE);
    refused(fs::rename(loser.path("new"), loser.path("z")), Errno::STALE);
    refused(rustix::fs::syncfs(&root), Errno::STALE);
    refused(abort(&root), Errno::STALE);
    for (worker, question) in workers {
        dies(worker, question);
    }
    drop((file, changed, untouched, dir, root));
    // It is unmounted like any other.
    loser.unmount();
}

fn a_discarded_branch_can_be_unmounted_and_made_again() {
    let name = own_name("other");
    for _ in 0..5 {
        let (winner, loser) = (Mounted::branch(&own_name("one")), Mounted::branch(&name));
        make(loser.path("new"));
        commit(&winner.open()).unwrap();
        // Its name is free at once, though somebody is still on the old one.
        let again = Mounted::branch(&name);
        assert!(!exists(again.path("new")));
        make(again.path("newer"));
        drop(loser);
        assert!(exists(again.path("newer")));
    }
}

/// Commits when told, and says what came of it.
fn race(arguments: &[&str]) {
    let [path] = arguments else { panic!("{arguments:?}") };
    let control = File::open(path).unwrap();
    say("ready");
    while told().is_some() {
        match commit(&control) {
            Ok(()) => say("won"),
            Err(Errno::STALE) => say("stale"),
            Err(errno) => say(errno),
        }
    }
}

fn of_two_who_commit_at_once_one_wins() {
    let rounds = match (is_long(), is_debug_kernel()) {
        (true, _) => 1000,
        (false, true) => 20,
        (false, false) => 60,
    };
    let main = Mounted::main();
    let (mut wins, mark) = ([0, 0], own_name("mark"));
    for round in 0..rounds {
        let mounts = ["a", "b"].map(|name| Mounted::branch(&own_name(name)));
        for (index, mount) in mounts.iter().enumerate() {
            fs::write(mount.path(&mark), format!("{round} {index}")).unwrap();
            fs::write(mount.path(format!("{mark}-{index}")), vec![1; 50_000]).unwrap();
        }
        let mut workers = mounts.each_ref().map(|mount| {
            let mut worker = Worker::start("race", &[mount.root().to_str().unwrap()]);
            assert_eq!(worker.hear().as_deref(), Some("ready"));
            worker
        });
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let said = workers.each_mut().map(|worker| worker.hear().unwrap());
        let winner = match [&*said[0], &*said[1]] {
            ["won", "stale"] => 0,
            ["stale", "won"] => 1,
            other => panic!("round {round}: {other:?}"),
        };
        wins[winner] += 1;
        drop(workers);
        has(main.path(&mark), format!("{round} {winner}").as_bytes());
        drop(mounts);
        // The next round's branches begin with what has won.
        let next = Mounted::new();
        has(next.path(&mark), format!("{round} {winner}").as_bytes());
    }
    println!("{wins:?}");
    drop(main);
    take_back(&[&mark, &format!("{mark}-0"), &format!("{mark}-1")]);
}

fn an_unmounted_branch_is_gone() {
    let name = own_name("gone");
    for round in 0..3 {
        let mount = Mounted::branch(&name);
        assert!(!exists(mount.path("new")), "{round}");
        fs::write(mount.path("new"), vec![1; 1 << 20]).unwrap();
        fs::remove_dir_all(mount.path("dir")).unwrap();
        mount.unmount();
        let main = Mounted::main();
        assert_eq!(find(&main.open(), &name), None);
        has(main.path("dir/sub/deep"), b"deep\n");
        assert!(!exists(main.path("new")));
    }
}

fn a_kept_branch_is_there_for_the_next_mount() {
    let name = own_name("kept");
    let mount = Mounted::range(&format!("rw,keep,branch={name},parent=main")).unwrap();
    fs::write(mount.path("new"), "x").unwrap();
    mount.unmount();
    let looks = Mounted::range(&format!("ro,branch={name}")).unwrap();
    has(looks.path("new"), b"x");
    assert!(!find(&looks.open(), &name).unwrap().is_owned);
    drop(looks);
    // Mounted without `keep`, it goes.
    let mount = Mounted::range(&format!("rw,branch={name}")).unwrap();
    has(mount.path("new"), b"x");
    mount.unmount();
    assert_eq!(find(&Mounted::main().open(), &name), None);
}

fn followers_see_changes_without_a_remount() {
    let name = own_name("followed");
    let mount = Mounted::branch(&name);
    let follower = Mounted::range(&format!("ro,branch={name}")).unwrap();
    let old = File::open(follower.path("hello")).unwrap();
    for round in 0..50 {
        let text = format!("{round}");
        fs::write(mount.path("hello"), &text).unwrap();
        has(follower.path("hello"), text.as_bytes());
        let mut found = String::new();
        (&old).read_to_string(&mut found).unwrap();
        crate::files::go(&old, 0);
        assert_eq!(found, text);
        fs::write(mount.path(&text), "x").unwrap();
        assert!(exists(follower.path(&text)));
        fs::rename(mount.path(&text), mount.path("moved")).unwrap();
        assert!(!exists(follower.path(&text)) && exists(follower.path("moved")));
        fs::remove_file(mount.path("moved")).unwrap();
        assert!(!exists(follower.path("moved")));
        assert_eq!(names(follower.root()), names(mount.root()));
    }
    fs::create_dir(mount.path("folder")).unwrap();
    let dir = File::open(follower.path("folder")).unwrap();
    fs::write(mount.path("folder/file"), "x").unwrap();
    assert_eq!(names(follower.path("folder")), ["file"]);
    fs::remove_dir_all(mount.path("folder")).unwrap();
    refused(fs::metadata(follower.path("folder")), Errno::NOENT);
    drop(dir);
}

fn a_commit_is_seen_by_mounts_of_the_parent() {
    let main = Mounted::main();
    let old = File::open(main.path("hello")).unwrap();
    let mut found = [0; 5];
    old.read_exact_at(&mut found, 0).unwrap();
    let mut worker = toucher(&main.path("hello"), 5);
    assert_eq!(ask(&mut worker, "load 0").as_deref(), Some("104"));
    let mount = Mounted::branch(&own_name("one"));
    edit(mount.path("hello")).write_all_at(b"HELLO", 0).unwrap();
    fs::write(mount.path("by-one"), "x").unwrap();
    old.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"hello");
    commit(&mount.open()).unwrap();
    old.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"HELLO");
    assert_eq!(ask(&mut worker, "load 0").as_deref(), Some("72"));
    assert!(exists(main.path("by-one")));
    drop((worker, old, main, mount));
    let mount = Mounted::branch(&own_name("one"));
    fs::write(mount.path("hello"), tree::HELLO).unwrap();
    fs::remove_file(mount.path("by-one")).unwrap();
    commit(&mount.open()).unwrap();
}

fn open_files_of_a_committed_branch_go_on() {
    let mount = Mounted::branch(&own_name("one"));
    let name = own_name("file");
    let file = make(mount.path(&name));
    file.write_all_at(&[7; 10_000], 0).unwrap();
    let memory = Mapping::new(&file, 0, 10_000, Use::Read).unwrap();
    commit(&mount.open()).unwrap();
    let mut found = [0; 10];
    file.read_exact_at(&mut found, 9000).unwrap();
    assert_eq!((found, memory.get(5000)), ([7; 10], 7));
    refused(file.write_at(b"x", 0), Errno::ROFS);
    drop((memory, file, mount));
    take_back(&[&name]);
}

fn after_a_commit_the_mount_has_the_rights_it_had() {
    // It wrote to a branch, not to main.
    let mount = Mounted::branch(&own_name("one"));
    let name = own_name("file");
    make(mount.path(&name));
    commit(&mount.open()).unwrap();
    refused(File::create(mount.path("x")), Errno::ROFS);
    assert!(mount.line().has("ro"), "{:?}", mount.line());
    assert!(!find(&mount.open(), "main").unwrap().is_owned);
    // After an abort it is the same.
    let mount = Mounted::branch(&own_name("other"));
    abort(&mount.open()).unwrap();
    refused(File::create(mount.path("x")), Errno::ROFS);
    assert!(mount.line().has("ro"));
    drop(mount);
    take_back(&[&name]);
}

fn a_writer_of_main_creates_and_commits_again_and_again() {
    let mount = Mounted::range("rw,branch=main").unwrap();
    let control = mount.open();
    let name = own_name("file");
    for round in 0..20 {
        create(&control, &own_name("kid"), None).unwrap();
        fs::write(mount.path(&name), format!("{round}")).unwrap();
        if round % 3 == 0 {
            abort(&control).unwrap();
            assert!(round == 0 || exists(mount.path(&name)));
        } else {
            commit(&control).unwrap();
            has(mount.path(&name), format!("{round}").as_bytes());
        }
        // It writes to main again.
        fs::write(mount.path("direct"), format!("{round}")).unwrap();
    }
    fs::remove_file(mount.path("direct")).unwrap();
    fs::remove_file(mount.path(&name)).unwrap();
}

fn nested_branches_come_back_to_their_parents() {
    let names = ["a", "b", "c"].map(own_name);
    let mount = Mounted::branch(&names[0]);
    let control = mount.open();
    fs::write(mount.path("of-a"), "a").unwrap();
    for name in &names[1..] {
        create(&control, name, None).unwrap();
        assert!(mount.line().has(&format!("branch={name}")));
        fs::write(mount.path(format!("of-{name}")), "x").unwrap();
        fs::write(mount.path("common"), name).unwrap();
    }
    let [a, b, c] = names.each_ref().map(|name| find(&control, name).unwrap());
    assert_eq!((b.parent, c.parent), (a.id, b.id));
    has(mount.path("of-a"), b"a");
    abort(&control).unwrap();
    has(mount.path("common"), names[1].as_bytes());
    assert!(mount.line().has(&format!("branch={}", names[1])));
    fs::write(mount.path("again"), "b").unwrap();
    commit(&control).unwrap();
    assert!(mount.line().has(&format!("branch={}", names[0])));
    has(mount.path("common"), names[1].as_bytes());
    fs::write(mount.path("and-again"), "a").unwrap();
    assert!(!exists(Mounted::main().path("of-a")));
    drop(control);
    mount.unmount();
    let main = Mounted::main();
    assert!(names.iter().all(|name| find(&main.open(), name).is_none()));
}

fn a_branch_with_children_is_frozen() {
    let (parent, kid) = (own_name("parent"), own_name("kid"));
    let mount = Mounted::range(&format!("rw,keep,branch={parent},parent=main")).unwrap();
    fs::write(mount.path("file"), "parent").unwrap();
    mount.unmount();
    let child = Mounted::range(&format!("rw,branch={kid},parent={parent}")).unwrap();
    has(child.path("file"), b"parent");
    // It can be owned all the same, but not changed.
    let owner = Mounted::range(&format!("rw,keep,branch={parent}")).unwrap();
    refused(fs::write(owner.path("file"), "changed"), Errno::ROFS);
    refused(fs::remove_file(owner.path("hello")), Errno::ROFS);
    let (control, errors) = (owner.open(), [commit as fn(&File) -> _, abort]);
    errors.into_iter().for_each(|end| assert_eq!(end(&control), Err(Errno::BUSY)));
    drop((control, owner));
    // Looking at it is fine.
    has(Mounted::range(&format!("ro,branch={parent}")).unwrap().path("file"), b"parent");
    child.unmount();
    let mount = Mounted::range(&format!("rw,branch={parent}")).unwrap();
    fs::write(mount.path("file"), "changed").unwrap();
}

fn a_child_of_a_kept_branch_commits_into_it() {
    let (parent, kid, sibling) = (own_name("parent"), own_name("kid"), own_name("sibling"));
    let mount = Mounted::range(&format!("rw,keep,branch={parent},parent=main")).unwrap();
    fs::write(mount.path("file"), "parent").unwrap();
    mount.unmount();
    let children = [&kid, &sibling]
        .map(|name| Mounted::range(&format!("rw,branch={name},parent={parent}")).unwrap());
    let follower = Mounted::range(&format!("ro,branch={parent}")).unwrap();
    fs::write(children[0].path("file"), "kid").unwrap();
    commit(&children[0].open()).unwrap();
    has(follower.path("file"), b"kid");
    refused(fs::read(children[1].path("file")), Errno::STALE);
    assert!(children[0].line().has(&format!("branch={parent}")));
    assert!(!exists(Mounted::main().path("file")));
    drop((children, follower));
    let mount = Mounted::range(&format!("rw,branch={parent}")).unwrap();
    has(mount.path("file"), b"kid");
}

fn switching_moves_a_mount_to_another_branch() {
    let (one, other) = (own_name("one"), own_name("other"));
    let kept = Mounted::range(&format!("rw,keep,branch={other},parent=main")).unwrap();
    fs::write(kept.path("of-other"), "x").unwrap();
    kept.unmount();
    let mount = Mounted::range(&format!("rw,keep,branch={one},parent=main")).unwrap();
    let control = mount.open();
    let file = make(mount.path("of-one"));
    switch(&control, &other).unwrap();
    assert!(exists(mount.path("of-other")) && !exists(mount.path("of-one")));
    refused(file.set_len(0), Errno::STALE);
    fs::write(mount.path("of-other"), "y").unwrap();
    switch(&control, &one).unwrap();
    assert!(exists(mount.path("of-one")) && !exists(mount.path("of-other")));
    abort(&control).unwrap();
    drop((file, control, mount));
    let mount = Mounted::range(&format!("rw,branch={other}")).unwrap();
    has(mount.path("of-other"), b"y");
}

/// A file on one branch may have the number that another has on the next: the mount must not take the one for
/// the other when it takes mappings down.
fn files_of_a_branch_that_was_left_cannot_be_mapped() {
    let (one, other) = (own_name("one"), own_name("other"));
    let kept = Mounted::range(&format!("rw,keep,branch={other},parent=main")).unwrap();
    fs::write(kept.path("file"), [2; 3 * PAGE]).unwrap();
    kept.unmount();
    let mount = Mounted::range(&format!("rw,keep,branch={one},parent=main")).unwrap();
    let control = mount.open();
    let left = make(mount.path("file"));
    left.write_all_at(&[1; 3 * PAGE], 0).unwrap();
    let old = Mapping::new(&left, 0, 3 * PAGE, Use::Write).unwrap();
    assert_eq!(old.get(0), 1);
    switch(&control, &other).unwrap();
    let file = edit(mount.path("file"));
    let memory = Mapping::new(&file, 0, 3 * PAGE, Use::Read).unwrap();
    assert_eq!(memory.get(PAGE), 2);
    for what in [Use::Read, Use::Write, Use::Private, Use::Execute] {
        assert_eq!(Mapping::new(&left, 0, 3 * PAGE, what).err(), Some(Errno::STALE), "{what:?}");
    }
    file.write_all_at(&[3; PAGE], PAGE as u64).unwrap();
    assert_eq!((memory.get(PAGE), memory.get(2 * PAGE)), (3, 2));
    drop((old, memory, left, file));
    abort(&control).unwrap();
    drop((control, mount));
    drop(Mounted::range(&format!("rw,branch={one}")).unwrap());
}

fn commits_of_any_size_take_effect_at_once() {
    let main = Mounted::main();
    let name = own_name("large");
    for size in [0, 1 << 10, 16 << 20] {
        let mount = Mounted::branch(&own_name("one"));
        fs::write(mount.path(&name), vec![size as u8 | 1; size]).unwrap();
        commit(&mount.open()).unwrap();
        assert_eq!(fs::metadata(main.path(&name)).unwrap().len(), size as u64);
        has(main.path(&name), &vec![size as u8 | 1; size]);
    }
    drop(main);
    take_back(&[&name]);
}

fn many_branches_come_and_go() {
    let count = if is_debug_kernel() { 300 } else { 600 };
    let mount = Mounted::range("rw,branch=main").unwrap();
    let control = mount.open();
    for _ in 0..count {
        create(&control, &own_name("kid"), None).unwrap();
        make(mount.path("new"));
        abort(&control).unwrap();
    }
    assert!(!exists(mount.path("new")), "{count}");
    assert_eq!(list(&control).unwrap().len(), 1);
    // Many at once. The memory in which KASAN notes things grows with all that is mapped.
    drop((control, mount));
    let mut kept = Vec::new();
    for index in 0..if is_debug_kernel() { 6 } else { 40 } {
        kept.push(Mounted::branch(&format!("{}-{index}", own_name("many"))));
    }
    for (index, mount) in kept.iter().enumerate() {
        fs::write(mount.path("file"), format!("{index}")).unwrap();
    }
    for (index, mount) in kept.iter().enumerate() {
        has(mount.path("file"), format!("{index}").as_bytes());
    }
}

fn a_mount_shows_others_that_it_lives() {
    let image = ImageBuilder::new(Kind::Segmented).build();
    let buffer = Buffer::of(&image.bytes);
    let mount = buffer.mount("rw,branch=b,name=the-name").unwrap();
    let memory = buffer.memory().bytes(0, image.bytes.len());
    let name = memory.windows(9).position(|bytes| bytes == b"the-name\0").expect("its record");
    let heartbeat = name - offset_of!(MemberRecord, name) + offset_of!(MemberRecord, heartbeat);
    // Nobody does anything; it beats all the same, more than once.
    let start = Instant::now();
    let mut seen = vec![buffer.memory().bytes(heartbeat, 8)];
    while seen.len() < 4 {
        let now = buffer.memory().bytes(heartbeat, 8);
        if !seen.contains(&now) {
            seen.push(now);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{seen:?}");
        std::thread::yield_now();
    }
    fs::write(mount.path("new"), "x").unwrap();
    has(mount.path("new"), b"x");
}
