//! The image that two kernels meet on, and the kernels.
//!
//! ```text
//! main ── p ─┬─ x     the first kernel's
//!            ├─ y     the second kernel's
//!            ├─ idle  nobody's
//!            ├─ d ─ e of a kernel that died
//!            └─ k     of another that died and had asked for it to be kept
//! ```

use crate::gate::{Gated, Kernel};
use crate::operation::Operation;
use daxfs::std_platform::MappedFile;
use daxfs::{Access, Error, Ino, LastLink, Mount, MountOptions, NewInode, Region, Volume};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::image::{Image, name};
use std::fs::File;
use std::os::unix::fs::FileExt;

pub type TestMount = Mount<Kernel>;

/// Bytes of each file: more than one page, and not whole pages.
pub const LEN: usize = 9000;

const FILE: NewInode = NewInode { mode: 0o100_644, uid: 0, gid: 0, rdev: 0 };

/// Writes a file all of whose bytes are `fill`.
pub fn put(mount: &TestMount, path: &str, fill: u8) -> Result<(), Error> {
    let (dir, name) = mount.resolve_parent(path.as_bytes())?;
    let ino = match mount.lookup(dir, name) {
        Ok(found) => found.ino,
        Err(_) => mount.create(dir, name, &FILE)?.ino,
    };
    assert_eq!(mount.write(ino, 0, &[fill; LEN])?, LEN);
    Ok(())
}

/// Reads a file.
pub fn get(mount: &TestMount, path: &str) -> Result<Vec<u8>, Error> {
    let found = mount.resolve(path.as_bytes(), LastLink::Follow)?;
    let mut content = vec![0; LEN];
    let count = mount.read(found.ino, 0, &mut content)?;
    content.truncate(count);
    Ok(content)
}

/// Removes a file of the root directory.
pub fn remove(mount: &TestMount, name: &str) -> Result<(), Error> {
    mount.unlink(Ino::ROOT, name.as_bytes())
}

/// Options for writing to `branch`, made from `p` where there is none.
pub fn writing(branch: &str, keep: bool) -> MountOptions {
    MountOptions {
        branch: Some(name(branch)),
        parent: Some(name("p")),
        access: Access::ReadWrite,
        keep,
        ..Default::default()
    }
}

/// The image, as it is before each story.
pub struct Stage {
    file: File,
    start: Image,
    /// The pages of it that are not empty.
    used: Vec<usize>,
}

const PAGE: usize = 4096;

impl Stage {
    pub fn new() -> Self {
        let file = ImageBuilder::new(Kind::Segmented).roomy(8 << 20).build().file();
        let mut stage = Self { start: Image::of_file(&file), file, used: Vec::new() };
        let main = stage.mount(&MountOptions {
            access: Access::ReadWrite,
            exclusive: true,
            keep: true,
            ..Default::default()
        });
        for (branch, parent) in [("p", "main"), ("x", "p"), ("y", "p"), ("idle", "p")] {
            main.create_branch(&name(branch), Some(&name(parent))).expect("a branch");
            put(&main, &format!("/of-{branch}"), branch.as_bytes()[0]).expect("room");
        }
        main.unmount().expect("kept");
        let dead = stage.mount(&writing("d", false));
        put(&dead, "/of-d", b'd').expect("room");
        dead.create_branch(&name("e"), None).expect("a branch");
        drop(dead);
        let dead = stage.mount(&writing("k", true));
        put(&dead, "/of-k", b'k').expect("room");
        drop(dead);
        stage.start = Image::of_file(&stage.file);
        let pages = stage.start.bytes.chunks_exact(PAGE).enumerate();
        let used = pages.filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0));
        stage.used = used.map(|(page, _)| page).collect();
        stage
    }

    /// Puts everything back.
    pub fn reset(&self) {
        // Most of it is empty.
        self.file.set_len(0).expect("nobody is there");
        self.file.set_len(self.start.bytes.len() as u64).expect("memory");
        for &page in &self.used {
            let bytes = &self.start.bytes[page * PAGE..(page + 1) * PAGE];
            self.file.write_all_at(bytes, (page * PAGE) as u64).expect("memory");
        }
    }

    pub fn region(&self) -> Region<Gated> {
        Region::new(Gated(MappedFile::new(&self.file, true).expect("mapping memory")))
    }

    pub fn try_mount(&self, options: &MountOptions) -> Result<TestMount, Error> {
        Mount::new(Kernel, self.region(), options)
    }

    pub fn mount(&self, options: &MountOptions) -> TestMount {
        self.try_mount(options).expect("a mount")
    }

    pub fn volume(&self) -> Volume<Kernel> {
        Volume::open(Kernel, self.region()).expect("an image")
    }
}

/// A kernel that is about to do something.
pub struct Actor {
    pub mount: Option<TestMount>,
    /// Something else that it looks at the image through.
    pub volume: Volume<Kernel>,
    /// A mount of its own of the other's branch.
    pub follower: Option<TestMount>,
    /// A region for a mount that is to come.
    pub fresh: Option<Region<Gated>>,
    pub branch: &'static str,
    pub operation: Operation,
    /// What came of it.
    pub result: Option<Result<(), Error>>,
}

impl Actor {
    /// The kernel on `branch`, ready for `operation`.
    pub fn new(stage: &Stage, branch: &'static str, operation: Operation) -> Self {
        let mount = stage.mount(&writing(branch, operation.keeps()));
        let mut actor = Self {
            mount: Some(mount),
            volume: stage.volume(),
            follower: None,
            fresh: Some(stage.region()),
            branch,
            operation,
            result: None,
        };
        operation.prepare(&mut actor);
        actor
    }

    /// The second part of getting ready, when both are there.
    pub fn meet(&mut self, stage: &Stage, other: &'static str) {
        if matches!(self.operation, Operation::Follow) {
            let options = MountOptions { branch: Some(name(other)), ..Default::default() };
            self.follower = Some(stage.mount(&options));
        }
    }

    pub fn mount(&self) -> &TestMount {
        self.mount.as_ref().expect("it is not over")
    }

    /// Does what it is about to do.
    pub fn act(&mut self) {
        let result = self.operation.run(self);
        self.result = Some(result);
    }

    pub fn succeeded(&self) -> bool {
        matches!(self.result, Some(Ok(())))
    }
}
