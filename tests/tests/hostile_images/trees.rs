//! Directories that form circles, names that are none, links without an end, regions that overlap.

use crate::Victim;
use daxfs::{Geometry, Ino};
use daxfs_format::base::{BaseDirent, BaseInode, BaseSuperblock, DIRENT_SIZE, INODE_SIZE};
use daxfs_tests::builder::{ImageBuilder, Kind, ino};
use daxfs_tests::cases::Cases;
use daxfs_tests::history;
use daxfs_tests::image::{Image, read_only};
use daxfs_tests::walk::look;

/// Where things lie in the base of an image.
struct Base<'i> {
    image: &'i Image,
    start: u64,
    inodes: u64,
}

impl<'i> Base<'i> {
    fn of(image: &'i Image) -> Self {
        let start = Geometry::read(&image.region()).expect("a good image").base.start.get();
        let raw: BaseSuperblock = image.get(start);
        Self { image, start, inodes: start + raw.inode_offset.get() }
    }

    fn inode_at(&self, ino: u64) -> u64 {
        self.inodes + (ino - 1) * INODE_SIZE
    }

    fn inode(&self, ino: u64) -> BaseInode {
        self.image.get(self.inode_at(ino))
    }

    /// Where entry `index` of a directory lies.
    fn dirent_at(&self, dir: u64, index: u64) -> u64 {
        self.start + self.inode(dir).data_offset.get() + index * DIRENT_SIZE
    }
}

fn images() -> [(&'static str, Image); 4] {
    [
        ("sorted", ImageBuilder::new(Kind::Static).build()),
        ("unsorted", ImageBuilder::new(Kind::Static).unsorted().build()),
        ("plain", history::plain()),
        ("segmented", history::segmented()),
    ]
}

const DIRECTORIES: [u64; 4] = [ino::ROOT, ino::DIR, ino::DIR_SUB, ino::EMPTYDIR];

/// The good image with entry `index` of `dir` changed.
fn with_entry(base: &Base<'_>, dir: u64, index: u64, change: impl Fn(&mut BaseDirent)) -> Image {
    let mut hostile = base.image.clone();
    let at = base.dirent_at(dir, index);
    let mut entry: BaseDirent = hostile.get(at);
    change(&mut entry);
    hostile.put(at, &entry);
    hostile
}

#[test]
fn an_entry_that_names_an_ancestor_is_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for dir in DIRECTORIES {
            for index in 0..base.inode(dir).size.get() / DIRENT_SIZE {
                for ancestor in DIRECTORIES {
                    let mode = base.inode(ancestor).mode;
                    let hostile = with_entry(&base, dir, index, |entry| {
                        entry.ino = (ancestor as u32).into();
                        entry.mode = mode;
                    });
                    if hostile.bytes == image.bytes {
                        continue;
                    }
                    let name = format!("{kind}: entry {index} of {dir} names {ancestor}");
                    cases.run(&name, || victim.refuse_and_survive(&hostile));
                }
            }
        }
    }
    cases.finish(150);
}

#[test]
fn directories_that_share_their_entries_are_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for dir in DIRECTORIES {
            for other in DIRECTORIES.into_iter().filter(|other| *other != dir) {
                let mut hostile = image.clone();
                let (mut inode, from) = (base.inode(dir), base.inode(other));
                (inode.data_offset, inode.size) = (from.data_offset, from.size);
                hostile.put(base.inode_at(dir), &inode);
                let name = format!("{kind}: {dir} has the entries of {other}");
                cases.run(&name, || victim.refuse_and_survive(&hostile));
            }
        }
    }
    cases.finish(40);
}

#[test]
fn names_that_are_none_are_refused_and_harmless() {
    let bad: [&[u8]; 8] =
        [b"", b".", b"..", b"/", b"a/b", b"nul\0in it", b"\0", &[b'/'; daxfs_format::NAME_MAX]];
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for name in bad {
            for dir in [ino::ROOT, ino::DIR, ino::DIR_SUB] {
                let hostile = with_entry(&base, dir, 0, |entry| {
                    entry.name = [0; daxfs_format::NAME_MAX];
                    entry.name[..name.len()].copy_from_slice(name);
                    entry.name_len = (name.len() as u16).into();
                });
                let case = format!("{kind}: {:?} in {dir}", name.escape_ascii().to_string());
                cases.run(&case, || victim.refuse_and_survive(&hostile));
            }
        }
    }
    cases.finish(90);
}

#[test]
fn a_name_longer_than_its_field_is_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for len in [129_u16, 144, 255, 256, 4096, u16::MAX] {
            let hostile = with_entry(&base, ino::ROOT, 6, |entry| entry.name_len = len.into());
            let case = format!("{kind}: a name of {len} bytes");
            cases.run(&case, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(20);
}

#[test]
fn a_name_that_stands_twice_is_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for (one, two) in [(0, 1), (1, 0), (0, 7), (3, 4)] {
            let first: BaseDirent = image.get(base.dirent_at(ino::ROOT, one));
            let hostile = with_entry(&base, ino::ROOT, two, |entry| {
                (entry.name, entry.name_len) = (first.name, first.name_len);
            });
            let case = format!("{kind}: entries {one} and {two} have one name");
            cases.run(&case, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(16);
}

#[test]
fn an_order_that_is_claimed_but_not_kept_is_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    let image = ImageBuilder::new(Kind::Static).build();
    let base = Base::of(&image);
    for index in 0..7 {
        let mut hostile = image.clone();
        let (here, there) =
            (base.dirent_at(ino::ROOT, index), base.dirent_at(ino::ROOT, index + 1));
        let (one, two): (BaseDirent, BaseDirent) = (image.get(here), image.get(there));
        hostile.put(here, &two);
        hostile.put(there, &one);
        let case = format!("entries {index} and {} change places", index + 1);
        cases.run(&case, || victim.refuse_and_survive(&hostile));
    }
    cases.finish(7);
}

#[test]
fn entries_for_inodes_that_do_not_exist_are_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        for number in [0, ino::COUNT as u32 + 1, 1000, u32::MAX / 64, u32::MAX] {
            for dir in [ino::ROOT, ino::DIR, ino::DIR_SUB] {
                let hostile = with_entry(&base, dir, 0, |entry| entry.ino = number.into());
                let case = format!("{kind}: an entry of {dir} names {number}");
                cases.run(&case, || victim.refuse_and_survive(&hostile));
            }
        }
    }
    cases.finish(60);
}

#[test]
fn a_symbolic_link_ends_where_its_nul_is() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    for (kind, image) in images() {
        let base = Base::of(&image);
        let inode = base.inode(ino::LINK);
        let (at, size) = (base.start + inode.data_offset.get(), inode.size.get());
        let mut hostiles = Vec::new();
        let mut patched = |what: String, at: u64, byte: u8| {
            let mut hostile = image.clone();
            hostile.put(at, &byte);
            hostiles.push((what, hostile));
        };
        patched("no NUL at its end".into(), at + size, b'x');
        for byte in 0..size {
            patched(format!("a NUL at {byte}"), at + byte, 0);
        }
        for size in [0, 1, size - 1, size + 1, 4095, 4096, u64::MAX] {
            let mut hostile = image.clone();
            hostile.put(base.inode_at(ino::LINK), &BaseInode { size: size.into(), ..inode });
            hostiles.push((format!("{size} bytes long"), hostile));
        }
        for (what, hostile) in hostiles {
            let case = format!("{kind}: a link with {what}");
            cases.run(&case, || victim.refuse_and_survive(&hostile));
        }
    }
    cases.finish(60);
}

#[test]
fn links_in_a_circle_end() {
    let image = ImageBuilder::new(Kind::Static).build();
    let base = Base::of(&image);
    let at = base.start + base.inode(ino::LINK).data_offset.get();
    for target in [b"link/a/b", b"../link\0", b"/link/..", b"././link"] {
        let mut hostile = image.clone();
        hostile.put(at, target.as_slice());
        let inode = BaseInode {
            size: (target.iter().position(|&b| b == 0).unwrap_or(8) as u64).into(),
            ..base.inode(ino::LINK)
        };
        hostile.put(base.inode_at(ino::LINK), &inode);
        assert_eq!(hostile.problems(), Vec::<String>::new(), "a dangling link is a good link");
        let mount = hostile.mount(&read_only(None)).expect("a good image");
        look(&mount);
        let found = mount.resolve(b"/link", daxfs::LastLink::Follow);
        assert!(found.is_err(), "the link leads nowhere");
        let link = mount.resolve(b"/link", daxfs::LastLink::Keep).expect("the link itself");
        assert_eq!(link.ino, Ino::new(ino::LINK));
    }
}

/// A region of the range, by where its offset and the number of its parts stand.
struct Place {
    name: &'static str,
    offset: u64,
    /// Where the number of its parts stands; 0 where there is one part.
    count: u64,
    width: usize,
    part: u64,
}

const SEGMENT: u64 = 64 * 1024;

/// All regions whose place a superblock states.
const PLACES: [Place; 7] = [
    Place { name: "base", offset: 24, count: 32, width: 8, part: 1 },
    Place { name: "branch table", offset: 40, count: 48, width: 4, part: 128 },
    Place { name: "delta region", offset: 72, count: 80, width: 8, part: 1 },
    Place { name: "coordination block", offset: 176, count: 0, width: 0, part: 4096 },
    Place { name: "member table", offset: 184, count: 216, width: 4, part: 128 },
    Place { name: "segment map", offset: 192, count: 208, width: 4, part: 8 },
    Place { name: "segments", offset: 200, count: 208, width: 4, part: SEGMENT },
];

impl Place {
    fn len(&self, image: &Image) -> u64 {
        match self.count {
            0 => self.part,
            at => image.number(at, self.width) * self.part,
        }
    }

    fn overlaps(&self, other: &Self, image: &Image) -> bool {
        let (start, other_start) = (image.number(self.offset, 8), image.number(other.offset, 8));
        start < other_start.saturating_add(other.len(image))
            && other_start < start.saturating_add(self.len(image))
    }
}

#[test]
fn regions_that_overlap_are_refused_and_harmless() {
    let (mut cases, victim) = (Cases::new(), Victim::default());
    let image = history::segmented();
    for place in &PLACES {
        let old = image.number(place.offset, 8);
        for other in PLACES.iter().filter(|other| other.name != place.name) {
            let start = image.number(other.offset, 8);
            for offset in [start, start.wrapping_sub(4096), start + 4096, start.wrapping_sub(8)] {
                if offset == old {
                    continue;
                }
                let mut hostile = image.clone();
                hostile.set_number(place.offset, 8, offset);
                // Between some regions there is room.
                if !place.overlaps(other, &hostile) {
                    continue;
                }
                let case = format!("{} moved to {offset:#x}, at the {}", place.name, other.name);
                cases.run(&case, || victim.refuse_and_survive(&hostile));
            }
        }
        // Over the superblock, over the end, around the whole.
        for offset in [0, 8, 2048, 4088, image.bytes.len() as u64, u64::MAX - 4095] {
            let mut hostile = image.clone();
            hostile.set_number(place.offset, 8, offset);
            if offset != old {
                let case = format!("{} moved to {offset:#x}", place.name);
                cases.run(&case, || victim.refuse_and_survive(&hostile));
            }
        }
        if place.width > 0 {
            let count = image.number(place.count, place.width);
            let max = u64::MAX >> (64 - 8 * place.width);
            for count in [count * 2, count + 4096, count + 100_000, max / 2, max] {
                let mut hostile = image.clone();
                hostile.set_number(place.count, place.width, count);
                let case = format!("{} grown to {count:#x}", place.name);
                cases.run(&case, || victim.refuse(&hostile));
            }
        }
    }
    cases.finish(150);
}
