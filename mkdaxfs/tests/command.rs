//! The `mkdaxfs` command: arguments, exit codes, what goes where.

mod common;

use assert_cmd::Command;
use common::{Image, Workspace, assert_same_tree, noise};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn mkdaxfs() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("mkdaxfs"));
    command.env_remove("SOURCE_DATE_EPOCH");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_seeds_command_lines_work() {
    let ws = Workspace::new();
    ws.file("sub/file", "content");
    let run = mkdaxfs().arg("-d").arg(ws.source()).arg("-o").arg(ws.output()).assert().success();
    let out = text(&run.get_output().stdout);
    assert!(out.contains("static") && out.contains("1 file, 2 directories"), "{out}");
    assert_eq!(text(&run.get_output().stderr), "", "no terminal, no progress");
    assert_same_tree(&ws.source(), &Image::read(&ws.output()));

    mkdaxfs().arg("-d").arg(ws.source()).arg("-o").arg(ws.output()).arg("-w").assert().success();
    let image = Image::read(&ws.output());
    assert_same_tree(&ws.source(), &image);
    assert_eq!(image.superblock.delta_region_size.get(), 64 << 20);
}

#[test]
fn the_delta_size_takes_suffixes_and_is_whole_pages() {
    let ws = Workspace::new();
    for (text, size) in [("16M", 16 << 20), ("2097153", (2 << 20) + 4096), ("4096K", 4 << 20)] {
        mkdaxfs()
            .arg("-wd")
            .arg(ws.source())
            .arg("-o")
            .arg(ws.output())
            .args(["-D", text])
            .assert()
            .success();
        let image = Image::read(&ws.output());
        assert_eq!(image.superblock.delta_region_size.get(), size, "{text}");
    }
}

#[test]
fn wrong_arguments_are_told_apart_from_failures() {
    let ws = Workspace::new();
    let (source, output) = (ws.source(), ws.output());
    let (source, output) = (source.to_str().unwrap(), output.to_str().unwrap());
    for args in [
        &["-d", source][..],
        &["-o", output],
        &["-d", source, "-o", output, "-D", "1M"],
        &["-d", source, "-o", output, "-w", "-D", "1X"],
        &["-d", source, "-o", output, "--uuid", "00000000-0000-0000-0000-000000000001"],
        &["-d", source, "-o", output, "-j", "0"],
        &["-d", source, "-o", output, "-q", "--json"],
        &["-d", source],
        &["-d", source, "-o", output, "-p", "0x100000000", "-s", "1M"],
        &["-d", source, "-p", "0x100000000"],
        &["-d", source, "-p", "there", "-s", "1M"],
        &["-d", source, "-H", "/dev/dma_heap/system", "-s", "1M"],
        &["-d", source, "-H", "/dev/dma_heap/system", "-m", "/mnt"],
        // A file has the size it needs, and is mounted by others.
        &["-d", source, "-o", output, "-s", "1M"],
        &["-d", source, "-o", output, "-m", "/mnt"],
    ] {
        mkdaxfs().args(args).assert().code(2);
    }
    mkdaxfs()
        .args(["-d", source, "-o", output])
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .assert()
        .code(2);
    mkdaxfs().args(["-d", "/nonexistent", "-o", output]).assert().code(1);
    assert_eq!(ws.outputs(), [""; 0]);
}

#[test]
fn json_and_quiet_mean_what_they_say() {
    let ws = Workspace::new();
    ws.file("a", "content");
    ws.file("b", "content");
    let mut command = mkdaxfs();
    command.arg("-d").arg(ws.source()).arg("-o").arg(ws.output());
    let run = command.arg("--json").assert().success();
    let report: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(report["files"], 2);
    assert_eq!(report["deduplicated_files"], 1);
    assert_eq!(report["saved_bytes"], 7);
    assert_eq!(report["writable"], false);
    assert_eq!(report["uuid"], serde_json::Value::Null);
    assert!(report["elapsed_seconds"].as_f64().unwrap() >= 0.0);

    let run = mkdaxfs().arg("-qd").arg(ws.source()).arg("-o").arg(ws.output()).assert().success();
    assert_eq!(text(&run.get_output().stdout), "");
    assert_eq!(text(&run.get_output().stderr), "");
}

#[test]
fn errors_are_one_line_on_standard_error_and_plain_without_a_terminal() {
    let ws = Workspace::new();
    ws.file("n".repeat(129), "");
    let run = mkdaxfs().arg("-d").arg(ws.source()).arg("-o").arg(ws.output()).assert().code(1);
    let err = text(&run.get_output().stderr);
    assert!(err.starts_with("mkdaxfs: error: ") && err.lines().count() == 1, "{err:?}");
    assert!(!err.contains('\x1b'), "{err:?}");
    assert_eq!(text(&run.get_output().stdout), "");
}

#[test]
fn an_image_is_replaced_through_links_and_gets_the_usual_mode() {
    let ws = Workspace::new();
    ws.file("file", "x");
    fs::write(ws.output(), "old").unwrap();
    let link = ws.path().join("link");
    symlink("out/image", &link).unwrap();
    mkdaxfs().arg("-d").arg(ws.source()).arg("-o").arg(&link).assert().success();
    assert!(link.is_symlink());
    assert_same_tree(&ws.source(), &Image::read(&ws.output()));
    assert_eq!(ws.outputs(), ["image"]);

    // As any program's new file: readable by others, if the umask lets it.
    let probe = ws.path().join("probe");
    fs::write(&probe, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ws.output()), mode(&probe));
}

#[test]
fn an_output_without_directory_lands_in_the_current_one() {
    let ws = Workspace::new();
    let out = ws.path().join("out");
    mkdaxfs().current_dir(&out).args(["-d", "../source", "-o", "image"]).assert().success();
    assert_same_tree(&ws.source(), &Image::read(&ws.output()));
}

/// Waits until the child has opened something below `directory`; `false` if it ends before.
fn opens_below(child: &mut Child, directory: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(600);
    while Instant::now() < deadline {
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten();
        let mut targets = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        if targets.any(|target| target.starts_with(directory)) {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    panic!("it neither starts nor ends");
}

#[test]
fn an_interrupted_build_leaves_nothing_and_says_so() {
    let ws = Workspace::new();
    ws.file("large", noise(1, 1 << 20).repeat(128));
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("mkdaxfs"));
        command.arg("-d").arg(ws.source()).arg("-o").arg(ws.output()).stderr(Stdio::piped());
        let mut interrupted = false;
        // On an odd machine a build may be through before the signal arrives: once more, then.
        for _ in 0..20 {
            let mut child = command.spawn().unwrap();
            if opens_below(&mut child, &ws.path().join("out")) {
                kill_process(Pid::from_child(&child), signal).unwrap();
            }
            let output = child.wait_with_output().unwrap();
            if !output.status.success() {
                assert_eq!(output.status.code(), Some(128 + signal.as_raw()));
                assert!(text(&output.stderr).contains("stopped; no image was written"));
                assert_eq!(ws.outputs(), [""; 0]);
                interrupted = true;
                break;
            }
            fs::remove_file(ws.output()).unwrap();
        }
        assert!(interrupted);
    }
}

#[test]
fn man_page_and_completions_come_from_the_tool() {
    let page = mkdaxfs().args(["--generate", "man"]).assert().success();
    let page = text(&page.get_output().stdout);
    assert!(page.contains(".TH mkdaxfs") && page.contains("SOURCE_DATE_EPOCH"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let run = mkdaxfs().args(["--generate", shell]).assert().success();
        assert!(text(&run.get_output().stdout).contains("align-large"), "{shell}");
    }
}
