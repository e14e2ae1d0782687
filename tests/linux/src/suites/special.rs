//! Devices, pipes, sockets, programs.

use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, about, content, has, refused};
use crate::mounted::{Context, Mounted, own_name, range};
use daxfs_tests::builder::{ImageBuilder, Kind};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

suite!(
    "special",
    60,
    [
        devices_of_a_branch_work,
        devices_of_the_base_work,
        fifos_carry_what_is_written_to_them,
        sockets_can_be_bound_and_connected_to,
        special_files_survive_a_remount,
        nodev_noexec_and_nosuid_are_heeded,
        programs_and_scripts_of_the_base_run,
        programs_of_a_branch_run,
        a_running_program_cannot_be_written_to,
        a_root_file_system_on_a_branch_can_be_lived_in,
        locks_keep_others_out,
        changes_can_be_watched,
    ]
);

fn make_node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device).unwrap();
}

fn zero_and_null(zero: &Path, null: &Path) {
    let mut bytes = [1; 100];
    File::open(zero).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0; 100]);
    let mut null = File::options().read(true).write(true).open(null).unwrap();
    null.write_all(b"into nothing").unwrap();
    assert_eq!(null.read(&mut bytes).unwrap(), 0);
}

fn devices_of_a_branch_work() {
    let mount = Mounted::new();
    make_node(&mount.path("zero"), FileType::CharacterDevice, makedev(1, 5));
    make_node(&mount.path("null"), FileType::CharacterDevice, makedev(1, 3));
    make_node(&mount.path("block"), FileType::BlockDevice, makedev(7, 0));
    make_node(&mount.path("large"), FileType::CharacterDevice, makedev(4000, 1_000_000));
    zero_and_null(&mount.path("zero"), &mount.path("null"));
    assert!(about(mount.path("block")).file_type().is_block_device());
    assert_eq!(about(mount.path("block")).rdev(), makedev(7, 0));
    assert_eq!(about(mount.path("large")).rdev(), makedev(4000, 1_000_000));
    refused(File::open(mount.path("large")), Errno::NXIO);
    fs::rename(mount.path("zero"), mount.path("dir/zero")).unwrap();
    zero_and_null(&mount.path("dir/zero"), &mount.path("null"));
    fs::remove_file(mount.path("null")).unwrap();
}

fn devices_of_the_base_work() {
    let image = Buffer::of(&ImageBuilder::new(Kind::Segmented).build().bytes);
    for options in ["ro", "rw,branch=work"] {
        let mount = image.mount(options).unwrap_or_else(|refused| panic!("{refused}"));
        let device = mount.path("device");
        assert!(about(&device).file_type().is_char_device());
        assert_eq!(about(&device).rdev(), makedev(1, 3));
        File::options().write(true).open(&device).unwrap().write_all(b"into nothing").unwrap();
        assert!(about(mount.path("fifo")).file_type().is_fifo());
        assert!(about(mount.path("socket")).file_type().is_socket());
        refused(UnixStream::connect(mount.path("socket")), Errno::CONNREFUSED);
        if options != "ro" {
            let fifo = mount.path("fifo");
            fs::set_permissions(&fifo, PermissionsExt::from_mode(0o600)).unwrap();
            through_a_fifo(&fifo);
            fs::remove_file(&device).unwrap();
            make_node(&device, FileType::CharacterDevice, makedev(1, 5));
            let mut bytes = [1; 10];
            File::open(&device).unwrap().read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [0; 10]);
        }
    }
}

fn through_a_fifo(fifo: &Path) {
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut to = OpenOptions::new().write(true).open(fifo).unwrap();
            to.write_all(b"through the pipe").unwrap();
        });
        has(fifo, b"through the pipe");
        writer.join().unwrap();
    });
    assert_eq!(about(fifo).size(), 0);
}

fn fifos_carry_what_is_written_to_them() {
    let mount = Mounted::new();
    let fifo = mount.path("fifo");
    make_node(&fifo, FileType::Fifo, 0);
    through_a_fifo(&fifo);
    refused(rustix::fs::open(&fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()), Errno::NXIO);
}

fn sockets_can_be_bound_and_connected_to() {
    let mount = Mounted::new();
    let path = mount.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(about(&path).file_type().is_socket());
    refused(UnixListener::bind(&path), Errno::ADDRINUSE);
    refused(File::open(&path), Errno::NXIO);
    thread::scope(|scope| {
        scope.spawn(|| UnixStream::connect(&path).unwrap().write_all(b"hello").unwrap());
        let mut said = String::new();
        listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
    });
    drop(listener);
    refused(UnixStream::connect(&path), Errno::CONNREFUSED);
    fs::remove_file(&path).unwrap();
}

fn special_files_survive_a_remount() {
    let options = format!("rw,keep,branch={},parent=main", own_name("special"));
    let mount = Mounted::range(&options).unwrap();
    make_node(&mount.path("zero"), FileType::CharacterDevice, makedev(1, 5));
    make_node(&mount.path("null"), FileType::CharacterDevice, makedev(1, 3));
    make_node(&mount.path("large"), FileType::BlockDevice, makedev(4000, 1_000_000));
    make_node(&mount.path("fifo"), FileType::Fifo, 0);
    make_node(&mount.path("socket"), FileType::Socket, 0);
    mount.unmount();
    let mount = Mounted::range(&options).unwrap();
    zero_and_null(&mount.path("zero"), &mount.path("null"));
    assert_eq!(about(mount.path("large")).rdev(), makedev(4000, 1_000_000));
    assert!(about(mount.path("large")).file_type().is_block_device());
    assert!(about(mount.path("socket")).file_type().is_socket());
    through_a_fifo(&mount.path("fifo"));
    crate::branch::abort(&mount.open()).unwrap();
}

fn nodev_noexec_and_nosuid_are_heeded() {
    let mount = Mounted::new();
    make_node(&mount.path("null"), FileType::CharacterDevice, makedev(1, 3));
    let remount = |flags: &str| {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,bind,{flags}")])
            .arg(mount.root())
            .status();
        assert!(status.unwrap().success(), "{flags}");
    };
    remount("nodev,noexec");
    refused(File::open(mount.path("null")), Errno::ACCESS);
    refused(Command::new(mount.path("bin/busybox")).output(), Errno::ACCESS);
    remount("dev,exec");
    File::open(mount.path("null")).unwrap();
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn programs_and_scripts_of_the_base_run() {
    for mount in [Mounted::main(), Mounted::new()] {
        assert_eq!(run(&mount.path("bin/busybox"), &["echo", "hello"]), "hello\n");
    }
}

fn programs_of_a_branch_run() {
    let mount = Mounted::new();
    // It wants to be called like this.
    let copy = mount.path("dir/busybox");
    fs::copy(mount.path("bin/busybox"), &copy).unwrap();
    assert_eq!(run(&copy, &["echo", "hello"]), "hello\n");
    fs::write(mount.path("script"), "#!/bin/sh\necho \"script $1\"\n").unwrap();
    refused(Command::new(mount.path("script")).output(), Errno::ACCESS);
    fs::set_permissions(mount.path("script"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(run(&mount.path("script"), &["x"]), "script x\n");
    // A program that was changed is another one: the text in question is in the file once.
    let mut program = content(&copy);
    let at = program.windows(8).position(|text| text == b"BusyBox ").expect("its name");
    program[at..at + 8].copy_from_slice(b"DaxyBox ");
    let file = OpenOptions::new().write(true).open(&copy).unwrap();
    file.write_all_at(&program[at..at + 8], at as u64).unwrap();
    drop(file);
    let output = Command::new(&copy).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("DaxyBox"), "{output:?}");
    has(mount.path("bin/busybox"), &content("/bin/busybox"));
}

fn a_running_program_cannot_be_written_to() {
    let mount = Mounted::new();
    let path = mount.path("bin/busybox");
    let mut child = Command::new(&path)
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    refused(OpenOptions::new().write(true).open(&path), Errno::TXTBSY);
    drop(child.stdin.take());
    child.wait().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    refused(Command::new(&path).arg("true").output(), Errno::TXTBSY);
    drop(file);
    run(&path, &["true"]);
}

fn a_root_file_system_on_a_branch_can_be_lived_in() {
    let mount = Mounted::new();
    let script = "/bin/busybox --install -s /bin && mkdir -p /proc /dev && mknod /dev/null c 1 3 && \
        mount -t proc proc /proc && say hello >/tmp/said && cp /tmp/said /tmp/copy && \
        for i in 1 2 3; do cat /tmp/said; done | sort | uniq -c >/tmp/counted && \
        find / -xdev -type f | wc -l >/dev/null && tar -c -f /tmp/tar /dir && \
        mkdir /tmp/x && tar -x -f /tmp/tar -C /tmp/x && diff -r /dir /tmp/x/dir && umount /proc";
    let output = Command::new("chroot")
        .arg(mount.root())
        .args(["/bin/busybox", "sh", "-c", script])
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    has(mount.path("tmp/said"), b"a program of the base says hello\n");
    assert!(content(mount.path("tmp/counted")).trim_ascii_start().starts_with(b"3 "));
}

fn locks_keep_others_out() {
    use rustix::fs::{FlockOperation, flock};
    let mount = Mounted::new();
    let open = || OpenOptions::new().read(true).write(true).open(mount.path("hello")).unwrap();
    let (one, other) = (open(), open());
    flock(&one, FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(flock(&other, FlockOperation::NonBlockingLockShared), Errno::AGAIN);
    flock(&one, FlockOperation::Unlock).unwrap();
    flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    flock(&one, FlockOperation::NonBlockingLockShared).unwrap();
}

fn changes_can_be_watched() {
    use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
    let mount = Mounted::new();
    let watcher = init(CreateFlags::NONBLOCK).unwrap();
    add_watch(
        &watcher,
        mount.path("dir"),
        WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MODIFY,
    )
    .unwrap();
    fs::write(mount.path("dir/new"), "x").unwrap();
    fs::remove_file(mount.path("dir/new")).unwrap();
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
    let mut events = Reader::new(&watcher, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = events.next() {
        seen.push(event.events().bits());
    }
    use rustix::fs::inotify::ReadFlags;
    let expected = [ReadFlags::CREATE, ReadFlags::MODIFY, ReadFlags::DELETE];
    assert_eq!(seen, expected.map(|flags| flags.bits()));
    // The mount can end while somebody watches: the range is the same afterwards.
    drop((Context::new(), range()));
}
