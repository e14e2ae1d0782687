//! The engine, natively, against the physical limit: copying the same bytes.
//!
//!     cargo bench -p daxfs-tests --bench engine
//!     cargo bench -p daxfs-tests --bench engine -- replay      # only some
//!
//! Numbers and what they mean are in docs/performance.md. Compare ratios within one run: machines are
//! noisy, and differ.

use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, BranchName, Ino, LogEntry, Mount, MountOptions, NewInode, Region, RegionOffset,
    SetAttributes, Timestamp, validate,
};
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

type TestMount = Mount<StdPlatform>;

const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };
const LARGE: usize = 64 << 20;

/// An image in a file in memory.
struct Image {
    file: File,
    _folder: TempDir,
}

impl Image {
    fn new(delta: u64, fill: impl FnOnce(&Path)) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(parent).unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        fill(&source);
        let path = folder.path().join("image");
        let options = mkdaxfs::BuildOptions {
            writable: Some(mkdaxfs::DeltaSize::Bytes(delta)),
            ..Default::default()
        };
        mkdaxfs::build(&source, &path, &options, &()).unwrap();
        fs::remove_dir_all(source).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self { file, _folder: folder }
    }

    fn empty(delta: u64) -> Self {
        Self::new(delta, |_| {})
    }

    fn region(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.file, true).unwrap())
    }

    fn mount(&self, branch: &str) -> TestMount {
        let options = MountOptions {
            branch: Some(name(branch)),
            access: Access::ReadWrite,
            keep: true,
            exclusive: true,
            ..Default::default()
        };
        Mount::new(StdPlatform, self.region(), &options).unwrap()
    }
}

fn name(text: &str) -> BranchName {
    BranchName::new(text.as_bytes()).unwrap()
}

fn write_all(mount: &TestMount, ino: Ino, data: &[u8]) {
    let mut done = 0;
    while done < data.len() {
        done += mount.write(ino, done as u64, &data[done..]).unwrap();
    }
}

fn make(mount: &TestMount, name: &str, data: &[u8]) -> Ino {
    let ino = mount.create(Ino::ROOT, name.as_bytes(), &FILE).unwrap().ino;
    write_all(mount, ino, data);
    ino
}

/// Offsets in random order that cover `LARGE` bytes in steps.
fn shuffled(step: usize) -> Vec<u64> {
    let mut offsets: Vec<u64> = (0..LARGE as u64).step_by(step).collect();
    let mut seed = 1_u64;
    for i in (1..offsets.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        offsets.swap(i, (seed >> 33) as usize % (i + 1));
    }
    offsets
}

fn names(c: &mut Criterion) {
    let image = Image::new(64 << 20, |root| {
        for i in 0..10_000 {
            File::create(root.join(format!("file{i:05}"))).unwrap();
        }
    });
    let mount = image.mount("main");
    let mut group = c.benchmark_group("names");
    group.bench_function("lookup in a base directory of 10000", |b| {
        let mut i = 0;
        b.iter(|| {
            i = (i + 7919) % 10_000;
            mount.lookup(Ino::ROOT, format!("file{i:05}").as_bytes()).unwrap()
        });
    });
    let changed =
        mount.create(Ino::ROOT, b"dir", &NewInode { mode: 0o040_755, ..FILE }).unwrap().ino;
    for i in 0..10_000 {
        mount.create(changed, format!("file{i:05}").as_bytes(), &FILE).unwrap();
    }
    group.bench_function("lookup in a changed directory of 10000", |b| {
        let mut i = 0;
        b.iter(|| {
            i = (i + 7919) % 10_000;
            mount.lookup(changed, format!("file{i:05}").as_bytes()).unwrap()
        });
    });
    group.throughput(Throughput::Elements(10_000));
    for (title, dir) in [("base", Ino::ROOT), ("changed", changed)] {
        group.bench_function(format!("readdir of a {title} directory of 10000"), |b| {
            b.iter(|| {
                let mut bytes = 0;
                mount
                    .readdir(dir, 0, &mut |entry| {
                        bytes += entry.name.len();
                        true
                    })
                    .unwrap();
                bytes
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("files");
    group.throughput(Throughput::Elements(1));
    group.bench_function("create, write 100 bytes, unlink", |b| {
        b.iter(|| {
            let ino = mount.create(Ino::ROOT, b"new", &FILE).unwrap().ino;
            mount.write(ino, 0, &[1; 100]).unwrap();
            mount.unlink(Ino::ROOT, b"new").unwrap();
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let content = vec![7; LARGE];
    let image = Image::new(256 << 20, |root| fs::write(root.join("base"), &content).unwrap());
    let mount = image.mount("main");
    let base = mount.lookup(Ino::ROOT, b"base").unwrap().ino;
    let changed = make(&mount, "changed", &content);
    let region = image.region();
    let at = match mount.extent(base, 0).unwrap() {
        daxfs::Extent::Data { at, .. } => at,
        other => panic!("{other:?}"),
    };
    for (title, step) in [("4 KiB", 4096), ("64 KiB", 65_536), ("1 MiB", 1 << 20)] {
        for order in ["sequential", "random"] {
            let offsets = match order {
                "random" => shuffled(step),
                _ => (0..LARGE as u64).step_by(step).collect(),
            };
            let mut group = c.benchmark_group(format!("{order} read, {title}"));
            group.throughput(Throughput::Bytes(LARGE as u64));
            let mut buffer = vec![0; step];
            group.bench_function("memcpy", |b| {
                b.iter(|| {
                    for &offset in &offsets {
                        let from = &content[offset as usize..offset as usize + step];
                        buffer.copy_from_slice(black_box(from));
                        black_box(&buffer);
                    }
                });
            });
            group.bench_function("copy out of the range", |b| {
                b.iter(|| {
                    for &offset in &offsets {
                        let from = RegionOffset::new(at.get() + offset);
                        region.copy_out(from, &mut buffer).unwrap();
                    }
                });
            });
            for (what, ino) in [("base file", base), ("changed file", changed)] {
                group.bench_function(what, |b| {
                    b.iter(|| {
                        for &offset in &offsets {
                            mount.read(ino, offset, &mut buffer).unwrap();
                        }
                    });
                });
            }
            group.finish();
        }
    }
}

fn writes(c: &mut Criterion) {
    let image = Image::empty(512 << 20);
    let mount = image.mount("main");
    for (title, step) in [("4 KiB", 4096), ("1 MiB", 1 << 20)] {
        let data = vec![5; step];
        let mut group = c.benchmark_group(format!("write, {title}"));
        group.throughput(Throughput::Bytes(LARGE as u64));
        let mut target = vec![0; LARGE];
        group.bench_function("memcpy", |b| {
            b.iter(|| {
                for offset in (0..LARGE).step_by(step) {
                    target[offset..offset + step].copy_from_slice(black_box(&data));
                }
                black_box(&target);
            });
        });
        let rewritten = make(&mount, "rewritten", &vec![1; LARGE]);
        group.bench_function("rewrite in place", |b| {
            b.iter(|| {
                for offset in (0..LARGE as u64).step_by(step) {
                    mount.write(rewritten, offset, &data).unwrap();
                }
            });
        });
        mount.unlink(Ino::ROOT, b"rewritten").unwrap();
        group.bench_function("first write", |b| {
            b.iter_batched(
                || mount.create(Ino::ROOT, b"new", &FILE).unwrap().ino,
                |ino| {
                    for offset in (0..LARGE as u64).step_by(step) {
                        mount.write(ino, offset, &data).unwrap();
                    }
                    mount.unlink(Ino::ROOT, b"new").unwrap();
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

fn branches(c: &mut Criterion) {
    let mut group = c.benchmark_group("branches");
    group.sample_size(20);
    let image = Image::empty(1200 << 20);
    let mount = image.mount("main");
    group.bench_function("create and abort, nothing written", |b| {
        b.iter(|| {
            mount.create_branch(&name("b"), None).unwrap();
            mount.abort().unwrap();
        });
    });
    drop(mount);
    for mib in [1, 64, 1024] {
        ending(&mut group, "commit", mib, |mount| mount.commit().unwrap());
        ending(&mut group, "abort", mib, |mount| mount.abort().unwrap());
    }
    group.finish();
}

/// How long ending a branch takes after so much was written; the writing is not counted. The parent
/// is nearly empty: a mount that discards a branch reads its parent's log again.
fn ending(
    group: &mut BenchmarkGroup<'_, WallTime>,
    title: &str,
    mib: usize,
    end: impl Fn(&TestMount),
) {
    let image = Image::empty(1200 << 20);
    let mount = image.mount("main");
    let data = vec![3; 1 << 20];
    let cold = vec![1_u8; 128 << 20];
    group.bench_function(BenchmarkId::new(title, format!("{mib} MiB")), |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                mount.create_branch(&name("b"), None).unwrap();
                let ino = mount.create(Ino::ROOT, b"big", &FILE).unwrap().ino;
                for i in 0..mib {
                    write_at(&mount, ino, i << 20, &data);
                }
                // Writing a lot leaves the caches cold: so that only what ending costs differs, they
                // are in any case.
                black_box(cold.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
                let start = Instant::now();
                end(&mount);
                spent += start.elapsed();
                // As a kernel does by and by.
                mount.tick(1).unwrap();
                if mount.lookup(Ino::ROOT, b"big").is_ok() {
                    mount.unlink(Ino::ROOT, b"big").unwrap();
                }
            }
            spent
        });
    });
}

fn write_at(mount: &TestMount, ino: Ino, offset: usize, data: &[u8]) {
    let mut done = 0;
    while done < data.len() {
        done += mount.write(ino, (offset + done) as u64, &data[done..]).unwrap();
    }
}

/// How long mounting takes that replays what `fill` left in the log of main. The range is mapped and
/// looked through before: a kernel has it mapped all the time.
fn replay(
    group: &mut BenchmarkGroup<'_, WallTime>,
    title: &str,
    delta: u64,
    fill: impl FnOnce(&TestMount),
) {
    let image = Image::empty(delta);
    let mount = image.mount("main");
    fill(&mount);
    mount.unmount().unwrap();
    let mut entries = 0;
    let volume = daxfs::Volume::open(StdPlatform, image.region()).unwrap();
    let mut count = |_: RegionOffset, _: &LogEntry<'_>| {
        entries += 1;
        true
    };
    volume.log(&name("main"), &mut count).unwrap();
    let options = MountOptions { exclusive: true, ..Default::default() };
    let looked_through = || {
        let region = image.region();
        let mut page = vec![0; 1 << 20];
        for at in (0..region.size()).step_by(page.len()) {
            let len = page.len().min((region.size() - at) as usize);
            region.copy_out(RegionOffset::new(at), &mut page[..len]).unwrap();
        }
        region
    };
    group.throughput(Throughput::Elements(entries));
    group.bench_function(format!("replay, {entries} entries: {title}"), |b| {
        b.iter_batched(
            looked_through,
            |region| Mount::new(StdPlatform, region, &options).unwrap(),
            BatchSize::PerIteration,
        );
    });
    let mount = Mount::new(StdPlatform, image.region(), &options).unwrap();
    let info = mount.info();
    println!(
        "memory: {} bytes for {} changed inodes, {} changed names",
        info.memory, info.changed_inodes, info.changed_names
    );
    mount.unmount().unwrap();
}

fn mounting(c: &mut Criterion) {
    let mut group = c.benchmark_group("mounting");
    group.sample_size(10);
    let file = |i: u64| format!("file{i:06}");
    let create =
        |mount: &TestMount, i| mount.create(Ino::ROOT, file(i).as_bytes(), &FILE).unwrap().ino;
    replay(&mut group, "creates", 64 << 20, |mount| {
        for i in 0..200_000 {
            create(mount, i);
        }
    });
    replay(&mut group, "files unpacked (create, write, mode, times)", 256 << 20, |mount| {
        for i in 0..50_000 {
            let ino = create(mount, i);
            mount.write(ino, 0, b"x").unwrap();
            let mode = SetAttributes { mode: Some(0o755), ..Default::default() };
            mount.setattr(ino, &mode).unwrap();
            let now = Some(Timestamp::new(i as i64, 0));
            let times = SetAttributes { atime: now, mtime: now, ..Default::default() };
            mount.setattr(ino, &times).unwrap();
        }
    });
    replay(&mut group, "pages of one file, in random order", 400 << 20, |mount| {
        let ino = create(mount, 0);
        for round in 0..4 {
            for offset in shuffled(4096) {
                mount.write(ino, round * LARGE as u64 + offset, b"x").unwrap();
            }
        }
    });
    replay(&mut group, "modes and owners of 50000 files", 64 << 20, |mount| {
        let files: Vec<Ino> = (0..50_000).map(|i| create(mount, i)).collect();
        for round in 0..5 {
            for &ino in &files {
                let owner = SetAttributes { uid: Some(round), ..Default::default() };
                mount.setattr(ino, &owner).unwrap();
            }
        }
    });
    let image = Image::new(64 << 20, |root| {
        for dir in 0..200 {
            fs::create_dir(root.join(format!("{dir}"))).unwrap();
            for i in 0..500 {
                File::create(root.join(format!("{dir}/file{i}"))).unwrap();
            }
        }
    });
    group.throughput(Throughput::Elements(100_200));
    group.bench_function("validate, 100200 inodes", |b| {
        b.iter(|| validate(&StdPlatform, &image.region(), &mut |p| panic!("{p}")).unwrap());
    });
    group.finish();
}

fn threads(c: &mut Criterion) {
    let content = vec![7; LARGE];
    let image = Image::new(64 << 20, |root| fs::write(root.join("base"), &content).unwrap());
    let mount = image.mount("main");
    let base = mount.lookup(Ino::ROOT, b"base").unwrap().ino;
    let mut group = c.benchmark_group("threads reading one file, 4 KiB");
    for count in [1, 2, 4] {
        group.throughput(Throughput::Bytes((count * LARGE) as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    for _ in 0..count {
                        scope.spawn(|| {
                            let mut buffer = [0; 4096];
                            for offset in (0..LARGE as u64).step_by(4096) {
                                mount.read(base, offset, &mut buffer).unwrap();
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

// The macro makes a public function without documentation.
#[allow(missing_docs, reason = "it is the macro's")]
mod group {
    use super::*;
    criterion_group!(benches, names, reads, writes, branches, mounting, threads);
}
criterion_main!(group::benches);
