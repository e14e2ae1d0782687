//! What goes wrong in the reference implementation, one check for each fault. Many of these things are
//! looked at more closely elsewhere; here stands that none of them has been forgotten.

use super::mapped::{ask, toucher};
use crate::branch::{self, commit, create, find};
use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, about, content, edit, exists, has, make, names, refused, same};
use crate::mapping::{Mapping, PAGE, Use};
use crate::mounted::{Context, Mounted};
use daxfs_format::base::DIRENT_SIZE;
use daxfs_tests::builder::{ImageBuilder, Kind, ino};
use daxfs_tests::field::{Structure, fields};
use daxfs_tests::image::{Image, Scratch, read_write};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

suite!(
    "reference_faults",
    120,
    [
        small_writes_do_not_fill_a_log_of_fixed_size,
        unlinking_works_when_nothing_else_does,
        commits_do_not_fill_the_log_of_main,
        a_commit_that_fails_discards_nobody,
        space_and_branch_slots_are_given_back,
        a_byte_written_to_a_base_file_does_not_truncate_it,
        a_hole_before_data_is_read_as_zeros,
        a_small_write_inside_of_a_big_one_is_visible,
        appending_appends,
        truncating_down_and_up_shows_no_old_data,
        a_shared_mapping_and_read_agree,
        a_read_fault_does_not_grow_a_file,
        read_faults_work_when_the_region_is_full,
        readdir_lists_what_there_is,
        new_files_have_numbers_of_their_own,
        the_first_mount_may_be_read_only,
        what_is_committed_survives_a_remount,
        after_commit_and_abort_main_is_as_writable_as_before,
        a_commit_is_visible_to_mounts_of_main_that_exist,
        a_mapping_of_a_discarded_sibling_is_not_readable,
        a_child_does_not_commit_what_its_parent_discarded,
        the_dead_do_not_hold_up_the_living,
        a_waiting_commit_can_be_killed,
        sizes_have_suffixes,
        validate_finds_a_directory_that_names_an_ancestor,
        validate_finds_a_name_that_is_there_twice,
        validate_finds_a_slash_in_a_name,
        validate_finds_overlapping_regions,
        a_mapping_of_a_read_only_file_copies_nothing,
    ]
);

/// Somewhere to write to: an image of its own with so many MiB for changes.
struct Place {
    buffer: Buffer,
}

impl Place {
    fn new(mib: u64) -> Self {
        let image = ImageBuilder::new(Kind::Segmented).roomy(mib << 20).build();
        Self { buffer: Buffer::of(&image.bytes) }
    }

    #[track_caller]
    fn mount(&self, options: &str) -> Mounted {
        self.buffer.mount(options).unwrap_or_else(|refused| panic!("{options}: {refused}"))
    }
}

fn small_writes_do_not_fill_a_log_of_fixed_size() {
    let place = Place::new(96);
    let mount = place.mount("rw,branch=b");
    let mut file = make(mount.path("f"));
    let piece = [7; PAGE];
    // The reference stopped after 61 KB, or one MB.
    for _ in 0..64 << 20 >> 12 {
        file.write_all(&piece).unwrap();
    }
    for round in 0..20_000_u64 {
        file.write_all_at(&piece, round % 1000 * 4096).unwrap();
    }
    fs::remove_file(mount.path("f")).unwrap();
}

fn unlinking_works_when_nothing_else_does() {
    let place = Place::new(4);
    let mount = place.mount("rw,branch=b");
    let mut count = 0;
    let error = loop {
        if let Err(error) = fs::write(mount.path(format!("{count}")), vec![1; 50_000]) {
            break error;
        }
        count += 1;
    };
    refused::<(), _>(Err(error), Errno::NOSPC);
    while let Ok(()) = fs::create_dir(mount.path(format!("dir-{count}"))) {
        count += 1;
    }
    for name in names(mount.root()) {
        if name.parse::<u32>().is_ok() {
            fs::remove_file(mount.path(&name)).unwrap();
        } else if name.starts_with("dir-") {
            fs::remove_dir(mount.path(&name)).unwrap();
        }
    }
    fs::write(mount.path("again"), vec![1; 1 << 20]).unwrap();
    branch::abort(&mount.open()).unwrap();
}

fn commits_do_not_fill_the_log_of_main() {
    let place = Place::new(8);
    let main = place.mount("ro");
    for round in 0..100_u8 {
        let mount = place.mount("rw,branch=next");
        fs::write(mount.path("f"), [round; 100_000]).unwrap();
        fs::write(mount.path(format!("f{}", round % 3)), [round; 1000]).unwrap();
        commit(&mount.open()).unwrap_or_else(|errno| panic!("commit {round}: {errno}"));
        has(main.path("f"), &[round; 100_000]);
    }
}

fn a_commit_that_fails_discards_nobody() {
    let place = Place::new(8);
    let (one, other) = (place.mount("rw,branch=one"), place.mount("rw,branch=other"));
    fs::write(other.path("f"), "x").unwrap();
    // A branch that is full: committing needs no room, so it does not fail for want of it.
    let mut file = make(one.path("full"));
    while let Ok(1..) = file.write(&[1; 100_000]) {}
    has(other.path("f"), b"x");
    commit(&one.open()).unwrap();
    refused(fs::read(other.path("f")), Errno::STALE);
    assert!(exists(place.mount("ro").path("full")));
}

fn space_and_branch_slots_are_given_back() {
    let place = Place::new(8);
    for round in 0..400 {
        let mount = place.mount("rw,branch=b");
        fs::write(mount.path("f"), vec![1; 1 << 20])
            .unwrap_or_else(|error| panic!("{round}: {error}"));
    }
}

fn a_byte_written_to_a_base_file_does_not_truncate_it() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    let mut expected = content(mount.path("dir/file"));
    assert_eq!(expected.len(), 10_000);
    edit(mount.path("dir/file")).write_all_at(b"x", 10).unwrap();
    expected[10] = b'x';
    has(mount.path("dir/file"), &expected);
}

fn a_hole_before_data_is_read_as_zeros() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    let file = make(mount.path("f"));
    file.write_all_at(b"end", 10_000).unwrap();
    let mut found = [1; 20_000];
    assert_eq!(file.read_at(&mut found, 0).unwrap(), 10_003);
    assert!(found[..10_000].iter().all(|&byte| byte == 0));
    assert_eq!(&found[10_000..10_003], b"end");
}

fn a_small_write_inside_of_a_big_one_is_visible() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    let file = make(mount.path("f"));
    let mut expected = vec![1; 200_000];
    file.write_all_at(&expected, 0).unwrap();
    file.write_all_at(b"small", 150_000).unwrap();
    expected[150_000..150_005].copy_from_slice(b"small");
    has(mount.path("f"), &expected);
    let mut found = vec![0; 10];
    file.read_exact_at(&mut found, 149_998).unwrap();
    same(&found, &expected[149_998..150_008]);
}

fn appending_appends() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    for name in ["f", "dir/sub/deep"] {
        let start = if name == "f" { Vec::new() } else { content(mount.path(name)) };
        let mut file = OpenOptions::new().append(true).create(true).open(mount.path(name)).unwrap();
        file.write_all(b"one").unwrap();
        file.write_all(b"two").unwrap();
        has(mount.path(name), &[&start[..], b"onetwo"].concat());
    }
}

fn truncating_down_and_up_shows_no_old_data() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    let file = edit(mount.path("dir/file"));
    file.set_len(3).unwrap();
    file.set_len(10_000).unwrap();
    let found = content(mount.path("dir/file"));
    assert_eq!(found.len(), 10_000);
    assert!(found[3..].iter().all(|&byte| byte == 0) && found[2] != 0);
}

fn a_shared_mapping_and_read_agree() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    let file = edit(mount.path("dir/file"));
    let memory = Mapping::new(&file, 0, 10_000, Use::Write).unwrap();
    memory.get(5000);
    file.write_all_at(b"written", 5000).unwrap();
    same(&memory.bytes(5000, 7), b"written");
    memory.put(6000, b"stored");
    let mut found = [0; 6];
    file.read_exact_at(&mut found, 6000).unwrap();
    assert_eq!(&found, b"stored");
}

fn a_read_fault_does_not_grow_a_file() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    fs::write(mount.path("three"), "abc").unwrap();
    for name in ["three", "dir/sub/deep"] {
        let file = edit(mount.path(name));
        let before = content(mount.path(name));
        let memory = Mapping::new(&file, 0, PAGE, Use::Write).unwrap();
        same(&memory.bytes(0, before.len()), &before);
        assert_eq!(memory.get(4095), 0);
        assert_eq!(file.metadata().unwrap().size(), before.len() as u64);
        has(mount.path(name), &before);
    }
}

fn read_faults_work_when_the_region_is_full() {
    let place = Place::new(4);
    let mount = place.mount("rw,branch=b");
    let mut file = make(mount.path("full"));
    while let Ok(1..) = file.write(&[1; 10_000]) {}
    let mut count = 0;
    while fs::write(mount.path(format!("n{count}")), "").is_ok() {
        count += 1;
    }
    for name in ["dir/file", "full"] {
        let mut worker = toucher(&mount.path(name), 10_000);
        assert!(ask(&mut worker, "load 9999").is_some(), "{name}");
        assert!(worker.end().success());
    }
}

fn readdir_lists_what_there_is() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    fs::remove_file(mount.path("empty")).unwrap();
    fs::rename(mount.path("dir"), mount.path("emptydir/moved")).unwrap();
    fs::write(mount.path("new"), "").unwrap();
    fs::rename(mount.path("new"), mount.path("newer")).unwrap();
    let found = names(mount.root());
    for missing in ["empty", "dir", "new"] {
        assert!(!found.iter().any(|name| name == missing), "{missing} in {found:?}");
    }
    assert_eq!(found.iter().filter(|name| *name == "newer").count(), 1);
    assert_eq!(names(mount.path("emptydir")), ["moved"]);
}

fn new_files_have_numbers_of_their_own() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=main");
    let old = about(mount.path("dir/file"));
    for index in 0..20 {
        let new = make(mount.path(format!("{index}"))).metadata().unwrap().ino();
        assert!(new > ino::COUNT, "{new} is one of the base");
    }
    let now = about(mount.path("dir/file"));
    assert_eq!((now.ino(), now.size(), now.mode()), (old.ino(), old.size(), old.mode()));
}

fn the_first_mount_may_be_read_only() {
    for kind in [Kind::Plain, Kind::Segmented] {
        let buffer = Buffer::of(&ImageBuilder::new(kind).build().bytes);
        let mount = buffer.mount("ro").unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        has(mount.path("dir/sub/deep"), b"deep\n");
    }
}

fn what_is_committed_survives_a_remount() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    fs::write(mount.path("f"), "committed").unwrap();
    commit(&mount.open()).unwrap();
    mount.unmount();
    let mount = place.mount("rw,keep,branch=b");
    has(mount.path("f"), b"committed");
    fs::write(mount.path("g"), "kept").unwrap();
    mount.unmount();
    has(place.mount("ro").path("f"), b"committed");
    has(place.mount("ro,branch=b").path("g"), b"kept");
}

fn after_commit_and_abort_main_is_as_writable_as_before() {
    let place = Place::new(8);
    let mount = place.mount("rw,branch=b");
    commit(&mount.open()).unwrap();
    refused(File::create(mount.path("x")), Errno::ROFS);
    mount.unmount();
    let mount = place.mount("rw,branch=b");
    branch::abort(&mount.open()).unwrap();
    refused(File::create(mount.path("x")), Errno::ROFS);
    mount.unmount();
    let mount = place.mount("rw,branch=main");
    create(&mount.open(), "b", None).unwrap();
    commit(&mount.open()).unwrap();
    make(mount.path("x"));
}

fn a_commit_is_visible_to_mounts_of_main_that_exist() {
    let place = Place::new(8);
    let (main, mount) = (place.mount("ro"), place.mount("rw,branch=b"));
    assert!(!exists(main.path("f")));
    fs::write(mount.path("f"), "x").unwrap();
    commit(&mount.open()).unwrap();
    has(main.path("f"), b"x");
    assert!(names(main.root()).contains(&"f".into()));
}

fn a_mapping_of_a_discarded_sibling_is_not_readable() {
    let place = Place::new(8);
    let (winner, loser) = (place.mount("rw,branch=one"), place.mount("rw,branch=other"));
    fs::write(loser.path("f"), [7; 5000]).unwrap();
    let mut worker = toucher(&loser.path("f"), 5000);
    assert_eq!(ask(&mut worker, "load 0").as_deref(), Some("7"));
    commit(&winner.open()).unwrap();
    // Within a bounded time, whatever the mount does itself.
    let start = Instant::now();
    while ask(&mut worker, "load 0").is_some() {
        assert!(start.elapsed() < Duration::from_secs(30), "it can still be read");
        std::thread::yield_now();
    }
    dies_of_bus(worker);
}

/// That a process has died of SIGBUS.
fn dies_of_bus(worker: crate::worker::Worker) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(worker.end().signal(), Some(7));
}

fn a_child_does_not_commit_what_its_parent_discarded() {
    let place = Place::new(8);
    // While its parent is being written to, there is no child.
    let parent = place.mount("rw,keep,branch=parent");
    fs::write(parent.path("of-parent"), "x").unwrap();
    let refusal = place.buffer.mount("rw,branch=kid,parent=parent").unwrap_err();
    assert_eq!(refusal.errno, Errno::BUSY, "{refusal}");
    parent.unmount();
    let kid = place.mount("rw,branch=kid,parent=parent");
    fs::write(kid.path("of-kid"), "x").unwrap();
    // Whoever looks at the parent may come and go; the parent stays as long as the child does.
    place.mount("ro,branch=parent").unmount();
    commit(&kid.open()).unwrap();
    let main = place.mount("ro");
    assert!(!exists(main.path("of-parent")) && !exists(main.path("of-kid")));
    drop(kid);
    let parent = place.mount("rw,branch=parent");
    assert!(exists(parent.path("of-parent")) && exists(parent.path("of-kid")));
    branch::abort(&parent.open()).unwrap();
    assert!(!exists(main.path("of-parent")) && !exists(main.path("of-kid")));
    assert_eq!(find(&main.open(), "parent"), None);
}

fn the_dead_do_not_hold_up_the_living() {
    // A member that dies as the owner of main's child, in the middle of everything.
    let scratch = Scratch::new();
    scratch.fill(&ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build());
    let dead = scratch.mount(&read_write(Some("dead"))).unwrap();
    let new = daxfs::NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };
    dead.create(daxfs::Ino::ROOT, b"of-the-dead", &new).unwrap();
    let buffer = Buffer::of(&Image::of_region(&scratch.fixed()).bytes);
    let start = Instant::now();
    for round in 0..3 {
        let mount = buffer.mount("rw,branch=living").unwrap_or_else(|refused| panic!("{refused}"));
        fs::write(mount.path("f"), format!("{round}")).unwrap();
        commit(&mount.open()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    has(buffer.mount("ro").unwrap().path("f"), b"2");
    drop(dead);
}

fn a_waiting_commit_can_be_killed() {
    // There is nothing in it that waits: it ends at once, whoever else is there.
    let place = Place::new(8);
    let (mount, _sibling, _main) =
        (place.mount("rw,branch=one"), place.mount("rw,branch=other"), place.mount("ro"));
    fs::write(mount.path("f"), "x").unwrap();
    let mut child = Command::new("daxfs-branch")
        .args(["commit", "-m", mount.root().to_str().unwrap()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // It was done, or not at all.
    let committed = exists(place.mount("ro").path("f"));
    assert_eq!(mount.line().has("branch=main"), committed);
    if !committed {
        commit(&mount.open()).unwrap();
    }
}

fn sizes_have_suffixes() {
    let context = Context::new();
    context.options("phys=0x100000000,size=512M").unwrap();
    let mount = context.mount().unwrap_or_else(|refused| panic!("{refused}"));
    assert!(exists(mount.path("hello")));
}

/// The offset of an entry of a directory of the base.
fn dirent(image: &Image, dir: u64, index: u64) -> u64 {
    let wanted = Structure::Dirent { dir, index };
    let field = fields(image).into_iter().find(|field| field.structure == wanted);
    field.expect("that entry").at
}

/// That an image is found to be damaged with `validate`, and does no harm without.
#[track_caller]
fn is_found(image: &Image) {
    let buffer = Buffer::of(&image.bytes);
    for options in ["ro,validate", "rw,branch=b,validate"] {
        let refusal = buffer.mount(options).unwrap_err();
        assert_eq!(refusal.errno, Errno::UCLEAN, "{refusal}");
    }
    if let Ok(mount) = buffer.mount("ro") {
        super::hostile::look_around(&mount);
    }
}

fn validate_finds_a_directory_that_names_an_ancestor() {
    let mut image = ImageBuilder::new(Kind::Segmented).build();
    // "sub" in "dir" becomes "dir" itself.
    let at = dirent(&image, ino::DIR, 1);
    image.set_number(at, 4, ino::DIR);
    is_found(&image);
    image.set_number(at, 4, ino::ROOT);
    is_found(&image);
}

fn validate_finds_a_name_that_is_there_twice() {
    let mut image = ImageBuilder::new(Kind::Segmented).build();
    let (first, second) = (dirent(&image, ino::DIR, 0), dirent(&image, ino::DIR, 1));
    let name = second - first;
    assert_eq!(name, DIRENT_SIZE);
    // The name and its length.
    let length = image.number(first + 8, 2);
    image.set_number(second + 8, 2, length);
    for at in (16..DIRENT_SIZE).step_by(8) {
        let part = image.number(first + at, 8);
        image.set_number(second + at, 8, part);
    }
    is_found(&image);
}

fn validate_finds_a_slash_in_a_name() {
    let good = ImageBuilder::new(Kind::Segmented).build();
    for byte in *b"/\0" {
        let mut image = good.clone();
        let at = dirent(&image, ino::DIR, 0);
        image.set_number(at + 16 + 1, 1, byte.into());
        is_found(&image);
    }
}

fn validate_finds_overlapping_regions() {
    use daxfs_format::superblock::Superblock;
    use std::mem::offset_of;
    let good = ImageBuilder::new(Kind::Segmented).build();
    let get = |offset: usize| good.number(offset as u64, 8);
    let (table, base, delta) = (
        offset_of!(Superblock, branch_table_offset),
        offset_of!(Superblock, base_offset),
        offset_of!(Superblock, delta_region_offset),
    );
    for (which, to) in [
        (delta, get(base)),
        (delta, get(base) + 4096),
        (table, get(base)),
        (table, get(delta)),
        (table, 0),
        (base, get(table)),
        (base, 0),
    ] {
        let mut image = good.clone();
        image.set_number(which as u64, 8, to);
        let buffer = Buffer::of(&image.bytes);
        for options in ["ro,validate", "rw,branch=b,validate"] {
            let refusal = buffer.mount(options).unwrap_err();
            assert_eq!(refusal.errno, Errno::UCLEAN, "{which} = {to:#x}: {refusal}");
        }
    }
}

fn a_mapping_of_a_read_only_file_copies_nothing() {
    // The path without copies was never taken for files that were opened to be read.
    let main = Mounted::main();
    let file = File::open(main.path("big")).unwrap();
    let memory = Mapping::new(&file, 0, 1 << 20, Use::Read).unwrap();
    memory.touch();
    let range = 0x1_0000_0000..0x1_0000_0000 + crate::tree::RANGE;
    for at in (0..1 << 20).step_by(PAGE) {
        assert!(range.contains(&memory.physical(at).unwrap()), "{at}");
    }
}
