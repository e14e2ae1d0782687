//! A kernel that runs out of memory: every allocation of an operation fails once. The operation may fail
//! then, in a way that leaves everything as it was or as it was to be; nothing else may.
//!
//! Only a kernel with fault injection can do this (`CONFIG_FAILSLAB`, which that for debugging has); on
//! others these checks look at nothing.

use crate::branch;
use crate::buffer::Buffer;
use crate::check::suite;
use crate::files::{Errno, has, make, names};
use crate::mapping::{Mapping, PAGE, Use};
use crate::mounted::{Mounted, own_name};
use crate::tree;
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir, mkdir, openat, symlink, unlink};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::Path;

suite!(
    "shortage",
    60,
    [
        mounting_fails_or_works,
        names_come_and_go_or_stay,
        contents_change_or_stay,
        reading_fails_or_works,
        mapping_fails_or_works,
        branches_change_or_stay,
    ]
);

/// Which allocation of this thread is to fail.
struct Shortage {
    file: File,
}

impl Shortage {
    /// Nothing if this kernel has no such thing.
    fn new() -> Option<Self> {
        let settings = Path::new("/sys/kernel/debug/failslab");
        if !settings.exists() {
            println!("not tried: this kernel's allocations do not fail on demand");
            return None;
        }
        // Also allocations that may wait.
        for (name, value) in [("ignore-gfp-wait", "N"), ("verbose", "0")] {
            fs::write(settings.join(name), value).unwrap();
        }
        let settings = Path::new("/sys/kernel/debug/fail_page_alloc");
        for (name, value) in [("ignore-gfp-wait", "N"), ("verbose", "0"), ("min-order", "0")] {
            fs::write(settings.join(name), value).unwrap();
        }
        let file = File::options().read(true).write(true).open("/proc/thread-self/fail-nth");
        Some(Self { file: file.unwrap() })
    }

    fn set(&self, nth: u32) {
        let mut text = [0; 12];
        let len = {
            use std::io::Write;
            let mut rest = &mut text[..];
            write!(rest, "{nth}").unwrap();
            12 - rest.len()
        };
        assert_eq!(self.file.write_at(&text[..len], 0).unwrap(), len);
    }

    /// Whether it has come to that.
    fn has_failed(&self) -> bool {
        let mut text = [0; 12];
        let len = self.file.read_at(&mut text, 0).unwrap();
        let left = std::str::from_utf8(&text[..len]).unwrap().trim_end();
        self.set(0);
        left == "0"
    }

    /// Does something until none of its allocations is left to fail, and then once more, without a failure.
    #[track_caller]
    fn each<T>(&self, what: &str, action: impl FnMut() -> Result<T, Errno>) -> T {
        self.each_after(what, || {}, action)
    }

    /// The same, where something has to be done before each time, which does not fail.
    #[track_caller]
    fn each_after<T>(
        &self,
        what: &str,
        mut prepare: impl FnMut(),
        mut action: impl FnMut() -> Result<T, Errno>,
    ) -> T {
        for nth in 1..2000 {
            prepare();
            self.set(nth);
            let done = action();
            let failed = self.has_failed();
            match done {
                Ok(done) if !failed => {
                    println!("{what}: {} allocations", nth - 1);
                    return done;
                }
                // It can do without.
                Ok(_) => {}
                Err(Errno::NOMEM) if failed => {}
                Err(errno) => panic!("{what}, allocation {nth} fails ({failed}): {errno}"),
            }
        }
        panic!("{what}: there is no end of allocations")
    }
}

fn mounting_fails_or_works() {
    let Some(shortage) = Shortage::new() else { return };
    // A small one: KASAN takes memory for all that is mapped.
    let buffer = Buffer::of(&daxfs_tests::history::segmented().bytes);
    let mount = |flags: &[&CStr], branch: Option<&CStr>| {
        let context = fsopen(c"daxfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let context = context.as_fd();
        fsconfig_set_fd(context, c"dmabuf", buffer.fd())?;
        for flag in flags {
            fsconfig_set_flag(context, *flag)?;
        }
        if let Some(branch) = branch {
            fsconfig_set_string(context, c"branch", branch)?;
        }
        fsconfig_create(context)?;
        // It ends with this descriptor, nowhere mounted.
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    // The buffer stays mapped: a failure to map one is a bug to Linux's dma-buf code, which says so.
    let first = mount(&[c"ro"], None).unwrap();
    shortage.each("mount to look", || mount(&[c"ro"], None).map(drop));
    shortage.each("mount and validate", || mount(&[c"ro", c"validate"], None).map(drop));
    shortage.each("mount to write", || mount(&[c"rw"], Some(c"fresh")).map(drop));
    drop(first);
    // Whatever was left undone, the image is whole, and nobody is still there.
    let mounted =
        buffer.mount("rw,validate,branch=main").unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(branch::find(&mounted.open(), "fresh"), None);
}

fn names_come_and_go_or_stay() {
    let Some(shortage) = Shortage::new() else { return };
    let mount = Mounted::new();
    let path = |name: &str| CString::new(mount.path(name).to_str().unwrap()).unwrap();
    let (file, moved, dir, link) = (path("file"), path("moved"), path("folder"), path("a-link"));
    let mode = Mode::from_raw_mode(0o755);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let fresh = |path: &CString| {
        let _ = unlink(path);
        let _ = rustix::fs::rmdir(path);
    };
    shortage.each_after("create", || fresh(&file), || openat(CWD, &*file, flags, mode).map(drop));
    shortage.each_after("mkdir", || fresh(&dir), || mkdir(&*dir, mode));
    shortage.each_after("symlink", || fresh(&link), || symlink(c"target", &*link));
    let back = || drop(fs::rename(mount.path("moved"), mount.path("file")));
    shortage.each_after("rename", back, || rustix::fs::rename(&*file, &*moved));
    let there = |name: &str| drop(File::create(mount.path(name)).unwrap());
    shortage.each_after("unlink", || there("moved"), || unlink(&*moved));
    let base = path("many/file-0007");
    shortage.each_after("unlink of the base", || there("many/file-0007"), || unlink(&*base));
    shortage.each("chmod", || rustix::fs::chmod(&*dir, mode));
    let folder = || drop(fs::create_dir(mount.path("folder")));
    shortage.each_after("rmdir", folder, || rustix::fs::rmdir(&*dir));
    let found = names(mount.root());
    assert!(found.contains(&"a-link".into()) && !found.contains(&"moved".into()), "{found:?}");
    is_whole(mount);
}

/// That a mount's image is in order, also for the next mount.
fn is_whole(mount: Mounted) {
    let again = Mounted::range("ro,validate").unwrap_or_else(|refused| panic!("{refused}"));
    drop((again, mount));
}

fn contents_change_or_stay() {
    let Some(shortage) = Shortage::new() else { return };
    let mount = Mounted::new();
    let new = make(mount.path("new"));
    let big = crate::files::edit(mount.path("big"));
    let piece = vec![0x77; 100_000];
    let write = |file: &File, at: u64| {
        let mut done = 0;
        while done < piece.len() {
            done += rustix::io::pwrite(file, &piece[done..], at + done as u64)?;
        }
        Ok(())
    };
    shortage.each("write", || write(&new, 0));
    shortage.each("write to the base", || write(&big, 50_000));
    shortage.each("write far away", || write(&new, 1 << 40));
    let whole = || write(&new, 0).unwrap();
    shortage.each_after("truncate", whole, || rustix::fs::ftruncate(&new, 50_000));
    shortage.each("fsync", || rustix::fs::fsync(&new));
    has(mount.path("new"), &piece[..50_000]);
    let mut expected = tree::patterns(0, tree::BIG);
    expected[50_000..150_000].copy_from_slice(&piece);
    has(mount.path("big"), &expected);
    drop((new, big));
    is_whole(mount);
}

fn reading_fails_or_works() {
    let Some(shortage) = Shortage::new() else { return };
    let mount = Mounted::new();
    let path = CString::new(mount.path("dir/sub/deep").to_str().unwrap()).unwrap();
    let mut bytes = vec![0; 100_000];
    let forget = || fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    shortage.each_after("open and read", forget, || {
        let file = rustix::fs::open(&*path, OFlags::RDONLY, Mode::empty())?;
        rustix::io::read(file, &mut bytes[..])
    });
    let big = File::open(mount.path("big")).unwrap();
    shortage.each("read", || rustix::io::pread(&big, &mut bytes[..], 5000));
    let dir = File::open(mount.path("many")).unwrap();
    let mut buffer = vec![MaybeUninit::uninit(); 65536];
    shortage.each_after(
        "list",
        || crate::files::go(&dir, 0),
        || {
            let mut entries = RawDir::new(&dir, &mut buffer);
            let mut count = 0;
            while let Some(entry) = entries.next() {
                entry?;
                count += 1;
            }
            assert_eq!(count, tree::MANY + 2);
            Ok(())
        },
    );
    let control = mount.open();
    shortage.each("branches", || branch::list(&control));
    shortage.each("statfs", || rustix::fs::statvfs(&*path).map(drop));
}

fn mapping_fails_or_works() {
    let Some(shortage) = Shortage::new() else { return };
    let mount = Mounted::new();
    let file = crate::files::edit(mount.path("big"));
    let mut page = 0;
    shortage.each("a read fault", || {
        let memory = Mapping::new(&file, 0, tree::BIG, Use::Read)?;
        // A fault that fails is tried again.
        assert_eq!(memory.get(9 * PAGE), tree::pattern(9 * PAGE as u64));
        Ok(())
    });
    shortage.each("a store", || {
        let memory = Mapping::new(&file, 0, tree::BIG, Use::Write)?;
        page += 1;
        memory.set(page * PAGE, 0);
        memory.get(page * PAGE + 1);
        Ok(())
    });
    let mut expected = tree::patterns(0, tree::BIG);
    (1..=page).for_each(|page| expected[page * PAGE] = 0);
    has(mount.path("big"), &expected);
    drop(file);
    is_whole(mount);
}

fn branches_change_or_stay() {
    let Some(shortage) = Shortage::new() else { return };
    let mount = Mounted::new();
    let (control, kid) = (mount.open(), own_name("kid"));
    fs::write(mount.path("of-parent"), "x").unwrap();
    let is_on_kid = || branch::find(&control, &kid).is_some_and(|kid| kid.is_current);
    let off = || {
        if is_on_kid() {
            branch::abort(&control).unwrap();
        }
    };
    let on = || {
        if !is_on_kid() {
            branch::create(&control, &kid, None).unwrap();
        }
    };
    shortage.each_after("create", off, || branch::create(&control, &kid, None));
    fs::write(mount.path("of-kid"), vec![1; 100_000]).unwrap();
    shortage.each_after("commit", on, || branch::commit(&control));
    has(mount.path("of-kid"), &vec![1; 100_000]);
    shortage.each_after("abort", on, || branch::abort(&control));
    has(mount.path("of-kid"), &vec![1; 100_000]);
    has(mount.path("of-parent"), b"x");
    fs::write(mount.path("of-parent"), "y").unwrap();
    drop(control);
    is_whole(mount);
}
