//! Any tree, through an image and the engine, is the tree it was.
//!
//! `PROPTEST_CASES=N cargo test -p mkdaxfs --test round_trip` runs more cases.

mod common;

use common::{Workspace, noise};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Attributes, FileType, Ino, Mount, MountOptions, Region, validate};
use mkdaxfs::{BuildOptions, DeltaSize};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

type Name = Vec<u8>;

#[derive(Clone, Debug)]
enum Node {
    File {
        runs: Vec<Run>,
        mode: u32,
        mtime: u64,
    },
    Directory {
        children: BTreeMap<Name, Node>,
        mode: u32,
    },
    Symlink(Vec<u8>),
    Fifo {
        mode: u32,
    },
    /// Another name for one of the files made before, if there is one.
    HardLink(prop::sample::Index),
}

/// A part of a file's content.
#[derive(Clone, Debug)]
enum Run {
    Noise(u64, usize),
    Zeros(usize),
    Hole(usize),
}

fn name() -> impl Strategy<Value = Name> {
    let any_byte = (1..=255_u8).prop_filter("no slash", |&b| b != b'/');
    let odd = vec(any_byte.clone(), 1..12);
    let longest = vec(any_byte, 128..=128);
    prop_oneof![6 => "[a-c]{1,3}".prop_map(String::into_bytes), 3 => odd, 1 => longest]
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

/// Few seeds and lengths, so that contents repeat; lengths around blocks and windows.
fn run() -> impl Strategy<Value = Run> {
    let len = prop_oneof![0..100_usize, 4090..4100_usize, 1..300_000_usize, Just(1 << 18)];
    prop_oneof![
        (0..3_u64, prop_oneof![Just(5_usize), Just(4096), Just(70_000)])
            .prop_map(|(seed, len)| Run::Noise(seed, len)),
        (any::<u64>(), len.clone()).prop_map(|(seed, len)| Run::Noise(seed, len)),
        len.clone().prop_map(Run::Zeros),
        len.prop_map(Run::Hole),
    ]
}

fn leaf() -> impl Strategy<Value = Node> {
    let target = vec((1..=255_u8).prop_filter("no NUL", |&b| b != 0), 1..200);
    let file = (vec(run(), 0..4), 0..0o10000_u32, 0..1_u64 << 33)
        .prop_map(|(runs, mode, mtime)| Node::File { runs, mode, mtime });
    prop_oneof![
        6 => file,
        1 => target.prop_map(Node::Symlink),
        1 => (0..0o10000_u32).prop_map(|mode| Node::Fifo { mode }),
        1 => any::<prop::sample::Index>().prop_map(Node::HardLink),
    ]
}

fn children() -> impl Strategy<Value = BTreeMap<Name, Node>> {
    let node = leaf().prop_recursive(4, 60, 8, |inner| {
        (btree_map(name(), inner, 0..8), 0..0o10000_u32)
            .prop_map(|(children, mode)| Node::Directory { children, mode })
    });
    btree_map(name(), node, 0..8)
}

fn options() -> impl Strategy<Value = BuildOptions> {
    (any::<bool>(), any::<bool>(), 1..5_usize).prop_map(|(writable, large_alignment, threads)| {
        BuildOptions {
            writable: writable.then_some(DeltaSize::Bytes(2 << 20)),
            large_alignment,
            threads: NonZeroUsize::new(threads),
            ..BuildOptions::default()
        }
    })
}

fn create(directory: &Path, children: &BTreeMap<Name, Node>, files: &mut Vec<PathBuf>) {
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    for (name, node) in children {
        let path = directory.join(OsStr::from_bytes(name));
        match node {
            Node::File { runs, mode, mtime } => {
                let file = File::create(&path).unwrap();
                let mut end = 0;
                for run in runs {
                    end += match run {
                        Run::Noise(seed, len) => {
                            file.write_all_at(&noise(*seed, *len), end).unwrap();
                            *len as u64
                        }
                        Run::Zeros(len) => {
                            file.write_all_at(&vec![0; *len], end).unwrap();
                            *len as u64
                        }
                        Run::Hole(len) => *len as u64,
                    };
                }
                file.set_len(end).unwrap();
                let mtime = UNIX_EPOCH + Duration::new(*mtime, (*mtime % 1_000_000_000) as u32);
                file.set_modified(mtime).unwrap();
                // Whoever runs the test has to be able to read it.
                permit(&path, mode | 0o400);
                files.push(path);
            }
            Node::Directory { children, mode } => {
                fs::create_dir(&path).unwrap();
                create(&path, children, files);
                permit(&path, mode | 0o700);
            }
            Node::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Node::Fifo { mode } => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0).unwrap();
                permit(&path, *mode);
            }
            Node::HardLink(_) if files.is_empty() => {}
            Node::HardLink(index) => fs::hard_link(index.get(files), &path).unwrap(),
        }
    }
}

struct Mounted(Mount<StdPlatform>);

impl Mounted {
    fn open(image: &Path) -> Self {
        let file = File::open(image).unwrap();
        let region = || Region::new(MappedFile::new(&file, false).unwrap());
        validate(&StdPlatform, &region(), &mut |problem| panic!("{problem}")).unwrap();
        Self(Mount::new(StdPlatform, region(), &MountOptions::default()).unwrap())
    }

    /// Compares everything below a directory with what it was made of.
    fn compare(&self, ino: Ino, source: &Path) {
        let found = self.0.getattr(ino).unwrap();
        let real = fs::symlink_metadata(source).unwrap();
        assert_eq!(found.mode, real.mode(), "mode of {source:?}");
        assert_eq!((found.uid, found.gid), (real.uid(), real.gid()), "owner of {source:?}");
        let mtime = (found.mtime.sec, i64::from(found.mtime.nsec));
        assert_eq!(mtime, (real.mtime(), real.mtime_nsec()), "time of {source:?}");
        match found.kind {
            FileType::Regular => self.compare_content(&found, source),
            FileType::Symlink => {
                let target = fs::read_link(source).unwrap();
                let mut buffer = [0; 4096];
                let len = self.0.readlink(ino, &mut buffer).unwrap();
                assert_eq!(&buffer[..len], target.as_os_str().as_bytes(), "target of {source:?}");
                assert_eq!(found.size, real.len());
            }
            FileType::Directory => self.compare_directory(&found, source),
            _ => assert_eq!(found.size, 0, "size of {source:?}"),
        }
    }

    fn compare_content(&self, found: &Attributes, source: &Path) {
        let expected = fs::read(source).unwrap();
        assert_eq!(found.size, expected.len() as u64, "size of {source:?}");
        assert_eq!(found.nlink, 1, "links of {source:?}");
        let mut content = vec![0xaa; expected.len() + 1];
        let len = self.0.read(found.ino, 0, &mut content).unwrap();
        assert!(content[..len] == expected, "content of {source:?}");
    }

    fn compare_directory(&self, found: &Attributes, source: &Path) {
        let mut listed = BTreeMap::new();
        self.0
            .readdir(found.ino, 0, &mut |entry| {
                assert!(listed.insert(entry.name.to_vec(), entry.ino).is_none());
                true
            })
            .unwrap();
        let real: BTreeMap<_, _> = fs::read_dir(source)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().as_bytes().to_vec(), entry.path()))
            .collect();
        assert!(listed.keys().eq(real.keys()), "names in {source:?}");
        let mut subdirectories = 0;
        for (name, path) in &real {
            let child = self.0.lookup(found.ino, name).unwrap();
            assert_eq!(child.ino, listed[name], "{path:?}");
            subdirectories += u32::from(child.kind == FileType::Directory);
            self.compare(child.ino, path);
        }
        assert_eq!(found.nlink, 2 + subdirectories, "links of {source:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(256)
    ) })]

    #[test]
    fn any_tree_comes_back(children in children(), options in options()) {
        let ws = Workspace::new();
        create(&ws.source(), &children, &mut Vec::new());
        let report = ws.build(&options).unwrap();
        prop_assert_eq!(report.uuid.is_some(), options.writable.is_some());
        Mounted::open(&ws.output()).compare(Ino::ROOT, &ws.source());
    }
}
