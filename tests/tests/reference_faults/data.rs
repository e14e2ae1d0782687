//! Contents of files.

use crate::{FILE, content, content_of, is_and_stays, mount, put, scratch};
use daxfs::{Ino, SetAttributes};
use daxfs_tests::builder::ino;

/// A write of one byte to a file of the base image truncated the file to where the write ended.
#[test]
fn a_byte_written_to_a_base_file_leaves_the_rest_as_it_is() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let file = Ino::new(ino::DIR_FILE);
    let mut expected = content_of(&mount, file);
    assert_eq!(expected.len(), 10_000);
    for at in [0, 4095, 4096, 5000, 9999] {
        assert_eq!(mount.write(file, at, b"\0").unwrap(), 1);
        expected[at as usize] = 0;
        assert_eq!(content_of(&mount, file), expected);
    }
    mount.unmount().unwrap();
    assert_eq!(content_of(&crate::mount(&scratch), file), expected);
}

/// Reading a hole before written data returned 0 bytes, as at the end of the file.
#[test]
fn a_hole_before_data_reads_as_zeros() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let ino = mount.create(Ino::ROOT, b"f", &FILE).unwrap().ino;
    assert_eq!(mount.write(ino, 10_000, b"end").unwrap(), 3);
    let mut expected = vec![0; 10_000];
    expected.extend_from_slice(b"end");
    is_and_stays(&scratch, mount, b"f", &expected);
}

/// Reads that started before a small write inside a big one did not see it.
#[test]
fn a_small_write_inside_a_big_one_is_seen() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let mut expected = vec![1; 20_000];
    let ino = put(&mount, b"f", &expected);
    assert_eq!(mount.write(ino, 5000, b"small").unwrap(), 5);
    expected[5000..5005].copy_from_slice(b"small");
    is_and_stays(&scratch, mount, b"f", &expected);
}

/// `O_APPEND` did not append.
#[test]
fn appending_writes_at_the_end() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let ino = mount.create(Ino::ROOT, b"f", &FILE).unwrap().ino;
    assert_eq!(mount.append(ino, b"one ").unwrap(), (0, 4));
    assert_eq!(mount.append(ino, b"two").unwrap(), (4, 3));
    is_and_stays(&scratch, mount, b"f", b"one two");
}

/// Several who append at once overwrote each other.
#[test]
fn appending_from_several_threads_loses_nothing() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let ino = mount.create(Ino::ROOT, b"f", &FILE).unwrap().ino;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let mount = &mount;
            scope.spawn(move || {
                for _ in 0..100 {
                    assert_eq!(mount.append(ino, &[thread; 7]).unwrap().1, 7);
                }
            });
        }
    });
    let all = content(&mount, b"f");
    assert_eq!(all.len(), 4 * 100 * 7);
    for piece in all.chunks(7) {
        assert!(piece.iter().all(|byte| *byte == piece[0]), "a torn piece: {piece:?}");
    }
    for thread in 0..4 {
        assert_eq!(all.iter().filter(|byte| **byte == thread).count(), 700);
    }
}

/// Truncating down and up again showed the old data.
#[test]
fn truncated_data_does_not_come_back() {
    let scratch = scratch();
    let mount = mount(&scratch);
    let made = put(&mount, b"f", &[9; 9000]);
    let base = Ino::new(ino::DIR_FILE);
    let mut shorter = content_of(&mount, base);
    for ino in [made, base] {
        for size in [3, 9000] {
            let changes = SetAttributes { size: Some(size), ..Default::default() };
            mount.setattr(ino, &changes).unwrap();
        }
    }
    shorter.truncate(3);
    shorter.resize(9000, 0);
    assert_eq!(content_of(&mount, base), shorter);
    let mut expected = vec![0; 9000];
    expected[..3].fill(9);
    is_and_stays(&scratch, mount, b"f", &expected);
    assert_eq!(content_of(&crate::mount(&scratch), base), shorter);
}
