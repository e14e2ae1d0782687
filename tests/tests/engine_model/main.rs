//! The engine against a reference filesystem in memory: random operations, branches and remounts,
//! every outcome and after every few steps the whole tree compared.
//!
//! `PROPTEST_CASES=N cargo test --test engine_model` runs more cases.

use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, BranchName, Errno, FileType, Ino, LastLink, Mount, MountOptions, NewInode, Region,
    RenameMode, SetAttributes, validate,
};
use daxfs_tests::reference::{self, Branches, Content, Node, ROOT, Tree};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

type TestMount = Mount<StdPlatform>;

/// Paths are short and from few names, so that operations meet.
fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop::sample::select(vec!["a", "b", "c", "dir", "file", "x.txt"]);
    prop::collection::vec(name.prop_map(|n| n.as_bytes().to_vec()), 1..4)
}

fn rename_mode() -> impl Strategy<Value = RenameMode> {
    prop::sample::select(vec![
        RenameMode::Replace,
        RenameMode::Replace,
        RenameMode::NoReplace,
        RenameMode::Exchange,
    ])
}

/// Offsets and lengths around page and node borders, and anywhere.
fn extent() -> impl Strategy<Value = (usize, usize)> {
    let offset =
        prop_oneof![0..20_000_usize, (0..70_usize).prop_map(|p| p * 4096), 4090..4100_usize];
    let len = prop_oneof![0..300_usize, Just(4096), 1..20_000_usize, Just(300_000)];
    (offset, len)
}

#[derive(Clone, Debug)]
enum Step {
    Create(Vec<Vec<u8>>, u32),
    MakeDirectory(Vec<Vec<u8>>, u32),
    MakeNode(Vec<Vec<u8>>, FileType, u32),
    Symlink(Vec<Vec<u8>>, Vec<u8>),
    Write(Vec<Vec<u8>>, (usize, usize), u8),
    Append(Vec<Vec<u8>>, usize, u8),
    Truncate(Vec<Vec<u8>>, usize),
    Chmod(Vec<Vec<u8>>, u32),
    Chown(Vec<Vec<u8>>, u32, u32),
    Unlink(Vec<Vec<u8>>),
    RemoveDirectory(Vec<Vec<u8>>),
    Rename(Vec<Vec<u8>>, Vec<Vec<u8>>, RenameMode),
    Read(Vec<Vec<u8>>, (usize, usize)),
    Remount,
    CreateBranch(usize, Option<usize>),
    Switch(usize),
    Compact,
    Commit,
    Abort,
}

const BRANCHES: [&str; 5] = ["main", "b1", "b2", "b3", "b4"];

fn step() -> impl Strategy<Value = Step> {
    let mode = 0..0o10000_u32;
    prop_oneof![
        6 => (path(), mode.clone()).prop_map(|(p, m)| Step::Create(p, m)),
        4 => (path(), mode.clone()).prop_map(|(p, m)| Step::MakeDirectory(p, m)),
        1 => (path(), prop::sample::select(vec![
                FileType::Fifo, FileType::Socket, FileType::CharDevice, FileType::BlockDevice]),
            any::<u32>()).prop_map(|(p, k, d)| Step::MakeNode(p, k, d)),
        1 => (path(), "[a-z/.]{1,40}").prop_map(|(p, t)| Step::Symlink(p, t.into_bytes())),
        12 => (path(), extent(), any::<u8>()).prop_map(|(p, e, s)| Step::Write(p, e, s)),
        3 => (path(), 0..9000_usize, any::<u8>()).prop_map(|(p, l, s)| Step::Append(p, l, s)),
        5 => (path(), prop_oneof![0..20_000_usize, (0..70_usize).prop_map(|p| p * 4096)])
            .prop_map(|(p, s)| Step::Truncate(p, s)),
        1 => (path(), mode).prop_map(|(p, m)| Step::Chmod(p, m)),
        1 => (path(), any::<u32>(), any::<u32>()).prop_map(|(p, u, g)| Step::Chown(p, u, g)),
        4 => path().prop_map(Step::Unlink),
        2 => path().prop_map(Step::RemoveDirectory),
        6 => (path(), path(), rename_mode()).prop_map(|(f, t, m)| Step::Rename(f, t, m)),
        3 => (path(), extent()).prop_map(|(p, e)| Step::Read(p, e)),
        2 => Just(Step::Remount),
        2 => (1..5_usize, prop::option::of(0..5_usize))
            .prop_map(|(n, p)| Step::CreateBranch(n, p)),
        1 => (0..5_usize).prop_map(Step::Switch),
        1 => Just(Step::Compact),
        1 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ]
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add((i * 31 + i / 251) as u8)).collect()
}

/// The base tree: the same in a folder (for the image) and in the reference.
fn base_tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let own = |permissions, content| Node { permissions, uid: 0, gid: 0, content };
    let path = |text: &str| text.split('/').map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>();
    for dir in ["dir", "dir/a", "dir/b"] {
        fs::create_dir(folder.join(dir)).unwrap();
        tree.make(&path(dir), own(0o755, Content::Directory(BTreeMap::new()))).unwrap();
    }
    for (name, data) in [
        ("file", bytes(1, 13)),
        ("x.txt", bytes(2, 4096)),
        ("dir/file", bytes(3, 70_001)),
        ("dir/a/b", Vec::new()),
        ("dir/b/c", bytes(4, 5000)),
        ("dir/b/x.txt", bytes(5, 1)),
    ] {
        fs::write(folder.join(name), &data).unwrap();
        tree.make(&path(name), own(0o644, Content::File(data))).unwrap();
    }
    for at in walkdir(folder) {
        use std::os::unix::fs::{PermissionsExt, chown};
        chown(&at, Some(0), Some(0)).ok();
        let mode = if at.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("dir/file", folder.join("c")).unwrap();
    tree.make(&path("c"), own(0o777, Content::Symlink(b"dir/file".to_vec()))).unwrap();
    tree
}

fn walkdir(at: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![at.to_owned()];
    for entry in fs::read_dir(at).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() && !entry.is_symlink() {
            all.extend(walkdir(&entry));
        } else if !entry.is_symlink() {
            all.push(entry);
        }
    }
    all
}

/// The engine and its reference, side by side.
struct Pair {
    image: fs::File,
    mount: Option<TestMount>,
    model: Branches,
    folder: tempfile::TempDir,
}

impl Pair {
    fn new(delta: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let tree = base_tree(&source);
        let image = folder.path().join("image");
        let options = mkdaxfs::BuildOptions {
            writable: Some(mkdaxfs::DeltaSize::Bytes(delta)),
            ..Default::default()
        };
        mkdaxfs::build(&source, &image, &options, &()).unwrap();
        let image = fs::File::options().read(true).write(true).open(&image).unwrap();
        let main = reference::Branch { name: "main".into(), parent: None, tree };
        let model =
            Branches { all: vec![main], current: "main".into(), writable: true, held: Vec::new() };
        let mut pair = Self { image, mount: None, model, folder };
        pair.remount();
        pair
    }

    fn region(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.image, true).unwrap())
    }

    fn mount(&self) -> &TestMount {
        self.mount.as_ref().unwrap()
    }

    /// Unmounts, checks the image, and mounts the current branch again.
    fn remount(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.unmount().unwrap();
        }
        validate(&StdPlatform, &self.region(), &mut |problem| panic!("{problem}")).unwrap();
        let options = MountOptions {
            branch: BranchName::new(self.model.current.as_bytes()),
            access: Access::ReadWrite,
            keep: true,
            exclusive: true,
            ..Default::default()
        };
        self.mount = Some(Mount::new(StdPlatform, self.region(), &options).unwrap());
        self.model.writable = true;
        self.model.held.clear();
    }

    /// Both results of one step.
    fn step(&mut self, step: &Step) -> (Result<(), Errno>, Result<(), Errno>) {
        let expected = self.step_model(step);
        let found = self.step_engine(step).map_err(|e| e.errno());
        (expected, found)
    }

    fn step_model(&mut self, step: &Step) -> Result<(), Errno> {
        let model = &mut self.model;
        let own = |permissions, content| Node { permissions, uid: 7, gid: 8, content };
        // The reading part of each operation comes before the check for a writable branch.
        match step {
            Step::Create(path, mode) => {
                model.tree().parent(path)?;
                let node = own(*mode, Content::File(Vec::new()));
                model.tree_mut()?.make(path, node).map(|_| ())
            }
            Step::MakeDirectory(path, mode) => {
                model.tree().parent(path)?;
                let node = own(*mode, Content::Directory(BTreeMap::new()));
                model.tree_mut()?.make(path, node).map(|_| ())
            }
            Step::MakeNode(path, kind, rdev) => {
                model.tree().parent(path)?;
                let rdev = if kind.is_device() { *rdev } else { 0 };
                let node = own(0o600, Content::Special { kind: *kind, rdev });
                model.tree_mut()?.make(path, node).map(|_| ())
            }
            Step::Symlink(path, target) => {
                model.tree().parent(path)?;
                let node = own(0o777, Content::Symlink(target.clone()));
                model.tree_mut()?.make(path, node).map(|_| ())
            }
            Step::Write(path, (offset, len), seed) => {
                model.tree().find(path)?;
                model.tree_mut()?.write(path, *offset, &bytes(*seed, *len))
            }
            Step::Append(path, len, seed) => {
                model.tree().find(path)?;
                let end = model.tree_mut()?.file_mut(path)?.len();
                model.tree_mut()?.write(path, end, &bytes(*seed, *len))
            }
            Step::Truncate(path, size) => {
                model.tree().find(path)?;
                model.tree_mut()?.file_mut(path)?.resize(*size, 0);
                Ok(())
            }
            Step::Chmod(path, mode) => {
                model.tree().find(path)?;
                model.tree_mut()?.node_mut(path)?.permissions = *mode;
                Ok(())
            }
            Step::Chown(path, uid, gid) => {
                model.tree().find(path)?;
                let node = model.tree_mut()?.node_mut(path)?;
                (node.uid, node.gid) = (*uid, *gid);
                Ok(())
            }
            Step::Unlink(path) => {
                model.tree().parent(path)?;
                model.tree_mut()?.remove(path, false)
            }
            Step::RemoveDirectory(path) => {
                model.tree().parent(path)?;
                model.tree_mut()?.remove(path, true)
            }
            Step::Rename(from, to, mode) => {
                model.tree().parent(from)?;
                model.tree().parent(to)?;
                model.tree_mut()?.rename(from, to, *mode)
            }
            Step::Read(path, _) => match &model.tree().node(model.tree().find(path)?).content {
                Content::File(_) => Ok(()),
                Content::Directory(_) => Err(Errno::EISDIR),
                _ => Err(Errno::EINVAL),
            },
            Step::Remount => Ok(()),
            Step::CreateBranch(name, parent) => {
                model.create(BRANCHES[*name], parent.map(|p| BRANCHES[p]))
            }
            Step::Switch(name) => model.switch(BRANCHES[*name]),
            Step::Compact => model.tree_mut().map(|_| ()),
            Step::Commit => model.commit(),
            Step::Abort => model.abort(),
        }
    }

    fn step_engine(&mut self, step: &Step) -> daxfs::Result<()> {
        if matches!(step, Step::Remount) {
            self.remount();
            return Ok(());
        }
        let mount = self.mount();
        let find = |path: &[Vec<u8>]| find(mount, path);
        let new = |mode| NewInode { mode, uid: 7, gid: 8, rdev: 0 };
        match step {
            Step::Create(path, mode) => {
                let (dir, name) = parent(mount, path)?;
                let new = new(FileType::Regular.mode_bits() | mode);
                mount.create(dir, name, &new).map(|_| ())
            }
            Step::MakeDirectory(path, mode) => {
                let (dir, name) = parent(mount, path)?;
                let new = new(FileType::Directory.mode_bits() | mode);
                mount.create(dir, name, &new).map(|_| ())
            }
            Step::MakeNode(path, kind, rdev) => {
                let (dir, name) = parent(mount, path)?;
                let new = NewInode { rdev: *rdev, ..new(kind.mode_bits() | 0o600) };
                mount.create(dir, name, &new).map(|_| ())
            }
            Step::Symlink(path, target) => {
                let (dir, name) = parent(mount, path)?;
                mount.symlink(dir, name, target, 7, 8).map(|_| ())
            }
            Step::Write(path, (offset, len), seed) => {
                let data = bytes(*seed, *len);
                assert_eq!(mount.write(find(path)?, *offset as u64, &data)?, *len);
                Ok(())
            }
            Step::Append(path, len, seed) => {
                assert_eq!(mount.append(find(path)?, &bytes(*seed, *len))?.1, *len);
                Ok(())
            }
            Step::Truncate(path, size) => {
                let changes = SetAttributes { size: Some(*size as u64), ..Default::default() };
                mount.setattr(find(path)?, &changes).map(|_| ())
            }
            Step::Chmod(path, mode) => {
                let changes = SetAttributes { mode: Some(*mode), ..Default::default() };
                mount.setattr(find(path)?, &changes).map(|_| ())
            }
            Step::Chown(path, uid, gid) => {
                let changes =
                    SetAttributes { uid: Some(*uid), gid: Some(*gid), ..Default::default() };
                mount.setattr(find(path)?, &changes).map(|_| ())
            }
            Step::Unlink(path) => {
                let (dir, name) = parent(mount, path)?;
                mount.unlink(dir, name)
            }
            Step::RemoveDirectory(path) => {
                let (dir, name) = parent(mount, path)?;
                mount.rmdir(dir, name)
            }
            Step::Rename(from, to, mode) => {
                let (old_dir, old_name) = parent(mount, from)?;
                let (new_dir, new_name) = parent(mount, to)?;
                mount.rename(old_dir, old_name, new_dir, new_name, *mode)
            }
            Step::Read(path, (offset, len)) => {
                let mut buffer = vec![0xaa; *len];
                let count = mount.read(find(path)?, *offset as u64, &mut buffer)?;
                let id = self.model.tree().find(path).unwrap();
                let Content::File(data) = &self.model.tree().node(id).content else { panic!() };
                let end = data.len().min(offset + len);
                assert_eq!(buffer[..count], data[(*offset).min(end)..end]);
                Ok(())
            }
            Step::Remount => unreachable!("handled above"),
            Step::CreateBranch(name, parent) => {
                let parent = parent.map(branch);
                mount.create_branch(&branch(*name), parent.as_ref())
            }
            Step::Switch(name) => mount.switch(&branch(*name)),
            Step::Compact => mount.compact(),
            Step::Commit => mount.commit(),
            Step::Abort => mount.abort(),
        }
    }

    /// Compares the whole mounted tree.
    fn compare(&self) {
        compare(self.mount(), Ino::ROOT, self.model.tree(), ROOT, &mut Vec::new());
    }
}

fn branch(index: usize) -> BranchName {
    BranchName::new(BRANCHES[index].as_bytes()).unwrap()
}

/// Symbolic links are not followed here: the reference does not either.
fn find(mount: &TestMount, path: &[Vec<u8>]) -> daxfs::Result<Ino> {
    let mut at = Ino::ROOT;
    for name in path {
        at = mount.lookup(at, name)?.ino;
    }
    Ok(at)
}

fn parent<'p>(mount: &TestMount, path: &'p [Vec<u8>]) -> daxfs::Result<(Ino, &'p [u8])> {
    let (last, dirs) = path.split_last().unwrap();
    let dir = find(mount, dirs)?;
    if mount.getattr(dir)?.kind != FileType::Directory {
        return Err(daxfs::Error::NotDirectory);
    }
    Ok((dir, last))
}

fn compare(mount: &TestMount, ino: Ino, tree: &Tree, id: reference::Id, path: &mut Vec<Vec<u8>>) {
    let shown =
        || path.iter().map(|n| String::from_utf8_lossy(n)).fold(String::new(), |s, n| s + "/" + &n);
    let node = tree.node(id);
    let attributes = mount.getattr(ino).unwrap();
    assert_eq!(attributes.kind, node.kind(), "{}", shown());
    assert_eq!(
        (attributes.mode & 0o7777, attributes.uid, attributes.gid),
        (node.permissions, node.uid, node.gid),
        "{}",
        shown()
    );
    match &node.content {
        Content::File(data) => {
            assert_eq!(attributes.size, data.len() as u64, "size of {}", shown());
            let mut found = vec![0x55; data.len() + 10];
            let count = mount.read(ino, 0, &mut found).unwrap();
            assert_eq!(count, data.len());
            if let Some(at) = (0..count).find(|&i| found[i] != data[i]) {
                panic!("{} differs at {at}: {} instead of {}", shown(), found[at], data[at]);
            }
        }
        Content::Symlink(target) => {
            let mut found = vec![0; 4096];
            let len = mount.readlink(ino, &mut found).unwrap();
            assert_eq!(&found[..len], target.as_slice());
        }
        Content::Special { rdev, .. } => assert_eq!(attributes.rdev, *rdev),
        Content::Directory(entries) => {
            let mut found = BTreeMap::new();
            // In steps of three: every restart must go on where the last stopped.
            let mut cookie = 0;
            loop {
                let mut seen = 0;
                mount
                    .readdir(ino, cookie, &mut |entry| {
                        cookie = entry.next;
                        let twice = found.insert(entry.name.to_vec(), (entry.ino, entry.kind));
                        assert!(twice.is_none(), "{:?} is listed twice", entry.name);
                        seen += 1;
                        seen < 3
                    })
                    .unwrap();
                if seen < 3 {
                    break;
                }
            }
            let names: Vec<_> = found.keys().cloned().collect();
            assert_eq!(names, entries.keys().cloned().collect::<Vec<_>>(), "in {}", shown());
            let subdirectories =
                entries.values().filter(|&&e| tree.node(e).kind() == FileType::Directory).count();
            assert_eq!(attributes.nlink as usize, 2 + subdirectories, "links of {}", shown());
            for (name, &child) in entries {
                let (child_ino, kind) = found[name];
                assert_eq!(mount.lookup(ino, name).unwrap().ino, child_ino);
                assert_eq!(kind, tree.node(child).kind());
                if kind == FileType::Directory {
                    assert_eq!(mount.parent_of(child_ino).unwrap(), ino);
                }
                path.push(name.clone());
                compare(mount, child_ino, tree, child, path);
                path.pop();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(256)
    ) })]

    #[test]
    fn behaves_like_the_reference(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new(24 << 20);
        for (number, step) in steps.iter().enumerate() {
            let (expected, found) = pair.step(step);
            prop_assert_eq!(found, expected, "step {}: {:?}", number, step);
            if number % 5 == 0 || matches!(step, Step::Remount | Step::Commit | Step::Abort) {
                pair.compare();
            }
        }
        pair.remount();
        pair.compare();
        let _ = &pair.folder;
    }
}

#[test]
fn paths_follow_links_like_the_system_does() {
    let mut pair = Pair::new(8 << 20);
    pair.step_engine(&Step::Symlink(vec![b"up".to_vec()], b"dir/../dir/a".to_vec())).unwrap();
    pair.step_engine(&Step::Symlink(vec![b"loop".to_vec()], b"loop".to_vec())).unwrap();
    pair.step_engine(&Step::Symlink(vec![b"abs".to_vec()], b"/dir/b/".to_vec())).unwrap();
    let mount = pair.mount();
    let resolve = |path: &str| mount.resolve(path.as_bytes(), LastLink::Follow).map(|a| a.ino);
    let dir_a = find(mount, &[b"dir".to_vec(), b"a".to_vec()]).unwrap();
    assert_eq!(resolve("/up"), Ok(dir_a));
    assert_eq!(resolve("//up/../a/./"), Ok(dir_a));
    assert_eq!(resolve("/abs/../a"), Ok(dir_a));
    assert_eq!(resolve("/../.."), Ok(Ino::ROOT));
    assert_eq!(resolve("/loop"), Err(daxfs::Error::Loop));
    assert_eq!(resolve("/file/"), Err(daxfs::Error::NotDirectory));
    assert_eq!(resolve("/c/"), Err(daxfs::Error::NotDirectory));
    assert_eq!(resolve("/c/x"), Err(daxfs::Error::NotDirectory));
    assert_eq!(resolve("/nothing/x"), Err(daxfs::Error::NotFound));
    let link = mount.resolve(b"/c", LastLink::Keep).unwrap();
    assert_eq!(link.kind, FileType::Symlink);
    assert_eq!(mount.resolve(b"/c", LastLink::Follow).unwrap().kind, FileType::Regular);
}
