//! Where images can be: a physical range, a DAX device, a dma-buf.

use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, exists, has, make, names};
use crate::mapping::{Mapping, Use};
use crate::mounted::{Context, Mounted, own_name, place};
use daxfs_tests::builder::{ImageBuilder, Kind};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

suite!(
    "forms",
    60,
    [
        a_dma_buf_is_mounted,
        a_mounted_dma_buf_outlives_its_descriptor,
        other_descriptors_are_no_dma_bufs,
        a_dax_device_is_mounted,
        other_devices_are_refused,
        the_forms_exclude_each_other,
        mkdaxfs_makes_and_mounts_a_dma_buf,
        mkdaxfs_writes_to_a_physical_range,
        mkdaxfs_writes_to_a_dax_device,
    ]
);

/// What can be done with any image.
fn use_it(mount: &Mounted) {
    fs::write(mount.path("new"), vec![7; 300_000]).unwrap();
    has(mount.path("new"), &vec![7; 300_000]);
    let file = crate::files::edit(mount.path("dir/file"));
    let memory = Mapping::new(&file, 0, 10_000, Use::Write).unwrap();
    let second = memory.get(1);
    memory.set(0, !second);
    assert_eq!(crate::files::content(mount.path("dir/file"))[..2], [!second, second]);
    fs::remove_file(mount.path("new")).unwrap();
}

fn a_dma_buf_is_mounted() {
    let buffer = Buffer::of(&ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build().bytes);
    let mount = buffer.mount("rw,branch=work").unwrap_or_else(|refused| panic!("{refused}"));
    use_it(&mount);
    assert!(mount.line().has("branch=work"), "{:?}", mount.line());
    make(mount.path("mark"));
    // The same buffer, twice.
    let looks = buffer.mount("ro,branch=work").unwrap();
    assert!(exists(looks.path("mark")));
    crate::branch::commit(&mount.open()).unwrap();
    drop((mount, looks));
    assert!(exists(buffer.mount("ro,validate").unwrap().path("mark")));
}

fn a_mounted_dma_buf_outlives_its_descriptor() {
    let buffer = Buffer::of(&ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build().bytes);
    let mount = buffer.mount("rw,branch=work").unwrap();
    drop(buffer);
    use_it(&mount);
}

fn other_descriptors_are_no_dma_bufs() {
    let file = File::open("/proc/self/exe").unwrap();
    let context = Context::new();
    let refused = context.descriptor("dmabuf", std::os::fd::AsFd::as_fd(&file)).unwrap_err();
    assert_eq!(refused.errno, Errno::INVAL);
    assert!(refused.messages[0].contains("dma-buf"), "{refused}");
    let refused = context.descriptor("phys", std::os::fd::AsFd::as_fd(&file)).unwrap_err();
    assert_eq!(refused.errno, Errno::INVAL);
}

/// Puts an image in the machine's DAX device.
fn fill_device(image: &[u8]) {
    let device = File::options().read(true).write(true).open("/dev/dax0.0").unwrap();
    let memory =
        Mapping::new(&device, 0, image.len().next_multiple_of(2 << 20), Use::Write).unwrap();
    memory.put(0, image);
}

fn mount_device(options: &str) -> Result<Mounted, crate::mounted::Refused> {
    let context = Context::new();
    context.options(&format!("source=/dev/dax0.0,{options}"))?;
    context.mount()
}

fn a_dax_device_is_mounted() {
    fill_device(&ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build().bytes);
    let mount =
        mount_device("rw,branch=work,validate").unwrap_or_else(|refused| panic!("{refused}"));
    use_it(&mount);
    assert_eq!(mount.line().source, "/dev/dax0.0");
    make(mount.path("mark"));
    crate::branch::commit(&mount.open()).unwrap();
    let line = mount.line();
    drop(mount);
    let at = place();
    let status =
        Command::new("mount").args(["-t", "daxfs", "/dev/dax0.0"]).arg(&at).status().unwrap();
    assert!(status.success());
    let mount = Mounted::at(at);
    assert!(exists(mount.path("mark")) && mount.line().has("ro"));
    drop(mount);
    // As it is shown.
    let at = place();
    let status = Command::new("mount")
        .args(["-t", "daxfs", "-o", &line.options, &line.source])
        .arg(&at)
        .status();
    assert!(status.unwrap().success(), "{line:?}");
    drop(Mounted::at(at));
    let refused = mount_device("size=1T").unwrap_err();
    assert_eq!(refused.errno, Errno::INVAL, "{refused}");
}

fn other_devices_are_refused() {
    for (source, errno) in [
        ("/dev/null", Errno::NODEV),
        ("/dev/nothing", Errno::NOENT),
        ("/tmp", Errno::ISDIR),
        ("/dev/loop0", Errno::NODEV),
    ] {
        let context = Context::new();
        context.options(&format!("source={source}")).unwrap();
        let refused = context.mount().unwrap_err();
        assert!(refused.messages.iter().any(|message| message.contains(source)), "{refused}");
        assert!(refused.errno == errno || refused.errno == Errno::INVAL, "{source}: {refused}");
    }
}

fn the_forms_exclude_each_other() {
    let buffer = Buffer::of(&ImageBuilder::new(Kind::Segmented).build().bytes);
    let refused = buffer.mount(&crate::mounted::range()).unwrap_err();
    assert_eq!((refused.errno, refused.messages.len()), (Errno::INVAL, 1), "{refused}");
}

/// A small tree, for images.
fn small_tree() -> std::path::PathBuf {
    let root = Path::new("/tmp").join(own_name("tree"));
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), "from a tree").unwrap();
    root
}

#[track_caller]
fn mkdaxfs(arguments: &[&str]) {
    let output = Command::new("mkdaxfs").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn mkdaxfs_makes_and_mounts_a_dma_buf() {
    let (root, at) = (small_tree(), place());
    let at_text = at.to_str().unwrap();
    mkdaxfs(&[
        "-d",
        root.to_str().unwrap(),
        "-H",
        "/dev/dma_heap/system",
        "-s",
        "16M",
        "-m",
        at_text,
        "-w",
    ]);
    let mount = Mounted::at(at);
    has(mount.path("dir/file"), b"from a tree");
    assert_eq!(mount.line().kind, "daxfs");
    fs::remove_dir_all(root).unwrap();
}

fn mkdaxfs_writes_to_a_physical_range() {
    // Behind the image of the machine's range there is room in the DAX device only: its memory.
    let text = fs::read_to_string("/sys/bus/dax/devices/dax0.0/resource").unwrap();
    let size = fs::read_to_string("/sys/bus/dax/devices/dax0.0/size").unwrap();
    let (phys, size, root) = (text.trim(), size.trim(), small_tree());
    // That Linux has it for a device is told first.
    let arguments = ["-d", root.to_str().unwrap(), "-p", phys, "-s", size, "-w"];
    let output = Command::new("mkdaxfs").args(arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    mkdaxfs(&[&arguments[..], &["--force"]].concat());
    let context = Context::new();
    context.options("source=/dev/dax0.0,rw,branch=b").unwrap();
    let mount = context.mount().unwrap_or_else(|refused| panic!("{refused}"));
    has(mount.path("dir/file"), b"from a tree");
    use_it(&mount);
    fs::remove_dir_all(root).unwrap();
}

fn mkdaxfs_writes_to_a_dax_device() {
    let root = small_tree();
    mkdaxfs(&["-d", root.to_str().unwrap(), "-o", "/dev/dax0.0", "-w"]);
    let mount = mount_device("rw,branch=b").unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(names(mount.root()), ["dir"]);
    use_it(&mount);
    fs::remove_dir_all(root).unwrap();
}
