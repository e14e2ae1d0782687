//! What is in the base image that the checks run on. The tests' driver makes it on any machine, as any user;
//! the checks know what it is.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// `/hello`.
pub const HELLO: &str = "hello, base\n";
/// Bytes of `/big`, which is no multiple of a page.
pub const BIG: usize = 3_500_001;
/// Bytes of `/aligned`, which lies and is mapped in pieces of 2 MiB.
pub const ALIGNED: u64 = 8 << 20;
/// Bytes of `/huge`, of which only the first eight of each [`STAMP`] are not zero.
pub const HUGE: u64 = 256 << 20;
/// See [`HUGE`].
pub const STAMP: u64 = 64 << 10;
/// Files in `/many`, each with its name in it.
pub const MANY: usize = 600;
/// Bytes of the whole range.
pub const RANGE: u64 = 512 << 20;

/// A byte of `/big` and `/aligned`.
#[must_use]
pub const fn pattern(at: u64) -> u8 {
    ((at.wrapping_mul(2_654_435_761) >> 13) ^ at) as u8
}

/// Some of them.
#[must_use]
pub fn patterns(from: u64, count: usize) -> Vec<u8> {
    (from..).take(count).map(pattern).collect()
}

/// The name of a file in `/many`.
#[must_use]
pub fn many(index: usize) -> String {
    format!("file-{index:04}")
}

/// Makes the tree. `busybox` runs without any other file.
///
/// # Errors
///
/// Those of files.
pub fn make(root: &Path, busybox: &Path) -> io::Result<()> {
    for folder in ["bin", "dir/sub", "empty", "many", "mnt", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777))?;
    fs::write(root.join("hello"), HELLO)?;
    fs::write(root.join("dir/file"), "in a directory\n")?;
    fs::write(root.join("dir/sub/deep"), "deep\n")?;
    fs::write(root.join("small"), "abc")?;
    symlink("hello", root.join("link"))?;
    for index in 0..MANY {
        fs::write(root.join("many").join(many(index)), many(index))?;
    }
    for (name, size) in [("big", BIG), ("aligned", ALIGNED as usize)] {
        let mut file = BufWriter::new(File::create(root.join(name))?);
        file.write_all(&patterns(0, size))?;
        file.flush()?;
    }
    let huge = File::create(root.join("huge"))?;
    huge.set_len(HUGE)?;
    for at in (0..HUGE).step_by(STAMP as usize) {
        huge.write_all_at(&(at | 1).to_le_bytes(), at)?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    fs::set_permissions(root.join("bin/busybox"), PermissionsExt::from_mode(0o755))?;
    let script = "#!/bin/busybox sh\necho \"a program of the base says $1\"\n";
    fs::write(root.join("bin/say"), script)?;
    fs::set_permissions(root.join("bin/say"), PermissionsExt::from_mode(0o755))
}
