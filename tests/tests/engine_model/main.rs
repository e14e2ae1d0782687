//! The engine against a reference filesystem in memory: random operations, branches and remounts,
//! every outcome and after every few steps the whole tree compared.
//!
//! `PROPTEST_CASES=N cargo test --test engine_model` runs more cases.

use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    Access, BranchName, Errno, FileType, Ino, LastLink, Mount, MountOptions, Region, RenameMode,
    validate,
};
use daxfs_tests::compare::compare;
use daxfs_tests::image::TestMount;
use daxfs_tests::operation::{Operation, bytes, find};
use daxfs_tests::reference::{self, Branches, Content, Node, Tree};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

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
    File(Operation),
    Remount,
    CreateBranch(usize, Option<usize>),
    Switch(usize),
    Compact,
    Commit,
    Abort,
}

const BRANCHES: [&str; 5] = ["main", "b1", "b2", "b3", "b4"];

fn operation() -> impl Strategy<Value = Operation> {
    let mode = 0..0o10000_u32;
    let special =
        vec![FileType::Fifo, FileType::Socket, FileType::CharDevice, FileType::BlockDevice];
    let special = prop::sample::select(special);
    let size = prop_oneof![0..20_000_usize, (0..70_usize).prop_map(|p| p * 4096)];
    prop_oneof![
        6 => (path(), mode.clone()).prop_map(|(p, m)| Operation::Create(p, m)),
        4 => (path(), mode.clone()).prop_map(|(p, m)| Operation::MakeDirectory(p, m)),
        1 => (path(), special, any::<u32>()).prop_map(|(p, k, d)| Operation::MakeNode(p, k, d)),
        1 => (path(), "[a-z/.]{1,40}").prop_map(|(p, t)| Operation::Symlink(p, t.into_bytes())),
        12 => (path(), extent(), any::<u8>()).prop_map(|(p, e, s)| Operation::Write(p, e, s)),
        3 => (path(), 0..9000_usize, any::<u8>()).prop_map(|(p, l, s)| Operation::Append(p, l, s)),
        5 => (path(), size).prop_map(|(p, s)| Operation::Truncate(p, s)),
        5 => (path(), extent()).prop_map(|(p, e)| Operation::Punch(p, e)),
        1 => (path(), mode).prop_map(|(p, m)| Operation::Chmod(p, m)),
        1 => (path(), any::<u32>(), any::<u32>()).prop_map(|(p, u, g)| Operation::Chown(p, u, g)),
        4 => path().prop_map(Operation::Unlink),
        2 => path().prop_map(Operation::RemoveDirectory),
        6 => (path(), path(), rename_mode()).prop_map(|(f, t, m)| Operation::Rename(f, t, m)),
        3 => (path(), extent()).prop_map(|(p, e)| Operation::Read(p, e)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        49 => operation().prop_map(Step::File),
        2 => Just(Step::Remount),
        2 => (1..5_usize, prop::option::of(0..5_usize))
            .prop_map(|(n, p)| Step::CreateBranch(n, p)),
        1 => (0..5_usize).prop_map(Step::Switch),
        1 => Just(Step::Compact),
        1 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ]
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
        match step {
            Step::File(operation) => {
                let writable = model.tree_mut().is_ok();
                let current = model.current.clone();
                let branch = model.all.iter_mut().find(|b| b.name == current).unwrap();
                operation.on_reference(&mut branch.tree, writable)
            }
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
        match step {
            Step::File(operation) => operation.on_engine(mount, self.model.tree()),
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
        compare(self.mount(), self.model.tree());
    }
}

fn branch(index: usize) -> BranchName {
    BranchName::new(BRANCHES[index].as_bytes()).unwrap()
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
    let mut link = |name: &[u8], target: &[u8]| {
        let link = Operation::Symlink(vec![name.to_vec()], target.to_vec());
        pair.step_engine(&Step::File(link)).unwrap();
    };
    link(b"up", b"dir/../dir/a");
    link(b"loop", b"loop");
    link(b"abs", b"/dir/b/");
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
