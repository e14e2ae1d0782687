//! The live view: what it shows of a range that others work on, drawn to memory and to a terminal.

mod common;

use common::Workspace;
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, BranchName, Delta, Ino, Mount, MountOptions, NewInode, Region, Volume};
use mkdaxfs::watch::{Console, Pane, Watch};
use mkdaxfs::{BuildOptions, DeltaSize};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

fn image(writable: Option<DeltaSize>) -> Workspace {
    let ws = Workspace::new();
    ws.file("file", "content");
    ws.build(&BuildOptions { writable, ..BuildOptions::default() }).unwrap();
    ws
}

fn writable() -> Workspace {
    image(Some(DeltaSize::Bytes(4 << 20)))
}

/// Looks at the image through a mapping that cannot be written to.
fn watch(ws: &Workspace) -> Watch<StdPlatform> {
    let region = Region::new(MappedFile::new(&File::open(ws.output()).unwrap(), false).unwrap());
    Watch::new("the image", Volume::open(StdPlatform, region).unwrap())
}

fn mount(ws: &Workspace, branch: &str, parent: Option<&str>) -> Mount<StdPlatform> {
    let file = File::options().read(true).write(true).open(ws.output()).unwrap();
    let name = |name: &str| BranchName::new(name.as_bytes()).unwrap();
    let options = MountOptions {
        branch: Some(name(branch)),
        parent: parent.map(name),
        name: BranchName::new(b"kernel-7"),
        access: Access::ReadWrite,
        ..MountOptions::default()
    };
    Mount::new(StdPlatform, Region::new(MappedFile::new(&file, true).unwrap()), &options).unwrap()
}

fn write(mount: &Mount<StdPlatform>, name: &str, bytes: usize) {
    let new = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };
    let file = mount.create(Ino::ROOT, name.as_bytes(), &new).unwrap();
    assert_eq!(mount.write(file.ino, 0, &vec![7; bytes]).unwrap(), bytes);
}

/// The line that has all of `parts`.
#[track_caller]
fn line<'t>(text: &'t str, parts: &[&str]) -> &'t str {
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    text.lines().find(has_all).unwrap_or_else(|| panic!("no line has {parts:?}:\n{text}"))
}

#[test]
fn branches_are_shown_as_a_tree_with_their_states_members_and_sizes() {
    let ws = writable();
    let mounted = mount(&ws, "work", Some("main"));
    write(&mounted, "large", 600_000);
    let mut watch = watch(&ws);
    watch.refresh(Duration::ZERO);
    let text = watch.text(140, 40);
    line(&text, &["the image"]);
    line(&text, &["\u{25a0} main", "active"]);
    // Below its parent, and to its right.
    line(&text, &["  \u{25a0} work", "active", " 0 ", "1.2 MiB"]);
    line(&text, &["kernel-7", "alive", "work"]);
    line(&text, &["sequence "]);
    line(&text, &["segments: ", " free, 256.0 KiB each"]);
    // 600,000 bytes need three segments.
    assert_eq!(text.matches('\u{2588}').count(), 3 + 1, "and one in the legend:\n{text}");
    mounted.unmount().unwrap();
}

#[test]
fn what_happens_between_looks_is_told() {
    let ws = writable();
    let mut watch = watch(&ws);
    watch.refresh(Duration::ZERO);
    let sequence = watch.snapshot().unwrap().tree.unwrap().sequence;
    let (winner, loser) = (mount(&ws, "winner", Some("main")), mount(&ws, "loser", Some("main")));
    watch.refresh(Duration::from_secs(1));
    let text = watch.text(140, 40);
    line(&text, &["1.00 s", "branch 'winner' made from 'main'"]);
    line(&text, &["1.00 s", "member 0 kernel-7 joined"]);
    write(&winner, "new", 10);
    winner.commit().unwrap();
    watch.refresh(Duration::from_secs(2));
    let text = watch.text(140, 60);
    line(&text, &["branch 'winner' committed to 'main'"]);
    assert!(watch.snapshot().unwrap().tree.unwrap().sequence > sequence);
    line(&text, &["changes/s"]);
    winner.unmount().unwrap();
    // Its branch is gone, whatever it says to that.
    let _ = loser.unmount();
    watch.refresh(Duration::from_secs(3));
    line(&watch.text(140, 60), &["member 0 kernel-7 left"]);
}

#[test]
fn a_member_whose_heart_stops_is_first_late_and_then_silent() {
    let ws = writable();
    let mounted = mount(&ws, "main", None);
    let mut watch = watch(&ws);
    let lease = Duration::from_millis(mounted.lease_ms().unwrap());
    let mut condition = |now| {
        watch.refresh(now);
        let text = watch.text(140, 40);
        let words = ["alive", "late", "silent"];
        let line = line(&text, &["kernel-7", "main"]).to_owned();
        *words.iter().find(|word| line.contains(*word)).expect(&line)
    };
    assert_eq!(condition(Duration::ZERO), "alive");
    assert_eq!(condition(lease * 3 / 4), "late");
    assert_eq!(condition(lease * 2), "silent");
    mounted.beat();
    assert_eq!(condition(lease * 2), "alive");
    mounted.unmount().unwrap();
}

#[test]
fn a_static_image_has_only_a_size_to_show() {
    let ws = image(None);
    let mut watch = watch(&ws);
    watch.refresh(Duration::ZERO);
    let text = watch.text(100, 30);
    line(&text, &["static", "2 inodes"]);
    line(&text, &["no segments"]);
}

#[test]
fn nonsense_in_the_range_is_shown_as_such() {
    let ws = writable();
    let mut watch = watch(&ws);
    watch.refresh(Duration::ZERO);
    let geometry = watch.snapshot().unwrap().geometry;
    let Delta::Segmented(segments) = geometry.delta else { panic!("{geometry:?}") };
    let file = File::options().write(true).open(ws.output()).unwrap();
    // The last segment has a kind that does not exist.
    let word = segments.map.start.get() + u64::from(segments.count - 1) * 8;
    file.write_all_at(&[0xff; 8], word).unwrap();
    watch.refresh(Duration::from_secs(1));
    assert!(watch.text(100, 30).contains("\u{b7}?"), "{}", watch.text(100, 30));
    // The first branch has a state that does not exist: this look fails, the last one stays.
    file.write_all_at(&[0x77], geometry.branch_table.start.get() + 40).unwrap();
    watch.refresh(Duration::from_secs(2));
    let text = watch.text(100, 30);
    line(&text, &["last look failed: ", "corrupt"]);
    line(&text, &["main", "active"]);
}

#[test]
fn no_size_of_the_terminal_is_too_small() {
    let ws = writable();
    let mounted = mount(&ws, "work", Some("main"));
    let mut watch = watch(&ws);
    assert!(watch.text(10, 5).contains("noth"));
    watch.refresh(Duration::ZERO);
    for columns in [0, 1, 2, 3, 10, 40] {
        for lines in [0, 1, 2, 3, 5, 10] {
            let drawn = if columns == 0 { 0 } else { lines };
            assert_eq!(watch.text(columns, lines).lines().count(), usize::from(drawn));
        }
    }
    mounted.unmount().unwrap();
}

#[test]
fn many_branches_scroll() {
    let ws = writable();
    let file = File::options().read(true).write(true).open(ws.output()).unwrap();
    let region = Region::new(MappedFile::new(&file, true).unwrap());
    let volume = Volume::open(StdPlatform, region).unwrap();
    for i in 0..60 {
        let name = BranchName::new(format!("b{i:02}").as_bytes()).unwrap();
        volume.create_branch(&name, &BranchName::main()).unwrap();
    }
    let mut watch = watch(&ws);
    watch.refresh(Duration::ZERO);
    let text = watch.text(100, 30);
    assert!(text.contains("b00") && !text.contains("b59") && text.contains(" more "), "{text}");
    watch.scroll(1000);
    let text = watch.text(100, 30);
    assert!(!text.contains("b00") && text.contains("b59") && !text.contains(" more "), "{text}");
    watch.scroll(-1000);
    assert!(watch.text(100, 30).contains("b00"));
}

#[test]
fn a_console_shows_its_last_lines() {
    let mut console = Console::new("guest");
    let writer = console.clone();
    std::thread::spawn(move || (0..50).for_each(|i| writer.push(format!("line {i}\n").as_bytes())))
        .join()
        .unwrap();
    let backend = ratatui::backend::TestBackend::new(7, 4);
    let Ok(mut terminal) = ratatui::Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| console.draw(frame, frame.area()));
    terminal.backend().assert_buffer_lines(["line 47", "line 48", "line 49", ""]);
}

#[cfg(feature = "cli")]
#[test]
fn one_look_needs_no_terminal_and_a_live_view_says_that_it_does() {
    let ws = writable();
    let inspect = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daxfs-inspect"));
        command.args(arguments).arg("-f").arg(ws.output()).stdin(Stdio::null()).output().unwrap()
    };
    let output = inspect(&["watch", "--once"]);
    assert!(output.status.success(), "{output:?}");
    line(&String::from_utf8(output.stdout).unwrap(), &["main", "active"]);
    let output = inspect(&["watch"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"), "{output:?}");
}

/// In a terminal of its own, where another process works on the image meanwhile.
#[cfg(feature = "cli")]
#[test]
fn a_live_view_follows_the_range_ends_with_q_and_leaves_the_terminal_as_it_was() {
    let ws = writable();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = || {
        let name = name.to_str().unwrap();
        File::options().read(true).write(true).open(name).unwrap()
    };
    let terminal = open();
    let size = Winsize { ws_row: 40, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let before = tcgetattr(&terminal).unwrap().local_modes;
    let mut child = Command::new(env!("CARGO_BIN_EXE_daxfs-inspect"))
        .args(["watch", "--interval", "20", "-f"])
        .arg(ws.output())
        .env("TERM", "xterm")
        .stdin(open())
        .stdout(open())
        .stderr(open())
        .spawn()
        .unwrap();
    // What it draws, as it comes.
    let mut screen = File::from(master);
    let mut keys = screen.try_clone().unwrap();
    let (sender, drawn) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            if sender.send(bytes[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut seen = String::new();
    let mut wait_for = |what: &str| {
        while !seen.contains(what) {
            let more = drawn.recv_timeout(Duration::from_secs(600));
            let more = more.unwrap_or_else(|_| panic!("{what:?} did not appear: {seen:?}"));
            seen.push_str(&String::from_utf8_lossy(&more));
        }
    };
    wait_for("main");
    assert!(!tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ICANON));
    let mounted = mount(&ws, "newborn", Some("main"));
    wait_for("newborn");
    mounted.unmount().unwrap();
    keys.write_all(b"q").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(tcgetattr(&terminal).unwrap().local_modes, before);
}
