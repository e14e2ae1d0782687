//! A small root file system for Linux and its guests: a shell with its tools, and something to look at.

use super::steps::Base;
use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A file that is large enough for its memory to be missed.
const LARGE: &str = "/usr/share/daxfs/large";
/// Its bytes.
const LARGE_BYTES: u64 = 32 << 20;

/// What is told about the small root file system.
#[must_use]
pub fn base() -> Base {
    Base { large: LARGE.into(), bytes: LARGE_BYTES }
}

/// What is told about a user's: its largest file.
///
/// # Errors
///
/// [`Error::File`]; [`Error::Usage`] if there is no file whose name a shell takes as it is.
pub fn base_of(tree: &Path) -> Result<Base> {
    let mut base = Base { large: String::new(), bytes: 0 };
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |reason| Error::File { path: folder.clone(), action: "read it", reason };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, about) = (entry.path(), entry.metadata().map_err(failed)?);
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file()
                && about.len() > base.bytes
                && let Some(name) = path.strip_prefix(tree).ok().and_then(Path::to_str)
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte))
            {
                base = Base { large: format!("/{name}"), bytes: about.len() };
            }
        }
    }
    if base.bytes == 0 {
        return Err(Error::Usage(format!("{}: there is nothing in it to show", tree.display())));
    }
    Ok(base)
}

/// Fills the folder `root`, which is made.
///
/// # Errors
///
/// [`Error::File`], [`Error::System`] if `busybox` does not run here.
pub fn make(root: &Path, busybox: &Path) -> Result<()> {
    let failed = |reason| Error::File { path: root.into(), action: "fill it", reason };
    let applets = applets(busybox)?;
    files(root, busybox, &applets).map_err(failed)
}

/// Where the tools of busybox want to be, without the leading slash.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let failed = |reason| Error::System { action: "ask busybox for its tools", reason };
    let output = Command::new(busybox).arg("--list-full").output().map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn files(root: &Path, busybox: &Path, applets: &[String]) -> io::Result<()> {
    for folder in [
        "bin",
        "sbin",
        "usr/bin",
        "usr/sbin",
        "usr/share/daxfs",
        "etc",
        "root",
        "srv",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "mnt",
        "var",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in applets.iter().filter(|path| *path != "bin/busybox") {
        let path = root.join(applet);
        if path.parent().is_some_and(Path::is_dir) {
            symlink("/bin/busybox", path)?;
        }
    }
    for (path, content) in [
        ("etc/hostname", "multikernel\n"),
        ("etc/motd", "One root file system, in memory that all kernels share.\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/profile", "PS1='linux$ '\n"),
    ] {
        fs::write(root.join(path), content)?;
    }
    let mut random = fastrand::Rng::with_seed(LARGE_BYTES);
    let mut content = vec![0; LARGE_BYTES as usize];
    random.fill(&mut content);
    fs::write(root.join(LARGE.trim_start_matches('/')), content)
}
