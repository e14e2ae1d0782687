//! The kernel modules: that they build as they should, and that Linux mounts an image with them, as the
//! README shows it.

mod common;
#[path = "common/machine.rs"]
mod machine;

use common::{errors, runner, status};
use daxfs_bench::rows::ROWS;
use runner::console::Lines;
use runner::setup::{self, Cache};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

#[test]
fn the_modules_build_without_warnings() {
    machine::needed();
    let output = runner(&["setup", "--linux", "--deny-warnings"]).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("/daxfs.ko\n"), "{text}");
}

#[test]
fn what_linux_writes_in_a_branch_is_in_main_after_a_commit() {
    machine::needed();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "from the base\n").unwrap();
    let script = "mount -t daxfs -o $DAXFS_RANGE,rw,branch=b1,parent=main none /mnt && \
        cat /mnt/file && echo 'from the branch' >/mnt/new && mount -o remount,commit /mnt && \
        umount /mnt && mount -t daxfs -o $DAXFS_RANGE,ro,branch=main none /mnt && \
        cat /mnt/new && umount /mnt";
    let arguments = ["linux", "--timeout", "600", "--rootfs", root.to_str().unwrap()];
    let output = runner(&[&arguments[..], &["--exec", script]].concat()).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    assert_eq!(output.stdout, b"from the base\nfrom the branch\n");
}

/// A root file system that consists of busybox.
fn make_root(root: &Path) {
    for folder in ["bin", "dev", "etc", "proc", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = setup::programs(&Cache::open().unwrap(), &Lines::default()).unwrap().busybox;
    let program = root.join("bin/busybox");
    fs::copy(busybox, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["sh", "cat", "cp", "ls", "mkdir", "mv", "readlink", "rm", "sort"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=base\n").unwrap();
    fs::write(root.join("bin/script"), "#!/bin/sh\necho \"script: $*\"\n").unwrap();
    fs::set_permissions(root.join("bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_branch_is_a_root_file_system_whose_programs_run() {
    machine::needed();
    let folder = tempfile::tempdir().unwrap();
    let (root, saved) = (folder.path().join("root"), folder.path().join("saved"));
    make_root(&root);
    let script = "set -e
        mount -t daxfs -o $DAXFS_RANGE,rw,branch=work,parent=main,keep none /mnt
        mount -t proc proc /mnt/proc
        mknod -m 666 /mnt/dev/null c 1 3
        chroot /mnt /bin/sh -ec '
            readlink /proc/self/exe
            script one two >/tmp/said 2>/dev/null && cat /tmp/said
            cp /bin/busybox /tmp/busybox && /tmp/busybox echo from a copy
            seq() { /bin/busybox seq \"$@\"; }
            seq 1 1000 | sort -rn | while read n; do echo $n; done >/tmp/numbers
            cat /tmp/numbers | /bin/busybox wc -l
            echo ID=branch >/etc/new && mv /etc/new /etc/os-release
            mkdir -p /a/b/c && rm -r /a
            echo hidden >/dev/null
        '
        umount /mnt/proc && umount /mnt";
    let arguments = ["linux", "--timeout", "600", "--rootfs", root.to_str().unwrap()];
    let arguments = [&arguments[..], &["--save", saved.to_str().unwrap(), "--exec", script]];
    let output = runner(&arguments.concat()).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "/bin/busybox\nscript: one two\nfrom a copy\n1000\n");
    // The other kernel sees the same, and main is as it was.
    let image = ["guest", "--image", saved.to_str().unwrap()];
    for (branch, expected) in [("work", "ID=branch\n"), ("main", "ID=base\n")] {
        let arguments = ["--branch", branch, "--exec", "cat /etc/os-release"];
        let output = runner(&[&image[..], &arguments].concat()).output().unwrap();
        assert_eq!(status(&output), 0, "{branch}: {}", errors(&output));
        assert_eq!(output.stdout, expected.as_bytes(), "{branch}");
    }
}

#[test]
fn the_measurements_have_a_number_in_every_row() {
    machine::needed();
    let arguments = ["bench", "--accel", "icount", "--only", "daxfs", "--json"];
    let output = runner(&arguments).output().unwrap();
    assert_eq!(status(&output), 0, "{}", errors(&output));
    let tables: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = tables[0]["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ROWS.iter().map(|row| row.name).collect::<Vec<_>>());
    for row in rows {
        let value = row["values"]["daxfs"]["value"].as_f64().unwrap();
        assert!(value > 0.0 || row["unit"] == "KiB", "{row}");
    }
}
