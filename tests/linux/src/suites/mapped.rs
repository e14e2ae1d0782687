//! Memory-mapped files.

use crate::branch;
use crate::check::suite;
use crate::files::{Errno, content, edit, has, make, refused, same};
use crate::mapping::{LARGE, Mapping, PAGE, Use};
use crate::mounted::{Mounted, own_name, range};
use crate::tree;
use crate::worker::{Job, Worker, say, told};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

suite!(
    "mapped",
    120,
    [
        a_mapping_shows_what_reading_shows,
        pages_of_the_base_are_mapped_where_they_lie,
        pages_of_a_branch_are_mapped_where_they_lie,
        mapping_256_mib_of_the_base_takes_no_memory,
        reading_256_mib_of_the_base_takes_no_memory,
        aligned_data_of_the_base_is_mapped_in_large_pages,
        a_store_splits_a_large_page_and_changes_one_byte,
        the_first_store_copies_the_page,
        stores_are_read_and_writes_are_seen,
        mappings_see_each_others_stores,
        a_private_mapping_keeps_its_stores_to_itself,
        a_private_mapping_sees_writes_to_pages_it_has_not_stored_to,
        a_hole_is_zeros_until_it_is_written_to,
        stores_fill_holes,
        stores_are_there_after_a_remount,
        a_mapping_ends_where_the_file_ends,
        what_is_behind_the_end_of_the_last_page_stays_out_of_the_file,
        truncating_takes_pages_away,
        a_mapping_outlives_the_name_and_the_descriptor,
        a_read_only_file_cannot_be_mapped_to_write,
        rights_can_be_taken_and_given_back,
        others_see_what_is_stored_through_a_follower,
        a_fork_shares_and_copies_as_it_should,
        many_places_of_one_page_are_one_page,
        a_discarded_branch_takes_its_mappings_along,
        an_ended_branch_leaves_mappings_of_the_base_readable_through_new_opens,
        mappings_keep_the_mount_busy,
        a_full_region_is_told_to_a_store,
        reading_faults_write_nothing,
        a_debugger_reads_what_is_mapped,
        a_store_behind_a_load_is_one_to_the_file,
    ]
);

/// What workers do.
pub static JOBS: &[Job] = &[("touch", touch)];

/// SIGBUS.
const BUS: i32 = 7;

/// Maps a file and, when told, loads or stores a byte: `load AT`, `store AT VALUE`.
fn touch(arguments: &[&str]) {
    let [path, len] = arguments else { panic!("{arguments:?}") };
    let file = edit_or_open(path);
    let what = if file.1 { Use::Write } else { Use::Read };
    let memory = Mapping::new(&file.0, 0, len.parse().unwrap(), what).unwrap();
    say("ready");
    while let Some(line) = told() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["load", at] => say(memory.get(at.parse().unwrap())),
            ["store", at, value] => {
                memory.set(at.parse().unwrap(), value.parse().unwrap());
                say("stored");
            }
            _ => panic!("{line}"),
        }
    }
}

/// A file, and whether it can be written to.
fn edit_or_open(path: &str) -> (File, bool) {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => (file, true),
        Err(_) => (File::open(path).unwrap(), false),
    }
}

/// A process that has a file mapped.
pub(super) fn toucher(path: &std::path::Path, len: usize) -> Worker {
    let mut worker = Worker::start("touch", &[path.to_str().unwrap(), &len.to_string()]);
    assert_eq!(worker.hear().as_deref(), Some("ready"));
    worker
}

/// What it says to a question; nothing if that was its end.
pub(super) fn ask(worker: &mut Worker, question: &str) -> Option<String> {
    worker.tell(question);
    worker.hear()
}

/// That it dies of a bus error.
#[track_caller]
pub(super) fn dies(mut worker: Worker, question: &str) {
    assert_eq!(ask(&mut worker, question), None);
    assert_eq!(worker.end().signal(), Some(BUS));
}

fn map(file: &File, len: usize, what: Use) -> Mapping {
    Mapping::new(file, 0, len, what).unwrap()
}

fn a_mapping_shows_what_reading_shows() {
    for mount in [Mounted::main(), Mounted::new()] {
        let file = File::open(mount.path("big")).unwrap();
        for what in [Use::Read, Use::Private, Use::Execute] {
            let memory = map(&file, tree::BIG, what);
            same(&memory.bytes(0, tree::BIG), &tree::patterns(0, tree::BIG));
        }
        let piece = Mapping::new(&file, 20 * PAGE as u64, 3 * PAGE, Use::Read).unwrap();
        same(&piece.bytes(0, 3 * PAGE), &tree::patterns(20 * PAGE as u64, 3 * PAGE));
    }
}

/// The range, from its address to its end.
fn frames() -> std::ops::Range<u64> {
    let text = range();
    let start = text.strip_prefix("phys=0x").and_then(|text| text.split(',').next()).unwrap();
    let start = u64::from_str_radix(start, 16).unwrap();
    start..start + tree::RANGE
}

fn pages_of_the_base_are_mapped_where_they_lie() {
    let main = Mounted::main();
    for name in ["big", "aligned", "hello"] {
        let file = File::open(main.path(name)).unwrap();
        let len = file.metadata().unwrap().len() as usize;
        let [one, other] = [Use::Read, Use::Execute].map(|what| map(&file, len, what));
        for at in [0, len / 2, len - 1] {
            assert_eq!(one.get(at), other.get(at));
            let (frame, again) = (one.physical(at).unwrap(), other.physical(at).unwrap());
            assert!(frames().contains(&frame), "{name} at {at}: {frame:#x}");
            assert_eq!(frame, again);
        }
    }
}

fn pages_of_a_branch_are_mapped_where_they_lie() {
    let mount = Mounted::new();
    let file = make(mount.path("new"));
    file.write_all_at(&tree::patterns(0, 100_000), 0).unwrap();
    let (shared, private) = (map(&file, 100_000, Use::Write), map(&file, 100_000, Use::Private));
    for at in [0, 50_000, 99_999] {
        assert_eq!(shared.get(at), private.get(at));
        let frame = shared.physical(at).unwrap();
        assert!(frames().contains(&frame), "{at}: {frame:#x}");
        assert_eq!(private.physical(at), Some(frame));
    }
    private.set(0, 1);
    assert!(!frames().contains(&private.physical(0).unwrap()), "a copy is the process's own");
}

/// KiB that Linux could still give to programs.
fn available() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// KiB that something takes while it is done.
fn taken(what: impl FnOnce()) -> i64 {
    let before = available();
    what();
    before - available()
}

/// KiB by which what is available changes by itself: far below the 262144 of the file.
const NOISE: i64 = 8 << 10;

fn mapping_256_mib_of_the_base_takes_no_memory() {
    let main = Mounted::main();
    let file = File::open(main.path("huge")).unwrap();
    let memory = map(&file, tree::HUGE as usize, Use::Read);
    let kib = taken(|| {
        for at in (0..tree::HUGE).step_by(tree::STAMP as usize) {
            same(&memory.bytes(at as usize, 8), &(at | 1).to_le_bytes());
        }
        memory.touch();
    });
    assert!(kib < NOISE, "{kib} KiB");
    drop(memory);
}

fn reading_256_mib_of_the_base_takes_no_memory() {
    let main = Mounted::main();
    let file = File::open(main.path("huge")).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let kib = taken(|| {
        for at in (0..tree::HUGE).step_by(buffer.len()) {
            file.read_exact_at(&mut buffer, at).unwrap();
            assert_eq!(buffer[..8], (at | 1).to_le_bytes());
        }
    });
    assert!(kib < NOISE, "{kib} KiB");
}

fn aligned_data_of_the_base_is_mapped_in_large_pages() {
    for mount in [Mounted::main(), Mounted::new()] {
        for (name, size) in [("aligned", tree::ALIGNED), ("huge", tree::HUGE)] {
            let file = File::open(mount.path(name)).unwrap();
            let memory = map(&file, size as usize, Use::Read);
            memory.touch();
            let large = memory.large();
            assert!(
                large >= size as usize - 2 * LARGE && large >= LARGE,
                "{name}: {large} of {size}"
            );
        }
        let file = File::open(mount.path("aligned")).unwrap();
        let memory = map(&file, tree::ALIGNED as usize, Use::Read);
        same(&memory.bytes(0, tree::ALIGNED as usize), &tree::patterns(0, tree::ALIGNED as usize));
    }
}

fn a_store_splits_a_large_page_and_changes_one_byte() {
    let mount = Mounted::new();
    let size = tree::ALIGNED as usize;
    let file = edit(mount.path("aligned"));
    let (reads, writes) = (map(&file, size, Use::Read), map(&file, size, Use::Write));
    reads.touch();
    writes.touch();
    let mut expected = tree::patterns(0, size);
    for at in [LARGE + 12_345, 0, size - 1] {
        expected[at] ^= 0xff;
        writes.set(at, expected[at]);
        assert_eq!(reads.get(at), expected[at]);
    }
    same(&writes.bytes(0, size), &expected);
    same(&reads.bytes(0, size), &expected);
    has(mount.path("aligned"), &expected);
    has(Mounted::main().path("aligned"), &tree::patterns(0, size));
}

fn the_first_store_copies_the_page() {
    let mount = Mounted::new();
    let file = edit(mount.path("big"));
    let memory = map(&file, tree::BIG, Use::Write);
    memory.get(5 * PAGE);
    let before = memory.physical(5 * PAGE).unwrap();
    memory.set(5 * PAGE + 1, 0);
    let after = memory.physical(5 * PAGE).unwrap();
    assert_ne!(before, after);
    // From then on it is changed in place.
    memory.set(5 * PAGE + 2, 0);
    file.write_all_at(&[0], 5 * PAGE as u64 + 3).unwrap();
    assert_eq!(memory.get(5 * PAGE + 3), 0);
    assert_eq!(memory.physical(5 * PAGE), Some(after));
    let mut expected = tree::patterns(0, tree::BIG);
    expected[5 * PAGE + 1..5 * PAGE + 4].fill(0);
    has(mount.path("big"), &expected);
    has(Mounted::main().path("big"), &tree::patterns(0, tree::BIG));
}

fn stores_are_read_and_writes_are_seen() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, tree::patterns(0, 100_000)).unwrap();
        }
        let (file, looks) = (edit(&path), File::open(&path).unwrap());
        let (writes, reads) = (map(&file, 100_000, Use::Write), map(&looks, 100_000, Use::Read));
        let mut expected = tree::patterns(0, 100_000);
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..2000_u32 {
            let at = random.usize(0..99_000);
            let len = random.usize(1..1000);
            expected[at..at + len].fill(round as u8);
            if round % 2 == 0 {
                writes.put(at, &vec![round as u8; len]);
                let mut found = vec![0; len];
                looks.read_exact_at(&mut found, at as u64).unwrap();
                same(&found, &expected[at..at + len]);
            } else {
                file.write_all_at(&vec![round as u8; len], at as u64).unwrap();
                same(&writes.bytes(at, len), &expected[at..at + len]);
            }
            same(&reads.bytes(at, len), &expected[at..at + len]);
        }
        same(&reads.bytes(0, 100_000), &expected);
        same(&content(&path)[..100_000], &expected);
    }
}

fn mappings_see_each_others_stores() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, vec![0; 20_000]).unwrap();
        }
        let file = edit(&path);
        let memory = map(&file, 20_000, Use::Write);
        let mut other = toucher(&path, 20_000);
        ask(&mut other, "load 9000").unwrap();
        memory.set(9000, 77);
        assert_eq!(ask(&mut other, "load 9000").as_deref(), Some("77"));
        assert_eq!(ask(&mut other, "store 9001 78").as_deref(), Some("stored"));
        assert_eq!(memory.get(9001), 78);
        assert!(other.end().success());
    }
}

fn a_private_mapping_keeps_its_stores_to_itself() {
    let mount = Mounted::new();
    let file = File::open(mount.path("big")).unwrap();
    let (private, shared) = (map(&file, tree::BIG, Use::Private), map(&file, tree::BIG, Use::Read));
    let mut expected = tree::patterns(0, tree::BIG);
    for at in [0, 5000, 1_000_000, tree::BIG - 1] {
        expected[at] ^= 1;
        private.set(at, expected[at]);
    }
    same(&private.bytes(0, tree::BIG), &expected);
    same(&shared.bytes(0, tree::BIG), &tree::patterns(0, tree::BIG));
    has(mount.path("big"), &tree::patterns(0, tree::BIG));
    assert_eq!(mount.path("big").metadata().unwrap().len(), tree::BIG as u64);
}

fn a_private_mapping_sees_writes_to_pages_it_has_not_stored_to() {
    let mount = Mounted::new();
    let file = edit(mount.path("big"));
    let private = map(&file, tree::BIG, Use::Private);
    private.touch();
    private.set(PAGE, 1);
    file.write_all_at(&[2; 3 * PAGE], 0).unwrap();
    assert_eq!(private.get(0), 2);
    assert_eq!((private.get(PAGE), private.get(PAGE + 1)), (1, tree::pattern(PAGE as u64 + 1)));
    assert_eq!(private.get(2 * PAGE), 2);
}

fn a_hole_is_zeros_until_it_is_written_to() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.set_len(20 << 20).unwrap();
    let (shared, private) = (map(&file, 20 << 20, Use::Read), map(&file, 20 << 20, Use::Private));
    for at in [0, 5 << 20, (20 << 20) - 1] {
        assert_eq!((shared.get(at), private.get(at)), (0, 0));
        file.write_all_at(&[9], at as u64).unwrap();
        assert_eq!((shared.get(at), private.get(at)), (9, 9), "{at}");
        assert_eq!(shared.get(at ^ 1), 0);
    }
    private.set(100, 1);
    assert_eq!(shared.get(100), 0);
}

fn stores_fill_holes() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.set_len(1 << 30).unwrap();
    let memory = map(&file, 1 << 30, Use::Write);
    for at in [3, 5 << 20, (1 << 30) - 1] {
        memory.set(at, 5);
        let mut found = [1; 1];
        file.read_exact_at(&mut found, at as u64).unwrap();
        assert_eq!(found, [5]);
    }
    use std::os::unix::fs::MetadataExt;
    assert_eq!(file.metadata().unwrap().blocks(), 3 * 8);
    assert_eq!(file.metadata().unwrap().len(), 1 << 30);
}

fn stores_are_there_after_a_remount() {
    let options = format!("rw,keep,branch={},parent=main", own_name("stored"));
    let mount = Mounted::range(&options).unwrap();
    let file = edit(mount.path("big"));
    let memory = map(&file, tree::BIG, Use::Write);
    let mut expected = tree::patterns(0, tree::BIG);
    for at in (0..tree::BIG).step_by(100_000) {
        expected[at] = 0xee;
        memory.set(at, 0xee);
    }
    drop((memory, file));
    mount.unmount();
    let mount = Mounted::range(&options).unwrap();
    has(mount.path("big"), &expected);
    branch::abort(&mount.open()).unwrap();
}

fn a_mapping_ends_where_the_file_ends() {
    let mount = Mounted::new();
    for (name, len) in [("small", 3), ("big", tree::BIG), ("new", 5000)] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, vec![1; 5000]).unwrap();
        }
        let end = len.next_multiple_of(PAGE);
        for question in [format!("load {end}"), format!("store {end} 1")] {
            let mut worker = toucher(&path, end + 2 * PAGE);
            assert!(ask(&mut worker, &format!("load {}", end - 1)).is_some());
            dies(worker, &question);
        }
        assert_eq!(path.metadata().unwrap().len(), len as u64);
    }
}

fn what_is_behind_the_end_of_the_last_page_stays_out_of_the_file() {
    let mount = Mounted::new();
    for name in ["small", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, "abc").unwrap();
        }
        let file = edit(&path);
        let memory = map(&file, PAGE, Use::Write);
        same(&memory.bytes(0, PAGE)[..3], b"abc");
        assert!(memory.bytes(3, PAGE - 3).iter().all(|&byte| byte == 0), "{name}");
        memory.set(0, b'A');
        memory.set(100, 9);
        has(&path, b"Abc");
        drop(memory);
        file.set_len(200).unwrap();
        let found = content(&path);
        assert!(found[3..].iter().all(|&byte| byte == 0), "{name}: {:?}", &found[95..105]);
    }
}

fn truncating_takes_pages_away() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, tree::patterns(0, 100_000)).unwrap();
        }
        let file = edit(&path);
        let mut worker = toucher(&path, 100_000);
        ask(&mut worker, "load 60000").unwrap();
        ask(&mut worker, "load 50001").unwrap();
        file.set_len(50_000).unwrap();
        assert_eq!(ask(&mut worker, "load 50001").as_deref(), Some("0"), "{name}");
        assert_eq!(ask(&mut worker, "load 0"), Some(tree::pattern(0).to_string()));
        dies(worker, "load 60000");
        // It grows again: zeros.
        let mut worker = toucher(&path, 100_000);
        file.set_len(100_000).unwrap();
        for at in [50_001, 60_000, 99_999] {
            assert_eq!(ask(&mut worker, &format!("load {at}")).as_deref(), Some("0"), "{at}");
        }
    }
}

fn a_mapping_outlives_the_name_and_the_descriptor() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, tree::patterns(0, 100_000)).unwrap();
        }
        let file = edit(&path);
        let memory = map(&file, 100_000, Use::Write);
        fs::remove_file(&path).unwrap();
        drop(file);
        same(&memory.bytes(0, 100_000), &tree::patterns(0, 100_000));
        memory.set(70_000, 1);
        // Others get other pages.
        fs::write(mount.path("other"), vec![0xdd; 300_000]).unwrap();
        assert_eq!((memory.get(70_000), memory.get(70_001)), (1, tree::pattern(70_001)));
        assert_eq!(memory.get(3), tree::pattern(3));
        drop(memory);
        fs::remove_file(mount.path("other")).unwrap();
    }
}

fn a_read_only_file_cannot_be_mapped_to_write() {
    for mount in [Mounted::main(), Mounted::new()] {
        let file = File::open(mount.path("big")).unwrap();
        refused(Mapping::new(&file, 0, PAGE, Use::Write), Errno::ACCESS);
        let memory = map(&file, PAGE, Use::Read);
        memory.get(0);
        refused(memory.protect(true), Errno::ACCESS);
        let private = map(&file, PAGE, Use::Private);
        private.set(0, 1);
        refused(
            Mapping::new(&File::open(mount.path("dir")).unwrap(), 0, PAGE, Use::Read),
            Errno::NODEV,
        );
    }
}

fn rights_can_be_taken_and_given_back() {
    let mount = Mounted::new();
    let file = edit(mount.path("big"));
    let memory = map(&file, tree::BIG, Use::Write);
    memory.set(0, 1);
    memory.protect(false).unwrap();
    assert_eq!((memory.get(0), memory.get(1)), (1, tree::pattern(1)));
    memory.protect(true).unwrap();
    memory.set(1, 2);
    memory.set(PAGE, 3);
    assert_eq!(content(mount.path("big"))[..2], [1, 2]);
}

fn others_see_what_is_stored_through_a_follower() {
    let name = own_name("followed");
    let mount = Mounted::branch(&name);
    let file = edit(mount.path("big"));
    let memory = map(&file, tree::BIG, Use::Write);
    memory.set(5000, 1);
    let follower = Mounted::range(&format!("ro,branch={name}")).unwrap();
    let looks = File::open(follower.path("big")).unwrap();
    let sees = map(&looks, tree::BIG, Use::Read);
    assert_eq!(sees.get(5000), 1);
    // In a page that the branch has, at once; in one that it gets now, by the next look at the file.
    memory.set(5001, 2);
    assert_eq!(sees.get(5001), 2);
    memory.set(50_000, 3);
    let mut found = [0];
    looks.read_exact_at(&mut found, 50_000).unwrap();
    assert_eq!(found, [3]);
    assert_eq!(sees.get(50_000), 3);
}

fn a_fork_shares_and_copies_as_it_should() {
    let mount = Mounted::new();
    let path = mount.path("new");
    fs::write(&path, vec![1; 3 * PAGE]).unwrap();
    let (mut one, mut other) = (toucher(&path, 3 * PAGE), toucher(&path, 3 * PAGE));
    let file = edit(&path);
    let private = map(&file, 3 * PAGE, Use::Private);
    private.set(0, 9);
    ask(&mut one, "store 0 2").unwrap();
    assert_eq!(ask(&mut other, "load 0").as_deref(), Some("2"));
    assert_eq!(private.get(0), 9);
    ask(&mut other, "store 8192 3").unwrap();
    assert_eq!((private.get(8192), ask(&mut one, "load 8192").as_deref()), (3, Some("3")));
}

fn many_places_of_one_page_are_one_page() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.set_len(4 * PAGE as u64).unwrap();
    let places: Vec<Mapping> = (0..20).map(|_| map(&file, 4 * PAGE, Use::Write)).collect();
    for (index, place) in places.iter().enumerate() {
        place.set(index, index as u8 + 1);
    }
    for place in &places {
        for index in 0..places.len() {
            assert_eq!(place.get(index), index as u8 + 1);
        }
    }
    file.set_len(0).unwrap();
    file.set_len(4 * PAGE as u64).unwrap();
    assert!(places.iter().all(|place| place.get(0) == 0));
}

fn a_discarded_branch_takes_its_mappings_along() {
    let mount = Mounted::new();
    let control = mount.open();
    for name in ["new", "big"] {
        if name == "new" {
            fs::write(mount.path(name), vec![1; 100_000]).unwrap();
        } else {
            edit(mount.path(name)).write_all_at(&[1], 0).unwrap();
        }
    }
    let workers: Vec<_> = ["new", "big", "new", "big", "big"]
        .into_iter()
        .map(|name| {
            let mut worker = toucher(&mount.path(name), 100_000);
            assert_eq!(ask(&mut worker, "load 0").as_deref(), Some("1"));
            worker
        })
        .collect();
    branch::abort(&control).unwrap();
    let questions = ["load 0", "load 0", "store 0 5", "store 0 5", "load 50000"];
    for (worker, question) in workers.into_iter().zip(questions) {
        dies(worker, question);
    }
    has(mount.path("big"), &tree::patterns(0, tree::BIG));
}

fn an_ended_branch_leaves_mappings_of_the_base_readable_through_new_opens() {
    let mount = Mounted::new();
    edit(mount.path("big")).write_all_at(&[1], 0).unwrap();
    branch::abort(&mount.open()).unwrap();
    let file = File::open(mount.path("big")).unwrap();
    assert_eq!(map(&file, tree::BIG, Use::Read).get(0), tree::pattern(0));
}

fn mappings_keep_the_mount_busy() {
    let mut mount = Mounted::new();
    let memory = map(&File::open(mount.path("big")).unwrap(), PAGE, Use::Read);
    memory.get(0);
    refused(mount.try_unmount(), Errno::BUSY);
    drop(memory);
    mount.unmount();
}

fn a_full_region_is_told_to_a_store() {
    let mount = Mounted::new();
    let file = make(mount.path("full"));
    let mut at = 0;
    while let Ok(count @ 1..) = file.write_at(&vec![1; 1 << 20], at) {
        at += count as u64;
    }
    // Reading needs no room; what the branch has can be stored to; nothing else can.
    let path = mount.path("huge");
    let mut worker = toucher(&path, 1 << 20);
    assert!(ask(&mut worker, "load 70000").is_some());
    let own = map(&file, 1 << 20, Use::Write);
    own.set(0, 7);
    assert_eq!(own.get(0), 7);
    dies(worker, "store 70000 1");
    drop(own);
    file.set_len(0).unwrap();
    let mut worker = toucher(&path, 1 << 20);
    assert_eq!(ask(&mut worker, "store 70000 1").as_deref(), Some("stored"));
}

fn reading_faults_write_nothing() {
    let mount = Mounted::new();
    let free = || rustix::fs::statvfs(mount.root()).unwrap().f_bfree;
    make(mount.path("hole")).set_len(10 << 20).unwrap();
    for name in ["big", "small", "hole"] {
        let file = edit(mount.path(name));
        let len = file.metadata().unwrap().len();
        for what in [Use::Read, Use::Private, Use::Write] {
            let before = free();
            map(&file, len as usize, what).touch();
            assert_eq!(free(), before, "{name}, {what:?}");
        }
        assert_eq!(file.metadata().unwrap().len(), len);
    }
}

fn a_debugger_reads_what_is_mapped() {
    let mount = Mounted::new();
    let file = make(mount.path("changed"));
    file.write_all_at(&[5; 2 * PAGE], 0).unwrap();
    file.set_len(3 * PAGE as u64).unwrap();
    let memory = map(&file, 3 * PAGE, Use::Write);
    same(&memory.seen_by_a_debugger(PAGE - 10, 20), &[5; 20]);
    memory.set(PAGE, 6);
    same(&memory.seen_by_a_debugger(PAGE, 2), &[6, 5]);
    // A hole.
    same(&memory.seen_by_a_debugger(2 * PAGE, PAGE), &[0; PAGE]);
    // In large pages, too.
    let aligned = File::open(mount.path("aligned")).unwrap();
    let len = tree::ALIGNED as usize;
    for what in [Use::Read, Use::Execute, Use::Private] {
        let memory = map(&aligned, len, what);
        memory.touch();
        for at in [0, 5 * PAGE + 7, len - 2 * PAGE] {
            same(&memory.seen_by_a_debugger(at, PAGE), &tree::patterns(at as u64, PAGE));
        }
        if what == Use::Private {
            memory.set(0, !memory.get(0));
            assert_eq!(memory.seen_by_a_debugger(0, 1), [memory.get(0)]);
        }
    }
}

fn a_store_behind_a_load_is_one_to_the_file() {
    let mount = Mounted::new();
    let file = make(mount.path("file"));
    file.write_all_at(&vec![1; 300 * PAGE], 0).unwrap();
    let (one, other) = (map(&file, 300 * PAGE, Use::Write), map(&file, 300 * PAGE, Use::Read));
    // All pages are mapped to be read first.
    one.touch();
    other.touch();
    for at in (0..300 * PAGE).step_by(PAGE) {
        one.set(at + 1, 2);
        assert_eq!(other.get(at + 1), 2);
    }
    let content = content(mount.path("file"));
    assert!(content.chunks(PAGE).all(|page| page[0] == 1 && page[1] == 2));
    // Once more, after they were all taken down.
    file.sync_all().unwrap();
    one.touch();
    one.set(7, 9);
    assert_eq!(other.get(7), 9);
}
