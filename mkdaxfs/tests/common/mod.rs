//! A reader of images that shares nothing with the builder but the format's structures, and
//! source trees to build from.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use daxfs_format::base::{BaseDirent, BaseInode, BaseSuperblock, DIRENT_SIZE, INODE_SIZE};
use daxfs_format::mode::FileType;
use daxfs_format::superblock::Superblock;
use mkdaxfs::{BuildError, BuildOptions, BuildReport, Phase, Progress};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// A folder with a source tree and a place for outputs.
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("source")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub fn output(&self) -> PathBuf {
        self.folder.path().join("out/image")
    }

    /// A path in the source tree, its directories made.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn build(&self, options: &BuildOptions) -> Result<BuildReport, BuildError> {
        mkdaxfs::build(&self.source(), &self.output(), options, &())
    }

    /// Builds a static image and reads it.
    pub fn image(&self) -> (BuildReport, Image) {
        self.image_with(&BuildOptions::default())
    }

    pub fn image_with(&self, options: &BuildOptions) -> (BuildReport, Image) {
        let report = self.build(options).unwrap_or_else(|e| panic!("{e}"));
        (report, Image::read(&self.output()))
    }

    /// The names in the output folder: what a build left.
    pub fn outputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("out")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Calls a closure when a phase begins and whenever it advances.
pub struct Hook<F>(pub F);

impl<F: Fn(Event) + Sync> Progress for Hook<F> {
    fn begin(&self, phase: Phase, _: Option<u64>) {
        self.0(Event::Begin(phase));
    }
    fn advance(&self, by: u64) {
        self.0(Event::Advance(by));
    }
}

pub enum Event {
    Begin(Phase),
    Advance(u64),
}

/// Bytes that do not compress, repeat or vanish: different for every seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An image, in memory.
pub struct Image {
    pub bytes: Vec<u8>,
    pub superblock: Superblock,
    pub base: BaseSuperblock,
}

impl Image {
    pub fn read(path: &Path) -> Self {
        Self::parse(fs::read(path).unwrap())
    }

    pub fn parse(bytes: Vec<u8>) -> Self {
        let superblock = Superblock::read_from_prefix(&bytes).unwrap().0;
        let base_offset = superblock.base_offset.get() as usize;
        let base = BaseSuperblock::read_from_prefix(&bytes[base_offset..]).unwrap().0;
        assert_eq!(superblock.magic.get(), 0x6461_7833);
        assert_eq!(superblock.version.get(), 3);
        assert_eq!(superblock.block_size.get(), 4096);
        assert_eq!(superblock.total_size.get(), bytes.len() as u64);
        assert_eq!(base.magic.get(), 0x6464_6179);
        assert_eq!(base.version.get(), 3);
        assert_eq!(base.block_size.get(), 4096);
        assert_eq!(base.total_size.get(), superblock.base_size.get());
        assert_eq!(base.root_inode.get(), 1);
        Self { bytes, superblock, base }
    }

    fn base_bytes(&self) -> &[u8] {
        let start = self.superblock.base_offset.get() as usize;
        &self.bytes[start..start + self.superblock.base_size.get() as usize]
    }

    pub fn inode(&self, ino: u32) -> BaseInode {
        assert!(ino >= 1 && ino <= self.base.inode_count.get());
        let at = self.base.inode_offset.get() + u64::from(ino - 1) * INODE_SIZE;
        let inode = BaseInode::read_from_prefix(&self.base_bytes()[at as usize..]).unwrap().0;
        assert_eq!(inode.ino.get(), ino);
        inode
    }

    pub fn content(&self, ino: u32) -> &[u8] {
        let inode = self.inode(ino);
        if inode.size.get() == 0 {
            return &[];
        }
        let (start, len) = (inode.data_offset.get(), inode.size.get());
        assert_eq!(start % 4096, 0);
        assert!(start >= self.base.data_offset.get());
        &self.base_bytes()[start as usize..(start + len) as usize]
    }

    pub fn entries(&self, ino: u32) -> Vec<(Vec<u8>, BaseDirent)> {
        self.content(ino)
            .chunks_exact(DIRENT_SIZE as usize)
            .map(|raw| {
                let entry = BaseDirent::read_from_bytes(raw).unwrap();
                let (name, padding) = entry.name.split_at(usize::from(entry.name_len.get()));
                assert!(padding.iter().all(|&b| b == 0), "padding of a name");
                (name.to_vec(), entry)
            })
            .collect()
    }

    /// The inode number at a path.
    pub fn find(&self, path: impl AsRef<Path>) -> Option<u32> {
        path.as_ref().components().try_fold(1, |ino, name| {
            let entries = self.entries(ino);
            let found = entries.iter().find(|(n, _)| n == name.as_os_str().as_bytes())?;
            Some(found.1.ino.get())
        })
    }

    #[track_caller]
    pub fn at(&self, path: impl AsRef<Path>) -> BaseInode {
        let path = path.as_ref();
        self.inode(self.find(path).unwrap_or_else(|| panic!("{path:?} is not in the image")))
    }

    #[track_caller]
    pub fn content_at(&self, path: impl AsRef<Path>) -> &[u8] {
        self.content(self.at(path).ino.get())
    }

    pub fn uuid(&self) -> [u8; 16] {
        self.superblock.extension.uuid
    }
}

/// Compares an image with the tree it was made from: everything, both ways.
#[track_caller]
pub fn assert_same_tree(source: &Path, image: &Image) {
    let mut inodes = 0;
    let mut todo = vec![(source.to_path_buf(), 1)];
    while let Some((path, ino)) = todo.pop() {
        inodes += 1;
        let inode = image.inode(ino);
        let real = fs::symlink_metadata(&path).unwrap();
        assert_eq!(inode.mode.get(), real.mode(), "mode of {path:?}");
        assert_eq!(inode.uid.get(), real.uid(), "owner of {path:?}");
        assert_eq!(inode.gid.get(), real.gid(), "group of {path:?}");
        assert_eq!(inode.mtime_sec.get(), real.mtime(), "time of {path:?}");
        assert_eq!(i64::from(inode.mtime_nsec.get()), real.mtime_nsec(), "time of {path:?}");
        match FileType::from_mode(real.mode()).unwrap() {
            FileType::Regular => {
                assert_eq!(inode.size.get(), real.len(), "size of {path:?}");
                assert!(image.content(ino) == fs::read(&path).unwrap(), "content of {path:?}");
                assert_eq!(inode.nlink.get(), 1);
            }
            FileType::Symlink => {
                let target = fs::read_link(&path).unwrap();
                let stored = image.content(ino);
                assert_eq!(stored, target.as_os_str().as_bytes(), "target of {path:?}");
                let start = image.superblock.base_offset.get() + inode.data_offset.get();
                assert_eq!(image.bytes[start as usize + stored.len()], 0, "NUL of {path:?}");
            }
            FileType::Directory => {
                let names: BTreeMap<_, _> = fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    .map(|entry| (entry.file_name().as_bytes().to_vec(), entry.path()))
                    .collect();
                let entries = image.entries(ino);
                assert!(
                    entries.iter().map(|(name, _)| name).eq(names.keys()),
                    "entries of {path:?}, sorted"
                );
                let mut subdirectories = 0;
                for ((_, entry), path) in entries.iter().zip(names.values()) {
                    let child = image.inode(entry.ino.get());
                    assert_eq!(entry.mode.get(), child.mode.get(), "mode in the entry of {path:?}");
                    subdirectories += u32::from(path.is_dir() && !path.is_symlink());
                    todo.push((path.clone(), entry.ino.get()));
                }
                assert_eq!(inode.nlink.get(), 2 + subdirectories, "links of {path:?}");
            }
            _ => assert_eq!(inode.size.get(), 0, "size of {path:?}"),
        }
    }
    assert_eq!(inodes, image.base.inode_count.get(), "inodes that no directory names");
}
