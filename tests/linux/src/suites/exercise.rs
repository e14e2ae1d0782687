//! Programs of others that try everything at random.

use crate::branch;
use crate::check::{is_debug_kernel, is_long, suite};
use crate::files::{about, content};
use crate::mounted::{Mounted, own_name};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

suite!(
    "exercise",
    900,
    [
        fsx_finds_no_difference_and_a_remount_neither,
        fio_verifies_what_it_has_written_and_again_after_a_remount,
        fio_verifies_mappings,
        stress_ng_finds_nothing_wrong_with_files,
        stress_ng_finds_nothing_wrong_with_directories,
        stress_ng_finds_nothing_wrong_with_mappings,
    ]
);

/// Everything in a tree: what it is, and what is in it.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u32, u64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let known = about(&path);
            let inside = if known.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if known.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if known.is_file() && known.size() < 64 << 20 {
                content(&path)
            } else {
                Vec::new()
            };
            let size = if known.is_dir() { 0 } else { known.size() };
            let name = path.strip_prefix(root).unwrap().to_owned();
            all.insert(name, (known.mode(), size, known.ino(), inside));
        }
    }
    all
}

/// Compares the tree before and after a remount of a branch, and checks the whole image.
#[track_caller]
fn remounted(mount: Mounted, options: &str) -> Mounted {
    let before = snapshot(mount.root());
    mount.unmount();
    let mount = Mounted::range(&format!("{options},validate"))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let after = snapshot(mount.root());
    assert_eq!(before.len(), after.len());
    for ((path, old), (again, new)) in before.iter().zip(&after) {
        assert!(path == again && old == new, "{} has changed", path.display());
    }
    mount
}

/// Runs a program that says by its status whether all was well.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(40)..].join("\n");
    assert!(output.status.success(), "{command:?}: {}\n{last}", output.status);
}

fn options_of(name: &str) -> String {
    format!("rw,keep,branch={},parent=main", own_name(name))
}

fn abort(mount: Mounted) {
    branch::abort(&mount.open()).unwrap();
}

fn fsx_finds_no_difference_and_a_remount_neither() {
    let options = options_of("fsx");
    let mut mount = Mounted::range(&options).unwrap();
    // Two at a time, as there are two processors. Altogether so many operations:
    let all = match (is_long(), is_debug_kernel()) {
        (true, false) => 2_000_000,
        (true, true) | (false, false) => 100_000,
        (false, true) => 10_000,
    };
    let (each, pairs) = (all / 20, 10);
    for pair in 0..pairs {
        let mount_of = &mount;
        thread::scope(|scope| {
            for half in 0..2 {
                let seed = pair * 2 + half + 1;
                scope.spawn(move || {
                    let path = mount_of.path(format!("fsx-{seed}"));
                    run(Command::new("fsx")
                        .args(["-N", &each.to_string(), "-S", &seed.to_string(), "-P", "/tmp"])
                        .arg(path));
                });
            }
        });
        if pair % 5 == 4 {
            mount = remounted(mount, &options);
        }
    }
    abort(mount);
}

/// Whether a program is there. The distribution's packages are not everywhere.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("not tried: there is no {program} here");
    }
    found
}

/// `fio`, in a folder.
fn fio(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("fio");
    command.args([
        "--name=job",
        "--minimal",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--randseed=7",
    ]);
    run(command.arg(format!("--directory={}", folder.display())).args(arguments));
}

fn fio_verifies_what_it_has_written_and_again_after_a_remount() {
    if !has("fio") {
        return;
    }
    let options = options_of("fio");
    let size = if is_debug_kernel() { "--size=4m" } else { "--size=16m" };
    for arguments in [
        &["--rw=write", "--bs=4k", "--ioengine=psync"][..],
        &["--rw=randwrite", "--bs=4k", "--ioengine=psync", "--numjobs=2"],
        &["--rw=randwrite", "--bsrange=512-128k", "--bs_unaligned", "--ioengine=sync"],
        &["--rw=randwrite", "--bs=64k", "--ioengine=pvsync2", "--fsync=16"],
        &["--rw=randwrite", "--bs=8k", "--ioengine=io_uring", "--iodepth=8"],
    ] {
        let mount = Mounted::range(&options).unwrap();
        let folder = mount.path("fio");
        fs::create_dir(&folder).unwrap();
        fio(&folder, &[arguments, &[size]].concat());
        let mount = remounted(mount, &options);
        fio(&mount.path("fio"), &[arguments, &[size, "--verify_only"]].concat());
        abort(mount);
    }
}

fn fio_verifies_mappings() {
    if !has("fio") {
        return;
    }
    let options = options_of("fio-mmap");
    let size = if is_debug_kernel() { "--size=4m" } else { "--size=16m" };
    for arguments in [
        &["--rw=randwrite", "--bs=4k", "--ioengine=mmap"][..],
        &["--rw=write", "--bs=64k", "--ioengine=mmap", "--numjobs=2"],
    ] {
        let mount = Mounted::range(&options).unwrap();
        let folder = mount.path("fio");
        fs::create_dir(&folder).unwrap();
        fio(&folder, &[arguments, &[size]].concat());
        let mount = remounted(mount, &options);
        fio(&mount.path("fio"), &[arguments, &[size, "--verify_only"]].concat());
        abort(mount);
    }
}

/// Stressors, each for a short time, with options of theirs behind them.
fn stress(name: &str, stressors: &[&str]) {
    if !has("stress-ng") {
        return;
    }
    let options = options_of(name);
    let mount = Mounted::range(&options).unwrap();
    let folder = mount.path("stress");
    fs::create_dir(&folder).unwrap();
    let seconds = if is_long() { "60s" } else { "1s" };
    for stressor in stressors {
        let mut words = stressor.split(' ');
        let name = words.next().unwrap_or_default();
        run(Command::new("stress-ng")
            .args(["--temp-path", folder.to_str().unwrap(), "--timeout", seconds, "--verify"])
            .args(["--oomable", "--quiet", &format!("--{name}"), "2"])
            .args(words));
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "they tidy up");
    // What is left of it all is nothing, and the region is whole.
    abort(remounted(mount, &options));
}

fn stress_ng_finds_nothing_wrong_with_files() {
    stress(
        "stress-files",
        &[
            "hdd --hdd-bytes 16m",
            "iomix --iomix-bytes 16m",
            "seek --seek-size 16m",
            "sendfile",
            "splice",
            "readahead --readahead-bytes 16m",
            "sync-file --sync-file-bytes 16m",
            "fallocate --fallocate-bytes 16m",
            "fpunch",
            "flock",
            "locka",
            "lockf",
            "lockofd",
            "lease",
            "fcntl",
            "open",
            "utime",
            "chmod",
            "chown",
            "touch",
            "fstat",
            "access",
            "aio",
            "tee",
            "vm-splice",
        ],
    );
}

fn stress_ng_finds_nothing_wrong_with_directories() {
    stress(
        "stress-directories",
        &[
            "dentry", "dir", "dirdeep", "dirmany", "rename", "symlink", "getdent", "filename",
            "chdir", "inotify", "mknod",
        ],
    );
}

fn stress_ng_finds_nothing_wrong_with_mappings() {
    stress(
        "stress-mappings",
        &[
            "fault",
            "mmap",
            "mmapfork",
            "mmapmany",
            "mmapaddr",
            "msync",
            "mmapfixed",
            "remap",
            "mlock",
        ],
    );
}
