//! Identical contents are stored once, and only identical ones.

mod common;

use common::{Image, Workspace, assert_same_tree, noise};
use mkdaxfs::BuildReport;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};

fn place(image: &Image, path: &str) -> u64 {
    image.at(path).data_offset.get()
}

fn saved(report: &BuildReport) -> (u64, u64) {
    assert_eq!(report.data_bytes - report.stored_bytes, report.saved_bytes);
    (report.deduplicated_files, report.saved_bytes)
}

#[test]
fn duplicates_share_their_content_whatever_their_attributes() {
    let ws = Workspace::new();
    let content = noise(1, 10_000);
    ws.file("a", &content);
    ws.file("sub/b", &content);
    ws.file("sub/c", &content);
    ws.file("other", noise(2, 10_000));
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(saved(&report), (2, 20_000));
    assert_eq!(place(&image, "a"), place(&image, "sub/b"));
    assert_eq!(place(&image, "a"), place(&image, "sub/c"));
    assert_ne!(place(&image, "a"), place(&image, "other"));
}

#[test]
fn hard_links_share_their_content_and_are_files_of_their_own() {
    let ws = Workspace::new();
    ws.file("a", noise(1, 5000));
    fs::hard_link(ws.at("a"), ws.at("sub/b")).unwrap();
    // A duplicate of a linked file: the links follow it.
    ws.file("0", noise(1, 5000));
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(saved(&report), (2, 10_000));
    assert_ne!(image.find("a"), image.find("sub/b"));
    assert_eq!(place(&image, "a"), place(&image, "sub/b"));
    assert_eq!(place(&image, "a"), place(&image, "0"));
}

#[test]
fn files_that_differ_anywhere_are_kept_apart() {
    let ws = Workspace::new();
    for len in [100, 16 << 10, 17 << 10, 300 << 10, (16 << 20) + 10, 33 << 20] {
        let mut content = noise(1, len);
        ws.file(format!("{len}/original"), &content);
        ws.file(format!("{len}/copy"), &content);
        content[len - 1] ^= 1;
        ws.file(format!("{len}/last"), &content);
        content[0] ^= 1;
        ws.file(format!("{len}/first"), &content);
    }
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(report.deduplicated_files, 6);
}

#[test]
fn holes_and_stored_zeros_are_the_same_content() {
    let ws = Workspace::new();
    let len = 20 << 20;
    let holes = File::create(ws.at("holes")).unwrap();
    holes.set_len(len).unwrap();
    holes.write_all_at(b"data", 18 << 20).unwrap();
    let mut content = vec![0; len as usize];
    content[18 << 20..(18 << 20) + 4].copy_from_slice(b"data");
    ws.file("stored", &content);
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(saved(&report), (1, len));
}

#[test]
fn empty_files_save_nothing() {
    let ws = Workspace::new();
    ws.file("a", "");
    ws.file("b", "");
    let (report, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(saved(&report), (0, 0));
}

#[test]
fn equal_link_targets_are_stored_once() {
    let ws = Workspace::new();
    for name in ["a", "b", "sub/c"] {
        symlink("target", ws.at(name)).unwrap();
    }
    symlink("target2", ws.at("d")).unwrap();
    let (_, image) = ws.image();
    assert_same_tree(&ws.source(), &image);
    assert_eq!(place(&image, "a"), place(&image, "sub/c"));
    assert_ne!(place(&image, "a"), place(&image, "d"));
}
