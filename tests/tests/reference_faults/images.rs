//! Mount options, and images that `validate` has to refuse.

use crate::{errno, with_delta};
use daxfs::{Errno, MountOptions, parse_size};
use daxfs_format::superblock::Superblock;
use daxfs_tests::builder::{ImageBuilder, Kind, ino};
use daxfs_tests::field::{Structure, fields};
use daxfs_tests::image::{Image, Scratch, read_only};

/// `size=256M` was refused, although its own README used it: only plain bytes were taken.
#[test]
fn sizes_take_suffixes() {
    let size = |text: &str| {
        let options = format!("phys=0x100000000,size={text},rw");
        MountOptions::parse(options.as_bytes()).map(|options| options.size)
    };
    for (text, bytes) in [
        ("268435456", 256 << 20),
        ("0x10000000", 256 << 20),
        ("262144K", 256 << 20),
        ("262144k", 256 << 20),
        ("256M", 256 << 20),
        ("256m", 256 << 20),
        ("1G", 1 << 30),
        ("1g", 1 << 30),
        ("0x10M", 16 << 20),
    ] {
        assert_eq!(size(text).unwrap(), Some(bytes), "{text}");
    }
    for text in ["", "M", "256MB", "256 M", "-1", "+1", "1T", "99999999999G", "256M256M", "0x"] {
        assert_eq!(errno(size(text)), Errno::EINVAL, "{text:?}");
        assert_eq!(parse_size(text.as_bytes()), None, "{text:?}");
    }
}

/// `image` is found wrong, because of `what`, by `validate` and by a mount that asks for it.
#[track_caller]
fn refused(image: &Image, what: &str) {
    let problems = image.problems();
    assert!(problems.iter().any(|problem| problem.contains(what)), "{what}: {problems:?}");
    let options = MountOptions { validate: true, ..read_only(None) };
    assert_eq!(errno(image.mount(&options)), Errno::EUCLEAN);
}

/// Where a field of a directory entry lies.
fn entry_field(image: &Image, dir: u64, index: u64, field: &str) -> u64 {
    let wanted = Structure::Dirent { dir, index };
    let found = fields(image).into_iter().find(|f| f.structure == wanted && f.name == field);
    found.expect("there is such an entry").at
}

fn images() -> [Image; 3] {
    [Kind::Static, Kind::Plain, Kind::Segmented].map(|kind| ImageBuilder::new(kind).build())
}

#[test]
fn good_images_pass() {
    for image in images() {
        assert_eq!(image.problems(), [""; 0]);
        image.mount(&MountOptions { validate: true, ..read_only(None) }).unwrap();
    }
}

/// Directory entries that name an ancestor passed.
#[test]
fn an_entry_that_names_an_ancestor_is_found() {
    for good in images() {
        for ancestor in [ino::ROOT, ino::DIR, ino::DIR_SUB] {
            let mut image = good.clone();
            // The file in /dir/sub becomes a directory further up.
            let entry = |field| entry_field(&good, ino::DIR_SUB, 0, field);
            image.set_number(entry("BaseDirent.ino"), 4, ancestor);
            let mode = [0o40_755, 0o40_755, 0, 0o40_700][ancestor as usize - 1];
            image.set_number(entry("BaseDirent.mode"), 4, mode);
            refused(&image, "an entry names an inode that has a name already");
        }
    }
}

/// Two entries of one name passed.
#[test]
fn duplicate_names_are_found() {
    for good in images() {
        let mut image = good.clone();
        let structure = |index| entry_field(&good, ino::DIR, index, "BaseDirent.name");
        let (file, sub) = (structure(0), structure(1));
        let name: [u8; 128] = good.get(file);
        image.put(sub, &name);
        let len = |index| entry_field(&good, ino::DIR, index, "BaseDirent.name_len");
        image.set_number(len(1), 2, good.number(len(0), 2));
        refused(&image, "duplicate name");
    }
}

/// Names with '/' in them passed.
#[test]
fn names_that_are_none_are_found() {
    for good in images() {
        let at = entry_field(&good, ino::DIR, 0, "BaseDirent.name");
        for bad in [b"f/le", b"../x", b"f\0le", b"/\0\0\0"] {
            let mut image = good.clone();
            image.put(at, bad);
            refused(&image, "name");
        }
    }
}

/// Regions that overlap passed.
#[test]
fn overlapping_regions_are_found() {
    let image = ImageBuilder::new(Kind::Plain).build();
    let raw: Superblock = image.get(0);
    assert_eq!(image.problems(), [""; 0]);
    let base = raw.base_offset.get();
    let moved: [fn(&mut Superblock, u64); 4] = [
        |raw, base| raw.delta_region_offset = base.into(),
        |raw, base| raw.branch_table_offset = base.into(),
        |raw, _| raw.base_offset = raw.branch_table_offset,
        |raw, _| raw.base_size = (raw.base_size.get() + 4096).into(),
    ];
    for (number, change) in moved.iter().enumerate() {
        let (mut hostile, mut raw) = (image.clone(), raw);
        change(&mut raw, base);
        hostile.put(0, &raw);
        let problems = hostile.problems();
        assert!(!problems.is_empty(), "change {number} was not found");
        assert_eq!(errno(hostile.mount(&read_only(None))), Errno::EUCLEAN, "change {number}");
    }
}

/// An image that is cut off, or larger than the range it is said to be in, is refused.
#[test]
fn an_image_that_is_larger_than_its_range_is_refused() {
    let scratch = with_delta(1 << 20);
    let mut image = Image::of_region(&scratch.region());
    image.bytes.truncate(image.bytes.len() - 4096);
    let cut = Scratch::new();
    cut.fill(&image);
    assert_eq!(errno(cut.mount(&read_only(None))), Errno::EUCLEAN);
}
