//! Space ahead of time, zeros in the place of data, and what is behind the end of a file.

use daxfs::{Errno, Ino, NewInode, Pages, Seek, SetAttributes};
use daxfs_tests::builder::{ImageBuilder, Kind, ino};
use daxfs_tests::image::{Scratch, TestMount, problems, read_write};

const PAGE: u64 = 4096;

/// A mount that writes, alone, and the memory it is on.
struct World {
    scratch: Scratch,
    mount: TestMount,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.fill(&ImageBuilder::new(Kind::Segmented).build());
        let mount = scratch.mount(&read_write(Some("work"))).unwrap();
        Self { scratch, mount }
    }

    /// The same after a remount, and a look at the image.
    fn again(self) -> Self {
        let Self { scratch, mount } = self;
        mount.unmount().unwrap();
        assert_eq!(problems(&scratch.region()), Vec::<String>::new());
        let mount = scratch.mount(&read_write(Some("work"))).unwrap();
        Self { scratch, mount }
    }

    fn file(&self, name: &[u8]) -> Ino {
        let new = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };
        self.mount.create(Ino::ROOT, name, &new).unwrap().ino
    }

    fn content(&self, ino: Ino) -> Vec<u8> {
        let mut content = vec![1; self.mount.getattr(ino).unwrap().size as usize];
        assert_eq!(self.mount.read(ino, 0, &mut content).unwrap(), content.len());
        content
    }

    fn resize(&self, ino: Ino, size: u64) {
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        self.mount.setattr(ino, &changes).unwrap();
    }

    /// Uses all space that is left.
    fn fill(&self) {
        let ino = self.file(b"rest");
        let mut end = 0;
        while let Ok(written @ 1..) = self.mount.write(ino, end, &[7; PAGE as usize]) {
            end += written as u64;
        }
    }
}

#[test]
fn allocated_holes_are_zeros_that_can_be_written_to_when_nothing_is_left() {
    let world = World::new();
    let ino = world.file(b"sparse");
    world.mount.write(ino, 5 * PAGE, b"stored").unwrap();
    let now = world.mount.allocate(ino, PAGE + 1, 8 * PAGE, &|| Ok(())).unwrap();
    assert_eq!(now.size, 9 * PAGE + 1);
    assert_eq!(now.blocks, 9 * PAGE / 512, "the first page stays a hole");
    assert_eq!(world.mount.seek(ino, 0, Seek::Data).unwrap(), Some(PAGE));
    let mut expected = vec![0; 9 * PAGE as usize + 1];
    expected[5 * PAGE as usize..][..6].copy_from_slice(b"stored");
    assert_eq!(world.content(ino), expected);

    world.fill();
    let other = world.file(b"other");
    assert_eq!(world.mount.write(other, 0, b"x").unwrap_err().errno(), Errno::ENOSPC);
    let data = vec![3; 8 * PAGE as usize];
    assert_eq!(world.mount.write(ino, PAGE + 1, &data).unwrap(), data.len());
    assert_eq!(world.again().content(ino)[PAGE as usize + 1..], data);
}

#[test]
fn what_cannot_be_allocated_leaves_the_size_as_it_was() {
    let world = World::new();
    let ino = world.file(b"big");
    world.mount.write(ino, 0, b"stored").unwrap();
    let error = world.mount.allocate(ino, 0, 1 << 30, &|| Ok(())).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOSPC);
    assert_eq!(world.content(ino), b"stored");
    assert_eq!(
        world.mount.allocate(ino, 1, u64::MAX, &|| Ok(())).unwrap_err().errno(),
        Errno::EFBIG
    );
    assert_eq!(world.again().content(ino), b"stored");
}

#[test]
fn zeroing_replaces_data_and_leaves_holes_and_the_size() {
    let world = World::new();
    let ino = world.file(b"file");
    world.mount.write(ino, 4 * PAGE, &[5; 3 * PAGE as usize]).unwrap();
    let now = world.mount.zero(ino, 10, 5 * PAGE, &|| Ok(())).unwrap();
    assert_eq!((now.size, now.blocks), (7 * PAGE, 3 * PAGE / 512));
    let mut expected = vec![0; 5 * PAGE as usize + 10];
    expected.resize(7 * PAGE as usize, 5);
    assert_eq!(world.content(ino), expected);
    // Far behind the end, and across it.
    world.mount.zero(ino, 1 << 40, PAGE, &|| Ok(())).unwrap();
    let now = world.mount.zero(ino, 6 * PAGE, u64::MAX, &|| Ok(())).unwrap();
    assert_eq!(now.size, 7 * PAGE);
    expected[6 * PAGE as usize..].fill(0);
    assert_eq!(world.content(ino), expected);

    // Of the base, whose content stays.
    let base = Ino::new(ino::DIR_FILE);
    let mut content = world.content(base);
    assert!(content.len() > PAGE as usize + 8 && content.iter().any(|&byte| byte != 0));
    world.mount.zero(base, 3, PAGE, &|| Ok(())).unwrap();
    content[3..PAGE as usize + 3].fill(0);
    assert_eq!(world.content(base), content);
    let world = world.again();
    assert_eq!((world.content(ino), world.content(base)), (expected, content));
}

#[test]
fn a_file_that_was_cut_shows_zeros_behind_its_end_in_its_last_page() {
    let world = World::new();
    let base = Ino::new(ino::DIR_FILE);
    assert!(world.mount.getattr(base).unwrap().size > PAGE, "a page of it is cut");
    world.resize(base, 100);
    let at = world.mount.with_pages(base, 0, 1, |pages| pages).unwrap();
    let Pages::At { at, pages: 1 } = at else { panic!("{at:?}") };
    let mut page = [1; PAGE as usize];
    world.scratch.region().copy_out(at, &mut page).unwrap();
    assert_eq!(page[100..], [0; PAGE as usize - 100]);
    assert_eq!(page[..100], world.content(base));
}

#[test]
fn a_hole_gives_the_space_of_its_pages_back() {
    let world = World::new();
    let free = |world: &World| world.mount.statfs().unwrap().free_blocks;
    let ino = world.file(b"file");
    let mut wanted: Vec<u8> = (0..100 * PAGE).map(|i| (i % 251) as u8).collect();
    assert_eq!(world.mount.write(ino, 0, &wanted).unwrap(), wanted.len());
    let (full, blocks) = (free(&world), world.mount.getattr(ino).unwrap().blocks);
    // Pages 1 to 89, and parts of the pages before and behind.
    let hole = 100..90 * PAGE as usize + 50;
    let told = world.mount.punch(ino, hole.start as u64, hole.len() as u64, &|| Ok(())).unwrap();
    wanted[hole].fill(0);
    assert_eq!((told.size, told.blocks), (100 * PAGE, blocks - 89 * 8));
    assert_eq!(world.content(ino), wanted);
    assert_eq!(free(&world), full + 89);
    assert_eq!(world.mount.seek(ino, 0, Seek::Hole).unwrap(), Some(PAGE));
    assert_eq!(world.mount.seek(ino, PAGE, Seek::Data).unwrap(), Some(90 * PAGE));
    let world = world.again();
    assert_eq!(world.content(ino), wanted);
    assert_eq!(world.mount.getattr(ino).unwrap().blocks, blocks - 89 * 8);
    // It can be written to again.
    world.mount.write(ino, 50 * PAGE, b"back").unwrap();
    wanted[50 * PAGE as usize..][..4].copy_from_slice(b"back");
    assert_eq!(world.again().content(ino), wanted);
}

#[test]
fn a_hole_hides_what_the_base_has_there() {
    // In the middle it is zeros that are stored, at the end nothing.
    let world = World::new();
    let ino = Ino::new(ino::DIR_FILE);
    let mut wanted = world.content(ino);
    let size = wanted.len() as u64;
    assert!(size > 2 * PAGE);
    world.mount.punch(ino, 4000, size, &|| Ok(())).unwrap();
    wanted[4000..].fill(0);
    assert_eq!(world.content(ino), wanted);
    assert_eq!(world.mount.seek(ino, 0, Seek::Hole).unwrap(), Some(PAGE));
    // The first page was copied, and nothing else.
    assert_eq!(world.mount.getattr(ino).unwrap().blocks, PAGE / 512);
    let world = world.again();
    world.mount.punch(ino, 10, 20, &|| Ok(())).unwrap();
    wanted[10..30].fill(0);
    assert_eq!(world.again().content(ino), wanted);
}

#[test]
fn a_hole_can_be_made_when_nothing_is_left() {
    let world = World::new();
    let ino = world.file(b"file");
    world.mount.write(ino, 0, &[5; 40 * PAGE as usize]).unwrap();
    world.fill();
    world.mount.punch(ino, PAGE, 30 * PAGE, &|| Ok(())).unwrap();
    let mut wanted = vec![5; 40 * PAGE as usize];
    wanted[PAGE as usize..31 * PAGE as usize].fill(0);
    assert_eq!(world.content(ino), wanted);
    // What it gave back can be used.
    world.mount.write(ino, 2 * PAGE, &[6; 8 * PAGE as usize]).unwrap();
    wanted[2 * PAGE as usize..10 * PAGE as usize].fill(6);
    assert_eq!(world.again().content(ino), wanted);
}

/// What a kernel does with a file whose pages it has given to a process.
#[test]
fn a_file_that_was_stored_to_through_a_mapping_is_modified() {
    let world = World::new();
    let ino = world.file(b"file");
    world.mount.write(ino, 0, &[1; PAGE as usize]).unwrap();
    let before = world.mount.getattr(ino).unwrap();
    world.mount.own_page(ino, 0, || Ok(()), |_| ()).unwrap();
    world.mount.stored(ino, || Ok(())).unwrap();
    let now = world.mount.getattr(ino).unwrap();
    assert!(now.mtime > before.mtime && now.ctime > before.ctime, "{now:?}");
    // Also for those who come later, though no entry of the log was written for the store itself.
    let again = world.again();
    assert_eq!(again.mount.getattr(ino).unwrap().mtime, now.mtime);
}
