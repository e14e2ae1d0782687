//! A kernel may stop after any single store to the range. Whoever mounts next must find a legal
//! state: here every operation of a story is cut after each of its stores, and the image is mounted
//! again, validated and compared with what was there before and after.
//!
//! On a persistent medium the power may go as well: then what is left of the stores that were not
//! written back and waited for is any subset of their cache lines.

use daxfs::region::{Backing, Fence, LoadOrder, StoreOrder};
use daxfs::std_platform::{MappedFile, StdLock};
use daxfs::{
    Access, BranchName, BranchState, Extent, FileType, Ino, LastLink, Mount, MountOptions,
    NewInode, Persistence, Platform, Region, RenameMode, SetAttributes, Timestamp, Volume,
    validate,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A range that takes only so many stores: what comes after is lost, as if the writer had stopped.
struct Stopping {
    range: MappedFile,
    stores: Arc<Stores>,
}

struct Stores {
    done: AtomicU64,
    limit: u64,
    medium: Option<Mutex<Medium>>,
}

const LINE: usize = 64;

/// A persistent medium behind a cache: what is on it, and what has not got there yet.
struct Medium {
    durable: Vec<u8>,
    /// Lines the cache has newer.
    dirty: BTreeSet<usize>,
    /// Lines on their way, as they were when they were sent.
    sent: BTreeMap<usize, [u8; LINE]>,
}

impl Medium {
    /// What is left when the power goes now: of the lines in the cache, some have got out.
    fn after_power_cut(&self, live: &[u8], seed: u64) -> Vec<u8> {
        let mut left = self.durable.clone();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for &line in &self.dirty {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let range = line * LINE..(line + 1) * LINE;
            match random % 3 {
                0 => {}
                1 => left[range.clone()].copy_from_slice(&live[range]),
                _ => {
                    if let Some(sent) = self.sent.get(&line) {
                        left[range].copy_from_slice(sent);
                    }
                }
            }
        }
        left
    }
}

impl Stores {
    fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { done: AtomicU64::new(0), limit, medium: None })
    }

    /// The same before a persistent medium that holds `durable`.
    fn before(durable: Vec<u8>, limit: u64) -> Arc<Self> {
        let medium = Medium { durable, dirty: BTreeSet::new(), sent: BTreeMap::new() };
        Arc::new(Self { done: AtomicU64::new(0), limit, medium: Some(Mutex::new(medium)) })
    }

    /// Notes that bytes of the cache are newer than the medium's.
    fn dirty(&self, offset: usize, len: usize) {
        if let Some(medium) = &self.medium {
            medium.lock().unwrap().dirty.extend(lines(offset, len));
        }
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Counts one more store; says whether it still happens.
    fn happens(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed) < self.limit
    }
}

fn lines(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / LINE..(offset + len).div_ceil(LINE)
}

impl Stopping {
    fn line(&self, line: usize) -> [u8; LINE] {
        let mut bytes = [0; LINE];
        // SAFETY: the line was stored to, and the range is whole pages.
        let read = unsafe { self.range.copy_out(line * LINE, &mut bytes) };
        assert!(read);
        bytes
    }
}

// SAFETY: forwards to the mapped file, or does nothing.
unsafe impl Backing for Stopping {
    fn fence(&self, fence: Fence) {
        let Some(medium) = self.stores.medium.as_ref().filter(|_| fence == Fence::Persist) else {
            return;
        };
        if self.stores.count() > self.stores.limit {
            return;
        }
        let mut medium = medium.lock().unwrap();
        for (line, bytes) in std::mem::take(&mut medium.sent) {
            medium.durable[line * LINE..(line + 1) * LINE].copy_from_slice(&bytes);
            if self.line(line) == bytes {
                medium.dirty.remove(&line);
            }
        }
    }
    unsafe fn write_back(&self, offset: usize, len: usize) {
        let Some(medium) = &self.stores.medium else { return };
        if self.stores.count() > self.stores.limit {
            return;
        }
        let sent = lines(offset, len).map(|line| (line, self.line(line)));
        medium.lock().unwrap().sent.extend(sent);
    }
    fn size(&self) -> u64 {
        self.range.size()
    }
    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.load(offset, order) }
    }
    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        if self.stores.happens() {
            // SAFETY: the caller's conditions are the same.
            unsafe { self.range.store(offset, value, order) }
            self.stores.dirty(offset, 8);
        }
    }
    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        if self.stores.happens() {
            self.stores.dirty(offset, 8);
            // SAFETY: the caller's conditions are the same.
            return unsafe { self.range.compare_exchange(offset, current, new) };
        }
        // The stopped writer goes on alone: its exchanges succeed, and nobody sees them.
        Ok(current)
    }
    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.range.copy_out(offset, into) }
    }
    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        // A copy is many stores: it may stop in the middle.
        if self.stores.happens() {
            // SAFETY: the caller's conditions are the same.
            unsafe { self.range.copy_in(offset, from) }
            self.stores.dirty(offset, from.len());
        } else if self.stores.count() == self.stores.limit + 1 {
            // SAFETY: half of the caller's bytes lie where all of them do.
            unsafe { self.range.copy_in(offset, &from[..from.len() / 2]) }
            self.stores.dirty(offset, from.len() / 2);
        }
    }
    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        if self.stores.happens() {
            // SAFETY: the caller's conditions are the same.
            let read = unsafe { self.range.copy_within(from, to, len) };
            self.stores.dirty(to, len);
            return read;
        }
        true
    }
    unsafe fn zero(&self, offset: usize, len: usize) {
        if self.stores.happens() {
            // SAFETY: the caller's conditions are the same.
            unsafe { self.range.zero(offset, len) }
            self.stores.dirty(offset, len);
        }
    }
}

struct TestPlatform;

impl Platform for TestPlatform {
    type Backing = Stopping;
    type Lock<T> = StdLock<T>;
    fn now(&self) -> Timestamp {
        Timestamp::new(1_000_000, 0)
    }
    fn random(&self) -> u64 {
        7
    }
}

type TestMount = Mount<TestPlatform>;

const SIZE: u64 = 4 << 20;

struct Image {
    file: File,
}

impl Image {
    fn new() -> Self {
        Self::with_delta(SIZE)
    }

    /// A writable image of a small tree.
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

    fn bytes(&self) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.file.metadata().unwrap().len() as usize];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn restore(&self, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(bytes, 0).unwrap();
    }

    fn region(&self, stores: &Arc<Stores>) -> Region<Stopping> {
        let range = MappedFile::new(&self.file, true).unwrap();
        let persistence = match stores.medium {
            Some(_) => Persistence::Persistent,
            None => Persistence::Volatile,
        };
        Region::new(Stopping { range, stores: Arc::clone(stores) }).on(persistence)
    }

    fn mount(&self, branch: Option<&str>, stores: &Arc<Stores>) -> TestMount {
        let options = MountOptions {
            branch: branch.map(name),
            access: Access::ReadWrite,
            keep: true,
            exclusive: true,
            ..Default::default()
        };
        Mount::new(TestPlatform, self.region(stores), &options).unwrap()
    }
}

fn name(text: &str) -> BranchName {
    BranchName::new(text.as_bytes()).unwrap()
}

fn unlimited() -> Arc<Stores> {
    Stores::new(u64::MAX)
}

/// Everything there is to see in the live branches: paths, kinds and contents.
type State = BTreeMap<String, BTreeMap<String, (FileType, Vec<u8>)>>;

fn look(image: &Image) -> State {
    let stores = unlimited();
    // The mount recovers; only then the image has to be clean.
    let main = image.mount(None, &stores);
    validate(&TestPlatform, &image.region(&stores), &mut |problem| panic!("{problem}")).unwrap();
    let mut names = Vec::new();
    main.branches(&mut |branch| names.push(branch.name.to_string())).unwrap();
    drop(main);
    let mut state = State::new();
    for branch in names {
        let mount = image.mount(Some(&branch), &stores);
        let mut files = BTreeMap::new();
        walk(&mount, Ino::ROOT, String::new(), &mut files);
        mount.statfs().unwrap();
        state.insert(branch, files);
        mount.unmount().unwrap();
    }
    state
}

fn walk(
    mount: &TestMount,
    dir: Ino,
    path: String,
    files: &mut BTreeMap<String, (FileType, Vec<u8>)>,
) {
    let mut entries = Vec::new();
    mount
        .readdir(dir, 0, &mut |e| {
            entries.push((String::from_utf8(e.name.to_vec()).unwrap(), e.ino, e.kind));
            true
        })
        .unwrap();
    for (name, ino, kind) in entries {
        let path = format!("{path}/{name}");
        let size = mount.getattr(ino).unwrap().size as usize;
        let mut content = vec![0; if kind == FileType::Regular { size } else { 0 }];
        if kind == FileType::Regular {
            assert_eq!(mount.read(ino, 0, &mut content).unwrap(), size);
        } else if kind == FileType::Directory {
            walk(mount, ino, path.clone(), files);
        }
        files.insert(path, (kind, content));
    }
}

/// Prepares `main`, then runs `operation` on `branch` and cuts it after each of its stores. The
/// states before and after it, as `look` sees them, are the legal outcomes, and `legal` may allow
/// more.
fn cut_everywhere(
    title: &str,
    branch: Option<&str>,
    prepare: impl Fn(&TestMount),
    operation: impl Fn(&TestMount),
    legal: impl Fn(&State) -> bool,
) {
    cut_everywhere_in(&Image::new(), title, branch, prepare, operation, legal);
}

/// The same in an image of another size.
fn cut_everywhere_in(
    image: &Image,
    title: &str,
    branch: Option<&str>,
    prepare: impl Fn(&TestMount),
    operation: impl Fn(&TestMount),
    legal: impl Fn(&State) -> bool,
) {
    let stores = unlimited();
    let mount = image.mount(None, &stores);
    prepare(&mount);
    mount.unmount().unwrap();
    let before = look(image);
    let start = image.bytes();

    let stores = unlimited();
    let mount = image.mount(branch, &stores);
    let mounted = stores.count();
    operation(&mount);
    let total = stores.count();
    drop(mount);
    let after = look(image);

    let mut outcomes = [0; 3];
    for limit in mounted..=total {
        image.restore(&start);
        let stores = Stores::new(limit);
        let mount = image.mount(branch, &stores);
        operation(&mount);
        drop(mount);
        let found = look(image);
        // Recovery has settled everything: a second look sees the same.
        assert_eq!(found, look(image), "{title}: cut after {limit} stores, looked at twice");
        if found == before {
            outcomes[0] += 1;
        } else if found == after {
            outcomes[1] += 1;
        } else {
            assert!(legal(&found), "{title}: cut after {limit} of {total} stores: {found:#?}");
            outcomes[2] += 1;
        }
    }
    println!(
        "{title}: {} crash points: {} before, {} after, {} in between and legal",
        total - mounted + 1,
        outcomes[0],
        outcomes[1],
        outcomes[2]
    );
    assert!(outcomes[1] > 0, "{title}: the operation never took effect");

    let mut cuts = 0;
    let mut outcomes = [0; 3];
    for limit in mounted..=total {
        // Long stories get fewer.
        for seed in 0..if total - mounted > 50 { 1 } else { 4 } {
            image.restore(&start);
            let stores = Stores::before(start.clone(), limit);
            let mount = image.mount(branch, &stores);
            operation(&mount);
            drop(mount);
            let live = image.bytes();
            let medium = stores.medium.as_ref().unwrap().lock().unwrap();
            image.restore(&medium.after_power_cut(&live, seed + limit * 4));
            drop(medium);
            let found = look(image);
            cuts += 1;
            if found == before {
                outcomes[0] += 1;
            } else if found == after {
                outcomes[1] += 1;
            } else {
                assert!(legal(&found), "{title}: power cut after {limit} stores: {found:#?}");
                outcomes[2] += 1;
            }
        }
    }
    println!(
        "{title}: {cuts} power cuts: {} before, {} after, {} in between and legal",
        outcomes[0], outcomes[1], outcomes[2]
    );
}

/// The same while another mount goes on: it takes the stopped one for dead, is told that it is, and
/// must be able to go on as if that one had never been there, or had finished.
fn cut_beside_a_survivor(
    title: &str,
    branch: &str,
    prepare: impl Fn(&TestMount),
    operation: impl Fn(&TestMount),
    legal: impl Fn(&State) -> bool,
) {
    let image = Image::new();
    let mount = image.mount(Some(branch), &unlimited());
    prepare(&mount);
    mount.unmount().unwrap();
    let start = image.bytes();
    let join = || {
        let options = MountOptions { access: Access::ReadOnly, ..Default::default() };
        let survivor = Mount::new(TestPlatform, image.region(&unlimited()), &options).unwrap();
        survivor.tick(1).unwrap();
        survivor
    };
    let run = |limit| {
        image.restore(&start);
        let survivor = join();
        let stores = Stores::new(limit);
        let options = MountOptions {
            branch: Some(name(branch)),
            access: Access::ReadWrite,
            keep: true,
            ..Default::default()
        };
        let mounted = Mount::new(TestPlatform, image.region(&stores), &options);
        let before = stores.count();
        if let Ok(victim) = &mounted {
            operation(victim);
        }
        drop(mounted);
        // The survivor looks, goes on waiting, and gives up on the other one.
        let lease = survivor.lease_ms().unwrap();
        survivor.statfs().unwrap();
        survivor.tick(2).unwrap();
        survivor.tick(3 + lease).unwrap();
        let mut victims = Vec::new();
        let me = survivor.info().member;
        survivor
            .members(&mut |member| {
                if Some(member.index.get()) != me {
                    victims.push(member.index);
                }
            })
            .unwrap();
        let volume = Volume::open(TestPlatform, image.region(&unlimited())).unwrap();
        for victim in victims {
            volume.reap(victim).unwrap();
        }
        survivor.tick(4 + lease).unwrap();
        survivor.branches(&mut |b| assert_eq!(b.state, BranchState::Active, "{title}")).unwrap();
        let mut records = 0;
        survivor.branches(&mut |_| records += 1).unwrap();
        survivor.unmount().unwrap();
        let state = look(&image);
        assert_eq!(records, state.len(), "{title}: cut after {limit} stores");
        (state, before, stores.count())
    };
    let (before, ..) = run(0);
    let (after, mounted, total) = run(u64::MAX);
    let mut outcomes = [0; 3];
    for limit in 0..=total {
        let (found, ..) = run(limit);
        if found == before {
            outcomes[0] += 1;
        } else if found == after {
            outcomes[1] += 1;
        } else {
            assert!(legal(&found), "{title}: cut after {limit} of {total} stores: {found:#?}");
            outcomes[2] += 1;
        }
    }
    println!(
        "{title}, beside a survivor: {} crash points ({mounted} of them in the mount): {} before, \
         {} after, {} in between and legal",
        total + 1,
        outcomes[0],
        outcomes[1],
        outcomes[2]
    );
    assert!(outcomes[1] > 0, "{title}: the operation never took effect");
}

fn file(mode: u32) -> NewInode {
    NewInode { mode: FileType::Regular.mode_bits() | mode, uid: 0, gid: 0, rdev: 0 }
}

fn put(mount: &TestMount, path: &str, content: &[u8]) {
    let (dir, name) = mount.resolve_parent(path.as_bytes()).unwrap();
    let ino = match mount.resolve(path.as_bytes(), LastLink::Follow) {
        Ok(found) => found.ino,
        Err(_) => mount.create(dir, name, &file(0o644)).unwrap().ino,
    };
    mount.write(ino, 0, content).unwrap();
}

const NEVER: fn(&State) -> bool = |_| false;

#[test]
fn a_name_is_made_whole_or_not_at_all() {
    let create = |mount: &TestMount| {
        mount.create(Ino::ROOT, b"new", &file(0o600)).unwrap();
    };
    cut_everywhere("first create in a branch", None, |_| {}, create, NEVER);
    let prepare = |mount: &TestMount| put(mount, "/other", b"x");
    cut_everywhere("another create", None, prepare, create, NEVER);
    let symlink = |mount: &TestMount| {
        mount.symlink(Ino::ROOT, b"link", &[b't'; 3000], 0, 0).unwrap();
    };
    cut_everywhere("symbolic link", None, prepare, symlink, NEVER);
}

#[test]
fn a_write_to_new_pages_appears_whole_or_not_at_all() {
    let prepare = |mount: &TestMount| put(mount, "/data", b"");
    let write = |mount: &TestMount| put(mount, "/data", &[7; 9000]);
    cut_everywhere("write to new pages", None, prepare, write, NEVER);
    let write = |mount: &TestMount| put(mount, "/dir/file", &[9; 5000]);
    cut_everywhere("copy on write of a base file", None, |_| {}, write, NEVER);
}

#[test]
fn a_rename_over_a_name_leaves_the_whole_old_or_the_whole_new_file() {
    let prepare = |mount: &TestMount| {
        put(mount, "/checkpoint", &[1; 20_000]);
        put(mount, "/checkpoint.tmp", &[2; 30_000]);
    };
    let rename = |mount: &TestMount| {
        let root = Ino::ROOT;
        mount.rename(root, b"checkpoint.tmp", root, b"checkpoint", RenameMode::Replace).unwrap();
    };
    cut_everywhere("rename over a name", None, prepare, rename, NEVER);
    let exchange = |mount: &TestMount| {
        let root = Ino::ROOT;
        mount.rename(root, b"checkpoint.tmp", root, b"checkpoint", RenameMode::Exchange).unwrap();
    };
    cut_everywhere("exchange of two names", None, prepare, exchange, NEVER);
}

#[test]
fn removal_and_truncation_happen_or_do_not() {
    let prepare = |mount: &TestMount| put(mount, "/data", &[3; 600_000]);
    let unlink = |mount: &TestMount| mount.unlink(Ino::ROOT, b"data").unwrap();
    cut_everywhere("unlink", None, prepare, unlink, NEVER);
    let truncate = |mount: &TestMount| {
        let ino = mount.lookup(Ino::ROOT, b"data").unwrap().ino;
        let changes = SetAttributes { size: Some(100), ..Default::default() };
        mount.setattr(ino, &changes).unwrap();
    };
    cut_everywhere("truncate", None, prepare, truncate, NEVER);
    let punch = |mount: &TestMount| {
        let ino = mount.lookup(Ino::ROOT, b"data").unwrap().ino;
        // Whole pages: one entry.
        mount.punch(ino, 8192, 500 * 1024, &|| Ok(())).unwrap();
    };
    cut_everywhere("punch", None, prepare, punch, NEVER);
}

#[test]
fn a_log_goes_on_in_a_new_segment_without_losing_an_entry() {
    let prepare = |mount: &TestMount| {
        // Fill most of a 64 KiB or 256 KiB log segment.
        for i in 0..1300 {
            mount.create(Ino::ROOT, format!("{i:0128}").as_bytes(), &file(0o600)).unwrap();
        }
    };
    let fill = |mount: &TestMount| {
        for i in 0..100 {
            mount.create(Ino::ROOT, format!("n{i:0127}").as_bytes(), &file(0o600)).unwrap();
        }
    };
    // Each create is a step of its own: any prefix of them is legal.
    let prefix = |state: &State| {
        let new: Vec<_> = state["main"].keys().filter(|path| path.starts_with("/n")).collect();
        new.iter().enumerate().all(|(i, path)| **path == format!("/n{i:0127}"))
    };
    cut_everywhere("creates across a segment border", None, prepare, fill, prefix);
}

#[test]
fn a_branch_is_made_whole_or_not_at_all() {
    let create = |mount: &TestMount| {
        // Stopped on the way, it does not find the branch it made.
        let _ = mount.create_branch(&name("b"), None);
    };
    cut_everywhere("branch creation", None, |_| {}, create, NEVER);
}

#[test]
fn a_commit_happens_or_does_not_and_discards_all_siblings_or_none() {
    let prepare = |mount: &TestMount| {
        put(mount, "/in-main", b"main");
        mount.create_branch(&name("loser"), Some(&name("main"))).unwrap();
        put(mount, "/of-loser", &[1; 50_000]);
        mount.create_branch(&name("grandchild"), None).unwrap();
        put(mount, "/of-grandchild", b"x");
        mount.create_branch(&name("winner"), Some(&name("main"))).unwrap();
        put(mount, "/of-winner", &[2; 300_000]);
        put(mount, "/dir/file", b"changed");
    };
    let commit = |mount: &TestMount| {
        // Stopped on the way, it may notice that the tree is not as it should be.
        let _ = mount.commit();
    };
    // A commit that was cut after its commit point is finished by the next mount for writing: there
    // is nothing in between.
    cut_everywhere("commit", Some("winner"), prepare, commit, NEVER);
    let empty = |mount: &TestMount| {
        mount.create_branch(&name("winner"), Some(&name("main"))).unwrap();
    };
    cut_everywhere("commit of nothing", Some("winner"), empty, commit, NEVER);
}

#[test]
fn an_abort_happens_or_does_not() {
    let prepare = |mount: &TestMount| {
        mount.create_branch(&name("b"), None).unwrap();
        put(mount, "/of-b", &[2; 300_000]);
    };
    let abort = |mount: &TestMount| {
        let _ = mount.abort();
    };
    cut_everywhere("abort", Some("b"), prepare, abort, NEVER);
}

#[test]
fn a_rewritten_log_says_what_the_old_one_said() {
    let prepare = |mount: &TestMount| {
        for i in 0..20_u8 {
            put(mount, &format!("/f{i}"), &[i; 5000]);
        }
        mount.rename(Ino::ROOT, b"dir", Ino::ROOT, b"moved", RenameMode::Replace).unwrap();
        mount.symlink(Ino::ROOT, b"link", &[b't'; 300], 0, 0).unwrap();
        for i in 0..10 {
            mount.unlink(Ino::ROOT, format!("f{i}").as_bytes()).unwrap();
        }
    };
    let compact = |mount: &TestMount| {
        let _ = mount.compact();
        let _ = mount.create(Ino::ROOT, b"new", &file(0o600));
    };
    cut_everywhere("compaction", None, prepare, compact, NEVER);
    cut_beside_a_survivor("compaction", "b", prepare, compact, NEVER);
}

#[test]
fn pages_that_are_moved_together_for_a_rewritten_log_are_in_the_one_place_or_the_other() {
    const COMMITS: u8 = 19;
    let prepare = |mount: &TestMount| {
        // Each leaves a segment with one page.
        for i in 0..COMMITS {
            mount.create_branch(&name("small"), None).unwrap();
            put(mount, &format!("/f{i}"), &[i; 100]);
            mount.commit().unwrap();
        }
    };
    let places = |mount: &TestMount| {
        // A mount that was stopped tells nothing.
        let place = |i| {
            let found = mount.resolve(format!("/f{i}").as_bytes(), LastLink::Follow).ok()?;
            match mount.extent(found.ino, 0) {
                Ok(Extent::Data { at, .. }) => Some(at),
                _ => None,
            }
        };
        (0..COMMITS).map(place).collect::<Vec<_>>()
    };
    let moves = std::cell::Cell::new(false);
    let write_over = |mount: &TestMount| {
        let before = places(mount);
        let _ = mount.compact();
        let after = places(mount);
        moves.set(moves.get() | before.iter().zip(&after).any(|(b, a)| a.is_some() && a != b));
        // In place, if the page is the branch's own: it had better be where the log says.
        if let Ok(found) = mount.resolve(b"/f3", LastLink::Follow) {
            let _ = mount.write(found.ino, 10, b"nnn");
        }
    };
    let legal = |state: &State| {
        state.iter().all(|(branch, files)| {
            (0..COMMITS).all(|i| {
                let content = &files[&format!("/f{i}")].1;
                // A write in place may be cut in the middle.
                let new = |at| branch == "b" && i == 3 && (10..13).contains(&at);
                let legal = |(at, &byte): (usize, &u8)| byte == i || new(at) && byte == b'n';
                content.len() == 100 && content.iter().enumerate().all(legal)
            })
        })
    };
    let image = Image::with_delta(10 << 20);
    cut_everywhere_in(&image, "cleaning", Some("b"), prepare, write_over, legal);
    assert!(moves.get(), "nothing was moved");
}

#[test]
fn a_survivor_finds_a_whole_checkpoint_whenever_its_writer_died() {
    let prepare = |mount: &TestMount| put(mount, "/checkpoint", &[1; 20_000]);
    let save = |mount: &TestMount| {
        let root = Ino::ROOT;
        let Ok(new) = mount.create(root, b"checkpoint.tmp", &file(0o600)) else { return };
        let _ = mount.write(new.ino, 0, &[2; 30_000]);
        let _ = mount.rename(root, b"checkpoint.tmp", root, b"checkpoint", RenameMode::Replace);
    };
    let whole = |state: &State| {
        state.get("kept").is_some_and(|files| {
            let (_, content) = &files["/checkpoint"];
            content == &[1; 20_000] || content == &[2; 30_000]
        })
    };
    cut_beside_a_survivor("checkpoint", "kept", prepare, save, whole);
}

#[test]
fn a_survivor_finishes_or_undoes_what_a_dead_kernel_did_to_the_tree() {
    let prepare = |mount: &TestMount| {
        put(mount, "/of-b", &[2; 300_000]);
        put(mount, "/dir/file", b"changed");
    };
    let commit = |mount: &TestMount| {
        let _ = mount.commit();
    };
    cut_beside_a_survivor("commit", "b", prepare, commit, NEVER);
    let abort = |mount: &TestMount| {
        let _ = mount.abort();
    };
    cut_beside_a_survivor("abort", "b", prepare, abort, NEVER);
    let create = |mount: &TestMount| {
        let _ = mount.create_branch(&name("child"), None);
    };
    cut_beside_a_survivor("branch creation", "b", prepare, create, NEVER);
}
