//! The same tree gives the same image.

mod common;

use common::{Image, Workspace, noise};
use mkdaxfs::{BuildOptions, DeltaSize};
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

/// A tree with some of everything, its files made in the given order.
fn populate(ws: &Workspace, order: impl Iterator<Item = u64>) {
    for i in order {
        let content = noise(i % 70, 500 + (i as usize % 40) * 300);
        let path = ws.file(format!("d{}/f{i}", i % 7), content);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000 + i)).unwrap();
    }
    let large = noise(1, 20 << 20);
    for name in ["large", "copy"] {
        let path = ws.file(name, &large);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(77)).unwrap();
    }
}

fn options(threads: usize) -> BuildOptions {
    BuildOptions {
        threads: NonZeroUsize::new(threads),
        source_date_epoch: Some(1_000_100),
        ..Default::default()
    }
}

#[test]
fn threads_and_order_of_creation_do_not_matter() {
    let (one, other) = (Workspace::new(), Workspace::new());
    populate(&one, 0..300);
    populate(&other, (0..300).rev());
    for writable in [None, Some(DeltaSize::Bytes(1 << 20))] {
        let with = |threads| BuildOptions { writable, ..options(threads) };
        one.build(&with(1)).unwrap();
        let first = fs::read(one.output()).unwrap();
        for threads in [1, 2, 7] {
            other.build(&with(threads)).unwrap();
            assert!(fs::read(other.output()).unwrap() == first, "with {threads} threads");
        }
    }
}

#[test]
fn a_static_image_repeats_without_any_option() {
    let ws = Workspace::new();
    populate(&ws, 0..50);
    symlink("d1", ws.at("link")).unwrap();
    ws.build(&BuildOptions::default()).unwrap();
    let first = fs::read(ws.output()).unwrap();
    ws.build(&BuildOptions::default()).unwrap();
    assert!(fs::read(ws.output()).unwrap() == first);
}

#[test]
fn source_date_epoch_clamps_later_times_only() {
    let ws = Workspace::new();
    populate(&ws, [5, 150].into_iter());
    let (_, image) = ws.image_with(&options(2));
    assert_eq!(image.at("d5/f5").mtime_sec.get(), 1_000_005);
    assert_eq!(image.at("d3/f150").mtime_sec.get(), 1_000_100);
    assert_eq!(image.at("").mtime_sec.get(), 1_000_100, "made just now");
    assert_eq!(image.at("").mtime_nsec.get(), 0);
}

fn report_uuid(ws: &Workspace, options: &BuildOptions) -> [u8; 16] {
    ws.build(options).unwrap().uuid.expect("a writable image has a uuid")
}

#[test]
fn a_derived_uuid_depends_on_contents_and_a_random_one_does_not_repeat() {
    let ws = Workspace::new();
    populate(&ws, 0..10);
    let derived = BuildOptions { writable: Some(DeltaSize::Bytes(1 << 20)), ..options(2) };
    let random = BuildOptions { source_date_epoch: None, ..derived.clone() };
    let given = BuildOptions { uuid: Some([7; 16]), ..derived.clone() };
    assert_eq!(report_uuid(&ws, &given), [7; 16]);
    assert_ne!(report_uuid(&ws, &random), report_uuid(&ws, &random));

    let first = report_uuid(&ws, &derived);
    assert_eq!(report_uuid(&ws, &derived), first);
    // One byte of one file, with no change of size or (clamped) time.
    File::options()
        .write(true)
        .open(ws.at("large"))
        .unwrap()
        .write_all_at(b"?", 9_999_999)
        .unwrap();
    let file = File::options().write(true).open(ws.at("large")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(77)).unwrap();
    fs::remove_file(ws.at("copy")).unwrap();
    ws.file("copy", noise(1, 20 << 20));
    assert_ne!(report_uuid(&ws, &derived), first);
}

#[test]
fn the_reported_uuid_is_the_images() {
    let ws = Workspace::new();
    let (report, image) = ws.image();
    assert_eq!(report.uuid, None);
    assert_eq!(Image::read(&ws.output()).uuid(), [0; 16]);
    assert_eq!(image.uuid(), [0; 16]);
}
