//! Linux in QEMU, as a user of `runner linux` sees it. The file system's module is left out here: these
//! are tests of what is around it.
//!
//! The first test sets up what is missing, which includes building Linux; that is cached.

mod common;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/process.rs"]
mod process;

use common::{errors, status};
use process::{first_child, gone, signal};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// A runner of Linux. What it needs is there already, so that its time is its own.
fn linux(arguments: &[&str]) -> Command {
    static SET_UP: Once = Once::new();
    machine::needed();
    SET_UP.call_once(|| {
        let first = common::runner(&["linux", "--no-modules", "--exec", "true"]).status().unwrap();
        assert!(first.success(), "{first}");
    });
    common::runner(&[&["linux", "--no-modules", "--timeout", "600"], arguments].concat())
}

fn run(arguments: &[&str]) -> Output {
    linux(arguments).output().unwrap()
}

/// What commands print, where all of them succeed.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(status(&output), 0, "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_streams_carry_exactly_what_commands_write_to_them() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(7919) >> 3) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bytes");
    fs::write(&file, &bytes).unwrap();
    let add = format!("{}:/bytes", file.display());
    let script =
        "cat /bytes; echo problem >&2; echo another >/dev/stderr; echo -n last >/dev/stdout";
    let output = run(&["--add", &add, "--exec", script]);
    assert_eq!(status(&output), 0, "{}", errors(&output));
    assert!(output.stdout == [&bytes[..], b"last"].concat(), "{} bytes", output.stdout.len());
    // What the runner itself says begins with its name: that it waits for a build, for instance.
    let errors = errors(&output);
    let theirs: Vec<&str> = errors.lines().filter(|line| !line.starts_with("runner: ")).collect();
    assert_eq!(theirs, ["problem", "another"]);
    let output = run(&["--exec", ""]);
    assert_eq!((status(&output), output.stdout.as_slice()), (0, &b""[..]));
}

#[test]
fn output_that_is_longer_than_any_buffer_arrives_to_its_end() {
    let output = printed(&["--exec", "seq 1 1000000"]);
    assert_eq!(output.lines().count(), 1_000_000);
    assert!(output.ends_with("\n1000000\n"));
}

#[test]
fn the_status_is_that_of_the_commands() {
    for (commands, expected) in [
        ("false; true", 0),
        ("exit 7", 7),
        ("nonsense", 127),
        ("exit 255", 255),
        ("kill -9 $$", 137),
    ] {
        let output = run(&["--exec", commands]);
        assert_eq!(status(&output), expected, "{commands}: {}", errors(&output));
    }
}

#[test]
fn commands_come_from_standard_input_where_it_is_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "# a comment\nfor i in 1 2; do\n  echo $i\ndone\ncat\n").unwrap();
    let output = linux(&[]).stdin(File::open(script).unwrap()).output().unwrap();
    assert_eq!((status(&output), output.stdout.as_slice()), (0, &b"1\n2\n"[..]));
}

#[test]
fn the_range_is_at_its_address_and_is_kept_as_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (image, saved) = (folder.path().join("image"), folder.path().join("saved"));
    fs::write(&image, vec![1; 4 << 20]).unwrap();
    let path = image.to_str().unwrap();
    let word = |path, at| {
        let mut word = [0; 4];
        File::open(path).unwrap().read_exact_at(&mut word, at).unwrap();
        u32::from_ne_bytes(word)
    };
    let store = "devmem 0x100000000 32; devmem 0x1003ffffc 32 0x12345678; echo $DAXFS_RANGE";
    let expected = "0x01010101\nphys=0x100000000,size=0x400000\n";
    let save = ["--image", path, "--save", saved.to_str().unwrap(), "--exec", store];
    assert_eq!(printed(&save), expected);
    assert_eq!((word(&saved, 0x3f_fffc), word(&image, 0x3f_fffc)), (0x1234_5678, 0x0101_0101));
    assert_eq!(printed(&["--image", path, "--in-place", "--exec", store]), expected);
    assert_eq!(word(&image, 0x3f_fffc), 0x1234_5678);
}

#[test]
fn persistent_memory_is_there_for_file_systems_and_for_programs() {
    let script = "test -c /dev/dax0.0 && readlink /dev/dax";
    assert_eq!(printed(&["--dax", "64M", "--exec", script]), "dax0.0\n");
    let script = "mkdir /a && mke2fs -b 4096 /dev/pmem0 >/dev/null 2>&1 && mount -t ext4 -o dax /dev/pmem0 /a && \
        grep -c dax=always /proc/mounts; readlink /dev/dax; cat /sys/bus/dax/devices/*/size";
    // Two MiB of it are for its header.
    let expected = "1\ndax1.0\n132120576\n";
    assert_eq!(printed(&["--pmem", "64M", "--dax", "128M", "--exec", script]), expected);
}

#[test]
fn with_counted_instructions_a_run_is_the_same_again() {
    let count = || {
        let script =
            "read up rest </proc/uptime; nproc; sha256sum /bin/busybox >/dev/null; echo $up";
        printed(&["--accel", "icount", "--exec", script])
    };
    let first = count();
    assert!(first.starts_with("1\n"), "{first}");
    assert_eq!(first, count());
}

#[test]
fn the_environment_for_a_build_by_hand_names_the_kernel() {
    linux(&[]);
    let environment = common::runner(&["env"]).output().unwrap();
    assert_eq!(status(&environment), 0, "{}", errors(&environment));
    let script = format!(
        "{}\ntest -f \"$KDIR/Module.symvers\" && bindgen --version && rustc --version",
        String::from_utf8(environment.stdout).unwrap()
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_program_that_is_added_brings_its_libraries() {
    let own = std::env::current_exe().unwrap();
    let add = format!("{}:/opt/program", own.display());
    let list = printed(&["--add", &add, "--exec", "/opt/program --list"]);
    assert!(list.contains("a_program_that_is_added_brings_its_libraries: test"), "{list}");
}

#[test]
fn a_package_of_the_distribution_runs() {
    if Command::new("apt-get").arg("--version").output().is_err() {
        println!("not tried: packages are not Debian's here");
        return;
    }
    let script = "cd /tmp && fio --name=x --size=1m --rw=randwrite --verify=crc32c --minimal";
    let output = printed(&["--package", "fio", "--exec", script]);
    assert!(output.starts_with("3;fio-"), "{output}");
    let output = run(&["--package", "no such package", "--exec", "true"]);
    assert_eq!(status(&output), 125);
    assert!(errors(&output).contains("'no such package' cannot be had"), "{}", errors(&output));
}

#[test]
fn a_folder_that_is_added_is_there_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(root.join("dir/script"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(root.join("dir/script"), fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink("dir/script", root.join("link")).unwrap();
    let add = format!("{}:/mnt/", root.display());
    let script = "cd /mnt/root && ./link && stat -c %a dir/script && readlink link && find | sort";
    let expected = "ran\n751\ndir/script\n.\n./dir\n./dir/script\n./link\n";
    assert_eq!(printed(&["--add", &add, "--exec", script]), expected);
}

#[test]
fn the_tools_of_the_project_are_there() {
    let script = "mkdir -p /tmp/root/dir && echo content >/tmp/root/dir/file && \
        mkfs.daxfs -d /tmp/root -o /tmp/image -w -D 4M && fsck.daxfs /tmp/image && \
        daxfs-branch -f /tmp/image create b1 -p main && \
        daxfs-inspect -f /tmp/image -b b1 cat /dir/file";
    let output = run(&["--exec", script]);
    assert_eq!(status(&output), 0, "{}", errors(&output));
    assert!(output.stdout.ends_with(b"content\n"), "{output:?}");
}

#[test]
fn a_kernel_that_complains_fails_the_run_even_if_the_commands_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for complaint in ["WARNING: CPU: 0 at x.c:1", "BUG: sleeping function", "Oops: 0000 [#1]"] {
        let script = format!("echo before; echo '{complaint}' >/dev/kmsg; echo after");
        let output = run(&["--kernel-log", log.to_str().unwrap(), "--exec", &script]);
        assert_eq!(status(&output), 103, "{complaint}: {}", errors(&output));
        assert!(errors(&output).contains("Linux reported a problem"), "{}", errors(&output));
        assert!(errors(&output).contains(complaint), "{}", errors(&output));
        assert_eq!(output.stdout, b"before\nafter\n");
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains("Linux version ") && log.contains(complaint), "{log}");
    }
    let output = run(&["--exec", "echo 'no WARNINGS, no DEBUG, no [Firmware Bug]' >/dev/kmsg"]);
    assert_eq!(status(&output), 0, "{}", errors(&output));
}

#[test]
fn a_kernel_that_panics_is_told_as_such() {
    let output = run(&["--exec", "echo before; sync; echo c >/proc/sysrq-trigger"]);
    assert_eq!(status(&output), 101, "{}", errors(&output));
    assert!(errors(&output).contains("sysrq triggered crash"), "{}", errors(&output));
}

#[test]
fn a_machine_that_is_switched_off_by_its_commands_has_not_succeeded() {
    let output = run(&["--exec", "poweroff -f; sleep 1000"]);
    assert_eq!(status(&output), 125, "{}", errors(&output));
    assert!(errors(&output).contains("switched off"), "{}", errors(&output));
}

#[test]
fn what_commands_leave_behind_does_not_hold_up_the_end() {
    let script = "mkdir /a /a/b && mount -t tmpfs none /a && mkdir '/a/b c' && \
        mount -t tmpfs none '/a/b c' && (cd '/a/b c' && exec sleep 1000) & \
        trap '' TERM HUP; sleep 1000 & cat /proc/kmsg >/dev/null & echo done";
    assert_eq!(printed(&["--exec", script]), "done\n");
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let start = Instant::now();
    let output = run(&["--timeout", "5", "--exec", "sleep 1000"]);
    assert_eq!(status(&output), 124, "{}", errors(&output));
    assert!(start.elapsed() < Duration::from_secs(600));
}

#[test]
fn a_tree_that_is_no_kernels_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = linux(&["--exec", "true"]).env("KDIR", folder.path()).output().unwrap();
    assert_eq!(status(&output), 125);
    let message = errors(&output);
    assert!(message.contains("KDIR=") && message.contains("no Makefile"), "{message}");
}

#[test]
fn a_program_that_cannot_run_there_is_refused_before_anything_runs() {
    let output = run(&["--add", "/no/such/program", "--exec", "true"]);
    assert_eq!(status(&output), 125);
    assert!(errors(&output).contains("/no/such/program"), "{}", errors(&output));
}

/// A runner whose commands run, and its QEMU.
fn started(arguments: &[&str]) -> (Child, u32) {
    let mut child = linux(&[arguments, &["--exec", "echo up; sleep 1000"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let qemu = first_child(child.id());
    (child, qemu)
}

#[test]
fn an_interrupted_runner_leaves_no_process() {
    let (mut child, qemu) = started(&[]);
    signal(child.id(), "INT");
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{errors}");
    assert!(gone(qemu));
}

#[test]
fn a_qemu_that_dies_is_told_as_such() {
    let (mut child, qemu) = started(&[]);
    signal(qemu, "KILL");
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125), "{errors}");
    assert!(errors.contains("QEMU ended unexpectedly"), "{errors}");
}
