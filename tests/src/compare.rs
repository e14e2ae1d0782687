//! Whether a mount shows what the reference says.

use crate::image::TestMount;
use crate::reference::{Content, Id, ROOT, Tree};
use daxfs::{FileType, Ino};
use std::collections::BTreeMap;
use std::fmt;

/// Compares everything below the root.
///
/// # Panics
///
/// If something differs.
pub fn compare(mount: &TestMount, tree: &Tree) {
    Comparison { mount, tree, path: Vec::new() }.node(Ino::ROOT, ROOT);
}

struct Comparison<'a> {
    mount: &'a TestMount,
    tree: &'a Tree,
    /// Names on the way to where it is.
    path: Vec<Vec<u8>>,
}

/// Shows the path.
impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.iter().try_for_each(|name| write!(f, "/{}", name.escape_ascii()))
    }
}

impl Comparison<'_> {
    fn node(&mut self, ino: Ino, id: Id) {
        let (mount, tree) = (self.mount, self.tree);
        let node = tree.node(id);
        let attributes = mount.getattr(ino).expect("it is in a directory");
        assert_eq!(attributes.kind, node.kind(), "{self}");
        let found = (attributes.mode & 0o7777, attributes.uid, attributes.gid);
        assert_eq!(found, (node.permissions, node.uid, node.gid), "{self}");
        match &node.content {
            Content::File(data) => {
                assert_eq!(attributes.size, data.len() as u64, "size of {self}");
                let mut found = vec![0x55; data.len() + 10];
                let count = mount.read(ino, 0, &mut found).expect("a file can be read");
                assert_eq!(count, data.len(), "bytes of {self}");
                if let Some(at) = (0..count).find(|&i| found[i] != data[i]) {
                    panic!("{self} differs at {at}: {} instead of {}", found[at], data[at]);
                }
            }
            Content::Symlink(target) => {
                let mut found = vec![0; 4096];
                let len = mount.readlink(ino, &mut found).expect("a link can be read");
                assert_eq!(&found[..len], target.as_slice(), "target of {self}");
            }
            Content::Special { rdev, .. } => assert_eq!(attributes.rdev, *rdev, "{self}"),
            Content::Directory(entries) => {
                self.directory(ino, entries);
                let is_directory = |&&e: &&Id| tree.node(e).kind() == FileType::Directory;
                let subdirectories = entries.values().filter(is_directory).count();
                assert_eq!(attributes.nlink as usize, 2 + subdirectories, "links of {self}");
            }
        }
    }

    fn directory(&mut self, ino: Ino, entries: &BTreeMap<Vec<u8>, Id>) {
        let mount = self.mount;
        let mut found = BTreeMap::new();
        // In steps of three: every restart must go on where the last stopped.
        let mut cookie = 0;
        loop {
            let mut seen = 0;
            let listed = mount.readdir(ino, cookie, &mut |entry| {
                cookie = entry.next;
                let twice = found.insert(entry.name.to_vec(), (entry.ino, entry.kind));
                assert!(twice.is_none(), "{} is listed twice", entry.name.escape_ascii());
                seen += 1;
                seen < 3
            });
            listed.expect("a directory can be read");
            if seen < 3 {
                break;
            }
        }
        let names = |name: &Vec<u8>| name.escape_ascii().to_string();
        let (listed, expected): (Vec<_>, Vec<_>) =
            (found.keys().map(names).collect(), entries.keys().map(names).collect());
        assert_eq!(listed, expected, "in {self}");
        for (name, &child) in entries {
            let (child_ino, kind) = found[name];
            self.path.push(name.clone());
            assert_eq!(mount.lookup(ino, name).map(|a| a.ino), Ok(child_ino), "{self}");
            assert_eq!(kind, self.tree.node(child).kind(), "{self}");
            if kind == FileType::Directory {
                assert_eq!(mount.parent_of(child_ino), Ok(ino), "parent of {self}");
            }
            self.node(child_ino, child);
            self.path.pop();
        }
    }
}
