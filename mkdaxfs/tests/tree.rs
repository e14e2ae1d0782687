//! What a tree looks like in its image: types, attributes, names, places.

mod common;

use common::{Workspace, assert_same_tree, noise};
use daxfs_format::base::{FEATURES_MAGIC, encode_dev};
use mkdaxfs::{BuildOptions, DeltaSize};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn every_kind_of_file_comes_back() {
    let ws = Workspace::new();
    ws.file("hello.txt", "hello, world\n");
    ws.file("empty/zero", "");
    ws.file("deep/a/b/c/hundred-k", noise(1, 100_000));
    ws.file("exactly-one-page", noise(2, 4096));
    ws.file("one-page-plus-one", noise(3, 4097));
    ws.file("dir with space/f i l e", "abc");
    ws.file("larger-than-a-window", noise(4, 3 << 20));
    fs::create_dir(ws.at("no-entries")).unwrap();
    symlink("../hello.txt", ws.at("etc/link")).unwrap();
    symlink("/absolute/missing", ws.at("etc/dangling")).unwrap();
    symlink(".", ws.at("etc/self")).unwrap();
    rustix::fs::mknodat(CWD, ws.at("fifo"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    let _socket = UnixListener::bind(ws.at("socket")).unwrap();

    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(report.files, 7);
    assert_eq!(report.directories, 9);
    assert_eq!(report.symlinks, 3);
    assert_eq!(report.special, 2);
    assert_eq!(report.image_bytes, image.bytes.len() as u64);
}

#[test]
fn device_nodes_keep_their_numbers() {
    let ws = Workspace::new();
    let nodes =
        [("null", FileType::CharacterDevice, 1, 3), ("big", FileType::BlockDevice, 259, 300)];
    for (name, kind, major, minor) in nodes {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(CWD, ws.at(name), kind, Mode::from(0o600), device) {
            Ok(()) => {}
            Err(rustix::io::Errno::PERM) => {
                eprintln!("skipped: making device nodes is not permitted here");
                return;
            }
            Err(e) => panic!("{e}"),
        }
    }
    let (_, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    for (name, _, major, minor) in nodes {
        assert_eq!(image.at(name).rdev.get(), encode_dev(major, minor), "{name}");
    }
}

#[test]
fn modes_owners_and_times_come_back() {
    let ws = Workspace::new();
    for mode in [0o4755, 0o2755, 0o1777, 0o000, 0o7777, 0o640] {
        let path = ws.file(format!("file-{mode:o}"), "");
        // Not 0 for everybody: an unprivileged test run has to be able to read it.
        let mode = if mode == 0 { 0o400 } else { mode };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let sticky = ws.at("sticky");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, Permissions::from_mode(0o1777)).unwrap();
    let owned = ws.file("owned", "x");
    if let Err(e) = chown(&owned, Some(1000), Some(u32::MAX - 1)) {
        eprintln!("owners stay what they are: {e}");
    }
    set_mtime(&ws.file("old", ""), -12_345, 678);
    set_mtime(&ws.file("late", ""), 1 << 33, 999_999_999);
    symlink("anywhere", ws.at("link")).unwrap();
    set_mtime(&ws.at("link"), 1_000_000_000, 1);
    set_mtime(&ws.source(), 86_400, 0);

    let (_, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(image.at("old").mtime_sec.get(), -12_345);
    assert_eq!(image.at("").mtime_sec.get(), 86_400);
}

#[test]
fn names_of_128_bytes_fit_and_names_are_bytes() {
    let ws = Workspace::new();
    ws.file("n".repeat(128), "long");
    ws.file(OsStr::from_bytes(b"latin-1 \xe9\xff"), "bytes");
    ws.file("new\nline", "control");
    ws.file("...", "dots");
    let (_, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(image.content_at("n".repeat(128)), b"long");
}

#[test]
fn an_empty_tree_is_an_image() {
    let ws = Workspace::new();
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!((report.files, report.directories), (0, 1));
    assert_eq!(image.base.inode_count.get(), 1);
}

#[test]
fn many_entries_in_one_directory_come_back_sorted() {
    let ws = Workspace::new();
    for i in 0..5000 {
        ws.file(format!("{i}"), format!("{i}"));
    }
    let (_, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
}

#[test]
fn paths_longer_than_the_system_takes_at_once_are_read() {
    let ws = Workspace::new();
    let name = "d".repeat(120);
    // Built from the inside out, because the whole path cannot be named.
    let leaf = ws.path().join("leaf");
    fs::create_dir(&leaf).unwrap();
    fs::write(leaf.join("file"), "deep").unwrap();
    for _ in 0..40 {
        let outer = ws.path().join("outer");
        fs::create_dir(&outer).unwrap();
        fs::rename(&leaf, outer.join(&name)).unwrap();
        fs::rename(&outer, &leaf).unwrap();
    }
    fs::rename(&leaf, ws.at("top")).unwrap();

    let (report, image) = ws.image();
    assert_eq!(report.directories, 42);
    let ino = (0..40).fold(image.find("top").unwrap(), |ino, _| {
        let entries = image.entries(ino);
        assert_eq!(entries[0].0, name.as_bytes());
        entries[0].1.ino.get()
    });
    let file = image.entries(ino)[0].1.ino.get();
    assert_eq!(image.content(file), b"deep");
}

#[test]
fn holes_stay_holes_and_read_as_zeros() {
    let ws = Workspace::new();
    let file = File::create(ws.at("sparse")).unwrap();
    file.set_len(100 << 20).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"middle", (50 << 20) + 123).unwrap();
    file.write_all_at(b"end", (100 << 20) - 3).unwrap();
    let small = File::create(ws.at("small-sparse")).unwrap();
    small.set_len(100_000).unwrap();
    small.write_all_at(b"x", 99_999).unwrap();
    // Zeros that the source stores need not be stored either.
    ws.file("zeros", vec![0; 8 << 20]);

    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert!(report.image_bytes > 108 << 20);
    let stored = fs::metadata(ws.output()).unwrap().blocks() * 512;
    assert!(stored < 1 << 20, "{stored} bytes stored");
}

#[test]
fn a_static_image_is_pure_v3() {
    let ws = Workspace::new();
    ws.file("file", "content");
    let (_, image) = ws.image();
    let sb = &image.superblock;
    assert_eq!(sb.base_offset.get(), 4096);
    assert_eq!(sb.base_offset.get() + sb.base_size.get(), image.bytes.len() as u64);
    assert_eq!(sb.branch_table_offset.get(), 0);
    assert_eq!(sb.branch_table_entries.get(), 0);
    assert_eq!(sb.delta_region_offset.get(), 0);
    assert_eq!(sb.delta_region_size.get(), 0);
    assert_eq!(sb.delta_alloc_offset.get(), 0);
    assert_eq!(sb.next_inode_id.get(), u64::from(image.base.inode_count.get()) + 1);
    assert!(image.bytes[96..4096].iter().all(|&b| b == 0), "reserved bytes of the superblock");
    assert_eq!(image.base.features_magic.get(), FEATURES_MAGIC);
    assert_eq!(image.base.features.get(), 3);
    assert_eq!(image.base.reserved, [0; 4040]);
}

#[test]
fn a_writable_image_fills_the_size_asked_for() {
    let ws = Workspace::new();
    ws.file("file", noise(1, 100_000));
    let total = (16 << 20) + 5000;
    let options =
        BuildOptions { writable: Some(DeltaSize::FillTo(total)), ..BuildOptions::default() };
    let (report, image) = ws.image_with(&options);
    assert_same_tree(&ws.source(), &image);
    assert_eq!(image.bytes.len() as u64, total / 4096 * 4096, "in whole pages");
    let sb = &image.superblock;
    assert_eq!(sb.branch_table_offset.get(), 4096);
    assert_eq!(sb.branch_table_entries.get(), 256);
    assert_eq!(sb.base_offset.get(), 0x9000);
    assert_eq!(sb.delta_region_offset.get(), 0x9000 + sb.base_size.get());
    assert_eq!(sb.delta_region_size.get(), report.delta_bytes);
    assert_eq!(report.uuid, Some(image.uuid()));
    let stored = fs::metadata(ws.output()).unwrap().blocks() * 512;
    assert!(stored < 2 << 20, "the delta region is a hole: {stored} bytes stored");
}

#[test]
fn large_files_are_aligned_on_request() {
    let ws = Workspace::new();
    ws.file("a", noise(1, (2 << 20) + 5));
    ws.file("b", noise(2, 100));
    ws.file("c", noise(3, 4 << 20));
    ws.file("d", noise(4, (2 << 20) - 1));
    let options = BuildOptions { large_alignment: true, ..Default::default() };
    let (_, image) = ws.image_with(&options);
    assert_same_tree(&ws.source(), &image);
    for name in ["a", "c"] {
        let at = image.superblock.base_offset.get() + image.at(name).data_offset.get();
        assert_eq!(at % (2 << 20), 0, "{name}");
    }
    let (_, plain) = ws.image();
    assert!(plain.bytes.len() < image.bytes.len(), "without the option there are no gaps");
}

#[test]
fn inode_numbers_go_breadth_first_in_the_order_of_names() {
    let ws = Workspace::new();
    ws.file("b/file", "1");
    ws.file("a/file", "2");
    ws.file("a/deep/file", "3");
    ws.file("c", "4");
    let (_, image) = ws.image();
    let numbers = ["", "a", "b", "c", "a/deep", "a/file", "b/file", "a/deep/file"]
        .map(|path| image.find(path).unwrap());
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
}
