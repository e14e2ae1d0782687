//! Memory that goes bad under a mounted image.
//!
//! The processor's reports are made with the kernel's own injector (`mce-inject`, in software): from there
//! on they are real. What happens when a copy meets such memory before anybody has reported it is a test
//! of the runner, which makes machine checks.
//!
//! Memory that was reported stays bad until the module goes. So every check has memory of its own, a piece
//! of the machine's DAX device, and this suite comes last.

use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, content, edit, has, make, names, refused, same};
use crate::mapping::{Mapping, PAGE, Use};
use crate::mounted::{Context, Mounted, Refused, own_name};
use crate::worker::Worker;
use daxfs_tests::builder::{ImageBuilder, Kind};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;

suite!(
    "bad_memory",
    60,
    [
        reading_gives_what_is_before_and_then_an_error,
        what_is_known_outlives_the_mount,
        a_mapping_of_it_is_sigbus,
        every_mount_takes_it_out_of_its_mappings,
        writing_over_a_page_of_the_base_heals_it,
        a_page_of_the_branch_cannot_be_written_to,
        new_files_go_round_it,
        a_directory_on_it_cannot_be_listed,
        a_superblock_on_it_is_a_reason,
        a_dma_buf_has_it_too,
    ]
);

/// Bytes that each check has.
const SIZE: usize = 7 << 20;
/// Pages of the file that goes bad.
const PAGES: usize = 16;
/// The one that does.
const BAD: usize = 5;
/// Names in the large directory.
const NAMES: usize = 200;
/// SIGBUS.
const BUS: i32 = 7;

/// A check's own memory, with an image in it.
struct Piece {
    phys: u64,
    memory: Mapping,
}

/// What a page of the file has in it.
fn page(index: usize) -> Vec<u8> {
    (0..PAGE).map(|at| (at * 31 + index * 7) as u8).collect()
}

/// Pages of the file, from here on.
fn pages(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).flat_map(page).collect()
}

fn name(index: usize) -> String {
    format!("a-name-in-the-large-directory-{index:04}")
}

impl Piece {
    /// The piece of this number: an image with a file of several pages, another file, and a directory with
    /// many names.
    fn new(number: usize) -> Self {
        let root = Path::new("/tmp").join(own_name("tree"));
        fs::create_dir_all(root.join("large")).unwrap();
        fs::write(root.join("file"), pages(0, PAGES)).unwrap();
        fs::write(root.join("other"), pages(100, 3)).unwrap();
        for index in 0..NAMES {
            fs::write(root.join("large").join(name(index)), "").unwrap();
        }
        let about = |what: &str| {
            let text = fs::read_to_string(format!("/sys/bus/dax/devices/dax0.0/{what}")).unwrap();
            let text = text.trim();
            match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
                None => text.parse().unwrap(),
            }
        };
        let offset = (number * SIZE) as u64;
        assert!(offset + SIZE as u64 <= about("size"), "piece {number} is not there");
        let phys = about("resource") + offset;
        let made = Command::new("mkdaxfs")
            .args(["--force", "-w", "-d", root.to_str().unwrap()])
            .args(["-p", &phys.to_string(), "-s", &SIZE.to_string()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::remove_dir_all(root).unwrap();
        let device = File::options().read(true).write(true).open("/dev/dax0.0").unwrap();
        // In units that the device can map.
        let memory = Mapping::new(&device, 0, about("size") as usize, Use::Read).unwrap();
        Self { phys, memory }
    }

    fn try_mount(&self, options: &str) -> Result<Mounted, Refused> {
        let context = Context::new();
        context.options(&format!("phys={:#x},size={SIZE},{options}", self.phys))?;
        context.mount()
    }

    #[track_caller]
    fn mount(&self, options: &str) -> Mounted {
        self.try_mount(options).unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// Where these bytes are in physical memory.
    fn find(&self, bytes: &[u8], offset: usize) -> u64 {
        let found = self.memory.bytes(offset, SIZE);
        let at = found.windows(bytes.len()).position(|found| found == bytes).unwrap();
        self.phys + at as u64
    }
}

/// Where a page of a file is in physical memory.
#[track_caller]
fn place(file: &File, page: usize) -> u64 {
    let memory = Mapping::new(file, (page * PAGE) as u64, PAGE, Use::Read).unwrap();
    memory.touch();
    memory.physical(0).expect("it is mapped")
}

/// Has the processor report that the memory at this address is lost.
fn report(phys: u64) {
    // An uncorrected error of memory at a valid address, as processors of both makers tell it; not in the
    // way of anything that runs.
    const STATUS: u64 = 0xbdc0_0800_0008_0134;
    const MISC: u64 = 2 << 6 | 12;
    const BANK: u64 = 4;
    let injector = Path::new("/sys/kernel/debug/mce-inject");
    fs::write(injector.join("flags"), "sw\n").unwrap();
    // The last one does it.
    for (name, value) in [("status", STATUS), ("misc", MISC), ("addr", phys), ("bank", BANK)] {
        fs::write(injector.join(name), format!("{value:#x}\n")).unwrap();
    }
}

/// Waits until the report has arrived, which it does by itself: the suite's limit is the limit.
fn wait(mut arrived: impl FnMut() -> bool) {
    while !arrived() {
        thread::yield_now();
    }
}

/// Whether reading a page is refused as bad memory is. What else is refused is a fault.
#[track_caller]
fn is_lost(file: &File, page: usize) -> bool {
    match file.read_at(&mut [0; PAGE], (page * PAGE) as u64) {
        Ok(count) => {
            assert_eq!(count, PAGE);
            false
        }
        Err(error) => {
            refused(Err::<(), _>(error), Errno::IO);
            true
        }
    }
}

/// Loses the page that is to go bad.
#[track_caller]
fn lose(file: &File) {
    report(place(file, BAD));
    wait(|| is_lost(file, BAD));
}

/// That everything but the bad page is as it was.
#[track_caller]
fn the_rest_works(mount: &Mounted, file: &File) {
    for index in (0..PAGES).filter(|&index| index != BAD) {
        let mut found = vec![0; PAGE];
        file.read_exact_at(&mut found, (index * PAGE) as u64).unwrap();
        same(&found, &page(index));
    }
    has(mount.path("other"), &pages(100, 3));
    assert_eq!(names(mount.path("large")).len(), NAMES);
}

fn reading_gives_what_is_before_and_then_an_error() {
    let piece = Piece::new(0);
    let mount = piece.mount("rw,branch=b,parent=main");
    let file = File::open(mount.path("file")).unwrap();
    lose(&file);
    let mut found = vec![0; PAGES * PAGE];
    assert_eq!(file.read_at(&mut found, 0).unwrap(), BAD * PAGE);
    same(&found[..BAD * PAGE], &pages(0, BAD));
    let within = (BAD * PAGE + 17) as u64;
    for (at, len) in [(within, 1), (within, PAGE), (within, PAGES * PAGE)] {
        refused(file.read_at(&mut found[..len], at), Errno::IO);
    }
    assert_eq!(file.read_at(&mut found[..200], within - 117).unwrap(), 100);
    refused(fs::read(mount.path("file")), Errno::IO);
    the_rest_works(&mount, &file);
    fs::write(mount.path("new"), "new").unwrap();
    has(mount.path("new"), b"new");
}

fn what_is_known_outlives_the_mount() {
    let piece = Piece::new(1);
    let mount = piece.mount("ro");
    lose(&File::open(mount.path("file")).unwrap());
    mount.unmount();
    let mount = piece.mount("ro");
    let file = File::open(mount.path("file")).unwrap();
    assert!(is_lost(&file, BAD));
    the_rest_works(&mount, &file);
}

/// A process that maps the file, and what it says to a command.
struct Toucher(Worker);

impl Toucher {
    fn new(path: &Path) -> Self {
        let len = (PAGES * PAGE).to_string();
        let mut worker = Worker::start("touch", &[path.to_str().unwrap(), &len]);
        assert_eq!(worker.hear().as_deref(), Some("ready"));
        Self(worker)
    }

    fn ask(&mut self, command: &str) -> Option<String> {
        self.0.tell(command);
        self.0.hear()
    }

    #[track_caller]
    fn loads(&mut self, index: usize) {
        let said = self.ask(&format!("load {}", index * PAGE));
        assert_eq!(said, Some(page(index)[0].to_string()));
    }

    #[track_caller]
    fn dies_of(mut self, command: &str) {
        assert_eq!(self.ask(command), None, "{command}");
        assert_eq!(self.0.end().signal(), Some(BUS));
    }
}

fn a_mapping_of_it_is_sigbus() {
    let piece = Piece::new(2);
    let mount = piece.mount("rw,branch=b,parent=main");
    let path = mount.path("file");
    let file = File::open(&path).unwrap();
    let mapping = Mapping::new(&file, 0, PAGES * PAGE, Use::Read).unwrap();
    mapping.touch();
    let mut touchers = [Toucher::new(&path), Toucher::new(&path)];
    for toucher in &mut touchers {
        toucher.loads(BAD);
    }
    report(mapping.physical(BAD * PAGE).unwrap());
    // It is taken out, and does not come back with its neighbours.
    wait(|| mapping.physical(BAD * PAGE).is_none());
    assert_eq!(mapping.get((BAD - 1) * PAGE), page(BAD - 1)[0]);
    assert_eq!(mapping.get((BAD + 1) * PAGE), page(BAD + 1)[0]);
    assert_eq!(mapping.physical(BAD * PAGE), None);
    for toucher in &mut touchers {
        toucher.loads(BAD + 1);
        toucher.loads(0);
    }
    let [loads, stores] = touchers;
    loads.dies_of(&format!("load {}", BAD * PAGE));
    stores.dies_of(&format!("store {} 1", BAD * PAGE + 1));
    Toucher::new(&path).dies_of(&format!("load {}", BAD * PAGE + PAGE - 1));
    the_rest_works(&mount, &file);
}

fn every_mount_takes_it_out_of_its_mappings() {
    let piece = Piece::new(3);
    let mounts =
        [piece.mount("rw,branch=one,parent=main"), piece.mount("rw,branch=two,parent=main")];
    let files = mounts.each_ref().map(|mount| File::open(mount.path("file")).unwrap());
    let mappings = files.each_ref().map(|file| {
        let mapping = Mapping::new(file, 0, PAGES * PAGE, Use::Read).unwrap();
        mapping.touch();
        mapping
    });
    let phys = mappings[0].physical(BAD * PAGE);
    assert_eq!(phys, mappings[1].physical(BAD * PAGE));
    report(phys.unwrap());
    for mapping in &mappings {
        wait(|| mapping.physical(BAD * PAGE).is_none());
    }
    for (mount, file) in mounts.iter().zip(&files) {
        assert!(is_lost(file, BAD));
        the_rest_works(mount, file);
    }
}

fn writing_over_a_page_of_the_base_heals_it() {
    let piece = Piece::new(4);
    let mount = piece.mount("rw,branch=b,parent=main");
    let file = edit(mount.path("file"));
    lose(&file);
    // Part of a page needs the rest of it.
    refused(file.write_at(&[1; 100], (BAD * PAGE + 50) as u64), Errno::IO);
    assert!(is_lost(&file, BAD));
    let store = format!("store {} 1", BAD * PAGE);
    Toucher::new(&mount.path("file")).dies_of(&store);
    the_rest_works(&mount, &file);
    let mut expected = pages(0, PAGES);
    expected[BAD * PAGE..][..PAGE].fill(9);
    file.write_all_at(&[9; PAGE], (BAD * PAGE) as u64).unwrap();
    has(mount.path("file"), &expected);
    file.write_all_at(&[8; 100], (BAD * PAGE + 50) as u64).unwrap();
    expected[BAD * PAGE + 50..][..100].fill(8);
    has(mount.path("file"), &expected);
    crate::branch::commit(&mount.open()).unwrap();
    drop(file);
    drop(mount);
    has(piece.mount("ro,validate").path("file"), &expected);
}

fn a_page_of_the_branch_cannot_be_written_to() {
    let piece = Piece::new(5);
    let mount = piece.mount("rw,branch=b,parent=main");
    let file = make(mount.path("new"));
    file.write_all_at(&pages(0, PAGES), 0).unwrap();
    lose(&file);
    refused(file.write_at(&[1; PAGE], (BAD * PAGE) as u64), Errno::IO);
    refused(file.write_at(&[1; 10], (BAD * PAGE + 10) as u64), Errno::IO);
    // As much as lies before it.
    let written = file.write_at(&pages(0, PAGES), 0).unwrap();
    assert_eq!(written, BAD * PAGE);
    the_rest_works(&mount, &file);
}

fn new_files_go_round_it() {
    let piece = Piece::new(8);
    let mount = piece.mount("rw,branch=b,parent=main");
    let file = make(mount.path("new"));
    file.write_all_at(&pages(0, PAGES), 0).unwrap();
    lose(&file);
    drop(file);
    fs::remove_file(mount.path("new")).unwrap();
    // More often than there is room for, so that every page has its turn.
    for round in 0..40 {
        let expected = pages(round, 60);
        fs::write(mount.path("newer"), &expected).unwrap();
        has(mount.path("newer"), &expected);
        fs::remove_file(mount.path("newer")).unwrap();
    }
    fs::write(mount.path("last"), pages(3, 60)).unwrap();
    crate::branch::commit(&mount.open()).unwrap();
    drop(mount);
    has(piece.mount("ro,validate").path("last"), &pages(3, 60));
}

fn a_directory_on_it_cannot_be_listed() {
    const NUMBER: usize = 6;
    let piece = Piece::new(NUMBER);
    let mount = piece.mount("rw,branch=b,parent=main");
    // A lookup of the first does not pass the other.
    let (first, lost) = (name(0), name(NAMES * 3 / 4));
    report(piece.find(lost.as_bytes(), NUMBER * SIZE));
    let list = || fs::read_dir(mount.path("large"))?.collect::<Result<Vec<_>, _>>();
    wait(|| list().is_err());
    refused(list(), Errno::IO);
    refused(fs::metadata(mount.path("large").join(&lost)), Errno::IO);
    refused(File::create(mount.path("large").join(&lost)), Errno::IO);
    // The others go on.
    assert_eq!(names(mount.root()), ["file", "large", "other"]);
    has(mount.path("file"), &pages(0, PAGES));
    fs::write(mount.path("new"), "new").unwrap();
    assert_eq!(content(mount.path("new")), b"new");
    drop(mount);
    // Whoever checks an image finds it.
    let refused = piece.try_mount("ro,validate").unwrap_err();
    assert_eq!((refused.errno, refused.messages.len()), (Errno::IO, 1), "{refused}");
    assert!(refused.messages[0].contains("gone bad"), "{refused}");
    let mount = piece.mount("ro");
    assert!(fs::metadata(mount.path("large").join(first)).is_ok_and(|about| about.is_file()));
}

fn a_superblock_on_it_is_a_reason() {
    let piece = Piece::new(7);
    report(piece.phys);
    wait(|| match piece.try_mount("ro") {
        Ok(_) => false,
        Err(refused) => {
            assert_eq!((refused.errno, refused.messages.len()), (Errno::IO, 1), "{refused}");
            assert!(refused.messages[0].contains("gone bad, at 0x0"), "{refused}");
            true
        }
    });
}

fn a_dma_buf_has_it_too() {
    let buffer = Buffer::of(&ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build().bytes);
    let mount = buffer.mount("rw,branch=work").unwrap_or_else(|refused| panic!("{refused}"));
    let file = make(mount.path("new"));
    file.write_all_at(&pages(0, PAGES), 0).unwrap();
    lose(&file);
    let mut found = vec![0; PAGES * PAGE];
    assert_eq!(file.read_at(&mut found, 0).unwrap(), BAD * PAGE);
    let path = mount.path("new");
    Toucher::new(&path).dies_of(&format!("load {}", BAD * PAGE));
    Toucher::new(&path).loads(BAD + 1);
    fs::write(mount.path("other"), "other").unwrap();
    has(mount.path("other"), b"other");
}
