//! The guest kernel in QEMU, as a user of `runner guest` sees it.

mod common;
#[path = "common/process.rs"]
mod process;

use common::{errors, runner, status};
use process::{first_child, gone, signal};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn guest(arguments: &[&str]) -> Output {
    runner(&[&["guest", "--timeout", "600"], arguments].concat()).output().unwrap()
}

/// What commands print, where all of them succeed.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = guest(arguments);
    assert_eq!(status(&output), 0, "{}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with a small tree and a writable image of it.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("dir/sub")).unwrap();
        fs::write(root.join("file"), "content\n").unwrap();
        fs::write(root.join("dir/large"), vec![b'x'; 300_000]).unwrap();
        std::os::unix::fs::symlink("../file", root.join("dir/link")).unwrap();
        let options = mkdaxfs::BuildOptions {
            writable: Some(mkdaxfs::DeltaSize::Bytes(8 << 20)),
            ..Default::default()
        };
        mkdaxfs::build(&root, &folder.path().join("image"), &options, &()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> String {
        self.path("image").to_str().unwrap().to_owned()
    }
}

#[test]
fn standard_output_carries_exactly_what_commands_print() {
    let fixture = Fixture::new();
    let output = guest(&["--image", &fixture.image(), "--exec", "cat /file; echo; cat /file"]);
    assert_eq!(output.stdout, b"content\n\ncontent\n");
    assert_eq!(status(&output), 0);
    let output = guest(&["--image", &fixture.image(), "--exec", ""]);
    assert_eq!((status(&output), output.stdout.as_slice()), (0, &b""[..]));
}

#[test]
fn bytes_of_all_values_arrive_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(7919) >> 3) as u8).collect();
    fs::write(folder.path().join("bytes"), &bytes).unwrap();
    let output = guest(&["--rootfs", folder.path().to_str().unwrap(), "--exec", "cat /bytes"]);
    assert_eq!(status(&output), 0, "{}", errors(&output));
    assert!(output.stdout == bytes, "{} bytes instead of {}", output.stdout.len(), bytes.len());
}

#[test]
fn the_status_is_that_of_the_first_command_that_failed() {
    for (commands, expected) in [
        ("cat /nothing; nonsense; echo on", 1),
        ("nonsense; cat /nothing", 127),
        ("ls -Z /", 2),
        ("echo fine; halt 7", 7),
        ("echo fine", 0),
    ] {
        let output = guest(&["--exec", commands]);
        assert_eq!(status(&output), expected, "{commands}: {}", errors(&output));
    }
    let output = guest(&["--exec", "cat /nothing; echo on"]);
    assert_eq!(output.stdout, b"on\n", "commands after a failure run");
    assert!(errors(&output).contains("/nothing"), "{}", errors(&output));
}

#[test]
fn commands_come_from_standard_input_where_it_is_no_terminal() {
    let fixture = Fixture::new();
    let script = fixture.path("script");
    fs::write(&script, "# a comment\ncat /file\necho done\n").unwrap();
    let output = runner(&["guest", "--image", &fixture.image(), "--timeout", "600"])
        .stdin(File::open(script).unwrap())
        .output()
        .unwrap();
    assert_eq!((status(&output), output.stdout.as_slice()), (0, &b"content\ndone\n"[..]));
}

#[test]
fn a_file_of_this_machine_is_read_from_an_image_of_etc() {
    let Ok(hostname) = fs::read_to_string("/etc/hostname") else {
        println!("not tried: this machine has no /etc/hostname");
        return;
    };
    let output = guest(&["--rootfs", "/etc", "--exec", "cat /hostname"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), hostname, "{}", errors(&output));
    assert_eq!(status(&output), 0);
}

#[test]
fn the_tree_in_the_guest_is_the_tree_it_was_made_of() {
    let fixture = Fixture::new();
    let list = printed(&["--image", &fixture.image(), "--exec", "find / ; readlink /dir/link"]);
    let expected = "/\n/dir\n/dir/large\n/dir/link\n/dir/sub\n/file\n../file\n";
    assert_eq!(list, expected);
    let sum = printed(&["--image", &fixture.image(), "--exec", "sha256sum /dir/large"]);
    let host = Command::new("sha256sum").arg(fixture.path("root/dir/large")).output().unwrap();
    assert_eq!(sum.as_bytes()[..64], host.stdout[..64]);
}

#[test]
fn what_was_written_is_found_again_after_a_reboot_on_the_same_memory() {
    let fixture = Fixture::new();
    let image = fixture.image();
    let run = |commands| printed(&["--image", &image, "--in-place", "--exec", commands]);
    run(
        "write /dir/new \"one\\n\"; append /dir/new \"two\\n\"; rm /file; ln -s new /dir/l; mkdir /d",
    );
    run("mv /dir/new /d/moved; truncate /dir/large 5");
    assert_eq!(
        run("cat /d/moved /dir/large; find /; branch list"),
        "one\ntwo\nxxxxx/\n/d\n/d/moved\n/dir\n/dir/l\n/dir/large\n/dir/link\n/dir/sub\n  main, 0 segments\n* guest (from main), 2 segments\n"
    );
    // The branch is what changed: main is as it was.
    assert_eq!(
        printed(&["--image", &image, "--in-place", "--branch", "main", "--exec", "cat /file"]),
        "content\n"
    );
}

#[test]
fn a_commit_reaches_main_and_an_abort_nothing() {
    let fixture = Fixture::new();
    let image = fixture.image();
    let run = |commands| printed(&["--image", &image, "--in-place", "--exec", commands]);
    run("write /committed yes; branch commit");
    run("write /aborted no; branch abort");
    let list = run("ls /; branch switch main; ls /; cat /committed");
    assert_eq!(list, "committed\ndir\nfile\n".repeat(2) + "yes");
}

#[test]
fn without_in_place_the_image_stays_as_it_is_and_save_writes_the_range_out() {
    let fixture = Fixture::new();
    let before = fs::read(fixture.path("image")).unwrap();
    let saved = fixture.path("saved");
    printed(&[
        "--image",
        &fixture.image(),
        "--save",
        saved.to_str().unwrap(),
        "--exec",
        "write /file changed; branch commit",
    ]);
    assert!(fs::read(fixture.path("image")).unwrap() == before, "the image was changed");
    let again = printed(&["--image", saved.to_str().unwrap(), "--exec", "cat /file"]);
    assert_eq!(again, "changed");
}

#[test]
fn a_large_file_written_in_the_guest_has_the_same_sum_outside() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let sum = printed(&[
        "--size",
        "256M",
        "--save",
        saved.to_str().unwrap(),
        "--exec",
        "fill /large 100M 7; sha256sum /large",
    ]);
    let inspect = tool("daxfs-inspect");
    let mut cat = Command::new(inspect)
        .args(["-f", saved.to_str().unwrap(), "-b", "guest", "cat", "/large"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let outside = Command::new("sha256sum").stdin(cat.stdout.take().unwrap()).output().unwrap();
    assert!(cat.wait().unwrap().success());
    assert_eq!(sum.as_bytes()[..64], outside.stdout[..64]);
    let metadata = fs::metadata(&saved).unwrap();
    assert!(metadata.blocks() * 512 < 150 << 20, "what was never written is a hole");
}

/// A tool of another package, built beside the runner.
fn tool(name: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "mkdaxfs", "--bin", name])
        .status()
        .unwrap();
    assert!(built.success());
    Path::new(env!("CARGO_BIN_EXE_runner")).with_file_name(name)
}

#[test]
fn every_way_to_crash_is_reported_with_its_own_status() {
    for (kind, expected, report) in [
        ("page-fault", 102, "page fault"),
        ("null", 102, "write at 0x0"),
        ("ud2", 102, "EXCEPTION 6"),
        ("divide", 102, "EXCEPTION 0"),
        ("write-base", 102, "shared range"),
        ("execute", 102, "instruction fetch"),
        ("stack", 102, "guard page"),
        ("panic", 101, "panic"),
    ] {
        let output = guest(&["--exec", &format!("echo before; crash {kind}; echo after")]);
        let errors = errors(&output);
        assert_eq!(status(&output), expected, "{kind}: {errors}");
        assert!(errors.contains(report), "{kind}: {errors}");
        assert_eq!(output.stdout, b"before\n", "{kind}");
    }
}

#[test]
fn the_kernel_tests_itself() {
    let output = guest(&["--exec", "selftest"]);
    assert_eq!(
        status(&output),
        0,
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        errors(&output)
    );
}

#[test]
fn what_is_no_image_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zeros");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let output = guest(&["--image", file.to_str().unwrap(), "--exec", "ls"]);
    assert_eq!(status(&output), 32);
    assert!(errors(&output).contains("not a DAXFS image"), "{}", errors(&output));
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_anything_runs() {
    let fixture = Fixture::new();
    let output = guest(&["--image", &fixture.image(), "--size", "1M", "--exec", "ls"]);
    assert_eq!(status(&output), 125);
    assert!(errors(&output).contains("--size"), "{}", errors(&output));
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let start = Instant::now();
    let script = "fill /a 100M 1; fill /a 100M 2; fill /a 100M 3; ".repeat(50);
    let output = runner(&["guest", "--timeout", "2", "--exec", &script]).output().unwrap();
    assert_eq!(status(&output), 124, "{}", errors(&output));
    assert!(start.elapsed() < Duration::from_secs(600));
}

/// A runner whose guest is at its prompt or in its script: QEMU runs.
fn started(commands: &str, temporary: &Path) -> (Child, u32) {
    let mut child = runner(&["guest", "-v", "--exec", commands])
        .env("TMPDIR", temporary)
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

/// Commands that say they have begun, and go on for longer than any test looks away.
fn busy() -> String {
    format!("echo up; {}", "fill /a 100M 1; fill /a 100M 2; fill /a 100M 3; ".repeat(50))
}

#[test]
fn an_interrupted_runner_leaves_neither_process_nor_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in [("INT", 130), ("TERM", 143)] {
        let (mut child, qemu) = started(&busy(), folder.path());
        signal(child.id(), name);
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{errors}");
        assert!(gone(qemu));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "temporary files");
    }
}

#[test]
fn a_runner_that_is_killed_takes_qemu_with_it() {
    let (mut child, qemu) = started(&busy(), &std::env::temp_dir());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(gone(qemu));
}

#[test]
fn a_qemu_that_dies_is_told_as_such() {
    let (mut child, qemu) = started(&busy(), &std::env::temp_dir());
    signal(qemu, "KILL");
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125), "{errors}");
    assert!(errors.contains("QEMU ended unexpectedly"), "{errors}");
}

#[test]
fn two_runners_do_not_work_on_one_image_in_place() {
    let fixture = Fixture::new();
    let _first = runner::memory::SharedMemory::in_place(&fixture.path("image")).unwrap();
    let output = guest(&["--image", &fixture.image(), "--in-place", "--exec", "ls"]);
    assert_eq!(status(&output), 125);
    assert!(errors(&output).contains("another machine"), "{}", errors(&output));
}

#[test]
fn the_guest_is_small_and_starts_quickly() {
    // The first run may have to build things.
    printed(&["--exec", "echo"]);
    let start = Instant::now();
    let up = printed(&["--accel", "tcg", "--exec", "uptime"]);
    let elapsed = start.elapsed();
    println!("kernel up after {}, runner done after {elapsed:?}", up.trim());
    // The target is a second from QEMU's start to the prompt; how busy the machine is nobody knows.
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
    let setup = runner(&["setup"]).output().unwrap();
    let text = String::from_utf8_lossy(&setup.stdout).into_owned();
    let elf = text.lines().find_map(|line| line.strip_prefix("guest    ")).expect("a guest line");
    let elf = elf.split(" (").next().unwrap();
    let size = fs::metadata(elf).unwrap().len();
    assert!(size < 512 << 10, "the guest's ELF has {size} bytes");
}

#[test]
fn the_demonstration_shows_what_it_should() {
    let output = runner(&[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 0, "{text}\n{}", errors(&output));
    assert_eq!(text.matches("ok checked").count(), 8, "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
}
