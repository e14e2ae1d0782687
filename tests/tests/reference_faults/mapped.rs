//! Pages that a front end maps into address spaces: what it maps is what reading reads.

use crate::front::{Front, Told, mount};
use crate::{FILE, content, content_of, errno, put, scratch, with_delta, writer, writing};
use daxfs::{Errno, Ino, Mount, Pages, Platform, RegionOffset, SetAttributes};
use daxfs_tests::builder::ino;
use daxfs_tests::image::{Scratch, name};

/// Where a page is that is to be looked at through a mapping.
fn page<P: Platform>(mount: &Mount<P>, ino: Ino, page: u64) -> RegionOffset {
    match mount.with_pages(ino, page, 1, |pages| pages).unwrap() {
        Pages::At { at, pages: 1 } => at,
        other => panic!("page {page} of {ino:?} cannot be mapped: {other:?}"),
    }
}

/// What a mapping of the page at `at` shows.
fn mapped(scratch: &Scratch, at: RegionOffset) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    scratch.region().copy_out(at, &mut bytes).unwrap();
    bytes
}

/// A shared mapping did not see later writes.
#[test]
fn a_mapping_shows_what_is_written_later() {
    let scratch = scratch();
    let mount = writer(&scratch, "work");
    let ino = put(&mount, b"f", &[1; 8192]);
    let at = page(&mount, ino, 1);
    mount.write(ino, 4096 + 10, b"later").unwrap();
    assert_eq!(page(&mount, ino, 1), at, "a page of the branch's own stays where it is");
    assert_eq!(mapped(&scratch, at)[10..15], *b"later");
    // As in the next mount, and through a mapping for writing.
    mount.append(ino, b"longer").unwrap();
    assert_eq!(mount.own_page(ino, 1, || Ok(()), |at| at).unwrap(), at);
}

/// A store through a shared mapping was not seen by read.
#[test]
fn a_store_through_a_mapping_is_read() {
    let scratch = scratch();
    let mount = scratch.mount(&daxfs_tests::image::read_write(Some("work"))).unwrap();
    let made = put(&mount, b"f", &[1; 5000]);
    for ino in [made, Ino::new(ino::DIR_FILE)] {
        let mut expected = content_of(&mount, ino);
        let at = mount.own_page(ino, 1, || Ok(()), |at| at).unwrap();
        scratch.region().copy_in(at.checked_add(7).unwrap(), b"stored").unwrap();
        expected[4096 + 7..4096 + 13].copy_from_slice(b"stored");
        assert_eq!(content_of(&mount, ino), expected);
        assert_eq!(page(&mount, ino, 1), at);
    }
    let expected = content(&mount, b"f");
    mount.unmount().unwrap();
    let mount = crate::mount(&scratch);
    assert_eq!(content(&mount, b"f"), expected);
    assert_eq!(content_of(&mount, Ino::new(ino::DIR_FILE))[4096 + 7..][..6], *b"stored");
}

/// The same: whoever had the base image's page mapped went on seeing it after a write.
#[test]
fn a_mapping_is_taken_down_when_its_page_moves() {
    let (scratch, front) = (scratch(), Front::default());
    let mount = mount(&scratch, &front, &writing("work"));
    let file = Ino::new(ino::DIR_FILE);
    let base = page(&mount, file, 0);
    front.told();
    mount.write(file, 0, b"new").unwrap();
    assert_eq!(front.told(), [Told::Moved(file, 0..1)]);
    let own = page(&mount, file, 0);
    assert_ne!(own, base);
    assert_eq!(mapped(&scratch, own)[..3], *b"new");
    assert_ne!(mapped(&scratch, base)[..3], *b"new", "the base image is nobody's to change");
    // From now on it stays where it is, until the file is cut.
    mount.write(file, 1, b"newer").unwrap();
    mount.own_page(file, 0, || Ok(()), |_| ()).unwrap();
    assert_eq!(front.told(), []);
    mount.own_page(file, 2, || Ok(()), |_| ()).unwrap();
    assert_eq!(front.told(), [Told::Moved(file, 2..3)]);
    let changes = SetAttributes { size: Some(1), ..Default::default() };
    mount.setattr(file, &changes).unwrap();
    assert_eq!(front.told(), [Told::Moved(file, 0..u64::MAX)]);
}

/// A fault on a file of 3 bytes made it one of 4096.
#[test]
fn looking_at_the_page_of_a_short_file_leaves_it_short() {
    let scratch = scratch();
    let mount = scratch.mount(&daxfs_tests::image::read_write(Some("work"))).unwrap();
    let ino = put(&mount, b"f", b"abc");
    let shown = |at| {
        let bytes = mapped(&scratch, at);
        assert_eq!(bytes[..3], *b"abc");
        assert!(bytes[3..].iter().all(|byte| *byte == 0), "zeros behind the end");
    };
    shown(page(&mount, ino, 0));
    shown(mount.own_page(ino, 0, || Ok(()), |at| at).unwrap());
    assert_eq!(mount.with_pages(ino, 1, 1, |pages| pages).unwrap(), Pages::End);
    assert_eq!(errno(mount.own_page(ino, 1, || Ok(()), |_| ())), Errno::EINVAL);
    let base = Ino::new(ino::DIR_SUB_DEEP);
    mount.own_page(base, 0, || Ok(()), |_| ()).unwrap();
    for _ in 0..2 {
        assert_eq!(content(&mount, b"f"), b"abc");
        assert_eq!(content_of(&mount, base), b"deep\n");
        mount.sync().unwrap();
    }
    mount.unmount().unwrap();
    let mount = crate::mount(&scratch);
    assert_eq!(content(&mount, b"f"), b"abc");
    assert_eq!(content_of(&mount, base), b"deep\n");
}

/// A fault wrote a log entry, also one for reading: with a full log, reading got SIGBUS.
#[test]
fn pages_can_be_looked_at_when_the_region_is_full() {
    let scratch = with_delta(2 << 20);
    let mount = writer(&scratch, "work");
    let ino = put(&mount, b"f", &[1; 8192]);
    let hole = mount.create(Ino::ROOT, b"hole", &FILE).unwrap().ino;
    let changes = SetAttributes { size: Some(8192), ..Default::default() };
    mount.setattr(hole, &changes).unwrap();
    let filler = mount.create(Ino::ROOT, b"filler", &FILE).unwrap().ino;
    while mount.append(filler, &[2; 4096]).is_ok() {}
    // Whatever is left in the segment of the log.
    while mount.create(Ino::ROOT, &[b'n'; 100], &FILE).is_ok() {
        mount.unlink(Ino::ROOT, &[b'n'; 100]).unwrap();
        if mount.own_page(hole, 0, || Ok(()), |_| ()).is_err() {
            break;
        }
    }
    let base = Ino::new(ino::DIR_FILE);
    for number in 0..2 {
        assert_eq!(mapped(&scratch, page(&mount, ino, number)), [1; 4096]);
        page(&mount, base, number);
        let pages = mount.with_pages(hole, number, 1, |pages| pages).unwrap();
        assert_eq!(pages, Pages::Hole { pages: 1 });
        // What is the branch's own can be stored to.
        mount.own_page(ino, number, || Ok(()), |_| ()).unwrap();
    }
    // Only what needs space has none.
    assert_eq!(errno(mount.own_page(base, 0, || Ok(()), |_| ())), Errno::ENOSPC);
    assert_eq!(errno(mount.own_page(hole, 0, || Ok(()), |_| ())), Errno::ENOSPC);
    assert_eq!(content_of(&mount, base).len(), 10_000);
}

/// The mapping of a discarded sibling stayed readable, and showed whatever came into its pages.
#[test]
fn a_stale_siblings_mappings_are_taken_down() {
    let (scratch, front) = (scratch(), Front::default());
    let sibling = mount(&scratch, &front, &writing("sibling"));
    let ino = put(&sibling, b"f", &[1; 4096]);
    let at = page(&sibling, ino, 0);
    let winner = writer(&scratch, "winner");
    put(&winner, b"f", &[2; 4096]);
    winner.commit().unwrap();
    front.told();
    // Not before the mappings are down are its pages used for anything else.
    winner.create_branch(&name("next"), None).unwrap();
    let fill = || {
        let filler = winner.create(Ino::ROOT, b"filler", &FILE).unwrap().ino;
        while winner.append(filler, &[3; 65536]).is_ok() {}
        winner.unlink(Ino::ROOT, b"filler").unwrap();
    };
    fill();
    assert_eq!(mapped(&scratch, at), [1; 4096]);
    assert_eq!(errno(sibling.look()), Errno::ESTALE);
    assert!(front.told().contains(&Told::Outdated));
    fill();
    assert_eq!(mapped(&scratch, at), [3; 4096]);
    assert_eq!(errno(sibling.with_pages(ino, 0, 1, |pages| pages)), Errno::ESTALE);
    assert_eq!(errno(sibling.own_page(ino, 0, || Ok(()), |at| at)), Errno::ESTALE);
}

/// The same for those who look at a branch: a commit changes what they have mapped.
#[test]
fn mappings_are_taken_down_when_a_commit_changes_the_branch() {
    let (scratch, front) = (scratch(), Front::default());
    let options = daxfs_tests::image::read_only(None);
    let main = mount(&scratch, &front, &options);
    let file = Ino::new(ino::DIR_FILE);
    let before = page(&main, file, 0);
    let child = writer(&scratch, "child");
    child.write(file, 0, b"new").unwrap();
    front.told();
    main.look().unwrap();
    assert_eq!(page(&main, file, 0), before);
    child.commit().unwrap();
    main.look().unwrap();
    assert!(front.told().contains(&Told::Outdated));
    assert_eq!(mapped(&scratch, page(&main, file, 0))[..3], *b"new");
}
