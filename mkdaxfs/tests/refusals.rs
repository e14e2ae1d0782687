//! What cannot be built, and that nothing is left of the attempt.

mod common;

use assert_cmd::Command;
use common::{Event, Hook, Workspace, noise};
use mkdaxfs::{BuildError, BuildOptions, DeltaSize, Phase, Progress, build};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Builds, expects an error that names `culprit`, and nothing in the output folder.
#[track_caller]
fn refused(ws: &Workspace, culprit: &Path, progress: &dyn Progress) -> BuildError {
    let error = build(&ws.source(), &ws.output(), &BuildOptions::default(), progress)
        .expect_err("this must not build");
    let text = error.to_string();
    assert!(text.contains(culprit.to_str().unwrap()), "{text:?} names {culprit:?}");
    assert_eq!(ws.outputs(), [""; 0], "what is left");
    error
}

#[test]
fn a_name_of_129_bytes_is_refused() {
    let ws = Workspace::new();
    let path = ws.file(format!("sub/{}", "n".repeat(129)), "");
    let error = refused(&ws, &path, &());
    assert!(matches!(error, BuildError::NameTooLong { len: 129, .. }), "{error:?}");
}

#[test]
fn an_unreadable_file_is_refused() {
    let ws = Workspace::new();
    ws.file("readable", "x");
    let path = ws.file("sub/secret", "x");
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    for open in [ws.path().to_path_buf(), ws.path().join("out")] {
        fs::set_permissions(open, Permissions::from_mode(0o777)).unwrap();
    }
    // Root can read everything: the tool runs as somebody else then, from a place they can reach.
    let tool = ws.path().join("tool");
    fs::copy(assert_cmd::cargo::cargo_bin!("mkdaxfs"), &tool).unwrap();
    let mut command = std::process::Command::new(tool);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.arg("-d").arg(ws.source()).arg("-o").arg(ws.output());
    let output = Command::from_std(command).assert().code(1).get_output().clone();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("Permission denied"), "{text}");
    assert_eq!(ws.outputs(), [""; 0]);
}

#[test]
fn a_file_that_grows_after_the_listing_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("log", "line\n");
    let hook = Hook(|event| {
        if matches!(event, Event::Begin(Phase::Write)) {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        }
    });
    let error = refused(&ws, &path, &hook);
    assert!(matches!(error, BuildError::Changed { .. }), "{error:?}");
}

#[test]
fn a_large_file_that_shrinks_half_way_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("disk", noise(1, 40 << 20));
    let once = AtomicBool::new(false);
    let writing = AtomicBool::new(false);
    let hook = Hook(|event| match event {
        Event::Begin(phase) => writing.store(phase == Phase::Write, Ordering::SeqCst),
        Event::Advance(by) => {
            // The first part of several: there is more to read of the same file.
            if writing.load(Ordering::SeqCst) && by > 1 << 20 && !once.swap(true, Ordering::SeqCst)
            {
                File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
            }
        }
    });
    let one = BuildOptions { threads: std::num::NonZeroUsize::new(1), ..Default::default() };
    let error = build(&ws.source(), &ws.output(), &one, &hook).unwrap_err();
    assert!(matches!(&error, BuildError::Changed { path: p, .. } if *p == path), "{error:?}");
    assert_eq!(ws.outputs(), [""; 0]);
}

#[test]
fn a_file_overwritten_in_place_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("database", noise(1, 10_000));
    let before = fs::metadata(&path).unwrap();
    let hook = Hook(|event| {
        if matches!(event, Event::Begin(Phase::Write)) {
            // The system's clock for this may be coarse; the size and even the modification time
            // stay the same.
            for _ in 0..1_000_000 {
                fs::write(&path, noise(2, 10_000)).unwrap();
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
                let now = fs::metadata(&path).unwrap();
                if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
                    return;
                }
            }
            panic!("the clock stands still");
        }
    });
    let error = refused(&ws, &path, &hook);
    assert!(matches!(error, BuildError::Changed { .. }), "{error:?}");
}

/// Calls a closure each time the build asks whether to stop, once it writes: between the windows of
/// a large file, for one.
struct WhileWriting<F> {
    writing: AtomicBool,
    hook: F,
}

impl<F: Fn() + Sync> Progress for WhileWriting<F> {
    fn begin(&self, phase: Phase, _: Option<u64>) {
        self.writing.store(phase == Phase::Write, Ordering::SeqCst);
    }
    fn cancelled(&self) -> bool {
        if self.writing.load(Ordering::SeqCst) {
            (self.hook)();
        }
        false
    }
}

#[test]
fn a_file_changed_behind_the_reading_position_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("disk", noise(1, 4 << 20));
    let before = fs::metadata(&path).unwrap();
    let calls = AtomicU64::new(0);
    let hook = || {
        // By the fourth time some windows of the file have been read.
        if calls.fetch_add(1, Ordering::SeqCst) != 3 {
            return;
        }
        for _ in 0..1_000_000 {
            File::options().write(true).open(&path).unwrap().write_all(b"new").unwrap();
            let now = fs::metadata(&path).unwrap();
            if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
                return;
            }
        }
        panic!("the clock stands still");
    };
    let error = refused(&ws, &path, &WhileWriting { writing: AtomicBool::new(false), hook });
    assert!(matches!(error, BuildError::Changed { .. }), "{error:?}");
    assert!(calls.into_inner() > 4, "it was in the middle of the file");
}

#[test]
fn a_file_replaced_by_a_link_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("file", "x");
    let hook = Hook(|event| {
        if matches!(event, Event::Begin(Phase::Write)) {
            fs::remove_file(&path).unwrap();
            symlink("/etc/passwd", &path).unwrap();
        }
    });
    refused(&ws, &path, &hook);
}

#[test]
fn a_file_that_vanishes_is_refused() {
    let ws = Workspace::new();
    let path = ws.file("sub/file", "x");
    let hook = Hook(|event| {
        if matches!(event, Event::Begin(Phase::Write)) {
            fs::remove_file(&path).unwrap();
        }
    });
    refused(&ws, &path, &hook);
}

#[test]
fn files_that_hide_their_content_are_refused() {
    // Files of /proc have size 0 and content: an image would silently have empty ones.
    if !Path::new("/proc/sys/kernel/random").is_dir() {
        eprintln!("skipped: no /proc here");
        return;
    }
    let ws = Workspace::new();
    let source = Path::new("/proc/sys/kernel/random");
    let error = build(source, &ws.output(), &BuildOptions::default(), &()).unwrap_err();
    assert!(error.to_string().contains("/proc/sys/kernel/random/"), "{error}");
    assert_eq!(ws.outputs(), [""; 0]);
}

#[test]
fn an_output_inside_the_source_is_refused() {
    let ws = Workspace::new();
    ws.file("sub/file", "x");
    symlink(ws.source().join("sub"), ws.path().join("detour")).unwrap();
    for output in
        [ws.source().join("image"), ws.source().join("sub/image"), ws.path().join("detour/image")]
    {
        let error = build(&ws.source(), &output, &BuildOptions::default(), &()).unwrap_err();
        assert!(matches!(error, BuildError::OutputInsideSource { .. }), "{error:?}");
        assert!(!output.exists());
    }
    let inside: Vec<_> = fs::read_dir(ws.source().join("sub")).unwrap().collect();
    assert_eq!(inside.len(), 1, "nothing left in the source");
}

#[test]
fn an_output_that_is_no_file_is_refused() {
    let ws = Workspace::new();
    let error = build(&ws.source(), &ws.path().join("out"), &BuildOptions::default(), &());
    assert!(matches!(error, Err(BuildError::OutputNotFile { .. })), "{error:?}");
    let error = build(&ws.source(), Path::new("/dev/null"), &BuildOptions::default(), &());
    assert!(matches!(error, Err(BuildError::OutputNotFile { .. })), "{error:?}");
}

#[test]
fn a_source_that_is_no_directory_is_refused() {
    let ws = Workspace::new();
    let file = ws.file("file", "x");
    for source in [file, ws.path().join("missing")] {
        let error = build(&source, &ws.output(), &BuildOptions::default(), &()).unwrap_err();
        assert!(error.to_string().contains(source.to_str().unwrap()), "{error}");
        assert_eq!(ws.outputs(), [""; 0]);
    }
}

#[test]
fn delta_regions_that_cannot_be_are_refused() {
    let ws = Workspace::new();
    for size in [DeltaSize::Bytes(0), DeltaSize::Bytes(u64::MAX), DeltaSize::FillTo(0x9000)] {
        let options = BuildOptions { writable: Some(size), ..Default::default() };
        let error = ws.build(&options).expect_err("this must not build");
        assert!(
            matches!(error, BuildError::TooLarge { .. } | BuildError::DeltaTooSmall { .. }),
            "{error:?}"
        );
        assert_eq!(ws.outputs(), [""; 0]);
    }
}

#[test]
fn an_old_image_survives_a_failed_build() {
    let ws = Workspace::new();
    fs::write(ws.output(), "the old image").unwrap();
    ws.file("n".repeat(129), "");
    ws.build(&BuildOptions::default()).expect_err("this must not build");
    assert_eq!(fs::read(ws.output()).unwrap(), b"the old image");
    assert_eq!(ws.outputs(), ["image"]);
}

/// Asks to stop once so many bytes or files are through.
struct StopAfter(AtomicU64);

impl Progress for StopAfter {
    fn cancelled(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    }
}

#[test]
fn stopping_at_any_point_leaves_nothing() {
    let ws = Workspace::new();
    ws.file("a", noise(1, 20_000));
    ws.file("sub/b", noise(1, 20_000));
    ws.file("c", noise(2, 1 << 20));
    let mut stopped = 0;
    loop {
        let stop = StopAfter(AtomicU64::new(stopped));
        match build(&ws.source(), &ws.output(), &BuildOptions::default(), &stop) {
            Ok(_) => break,
            Err(BuildError::Cancelled) => assert_eq!(ws.outputs(), [""; 0], "after {stopped}"),
            Err(e) => panic!("{e}"),
        }
        stopped += 1;
        assert!(stopped < 1000);
    }
    assert!(stopped > 5, "it asks more than once: {stopped}");
}
