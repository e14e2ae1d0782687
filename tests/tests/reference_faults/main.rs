//! Faults of the reference implementation that this engine must not have.
//!
//! Each test is named after the right behaviour, and says which fault it guards against.
//!
//! | module | faults of |
//! |---|---|
//! | [`space`] | logs that fill up, space and branch slots that never come back |
//! | [`data`] | contents of files: writes, holes, ends |
//! | [`mapped`] | pages that are mapped into address spaces |
//! | [`names`] | directories and inode numbers |
//! | [`branches`] | commits, siblings, parents, remounts, dead committers |
//! | [`images`] | mount options, and what `validate` lets pass |
//!
//! # Faults of the front end
//!
//! Some faults show only where a kernel's virtual filesystem stands before the engine. What the engine
//! has to do with them is tested here; that the whole is right is tested in a running Linux, by
//! `tests/linux`: its suite `reference` has a check for each fault, `mapped`, `options` and `shortage`
//! look closer.
//!
//! | fault | its engine side here | left to Linux |
//! |---|---|---|
//! | `O_APPEND` does not append | `appending_writes_at_the_end` | the flag, and two openers at once |
//! | a shared mapping does not see later writes, its stores are not read | [`mapped`] | `mmap` itself, mappings taken down |
//! | a read fault on a short file grows it | `looking_at_the_page_of_a_short_file_leaves_it_short` | faults |
//! | SIGBUS for reads when the log is full | `pages_can_be_looked_at_when_the_region_is_full` | the signal |
//! | a discarded sibling's mapping stays readable | `a_stale_siblings_mappings_are_taken_down` | the process gets SIGBUS |
//! | a dead lock holder leaves committers spinning, unkillable | `a_dead_committer_is_in_nobodys_way` | signals while waiting |
//! | unmounting a parent with a mounted child | `a_parent_that_is_unmounted_stays_for_its_child` | `umount` |
//! | `size=256M` is refused | `sizes_take_suffixes` | `mount -o` |
//! | zero-copy is not used for files opened read-only (VM_SHARED is cleared there) | none: no VMA here | the memory a read-only mapping takes |

mod branches;
mod data;
mod front;
mod images;
mod mapped;
mod names;
mod space;

use daxfs::{Access, Errno, Ino, Mount, MountOptions, NewInode, Platform};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::image::{Scratch, TestMount, read_only, read_write};

const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };

fn with_delta(bytes: u64) -> Scratch {
    let scratch = Scratch::new();
    scratch.fill(&ImageBuilder::new(Kind::Segmented).roomy(bytes).build());
    scratch
}

fn scratch() -> Scratch {
    with_delta(8 << 20)
}

/// The only mount there is, on a branch that outlives it.
fn mount(scratch: &Scratch) -> TestMount {
    scratch.mount(&read_write(Some("work"))).unwrap()
}

/// One of several mounts, on a branch of its own that ends with it.
fn writing(branch: &str) -> MountOptions {
    MountOptions { access: Access::ReadWrite, ..read_only(Some(branch)) }
}

fn writer(scratch: &Scratch, branch: &str) -> TestMount {
    scratch.mount(&writing(branch)).unwrap()
}

/// All of a file; reading behind its end gives nothing.
fn content_of<P: Platform>(mount: &Mount<P>, ino: Ino) -> Vec<u8> {
    let size = mount.getattr(ino).unwrap().size as usize;
    let mut bytes = vec![0xee; size + 100];
    let count = mount.read(ino, 0, &mut bytes).unwrap();
    assert_eq!(count, size);
    bytes.truncate(count);
    bytes
}

fn content<P: Platform>(mount: &Mount<P>, name: &[u8]) -> Vec<u8> {
    content_of(mount, mount.lookup(Ino::ROOT, name).unwrap().ino)
}

/// Makes `name` say `bytes`, whatever it said.
fn put<P: Platform>(mount: &Mount<P>, name: &[u8], bytes: &[u8]) -> Ino {
    let ino = match mount.lookup(Ino::ROOT, name) {
        Ok(found) => found.ino,
        Err(_) => mount.create(Ino::ROOT, name, &FILE).unwrap().ino,
    };
    let mut done = 0;
    // A write may end with its segment.
    while done < bytes.len() {
        done += mount.write(ino, done as u64, &bytes[done..]).unwrap();
    }
    ino
}

/// `name` says `expected`, now and after another mount.
fn is_and_stays(scratch: &Scratch, mount: TestMount, name: &[u8], expected: &[u8]) {
    assert_eq!(content(&mount, name), expected);
    mount.unmount().unwrap();
    let again = self::mount(scratch);
    assert_eq!(content(&again, name), expected);
    again.unmount().unwrap();
}

#[track_caller]
fn errno<T>(result: daxfs::Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.errno(),
    }
}
