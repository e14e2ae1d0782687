//! Mounting what is in a range, by the system calls that can pass a buffer.

use super::{Origin, Range};
use crate::text::Printable;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::path::{Path, PathBuf};

/// Most bytes of one message of the kernel's.
const MESSAGE: usize = 1024;
/// Most messages that are read.
const MESSAGES: usize = 16;

/// Why an image was not mounted. It is in its range all the same, unless that was a buffer.
#[derive(Debug, thiserror::Error)]
#[error("{at:?}: cannot mount the image: {action}: {reason}{}", hint(*.reason, .said))]
pub struct MountError {
    /// Where.
    at: PathBuf,
    /// What the kernel refused.
    action: &'static str,
    /// What it said.
    reason: Errno,
    /// What it said in words.
    said: String,
}

fn hint(reason: Errno, said: &str) -> String {
    match reason {
        _ if !said.is_empty() => format!(" ({said})"),
        Errno::NODEV => "; this kernel has no DAXFS: load daxfs.ko".to_owned(),
        Errno::PERM => "; only an administrator may".to_owned(),
        _ => String::new(),
    }
}

impl Range {
    /// Mounts the image in the range at `at`, to be written to if `writable`. From then on the mount
    /// has the range.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn mount(self, at: &Path, writable: bool) -> Result<(), MountError> {
        let error =
            |action, reason, said| MountError { at: at.to_path_buf(), action, reason, said };
        let plain = |action| move |reason| error(action, reason, String::new());
        let context =
            fsopen("daxfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(plain("open the file system"))?;
        let told = |action| {
            let context = &context;
            move |reason| error(action, reason, messages(context))
        };
        let size = self.size;
        match &self.origin {
            Origin::Buffer(buffer) => {
                fsconfig_set_string(&context, "source", "dma-buf").map_err(told("source"))?;
                fsconfig_set_fd(&context, "dmabuf", buffer).map_err(told("dmabuf"))?;
            }
            Origin::Physical(start) => {
                fsconfig_set_string(&context, "source", "none").map_err(told("source"))?;
                let start = format!("{start:#x}");
                fsconfig_set_string(&context, "phys", start).map_err(told("phys"))?;
                let size = format!("{size:#x}");
                fsconfig_set_string(&context, "size", size).map_err(told("size"))?;
            }
            Origin::Device(path) => {
                fsconfig_set_string(&context, "source", path).map_err(told("source"))?;
            }
        }
        fsconfig_set_flag(&context, if writable { "rw" } else { "ro" }).map_err(told("access"))?;
        // What kernel and process map differently cannot be in each other's way.
        drop(self.region);
        fsconfig_create(&context).map_err(told("look at the image"))?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(told("mount it"))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", CWD, at, flags).map_err(plain("put it there"))
    }
}

/// What the kernel has to say about what went wrong: each message begins with a letter for its
/// level.
fn messages(context: &OwnedFd) -> String {
    let mut said = Vec::new();
    let mut message = [0; MESSAGE];
    for _ in 0..MESSAGES {
        match rustix::io::read(context, &mut message) {
            Ok(read @ 1..) => {
                let text = String::from_utf8_lossy(&message[..read]);
                let words = text.split_once(' ').map_or("", |(_, words)| words);
                said.push(Printable(words.trim_end().as_bytes()).to_string());
            }
            _ => break,
        }
    }
    said.join("; ")
}
