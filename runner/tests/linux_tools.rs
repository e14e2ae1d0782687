//! The user tools where they meet a kernel: images made in memory and mounted from there, and branches
//! through the ioctls of a mount. One boot does all of it, part by part; the tests look at the parts.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, runner, status};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What every part starts from: a tree to make images of, and places to mount them on.
const PREPARE: &str = r#"
mkdir -p /tmp/root/etc /mnt /other
echo base >/tmp/root/etc/motd
seq 1 400000 >/tmp/root/large
ln -s etc/motd /tmp/root/link
# What a command says, on whatever stream, and its status.
try() { "$@" 2>&1; echo "status $?"; }
quiet() { "$@" >/dev/null || echo "failed: $*"; }
same() { cmp /tmp/root/large "$1/large" && cat "$1/link" && echo same; }
mounted() { grep " $1 daxfs " /proc/mounts; }
memory="-d /tmp/root -p 0x100000000 -s 32M"
"#;

/// The parts, by name. Each leaves nothing mounted.
const PARTS: [(&str, &str); 9] = [
    (
        "heap",
        r#"
        quiet mkdaxfs -d /tmp/root -H /dev/dma_heap/system -s 64M -m /mnt -w
        mounted /mnt; same /mnt
        echo more >/mnt/more && cat /mnt/more
        mkdaxfs -d /tmp/root -H /dev/dma_heap/system -s 16M -m /other --json | grep -E 'mounted_on|"writable'
        try touch /other/more
        umount /mnt /other"#,
    ),
    (
        "physical",
        r#"
        quiet mkdaxfs $memory -w
        mount -t daxfs -o phys=0x100000000,size=32M,validate none /mnt && same /mnt; umount /mnt
        quiet mkdaxfs $memory -w -m /mnt
        mounted /mnt; same /mnt; umount /mnt
        quiet mkdaxfs $memory -m /mnt
        mounted /mnt; try touch /mnt/more; umount /mnt"#,
    ),
    (
        "device",
        r#"
        quiet mkdaxfs -d /tmp/root -o /dev/dax0.0 -w -m /mnt
        mounted /mnt; same /mnt; umount /mnt
        fsck-daxfs /dev/dax0.0 | cut -d '(' -f 1
        quiet daxfs-branch -f /dev/dax0.0 create offline
        daxfs-inspect -f /dev/dax0.0 -b offline cat /etc/motd
        quiet mkdaxfs -d /tmp/root -o /dev/dax0.0 -s 8M
        daxfs-inspect -f /dev/dax0.0 status | grep Kind
        mount -t daxfs /dev/dax0.0 /mnt && same /mnt; umount /mnt
        try mkdaxfs -d /tmp/root -o /dev/dax0.0 -s 1G
        try mkdaxfs -d /tmp/root -o /dev/null"#,
    ),
    (
        "refused",
        r#"
        try mkdaxfs -d /tmp/root -p 0x1000000 -s 16M
        try mkdaxfs -d /tmp/root -p 0x1000000 -s 16M --force
        try mkdaxfs -d /tmp/root -p 0xfee00000 -s 4K
        try mkdaxfs -d /tmp/root -p 0x100000800 -s 16M
        try mkdaxfs -d /tmp/root -p 0x10000000000 -s 4M
        try mkdaxfs -d /tmp/root -p 0x2000000000 -s 4M
        try mkdaxfs -d /tmp/root -p 0x100000000 -s 64K
        try mkdaxfs -d /tmp/root -H /dev/null -s 16M -m /mnt
        try mkdaxfs -d /tmp/root -H /dev/dma_heap/none -s 16M -m /mnt
        try mkdaxfs $memory -m /nowhere
        mounted /mnt"#,
    ),
    (
        "in-use",
        r#"
        quiet mkdaxfs $memory -w -m /mnt
        try mkdaxfs $memory -w
        same /mnt; umount /mnt
        # Where the mount is not seen, as that of another kernel, the image tells of it.
        quiet mkdaxfs -d /tmp/root -o /dev/dax0.0 -w -m /mnt
        try unshare -m sh -c 'umount /mnt && mkdaxfs -d /tmp/root -o /dev/dax0.0'
        same /mnt; umount /mnt
        # A static image tells of nobody.
        quiet mkdaxfs -d /tmp/root -o /dev/dax -m /mnt
        try mkdaxfs -d /tmp/root -o /dev/dax0.0 -w
        same /mnt; umount /mnt
        quiet mkdaxfs $memory -w && echo made"#,
    ),
    (
        "too-large",
        r#"
        quiet mkdaxfs $memory -w
        mkdir /tmp/more && seq 1 6000000 >/tmp/more/file
        try mkdaxfs -d /tmp/more -p 0x100000000 -s 32M
        mount -t daxfs -o phys=0x100000000,size=32M none /mnt && same /mnt; umount /mnt"#,
    ),
    (
        "seed",
        r#"
        quiet mkdaxfs $memory -w -m /mnt
        try daxfs-branch create feature -m /mnt -p main
        mounted /mnt
        echo changed >/mnt/etc/motd
        daxfs-branch list -m /mnt
        try daxfs-branch commit -m /mnt
        cat /mnt/etc/motd; mounted /mnt
        try daxfs-branch create second -m /mnt -p main
        echo void >/mnt/etc/motd
        try daxfs-branch abort -m /mnt
        cat /mnt/etc/motd
        daxfs-branch list -m /mnt --json | tr -d ' \n'; echo
        umount /mnt"#,
    ),
    (
        "branches",
        r#"
        quiet mkdaxfs $memory -w -m /mnt
        try daxfs-branch -m / list
        try daxfs-branch -m /mnt/etc/motd create one
        try daxfs-branch -m /mnt create one
        try daxfs-branch -m /mnt switch none
        try daxfs-branch -m /mnt commit main
        try daxfs-branch -m /mnt switch main
        try daxfs-branch -m /mnt create two
        mount -t daxfs -o phys=0x100000000,size=32M,rw,branch=one none /other
        try daxfs-branch -m /mnt switch one
        try daxfs-branch -m /mnt commit two
        try daxfs-branch -m /other list
        try cat /other/etc/motd
        umount /other
        try daxfs-branch -m /mnt abort
        umount /mnt
        mount -t daxfs -o phys=0x100000000,size=32M,ro none /mnt
        try daxfs-branch -m /mnt create three
        umount /mnt"#,
    ),
    (
        "watch",
        r#"
        quiet mkdaxfs -d /tmp/root -o /dev/dax0.0 -w -m /mnt
        quiet daxfs-branch -m /mnt create watched
        daxfs-inspect watch --once -f /dev/dax0.0
        umount /mnt"#,
    ),
];

/// What the parts print, by name, of one boot.
static BOOT: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let mut script = PREPARE.to_owned();
    for (name, part) in PARTS {
        script += &format!("\necho '== {name}'\n{part}\n");
    }
    let arguments = ["linux", "--timeout", "400", "--size", "64M", "--dax", "64M"];
    let output = runner(&[&arguments[..], &["--exec", &script]].concat()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // A warning of the kernel's fails here, too.
    assert_eq!(status(&output), 0, "{}\n{printed}", errors(&output));
    let parts = printed.split("== ").skip(1).filter_map(|part| part.split_once('\n'));
    parts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
});

/// What a part prints.
fn part(name: &str) -> &'static str {
    machine::needed();
    BOOT.get(name).map(String::as_str).unwrap_or_else(|| panic!("{name} did not run"))
}

/// Lines of a part, one of which has to contain each of `expected`, in this order.
#[track_caller]
fn expect_lines(name: &str, expected: &[&str]) {
    let text = part(name);
    let mut lines = text.lines();
    for wanted in expected {
        assert!(lines.any(|line| line.contains(wanted)), "{wanted:?} is missing in\n{text}");
    }
}

#[test]
fn an_image_is_made_in_a_buffer_of_a_dma_heap_and_mounted_from_there() {
    assert_eq!(
        part("heap"),
        "dma-buf /mnt daxfs rw,relatime,branch=main 0 0\nbase\nsame\nmore\n\
         \x20 \"mounted_on\": \"/other\",\n  \"writable\": false,\n\
         touch: /other/more: Read-only file system\nstatus 1\n"
    );
}

#[test]
fn an_image_is_made_in_physical_memory() {
    let mount = |options| format!("none /mnt daxfs {options}phys=0x100000000,size=0x2000000");
    assert_eq!(
        part("physical"),
        format!(
            "base\nsame\n{},branch=main 0 0\nbase\nsame\n{} 0 0\n\
             touch: /mnt/more: Read-only file system\nstatus 1\n",
            mount("rw,relatime,"),
            mount("ro,relatime,"),
        )
    );
}

#[test]
fn an_image_is_made_on_a_dax_device_and_all_tools_work_on_it() {
    let text = part("device");
    let start = "/dev/dax0.0 /mnt daxfs rw,relatime,branch=main 0 0\nbase\nsame\n\
        /dev/dax0.0: clean \nbase\n    Kind: static\nbase\nsame\n";
    assert!(text.starts_with(start), "{text}");
    expect_lines("device", &["has 65011712 bytes, 1073741824 are asked for", "status 1"]);
    expect_lines("device", &["\"/dev/null\": is no DAX device", "status 1"]);
}

#[test]
fn memory_that_is_not_free_is_refused_with_what_to_do() {
    expect_lines(
        "refused",
        &[
            "is System RAM of this kernel, which writing there would destroy; reserve the range",
            "status 1",
            "is System RAM of this kernel",
            "status 1",
            "0xfee00000-0xfeefffff is claimed by \"Local APIC\"",
            "status 1",
            "the address is 0x100000800; it must be a multiple of 4096",
            "status 1",
            "cannot map the range: Invalid argument (os error 22); this processor cannot address it",
            "status 1",
            "there is no memory at byte 0x0 of the range",
            "status 1",
            "the limit is 65536",
            "status 1",
            "\"/dev/null\": is no DMA heap",
            "status 1",
            "\"/dev/dma_heap/none\": cannot open it: No such file or directory",
            "status 1",
            "\"/nowhere\": cannot be mounted on: No such file or directory",
            "status 1",
        ],
    );
    assert!(!part("refused").contains(" daxfs "), "{}", part("refused"));
}

#[test]
fn an_image_that_is_mounted_is_not_overwritten() {
    let text = part("in-use");
    let refused = |place| {
        format!(
            "mkdaxfs: error: the range holds an image that is mounted ({place}); unmount it \
             everywhere, or, if what had it mounted does not run any more, use --force\nstatus 1\n"
        )
    };
    let (here, somewhere) = (refused("here: /mnt"), refused("kernel"));
    let same = "base\nsame\n";
    assert_eq!(text, format!("{here}{same}{somewhere}{same}{here}{same}made\n"));
}

#[test]
fn a_tree_that_does_not_fit_leaves_the_image_that_is_there() {
    expect_lines("too-large", &["the limit is 33554432", "status 1"]);
    assert!(part("too-large").ends_with("base\nsame\n"), "{}", part("too-large"));
}

#[test]
fn the_command_lines_of_the_original_tools_work_on_a_mount() {
    let mount = |branch| {
        format!("none /mnt daxfs rw,relatime,phys=0x100000000,size=0x2000000,branch={branch} 0 0\n")
    };
    let text = part("seed");
    let list = "  NAME       ID  PARENT  STATE       MEMBER  SEGMENTS\n\
        \x20 main        1  -       active";
    assert!(text.starts_with(&format!("status 0\n{}{list}", mount("feature"))), "{text}");
    expect_lines("seed", &["* feature     2  main    active"]);
    let end = format!("status 0\nchanged\n{}status 0\nstatus 0\nchanged\n", mount("main"));
    assert!(text.contains(&end), "{text}");
    let json =
        r#"[{"name":"main","id":1,"parent":null,"parent_id":null,"state":"active","owner":0,"#;
    assert!(text.contains(json) && text.ends_with("\"current\":true}]\n"), "{text}");
}

#[test]
fn branch_operations_say_why_they_are_refused() {
    expect_lines(
        "branches",
        &[
            "\"/\": is not on a DAXFS mount; give the mount's directory",
            "status 1",
            "status 0",
            "cannot make branch 'one': a live branch has this name already (File exists",
            "status 1",
            "cannot switch to branch 'none': there is no live branch of this name",
            "status 1",
            "the mount is on branch 'one', not on branch 'main'; use daxfs-branch switch first",
            "status 1",
            // To main, and to a second child of it.
            "status 0",
            "status 0",
            "cannot switch to branch 'one': a branch in the way is written to by another mount",
            "status 1",
            // The commit of the one discards the other.
            "status 0",
        ],
    );
    expect_lines("branches", &["cat: can't open '/other/etc/motd': Stale file handle", "status 1"]);
    expect_lines("branches", &["cannot abort the branch: the main branch neither ends"]);
    expect_lines("branches", &["cannot make branch 'three': the mount looks only", "status 1"]);
}

#[test]
fn a_watcher_sees_what_a_kernel_does() {
    expect_lines("watch", &["/dev/dax0.0", "sequence ", "main", "watched", "segments: "]);
    assert!(part("watch").contains("kernel"), "{}", part("watch"));
}
