//! The engine's side: members over one memory, and the comparison with the model.

use crate::model::{Life, Model};
use crate::step::{BRANCHES, PLACES, Pick, Step};
use daxfs::std_platform::StdPlatform;
use daxfs::{BranchInfo, Errno, FileType, Ino, MemberIndex, MountOptions, Volume};
use daxfs_format::extension::{EXTENSION_OFFSET, ExtensionHeader};
use daxfs_tests::builder::{ImageBuilder, Kind};
use daxfs_tests::compare::compare;
use daxfs_tests::image::{Image, Scratch, TestMount, name, problems, read_only, read_write};
use daxfs_tests::reference::{Content, Node, Outcome, ROOT, Tree};
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Steps between two comparisons of everything.
const STRIDE: u32 = 16;
/// log2 of the size of a segment: small, so that there are many.
const SHIFT: u32 = 16;

thread_local! {
    static TEMPLATE: LazyCell<(Image, Tree)> = LazyCell::new(template);
}

/// A fresh image with many small segments, and what it says.
fn template() -> (Image, Tree) {
    let mut image = ImageBuilder::new(Kind::Segmented).roomy(6 << 20).build();
    let end = image.bytes.len() as u64;
    let mut raw: ExtensionHeader = image.get(EXTENSION_OFFSET);
    raw.segment_shift = SHIFT.into();
    let count = (end - raw.segments_offset.get()) >> SHIFT;
    raw.segment_count = u32::try_from(count).expect("a small image").into();
    image.put(EXTENSION_OFFSET, &raw);
    assert_eq!(image.problems(), [""; 0]);
    let mount = image.mount(&read_only(None)).expect("a good image");
    let mut tree = Tree::new();
    copy(&mount, Ino::ROOT, &mut Vec::new(), &mut tree);
    (image, tree)
}

/// Copies what a mount shows below a directory to the reference.
fn copy(mount: &TestMount, dir: Ino, path: &mut Vec<Vec<u8>>, tree: &mut Tree) {
    let mut entries = Vec::new();
    let mut note = |entry: &daxfs::DirEntry<'_>| {
        entries.push((entry.name.to_vec(), entry.ino));
        true
    };
    mount.readdir(dir, 0, &mut note).expect("a good directory");
    for (name, ino) in entries {
        let found = mount.getattr(ino).expect("a good inode");
        let mut bytes = vec![0; found.size as usize + 1];
        let content = match found.kind {
            FileType::Regular => {
                let count = mount.read(ino, 0, &mut bytes).expect("a good file");
                Content::File(bytes[..count].to_vec())
            }
            FileType::Symlink => {
                let count = mount.readlink(ino, &mut bytes).expect("a good link");
                Content::Symlink(bytes[..count].to_vec())
            }
            FileType::Directory => Content::Directory(BTreeMap::new()),
            kind => Content::Special { kind, rdev: found.rdev },
        };
        let (permissions, uid, gid) = (found.mode & 0o7777, found.uid, found.gid);
        path.push(name);
        tree.make(path, Node { permissions, uid, gid, content }).expect("a new name");
        if found.kind == FileType::Directory {
            copy(mount, ino, path, tree);
        }
        path.pop();
    }
    if path.is_empty() {
        let root = mount.getattr(Ino::ROOT).expect("a root");
        let node = tree.node_mut(&[]).expect("a root");
        (node.permissions, node.uid, node.gid) = (root.mode & 0o7777, root.uid, root.gid);
    }
}

/// The members, and the model of them.
pub struct World {
    scratch: Scratch,
    model: Model,
    /// Those who run.
    running: Vec<(Life, TestMount)>,
    /// Where those who have a place in the member table have it.
    indices: BTreeMap<Life, MemberIndex>,
    clock: u64,
    steps: u32,
}

impl World {
    /// A fresh image and no members.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let tree = TEMPLATE.with(|template| {
            scratch.fill(&template.0);
            template.1.clone()
        });
        let lease_ms = u64::from(daxfs_format::coordination::DEFAULT_LEASE_MS);
        let model = Model::new(tree, lease_ms);
        let (running, indices) = (Vec::new(), BTreeMap::new());
        Self { scratch, model, running, indices, clock: 1, steps: 0 }
    }

    fn volume(&self) -> Volume<StdPlatform> {
        Volume::open(StdPlatform, self.scratch.region()).expect("a good image")
    }

    /// Does one step on both sides, and compares.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Look(branch) => {
                let branch = self.pick(*branch);
                self.mount(&read_only(Some(branch)), |model| model.look(branch))?;
            }
            Step::Write { branch, parent, keep } => {
                let (branch, parent, keep) = (self.pick(*branch), self.pick(*parent), *keep);
                let (exclusive, from) = (false, Some(name(parent)));
                let options =
                    MountOptions { keep, exclusive, parent: from, ..read_write(Some(branch)) };
                self.mount(&options, |model| model.write(branch, parent, keep))?;
            }
            Step::Unmount(number) => {
                if let Some((life, mount)) = self.leave(*number) {
                    self.model.unmount(life);
                    mount.unmount().map_err(|error| format!("unmounting: {error}"))?;
                }
            }
            Step::Crash(number) => {
                if let Some((life, mount)) = self.leave(*number) {
                    self.model.crash(life);
                    drop(mount);
                }
            }
            Step::Files(number, operations) => self.member(*number, |model, life, mount| {
                let nothing = Tree::new();
                operations.iter().try_for_each(|operation| {
                    let expected = model.file(life, operation);
                    let shown = model.tree(life).unwrap_or(&nothing);
                    same(expected, operation.on_engine(mount, shown))
                        .map_err(|what| format!("{operation:?}: {what}"))
                })
            })?,
            Step::CreateBranch(number, new, parent) => {
                let (new, parent) = (BRANCHES[*new], parent.map(|parent| self.pick(parent)));
                self.member(*number, |model, life, mount| {
                    let expected = model.create(life, new, parent);
                    same(expected, mount.create_branch(&name(new), parent.map(name).as_ref()))
                })?;
            }
            Step::Switch(number, to) => {
                let to = self.pick(*to);
                self.member(*number, |model, life, mount| {
                    same(model.switch(life, to), mount.switch(&name(to)))
                })?;
            }
            Step::Commit(number) => {
                self.member(*number, |model, life, mount| same(model.commit(life), mount.commit()))?
            }
            Step::Abort(number) => {
                self.member(*number, |model, life, mount| same(model.abort(life), mount.abort()))?
            }
            Step::Compact(number) => self
                .member(*number, |model, life, mount| same(model.rewrite(life), mount.compact()))?,
            Step::Sync(number) => {
                self.member(*number, |model, life, mount| same(model.sync(life), mount.sync()))?
            }
            Step::Tick { ms, who } => self.tick(*ms, *who)?,
            Step::Reap(number) => {
                let dead = self.model.dead();
                if let Some(life) = dead.get(*number % dead.len().max(1)) {
                    self.model.reap(*life);
                    same(Ok(()), self.volume().reap(self.indices[life]))?;
                }
            }
            Step::ToolCreate(new, parent) => {
                let (new, parent) = (BRANCHES[*new], self.pick(*parent));
                let expected = self.model.tool_create(new, parent);
                same(expected, self.volume().create_branch(&name(new), &name(parent)).map(|_| ()))?;
            }
            Step::ToolCommit(branch) => {
                let branch = self.pick(*branch);
                same(self.model.tool_commit(branch), self.volume().commit(&name(branch)))?;
            }
            Step::ToolAbort(branch) => {
                let branch = self.pick(*branch);
                same(self.model.tool_abort(branch), self.volume().abort(&name(branch)))?;
            }
        }
        self.steps += 1;
        let whole = self.steps.is_multiple_of(STRIDE);
        if matches!(step, Step::Files(..) | Step::Sync(_)) && !whole {
            return Ok(());
        }
        self.compare_branches()?;
        self.compare_members();
        if whole || matches!(step, Step::Commit(_)) {
            self.compare_all()?;
        }
        Ok(())
    }

    fn pick(&self, branch: Pick) -> &'static str {
        let branches = self.model.branches();
        match branch {
            Pick::There(number) => branches[number % branches.len()].name,
            Pick::Named(number) => BRANCHES[number],
        }
    }

    /// A member comes, if there is a place for it.
    fn mount(
        &mut self,
        options: &MountOptions,
        expected: impl FnOnce(&mut Model) -> Outcome<Life>,
    ) -> Result<(), String> {
        if self.running.len() == PLACES {
            return Ok(());
        }
        let expected = expected(&mut self.model);
        let mount = self.scratch.mount(options);
        same(expected.map(|_| ()), mount.as_ref().map(|_| ()).map_err(|error| *error))?;
        if let (Ok(life), Ok(mount)) = (expected, mount) {
            let index = mount.info().member.ok_or("a mount without a place in the table")?;
            self.indices.insert(life, MemberIndex::new(index));
            self.running.push((life, mount));
        }
        Ok(())
    }

    /// A member does not run any more, if there is one.
    fn leave(&mut self, number: usize) -> Option<(Life, TestMount)> {
        let count = self.running.len();
        (count > 0).then(|| self.running.remove(number % count))
    }

    /// A member does something, if there is one.
    fn member(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Model, Life, &TestMount) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.running.get(number % self.running.len().max(1)) {
            Some((life, mount)) => act(&mut self.model, *life, mount),
            None => Ok(()),
        }
    }

    fn tick(&mut self, ms: u64, who: u8) -> Result<(), String> {
        self.clock += ms;
        for (number, (life, mount)) in self.running.iter().enumerate() {
            if who & (1 << number) == 0 {
                continue;
            }
            let beats = self.beats();
            same(self.model.tick(*life, self.clock, &beats), mount.tick(self.clock))?;
        }
        Ok(())
    }

    /// The heartbeats of all members, in the order of the table.
    fn beats(&self) -> Vec<(Life, u64)> {
        let mut beats = Vec::new();
        // A place may have been another's before.
        let life =
            |index| self.indices.iter().rev().find(|(_, i)| **i == index).map(|(life, _)| *life);
        let mut note =
            |info: &daxfs::MemberInfo| beats.extend(life(info.index).zip(Some(info.heartbeat)));
        self.volume().members(&mut note).expect("a good image");
        beats
    }

    /// The branch tree is what the model says.
    fn compare_branches(&self) -> Result<(), String> {
        let mut found: Vec<BranchInfo> = Vec::new();
        let listed = self.volume().branches(&mut |branch| found.push(*branch));
        listed.map_err(|error| error.to_string())?;
        found.retain(BranchInfo::is_live);
        let mut found: Vec<_> = found
            .iter()
            .map(|branch| {
                let parent = found.iter().find(|other| Some(other.id) == branch.parent);
                let parent = parent.map(|parent| parent.name.to_string());
                (branch.name.to_string(), parent, branch.owner)
            })
            .collect();
        let branches = self.model.branches().iter();
        let mut expected: Vec<_> = branches
            .map(|branch| {
                let parent = branch.parent.and_then(|id| self.model.branch(id));
                let parent = parent.map(|parent| parent.name.to_owned());
                (branch.name.to_owned(), parent, branch.owner.map(|life| self.indices[&life]))
            })
            .collect();
        found.sort();
        expected.sort();
        equal("branches", &expected, &found)
    }

    /// Every member shows what the model says, or that it is stale.
    fn compare_members(&self) {
        for (life, mount) in &self.running {
            match self.model.tree(*life) {
                Some(tree) => compare(mount, tree),
                None => {
                    let stale = mount.getattr(Ino::ROOT).map_err(|error| error.errno());
                    assert_eq!(stale.map(|_| ()), Err(Errno::ESTALE), "of member {life}");
                }
            }
        }
    }

    /// Whoever comes now sees the same, and everything is as the format says.
    fn compare_all(&self) -> Result<(), String> {
        for branch in self.model.branches() {
            let mount = self.scratch.mount(&read_only(Some(branch.name)));
            let mount = mount.map_err(|error| format!("looking at {}: {error}", branch.name))?;
            compare(&mount, &branch.tree);
            mount.unmount().map_err(|error| error.to_string())?;
        }
        equal("problems", &Vec::new(), &problems(&self.scratch.region()))
    }

    /// Everybody stops. What is left is what the model says; and when all branches but `main` have
    /// ended, nothing is in use but what `main` says.
    pub fn finish(mut self) -> Result<(), String> {
        self.compare_members();
        while !self.running.is_empty() {
            self.step(&Step::Crash(0))?;
        }
        // One after the other, as they stand in the table: whose branch has a child that is somebody's
        // when its turn comes leaves it to nobody.
        let mut dead = self.model.dead();
        dead.sort_by_key(|life| self.indices[life]);
        for life in dead {
            self.model.reap(life);
        }
        self.volume().reap_all().map_err(|error| error.to_string())?;
        self.compare_branches()?;
        self.compare_all()?;
        // Children first: a branch has a child no more then.
        let names: Vec<_> = self.model.branches().iter().rev().map(|branch| branch.name).collect();
        for name in names.iter().filter(|name| **name != BRANCHES[0]) {
            same(
                self.model.tool_abort(name),
                self.volume().abort(&daxfs_tests::image::name(name)),
            )?;
        }
        let mount = self.scratch.mount(&read_write(None)).map_err(|error| error.to_string())?;
        mount.compact().map_err(|error| error.to_string())?;
        mount.tick(self.clock).map_err(|error| error.to_string())?;
        compare(&mount, &self.model.branches()[0].tree);
        let stat = mount.statfs().map_err(|error| error.to_string())?;
        let used = stat.segments_total - stat.segments_free;
        // A log, its reserve, and the pages of each file in two segments at most.
        let most = 2 + 2 * mount.info().changed_inodes as u32;
        if used > most {
            return Err(format!("{used} segments are in use for a tree that needs {most}"));
        }
        mount.unmount().map_err(|error| error.to_string())?;
        equal("problems", &Vec::new(), &problems(&self.scratch.region()))
    }
}

/// The model and the engine say the same.
fn same(expected: Outcome, found: daxfs::Result<()>) -> Result<(), String> {
    match (expected, found) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(expected), Err(found)) if expected == found.errno() => Ok(()),
        (expected, found) => Err(format!("expected {expected:?}, found {found:?}")),
    }
}

fn equal<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}

#[test]
fn the_lease_of_the_steps_is_the_images() {
    let world = World::new();
    let mount = world.scratch.mount(&read_only(None)).unwrap();
    assert_eq!(mount.lease_ms(), Some(2000));
    compare(&mount, &world.model.branches()[0].tree);
    assert_eq!(mount.resolve(b"/dir", daxfs::LastLink::Keep).unwrap().kind, FileType::Directory);
    assert!(world.model.branches()[0].tree.entries(ROOT).unwrap().contains_key(b"dir".as_slice()));
}
