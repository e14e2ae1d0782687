//! The shell on a small image in memory.

mod world;

use crate::Crash;
use crate::fill::Stream;
use crate::shell::{Flow, Shell};
use daxfs::{LastLink, MountOptions, RegionOffset};
use sha2::{Digest, Sha256};
use std::format;
use std::string::String;
use std::vec;
use world::{HOSTNAME, World};

#[test]
fn base_files_print_byte_for_byte() {
    let mut world = World::new();
    assert_eq!(world.ok("cat /etc/hostname link").as_bytes(), [HOSTNAME, HOSTNAME].concat());
}

#[test]
fn what_is_written_is_printed_and_nothing_is_added() {
    let mut world = World::new();
    assert_eq!(world.ok(r#"write f "a\n\"b"; append f ''; append f ' c'; cat f"#), "a\n\"b c");
    assert_eq!(world.ok("write f x; cat f"), "x", "the old content is gone");
    assert_eq!(world.ok("append new y; cat new"), "y", "append makes the file");
}

#[test]
fn writing_to_a_base_file_changes_the_branch_alone() {
    let mut world = World::new();
    assert_eq!(world.ok("append /etc/hostname more; cat link; branch abort"), "dax\nmore");
    assert_eq!(world.ok("cat /etc/hostname"), "dax\n");
}

#[test]
fn errors_name_command_argument_and_errno() {
    let mut world = World::new();
    assert_eq!(world.fails(1, "cat /nope"), "cat: /nope: no such file or directory (ENOENT)\n");
    assert_eq!(world.fails(1, "cat /etc"), "cat: /etc: is a directory (EISDIR)\n");
    assert_eq!(world.fails(2, "cat /etc/null"), "cat: /etc/null: not a regular file\n");
    assert_eq!(world.fails(2, "mkdir"), "usage: mkdir [-p] PATH...\n");
    assert_eq!(world.fails(2, "ls -z"), "usage: ls [-alR] [PATH...]\n");
    assert_eq!(world.fails(127, "nonsense"), "nonsense: unknown command, try 'help'\n");
    assert_eq!(world.fails(2, "echo 'x"), "quote without an end (line 1)\n");
}

#[test]
fn a_script_goes_on_and_has_the_status_of_its_first_failure() {
    let mut world = World::new();
    assert_eq!(world.run("nonsense; cat /nope; echo still here"), 127);
    assert_eq!(world.system.printed, b"still here\n");
    assert_eq!(world.run("echo a; halt; echo b"), 0);
    assert_eq!(world.system.printed, b"a\n");
    assert_eq!(world.run("cat /nope; halt"), 1);
    assert_eq!(world.run("cat /nope; halt 7"), 7);
    assert_eq!(world.run("halt 256"), 2);
    assert_eq!(world.run(""), 0);
}

#[test]
fn lines_of_a_console_do_not_inherit_failures() {
    let mut world = World::new();
    let mut shell = Shell::new(&world.mount, &mut world.system);
    assert_eq!(shell.run_line(b"cat /nope"), Flow::Continue);
    assert_eq!(shell.run_line(b"halt"), Flow::Halt(0));
}

#[test]
fn fill_writes_the_documented_stream() {
    let mut world = World::new();
    let printed = world.ok("fill big 200001 42; sha256sum big; stat big");
    let mut expected = vec![0; 200_001];
    Stream::new(42).fill(&mut expected);
    let digest: String = Sha256::digest(&expected).iter().map(|b| format!("{b:02x}")).collect();
    assert!(printed.starts_with(&format!("{digest}  big\n")), "{printed}");
    assert!(printed.contains("Size: 200001\t"), "{printed}");
    // Shorter than before: nothing of the old content is left.
    expected.truncate(4096);
    world.ok("fill big 4K 42");
    let ino = world.mount.resolve(b"/big", LastLink::Follow).unwrap().ino;
    let mut read = vec![0; 5000];
    assert_eq!(world.mount.read(ino, 0, &mut read).unwrap(), 4096);
    assert_eq!(read[..4096], expected);
}

#[test]
fn checksums_see_holes_as_zeros() {
    let mut world = World::new();
    let printed = world.ok("write f x; truncate f 1M; sha256sum f");
    let mut expected = vec![0; 1 << 20];
    expected[0] = b'x';
    let digest: String = Sha256::digest(&expected).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(printed, format!("{digest}  f\n"));
}

#[test]
fn hexdump_looks_like_hexdump() {
    let mut world = World::new();
    let expected = "\
00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|
00000010  7f 0a                                             |..|
00000012
";
    assert_eq!(world.ok("write f '0123456789abcdef\x7f\n'; hexdump f"), expected);
    assert_eq!(world.ok("hexdump /etc/hostname 1").lines().count(), 2);
    assert_eq!(world.ok("touch e; hexdump e"), "00000000\n");
}

#[test]
fn listings_are_sorted_and_say_what_things_are() {
    let mut world = World::new();
    assert_eq!(world.ok("touch b a .hidden; ls"), "a\nb\netc\nlink\n");
    assert_eq!(world.ok("ls -a").lines().take(3).collect::<vec::Vec<_>>(), [".", "..", ".hidden"]);
    let long = world.ok("ls -l / /etc");
    assert!(long.contains("lrwxrwxrwx   1     0     0         12 2001-09-09 01:46:40 link -> "));
    assert!(long.contains("crw-rw-rw-   1     0     0    1,    3 "), "{long}");
    assert!(long.contains("\n/etc:\n"), "{long}");
    assert_eq!(world.ok("ls etc/hostname"), "etc/hostname\n");
    assert_eq!(world.ok("mkdir -p d/e; touch d/e/f; ls -R d"), "d:\ne\n\nd/e:\nf\n");
}

#[test]
fn trees_show_everything_once() {
    let mut world = World::new();
    let expected = "\
/
├── etc
│   ├── hostname
│   └── null
└── link -> etc/hostname

1 directories, 3 files
";
    assert_eq!(world.ok("tree /"), expected);
    assert_eq!(world.ok("find /"), "/\n/etc\n/etc/hostname\n/etc/null\n/link\n");
    assert_eq!(world.ok("cd etc; find"), ".\n./hostname\n./null\n");
}

#[test]
fn the_working_directory_is_where_relative_paths_start() {
    let mut world = World::new();
    assert_eq!(
        world.ok("mkdir -p a/b; cd a/b; write f x; cd ..; pwd; cat b/f; cd; pwd"),
        "/a\nx/\n"
    );
    assert_eq!(world.ok("cd ../..; pwd"), "/\n");
    assert_eq!(world.fails(1, "cd link"), "cd: link: not a directory (ENOTDIR)\n");
    assert_eq!(world.run("cd nope; pwd"), 1);
    assert_eq!(world.system.printed, b"/\n");
}

#[test]
fn directories_are_made_with_their_ancestors_on_request_only() {
    let mut world = World::new();
    world.fails(1, "mkdir x/y");
    world.ok("mkdir -p x/y/z; mkdir -p x/y; ls x/y/z");
    assert!(world.fails(1, "mkdir x").contains("EEXIST"));
    assert!(world.fails(1, "mkdir -p etc/hostname/x").contains("ENOTDIR"));
}

#[test]
fn removing_is_recursive_on_request_only() {
    let mut world = World::new();
    assert!(world.fails(1, "rm etc").contains("EISDIR"));
    assert!(world.fails(1, "rmdir etc").contains("ENOTEMPTY"));
    world.ok("mkdir -p a/b/c a/d; touch a/b/f a/b/c/g a/h; rm -r a etc; rm -f nope");
    assert_eq!(world.ok("ls"), "link\n");
    assert!(world.fails(1, "rm nope").contains("ENOENT"));
    assert!(world.fails(1, "cat link").contains("ENOENT"), "the link leads nowhere now");
    assert!(world.fails(1, "rm -r /").contains("EINVAL"));
}

#[test]
fn moving_knows_directories_from_names() {
    let mut world = World::new();
    world.ok("write a 1; write b 2; mkdir d; mv a b d; mv d/a d/c; mv d e");
    assert_eq!(world.ok("find e; cat e/b e/c"), "e\ne/b\ne/c\n21");
    assert!(world.fails(1, "write x 1; write y 2; mv -n x y").contains("EEXIST"));
    assert!(world.fails(1, "mv x y nowhere").contains("ENOTDIR"));
    assert_eq!(world.ok("mv x y; cat y"), "1");
}

#[test]
fn links_are_symbolic_or_refused() {
    let mut world = World::new();
    assert_eq!(
        world.ok("ln -s ../etc/hostname etc/l; cat etc/l; readlink etc/l"),
        "dax\n../etc/hostname\n"
    );
    assert!(world.fails(1, "ln etc/hostname hard").contains("EPERM"));
}

#[test]
fn attributes_change_as_told() {
    let mut world = World::new();
    let printed = world.ok("touch f; chmod 4751 f; chown 7:8 f; mkfifo p; stat f p");
    assert!(printed.contains("Access: (4751/-rwsr-x--x)\tUid: 7\tGid: 8"), "{printed}");
    assert!(printed.contains("Access: (0644/prw-r--r--)"), "{printed}");
    assert!(world.fails(2, "chmod rwx f").contains("not an octal mode"));
    assert!(world.ok("touch f; stat f").contains("Modify: 2000-02-29 00:00:00.000000000"));
}

#[test]
fn branches_are_made_left_committed_and_aborted() {
    let mut world = World::new();
    assert_eq!(world.ok("branch list").lines().count(), 2);
    world.ok("write f parent; branch create child; write f child");
    let listed = world.ok("branch");
    assert!(listed.contains("* child (from guest), "), "{listed}");
    assert!(listed.contains("  guest (from main), "), "{listed}");
    assert_eq!(world.ok("branch abort; cat f"), "parent");
    assert_eq!(world.ok("branch create other; write f other; branch commit; cat f"), "other");
    assert!(world.ok("branch list").contains("* guest (from main)"));
    assert_eq!(world.ok("branch create x main; ls"), "etc\nlink\n");
    assert_eq!(world.ok("branch abort; branch switch guest; cat f"), "other");
    assert!(world.fails(1, "branch switch nope").contains("no such branch: 'nope' (ENOENT)"));
    assert!(world.fails(2, "branch create a/b").contains("not a branch name"));
    assert!(world.fails(2, "branch frobnicate").starts_with("usage: branch "));
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let mut world = World::mounted(&MountOptions::default());
    for command in [
        "write f x",
        "append etc/hostname x",
        "fill f 1 1",
        "truncate etc/hostname 0",
        "touch f",
        "mkdir d",
        "rm link",
        "rmdir etc",
        "mv link l",
        "ln -s a b",
        "mkfifo p",
        "chmod 600 link",
        "chown 1 link",
        "branch create b",
        "branch commit",
        "bench",
    ] {
        let message = world.fails(1, command);
        assert!(message.contains("read-only"), "{command}: {message}");
    }
    assert!(world.ok("selftest").contains("6 checks, 0 failed"));
}

#[test]
fn status_commands_say_what_is_mounted() {
    let mut world = World::new();
    let printed = world.ok("mount; df; meminfo; date; uptime; sync");
    for part in [
        "range   phys=0x100000000,size=0x800000\n",
        "branch  guest\nparent  main\naccess  read-write, kept\n",
        "heap    1 KiB of 1 MiB used\n",
        "0000000000200000 000000200000 r-x code, 4 KiB\n",
        "2000-02-29 00:00:00 UTC\n",
    ] {
        assert!(printed.contains(part), "{part}\n---\n{printed}");
    }
    assert_eq!(world.ok("write a b; du a"), "4\ta\n");
}

#[test]
fn the_selftest_passes_and_cleans_up() {
    let mut world = World::new();
    let printed = world.ok("selftest; ls -a");
    assert!(printed.ends_with("17 checks, 0 failed\n.\n..\netc\nlink\n"), "{printed}");
}

#[test]
fn the_selftest_notices_a_writable_base() {
    let mut world = World::new();
    world.system.base_writable = true;
    assert!(world.fails(1, "selftest").contains("not everything is as it should be"));
    let printed = String::from_utf8(world.system.printed.clone()).unwrap();
    assert!(printed.contains("FAILED  the base image cannot be written to"), "{printed}");
}

#[test]
fn a_commit_and_the_end_of_a_branch_are_measured() {
    let mut world = World::new();
    world.ok("branch create work; touch /f");
    let printed = world.ok("bench commit");
    let mut counts = printed.split_whitespace().map(|count| count.parse::<u64>().unwrap());
    assert!(counts.next().unwrap() < counts.next().unwrap(), "{printed}");
    world.system.patience = Some(0);
    world.fails(130, "bench stale /f");
}

#[test]
fn the_benchmark_measures_and_cleans_up() {
    let mut world = World::new();
    let printed = world.ok("bench 1M; ls -a");
    assert_eq!(printed.matches("MB/s").count(), 7, "{printed}");
    assert!(printed.ends_with(".\n..\netc\nlink\n"), "{printed}");
    assert_eq!(world.fails(1, "bench 1"), "bench: the size must be at least 64K\n");
}

#[test]
fn long_commands_can_be_interrupted() {
    for command in ["fill f 1M 1", "sha256sum /big", "find /", "rm -r /etc", "bench 1M"] {
        let mut world = World::new();
        world.ok("fill /big 2M 1");
        world.system.patience = Some(0);
        let message = world.fails(130, command);
        assert!(message.ends_with(": interrupted\n"), "{command}: {message}");
    }
}

#[test]
fn a_full_region_is_an_error_and_can_be_emptied() {
    let mut world = World::new();
    assert!(world.fails(1, "fill f 100M 1").contains("(ENOSPC)"));
    world.ok("rm f; write g x; cat g");
}

#[test]
fn crashes_are_asked_for_by_name() {
    for (name, how) in [
        ("page-fault", Crash::PageFault),
        ("null", Crash::Null),
        ("ud2", Crash::InvalidOpcode),
        ("divide", Crash::Divide),
        ("panic", Crash::Panic),
        ("write-base", Crash::WriteBase(RegionOffset::new(40960))),
        ("execute", Crash::ExecuteShared(RegionOffset::new(40960))),
        ("stack", Crash::Stack),
    ] {
        let mut world = World::new();
        assert!(world.fails(1, &format!("crash {name}")).contains("survived"));
        assert_eq!(world.system.crashed, Some(how));
    }
    assert_eq!(World::new().run("crash softly"), 2);
}

#[test]
fn help_knows_every_command() {
    let mut world = World::new();
    let all = world.ok("help");
    for line in all.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(world.ok(&format!("help {name}")).starts_with(name));
    }
    assert_eq!(world.run("help nonsense"), 2);
}

#[test]
fn the_prompt_shows_branch_and_directory() {
    let mut world = World::new();
    let mut shell = Shell::new(&world.mount, &mut world.system);
    shell.run_line(b"cd etc");
    shell.prompt();
    assert_eq!(world.system.messages, b"daxfs:guest:/etc$ ");
}
