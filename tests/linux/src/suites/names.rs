//! Names: what they may be, how they come and go.

use crate::check::suite;
use crate::files::{Errno, about, content, edit, exists, has, make, names, refused};
use crate::mounted::{Mounted, own_name};
use crate::tree;
use rustix::fs::{CWD, RenameFlags, link, renameat_with};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

suite!(
    "names",
    60,
    [
        the_base_is_there,
        names_of_128_bytes_work_everywhere_and_longer_ones_nowhere,
        names_are_bytes,
        what_is_missing_or_of_another_kind_is_told,
        exclusive_creation_finds_what_is_there,
        symbolic_links_are_followed_to_their_end,
        there_are_no_hard_links,
        removing_keeps_the_rules_of_directories,
        removed_names_of_the_base_stay_removed,
        a_removed_name_can_be_used_again,
        renaming_replaces_what_may_be_replaced,
        renaming_refuses_what_makes_no_sense,
        renaming_with_noreplace_replaces_nothing,
        renaming_with_exchange_exchanges_anything,
        renaming_with_other_flags_is_refused,
        a_renamed_file_is_the_same_file,
        a_renamed_directory_of_the_base_has_its_content,
        a_read_only_mount_changes_nothing,
        paths_through_parents_are_right_after_a_move,
    ]
);

fn rename_with(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    renameat_with(CWD, from, CWD, to, flags)
}

fn the_base_is_there() {
    let main = Mounted::main();
    let expected = [
        "aligned", "big", "bin", "dir", "empty", "hello", "huge", "link", "many", "mnt", "small",
        "tmp",
    ];
    assert_eq!(names(main.root()), expected);
    has(main.path("hello"), tree::HELLO.as_bytes());
    has(main.path("link"), tree::HELLO.as_bytes());
    has(main.path("dir/sub/deep"), b"deep\n");
    has(main.path("big"), &tree::patterns(0, tree::BIG));
    for index in 0..tree::MANY {
        has(main.path("many").join(tree::many(index)), tree::many(index).as_bytes());
    }
}

fn names_of_128_bytes_work_everywhere_and_longer_ones_nowhere() {
    let mount = Mounted::new();
    let [longest, longer] = [128, 129].map(|len| "n".repeat(len));
    let (path, beyond) = (mount.path(&longest), mount.path(&longer));
    make(&path);
    assert!(names(mount.root()).contains(&longest));
    fs::rename(&path, mount.path("x")).unwrap();
    fs::rename(mount.path("x"), &path).unwrap();
    refused(rename_with(&mount.path("hello"), &beyond, RenameFlags::empty()), Errno::NAMETOOLONG);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join(&longest), "deep").unwrap();
    has(path.join(&longest), b"deep");
    fs::remove_dir_all(&path).unwrap();
    symlink("target", &path).unwrap();
    fs::remove_file(&path).unwrap();
    refused(fs::File::create(&beyond), Errno::NAMETOOLONG);
    refused(fs::create_dir(&beyond), Errno::NAMETOOLONG);
    refused(symlink("target", &beyond), Errno::NAMETOOLONG);
    refused(fs::metadata(&beyond), Errno::NAMETOOLONG);
    refused(fs::remove_file(&beyond), Errno::NAMETOOLONG);
    refused(fs::metadata(mount.path("n".repeat(300))), Errno::NAMETOOLONG);
}

fn names_are_bytes() {
    let mount = Mounted::new();
    let odd: [&[u8]; 7] =
        [b"\xff\xfe", b" ", b"a\nb", b"...", b"-", b"\x01", "\u{fc}\u{20ac}\u{1f980}".as_bytes()];
    for name in odd {
        fs::write(mount.path(OsStr::from_bytes(name)), name).unwrap();
    }
    let found: Vec<_> =
        fs::read_dir(mount.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in odd {
        has(mount.path(OsStr::from_bytes(name)), name);
        assert_eq!(found.iter().filter(|found| found.as_bytes() == name).count(), 1, "{name:?}");
    }
    // Case matters.
    assert!(!exists(mount.path("HELLO")));
}

fn what_is_missing_or_of_another_kind_is_told() {
    let mount = Mounted::new();
    refused(fs::File::open(mount.path("nothing")), Errno::NOENT);
    refused(fs::File::open(mount.path("nothing/file")), Errno::NOENT);
    refused(fs::File::open(mount.path("hello/file")), Errno::NOTDIR);
    refused(fs::File::create(mount.path("nothing/file")), Errno::NOENT);
    refused(fs::File::options().write(true).open(mount.path("dir")), Errno::ISDIR);
    refused(fs::File::create(mount.path("dir")), Errno::ISDIR);
    refused(fs::read(mount.path("dir")), Errno::ISDIR);
    refused(fs::read_dir(mount.path("hello")), Errno::NOTDIR);
    refused(fs::create_dir(mount.path("hello")), Errno::EXIST);
    refused(fs::create_dir(mount.path("dir")), Errno::EXIST);
    refused(symlink("x", mount.path("hello")), Errno::EXIST);
    refused(fs::create_dir(mount.path("nothing/dir")), Errno::NOENT);
    refused(fs::read_link(mount.path("hello")), Errno::INVAL);
    refused(fs::File::options().write(true).open(mount.path("bin/busybox/")), Errno::NOTDIR);
}

fn exclusive_creation_finds_what_is_there() {
    let mount = Mounted::new();
    let exclusive = |name: &str| {
        fs::File::options().write(true).create_new(true).open(mount.path(name)).map(drop)
    };
    refused(exclusive("hello"), Errno::EXIST);
    refused(exclusive("dir"), Errno::EXIST);
    symlink("nowhere", mount.path("dangling")).unwrap();
    refused(exclusive("dangling"), Errno::EXIST);
    exclusive("new").unwrap();
    refused(exclusive("new"), Errno::EXIST);
    // Not exclusive, it makes what the link names.
    fs::write(mount.path("dangling"), "made").unwrap();
    has(mount.path("nowhere"), b"made");
}

fn symbolic_links_are_followed_to_their_end() {
    let mount = Mounted::new();
    let longest = format!("{}hello", "./".repeat(2045));
    assert_eq!(longest.len(), 4095);
    for (name, target) in
        [("one", "hello"), ("two", "one"), ("up", "dir/../two"), ("long", &*longest)]
    {
        symlink(target, mount.path(name)).unwrap();
        assert_eq!(fs::read_link(mount.path(name)).unwrap(), Path::new(target));
        assert_eq!(about(mount.path(name)).size(), target.len() as u64);
        has(mount.path(name), tree::HELLO.as_bytes());
    }
    refused(symlink("x".repeat(4096), mount.path("longer")), Errno::NAMETOOLONG);
    refused(symlink("", mount.path("none")), Errno::NOENT);
    symlink("loop2", mount.path("loop1")).unwrap();
    symlink("loop1", mount.path("loop2")).unwrap();
    refused(fs::read(mount.path("loop1")), Errno::LOOP);
    symlink("dir", mount.path("folder")).unwrap();
    has(mount.path("folder/sub/deep"), b"deep\n");
    refused(fs::remove_dir(mount.path("folder")), Errno::NOTDIR);
    fs::remove_file(mount.path("folder")).unwrap();
    has(mount.path("dir/sub/deep"), b"deep\n");
    assert_eq!(fs::read_link(mount.path("link")).unwrap(), Path::new("hello"));
}

fn there_are_no_hard_links() {
    let mount = Mounted::new();
    make(mount.path("new"));
    for name in ["hello", "new", "link"] {
        refused(link(mount.path(name), mount.path("another")), Errno::PERM);
    }
    refused(link(mount.path("dir"), mount.path("another")), Errno::PERM);
    assert!(!exists(mount.path("another")));
    assert_eq!(about(mount.path("hello")).nlink(), 1);
}

fn removing_keeps_the_rules_of_directories() {
    let mount = Mounted::new();
    refused(rustix::fs::unlink(mount.path("dir")), Errno::ISDIR);
    refused(fs::remove_dir(mount.path("hello")), Errno::NOTDIR);
    refused(fs::remove_dir(mount.path("dir")), Errno::NOTEMPTY);
    refused(fs::remove_dir(mount.path("nothing")), Errno::NOENT);
    refused(rustix::fs::rmdir(mount.path("dir/sub/.")), Errno::INVAL);
    refused(rustix::fs::rmdir(mount.path("dir/sub/..")), Errno::NOTEMPTY);
    refused(rustix::fs::unlink(mount.path("nothing")), Errno::NOENT);
    refused(rustix::fs::unlink(mount.path("hello/x")), Errno::NOTDIR);
    fs::remove_dir(mount.path("empty")).unwrap();
    fs::remove_dir_all(mount.path("dir")).unwrap();
    assert!(!exists(mount.path("dir")) && !exists(mount.path("empty")));
    // A directory that is empty because everything of the base in it was removed.
    fs::remove_dir_all(mount.path("many")).unwrap();
    fs::create_dir(mount.path("many")).unwrap();
    assert_eq!(names(mount.path("many")), Vec::<String>::new());
}

fn removed_names_of_the_base_stay_removed() {
    let options = format!("rw,keep,branch={},parent=main", own_name("removed"));
    let mount = Mounted::range(&options).unwrap();
    fs::remove_file(mount.path("hello")).unwrap();
    fs::rename(mount.path("small"), mount.path("renamed")).unwrap();
    fs::remove_file(mount.path("many").join(tree::many(7))).unwrap();
    mount.unmount();
    let mount = Mounted::range(&options).unwrap();
    assert!(!exists(mount.path("hello")) && !exists(mount.path("small")));
    has(mount.path("renamed"), b"abc");
    let found = names(mount.path("many"));
    assert_eq!(found.len(), tree::MANY - 1);
    assert!(!found.contains(&tree::many(7)));
    let root = names(mount.root());
    assert!(!root.contains(&"hello".into()) && root.contains(&"renamed".into()), "{root:?}");
    crate::branch::abort(&mount.open()).unwrap();
}

fn a_removed_name_can_be_used_again() {
    let mount = Mounted::new();
    for round in 0..3_u8 {
        fs::remove_file(mount.path("hello")).unwrap();
        refused(fs::read(mount.path("hello")), Errno::NOENT);
        fs::create_dir(mount.path("hello")).unwrap();
        fs::remove_dir(mount.path("hello")).unwrap();
        symlink("small", mount.path("hello")).unwrap();
        has(mount.path("hello"), b"abc");
        fs::remove_file(mount.path("hello")).unwrap();
        fs::write(mount.path("hello"), [round]).unwrap();
        has(mount.path("hello"), &[round]);
    }
}

fn renaming_replaces_what_may_be_replaced() {
    let mount = Mounted::new();
    fs::write(mount.path("new"), "new").unwrap();
    fs::rename(mount.path("new"), mount.path("hello")).unwrap();
    has(mount.path("hello"), b"new");
    assert!(!exists(mount.path("new")));
    // Over itself.
    fs::rename(mount.path("hello"), mount.path("hello")).unwrap();
    has(mount.path("hello"), b"new");
    // A file of the base over one of the branch, a link over a file.
    fs::rename(mount.path("small"), mount.path("hello")).unwrap();
    has(mount.path("hello"), b"abc");
    fs::rename(mount.path("link"), mount.path("dir/file")).unwrap();
    assert_eq!(fs::read_link(mount.path("dir/file")).unwrap(), Path::new("hello"));
    // A directory over an empty one.
    fs::rename(mount.path("dir"), mount.path("empty")).unwrap();
    has(mount.path("empty/sub/deep"), b"deep\n");
    refused(
        rename_with(&mount.path("many"), &mount.path("empty"), RenameFlags::empty()),
        Errno::NOTEMPTY,
    );
    fs::remove_dir_all(mount.path("empty")).unwrap();
    fs::create_dir(mount.path("empty")).unwrap();
    fs::rename(mount.path("many"), mount.path("empty")).unwrap();
    assert_eq!(names(mount.path("empty")).len(), tree::MANY);
}

fn renaming_refuses_what_makes_no_sense() {
    let mount = Mounted::new();
    let plain = RenameFlags::empty();
    let refuse = |from: &str, to: &str, errno| {
        refused(rename_with(&mount.path(from), &mount.path(to), plain), errno);
    };
    refuse("hello", "empty", Errno::ISDIR);
    refuse("empty", "hello", Errno::NOTDIR);
    refuse("dir", "dir/sub/dir", Errno::INVAL);
    refuse("dir", "dir/dir", Errno::INVAL);
    refuse("dir/sub", "dir", Errno::NOTEMPTY);
    refuse("nothing", "x", Errno::NOENT);
    refuse("hello", "nothing/x", Errno::NOENT);
    refuse("hello", "small/x", Errno::NOTDIR);
    refuse("dir/.", "x", Errno::BUSY);
    refuse("dir/..", "x", Errno::BUSY);
    refuse("hello", "dir/..", Errno::BUSY);
    // Somewhere else altogether.
    refused(rename_with(&mount.path("hello"), Path::new("/tmp/x"), plain), Errno::XDEV);
    has(mount.path("hello"), tree::HELLO.as_bytes());
    has(mount.path("dir/sub/deep"), b"deep\n");
}

fn renaming_with_noreplace_replaces_nothing() {
    let mount = Mounted::new();
    let (from, to) = (mount.path("hello"), mount.path("small"));
    refused(rename_with(&from, &to, RenameFlags::NOREPLACE), Errno::EXIST);
    refused(rename_with(&from, &mount.path("empty"), RenameFlags::NOREPLACE), Errno::EXIST);
    has(&to, b"abc");
    rename_with(&from, &mount.path("free"), RenameFlags::NOREPLACE).unwrap();
    has(mount.path("free"), tree::HELLO.as_bytes());
    assert!(!exists(from));
}

fn renaming_with_exchange_exchanges_anything() {
    let mount = Mounted::new();
    let exchange = |one: &str, other: &str| {
        rename_with(&mount.path(one), &mount.path(other), RenameFlags::EXCHANGE)
    };
    exchange("hello", "small").unwrap();
    has(mount.path("hello"), b"abc");
    has(mount.path("small"), tree::HELLO.as_bytes());
    // A file and a directory, in different directories.
    let links = |name: &str| about(mount.path(name)).nlink();
    let (root, dir) = (about(mount.root()).nlink(), links("dir"));
    fs::write(mount.path("new"), "new").unwrap();
    exchange("dir/sub", "new").unwrap();
    has(mount.path("dir/sub"), b"new");
    has(mount.path("new/deep"), b"deep\n");
    assert_eq!((about(mount.root()).nlink(), links("dir")), (root + 1, dir - 1));
    has(mount.path("new/../hello"), b"abc");
    // A directory and one inside of it cannot change places.
    refused(exchange("dir", "dir/sub/x"), Errno::NOTDIR);
    fs::create_dir(mount.path("dir/inner")).unwrap();
    refused(exchange("dir", "dir/inner"), Errno::INVAL);
    refused(exchange("dir/inner", "dir"), Errno::INVAL);
    refused(exchange("hello", "nothing"), Errno::NOENT);
    refused(exchange("nothing", "hello"), Errno::NOENT);
}

fn renaming_with_other_flags_is_refused() {
    let mount = Mounted::new();
    let (from, to) = (mount.path("hello"), mount.path("x"));
    refused(rename_with(&from, &to, RenameFlags::WHITEOUT), Errno::INVAL);
    let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
    refused(rename_with(&from, &to, both), Errno::INVAL);
    assert!(exists(from) && !exists(to));
}

fn a_renamed_file_is_the_same_file() {
    let mount = Mounted::new();
    for name in ["hello", "new"] {
        let path = mount.path(name);
        if name == "new" {
            fs::write(&path, "new\n").unwrap();
        }
        let mut file = edit(&path);
        let ino = about(&path).ino();
        let there = mount.path("dir/there");
        fs::rename(&path, &there).unwrap();
        assert_eq!((about(&there).ino(), file.metadata().unwrap().ino()), (ino, ino));
        file.write_all(b"written").unwrap();
        assert!(content(&there).starts_with(b"written"));
        fs::remove_file(there).unwrap();
    }
}

fn a_renamed_directory_of_the_base_has_its_content() {
    let mount = Mounted::new();
    fs::rename(mount.path("many"), mount.path("dir/sub/several")).unwrap();
    let there = mount.path("dir/sub/several");
    assert_eq!(names(&there).len(), tree::MANY);
    for index in [0, 1, tree::MANY - 1] {
        has(there.join(tree::many(index)), tree::many(index).as_bytes());
    }
    fs::write(there.join("another"), "x").unwrap();
    fs::rename(mount.path("dir"), mount.path("empty/dir")).unwrap();
    assert_eq!(names(mount.path("empty/dir/sub/several")).len(), tree::MANY + 1);
    refused(fs::metadata(mount.path("many")), Errno::NOENT);
}

fn a_read_only_mount_changes_nothing() {
    let main = Mounted::main();
    refused(fs::File::create(main.path("new")), Errno::ROFS);
    refused(fs::File::options().write(true).open(main.path("hello")), Errno::ROFS);
    refused(fs::create_dir(main.path("new")), Errno::ROFS);
    refused(fs::remove_file(main.path("hello")), Errno::ROFS);
    refused(fs::remove_dir(main.path("empty")), Errno::ROFS);
    refused(fs::rename(main.path("hello"), main.path("new")), Errno::ROFS);
    refused(symlink("x", main.path("new")), Errno::ROFS);
    refused(
        fs::set_permissions(main.path("hello"), about(main.path("dir")).permissions()),
        Errno::ROFS,
    );
    refused(rustix::fs::access(main.path("hello"), rustix::fs::Access::WRITE_OK), Errno::ROFS);
}

fn paths_through_parents_are_right_after_a_move() {
    let mount = Mounted::new();
    fs::create_dir_all(mount.path("a/b/c")).unwrap();
    fs::create_dir(mount.path("z")).unwrap();
    fs::write(mount.path("z/mark"), "z").unwrap();
    let root = about(mount.root()).ino();
    assert_eq!(about(mount.path("a/..")).ino(), root);
    fs::rename(mount.path("a/b"), mount.path("z/b")).unwrap();
    has(mount.path("z/b/../mark"), b"z");
    assert_eq!(about(mount.path("z/b/..")).ino(), about(mount.path("z")).ino());
    assert_eq!(about(mount.path("z/b/c/../../..")).ino(), root);
}
