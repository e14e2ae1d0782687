//! Logs that fill up, and space and branch slots that have to come back.

use crate::{FILE, content, content_of, errno, mount, put, scratch, with_delta, writer};
use daxfs::{Errno, Ino};
use daxfs_tests::image::{TestMount, name, problems, read_only, read_write};

/// Appends pages to a new file until the region is full; returns how many bytes it has.
fn fill(mount: &TestMount, title: &[u8], byte: u8) -> u64 {
    let ino = mount.create(Ino::ROOT, title, &FILE).unwrap().ino;
    loop {
        match mount.append(ino, &[byte; 4096]) {
            Ok((_, count)) => assert!(count > 0, "nothing was written, and no error"),
            Err(error) => {
                assert_eq!(error.errno(), Errno::ENOSPC);
                return mount.getattr(ino).unwrap().size;
            }
        }
    }
}

/// Writes of 4 KiB stopped after 61 KB (1 MB in the later version) in each branch.
#[test]
fn small_writes_go_on_until_the_region_is_full() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let written = fill(&mount, b"big", 7);
    assert!(written > (8 << 20) * 8 / 10, "only {written} bytes");
    assert!(content(&mount, b"big").iter().all(|byte| *byte == 7));
    assert_eq!(mount.statfs().unwrap().free_blocks, 0);
}

/// Then unlink failed with ENOSPC, too, and nothing could be done any more.
#[test]
fn a_full_region_can_be_emptied_and_filled_again() {
    let scratch = with_delta(2 << 20);
    let mount = mount(&scratch);
    put(&mount, b"small", b"stays");
    let first = fill(&mount, b"big", 1);
    for round in 2..6 {
        mount.unlink(Ino::ROOT, b"big").unwrap();
        let again = fill(&mount, b"big", round);
        assert!(again >= first - (64 << 10), "{again} of {first} bytes in round {round}");
        assert!(content(&mount, b"big").iter().all(|byte| *byte == round));
        assert_eq!(content(&mount, b"small"), b"stays");
    }
    mount.unmount().unwrap();
    assert_eq!(problems(&scratch.region()), [""; 0]);
    let mount = crate::mount(&scratch);
    assert_eq!(content(&mount, b"small"), b"stays");
    mount.unlink(Ino::ROOT, b"big").unwrap();
}

/// The log of main had one size for ever: the third or fourth commit failed.
#[test]
fn commits_do_not_run_out_of_log() {
    let scratch = scratch();
    for round in 0..40_u8 {
        let mount = scratch.mount(&read_write(Some("next"))).unwrap();
        put(&mount, b"f", &[round; 100_000]);
        mount.commit().unwrap();
        mount.unmount().unwrap();
        let main = scratch.mount(&read_only(None)).unwrap();
        assert_eq!(content(&main, b"f"), [round; 100_000]);
        main.unmount().unwrap();
    }
}

/// A commit that found no space had discarded the siblings already. Here a commit needs none.
#[test]
fn a_commit_in_a_full_region_succeeds() {
    let scratch = with_delta(2 << 20);
    let sibling = writer(&scratch, "sibling");
    put(&sibling, b"sibling", b"s");
    let mount = writer(&scratch, "work");
    let written = fill(&mount, b"big", 5);
    mount.commit().unwrap();
    assert_eq!(errno(sibling.lookup(Ino::ROOT, b"sibling")), Errno::ESTALE);
    let main = scratch.mount(&read_only(None)).unwrap();
    let ino = main.lookup(Ino::ROOT, b"big").unwrap().ino;
    assert_eq!(content_of(&main, ino), vec![5; written as usize]);
}

/// The other half of it: a commit that is refused has discarded nothing.
#[test]
fn a_commit_that_is_refused_discards_nothing() {
    let scratch = scratch();
    let sibling = writer(&scratch, "sibling");
    put(&sibling, b"sibling", b"s");
    let mount = writer(&scratch, "outer");
    put(&mount, b"f", b"f");
    mount.create_branch(&name("inner"), None).unwrap();
    let tool = daxfs::Volume::open(daxfs::std_platform::StdPlatform, scratch.region()).unwrap();
    assert_eq!(errno(tool.commit(&name("outer"))), Errno::EBUSY);
    assert_eq!(content(&sibling, b"sibling"), b"s");
    put(&sibling, b"sibling", b"goes on");
    put(&mount, b"f", b"inner");
    mount.commit().unwrap();
    assert_eq!(content(&mount, b"f"), b"inner");
}

/// Branch slots were never given back: 63 branches in total with the default region, 256 at most.
#[test]
fn branches_can_be_made_for_ever() {
    let scratch = scratch();
    let mount = scratch.mount(&read_write(None)).unwrap();
    let ends: [fn(&TestMount) -> daxfs::Result<()>; 2] = [TestMount::abort, TestMount::commit];
    for round in 0..600_usize {
        mount.create_branch(&name(&format!("b{round}")), None).unwrap();
        put(&mount, b"f", &round.to_le_bytes());
        ends[round % 2](&mount).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let last = if round % 2 == 0 { round.saturating_sub(1) } else { round };
        if round > 0 {
            assert_eq!(content(&mount, b"f"), last.to_le_bytes());
        }
    }
    mount.unmount().unwrap();
    assert_eq!(problems(&scratch.region()), [""; 0]);
}

/// Space of branches that had ended was never given back, nor that of removed files.
#[test]
fn what_ends_gives_its_space_back() {
    let scratch = scratch();
    let mount = scratch.mount(&read_write(None)).unwrap();
    put(&mount, b"f", &[1; 100_000]);
    let free = || {
        // Nobody has to write for it.
        mount.tick(1).unwrap();
        mount.statfs().unwrap().free_blocks
    };
    // The first time, the log may begin a segment.
    put(&mount, b"g", &[3; 1_000_000]);
    mount.unlink(Ino::ROOT, b"g").unwrap();
    let before = free();
    for round in 0..3 {
        mount.create_branch(&name("try"), None).unwrap();
        put(&mount, b"f", &[2; 1_000_000]);
        assert!(free() + 1_000_000 / 4096 < before);
        mount.abort().unwrap();
        // Until it writes again, the mount has no log segment in reserve.
        assert!(free() >= before, "{} of {before} in round {round}", free());
        put(&mount, b"g", &[3; 1_000_000]);
        assert!(free() + 1_000_000 / 4096 < before);
        mount.unlink(Ino::ROOT, b"g").unwrap();
        assert_eq!(free(), before, "in round {round}");
    }
    assert_eq!(content(&mount, b"f"), [1; 100_000]);
}
