//! Mounts, through the new system calls, which say what is wrong.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fmt, process, thread};

/// The machine's range, as mount options.
///
/// # Panics
///
/// Outside of the machine.
#[must_use]
pub fn range() -> String {
    env::var("DAXFS_RANGE").expect("DAXFS_RANGE: this runs in the runner's Linux")
}

/// Why a mount is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The number.
    pub errno: Errno,
    /// What the file system says about it.
    pub messages: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.errno, self.messages)
    }
}

/// A context of the new system calls.
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
}

impl Context {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// If there is no such file system.
    #[must_use]
    pub fn new() -> Self {
        Self { fd: fsopen("daxfs", FsOpenFlags::FSOPEN_CLOEXEC).expect("the module is loaded") }
    }

    fn refused(&self, errno: Errno) -> Refused {
        let mut messages = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = rustix::io::read(&self.fd, &mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..count]).trim_end().to_owned());
        }
        Refused { errno, messages }
    }

    /// Takes options in the syntax of `mount -o`; `source=` is the source.
    ///
    /// # Errors
    ///
    /// What the file system refuses.
    pub fn options(&self, options: &str) -> Result<(), Refused> {
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(self.fd.as_fd(), key, value),
                None => fsconfig_set_flag(self.fd.as_fd(), option),
            }
            .map_err(|errno| self.refused(errno))?;
        }
        Ok(())
    }

    /// Takes a descriptor.
    ///
    /// # Errors
    ///
    /// As [`Self::options`].
    pub fn descriptor(&self, key: &str, fd: BorrowedFd<'_>) -> Result<(), Refused> {
        fsconfig_set_fd(self.fd.as_fd(), key, fd).map_err(|errno| self.refused(errno))
    }

    /// Mounts what was asked for, somewhere.
    ///
    /// # Errors
    ///
    /// As [`Self::options`].
    ///
    /// # Panics
    ///
    /// If there is no place for it.
    pub fn mount(self) -> Result<Mounted, Refused> {
        fsconfig_create(self.fd.as_fd()).map_err(|errno| self.refused(errno))?;
        let mount =
            fsmount(self.fd.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
                .map_err(|errno| self.refused(errno))?;
        let path = place();
        move_mount(mount.as_fd(), "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .expect("a mount can be put somewhere");
        Ok(Mounted { path, is: true })
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// A new folder to mount something at.
///
/// # Panics
///
/// If none can be made.
#[must_use]
pub fn place() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!("/tmp/mnt-{}-{count}", process::id()));
    fs::create_dir(&path).expect("a folder to mount at");
    path
}

/// A mount, which ends with this value. That it can is part of every check.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    is: bool,
}

impl Mounted {
    /// The machine's range, with these options.
    ///
    /// # Errors
    ///
    /// What the file system refuses.
    pub fn range(options: &str) -> Result<Self, Refused> {
        let context = Context::new();
        context.options(&format!("{},{options}", range()))?;
        context.mount()
    }

    /// A branch of `main`, for writing. It is gone when the mount ends.
    ///
    /// # Panics
    ///
    /// If it is refused.
    #[must_use]
    #[track_caller]
    pub fn branch(name: &str) -> Self {
        let mounted = Self::range(&format!("rw,branch={name},parent=main"));
        mounted.unwrap_or_else(|refused| panic!("branch {name}: {refused}"))
    }

    /// A branch that is this process's alone.
    ///
    /// # Panics
    ///
    /// As [`Self::branch`].
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::branch(&own_name("own"))
    }

    /// `main`, to look at.
    ///
    /// # Panics
    ///
    /// As [`Self::branch`].
    #[must_use]
    #[track_caller]
    pub fn main() -> Self {
        Self::range("ro").unwrap_or_else(|refused| panic!("main: {refused}"))
    }

    /// Something that is mounted already.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path, is: true }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Something open in it, for ioctls.
    ///
    /// # Panics
    ///
    /// If its root cannot be opened.
    #[must_use]
    #[track_caller]
    pub fn open(&self) -> File {
        File::open(&self.path).expect("the root can be opened")
    }

    /// Its line in `/proc/mounts`.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn line(&self) -> Line {
        let text = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
        let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut lines = lines.filter(|words| Path::new(words[1]) == self.path);
        let words = lines.next_back().expect("it is mounted");
        Line { source: words[0].into(), kind: words[2].into(), options: words[3].into() }
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// If that is refused.
    #[track_caller]
    pub fn unmount(mut self) {
        if let Err(error) = self.try_unmount() {
            panic!("{} cannot be unmounted: {error}", self.path.display());
        }
    }

    /// Ends it, if that is possible.
    ///
    /// # Errors
    ///
    /// EBUSY if it is in use.
    pub fn try_unmount(&mut self) -> Result<(), Errno> {
        unmount(&self.path, UnmountFlags::empty())?;
        self.is = false;
        // What is left is an empty folder.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }
}

impl Default for Mounted {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.is {
            return;
        }
        if let Err(error) = self.try_unmount() {
            // The machine's end would tell of a module in use.
            let _ = unmount(&self.path, UnmountFlags::DETACH);
            assert!(thread::panicking(), "{} cannot be unmounted: {error}", self.path.display());
        }
    }
}

/// What `/proc/mounts` says of a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The source.
    pub source: String,
    /// The file system.
    pub kind: String,
    /// The options.
    pub options: String,
}

impl Line {
    /// Whether an option is among them.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|found| found == option)
    }
}

/// A name that is this process's alone.
#[must_use]
pub fn own_name(of: &str) -> String {
    format!("{of}-{}", process::id())
}
