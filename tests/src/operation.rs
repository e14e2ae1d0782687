//! Operations on files, for the engine and for the reference alike.

use crate::image::TestMount;
use crate::reference::{Content, Node, Outcome, Tree};
use daxfs::{Errno, FileType, Ino, NewInode, RenameMode, SetAttributes};
use std::collections::BTreeMap;

/// Names, from the root on.
pub type Path = Vec<Vec<u8>>;

/// One operation.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the mount's operations")]
pub enum Operation {
    Create(Path, u32),
    MakeDirectory(Path, u32),
    MakeNode(Path, FileType, u32),
    Symlink(Path, Vec<u8>),
    Write(Path, (usize, usize), u8),
    Append(Path, usize, u8),
    Truncate(Path, usize),
    Punch(Path, (usize, usize)),
    Chmod(Path, u32),
    Chown(Path, u32, u32),
    Unlink(Path),
    RemoveDirectory(Path),
    Rename(Path, Path, RenameMode),
    Read(Path, (usize, usize)),
}

/// Owner and group of what is made.
const OWNER: (u32, u32) = (7, 8);

impl Operation {
    /// Does it to the reference; a branch that may not be written to is looked at only.
    ///
    /// # Errors
    ///
    /// As POSIX has it.
    pub fn on_reference(&self, tree: &mut Tree, writable: bool) -> Outcome {
        // The reading part of each operation comes before the check for a writable branch.
        let may_write = if writable { Ok(()) } else { Err(Errno::EROFS) };
        let (uid, gid) = OWNER;
        let own = |permissions, content| Node { permissions, uid, gid, content };
        match self {
            Self::Create(path, mode) => {
                tree.parent(path)?;
                may_write?;
                tree.make(path, own(*mode, Content::File(Vec::new()))).map(|_| ())
            }
            Self::MakeDirectory(path, mode) => {
                tree.parent(path)?;
                may_write?;
                tree.make(path, own(*mode, Content::Directory(BTreeMap::new()))).map(|_| ())
            }
            Self::MakeNode(path, kind, rdev) => {
                tree.parent(path)?;
                may_write?;
                let rdev = if kind.is_device() { *rdev } else { 0 };
                tree.make(path, own(0o600, Content::Special { kind: *kind, rdev })).map(|_| ())
            }
            Self::Symlink(path, target) => {
                tree.parent(path)?;
                may_write?;
                tree.make(path, own(0o777, Content::Symlink(target.clone()))).map(|_| ())
            }
            Self::Write(path, (offset, len), seed) => {
                tree.find(path)?;
                may_write?;
                tree.write(path, *offset, &bytes(*seed, *len))
            }
            Self::Append(path, len, seed) => {
                tree.find(path)?;
                may_write?;
                let end = tree.file_mut(path)?.len();
                tree.write(path, end, &bytes(*seed, *len))
            }
            Self::Truncate(path, size) => {
                tree.find(path)?;
                may_write?;
                tree.file_mut(path)?.resize(*size, 0);
                Ok(())
            }
            Self::Punch(path, (offset, len)) => {
                tree.find(path)?;
                may_write?;
                let content = tree.file_mut(path)?;
                let end = content.len().min(offset + len);
                content[(*offset).min(end)..end].fill(0);
                Ok(())
            }
            Self::Chmod(path, mode) => {
                tree.find(path)?;
                may_write?;
                tree.node_mut(path)?.permissions = *mode;
                Ok(())
            }
            Self::Chown(path, uid, gid) => {
                tree.find(path)?;
                may_write?;
                let node = tree.node_mut(path)?;
                (node.uid, node.gid) = (*uid, *gid);
                Ok(())
            }
            Self::Unlink(path) => {
                tree.parent(path)?;
                may_write?;
                tree.remove(path, false)
            }
            Self::RemoveDirectory(path) => {
                tree.parent(path)?;
                may_write?;
                tree.remove(path, true)
            }
            Self::Rename(from, to, mode) => {
                tree.parent(from)?;
                tree.parent(to)?;
                may_write?;
                tree.rename(from, to, *mode)
            }
            Self::Read(path, _) => match &tree.node(tree.find(path)?).content {
                Content::File(_) => Ok(()),
                Content::Directory(_) => Err(Errno::EISDIR),
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// Does it to the engine. `tree` is what the reference says.
    ///
    /// # Errors
    ///
    /// What the engine says.
    ///
    /// # Panics
    ///
    /// If less was written than was given, or other bytes are read than the reference has.
    pub fn on_engine(&self, mount: &TestMount, tree: &Tree) -> daxfs::Result<()> {
        let find = |path: &[Vec<u8>]| find(mount, path);
        let (uid, gid) = OWNER;
        let new = |kind: FileType, permissions| NewInode {
            mode: kind.mode_bits() | permissions,
            uid,
            gid,
            rdev: 0,
        };
        let set = |path: &[Vec<u8>], changes: SetAttributes| {
            mount.setattr(find(path)?, &changes).map(|_| ())
        };
        match self {
            Self::Create(path, mode) => {
                let (dir, name) = parent(mount, path)?;
                mount.create(dir, name, &new(FileType::Regular, *mode)).map(|_| ())
            }
            Self::MakeDirectory(path, mode) => {
                let (dir, name) = parent(mount, path)?;
                mount.create(dir, name, &new(FileType::Directory, *mode)).map(|_| ())
            }
            Self::MakeNode(path, kind, rdev) => {
                let (dir, name) = parent(mount, path)?;
                let new = NewInode { rdev: *rdev, ..new(*kind, 0o600) };
                mount.create(dir, name, &new).map(|_| ())
            }
            Self::Symlink(path, target) => {
                let (dir, name) = parent(mount, path)?;
                mount.symlink(dir, name, target, uid, gid).map(|_| ())
            }
            Self::Write(path, (offset, len), seed) => {
                let data = bytes(*seed, *len);
                assert_eq!(mount.write(find(path)?, *offset as u64, &data)?, *len);
                Ok(())
            }
            Self::Append(path, len, seed) => {
                assert_eq!(mount.append(find(path)?, &bytes(*seed, *len))?.1, *len);
                Ok(())
            }
            Self::Truncate(path, size) => {
                set(path, SetAttributes { size: Some(*size as u64), ..Default::default() })
            }
            Self::Punch(path, (offset, len)) => {
                mount.punch(find(path)?, *offset as u64, *len as u64, &|| Ok(())).map(|_| ())
            }
            Self::Chmod(path, mode) => {
                set(path, SetAttributes { mode: Some(*mode), ..Default::default() })
            }
            Self::Chown(path, uid, gid) => {
                let (uid, gid) = (Some(*uid), Some(*gid));
                set(path, SetAttributes { uid, gid, ..Default::default() })
            }
            Self::Unlink(path) => {
                let (dir, name) = parent(mount, path)?;
                mount.unlink(dir, name)
            }
            Self::RemoveDirectory(path) => {
                let (dir, name) = parent(mount, path)?;
                mount.rmdir(dir, name)
            }
            Self::Rename(from, to, mode) => {
                let (old_dir, old_name) = parent(mount, from)?;
                let (new_dir, new_name) = parent(mount, to)?;
                mount.rename(old_dir, old_name, new_dir, new_name, *mode)
            }
            Self::Read(path, (offset, len)) => {
                let mut buffer = vec![0xaa; *len];
                let count = mount.read(find(path)?, *offset as u64, &mut buffer)?;
                let id = tree.find(path).expect("the engine has it");
                let Content::File(data) = &tree.node(id).content else {
                    panic!("what the engine reads is no file")
                };
                let end = data.len().min(offset + len);
                assert_eq!(buffer[..count], data[(*offset).min(end)..end]);
                Ok(())
            }
        }
    }
}

/// Bytes that tell where they come from.
#[must_use]
pub fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add((i * 31 + i / 251) as u8)).collect()
}

/// What a path of plain names leads to. Symbolic links are not followed: the reference does not
/// either.
///
/// # Errors
///
/// What the engine says.
pub fn find(mount: &TestMount, path: &[Vec<u8>]) -> daxfs::Result<Ino> {
    let mut at = Ino::ROOT;
    for name in path {
        at = mount.lookup(at, name)?.ino;
    }
    Ok(at)
}

/// The directory a path of plain names lies in, and its last name.
///
/// # Errors
///
/// What the engine says.
///
/// # Panics
///
/// If the path is empty.
pub fn parent<'p>(mount: &TestMount, path: &'p [Vec<u8>]) -> daxfs::Result<(Ino, &'p [u8])> {
    let (last, dirs) = path.split_last().expect("a path of a name or more");
    let dir = find(mount, dirs)?;
    if mount.getattr(dir)?.kind != FileType::Directory {
        return Err(daxfs::Error::NotDirectory);
    }
    Ok((dir, last))
}
