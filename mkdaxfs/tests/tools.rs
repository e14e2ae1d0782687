//! `daxfs-inspect`, `fsck-daxfs` and `daxfs-branch`: what they print, and their exit codes.

mod common;

use assert_cmd::Command;
use common::{Workspace, noise};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, BranchName, Ino, Mount, MountOptions, NewInode, Region};
use daxfs_format::base::BaseDirent;
use daxfs_format::superblock::Superblock;
use mkdaxfs::{BuildOptions, DeltaSize};
use serde_json::Value;
use std::fs::{self, File};
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, symlink};

fn tool(name: &str, ws: &Workspace, arguments: &[&str]) -> Command {
    let mut command = match name {
        "inspect" => Command::new(assert_cmd::cargo::cargo_bin!("daxfs-inspect")),
        "branch" => Command::new(assert_cmd::cargo::cargo_bin!("daxfs-branch")),
        _ => Command::new(assert_cmd::cargo::cargo_bin!("fsck-daxfs")),
    };
    if name != "fsck" {
        command.arg("-f");
    }
    command.arg(ws.output()).args(arguments);
    command
}

/// What a tool prints, which must succeed.
#[track_caller]
fn bytes(name: &str, ws: &Workspace, arguments: &[&str]) -> Vec<u8> {
    let run = tool(name, ws, arguments).assert().success();
    assert_eq!(String::from_utf8_lossy(&run.get_output().stderr), "");
    run.get_output().stdout.clone()
}

#[track_caller]
fn text(name: &str, ws: &Workspace, arguments: &[&str]) -> String {
    String::from_utf8(bytes(name, ws, arguments)).unwrap()
}

#[track_caller]
fn json(name: &str, ws: &Workspace, arguments: &[&str]) -> Value {
    serde_json::from_slice(&bytes(name, ws, arguments)).unwrap()
}

/// What a tool says when it fails as it must.
#[track_caller]
fn refusal(name: &str, ws: &Workspace, arguments: &[&str], code: i32) -> String {
    let run = tool(name, ws, arguments).assert().code(code);
    assert_eq!(String::from_utf8_lossy(&run.get_output().stdout), "");
    let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(message.contains("error:"), "{message}");
    message
}

/// A writable image of a small tree.
fn image() -> Workspace {
    let ws = Workspace::new();
    ws.file("etc/motd", "hello\n");
    ws.file("etc/odd\n\x1b[31m", "steers terminals");
    ws.file("large", noise(1, (3 << 20) + 5));
    symlink("etc", ws.at("link")).unwrap();
    symlink("nowhere", ws.at("dangling")).unwrap();
    build(&ws, Some(DeltaSize::Bytes(4 << 20)));
    ws
}

fn build(ws: &Workspace, writable: Option<DeltaSize>) {
    ws.build(&BuildOptions { writable, ..BuildOptions::default() }).unwrap();
}

/// Mounts a branch to write to it, as a kernel does.
fn mount(ws: &Workspace, branch: &str) -> Mount<StdPlatform> {
    let file = File::options().read(true).write(true).open(ws.output()).unwrap();
    let options = MountOptions {
        branch: BranchName::new(branch.as_bytes()),
        access: Access::ReadWrite,
        keep: true,
        ..MountOptions::default()
    };
    Mount::new(StdPlatform, Region::new(MappedFile::new(&file, true).unwrap()), &options).unwrap()
}

fn write(mount: &Mount<StdPlatform>, name: &str, content: &[u8]) {
    let new = NewInode { mode: 0o100_644, uid: 7, gid: 8, rdev: 0 };
    let file = mount.create(Ino::ROOT, name.as_bytes(), &new).unwrap();
    assert_eq!(mount.write(file.ino, 0, content).unwrap(), content.len());
}

#[test]
fn cat_gives_the_bytes_and_follows_links() {
    let ws = image();
    assert_eq!(text("inspect", &ws, &["cat", "/etc/motd"]), "hello\n");
    assert_eq!(text("inspect", &ws, &["cat", "link/motd"]), "hello\n");
    assert!(bytes("inspect", &ws, &["cat", "/large"]) == fs::read(ws.at("large")).unwrap());
    assert!(refusal("inspect", &ws, &["cat", "/etc"], 1).contains("is a directory"));
    assert!(refusal("inspect", &ws, &["cat", "/dangling"], 1).contains("no such file"));
}

#[test]
fn ls_lists_directories_and_single_files() {
    let ws = image();
    assert_eq!(text("inspect", &ws, &["ls"]), "dangling\netc\nlarge\nlink\n");
    assert_eq!(text("inspect", &ws, &["ls", "/link"]), "motd\nodd\\x0a\\x1b[31m\n");
    assert_eq!(text("inspect", &ws, &["ls", "dangling"]), "dangling\n");
    let long = text("inspect", &ws, &["ls", "-l"]);
    assert!(long.lines().any(|l| l.starts_with("lrwx") && l.ends_with("link -> etc")), "{long}");
    assert!(long.lines().any(|l| l.starts_with("-rw") && l.contains("3145733")), "{long}");
    let files = json("inspect", &ws, &["ls", "--json", "/etc"]);
    assert_eq!(files[0]["name"], "motd");
    assert_eq!(files[0]["size"], 6);
    assert_eq!(files[0]["kind"], "regular file");
    assert_eq!(files[1]["name"], "odd\\x0a\\x1b[31m");
}

#[test]
fn stat_says_what_it_is_and_keeps_the_last_link() {
    let ws = image();
    let file = json("inspect", &ws, &["stat", "--json", "/etc/motd"]);
    assert_eq!((&file["size"], &file["nlink"]), (&Value::from(6), &Value::from(1)));
    let link = json("inspect", &ws, &["stat", "--json", "/link"]);
    assert_eq!((&link["kind"], &link["target"]), (&"symbolic link".into(), &"etc".into()));
    let shown = text("inspect", &ws, &["stat", "/link"]);
    assert!(shown.contains("Path: /link -> etc"), "{shown}");
    assert!(refusal("inspect", &ws, &["stat", "/etc/motd/x"], 1).contains("not a directory"));
}

#[test]
fn tree_shows_everything_once() {
    let ws = image();
    assert_eq!(
        text("inspect", &ws, &["tree"]),
        "/\n├── dangling -> nowhere\n├── etc\n│   ├── motd\n│   └── odd\\x0a\\x1b[31m\n\
         ├── large\n└── link -> etc\n\n1 directory, 5 files\n"
    );
    let files = json("inspect", &ws, &["tree", "--json", "/etc"]);
    let names: Vec<_> = files.as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["/etc", "/etc/motd", "/etc/odd\\x0a\\x1b[31m"]);
}

#[test]
fn status_tells_the_kinds_of_images_apart() {
    let ws = image();
    let status = json("inspect", &ws, &["status", "--json"]);
    assert_eq!(status["kind"], "segmented");
    assert_eq!(status["branch"], "main");
    assert_eq!(status["image_bytes"], fs::metadata(ws.output()).unwrap().len());
    assert_eq!(status["members"], Value::Array(Vec::new()));
    assert!(status["segments"]["free"].as_u64().unwrap() > 0);
    assert!(text("inspect", &ws, &["status"]).contains("Kind: segmented"));

    build(&ws, None);
    let status = json("inspect", &ws, &["status", "--json"]);
    assert_eq!((&status["kind"], &status["branch"]), (&"static".into(), &Value::Null));
    assert_eq!(text("inspect", &ws, &["cat", "/etc/motd"]), "hello\n");
}

#[test]
fn branches_are_made_looked_at_committed_and_aborted() {
    let ws = image();
    bytes("branch", &ws, &["create", "work", "-p", "main"]);
    bytes("branch", &ws, &["create", "other"]);
    let mounted = mount(&ws, "work");
    write(&mounted, "new", b"from the branch");
    mounted.unmount().unwrap();

    assert_eq!(text("inspect", &ws, &["-b", "work", "cat", "/new"]), "from the branch");
    assert!(refusal("inspect", &ws, &["cat", "/new"], 1).contains("no such file"));
    let list = json("branch", &ws, &["list", "--json"]);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|b| &b["name"]).collect();
    assert_eq!(names, ["main", "work", "other"]);
    assert_eq!(list[1]["parent"], "main");
    assert_eq!(list, json("inspect", &ws, &["branches", "--json"]));
    let table = text("branch", &ws, &["list"]);
    assert!(table.lines().any(|l| l.starts_with("work ") && l.contains("active")), "{table}");
    assert_eq!(table, text("inspect", &ws, &["branches"]));

    // Its siblings end with a commit.
    bytes("branch", &ws, &["commit", "work"]);
    assert_eq!(text("inspect", &ws, &["cat", "/new"]), "from the branch");
    assert!(refusal("branch", &ws, &["abort", "other"], 1).contains("no such branch"));
    assert!(refusal("branch", &ws, &["abort", "main"], 1).contains("main"));
    bytes("branch", &ws, &["create", "again"]);
    assert!(refusal("branch", &ws, &["create", "again"], 1).contains("exists already"));
    bytes("branch", &ws, &["abort", "again"]);
    assert!(text("fsck", &ws, &[]).contains("clean"));
}

#[test]
fn a_branch_tool_knows_what_it_needs_for_a_mount_and_for_a_file() {
    let ws = image();
    let file = ws.output();
    let file = file.to_str().unwrap();
    let folder = ws.path().to_str().unwrap();
    let branch = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("daxfs-branch"));
        let run = command.args(arguments).output().unwrap();
        (run.status.code().unwrap(), String::from_utf8(run.stderr).unwrap())
    };
    for (arguments, hint) in [
        (&["list"][..], "-m MOUNT or -f FILE"),
        (&["list", "-m", folder, "-f", file], "one image only"),
        (&["commit", "-f", file], "has to be named"),
        (&["abort", "-f", file], "has to be named"),
        (&["switch", "work", "-f", file], "use -m MOUNT"),
        (&["reap", "--force", "-m", folder], "-f FILE"),
    ] {
        let (code, message) = branch(arguments);
        assert!(code == 2 && message.contains(hint), "{arguments:?}: {code} {message}");
    }
    // The options stand before or behind the command.
    assert_eq!(branch(&["create", "work", "-p", "main", "-f", file]), (0, String::new()));
    assert_eq!(branch(&["-f", file, "commit", "work"]), (0, String::new()));
    for command in [&["create", "work", "-m", folder, "-p", "main"][..], &["commit", "-m", folder]]
    {
        let (code, message) = branch(command);
        assert!(code == 1 && message.contains("is not on a DAXFS mount"), "{code} {message}");
    }
}

#[test]
fn a_log_says_what_a_branch_did() {
    let ws = image();
    let mounted = mount(&ws, "work");
    write(&mounted, "new", b"content");
    mounted.symlink(Ino::ROOT, b"pointer", b"there", 1, 2).unwrap();
    mounted.unlink(Ino::ROOT, b"large").unwrap();
    mounted.unmount().unwrap();
    let log = json("inspect", &ws, &["log", "work", "--json"]);
    let find = |operation: &str| {
        log.as_array().unwrap().iter().find(|entry| entry["operation"] == operation).unwrap()
    };
    assert_eq!(find("create")["name"], "new");
    assert_eq!(find("create")["uid"], 7);
    assert_eq!(find("write")["len"], 7);
    assert_eq!(find("symlink")["target"], "there");
    assert_eq!(find("delete")["name"], "large");
    let shown = text("inspect", &ws, &["log", "work"]);
    assert!(shown.contains("create symbolic link 'pointer' in 1, to 'there'"), "{shown}");
    assert_eq!(shown.lines().count(), log.as_array().unwrap().len());
    assert!(refusal("inspect", &ws, &["log", "none"], 1).contains("no such branch"));
}

#[test]
fn a_branch_in_use_is_left_alone_until_its_mount_is_confirmed_dead() {
    let ws = image();
    let mounted = mount(&ws, "work");
    write(&mounted, "new", b"unfinished");
    // Without unmounting: as if that kernel had died.
    drop(mounted);
    let members = json("inspect", &ws, &["status", "--json"])["members"].clone();
    assert_eq!(members.as_array().unwrap().len(), 1);
    assert_eq!(members[0]["state"], "alive");
    let message = refusal("branch", &ws, &["commit", "work"], 1);
    assert!(message.contains("daxfs-branch reap"), "{message}");

    tool("branch", &ws, &["reap"]).assert().code(2);
    let number = members[0]["number"].to_string();
    bytes("branch", &ws, &["reap", "--force", &number]);
    // It was mounted with `keep`.
    bytes("branch", &ws, &["commit", "work"]);
    assert_eq!(text("inspect", &ws, &["cat", "/new"]), "unfinished");
    bytes("branch", &ws, &["reap", "--force"]);
    assert!(text("fsck", &ws, &[]).contains("clean"));
}

#[test]
fn a_static_image_has_no_branches_to_change() {
    let ws = image();
    build(&ws, None);
    let message = refusal("branch", &ws, &["create", "b"], 1);
    assert!(message.contains("mkdaxfs -w"), "{message}");
    assert_eq!(json("branch", &ws, &["list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn fsck_lists_every_problem() {
    let ws = image();
    let clean = text("fsck", &ws, &[]);
    assert!(clean.contains("clean (7 inodes, 6 directory entries, 1 branch"), "{clean}");
    for accepted in ["-a", "-p", "-y", "-n", "-f"] {
        assert_eq!(text("fsck", &ws, &[accepted]), clean);
    }
    let document = json("fsck", &ws, &["--json"]);
    assert_eq!((&document["clean"], &document["inodes"]), (&true.into(), &7.into()));

    let file = File::options().write(true).open(ws.output()).unwrap();
    file.write_all_at(&[1], offset_of!(Superblock, flags) as u64).unwrap();
    file.write_all_at(&[99], offset_of!(Superblock, next_inode_id) as u64).unwrap();
    let run = tool("fsck", &ws, &[]).assert().code(4);
    let listed = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert_eq!(listed.matches("superblock: ").count(), 2, "{listed}");
    assert!(listed.contains("2 problems"), "{listed}");
    let run = tool("fsck", &ws, &["--json"]).assert().code(4);
    let document: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(document["clean"], false);
    assert_eq!(document["problems"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let ws = Workspace::new();
    assert!(refusal("fsck", &ws, &[], 8).contains("No such file"));
    for content in [Vec::new(), b"short".to_vec(), noise(1, 100_000)] {
        fs::write(ws.output(), content).unwrap();
        refusal("fsck", &ws, &[], 8);
        for command in ["status", "tree", "ls", "branches"] {
            refusal("inspect", &ws, &[command], 1);
        }
        refusal("branch", &ws, &["list"], 1);
        refusal("branch", &ws, &["create", "b"], 1);
    }
}

#[test]
fn a_directory_that_names_an_ancestor_does_not_hold_tree_up() {
    let ws = Workspace::new();
    ws.file("a/b/file", "x");
    build(&ws, None);
    let image = common::Image::read(&ws.output());
    let a = image.at("a");
    // The first entry of "a" names "a" itself, as a directory.
    let base = image.superblock.base_offset.get();
    let entry = base + a.data_offset.get() + offset_of!(BaseDirent, ino) as u64;
    let file = File::options().write(true).open(ws.output()).unwrap();
    file.write_all_at(&a.ino.get().to_le_bytes(), entry).unwrap();
    let message = refusal("inspect", &ws, &["tree", "--json"], 1);
    assert!(message.contains("twice"), "{message}");
    tool("fsck", &ws, &[]).assert().code(4);
}

#[test]
fn tools_leave_images_they_look_at_alone() {
    let ws = image();
    let before = fs::read(ws.output()).unwrap();
    for command in [&["status"][..], &["tree"], &["cat", "/large"], &["log", "main"], &["branches"]]
    {
        bytes("inspect", &ws, command);
    }
    bytes("fsck", &ws, &[]);
    bytes("branch", &ws, &["list"]);
    assert!(fs::read(ws.output()).unwrap() == before);
}

#[test]
fn man_pages_and_completions_come_with_every_tool() {
    for (program, command) in [
        (assert_cmd::cargo::cargo_bin!("daxfs-inspect"), "daxfs-inspect cat"),
        (assert_cmd::cargo::cargo_bin!("daxfs-branch"), "daxfs-branch commit"),
        (assert_cmd::cargo::cargo_bin!("fsck-daxfs"), "fsck(8)"),
    ] {
        let generate = |what: &str| {
            let run = Command::new(program).args(["--generate", what]).assert().success();
            String::from_utf8(run.get_output().stdout.clone()).unwrap()
        };
        let page = generate("man");
        assert!(page.contains(".TH ") && page.contains(command), "{page}");
        assert!(page.contains("Exit status:"), "{page}");
        for shell in ["bash", "zsh", "fish"] {
            assert!(generate(shell).contains("json"), "{shell}");
        }
    }
    Command::new(assert_cmd::cargo::cargo_bin!("fsck-daxfs")).assert().code(16);
    Command::new(assert_cmd::cargo::cargo_bin!("daxfs-inspect")).assert().code(2);
}
