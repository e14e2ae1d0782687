//! A filesystem in ordinary memory: what the engine is compared with. Simple on purpose.
//!
//! Its methods panic where a test that uses them is wrong.

use daxfs::{Errno, FileType, RenameMode};
use std::collections::BTreeMap;

/// What names refer to.
pub type Id = u64;
/// What an operation returns.
pub type Outcome<T = ()> = Result<T, Errno>;
/// The root directory.
pub const ROOT: Id = 1;

/// What is particular to a kind of file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file's bytes.
    File(Vec<u8>),
    /// A directory's names.
    Directory(BTreeMap<Vec<u8>, Id>),
    /// A symbolic link's target.
    Symlink(Vec<u8>),
    /// Something else.
    Special {
        /// What.
        kind: FileType,
        /// Its device number.
        rdev: u32,
    },
}

/// A file, of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The rest.
    pub content: Content,
}

impl Node {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        match &self.content {
            Content::File(_) => FileType::Regular,
            Content::Directory(_) => FileType::Directory,
            Content::Symlink(_) => FileType::Symlink,
            Content::Special { kind, .. } => *kind,
        }
    }
}

/// One branch's state.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Id, Node>,
    next: Id,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty root directory.
    #[must_use]
    pub fn new() -> Self {
        let root = Node {
            permissions: 0o755,
            uid: 0,
            gid: 0,
            content: Content::Directory(BTreeMap::new()),
        };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: 2 }
    }

    /// The file `id`.
    #[must_use]
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    /// The names in directory `id`.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`.
    pub fn entries(&self, id: Id) -> Outcome<&BTreeMap<Vec<u8>, Id>> {
        match &self.node(id).content {
            Content::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn entries_mut(&mut self, id: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        match &mut self.nodes.get_mut(&id).unwrap().content {
            Content::Directory(entries) => entries,
            _ => unreachable!("checked by the caller"),
        }
    }

    /// The directory a path of plain names lies in, and its last name.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ENOTDIR`.
    pub fn parent<'p>(&self, path: &'p [Vec<u8>]) -> Outcome<(Id, &'p [u8])> {
        let (last, dirs) = path.split_last().unwrap();
        let mut at = ROOT;
        for name in dirs {
            at = self.step(at, name)?;
        }
        self.entries(at)?;
        Ok((at, last))
    }

    fn step(&self, dir: Id, name: &[u8]) -> Outcome<Id> {
        self.entries(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// What a path of plain names leads to.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ENOTDIR`.
    pub fn find(&self, path: &[Vec<u8>]) -> Outcome<Id> {
        let mut at = ROOT;
        for name in path {
            at = self.step(at, name)?;
        }
        Ok(at)
    }

    /// Puts a new file at `path`.
    ///
    /// # Errors
    ///
    /// As POSIX has it.
    pub fn make(&mut self, path: &[Vec<u8>], node: Node) -> Outcome<Id> {
        let (dir, name) = self.parent(path)?;
        if self.entries(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let id = self.next;
        self.next += 1;
        let name = name.to_vec();
        self.nodes.insert(id, node);
        self.entries_mut(dir).insert(name, id);
        Ok(id)
    }

    /// The content of the regular file at `path`.
    ///
    /// # Errors
    ///
    /// As POSIX has it; `EINVAL` for special files.
    pub fn file_mut(&mut self, path: &[Vec<u8>]) -> Outcome<&mut Vec<u8>> {
        let id = self.find(path)?;
        match &mut self.nodes.get_mut(&id).unwrap().content {
            Content::File(data) => Ok(data),
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Writes to the regular file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Self::file_mut`].
    pub fn write(&mut self, path: &[Vec<u8>], offset: usize, data: &[u8]) -> Outcome {
        let file = self.file_mut(path)?;
        if data.is_empty() {
            return Ok(());
        }
        if file.len() < offset + data.len() {
            file.resize(offset + data.len(), 0);
        }
        file[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    /// The file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn node_mut(&mut self, path: &[Vec<u8>]) -> Outcome<&mut Node> {
        let id = self.find(path)?;
        Ok(self.nodes.get_mut(&id).unwrap())
    }

    /// Removes the file, or the directory, at `path`.
    ///
    /// # Errors
    ///
    /// As POSIX has it.
    pub fn remove(&mut self, path: &[Vec<u8>], directory: bool) -> Outcome {
        let (dir, name) = self.parent(path)?;
        let id = self.step(dir, name)?;
        match (&self.node(id).content, directory) {
            (Content::Directory(_), false) => return Err(Errno::EISDIR),
            (Content::Directory(entries), true) if !entries.is_empty() => {
                return Err(Errno::ENOTEMPTY);
            }
            (Content::Directory(_), true) => {}
            (_, true) => return Err(Errno::ENOTDIR),
            (_, false) => {}
        }
        let name = name.to_vec();
        self.entries_mut(dir).remove(&name);
        self.nodes.remove(&id);
        Ok(())
    }

    /// Whether `inner` is `outer` or lies below it.
    fn lies_below(&self, inner: Id, outer: Id) -> bool {
        if inner == outer {
            return true;
        }
        match &self.node(outer).content {
            Content::Directory(entries) => entries.values().any(|&e| self.lies_below(inner, e)),
            _ => false,
        }
    }

    /// Renames, replaces or exchanges.
    ///
    /// # Errors
    ///
    /// As POSIX has it.
    pub fn rename(&mut self, from: &[Vec<u8>], to: &[Vec<u8>], mode: RenameMode) -> Outcome {
        let (old_dir, old_name) = self.parent(from)?;
        let (new_dir, new_name) = self.parent(to)?;
        let id = self.step(old_dir, old_name)?;
        let target = self.entries(new_dir)?.get(new_name).copied();
        if mode == RenameMode::NoReplace && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if target == Some(id) {
            return Ok(());
        }
        if mode == RenameMode::Exchange && target.is_none() {
            return Err(Errno::ENOENT);
        }
        let is_dir = |id| self.node(id).kind() == FileType::Directory;
        if is_dir(id) && self.lies_below(new_dir, id) {
            return Err(Errno::EINVAL);
        }
        let (old_name, new_name) = (old_name.to_vec(), new_name.to_vec());
        if mode == RenameMode::Exchange {
            let target = target.unwrap();
            if is_dir(target) && self.lies_below(old_dir, target) {
                return Err(Errno::EINVAL);
            }
            self.entries_mut(old_dir).insert(old_name, target);
            self.entries_mut(new_dir).insert(new_name, id);
            return Ok(());
        }
        if let Some(target) = target {
            match (is_dir(id), is_dir(target)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.entries(target)?.is_empty() => {
                    return Err(Errno::ENOTEMPTY);
                }
                _ => {}
            }
            self.nodes.remove(&target);
        }
        self.entries_mut(old_dir).remove(&old_name);
        self.entries_mut(new_dir).insert(new_name, id);
        Ok(())
    }
}

/// A branch of the reference.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its parent's; none for the root branch.
    pub parent: Option<String>,
    /// What it says.
    pub tree: Tree,
}

/// All branches of the reference, and which one is mounted.
#[derive(Clone, Debug)]
pub struct Branches {
    /// All of them.
    pub all: Vec<Branch>,
    /// The one that is mounted.
    pub current: String,
    /// Whether the current branch may be written to, if no child freezes it.
    pub writable: bool,
    /// Ancestors that the mount could write to before it moved on.
    pub held: Vec<String>,
}

impl Branches {
    /// The branch called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Branch> {
        self.all.iter().find(|b| b.name == name)
    }

    /// What is mounted.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.get(&self.current).unwrap().tree
    }

    /// Whether a branch has children.
    #[must_use]
    pub fn has_children(&self, name: &str) -> bool {
        self.all.iter().any(|b| b.parent.as_deref() == Some(name))
    }

    /// The current tree, if it may be written to.
    ///
    /// # Errors
    ///
    /// `EROFS`.
    pub fn tree_mut(&mut self) -> Outcome<&mut Tree> {
        if !self.writable || self.has_children(&self.current) {
            return Err(Errno::EROFS);
        }
        let current = self.current.clone();
        Ok(&mut self.all.iter_mut().find(|b| b.name == current).unwrap().tree)
    }

    /// Makes a branch and moves to it.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EEXIST`.
    pub fn create(&mut self, name: &str, parent: Option<&str>) -> Outcome {
        let parent = parent.unwrap_or(&self.current).to_owned();
        let tree = self.get(&parent).ok_or(Errno::ENOENT)?.tree.clone();
        if self.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        if parent != self.current {
            self.held.clear();
        } else if self.writable {
            self.held.push(self.current.clone());
        }
        self.all.push(Branch { name: name.to_owned(), parent: Some(parent), tree });
        self.current = name.to_owned();
        self.writable = true;
        Ok(())
    }

    /// Moves to a branch.
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn switch(&mut self, name: &str) -> Outcome {
        self.get(name).ok_or(Errno::ENOENT)?;
        if self.current != name || !self.writable {
            self.held.clear();
        }
        self.current = name.to_owned();
        self.writable = true;
        Ok(())
    }

    fn may_end(&self) -> Outcome<Branch> {
        if !self.writable {
            return Err(Errno::EROFS);
        }
        if self.has_children(&self.current) {
            return Err(Errno::EBUSY);
        }
        let branch = self.get(&self.current).unwrap().clone();
        if branch.parent.is_none() { Err(Errno::EINVAL) } else { Ok(branch) }
    }

    fn arrive(&mut self, parent: String) {
        self.writable = self.held.contains(&parent);
        self.held.retain(|h| *h != parent);
        self.current = parent;
    }

    /// Discards the current branch.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EBUSY`, `EINVAL`.
    pub fn abort(&mut self) -> Outcome {
        let branch = self.may_end()?;
        self.all.retain(|b| b.name != branch.name);
        self.arrive(branch.parent.unwrap());
        Ok(())
    }

    /// Commits the current branch.
    ///
    /// # Errors
    ///
    /// As [`Self::abort`].
    pub fn commit(&mut self) -> Outcome {
        let branch = self.may_end()?;
        let parent = branch.parent.unwrap();
        let mut gone = vec![parent.clone()];
        // Descendants of the parent, all of them, one generation after the other.
        while let Some(at) = self
            .all
            .iter()
            .find(|b| {
                !gone.contains(&b.name) && b.parent.as_ref().is_some_and(|p| gone.contains(p))
            })
            .map(|b| b.name.clone())
        {
            gone.push(at);
        }
        self.all.retain(|b| b.name == parent || !gone.contains(&b.name));
        self.all.iter_mut().find(|b| b.name == parent).unwrap().tree = branch.tree;
        self.arrive(parent);
        Ok(())
    }
}
