//! Attributes: permissions, owners, times, link counts, sizes.

use crate::check::suite;
use crate::files::{Errno, about, edit, exists, has, make, mode, refused};
use crate::mapping::{Mapping, Use};
use crate::mounted::{Mounted, own_name};
use crate::tree;
use crate::user::as_user;
use rustix::fs::{
    Access, AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, accessat, chmod, chown, mkdir,
    statvfs, utimensat,
};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

suite!(
    "attributes",
    60,
    [
        new_files_have_the_mode_and_owner_they_are_made_with,
        permissions_decide_what_others_may,
        only_the_owner_changes_a_mode_and_only_root_an_owner,
        a_sticky_directory_keeps_names_for_their_owners,
        new_entries_of_a_setgid_directory_have_its_group,
        writing_clears_setuid_and_setgid,
        truncating_clears_setuid_and_setgid,
        changing_the_owner_clears_setuid_and_setgid,
        root_keeps_setuid_when_it_writes,
        each_change_sets_the_times_it_has_to,
        times_can_be_set_to_the_nanosecond_and_far_away,
        others_may_set_times_to_now_only_if_they_may_write,
        directories_count_their_subdirectories,
        attributes_survive_a_remount,
        the_numbers_of_the_file_system_are_true,
        space_of_removed_files_can_be_used_again,
        inode_numbers_are_unique_and_stay,
    ]
);

/// Somebody, and somebody else.
const ANN: u32 = 1000;
const BOB: u32 = 1001;

fn owned(path: &Path, uid: u32, gid: u32, mode: u32) {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).unwrap();
    chmod(path, Mode::from_raw_mode(mode)).unwrap();
}

fn new_files_have_the_mode_and_owner_they_are_made_with() {
    let mount = Mounted::new();
    let shared = mount.path("tmp");
    as_user(ANN, 2000, || {
        let old = rustix::process::umask(Mode::from_raw_mode(0o027));
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o666).open(shared.join("f"));
        mkdir(shared.join("d"), Mode::from_raw_mode(0o777)).unwrap();
        symlink("x", shared.join("l")).unwrap();
        // The umask is the process's.
        rustix::process::umask(old);
        file.unwrap();
    });
    for (name, expected) in [("f", 0o640), ("d", 0o750), ("l", 0o777)] {
        let found = about(shared.join(name));
        assert_eq!((found.uid(), found.gid()), (ANN, 2000), "{name}");
        assert_eq!(found.mode() & 0o7777, expected, "{name}");
    }
    // A mode without the right to write, and a descriptor that has it.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o400).open(mount.path("r")).unwrap();
    file.write_all(b"x").unwrap();
    assert_eq!(mode(mount.path("r")), 0o400);
}

fn permissions_decide_what_others_may() {
    let mount = Mounted::new();
    let path = |name: &str| mount.path(name);
    let root = mount.root().to_owned();
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(path("hers")).unwrap();
    owned(&path("hers"), ANN, ANN, 0o700);
    fs::write(path("hers/file"), "x").unwrap();
    for (name, mode) in [("none", 0o000), ("read", 0o444), ("write", 0o222), ("group", 0o060)] {
        fs::write(path(name), "content").unwrap();
        owned(&path(name), ANN, ANN, mode);
    }
    as_user(BOB, ANN, || {
        refused(fs::read(path("none")), Errno::ACCESS);
        refused(fs::read(path("write")), Errno::ACCESS);
        has(path("read"), b"content");
        has(path("group"), b"content");
        OpenOptions::new().write(true).open(path("group")).unwrap();
        OpenOptions::new().write(true).open(path("write")).unwrap();
        refused(OpenOptions::new().write(true).open(path("read")), Errno::ACCESS);
        refused(fs::read(path("hers/file")), Errno::ACCESS);
        refused(fs::metadata(path("hers/file")), Errno::ACCESS);
        refused(fs::read_dir(path("hers")), Errno::ACCESS);
        refused(File::create(path("new")), Errno::ACCESS);
        refused(fs::create_dir(path("new")), Errno::ACCESS);
        refused(fs::remove_file(path("read")), Errno::ACCESS);
        refused(fs::rename(path("read"), path("x")), Errno::ACCESS);
        refused(symlink("x", path("x")), Errno::ACCESS);
        refused(File::create(path("read")), Errno::ACCESS);
        refused(accessat(CWD, path("read"), Access::WRITE_OK, AtFlags::EACCESS), Errno::ACCESS);
        accessat(CWD, path("read"), Access::READ_OK, AtFlags::EACCESS).unwrap();
    });
    as_user(ANN, BOB, || {
        // The owner's bits are the owner's, whatever others may.
        refused(OpenOptions::new().write(true).open(path("read")), Errno::ACCESS);
        refused(fs::read(path("group")), Errno::ACCESS);
        has(path("hers/file"), b"x");
        fs::write(path("hers/new"), "y").unwrap();
    });
    assert_eq!(about(path("hers/new")).uid(), ANN);
}

fn only_the_owner_changes_a_mode_and_only_root_an_owner() {
    let mount = Mounted::new();
    let path = mount.path("file");
    fs::write(&path, "x").unwrap();
    owned(&path, ANN, ANN, 0o666);
    let set = |mode| chmod(&path, Mode::from_raw_mode(mode));
    let give = |uid: Option<u32>, gid: Option<u32>| {
        chown(&path, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
    };
    as_user(BOB, ANN, || {
        refused(set(0o777), Errno::PERM);
        refused(give(Some(BOB), None), Errno::PERM);
    });
    as_user(ANN, ANN, || {
        set(0o604).unwrap();
        refused(give(Some(BOB), None), Errno::PERM);
        refused(give(None, Some(BOB)), Errno::PERM);
        give(None, Some(ANN)).unwrap();
    });
    give(Some(BOB), Some(BOB)).unwrap();
    let found = about(&path);
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (BOB, BOB, 0o604));
    // Large numbers are numbers, too.
    give(Some(4_000_000_000), Some(3_999_999_999)).unwrap();
    assert_eq!((about(&path).uid(), about(&path).gid()), (4_000_000_000, 3_999_999_999));
}

fn a_sticky_directory_keeps_names_for_their_owners() {
    let mount = Mounted::new();
    let shared = mount.path("tmp");
    assert_eq!(mode(&shared), 0o1777);
    as_user(ANN, ANN, || {
        fs::write(shared.join("hers"), "x").unwrap();
        owned(&shared.join("hers"), ANN, ANN, 0o666);
        fs::create_dir(shared.join("her-folder")).unwrap();
    });
    as_user(BOB, BOB, || {
        fs::write(shared.join("his"), "x").unwrap();
        fs::write(shared.join("hers"), "changed").unwrap();
        refused(fs::remove_file(shared.join("hers")), Errno::PERM);
        refused(fs::rename(shared.join("hers"), shared.join("x")), Errno::PERM);
        refused(fs::rename(shared.join("his"), shared.join("hers")), Errno::PERM);
        refused(fs::remove_dir(shared.join("her-folder")), Errno::PERM);
        fs::remove_file(shared.join("his")).unwrap();
    });
    as_user(ANN, ANN, || fs::remove_file(shared.join("hers")).unwrap());
}

fn new_entries_of_a_setgid_directory_have_its_group() {
    let mount = Mounted::new();
    let group = mount.path("group");
    fs::create_dir(&group).unwrap();
    owned(&group, ANN, 3000, 0o2777);
    as_user(BOB, BOB, || {
        fs::write(group.join("file"), "x").unwrap();
        fs::create_dir(group.join("dir")).unwrap();
        fs::create_dir(group.join("dir/dir")).unwrap();
    });
    for name in ["file", "dir", "dir/dir"] {
        let found = about(group.join(name));
        assert_eq!((found.uid(), found.gid()), (BOB, 3000), "{name}");
        assert_eq!(found.mode() & 0o2000 != 0, name != "file", "{name}");
    }
}

/// A file that anybody may write to, with set-ID bits.
fn armed(mount: &Mounted, name: &str, mode: u32) -> std::path::PathBuf {
    let path = mount.path(name);
    fs::write(&path, "content").unwrap();
    owned(&path, ANN, ANN, mode);
    path
}

fn writing_clears_setuid_and_setgid() {
    let mount = Mounted::new();
    let path = armed(&mount, "file", 0o6777);
    as_user(BOB, BOB, || edit(&path).write_at(b"x", 0).unwrap());
    assert_eq!(mode(&path), 0o777);
    // Without the group's right to execute, the bit means something else.
    let path = armed(&mount, "lock", 0o6767);
    as_user(BOB, BOB, || edit(&path).write_at(b"x", 0).unwrap());
    assert_eq!(mode(&path) & 0o4000, 0);
    let path = armed(&mount, "appended", 0o6777);
    as_user(BOB, BOB, || {
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
    });
    assert_eq!(mode(&path), 0o777);
}

fn truncating_clears_setuid_and_setgid() {
    let mount = Mounted::new();
    for (name, size) in [("shorter", 3), ("longer", 9000)] {
        let path = armed(&mount, name, 0o6777);
        as_user(BOB, BOB, || edit(&path).set_len(size).unwrap());
        assert_eq!(mode(&path), 0o777, "{name}");
    }
    let path = armed(&mount, "opened", 0o6777);
    as_user(BOB, BOB, || drop(OpenOptions::new().write(true).truncate(true).open(&path).unwrap()));
    assert_eq!(mode(&path), 0o777);
}

fn changing_the_owner_clears_setuid_and_setgid() {
    let mount = Mounted::new();
    let path = armed(&mount, "file", 0o6755);
    chown(&path, Some(Uid::from_raw(BOB)), None).unwrap();
    assert_eq!(mode(&path), 0o755);
    // Not of directories.
    let dir = mount.path("d");
    fs::create_dir(&dir).unwrap();
    owned(&dir, ANN, ANN, 0o6755);
    chown(&dir, Some(Uid::from_raw(BOB)), None).unwrap();
    assert_eq!(mode(&dir), 0o6755);
    // A mode with setgid is not for those outside of the group.
    let path = armed(&mount, "foreign", 0o755);
    chown(&path, Some(Uid::from_raw(BOB)), Some(Gid::from_raw(ANN))).unwrap();
    as_user(BOB, BOB, || chmod(&path, Mode::from_raw_mode(0o2755)).unwrap());
    assert_eq!(mode(&path), 0o755);
}

fn root_keeps_setuid_when_it_writes() {
    let mount = Mounted::new();
    let path = armed(&mount, "file", 0o6755);
    edit(&path).write_at(b"x", 0).unwrap();
    assert_eq!(mode(&path), 0o6755);
}

/// Modification and change, in nanoseconds.
fn stamps(about: &Metadata) -> (i128, i128) {
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    (nanoseconds(about.mtime(), about.mtime_nsec()), nanoseconds(about.ctime(), about.ctime_nsec()))
}

/// What of a file's times an action changes: modification, change.
#[track_caller]
fn changes(path: &Path, action: impl FnOnce()) -> (bool, bool) {
    // What was set to long ago cannot be now.
    let long_ago = Timespec { tv_sec: 1_000_000, tv_nsec: 1 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let before = stamps(&about(path));
    // Clocks of kernels go in steps.
    let clock = || rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let start = clock();
    while clock() <= start {
        std::thread::yield_now();
    }
    action();
    let after = stamps(&about(path));
    (before.0 != after.0, before.1 != after.1)
}

fn each_change_sets_the_times_it_has_to() {
    let mount = Mounted::new();
    for name in ["hello", "new"] {
        let path = mount.path(name);
        if name == "new" {
            make(&path);
        }
        let file = edit(&path);
        assert_eq!(
            changes(&path, || file.write_all_at(b"abc", 0).unwrap()),
            (true, true),
            "{name}"
        );
        assert_eq!(changes(&path, || file.set_len(2).unwrap()), (true, true), "{name}");
        assert_eq!(changes(&path, || file.set_len(9000).unwrap()), (true, true), "{name}");
        let permissions = PermissionsExt::from_mode(0o600);
        assert_eq!(
            changes(&path, || fs::set_permissions(&path, permissions).unwrap()),
            (false, true),
            "{name}"
        );
        let owner = Some(Uid::from_raw(ANN));
        assert_eq!(changes(&path, || chown(&path, owner, None).unwrap()), (false, true), "{name}");
        let read = || {
            let mut byte = [0];
            (&file).read_exact(&mut byte).unwrap();
        };
        assert_eq!(changes(&path, read), (false, false), "{name}");
        let rename = || {
            fs::rename(&path, mount.path("there")).unwrap();
            fs::rename(mount.path("there"), &path).unwrap();
        };
        assert!(!changes(&path, rename).0, "{name}");
        // Writing the same bytes again is writing.
        assert_eq!(changes(&path, || file.write_all_at(b"a", 0).unwrap()), (true, true), "{name}");
        let memory = Mapping::new(&file, 0, 9000, Use::Write).unwrap();
        let load = || {
            memory.get(0);
        };
        assert_eq!(changes(&path, load), (false, false), "{name}, loaded from");
        assert_eq!(changes(&path, || memory.set(0, 1)), (true, true), "{name}, stored to");
        // Writing nothing is not.
        assert_eq!(changes(&path, || drop(file.write_at(b"", 0))), (false, false), "{name}");
    }
    let dir = mount.path("dir");
    assert_eq!(changes(&dir, || drop(make(dir.join("x")))), (true, true));
    assert_eq!(changes(&dir, || fs::rename(dir.join("x"), dir.join("y")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::rename(dir.join("y"), mount.path("y")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::rename(mount.path("y"), dir.join("y")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::remove_file(dir.join("y")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::create_dir(dir.join("d")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::remove_dir(dir.join("d")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || symlink("x", dir.join("l")).unwrap()), (true, true));
    assert_eq!(changes(&dir, || fs::write(dir.join("file"), "inside").unwrap()), (false, false));
}

fn times_can_be_set_to_the_nanosecond_and_far_away() {
    let mount = Mounted::new();
    let path = mount.path("hello");
    // Before 1970, beyond 32 bits.
    for (seconds, nanoseconds) in
        [(0, 0), (-1_000_000, 999_999_999), (1 << 33, 1), (1_700_000_000, 123_456_789)]
    {
        let access = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let modification = Timespec { tv_sec: seconds + 1, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: access, last_modification: modification };
        utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let found = about(&path);
        assert_eq!((found.atime(), found.atime_nsec()), (seconds, nanoseconds));
        assert_eq!((found.mtime(), found.mtime_nsec()), (seconds + 1, nanoseconds));
    }
    // One of them stays.
    let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times =
        Timestamps { last_access: Timespec { tv_sec: 5, tv_nsec: 6 }, last_modification: keep };
    utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    let found = about(&path);
    assert_eq!((found.atime(), found.mtime(), found.mtime_nsec()), (5, 1_700_000_001, 123_456_789));
    // A link's are its own.
    symlink("hello", mount.path("l")).unwrap();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 7, tv_nsec: 0 },
        last_modification: Timespec { tv_sec: 8, tv_nsec: 0 },
    };
    utimensat(CWD, mount.path("l"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!((about(mount.path("l")).mtime(), about(&path).atime()), (8, 5));
}

fn others_may_set_times_to_now_only_if_they_may_write() {
    let mount = Mounted::new();
    let path = mount.path("file");
    fs::write(&path, "x").unwrap();
    owned(&path, ANN, ANN, 0o644);
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let now = Timestamps { last_access: now, last_modification: now };
    let then = Timespec { tv_sec: 5, tv_nsec: 0 };
    let then = Timestamps { last_access: then, last_modification: then };
    let set = |times| utimensat(CWD, &path, times, AtFlags::empty());
    as_user(BOB, BOB, || {
        refused(set(&now), Errno::ACCESS);
        refused(set(&then), Errno::PERM);
    });
    chmod(&path, Mode::from_raw_mode(0o666)).unwrap();
    as_user(BOB, BOB, || {
        set(&now).unwrap();
        refused(set(&then), Errno::PERM);
    });
    as_user(ANN, ANN, || set(&then).unwrap());
    assert_eq!(about(&path).mtime(), 5);
}

fn directories_count_their_subdirectories() {
    let mount = Mounted::new();
    let links = |name: &str| about(mount.path(name)).nlink();
    assert_eq!((links("dir"), links("dir/sub"), links("empty"), links("hello")), (3, 2, 2, 1));
    let root = links("");
    fs::create_dir(mount.path("dir/new")).unwrap();
    assert_eq!((links("dir"), links("dir/new")), (4, 2));
    fs::rename(mount.path("dir/new"), mount.path("empty/new")).unwrap();
    assert_eq!((links("dir"), links("empty")), (3, 3));
    fs::rename(mount.path("dir/sub"), mount.path("empty/new")).unwrap();
    assert_eq!((links("dir"), links("empty"), links("empty/new")), (2, 3, 2));
    fs::remove_dir_all(mount.path("empty")).unwrap();
    assert_eq!(links(""), root - 1);
    let dir = File::open(mount.path("dir")).unwrap();
    fs::remove_dir_all(mount.path("dir")).unwrap();
    assert_eq!(dir.metadata().unwrap().nlink(), 0);
    refused(make_in(&dir), Errno::NOENT);
}

/// Makes a file in an open directory.
fn make_in(dir: &File) -> Result<(), Errno> {
    use rustix::fs::{OFlags, openat};
    openat(dir, "x", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).map(drop)
}

fn attributes_survive_a_remount() {
    let options = format!("rw,keep,branch={},parent=main", own_name("attributes"));
    let mount = Mounted::range(&options).unwrap();
    let known = |path: &Path| {
        let found = about(path);
        let times = (stamps(&found), found.atime(), found.atime_nsec());
        (
            found.mode(),
            found.uid(),
            found.gid(),
            found.size(),
            found.nlink(),
            found.ino(),
            found.blocks(),
            times,
        )
    };
    let list = ["hello", "dir", "new", "sparse", "folder", "l", ""];
    owned(&mount.path("hello"), ANN, BOB, 0o4711);
    owned(&mount.path("dir"), BOB, ANN, 0o2770);
    fs::write(mount.path("new"), "some").unwrap();
    let then = Timespec { tv_sec: 5, tv_nsec: 7 };
    let times = Timestamps { last_access: then, last_modification: then };
    utimensat(CWD, mount.path("new"), &times, AtFlags::empty()).unwrap();
    make(mount.path("sparse")).write_all_at(b"end", 1 << 33).unwrap();
    fs::create_dir_all(mount.path("folder/folder")).unwrap();
    symlink("where", mount.path("l")).unwrap();
    let before = list.map(|name| known(&mount.path(name)));
    mount.unmount();
    let mount = Mounted::range(&options).unwrap();
    for (name, before) in list.iter().zip(before) {
        assert_eq!(known(&mount.path(name)), before, "{name}");
    }
    crate::branch::abort(&mount.open()).unwrap();
}

fn the_numbers_of_the_file_system_are_true() {
    let mount = Mounted::new();
    let before = statvfs(mount.root()).unwrap();
    assert_eq!((before.f_bsize, before.f_namemax), (4096, 128));
    assert!(before.f_bfree <= before.f_blocks && before.f_bavail <= before.f_bfree);
    assert!(before.f_blocks * before.f_frsize <= tree::RANGE);
    let magic = rustix::fs::statfs(mount.root()).unwrap().f_type;
    assert_eq!(magic as u32, daxfs_format::superblock::MAGIC);
    let content = vec![1; 8 << 20];
    fs::write(mount.path("large"), &content).unwrap();
    let after = statvfs(mount.root()).unwrap();
    let taken = before.f_bfree - after.f_bfree;
    assert!((2048..2048 + 256).contains(&taken), "{taken} blocks for 8 MiB");
    assert_eq!(about(mount.path("large")).blocks(), 16384);
    let read_only = rustix::fs::StatVfsMountFlags::RDONLY;
    assert!(!after.f_flag.contains(read_only));
    let main = Mounted::main();
    assert!(statvfs(main.root()).unwrap().f_flag.contains(read_only));
    assert_ne!(about(main.root()).dev(), about(mount.root()).dev());
}

fn space_of_removed_files_can_be_used_again() {
    let mount = Mounted::new();
    let free = || statvfs(mount.root()).unwrap().f_bfree;
    let content = vec![1; 4 << 20];
    let start = free();
    for round in 0..20 {
        fs::write(mount.path("file"), &content).unwrap();
        fs::remove_file(mount.path("file")).unwrap();
        assert!(
            start - free() < 3 * 1024,
            "round {round}: {} of {start} blocks are gone",
            start - free()
        );
    }
    assert!(!exists(mount.path("file")));
}

fn inode_numbers_are_unique_and_stay() {
    let mount = Mounted::new();
    let mut seen = std::collections::HashMap::new();
    let mut note = |path: &Path| {
        let old = seen.insert(about(path).ino(), path.to_owned());
        assert_eq!(old, None, "{}", path.display());
    };
    for name in ["hello", "dir", "dir/sub", "dir/sub/deep", "big", "link", "many", ""] {
        note(&mount.path(name));
    }
    for index in 0..tree::MANY {
        note(&mount.path("many").join(tree::many(index)));
    }
    for index in 0..300 {
        let path = mount.path(format!("new-{index}"));
        make(&path);
        note(&path);
    }
    let ino = about(mount.path("hello")).ino();
    fs::write(mount.path("hello"), "changed").unwrap();
    assert_eq!(about(mount.path("hello")).ino(), ino);
    assert_eq!(Mounted::main().path("hello").metadata().unwrap().ino(), ino);
}
