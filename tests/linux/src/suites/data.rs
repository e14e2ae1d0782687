//! What is in files.

use crate::check::suite;
use crate::files::{Errno, about, content, edit, exists, has, make, open, refused, same};
use crate::mounted::Mounted;
use crate::tree;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, copy_file_range, fallocate, seek, sendfile};
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

suite!(
    "data",
    120,
    [
        a_byte_written_to_a_base_file_changes_one_byte,
        writes_of_any_size_at_any_place_are_read_back,
        truncating_and_extending_shows_zeros,
        a_sparse_file_has_holes,
        seeking_finds_data_and_holes,
        offsets_beyond_4_gib_work,
        a_file_can_be_as_large_as_an_offset,
        appending_writes_at_the_end,
        opening_with_truncate_empties,
        an_unlinked_open_file_can_be_used,
        a_replaced_open_file_can_be_used,
        descriptors_do_what_they_were_opened_for,
        vectors_and_empty_buffers_work,
        bad_addresses_are_refused,
        a_buffer_may_be_a_mapping_of_the_same_file,
        copies_inside_of_the_kernel_work,
        syncing_works,
        allocating_makes_room_and_keeps_what_is_there,
        zeroing_and_punching_leave_zeros,
        punching_gives_the_space_of_whole_pages_back,
        what_is_not_there_is_refused,
        a_full_region_says_so_and_recovers,
        a_branch_can_be_written_in_pieces_of_any_order,
    ]
);

fn a_byte_written_to_a_base_file_changes_one_byte() {
    let mount = Mounted::new();
    for (name, mut expected) in [
        ("big", tree::patterns(0, tree::BIG)),
        ("hello", tree::HELLO.as_bytes().to_vec()),
        ("small", b"abc".to_vec()),
    ] {
        let file = edit(mount.path(name));
        for at in [1, expected.len() / 2, expected.len() - 1] {
            expected[at] ^= 0x80;
            file.write_all_at(&expected[at..=at], at as u64).unwrap();
        }
        has(mount.path(name), &expected);
    }
    // The base is what it was.
    has(Mounted::main().path("big"), &tree::patterns(0, tree::BIG));
}

fn writes_of_any_size_at_any_place_are_read_back() {
    let mount = Mounted::new();
    let mut random = fastrand::Rng::with_seed(4242);
    for name in ["big", "new"] {
        let mut expected = if name == "big" { tree::patterns(0, tree::BIG) } else { Vec::new() };
        let path = mount.path(name);
        let file = if name == "big" { edit(&path) } else { make(&path) };
        for round in 0..300_u32 {
            let len = 1 << random.u32(0..17);
            let (at, len) = (random.usize(0..4_000_000), random.usize(1..=len));
            let bytes = vec![round as u8 | 1; len];
            expected.resize(expected.len().max(at + len), 0);
            expected[at..at + len].copy_from_slice(&bytes);
            file.write_all_at(&bytes, at as u64).unwrap();
            let (from, len) = (random.usize(0..expected.len()), random.usize(1..70_000));
            let to = expected.len().min(from + len);
            let mut found = vec![0; to - from];
            file.read_exact_at(&mut found, from as u64).unwrap();
            same(&found, &expected[from..to]);
        }
        has(mount.path(name), &expected);
    }
}

fn truncating_and_extending_shows_zeros() {
    let mount = Mounted::new();
    for name in ["big", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, tree::patterns(0, 30_000)).unwrap();
        }
        let file = edit(&path);
        for (down, up) in [(20_001, 25_000), (8192, 30_000), (3, 4096), (0, 100)] {
            file.set_len(down).unwrap();
            file.set_len(up).unwrap();
            let found = content(&path);
            let kept = down.min(20_001) as usize;
            same(&found[..kept.min(3)], &tree::patterns(0, kept.min(3)));
            assert_eq!(found.len() as u64, up, "{name}");
            assert!(found[down as usize..].iter().all(|&byte| byte == 0), "{name}: {down} to {up}");
        }
    }
}

fn a_sparse_file_has_holes() {
    let mount = Mounted::new();
    let path = mount.path("sparse");
    let file = make(&path);
    file.set_len(1 << 40).unwrap();
    assert_eq!((about(&path).size(), about(&path).blocks()), (1 << 40, 0));
    file.write_all_at(b"middle", 1 << 35).unwrap();
    assert_eq!(about(&path).blocks(), 8);
    let mut bytes = [1; 100_000];
    file.read_exact_at(&mut bytes, (1 << 35) - 50_000).unwrap();
    assert!(bytes[..50_000].iter().all(|&byte| byte == 0));
    assert_eq!(&bytes[50_000..50_006], b"middle");
    assert!(bytes[50_006..].iter().all(|&byte| byte == 0));
    assert_eq!(file.read_at(&mut bytes, (1 << 40) - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut bytes, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut bytes, 1 << 50).unwrap(), 0);
}

fn seeking_finds_data_and_holes() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    for at in [3 * 4096, 10 * 4096, 11 * 4096] {
        file.write_all_at(&[1; 4096], at).unwrap();
    }
    file.set_len(20 * 4096 + 5).unwrap();
    let data = |at| seek(&file, SeekFrom::Data(at));
    let hole = |at| seek(&file, SeekFrom::Hole(at));
    assert_eq!((data(0), hole(0)), (Ok(3 * 4096), Ok(0)));
    assert_eq!((data(3 * 4096 + 7), hole(3 * 4096 + 7)), (Ok(3 * 4096 + 7), Ok(4 * 4096)));
    assert_eq!((data(4 * 4096), hole(10 * 4096)), (Ok(10 * 4096), Ok(12 * 4096)));
    refused(data(12 * 4096), Errno::NXIO);
    assert_eq!(hole(20 * 4096), Ok(20 * 4096));
    refused(data(20 * 4096 + 5), Errno::NXIO);
    refused(hole(20 * 4096 + 5), Errno::NXIO);
    // A file of the base is data up to its end, where there is a hole.
    let file = File::open(mount.path("big")).unwrap();
    assert_eq!(seek(&file, SeekFrom::Data(5)), Ok(5));
    assert_eq!(seek(&file, SeekFrom::Hole(5)), Ok(tree::BIG as u64));
    // Ordinary seeking.
    assert_eq!(seek(&file, SeekFrom::End(-1)), Ok(tree::BIG as u64 - 1));
    assert_eq!(seek(&file, SeekFrom::Current(10)), Ok(tree::BIG as u64 + 9));
    refused(seek(&file, SeekFrom::Current(-2 * tree::BIG as i64)), Errno::INVAL);
    let empty = make(mount.path("empty-file"));
    refused(seek(&empty, SeekFrom::Data(0)), Errno::NXIO);
}

fn offsets_beyond_4_gib_work() {
    let mount = Mounted::new();
    let path = mount.path("f");
    let file = make(&path);
    for shift in [31, 32, 33, 40, 45] {
        let at = (1_u64 << shift) - 3;
        file.write_all_at(b"across", at).unwrap();
        assert_eq!(about(&path).size(), at + 6);
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(&bytes, b"across", "{shift}");
    }
    file.set_len((1 << 33) + 1).unwrap();
    let mut bytes = [1; 10];
    assert_eq!(file.read_at(&mut bytes, (1 << 33) - 3).unwrap(), 4);
    assert_eq!(&bytes[..4], b"acro");
    assert_eq!(seek(&file, SeekFrom::Data((1 << 32) + 10_000)), Ok((1 << 33) - 4096));
}

fn a_file_can_be_as_large_as_an_offset() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    let largest = daxfs::MAX_FILE_SIZE;
    file.set_len(largest).unwrap();
    assert_eq!(file.write_at(b"last", largest - 4).unwrap(), 4);
    // The end would be no offset.
    refused(file.write_at(b"x", largest), Errno::INVAL);
    refused(file.write_at(b"later", largest - 4), Errno::INVAL);
    assert_eq!(file.metadata().unwrap().size(), largest);
    let mut found = [0; 10];
    assert_eq!(file.read_at(&mut found[..6], largest - 6).unwrap(), 6);
    assert_eq!(&found[..6], b"\0\0last");
    file.set_len(largest - 2).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 8);
}

fn appending_writes_at_the_end() {
    let mount = Mounted::new();
    for (name, start) in [("new", &b""[..]), ("hello", tree::HELLO.as_bytes())] {
        let path = mount.path(name);
        let options = OpenOptions::new().append(true).create(true).read(true).clone();
        let mut one = options.open(&path).unwrap();
        let mut other = options.open(&path).unwrap();
        one.write_all(b"one ").unwrap();
        other.write_all(b"two ").unwrap();
        one.rewind().unwrap();
        one.write_all(b"three ").unwrap();
        // In Linux, also this appends.
        other.write_at(b"four", 0).unwrap();
        has(&path, &[start, b"one two three four"].concat());
        assert_eq!(one.stream_position().unwrap(), start.len() as u64 + 14);
    }
}

fn opening_with_truncate_empties() {
    let mount = Mounted::new();
    for name in ["hello", "big"] {
        File::create(mount.path(name)).unwrap();
        assert_eq!((about(mount.path(name)).size(), about(mount.path(name)).blocks()), (0, 0));
        has(mount.path(name), b"");
    }
}

fn an_unlinked_open_file_can_be_used() {
    let mount = Mounted::new();
    for name in ["hello", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, tree::HELLO).unwrap();
        }
        let file = edit(&path);
        let ino = file.metadata().unwrap().ino();
        fs::remove_file(&path).unwrap();
        let mut found = [0; 5];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"hello");
        file.write_all_at(b"far away", 100_000).unwrap();
        file.set_len(100_004).unwrap();
        file.read_exact_at(&mut found[..4], 100_000).unwrap();
        assert_eq!(&found[..4], b"far ");
        let known = file.metadata().unwrap();
        assert_eq!((known.nlink(), known.size(), known.ino()), (0, 100_004, ino));
        assert!(!exists(&path));
        // Another file of that name is another file.
        fs::write(&path, "another").unwrap();
        assert_ne!(about(&path).ino(), ino);
        has(&path, b"another");
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"hello");
        file.sync_all().unwrap();
    }
}

fn a_replaced_open_file_can_be_used() {
    let mount = Mounted::new();
    let file = edit(mount.path("big"));
    fs::rename(mount.path("hello"), mount.path("big")).unwrap();
    let mut found = vec![0; tree::BIG];
    file.read_exact_at(&mut found, 0).unwrap();
    same(&found, &tree::patterns(0, tree::BIG));
    file.write_all_at(b"x", 70_000).unwrap();
    file.read_exact_at(&mut found[..2], 70_000).unwrap();
    assert_eq!(found[..2], [b'x', tree::pattern(70_001)]);
    has(mount.path("big"), tree::HELLO.as_bytes());
    // The program of a process that runs can be replaced.
    let busybox = mount.path("bin/busybox");
    let mut child = std::process::Command::new(&busybox)
        .arg("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    fs::remove_file(&busybox).unwrap();
    child.stdin.take().unwrap().write_all(b"still here").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "still here");
}

fn descriptors_do_what_they_were_opened_for() {
    let mount = Mounted::new();
    let read = File::open(mount.path("hello")).unwrap();
    refused(read.write_at(b"x", 0), Errno::BADF);
    refused(read.set_len(0), Errno::INVAL);
    let write = OpenOptions::new().write(true).open(mount.path("hello")).unwrap();
    refused(write.read_at(&mut [0], 0), Errno::BADF);
    // A right once given stays, whatever becomes of the mode.
    fs::set_permissions(mount.path("hello"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    write.write_all_at(b"H", 0).unwrap();
    let mut byte = [0];
    read.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(byte, *b"H");
    let dir = File::open(mount.path("dir")).unwrap();
    refused(dir.read_at(&mut [0], 0), Errno::ISDIR);
    refused(dir.write_at(b"x", 0), Errno::BADF);
}

fn vectors_and_empty_buffers_work() {
    let mount = Mounted::new();
    let mut file = make(mount.path("f"));
    let parts = [&b"one"[..], b"", b" and two", &[b'x'; 9000]];
    let count = file.write_vectored(&parts.map(IoSlice::new)).unwrap();
    assert_eq!(count, 9011);
    assert_eq!(file.write_at(b"", 0).unwrap(), 0);
    assert_eq!(file.metadata().unwrap().size(), 9011);
    file.rewind().unwrap();
    let (mut one, mut none, mut rest) = ([0; 4], [0; 0], [0; 20_000]);
    let mut parts = [&mut one[..], &mut none, &mut rest].map(IoSliceMut::new);
    assert_eq!(file.read_vectored(&mut parts).unwrap(), 9011);
    assert_eq!((&one, &rest[..7]), (b"one ", &b"and two"[..]));
    assert_eq!(file.read(&mut []).unwrap(), 0);
    assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
}

fn bad_addresses_are_refused() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.write_all_at(&[7; 5 * 4096], 0).unwrap();
    let size = file.metadata().unwrap().size();
    // Memory that ends in nothing: a mapping of an empty file has nothing behind it.
    let nothing = make(mount.path("nothing"));
    nothing.set_len(4096).unwrap();
    let memory =
        crate::mapping::Mapping::new(&nothing, 0, 8192, crate::mapping::Use::Write).unwrap();
    memory.put(0, &[9; 4096]);
    refused(memory.write_to(4096, 100, &file, 0), Errno::FAULT);
    refused(memory.read_from(4096, 100, &file, 0), Errno::FAULT);
    // As far as it goes.
    match memory.write_to(4000, 4000, &file, 8192) {
        Ok(count) => assert!(count <= 96, "{count}"),
        Err(errno) => assert_eq!(errno, Errno::FAULT),
    }
    assert_eq!(file.metadata().unwrap().size(), size);
    let mut found = vec![0; 8192];
    file.read_exact_at(&mut found, 0).unwrap();
    assert!(found.iter().all(|&byte| byte == 7));
}

fn a_buffer_may_be_a_mapping_of_the_same_file() {
    use crate::mapping::{Mapping, Use};
    let mount = Mounted::new();
    let file = edit(mount.path("big"));
    let memory = Mapping::new(&file, 0, tree::BIG, Use::Write).unwrap();
    // Pages that nobody has touched.
    assert_eq!(memory.write_to(100_000, 50_000, &file, 1_000_001), Ok(50_000));
    same(&memory.bytes(1_000_001, 50_000), &tree::patterns(100_000, 50_000));
    assert_eq!(memory.read_from(2_000_000, 20_000, &file, 3_000_003), Ok(20_000));
    same(&memory.bytes(2_000_000, 20_000), &tree::patterns(3_000_003, 20_000));
    // The very same bytes.
    assert_eq!(memory.write_to(8192, 8192, &file, 8192), Ok(8192));
    same(&memory.bytes(8192, 8192), &tree::patterns(8192, 8192));
}

fn copies_inside_of_the_kernel_work() {
    let mount = Mounted::new();
    let from = File::open(mount.path("big")).unwrap();
    let to = make(mount.path("copied"));
    let mut done = 0;
    while done < tree::BIG {
        let count = copy_file_range(&from, None, &to, None, tree::BIG - done).unwrap();
        assert!(count > 0);
        done += count;
    }
    has(mount.path("copied"), &tree::patterns(0, tree::BIG));
    let to = make(mount.path("sent"));
    let mut at = 0;
    while at < tree::BIG as u64 {
        assert!(sendfile(&to, &from, Some(&mut at), tree::BIG).unwrap() > 0);
    }
    has(mount.path("sent"), &tree::patterns(0, tree::BIG));
    fs::copy(mount.path("hello"), mount.path("again")).unwrap();
    has(mount.path("again"), tree::HELLO.as_bytes());
}

fn syncing_works() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.write_all_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(mount.path("dir")).unwrap().sync_all().unwrap();
    rustix::fs::syncfs(&file).unwrap();
    let synchronous = open(mount.path("f"), OFlags::SYNC).unwrap();
    synchronous.write_all_at(b"y", 0).unwrap();
    has(mount.path("f"), b"y");
}

fn allocating_makes_room_and_keeps_what_is_there() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    file.write_all_at(b"there", 10_000).unwrap();
    fallocate(&file, FallocateFlags::empty(), 5000, 100_000).unwrap();
    let mut expected = vec![0; 105_000];
    expected[10_000..10_005].copy_from_slice(b"there");
    has(mount.path("f"), &expected);
    // All of it has its place, but for the page before.
    assert_eq!(file.metadata().unwrap().blocks(), 25 * 8);
    fallocate(&file, FallocateFlags::empty(), 0, 100).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 105_000);
    // Of a file of the base, what is behind its end.
    fallocate(edit(mount.path("hello")), FallocateFlags::empty(), 0, 20_000).unwrap();
    let found = content(mount.path("hello"));
    assert!(found.len() == 20_000 && found.starts_with(tree::HELLO.as_bytes()));
    assert!(found[tree::HELLO.len()..].iter().all(|&byte| byte == 0));
    // More than there is.
    refused(fallocate(&file, FallocateFlags::empty(), 0, tree::RANGE), Errno::NOSPC);
    assert_eq!(file.metadata().unwrap().len(), 105_000);
    has(mount.path("f"), &expected);
}

fn zeroing_and_punching_leave_zeros() {
    let mount = Mounted::new();
    for flags in [
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        FallocateFlags::ZERO_RANGE,
    ] {
        for name in ["big", "new"] {
            let path = mount.path(name);
            fs::write(&path, tree::patterns(0, 100_000)).unwrap();
            let file = edit(&path);
            let memory =
                crate::mapping::Mapping::new(&file, 0, 100_000, crate::mapping::Use::Read).unwrap();
            memory.touch();
            fallocate(&file, flags, 10_000, 50_001).unwrap();
            let mut expected = tree::patterns(0, 100_000);
            expected[10_000..60_001].fill(0);
            has(&path, &expected);
            same(&memory.bytes(0, 100_000), &expected);
        }
    }
    let file = edit(mount.path("new"));
    refused(fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 10), Errno::OPNOTSUPP);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 90_000, 20_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 110_000);
    let base = edit(mount.path("aligned"));
    fallocate(&base, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 5, 3_000_000).unwrap();
    let mut expected = tree::patterns(0, tree::ALIGNED as usize);
    expected[5..3_000_005].fill(0);
    has(mount.path("aligned"), &expected);
}

fn punching_gives_the_space_of_whole_pages_back() {
    let mount = Mounted::new();
    let path = mount.path("new");
    fs::write(&path, tree::patterns(0, 1 << 20)).unwrap();
    let file = edit(&path);
    let free = || rustix::fs::statvfs(mount.root()).unwrap().f_bfree;
    let (full, blocks) = (free(), file.metadata().unwrap().blocks());
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, flags, 100, (1 << 20) - 200).unwrap();
    let mut expected = tree::patterns(0, 1 << 20);
    expected[100..(1 << 20) - 100].fill(0);
    has(&path, &expected);
    let pages = (1 << 20) / 4096 - 2;
    assert_eq!(file.metadata().unwrap().blocks(), blocks - 8 * pages);
    assert_eq!(free(), full + pages);
    assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 4096);
    assert_eq!(seek(&file, SeekFrom::Data(4096)).unwrap(), (1 << 20) - 4096);
}

fn what_is_not_there_is_refused() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    for flags in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
        refused(fallocate(&file, flags, 0, 4096), Errno::OPNOTSUPP);
    }
    refused(open(mount.root(), OFlags::TMPFILE), Errno::OPNOTSUPP);
    let flags = rustix::fs::XattrFlags::empty();
    refused(rustix::fs::setxattr(mount.path("f"), "user.x", b"x", flags), Errno::OPNOTSUPP);
    let swap = std::process::Command::new("swapon").arg(mount.path("hello")).output().unwrap();
    let said = String::from_utf8_lossy(&swap.stderr);
    assert!(!swap.status.success() && said.contains("Invalid argument"), "{said}");
}

fn a_full_region_says_so_and_recovers() {
    let mount = Mounted::new();
    let free = || rustix::fs::statvfs(mount.root()).unwrap().f_bfree;
    let start = free();
    let piece = vec![0x55; 1 << 20];
    let (mut file, mut written) = (make(mount.path("full")), 0);
    let error = loop {
        match file.write(&piece) {
            Ok(count) => written += count as u64,
            Err(error) => break error,
        }
    };
    refused::<(), _>(Err(error), Errno::NOSPC);
    assert!(written >= tree::RANGE / 8, "{written} bytes fit");
    // What was accepted is there.
    assert_eq!(about(mount.path("full")).size(), written);
    let mut byte = [0];
    for at in (0..written).step_by(1 << 20).chain([written - 1]) {
        file.read_exact_at(&mut byte, at).unwrap();
        assert_eq!(byte, [0x55], "{at}");
    }
    // In its own pages it can still be changed, and a copy-on-write says what is the matter.
    file.write_all_at(b"x", 5).unwrap();
    refused(edit(mount.path("huge")).write_at(b"x", 0), Errno::NOSPC);
    file.set_len(written / 2).unwrap();
    fs::write(mount.path("another"), &piece).unwrap();
    fs::remove_file(mount.path("full")).unwrap();
    drop(file);
    fs::write(mount.path("again"), vec![1; written as usize / 4]).unwrap();
    fs::remove_file(mount.path("again")).unwrap();
    fs::remove_file(mount.path("another")).unwrap();
    assert!(start - free() < start / 10, "{} of {start} blocks are gone", start - free());
}

fn a_branch_can_be_written_in_pieces_of_any_order() {
    let mount = Mounted::new();
    let file = make(mount.path("f"));
    let expected = tree::patterns(0, 2 << 20);
    let mut pieces: Vec<usize> = (0..expected.len() / 4096).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut pieces);
    for piece in pieces {
        let range = piece * 4096..(piece + 1) * 4096;
        file.write_all_at(&expected[range.clone()], range.start as u64).unwrap();
    }
    has(mount.path("f"), &expected);
    let memory =
        crate::mapping::Mapping::new(&file, 0, expected.len(), crate::mapping::Use::Read).unwrap();
    same(&memory.bytes(0, expected.len()), &expected);
}
