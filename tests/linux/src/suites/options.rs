//! Mount options: what they do, what is wrong with them, and how one is told.

use crate::branch;
use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, exists, has, make, refused};
use crate::mounted::{Context, Mounted, Refused, own_name, place, range};
use crate::tree;
use daxfs_format::extension::{EXTENSION_OFFSET, ExtensionHeader};
use daxfs_format::superblock::Superblock;
use daxfs_tests::builder::{ImageBuilder, Kind};
use rustix::mount::{MountFlags, mount, mount_remount};
use std::ffi::CString;
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

suite!(
    "options",
    60,
    [
        wrong_options_are_refused_with_a_reason,
        wrong_ranges_are_refused_with_a_reason,
        the_reason_is_in_the_kernel_log,
        memory_of_linux_is_refused,
        damaged_images_are_refused_with_a_reason,
        features_decide_what_an_unknown_image_may,
        branches_that_cannot_be_had_are_refused_with_a_reason,
        sizes_have_suffixes,
        without_rw_the_mount_looks_only,
        the_old_system_call_mounts,
        the_mount_command_mounts_as_the_manual_says,
        what_proc_mounts_shows_mounts_the_same_again,
        validate_mounts_a_good_image,
        a_mount_has_a_name_among_the_members,
        remounting_commits,
        remounting_aborts,
        remounting_changes_nothing_else,
        remounting_read_only_keeps_the_branch,
        persistent_ranges_can_be_named,
        the_first_mount_of_an_image_may_be_read_only,
    ]
);

/// Mounts the range with nothing but these options.
fn bare(options: &str) -> Result<Mounted, Refused> {
    let context = Context::new();
    context.options(options)?;
    context.mount()
}

/// That a mount is refused with this number, and with a message that has these words.
#[track_caller]
fn refusal(mounted: Result<Mounted, Refused>, errno: Errno, words: &str) {
    match mounted {
        Ok(mounted) => panic!("{} is mounted", mounted.line().options),
        Err(refused) => {
            assert_eq!(refused.errno, errno, "{refused}");
            let [message] = &*refused.messages else { panic!("one message: {refused}") };
            assert!(message.starts_with("e "), "an error: {message}");
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
    }
}

fn wrong_options_are_refused_with_a_reason() {
    for (options, words) in [
        ("phys=zz", "phys="),
        ("phys=", "phys="),
        ("phys", "phys"),
        ("size=1X", "size="),
        ("size=99999999999G", "size="),
        ("size=", "size="),
        ("branch=", "branch="),
        ("branch=0123456789012345678901234567890123456789", "branch="),
        ("parent=a/b", "parent="),
        ("name=", "name="),
        ("persist=x", "persist="),
        ("persist=", "persist="),
        ("bogus", "bogus"),
        ("bogus=1", "bogus"),
        ("validate=1", "validate"),
        ("keep=yes", "keep"),
        ("dmabuf=7", "dmabuf"),
        ("commit", "remount"),
        ("abort", "remount"),
    ] {
        let refused = bare(&format!("{},{options}", range()));
        refusal(refused, Errno::INVAL, words);
    }
}

fn wrong_ranges_are_refused_with_a_reason() {
    for (options, words) in [
        ("", "where is the image"),
        ("size=256M", "where is the image"),
        ("phys=0x100000000", "size="),
        ("phys=0x100000001,size=1M", "range"),
        ("phys=0x100000000,size=4097", "range"),
        ("phys=0x100000000,size=0", "range"),
        ("phys=0xffffffffffff0000,size=64K", "range"),
        ("phys=0x4000000000000,size=64K", "range"),
        ("phys=0xfffffffffffff000,size=8K", "range"),
    ] {
        refusal(bare(options), Errno::INVAL, words);
    }
    // Smaller than the image, and smaller than anything.
    refusal(bare("phys=0x100000000,size=4096"), Errno::UCLEAN, "");
    refusal(bare("phys=0x100000000,size=1M"), Errno::UCLEAN, "");
    // Nothing is there: what one reads is no image.
    refusal(bare("phys=0x300000000,size=1M"), Errno::INVAL, "not a DAXFS image");
    // Not at its beginning.
    refusal(bare("phys=0x100001000,size=1M"), Errno::INVAL, "not a DAXFS image");
}

fn the_reason_is_in_the_kernel_log() {
    let name = own_name("nowhere");
    refusal(Mounted::range(&format!("ro,branch={name}")), Errno::NOENT, &name);
    let log = Command::new("dmesg").output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.lines().any(|line| line.contains("daxfs") && line.contains(&name)));
    // The same for the old system call, which has no other place for it.
    let name = own_name("nowhere-else");
    let data = CString::new(format!("{},branch={name}", range())).unwrap();
    let at = place();
    refused(mount("none", &at, "daxfs", MountFlags::RDONLY, data.as_c_str()), Errno::NOENT);
    let log = Command::new("dmesg").output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(log.lines().any(|line| line.contains("daxfs") && line.contains(&name)));
}

fn memory_of_linux_is_refused() {
    let map = fs::read_to_string("/proc/iomem").unwrap();
    let ranges = map.lines().filter_map(|line| line.strip_suffix(" : System RAM"));
    let (mut count, page) = (0, 4096);
    for range in ranges {
        let (first, last) = range.split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text.trim(), 16).unwrap();
        let (first, end) = (number(first).next_multiple_of(page), (number(last) + 1) & !(page - 1));
        for (from, size) in
            [(first, page), (end - page, page), (end - page, 2 * page), (first, end - first)]
        {
            refusal(bare(&format!("phys={from:#x},size={size:#x}")), Errno::BUSY, "range");
            count += 1;
        }
    }
    assert!(count > 0, "{map}");
}

fn damaged_images_are_refused_with_a_reason() {
    let good = ImageBuilder::new(Kind::Segmented).build();
    let buffer = Buffer::of(&good.bytes);
    let check = |at: usize, value: u64, width: usize, errno, words: &str| {
        let mut image = good.clone();
        image.set_number(at as u64, width, value);
        buffer.fill(&image.bytes);
        for options in ["ro", "rw", "ro,validate", "rw,validate"] {
            refusal(buffer.mount(options), errno, words);
        }
    };
    check(offset_of!(Superblock, magic), 0x1234_5678, 4, Errno::INVAL, "0x12345678");
    check(offset_of!(Superblock, version), 4, 4, Errno::OPNOTSUPP, "version");
    check(offset_of!(Superblock, version), 2, 4, Errno::OPNOTSUPP, "version");
    check(offset_of!(Superblock, total_size), 1 << 40, 8, Errno::UCLEAN, "");
    check(offset_of!(Superblock, base_offset), 1 << 40, 8, Errno::UCLEAN, "");
    let incompat = EXTENSION_OFFSET as usize + offset_of!(ExtensionHeader, incompat);
    let known = good.number(incompat as u64, 4);
    check(incompat, known | 1 << 30, 4, Errno::OPNOTSUPP, "feature");
    buffer.fill(&vec![0; good.bytes.len()]);
    refusal(buffer.mount("ro"), Errno::INVAL, "not a DAXFS image");
    buffer.fill(&good.bytes);
    buffer.mount("rw,validate").unwrap();
}

fn features_decide_what_an_unknown_image_may() {
    let good = ImageBuilder::new(Kind::Segmented).build();
    let with = |offset: usize| {
        let mut image = good.clone();
        let at = EXTENSION_OFFSET + offset as u64;
        image.set_number(at, 4, image.number(at, 4) | 1 << 30);
        Buffer::of(&image.bytes)
    };
    let unknown = with(offset_of!(ExtensionHeader, ro_compat));
    refusal(unknown.mount("rw,branch=b"), Errno::ROFS, "");
    unknown.mount("ro").unwrap();
    let unknown = with(offset_of!(ExtensionHeader, compat));
    unknown.mount("ro").unwrap();
    unknown.mount("rw,branch=b").unwrap();
}

fn branches_that_cannot_be_had_are_refused_with_a_reason() {
    let (one, other) = (own_name("one"), own_name("other"));
    refusal(Mounted::range(&format!("ro,branch={one}")), Errno::NOENT, &one);
    refusal(Mounted::range(&format!("rw,branch={one},parent={other}")), Errno::NOENT, &other);
    let mount = Mounted::branch(&one);
    // Owned.
    refusal(Mounted::range(&format!("rw,branch={one}")), Errno::BUSY, &one);
    // A child of a branch that somebody writes to.
    refusal(Mounted::range(&format!("rw,branch={other},parent={one}")), Errno::BUSY, &one);
    // To look at it is fine.
    make(mount.path("new"));
    let follower = Mounted::range(&format!("ro,branch={one}")).unwrap();
    assert!(exists(follower.path("new")));
    drop(follower);
    mount.unmount();
    refusal(Mounted::range(&format!("ro,branch={one}")), Errno::NOENT, &one);
}

fn sizes_have_suffixes() {
    let bytes = tree::RANGE;
    for size in [
        format!("{bytes}"),
        format!("{bytes:#x}"),
        format!("{}K", bytes >> 10),
        format!("{}k", bytes >> 10),
        format!("{}M", bytes >> 20),
        format!("{:#x}M", bytes >> 20),
    ] {
        let mount = bare(&format!("phys=0x100000000,size={size}"))
            .unwrap_or_else(|refused| panic!("{size}: {refused}"));
        has(mount.path("small"), b"abc");
    }
    // Of a range that is larger, the image is a part.
    bare("phys=4294967296,size=2G").unwrap();
}

fn without_rw_the_mount_looks_only() {
    let mount = bare(&range()).unwrap();
    assert!(mount.line().has("ro"), "{:?}", mount.line());
    refused(fs::File::create(mount.path("x")), Errno::ROFS);
    let (mount, name) = (Mounted::new(), own_name("own"));
    assert!(mount.line().has("rw") && mount.line().has(&format!("branch={name}")));
    let found = branch::find(&mount.open(), &name).unwrap();
    assert!(found.is_owned && found.is_current);
}

/// The old system call.
fn old(options: &str, flags: MountFlags) -> Result<Mounted, Errno> {
    let (at, data) = (place(), CString::new(options).unwrap());
    mount("none", &at, "daxfs", flags, data.as_c_str())?;
    Ok(Mounted::at(at))
}

fn the_old_system_call_mounts() {
    let (range, name) = (range(), own_name("old"));
    let looks = old(&range, MountFlags::empty()).unwrap();
    assert!(looks.line().has("ro"));
    let writes = old(&format!("{range},branch={name},parent=main"), MountFlags::empty()).unwrap();
    fs::write(writes.path("new"), "x").unwrap();
    let looks = old(&format!("{range},branch={name}"), MountFlags::RDONLY).unwrap();
    has(looks.path("new"), b"x");
    let elsewhere = old(&format!("{range},bogus"), MountFlags::empty()).map(drop);
    refused(elsewhere, Errno::INVAL);
}

fn the_mount_command_mounts_as_the_manual_says() {
    let (range, name) = (range(), own_name("command"));
    let at = place();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        output
    };
    let place = at.to_str().unwrap();
    for options in [range.clone(), format!("{range},validate"), format!("{range},ro")] {
        run("mount", &["-t", "daxfs", "-o", &options, "none", place]);
        has(at.join("hello"), tree::HELLO.as_bytes());
        run("umount", &[place]);
    }
    let options = format!("{range},rw,branch={name},parent=main");
    run("mount", &["-t", "daxfs", "-o", &options, "none", place]);
    fs::write(at.join("new"), "x").unwrap();
    let said = run("df", &[place]);
    assert!(String::from_utf8_lossy(&said.stdout).contains(place));
    run("umount", &[place]);
    let output = Command::new("mount")
        .args(["-t", "daxfs", "-o", &format!("{range},bogus"), "none", place])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

fn what_proc_mounts_shows_mounts_the_same_again() {
    let name = own_name("shown");
    for options in [
        "ro".to_owned(),
        "ro,validate".to_owned(),
        format!("rw,branch={name},parent=main,name=a-name"),
        format!("rw,branch={name},keep"),
        format!("ro,branch={name},persist=flush"),
    ] {
        let first = Mounted::range(&options).unwrap();
        let line = first.line();
        assert_eq!(line.kind, "daxfs");
        let writes = line.has("rw");
        // A branch has one writer.
        first.unmount();
        // This one is the VFS's own, which commands know.
        let options = line.options.replace("relatime,", "");
        if writes && !line.has("keep") {
            refusal(bare(&options.replace("rw,", "ro,")), Errno::NOENT, &name);
        }
        let again = bare(&options).unwrap_or_else(|refused| panic!("{line:?}: {refused}"));
        assert_eq!(again.line().options, line.options, "{options}");
        assert_eq!(again.line().has("rw"), writes);
        drop(again);
        // As a command.
        let at = place();
        let status = Command::new("mount")
            .args(["-t", &line.kind, "-o", &line.options, &line.source])
            .arg(&at)
            .status()
            .unwrap();
        assert!(status.success(), "{line:?}");
        let again = Mounted::at(at);
        assert_eq!(again.line(), line);
    }
    let last = Mounted::range(&format!("rw,branch={name}")).unwrap();
    branch::abort(&last.open()).unwrap();
}

fn validate_mounts_a_good_image() {
    let name = own_name("validated");
    let mount = Mounted::range(&format!("rw,keep,branch={name},parent=main,validate")).unwrap();
    fs::write(mount.path("new"), vec![1; 1 << 20]).unwrap();
    fs::remove_dir_all(mount.path("dir")).unwrap();
    fs::rename(mount.path("many"), mount.path("empty/many")).unwrap();
    // Also while somebody writes to it.
    assert!(Mounted::range("ro,validate").unwrap().line().has("validate"));
    mount.unmount();
    let mount = Mounted::range(&format!("rw,branch={name},validate")).unwrap();
    assert!(exists(mount.path("empty/many")) && !exists(mount.path("dir")));
}

fn a_mount_has_a_name_among_the_members() {
    let image = Buffer::of(&ImageBuilder::new(Kind::Segmented).build().bytes);
    let mount = image.mount("rw,branch=b,name=the-name").unwrap();
    assert!(mount.line().has("name=the-name"));
    let memory = image.memory().bytes(0, image.memory().len());
    assert!(memory.windows(9).any(|bytes| bytes == b"the-name\0"));
}

fn remount(mount: &Mounted, options: &str) -> Result<(), Errno> {
    let options = CString::new(options).unwrap();
    mount_remount(mount.root(), MountFlags::empty(), options.as_c_str())
}

fn remounting_commits() {
    let name = own_name("committed");
    let mount = Mounted::branch(&name);
    let file = format!("by-{name}");
    fs::write(mount.path(&file), "x").unwrap();
    let main = Mounted::main();
    assert!(!exists(main.path(&file)));
    remount(&mount, "commit").unwrap();
    has(main.path(&file), b"x");
    has(mount.path(&file), b"x");
    let line = mount.line();
    assert!(line.has("branch=main"), "{line:?}");
    assert_eq!(branch::find(&mount.open(), &name), None);
    refused(remount(&mount, "commit"), Errno::ROFS);
    drop((mount, main));
    // The command does it, too; and takes back what was done here.
    let mount = Mounted::branch(&name);
    fs::remove_file(mount.path(&file)).unwrap();
    let status = Command::new("mount").args(["-o", "remount,commit"]).arg(mount.root()).status();
    assert!(status.unwrap().success());
    assert!(!exists(Mounted::main().path(&file)));
}

fn remounting_aborts() {
    let name = own_name("aborted");
    let mount = Mounted::branch(&name);
    let file = make(mount.path("new"));
    fs::remove_file(mount.path("hello")).unwrap();
    remount(&mount, "abort").unwrap();
    assert!(!exists(mount.path("new")));
    has(mount.path("hello"), tree::HELLO.as_bytes());
    refused(file.set_len(1), Errno::STALE);
    assert!(mount.line().has("branch=main"));
    assert_eq!(branch::find(&mount.open(), &name), None);
}

fn remounting_changes_nothing_else() {
    let mount = Mounted::new();
    for options in
        ["phys=0x200000000", "size=4096", "branch=another", "name=other", "keep", "persist=flush"]
    {
        let done = remount(&mount, options);
        assert_eq!(done, Err(Errno::INVAL), "{options}");
    }
    remount(&mount, &range()).unwrap();
    make(mount.path("still-writable"));
    let main = Mounted::main();
    let context = mount_remount(main.root(), MountFlags::empty(), c"");
    // The old system call says "rw" by saying nothing: it stays what it is.
    assert!(context.is_ok() || context == Err(Errno::ROFS), "{context:?}");
    refused(fs::File::create(main.path("x")), Errno::ROFS);
}

fn remounting_read_only_keeps_the_branch() {
    let name = own_name("paused");
    let mount = Mounted::branch(&name);
    fs::write(mount.path("new"), "x").unwrap();
    mount_remount(mount.root(), MountFlags::RDONLY, c"").unwrap();
    refused(fs::File::create(mount.path("y")), Errno::ROFS);
    has(mount.path("new"), b"x");
    mount_remount(mount.root(), MountFlags::empty(), c"").unwrap();
    fs::write(mount.path("new"), "y").unwrap();
    has(mount.path("new"), b"y");
    // Not while somebody writes.
    let file = make(mount.path("open"));
    refused(mount_remount(mount.root(), MountFlags::RDONLY, c""), Errno::BUSY);
    drop(file);
}

fn persistent_ranges_can_be_named() {
    for (options, shown) in [("persist=flush", true), ("persist=none", false)] {
        let name = own_name("persistent");
        let mount = Mounted::range(&format!("rw,branch={name},{options}")).unwrap();
        assert_eq!(mount.line().has("persist=flush"), shown);
        fs::write(mount.path("new"), vec![7; 100_000]).unwrap();
        fs::File::open(mount.path("new")).unwrap().sync_all().unwrap();
        has(mount.path("new"), &vec![7; 100_000]);
    }
}

fn the_first_mount_of_an_image_may_be_read_only() {
    for kind in [Kind::Static, Kind::Plain, Kind::Segmented] {
        let image = ImageBuilder::new(kind).build();
        let buffer = Buffer::of(&image.bytes);
        let mount =
            buffer.mount("ro,validate").unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        assert!(exists(mount.path(Path::new("dir/sub/deep"))));
        drop(mount);
        if kind == Kind::Static {
            assert_eq!(buffer.memory().bytes(0, image.bytes.len()), image.bytes);
            refusal(buffer.mount("rw,branch=b"), Errno::ROFS, "");
        } else {
            let mount =
                buffer.mount("rw,branch=b").unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
            make(mount.path("new"));
        }
    }
}
