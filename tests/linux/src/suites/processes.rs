//! Several processes at once.

use crate::check::{is_debug_kernel, is_long, suite};
use crate::files::{content, edit, make, names};
use crate::mounted::Mounted;
use crate::worker::{Job, Worker, say, told};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

suite!(
    "processes",
    120,
    [
        appending_from_several_processes_loses_nothing,
        writes_to_one_file_are_atomic,
        several_processes_work_in_one_directory,
        exactly_one_of_several_makes_or_removes_a_name,
        renaming_is_atomic_to_those_who_look,
        stores_and_writes_meet_in_the_same_pages,
    ]
);

/// What the workers do.
pub static JOBS: &[Job] = &[
    ("append", append),
    ("overwrite", overwrite),
    ("tend", tend),
    ("claim", claim),
    ("look", look),
    ("store", store),
];

/// How often something is done. On a kernel that checks itself everything takes longer.
fn rounds(usual: usize) -> usize {
    match (is_long(), is_debug_kernel()) {
        (true, false) => usual * 20,
        (false, true) => usual / 3 + 1,
        _ => usual,
    }
}

/// Workers who begin together.
fn together(job: &str, count: usize, arguments: &[&str]) -> Vec<Worker> {
    let workers = (0..count).map(|index| {
        let mut worker = Worker::start(job, &[&[&*index.to_string()], arguments].concat());
        assert_eq!(worker.hear().as_deref(), Some("ready"));
        worker
    });
    let mut workers: Vec<Worker> = workers.collect();
    workers.iter_mut().for_each(|worker| worker.tell("go"));
    workers
}

fn end(workers: Vec<Worker>) {
    for worker in workers {
        let status = worker.end();
        assert!(status.success(), "a worker left with {status}");
    }
}

fn ready() {
    say("ready");
    assert_eq!(told().as_deref(), Some("go"));
}

/// Bytes of a record of those who append.
const RECORD: usize = 37;

fn append(arguments: &[&str]) {
    let [index, path, count] = arguments else { panic!("{arguments:?}") };
    let letter = b'A' + index.parse::<u8>().unwrap();
    let mut record = [letter; RECORD];
    record[RECORD - 1] = b'\n';
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    ready();
    for _ in 0..count.parse::<usize>().unwrap() {
        assert_eq!(file.write(&record).unwrap(), RECORD);
    }
}

fn appending_from_several_processes_loses_nothing() {
    let mount = Mounted::new();
    let path = mount.path("log");
    make(&path);
    let count = rounds(1500);
    end(together("append", 4, &[path.to_str().unwrap(), &count.to_string()]));
    let found = content(&path);
    assert_eq!(found.len(), 4 * count * RECORD);
    let mut counts = [0; 4];
    for record in found.chunks(RECORD) {
        let whole = record[..RECORD - 1].iter().all(|&byte| byte == record[0]);
        assert!(whole && record[RECORD - 1] == b'\n', "{:?}", String::from_utf8_lossy(record));
        counts[usize::from(record[0] - b'A')] += 1;
    }
    assert_eq!(counts, [count; 4]);
}

/// Bytes that are overwritten at once: parts of some pages, and whole ones.
const PIECE: usize = 5 * 4096 + 100;
/// Where that begins.
const PLACE: u64 = 1000;

fn overwrite(arguments: &[&str]) {
    let [index, path, count] = arguments else { panic!("{arguments:?}") };
    let bytes = [b'A' + index.parse::<u8>().unwrap(); PIECE];
    let file = edit(path);
    ready();
    for _ in 0..count.parse::<usize>().unwrap() {
        assert_eq!(file.write_at(&bytes, PLACE).unwrap(), PIECE);
    }
}

fn writes_to_one_file_are_atomic() {
    let mount = Mounted::new();
    for round in 0..rounds(8) {
        let path = mount.path(format!("file-{round}"));
        make(&path);
        end(together("overwrite", 3, &[path.to_str().unwrap(), "20"]));
        let found = content(&path);
        assert_eq!(found.len(), PLACE as usize + PIECE);
        let piece = &found[PLACE as usize..];
        assert!(piece.iter().all(|byte| byte == &piece[0]), "two writes are mixed");
    }
}

fn tend(arguments: &[&str]) {
    let [index, folder, count] = arguments else { panic!("{arguments:?}") };
    let path = |name: String| Path::new(folder).join(name);
    ready();
    for round in 0..count.parse::<usize>().unwrap() {
        let (one, two) = (path(format!("{index}-{round}")), path(format!("{index}-{round}-moved")));
        fs::write(&one, index).unwrap();
        fs::rename(&one, &two).unwrap();
        fs::create_dir(&one).unwrap();
        assert_eq!(content(&two), index.as_bytes());
        fs::remove_dir(&one).unwrap();
        if round % 2 == 0 {
            fs::remove_file(&two).unwrap();
        }
        assert!(fs::read_dir(folder).unwrap().count() > 0 || round % 2 == 0);
    }
}

fn several_processes_work_in_one_directory() {
    let mount = Mounted::new();
    let folder = mount.path("empty");
    let count = rounds(100);
    end(together("tend", 4, &[folder.to_str().unwrap(), &count.to_string()]));
    let mut expected: Vec<String> = (0..4)
        .flat_map(|index| (1..count).step_by(2).map(move |round| format!("{index}-{round}-moved")))
        .collect();
    expected.sort();
    assert_eq!(names(&folder), expected);
    assert_eq!(folder.metadata().unwrap().nlink(), 2);
}

fn claim(arguments: &[&str]) {
    let [_, folder, count] = arguments else { panic!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let path = |name: String| Path::new(folder).join(name);
    ready();
    let (mut made, mut removed, mut moved) = (0, 0, 0);
    for round in 0..count {
        let exclusive =
            OpenOptions::new().write(true).create_new(true).open(path(format!("made-{round}")));
        made += usize::from(exclusive.is_ok());
        removed += usize::from(fs::remove_file(path(format!("old-{round}"))).is_ok());
        moved += usize::from(
            fs::rename(path(format!("from-{round}")), path(format!("to-{round}"))).is_ok(),
        );
    }
    say(format!("{made} {removed} {moved}"));
}

fn exactly_one_of_several_makes_or_removes_a_name() {
    let mount = Mounted::new();
    let folder = mount.path("empty");
    let count = rounds(100);
    for round in 0..count {
        make(folder.join(format!("old-{round}")));
        make(folder.join(format!("from-{round}")));
    }
    let mut workers = together("claim", 4, &[folder.to_str().unwrap(), &count.to_string()]);
    let mut sums = [0; 3];
    for worker in &mut workers {
        let said = worker.hear().expect("what it did");
        for (sum, word) in sums.iter_mut().zip(said.split(' ')) {
            *sum += word.parse::<usize>().unwrap();
        }
    }
    end(workers);
    assert_eq!(sums, [count; 3]);
}

fn look(arguments: &[&str]) {
    let [_, path] = arguments else { panic!("{arguments:?}") };
    ready();
    let (mut looks, mut missing, mut odd) = (0_u32, 0_u32, 0_u32);
    while !Path::new(path).with_file_name("enough").exists() {
        looks += 1;
        match fs::read(path) {
            Ok(content) if content == [b'x'; 10] || content == [b'y'; 5000] => {}
            Ok(_) => odd += 1,
            Err(_) => missing += 1,
        }
    }
    say(format!("{missing} {odd} {}", looks > 0));
}

fn renaming_is_atomic_to_those_who_look() {
    let mount = Mounted::new();
    let path = mount.path("target");
    fs::write(&path, [b'x'; 10]).unwrap();
    let mut workers = together("look", 2, &[path.to_str().unwrap()]);
    for round in 0..rounds(300) {
        let new: &[u8] = if round % 2 == 0 { &[b'y'; 5000] } else { &[b'x'; 10] };
        fs::write(mount.path("new"), new).unwrap();
        fs::rename(mount.path("new"), &path).unwrap();
    }
    make(mount.path("enough"));
    for worker in &mut workers {
        assert_eq!(worker.hear().as_deref(), Some("0 0 true"), "missing, odd, looked at all");
    }
    end(workers);
}

/// Bytes of the file that all store to.
const SHARED: usize = 64 * 4096;

fn store(arguments: &[&str]) {
    use crate::mapping::{Mapping, Use};
    let [index, path, count] = arguments else { panic!("{arguments:?}") };
    let index: usize = index.parse().unwrap();
    let file = edit(path);
    let memory = Mapping::new(&file, 0, SHARED, Use::Write).unwrap();
    ready();
    // Each has bytes of its own, in pages that all have.
    let mut random = fastrand::Rng::with_seed(index as u64);
    for round in 0..count.parse::<usize>().unwrap() {
        let at = random.usize(0..SHARED / 4) * 4 + index;
        let value = round as u8;
        if random.bool() {
            memory.set(at, value);
        } else {
            file.write_all_at(&[value], at as u64).unwrap();
        }
        let mut found = [0];
        file.read_exact_at(&mut found, at as u64).unwrap();
        assert_eq!((found[0], memory.get(at)), (value, value), "at {at}");
    }
}

fn stores_and_writes_meet_in_the_same_pages() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            make(&path).set_len(SHARED as u64).unwrap();
        }
        let count = rounds(2000).to_string();
        end(together("store", 4, &[path.to_str().unwrap(), &count]));
    }
}
