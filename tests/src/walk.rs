//! Every operation on everything a mount shows, in a bounded number of steps.
//!
//! What the operations return does not matter here: images may say anything. What matters is that
//! each returns, that an error has something to say, and that nothing panics.

use crate::image::name;
use daxfs::{
    Attributes, Error, Extent, FileType, Ino, LastLink, Mount, NewInode, Platform, RenameMode,
    SetAttributes, Timestamp,
};
use std::collections::{HashSet, VecDeque};

/// Most operations of one walk. The images of the tests need some hundreds; a hostile directory
/// tree may have no end.
const MAX_STEPS: u64 = 10_000;
/// Most inodes a walk changes.
const MAX_CHANGED: usize = 20;

/// A name that was found.
struct Found {
    dir: Ino,
    name: Vec<u8>,
    ino: Ino,
    kind: FileType,
}

/// How far a walk has come.
struct Walk<'m, P: Platform> {
    mount: &'m Mount<P>,
    steps: u64,
    found: Vec<Found>,
    /// Told of each operation, when it is over.
    each: &'m mut dyn FnMut(),
}

/// Looks at everything; returns the number of operations.
pub fn look<P: Platform>(mount: &Mount<P>) -> u64 {
    look_each(mount, &mut || {})
}

/// As [`look`]; `each` is called when an operation is over.
pub fn look_each<P: Platform>(mount: &Mount<P>, each: &mut dyn FnMut()) -> u64 {
    let mut walk = Walk { mount, steps: 0, found: Vec::new(), each };
    walk.look();
    walk.steps
}

/// Looks at everything, changes everything, makes and ends branches, and looks again; returns the
/// number of operations.
pub fn look_and_change<P: Platform>(mount: &Mount<P>) -> u64 {
    look_and_change_each(mount, &mut || {})
}

/// As [`look_and_change`]; `each` is called when an operation is over.
pub fn look_and_change_each<P: Platform>(mount: &Mount<P>, each: &mut dyn FnMut()) -> u64 {
    let mut walk = Walk { mount, steps: 0, found: Vec::new(), each };
    walk.look();
    walk.change();
    walk.branches();
    walk.found.clear();
    walk.look();
    walk.steps
}

impl<P: Platform> Walk<'_, P> {
    /// Counts an operation, and looks at its error.
    fn did<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        self.steps += 1;
        (self.each)();
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert!(error.errno().number() > 0);
                None
            }
        }
    }

    fn look(&mut self) {
        let mount = self.mount;
        for ino in [0, u64::from(u32::MAX), 1 << 48, u64::MAX] {
            self.inode(Ino::new(ino));
        }
        let mut pending = VecDeque::from([(Ino::ROOT, Vec::new())]);
        let mut seen = HashSet::from([Ino::ROOT]);
        while let Some((ino, path)) = pending.pop_front() {
            if self.steps > MAX_STEPS {
                return;
            }
            self.inode(ino);
            self.did(mount.resolve(&path, LastLink::Follow));
            self.did(mount.resolve(&path, LastLink::Keep));
            let first = self.found.len();
            self.directory(ino);
            for at in first..self.found.len() {
                let (name, child) = (self.found[at].name.clone(), self.found[at].ino);
                self.did(mount.lookup(ino, &name));
                if seen.insert(child) {
                    let path = [path.as_slice(), b"/", &name].concat();
                    pending.push_back((child, path));
                }
            }
        }
        self.did(mount.statfs());
        self.did(mount.members(&mut |member| {
            std::hint::black_box(member);
        }));
        self.did(mount.tick(1));
        let mut names = Vec::new();
        self.did(mount.branches(&mut |branch| names.push(branch.name)));
        for name in names {
            let log = mount.volume().log(&name, &mut |_, entry| {
                std::hint::black_box(entry);
                true
            });
            self.did(log);
        }
        for path in ["", "/", "..", "/dir/../link", "dir//file/", "link/x", "/nothing/there"] {
            self.did(mount.resolve(path.as_bytes(), LastLink::Follow));
            self.did(mount.resolve_parent(path.as_bytes()));
        }
        std::hint::black_box(mount.info());
    }

    /// Reads a directory in one go, and again one entry at a time.
    fn directory(&mut self, dir: Ino) {
        let mount = self.mount;
        let (mut budget, found) = (MAX_STEPS.saturating_sub(self.steps), &mut self.found);
        let listed = mount.readdir(dir, 0, &mut |entry| {
            budget = budget.saturating_sub(1);
            found.push(Found { dir, name: entry.name.to_vec(), ino: entry.ino, kind: entry.kind });
            budget > 0
        });
        self.did(listed);
        let mut cookie = 0;
        while self.steps < MAX_STEPS {
            let mut next = None;
            let listed = mount.readdir(dir, cookie, &mut |entry| {
                next = Some(entry.next);
                false
            });
            self.did(listed);
            match next {
                Some(next) if next > cookie => cookie = next,
                _ => break,
            }
        }
    }

    /// Every question about one inode.
    fn inode(&mut self, ino: Ino) {
        let mount = self.mount;
        let attributes = self.did(mount.getattr(ino));
        self.did(mount.parent_of(ino));
        let mut buffer = vec![0; 4500];
        self.did(mount.readlink(ino, &mut buffer[..10]));
        self.did(mount.readlink(ino, &mut buffer));
        let size = attributes.map_or(0, |a| a.size);
        for offset in [0, 1, 4095, 4096, size / 2, size.wrapping_sub(1), size, u64::MAX] {
            self.did(mount.read(ino, offset, &mut buffer[..33]));
            self.did(mount.read(ino, offset, &mut buffer));
            let extent = self.did(mount.extent(ino, offset));
            if let Some(Extent::Data { at, len }) = extent {
                let inside = self.did(mount.volume().region().slice(at, len));
                assert!(inside.is_some(), "an extent outside of the range");
            }
        }
    }

    fn change(&mut self) {
        let mount = self.mount;
        let found: Vec<_> = self.found.drain(..).take(MAX_CHANGED).collect();
        self.made_in(Ino::ROOT);
        for entry in &found {
            let (dir, name, ino) = (entry.dir, entry.name.as_slice(), entry.ino);
            self.attributes(ino);
            self.content(ino);
            if entry.kind == FileType::Directory {
                self.made_in(ino);
            }
            let away = [b"moved ".as_slice(), name].concat();
            self.did(mount.rename(dir, name, Ino::ROOT, &away, RenameMode::NoReplace));
            self.did(mount.rename(Ino::ROOT, &away, dir, name, RenameMode::Replace));
            self.did(mount.rename(dir, name, Ino::ROOT, b"walk", RenameMode::Exchange));
            self.did(mount.rename(dir, name, ino, b"below itself", RenameMode::Replace));
        }
        self.did(mount.sync());
        for entry in found.iter().rev().step_by(2) {
            self.did(mount.unlink(entry.dir, &entry.name));
            self.did(mount.rmdir(entry.dir, &entry.name));
            self.inode(entry.ino);
        }
    }

    /// One of every kind of inode, in directory `dir`; all but two go away again.
    fn made_in(&mut self, dir: Ino) {
        let mount = self.mount;
        let new = |kind: FileType| NewInode {
            mode: kind.mode_bits() | 0o640,
            uid: 1,
            gid: 2,
            rdev: 0x0103,
        };
        let kinds = [FileType::Regular, FileType::Directory, FileType::Fifo, FileType::BlockDevice];
        for kind in kinds {
            let made: Option<Attributes> = self.did(mount.create(dir, b"walk", &new(kind)));
            if let Some(made) = made {
                self.content(made.ino);
            }
            self.did(mount.unlink(dir, b"walk"));
            self.did(mount.rmdir(dir, b"walk"));
        }
        self.did(mount.symlink(dir, b"walk link", b"walk link", 3, 4));
        self.did(mount.create(dir, b"walk", &new(FileType::Regular)));
        for bad in [b"".as_slice(), b".", b"..", b"a/b", b"a\0", &[b'x'; 129]] {
            let made = self.did(mount.create(dir, bad, &new(FileType::Regular)));
            assert!(made.is_none(), "a bad name was taken");
        }
    }

    fn attributes(&mut self, ino: Ino) {
        let mount = self.mount;
        let time = Some(Timestamp::new(-5, 999_999_999));
        let changes = [
            SetAttributes { mode: Some(u32::MAX), ..SetAttributes::default() },
            SetAttributes { uid: Some(7), gid: Some(8), ..SetAttributes::default() },
            SetAttributes { atime: time, mtime: time, ..SetAttributes::default() },
            SetAttributes { size: Some(5000), ..SetAttributes::default() },
            SetAttributes { size: Some(3), mtime: time, ..SetAttributes::default() },
            SetAttributes { size: Some(u64::MAX), ..SetAttributes::default() },
            SetAttributes { size: Some(1 << 40), ..SetAttributes::default() },
        ];
        for changes in &changes {
            self.did(mount.setattr(ino, changes));
        }
    }

    fn content(&mut self, ino: Ino) {
        let mount = self.mount;
        let data = [b'w'; 5000];
        for (offset, len) in [(0, 1), (4090, 20), (10_000, 5000), (1 << 40, 1), (u64::MAX, 1)] {
            self.did(mount.write(ino, offset, &data[..len]));
        }
        let back = SetAttributes { size: Some(12_345), ..SetAttributes::default() };
        self.did(mount.setattr(ino, &back));
        self.did(mount.append(ino, &data[..100]));
        self.inode(ino);
    }

    fn branches(&mut self) {
        let mount = self.mount;
        let (one, two, main) = (name("walk-1"), name("walk-2"), name("main"));
        self.did(mount.create_branch(&one, None));
        self.made_in(Ino::ROOT);
        self.did(mount.create_branch(&two, None));
        self.made_in(Ino::ROOT);
        self.did(mount.switch(&main));
        self.did(mount.create(
            Ino::ROOT,
            b"frozen",
            &NewInode { mode: FileType::Fifo.mode_bits(), uid: 0, gid: 0, rdev: 0 },
        ));
        self.did(mount.switch(&two));
        self.did(mount.compact());
        self.made_in(Ino::ROOT);
        self.did(mount.abort());
        self.did(mount.switch(&one));
        self.did(mount.commit());
        self.did(mount.tick(1 << 40));
        self.did(mount.switch(&main));
        self.did(mount.abort());
        let volume = mount.volume();
        self.did(volume.create_branch(&one, &main));
        self.did(volume.create_branch(&two, &name("c")));
        self.did(volume.abort(&two));
        self.did(volume.commit(&one));
    }
}
