//! The kernel modules: that they build as they should, and that Linux mounts an image with them, as the
//! README shows it.

mod common;

use common::{errors, runner, status};
use std::fs;

#[test]
fn the_modules_build_without_warnings() {
    let output = runner(&["setup", "--linux", "--deny-warnings"]).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("/daxfs.ko\n"), "{text}");
}

#[test]
fn what_linux_writes_in_a_branch_is_in_main_after_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "from the base\n").unwrap();
    let script = "mount -t daxfs -o $DAXFS_RANGE,rw,branch=b1,parent=main none /mnt && \
        cat /mnt/file && echo 'from the branch' >/mnt/new && mount -o remount,commit /mnt && \
        umount /mnt && mount -t daxfs -o $DAXFS_RANGE,ro,branch=main none /mnt && \
        cat /mnt/new && umount /mnt";
    let arguments = ["linux", "--timeout", "120", "--rootfs", root.to_str().unwrap()];
    let output = runner(&[&arguments[..], &["--exec", script]].concat()).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    assert_eq!(output.stdout, b"from the base\nfrom the branch\n");
}
