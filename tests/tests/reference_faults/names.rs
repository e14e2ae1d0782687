//! Directories and inode numbers.

use crate::{FILE, content, mount, scratch};
use daxfs::{Ino, RenameMode};
use daxfs_tests::builder::{ImageBuilder, Kind, ino};
use daxfs_tests::image::{Scratch, TestMount, problems, read_only};
use std::collections::{BTreeMap, BTreeSet};

/// The names in the root directory; each is listed once.
fn names(mount: &TestMount) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    mount
        .readdir(Ino::ROOT, 0, &mut |entry| {
            let once = names.insert(entry.name.to_vec());
            assert!(once, "{} is listed twice", entry.name.escape_ascii());
            true
        })
        .unwrap();
    names
}

/// readdir listed deleted and renamed-away names, and missed the targets of renames.
#[test]
fn readdir_lists_what_there_is() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let mut expected = names(&mount);
    for name in [b"gone", b"from", b"over"] {
        mount.create(Ino::ROOT, name, &FILE).unwrap();
    }
    mount.unlink(Ino::ROOT, b"gone").unwrap();
    mount.rename(Ino::ROOT, b"from", Ino::ROOT, b"to", RenameMode::Replace).unwrap();
    // The same with names of the base image: removed, renamed, renamed over.
    mount.unlink(Ino::ROOT, b"fifo").unwrap();
    mount.rename(Ino::ROOT, b"link", Ino::ROOT, b"new", RenameMode::Replace).unwrap();
    mount.rename(Ino::ROOT, b"over", Ino::ROOT, b"empty", RenameMode::Replace).unwrap();
    for name in ["fifo", "link"] {
        assert!(expected.remove(name.as_bytes()));
    }
    for name in ["to", "new"] {
        assert!(expected.insert(name.as_bytes().to_vec()));
    }
    assert_eq!(names(&mount), expected);
    mount.unmount().unwrap();
    assert_eq!(names(&crate::mount(&scratch)), expected);
}

/// Everything below the root directory: path, and inode number.
fn tree(mount: &TestMount) -> BTreeMap<Vec<u8>, Ino> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(Ino::ROOT, Vec::new())];
    while let Some((dir, path)) = pending.pop() {
        mount
            .readdir(dir, 0, &mut |entry| {
                let path = [&path[..], b"/", entry.name].concat();
                if entry.kind == daxfs::FileType::Directory {
                    pending.push((entry.ino, path.clone()));
                }
                found.insert(path, entry.ino);
                true
            })
            .unwrap();
    }
    found
}

/// Inode numbers of new files started at 2: a new file took the identity of a base file.
#[test]
fn new_files_have_inode_numbers_of_their_own() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let base = tree(&mount);
    assert_eq!(base.len() as u64, ino::COUNT - 1);
    let attributes = |mount: &TestMount| -> Vec<_> {
        base.values().map(|&ino| mount.getattr(ino).unwrap()).collect()
    };
    let before = attributes(&mount);
    let mut used: BTreeSet<Ino> = base.values().copied().chain([Ino::ROOT]).collect();
    for i in 0..50 {
        let made = mount.create(Ino::ROOT, format!("f{i}").as_bytes(), &FILE).unwrap();
        assert!(used.insert(made.ino), "{:?} was in use", made.ino);
    }
    // Nor are they used again by the next mount, or by a branch made from this one.
    mount.unmount().unwrap();
    let mount = crate::mount(&scratch);
    mount.create_branch(&daxfs_tests::image::name("child"), None).unwrap();
    for i in 0..50 {
        let made = mount.create(Ino::ROOT, format!("g{i}").as_bytes(), &FILE).unwrap();
        assert!(used.insert(made.ino), "{:?} was in use", made.ino);
    }
    let listed = tree(&mount);
    assert_eq!(listed.values().collect::<BTreeSet<_>>().len(), listed.len());
    // The root directory has changed, the base files have not.
    assert_eq!(attributes(&mount), before);
    mount.commit().unwrap();
    assert_eq!(tree(&mount), listed);
}

/// A first mount that was read-only was refused: only a mount that writes made `main`.
#[test]
fn the_first_mount_may_be_read_only() {
    for kind in [Kind::Static, Kind::Plain, Kind::Segmented] {
        let image = ImageBuilder::new(kind).build();
        let scratch = Scratch::new();
        scratch.fill(&image);
        for region in [scratch.region(), scratch.fixed()] {
            let options = read_only(None);
            let mount = daxfs::Mount::new(daxfs::std_platform::StdPlatform, region, &options);
            let mount = mount.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert_eq!(tree(&mount).len() as u64, ino::COUNT - 1, "{kind:?}");
            let link = mount.lookup(Ino::ROOT, b"link").unwrap();
            let mut target = [0; 20];
            assert_eq!(mount.readlink(link.ino, &mut target).unwrap(), 8);
            assert_eq!(content(&mount, b"empty"), b"");
            mount.unmount().unwrap();
        }
        assert_eq!(problems(&scratch.region()), [""; 0], "{kind:?}");
    }
}
