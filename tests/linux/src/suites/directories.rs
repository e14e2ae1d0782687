//! Reading directories, above all while they change.

use crate::check::suite;
use crate::files::{Entry, Errno, about, entries, go, make, names, refused};
use crate::mounted::Mounted;
use crate::tree;
use rustix::fs::{FileType, RawDir};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;

suite!(
    "directories",
    60,
    [
        entries_have_the_types_and_numbers_of_their_files,
        every_name_is_listed_once_with_a_buffer_of_any_size,
        positions_lead_back_to_where_they_were,
        positions_hold_while_others_are_removed,
        what_stays_is_listed_once_while_everything_else_changes,
        positions_hold_across_descriptors,
        a_removed_directory_lists_nothing,
        large_directories_work,
        dots_come_first,
        rewinding_shows_what_is_new,
    ]
);

/// Reads to the end.
fn rest(directory: &File, room: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let some = entries(directory, room);
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

fn listed(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.name).filter(|name| !name.starts_with('.')).collect()
}

fn entries_have_the_types_and_numbers_of_their_files() {
    let mount = Mounted::new();
    fs::create_dir(mount.path("new-dir")).unwrap();
    make(mount.path("new-file"));
    std::os::unix::fs::symlink("x", mount.path("new-link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        rustix::fs::mknodat(rustix::fs::CWD, mount.path(name), kind, mode, 0).unwrap();
    }
    for folder in ["", "dir", "dir/sub"] {
        for entry in rest(&File::open(mount.path(folder)).unwrap(), 4096) {
            let about = about(mount.path(folder).join(&entry.name));
            if mount.path(folder) == mount.path("") && entry.name == ".." {
                continue;
            }
            assert_eq!(entry.kind, FileType::from_raw_mode(about.mode()), "{entry:?}");
            assert_eq!(entry.ino, about.ino(), "{entry:?}");
        }
    }
}

fn every_name_is_listed_once_with_a_buffer_of_any_size() {
    let mount = Mounted::new();
    let expected = names(mount.path("many"));
    assert_eq!(expected.len(), tree::MANY);
    for room in [64, 200, 1000, 4096, 1 << 20] {
        let found = rest(&File::open(mount.path("many")).unwrap(), room);
        let mut found = listed(&found);
        found.sort_unstable();
        assert_eq!(found, expected, "{room}");
    }
}

fn positions_lead_back_to_where_they_were() {
    let mount = Mounted::new();
    for index in 0..50 {
        make(mount.path(format!("many/new-{index}")));
        fs::remove_file(mount.path("many").join(tree::many(index * 3))).unwrap();
    }
    let dir = File::open(mount.path("many")).unwrap();
    let all = rest(&dir, 4096);
    let positions: BTreeSet<u64> = all.iter().map(|entry| entry.next).collect();
    assert_eq!(positions.len(), all.len(), "no position stands for two places");
    for index in (0..all.len()).rev().step_by(7) {
        go(&dir, all[index].next);
        assert_eq!(rest(&dir, 4096), all[index + 1..], "after {:?}", all[index]);
    }
    go(&dir, 0);
    assert_eq!(rest(&dir, 4096), all);
}

fn positions_hold_while_others_are_removed() {
    let mount = Mounted::new();
    for index in 0..100 {
        make(mount.path(format!("many/new-{index:02}")));
    }
    let dir = File::open(mount.path("many")).unwrap();
    let all = rest(&dir, 4096);
    // Every other one goes, also those whose position is asked for.
    let stays = |index: usize| index < 2 || index % 2 == 1;
    for (index, entry) in all.iter().enumerate() {
        if !stays(index) {
            fs::remove_file(mount.path("many").join(&entry.name)).unwrap();
        }
    }
    for start in [1, 2, 5, 6, 100, all.len() - 2] {
        go(&dir, all[start].next);
        let expected: Vec<&str> = (start + 1..all.len())
            .filter(|&index| stays(index))
            .map(|index| &*all[index].name)
            .collect();
        let found = rest(&dir, 300);
        assert_eq!(listed(&found), expected, "after {:?}", all[start]);
    }
}

fn what_stays_is_listed_once_while_everything_else_changes() {
    let mount = Mounted::new();
    let path = |name: &str| mount.path("many").join(name);
    let stays = |index: usize| index.is_multiple_of(3);
    let dir = File::open(mount.path("many")).unwrap();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut round = 0;
    loop {
        let some = entries(&dir, 400);
        if some.is_empty() {
            break;
        }
        some.into_iter().for_each(|entry| *seen.entry(entry.name).or_default() += 1);
        // Names go, come, and change places, before and behind the position.
        let turn = round % tree::MANY;
        for index in [turn, tree::MANY - 1 - turn].into_iter().filter(|&index| !stays(index)) {
            match round % 3 {
                0 => drop(fs::remove_file(path(&tree::many(index)))),
                1 => drop(fs::rename(path(&tree::many(index)), path(&format!("moved-{index}")))),
                _ => drop(fs::remove_file(path(&tree::many(index)))),
            }
        }
        // If there were something new each time, there would be no end.
        if round < 80 {
            fs::write(path(&format!("new-{round}")), "").unwrap();
        }
        round += 1;
        assert!(round < 10 * tree::MANY, "the end is never reached");
    }
    for index in (0..tree::MANY).filter(|&index| stays(index)) {
        assert_eq!(seen.get(&tree::many(index)), Some(&1), "{}", tree::many(index));
    }
    assert!(seen.values().all(|&count| count == 1), "{:?}", seen.iter().find(|seen| *seen.1 > 1));
}

fn positions_hold_across_descriptors() {
    let mount = Mounted::new();
    make(mount.path("many/new"));
    let one = File::open(mount.path("many")).unwrap();
    let first = entries(&one, 4096);
    let position = first.last().unwrap().next;
    let other = File::open(mount.path("many")).unwrap();
    go(&other, position);
    assert_eq!(rest(&other, 1000), rest(&one, 4096));
}

fn a_removed_directory_lists_nothing() {
    let mount = Mounted::new();
    let dir = File::open(mount.path("empty")).unwrap();
    fs::remove_dir(mount.path("empty")).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    refused(RawDir::new(&dir, &mut buffer).next().unwrap().map(drop), Errno::NOENT);
}

fn large_directories_work() {
    let mount = Mounted::new();
    const COUNT: usize = 5000;
    let name = |index: usize| mount.path(format!("many/{index}"));
    for index in 0..COUNT {
        File::create(name(index)).unwrap();
    }
    assert_eq!(names(mount.path("many")).len(), COUNT + tree::MANY);
    for index in (0..COUNT).rev() {
        fs::remove_file(name(index)).unwrap();
    }
    assert_eq!(names(mount.path("many")).len(), tree::MANY);
}

fn dots_come_first() {
    let mount = Mounted::new();
    for folder in ["", "dir", "empty"] {
        let found = rest(&File::open(mount.path(folder)).unwrap(), 4096);
        let dots: Vec<&str> = found.iter().take(2).map(|entry| &*entry.name).collect();
        assert_eq!(dots, [".", ".."]);
    }
    let found = rest(&File::open(mount.path("dir/sub")).unwrap(), 4096);
    assert_eq!(found[1].ino, about(mount.path("dir")).ino());
}

fn rewinding_shows_what_is_new() {
    let mount = Mounted::new();
    let dir = File::open(mount.path("dir")).unwrap();
    assert_eq!(rest(&dir, 4096).len(), 4);
    make(mount.path("dir/new"));
    fs::remove_file(mount.path("dir/file")).unwrap();
    go(&dir, 0);
    let found = rest(&dir, 4096);
    let mut found = listed(&found);
    found.sort_unstable();
    assert_eq!(found, ["new", "sub"]);
}
