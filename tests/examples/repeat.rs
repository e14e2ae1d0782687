//! Does one operation of the engine many times, for programs that count instructions:
//!
//!     cargo build --release -p daxfs-tests --example repeat
//!     valgrind --tool=callgrind target/release/examples/repeat first-write
//!
//! `nothing` is what everything else does besides.

use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, BranchName, Ino, Mount, MountOptions, NewInode, Region};
use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;

const TIMES: u64 = 4096;
const PAGE: u64 = 4096;
const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    let operation = env::args().nth(1).unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let (source, path) = (folder.path().join("source"), folder.path().join("image"));
    fs::create_dir(&source)?;
    let options = mkdaxfs::BuildOptions {
        writable: Some(mkdaxfs::DeltaSize::Bytes(256 << 20)),
        ..Default::default()
    };
    mkdaxfs::build(&source, &path, &options, &())?;
    let file = File::options().read(true).write(true).open(path)?;
    let options = MountOptions {
        branch: BranchName::new(b"main"),
        access: Access::ReadWrite,
        exclusive: true,
        ..Default::default()
    };
    let region = Region::new(MappedFile::new(&file, true)?);
    let mount = Mount::new(StdPlatform, region, &options)?;
    let data = [7; PAGE as usize];
    let names: Vec<_> = (0..TIMES).map(|number| format!("file{number:06}").into_bytes()).collect();
    // Made in any case, so that `nothing` has it, too.
    let names = black_box(names);
    match operation.as_str() {
        "nothing" => {}
        "first-write" => {
            let ino = mount.create(Ino::ROOT, b"file", &FILE)?.ino;
            for page in 0..TIMES {
                mount.write(ino, page * PAGE, &data)?;
            }
        }
        "rewrite" => {
            let ino = mount.create(Ino::ROOT, b"file", &FILE)?.ino;
            mount.write(ino, 0, &data)?;
            for _ in 0..TIMES {
                mount.write(ino, 0, &data)?;
            }
        }
        "create" => {
            for name in &names {
                mount.create(Ino::ROOT, name, &FILE)?;
            }
        }
        "create-unlink" => {
            for name in &names {
                mount.create(Ino::ROOT, name, &FILE)?;
                mount.unlink(Ino::ROOT, name)?;
            }
        }
        _ => return Err("nothing, first-write, rewrite, create or create-unlink?".into()),
    }
    // What unmounting does is not wanted.
    std::process::exit(0);
}
