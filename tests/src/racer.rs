//! A member at work beside others.
//!
//! It makes a branch from the one all race on, changes it at random and in step with a reference,
//! compares every outcome, and commits or discards it. Every committed state says of itself which it
//! is and whether it is whole: the file `.state` holds its number, one more than that of the state it
//! was made from, and a digest of all other files. So whoever makes a branch next, in whatever
//! process, can tell whether a commit was lost or came through in part.

use crate::image::{TestMount, name};
use crate::reference::{Content, Node, ROOT, Tree};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, Errno, FileType, Ino, Mount, MountOptions, NewInode, Region, RenameMode, SetAttributes,
    Volume,
};
use fastrand::Rng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::time::{Duration, Instant};

/// The branch that racers make theirs from and commit into.
pub const ARENA: &str = "arena";
/// The file that says what a state is.
const STATE: &[u8] = b".state";
/// Files do not grow beyond this.
const LONGEST: usize = 40_000;

/// A state of the arena.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    /// Commits that led to it.
    pub number: u64,
    /// Digest of its tree without the file that holds this.
    pub digest: String,
}

/// What a racer tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is about to commit this state.
    Trying(State),
    /// It has.
    Committed(State),
    /// A sibling was faster, or it was taken for dead.
    Lost,
}

/// How a round ended before its end.
enum Cut {
    /// The branch has ended, or the mount was taken for dead.
    Stale,
    /// There was no room: for a branch, a member, or data.
    Full,
}

/// What an engine operation said, if it is not the end of the round.
fn outcome<T>(result: daxfs::Result<T>) -> Result<Result<T, Errno>, Cut> {
    match result.map_err(|error| (error.errno(), error)) {
        Err((Errno::ESTALE, _)) => Err(Cut::Stale),
        Err((Errno::ENOSPC, _)) => Err(Cut::Full),
        Err((Errno::EUCLEAN, error)) => panic!("everybody here is honest: {error}"),
        other => Ok(other.map_err(|(errno, _)| errno)),
    }
}

/// A member.
pub struct Racer<'a> {
    file: &'a File,
    title: String,
    rng: Rng,
    start: Instant,
    /// Operations done.
    pub operations: u64,
    /// Bytes read back and compared.
    pub verified: u64,
    /// The longest that one operation took.
    pub slowest: Duration,
    round: u64,
}

impl<'a> Racer<'a> {
    /// A member called `title`, which must be its alone, on the image in `file`.
    #[must_use]
    pub fn new(file: &'a File, title: &str, seed: u64) -> Self {
        Self {
            file,
            title: title.to_owned(),
            rng: Rng::with_seed(seed),
            start: Instant::now(),
            operations: 0,
            verified: 0,
            slowest: Duration::ZERO,
            round: 0,
        }
    }

    /// One branch, from its making to its end.
    ///
    /// # Panics
    ///
    /// If anything is not as it should be.
    pub fn round(&mut self, tell: &mut dyn FnMut(Event)) {
        self.round += 1;
        let branch = format!("{}-{}", self.title, self.round);
        let options = MountOptions {
            branch: Some(name(&branch)),
            parent: Some(name(ARENA)),
            access: Access::ReadWrite,
            name: Some(name(&self.title)),
            ..Default::default()
        };
        let region = Region::new(MappedFile::new(self.file, true).expect("mapping the image"));
        let mount = match self.timed(|| Mount::new(StdPlatform, region, &options)) {
            Ok(mount) => mount,
            Err(error) => {
                let errno = error.errno();
                assert!(
                    matches!(errno, Errno::ESTALE | Errno::ENOSPC | Errno::EBUSY),
                    "making {branch}: {error}"
                );
                return;
            }
        };
        let member = mount.info().member;
        let (ended, alive) = (self.attempt(&mount, tell), mount.tick(self.now()).is_ok());
        if matches!(ended, Err(Cut::Stale)) {
            tell(Event::Lost);
        }
        let left = self.timed(|| mount.unmount());
        let is_expired = |info: &daxfs::MemberInfo| {
            Some(info.index.get()) == member
                && info.identity.name.starts_with(self.title.as_bytes())
                && info.state == daxfs::MemberState::Expired
        };
        if !alive || left.is_err() {
            // Taken for dead, for want of a processor to show life on. Nothing of it runs any more.
            let region = Region::new(MappedFile::new(self.file, true).expect("mapping the image"));
            let volume = Volume::open(StdPlatform, region).expect("an image");
            let mut mine = None;
            let mut look = |info: &daxfs::MemberInfo| {
                if is_expired(info) {
                    mine = Some(info.index);
                }
            };
            volume.members(&mut look).expect("members can be listed");
            if let Some(mine) = mine {
                volume.reap(mine).expect("a member that ended can be reaped");
            }
        }
    }

    fn attempt(&mut self, mount: &TestMount, tell: &mut dyn FnMut(Event)) -> Result<(), Cut> {
        let (mut tree, found) = self.look(mount)?;
        let before = read_state(&tree);
        assert_eq!(before.digest, found, "state {} is not whole", before.number);
        self.work(mount, &mut tree)?;
        if self.rng.u8(..) < 60 {
            let (inner, keeps) = (name(&format!("{}-inner", self.title)), self.rng.bool());
            let mut changed = tree.clone();
            self.step(mount, |mount| mount.create_branch(&inner, None))?.expect("a nested branch");
            self.work(mount, &mut changed)?;
            if keeps {
                self.step(mount, Mount::commit)?.expect("nobody races for a nested branch");
                tree = changed;
            } else {
                self.step(mount, Mount::abort)?.expect("a nested branch can be discarded");
            }
        }
        self.compare(mount, &tree)?;
        if self.rng.u8(..) < 80 {
            self.step(mount, Mount::abort)?.expect("a branch can be discarded");
            return Ok(());
        }
        let state = State { number: before.number + 1, digest: digest(&tree) };
        let text = format!("{} {}\n", state.number, state.digest);
        self.store(mount, &[STATE.to_vec()], 0, text.as_bytes())?;
        tell(Event::Trying(state.clone()));
        self.step(mount, Mount::commit)?.expect("a commit without children");
        tell(Event::Committed(state));
        Ok(())
    }

    /// Random changes, in step with the reference.
    fn work(&mut self, mount: &TestMount, tree: &mut Tree) -> Result<(), Cut> {
        for _ in 0..self.rng.usize(1..40) {
            self.change(mount, tree)?;
        }
        Ok(())
    }

    fn change(&mut self, mount: &TestMount, tree: &mut Tree) -> Result<(), Cut> {
        let path = self.path();
        let own = |content| Node { permissions: 0o640, uid: 1, gid: 2, content };
        let new =
            |kind: FileType| NewInode { mode: kind.mode_bits() | 0o640, uid: 1, gid: 2, rdev: 0 };
        match self.rng.u8(..10) {
            0 | 1 => {
                let expected = tree.make(&path, own(Content::File(Vec::new()))).map(|_| ());
                let found = self.step(mount, |mount| {
                    let (dir, last) = parent(mount, &path)?;
                    mount.create(dir, last, &new(FileType::Regular)).map(|_| ())
                })?;
                assert_eq!(found, expected, "creating {path:?}");
            }
            2 => {
                let expected =
                    tree.make(&path, own(Content::Directory(BTreeMap::new()))).map(|_| ());
                let found = self.step(mount, |mount| {
                    let (dir, last) = parent(mount, &path)?;
                    mount.create(dir, last, &new(FileType::Directory)).map(|_| ())
                })?;
                assert_eq!(found, expected, "making {path:?}");
            }
            3..=5 => {
                let offset = self.rng.usize(..LONGEST / 2);
                let data: Vec<u8> =
                    (0..self.rng.usize(1..LONGEST / 2)).map(|_| self.rng.u8(..)).collect();
                let expected = tree.write(&path, offset, &data);
                let found = self
                    .step(mount, |mount| mount.write(find(mount, &path)?, offset as u64, &data))?;
                match found {
                    // Written in part: the region is full.
                    Ok(written) if written < data.len() => return Err(Cut::Full),
                    found => assert_eq!(found.map(|_| ()), expected, "writing {path:?}"),
                }
            }
            6 => {
                let size = self.rng.usize(..LONGEST);
                let expected = tree.file_mut(&path).map(|data| data.resize(size, 0));
                let changes = SetAttributes { size: Some(size as u64), ..Default::default() };
                let found = self.step(mount, |mount| {
                    mount.setattr(find(mount, &path)?, &changes).map(|_| ())
                })?;
                assert_eq!(found, expected, "truncating {path:?}");
            }
            7 => {
                let expected = tree.remove(&path, false);
                let found = self.step(mount, |mount| {
                    let (dir, last) = parent(mount, &path)?;
                    mount.unlink(dir, last)
                })?;
                assert_eq!(found, expected, "removing {path:?}");
            }
            8 => {
                let to = self.path();
                let expected = tree.rename(&path, &to, RenameMode::Replace);
                let found = self.step(mount, |mount| {
                    let (old_dir, old) = parent(mount, &path)?;
                    let (new_dir, new) = parent(mount, &to)?;
                    mount.rename(old_dir, old, new_dir, new, RenameMode::Replace)
                })?;
                assert_eq!(found, expected, "renaming {path:?} to {to:?}");
            }
            _ => {
                let mode = self.rng.u32(..0o1000);
                let expected = tree.node_mut(&path).map(|node| node.permissions = mode);
                let changes = SetAttributes { mode: Some(mode), ..Default::default() };
                let found = self.step(mount, |mount| {
                    mount.setattr(find(mount, &path)?, &changes).map(|_| ())
                })?;
                assert_eq!(found, expected, "mode of {path:?}");
            }
        }
        Ok(())
    }

    /// From few names, so that operations meet.
    fn path(&mut self) -> Vec<Vec<u8>> {
        let names: [&[u8]; 6] = [b"a", b"b", b"c", b"work", b"file", b"x"];
        (0..self.rng.usize(1..3)).map(|_| names[self.rng.usize(..6)].to_vec()).collect()
    }

    fn store(
        &mut self,
        mount: &TestMount,
        path: &[Vec<u8>],
        offset: u64,
        data: &[u8],
    ) -> Result<(), Cut> {
        let size = SetAttributes { size: Some(data.len() as u64), ..Default::default() };
        let ino = self.step(mount, |mount| find(mount, path))?.expect("a file that is there");
        self.step(mount, |mount| mount.setattr(ino, &size))?.expect("truncating");
        let written = self.step(mount, |mount| mount.write(ino, offset, data))?.expect("writing");
        if written < data.len() { Err(Cut::Full) } else { Ok(()) }
    }

    /// One engine operation: timed, and the member shows its life before it.
    fn step<T>(
        &mut self,
        mount: &TestMount,
        operation: impl FnOnce(&TestMount) -> daxfs::Result<T>,
    ) -> Result<Result<T, Errno>, Cut> {
        let now = self.now();
        self.timed(|| outcome(mount.tick(now)))?.expect("showing life");
        self.operations += 1;
        self.timed(|| outcome(operation(mount)))
    }

    fn timed<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.slowest = self.slowest.max(start.elapsed());
        result
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    /// The digest of the mounted tree.
    ///
    /// # Panics
    ///
    /// If the branch has ended.
    pub fn digest_of(&mut self, mount: &TestMount) -> String {
        match self.look(mount) {
            Ok((_, digest)) => digest,
            Err(_) => panic!("the branch has ended"),
        }
    }

    /// The mounted tree, and the digest of it.
    fn look(&mut self, mount: &TestMount) -> Result<(Tree, String), Cut> {
        let mut tree = Tree::new();
        self.look_at(mount, Ino::ROOT, &mut Vec::new(), &mut tree)?;
        let digest = digest(&tree);
        Ok((tree, digest))
    }

    fn look_at(
        &mut self,
        mount: &TestMount,
        ino: Ino,
        path: &mut Vec<Vec<u8>>,
        tree: &mut Tree,
    ) -> Result<(), Cut> {
        let found = self.step(mount, |mount| mount.getattr(ino))?.expect("an inode that is named");
        let content = match found.kind {
            FileType::Directory => Content::Directory(BTreeMap::new()),
            FileType::Regular => {
                let mut data = vec![0; found.size as usize];
                let read = self.step(mount, |mount| mount.read(ino, 0, &mut data))?;
                assert_eq!(read, Ok(data.len()), "reading {path:?}");
                self.verified += data.len() as u64;
                Content::File(data)
            }
            FileType::Symlink => {
                let mut target = vec![0; found.size as usize];
                self.step(mount, |mount| mount.readlink(ino, &mut target))?.expect("a target");
                Content::Symlink(target)
            }
            kind => Content::Special { kind, rdev: found.rdev },
        };
        let (permissions, uid, gid) = (found.mode & 0o7777, found.uid, found.gid);
        let node = Node { permissions, uid, gid, content };
        if path.is_empty() {
            let root = tree.node_mut(&[]).expect("the root");
            (root.permissions, root.uid, root.gid) = (permissions, uid, gid);
        } else {
            tree.make(path, node).expect("a name is listed once");
        }
        if found.kind == FileType::Directory {
            let mut entries = Vec::new();
            self.step(mount, |mount| {
                mount.readdir(ino, 0, &mut |entry| {
                    entries.push((entry.name.to_vec(), entry.ino));
                    true
                })
            })?
            .expect("a directory can be listed");
            for (last, ino) in entries {
                path.push(last);
                self.look_at(mount, ino, path, tree)?;
                path.pop();
            }
        }
        Ok(())
    }

    fn compare(&mut self, mount: &TestMount, tree: &Tree) -> Result<(), Cut> {
        let (_, found) = self.look(mount)?;
        assert_eq!(found, digest(tree), "{} differs from its reference", self.title);
        Ok(())
    }

    /// The state of the arena, looked at through a branch of its own: whole, or there is none to
    /// tell of because the branch ended meanwhile.
    ///
    /// # Panics
    ///
    /// If it is not whole, or cannot be mounted.
    pub fn state(&mut self, mount: &TestMount) -> Option<State> {
        let (tree, found) = self.look(mount).ok()?;
        let state = read_state(&tree);
        assert_eq!(state.digest, found, "state {} is not whole", state.number);
        Some(state)
    }
}

/// What the tree says of itself.
fn read_state(tree: &Tree) -> State {
    let id = tree.find(&[STATE.to_vec()]).expect("every state says which it is");
    let Content::File(text) = &tree.node(id).content else { panic!("{STATE:?} is a file") };
    let text = std::str::from_utf8(text).expect("text");
    let (number, digest) = text.trim_end().split_once(' ').expect("number and digest");
    State { number: number.parse().expect("a number"), digest: digest.to_owned() }
}

/// A digest of a tree but for what it says of itself.
#[must_use]
pub fn digest(tree: &Tree) -> String {
    let mut hash = Sha256::new();
    digest_of(tree, ROOT, &mut hash);
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}

fn digest_of(tree: &Tree, id: u64, hash: &mut Sha256) {
    let node = tree.node(id);
    hash.update([node.kind() as u8]);
    for number in [node.permissions, node.uid, node.gid] {
        hash.update(number.to_le_bytes());
    }
    match &node.content {
        Content::File(bytes) | Content::Symlink(bytes) => {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Content::Special { rdev, .. } => hash.update(rdev.to_le_bytes()),
        Content::Directory(entries) => {
            for (name, &child) in entries {
                if id == ROOT && name == STATE {
                    continue;
                }
                hash.update((name.len() as u64).to_le_bytes());
                hash.update(name);
                digest_of(tree, child, hash);
            }
            hash.update(u64::MAX.to_le_bytes());
        }
    }
}

fn find(mount: &TestMount, path: &[Vec<u8>]) -> daxfs::Result<Ino> {
    path.iter().try_fold(Ino::ROOT, |at, name| mount.lookup(at, name).map(|found| found.ino))
}

fn parent<'p>(mount: &TestMount, path: &'p [Vec<u8>]) -> daxfs::Result<(Ino, &'p [u8])> {
    let (last, dirs) = path.split_last().expect("a path has a last name");
    let dir = find(mount, dirs)?;
    if mount.getattr(dir)?.kind != FileType::Directory {
        return Err(daxfs::Error::NotDirectory);
    }
    Ok((dir, last))
}
