//! The base image: inodes, directories and file contents, read straight from the range.
//!
//! Nothing of the base is cached but its geometry; every inode and entry is copied out, checked,
//! and used as a copy, so it does not matter what a peer does to the bytes in between.

use crate::error::{Error, Result};
use crate::region::{Backing, Region};
use crate::superblock::Span;
use daxfs_format::base::{
    self, BaseDirent, BaseFeatures, BaseInode, BaseSuperblock, DIRENT_SIZE, INODE_SIZE,
    SUPERBLOCK_SIZE,
};
use daxfs_format::mode::{FileType, PERMISSIONS};
use daxfs_format::{BaseOffset, Ino, RegionOffset, Timestamp, BLOCK_SIZE, NAME_MAX, VERSION};
use zerocopy::{FromZeros, IntoBytes};

/// The base image's geometry, checked at mount.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    start: RegionOffset,
    /// Bytes that count; at most the span the superblock gives.
    size: u64,
    inode_offset: BaseOffset,
    inode_count: u32,
    data_offset: BaseOffset,
    features: BaseFeatures,
}

/// A checked inode of the base image.
#[derive(Clone, Copy, Debug)]
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileType,
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Where the content starts; `size` bytes from there (and a NUL behind a link target) lie in
    /// the data area.
    pub data: RegionOffset,
    /// Link count.
    pub nlink: u32,
    /// Device number.
    pub rdev: u32,
    /// Modification time.
    pub mtime: Timestamp,
}

impl Inode {
    /// Entries of a directory.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.size / DIRENT_SIZE
    }
}

/// A checked directory entry of the base image.
#[derive(Clone, Copy)]
pub struct Dirent {
    /// The inode it names.
    pub ino: Ino,
    /// What that is.
    pub kind: FileType,
    name: [u8; NAME_MAX],
    name_len: usize,
}

impl Dirent {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.name_len).unwrap_or(&[])
    }
}

/// Takes an entry of a directory: its number, inode, kind and name; says whether it wants more.
pub type EmitDirent<'e> = &'e mut dyn FnMut(u64, Ino, FileType, &[u8]) -> bool;

/// Entries that are copied out at a time.
const BATCH: usize = 7;

/// Where entry number `index` of directory `dir` is.
fn dirent_at(dir: &Inode, index: u64) -> Result<RegionOffset> {
    let at = dir.data.checked_add(index.saturating_mul(DIRENT_SIZE));
    at.ok_or(Error::Corrupt { what: "directory data", at: dir.data.get() })
}

/// The name in a copy of an entry, whatever is in it.
fn raw_name<'r>(dir: &Inode, raw: &'r BaseDirent) -> Result<&'r [u8]> {
    let what = "name length of a directory entry";
    let name = raw.name.get(..usize::from(raw.name_len.get()));
    name.ok_or(Error::Corrupt { what, at: dir.data.get() })
}

impl Base {
    /// Reads and checks the base superblock.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Unsupported`].
    pub fn read<B: Backing>(region: &Region<B>, span: Span) -> Result<Self> {
        let raw = region.read_large::<BaseSuperblock>(span.start)?;
        let raw = raw.get()?;
        let corrupt = |what, at: u64| Error::Corrupt { what, at };
        if raw.magic.get() != base::MAGIC {
            return Err(corrupt("base superblock magic", u64::from(raw.magic.get())));
        }
        if raw.version.get() != VERSION {
            let value = u64::from(raw.version.get());
            return Err(Error::Unsupported { what: "base image version", value });
        }
        if u64::from(raw.block_size.get()) != BLOCK_SIZE {
            let value = u64::from(raw.block_size.get());
            return Err(Error::Unsupported { what: "base image block size", value });
        }
        let size = raw.total_size.get();
        if size > span.len {
            return Err(corrupt("base image larger than its region", size));
        }
        if u64::from(raw.root_inode.get()) != Ino::ROOT.get() {
            return Err(corrupt("root inode number", u64::from(raw.root_inode.get())));
        }
        let inode_count = raw.inode_count.get();
        let inode_offset = raw.inode_offset.get();
        let data_offset = raw.data_offset.get();
        let inodes_end = inode_offset.checked_add(u64::from(inode_count) * INODE_SIZE);
        if inode_offset < SUPERBLOCK_SIZE || inodes_end.is_none_or(|end| end > size) {
            return Err(corrupt("inode table outside of the base image", inode_offset));
        }
        if inode_count == 0 {
            return Err(corrupt("no root inode", 0));
        }
        if data_offset > size || inodes_end.is_none_or(|end| end > data_offset) {
            return Err(corrupt("data area overlaps the inode table", data_offset));
        }
        if data_offset % BLOCK_SIZE != 0 {
            return Err(corrupt("data area not aligned", data_offset));
        }
        let features = if raw.features_magic.get() == base::FEATURES_MAGIC {
            BaseFeatures::from_bits_truncate(raw.features.get())
        } else {
            BaseFeatures::empty()
        };
        Ok(Self {
            start: span.start,
            size,
            inode_offset: BaseOffset::new(inode_offset),
            inode_count,
            data_offset: BaseOffset::new(data_offset),
            features,
        })
    }

    /// Inodes in the table; their numbers are 1 to this.
    #[must_use]
    pub const fn inode_count(&self) -> u32 {
        self.inode_count
    }

    /// Whether `ino` is a number of the base image.
    #[must_use]
    pub const fn contains(&self, ino: Ino) -> bool {
        ino.get() >= 1 && ino.get() <= self.inode_count as u64
    }

    /// Bytes of the base image.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Base offset of the end of the data area.
    pub(crate) const fn data_end(&self) -> u64 {
        self.size
    }

    /// What the image promises beyond v3.
    #[must_use]
    pub const fn features(&self) -> BaseFeatures {
        self.features
    }

    /// Reads and checks an inode.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a number outside of the table, [`Error::Corrupt`].
    pub fn inode<B: Backing>(&self, region: &Region<B>, ino: Ino) -> Result<Inode> {
        if !self.contains(ino) {
            return Err(Error::NotFound);
        }
        let raw: BaseInode = region.read(self.inode_at(ino)?)?;
        self.check_inode(ino, &raw)
    }

    /// Reads and checks an inode; returns the copy that was checked as well.
    pub(crate) fn inode_with_raw<B: Backing>(
        &self,
        region: &Region<B>,
        ino: Ino,
    ) -> Result<(Inode, BaseInode)> {
        let raw: BaseInode = region.read(self.inode_at(ino)?)?;
        Ok((self.check_inode(ino, &raw)?, raw))
    }

    fn inode_at(&self, ino: Ino) -> Result<RegionOffset> {
        let index = ino.get().saturating_sub(1);
        self.inode_offset
            .checked_add(index.saturating_mul(INODE_SIZE))
            .and_then(|at| self.start.checked_add(at.get()))
            .ok_or(Error::Corrupt { what: "inode number", at: ino.get() })
    }

    /// Checks a copy of an inode: every rule that later use relies on.
    fn check_inode(&self, ino: Ino, raw: &BaseInode) -> Result<Inode> {
        let corrupt = |what| Error::Corrupt { what, at: ino.get() };
        if u64::from(raw.ino.get()) != ino.get() {
            return Err(corrupt("inode names another number"));
        }
        let mode = raw.mode.get();
        let kind = FileType::from_mode(mode).ok_or(corrupt("inode type"))?;
        if mode >> 16 != 0 {
            return Err(corrupt("inode mode"));
        }
        let size = raw.size.get();
        let has_content =
            matches!(kind, FileType::Regular | FileType::Directory | FileType::Symlink);
        // A target's NUL is content too.
        let stored = if kind == FileType::Symlink { size.checked_add(1) } else { Some(size) };
        let stored = stored.ok_or(corrupt("inode size"))?;
        let offset = raw.data_offset.get();
        let data = if !has_content {
            if size != 0 {
                return Err(corrupt("size of an inode without content"));
            }
            self.start
        } else if stored == 0 {
            // Nothing is read, so v3 does not care where nothing is.
            self.start
        } else {
            if offset % BLOCK_SIZE != 0 {
                return Err(corrupt("file data not aligned"));
            }
            let end = offset.checked_add(stored);
            if offset < self.data_offset.get() || end.is_none_or(|end| end > self.size) {
                return Err(corrupt("file data outside of the data area"));
            }
            self.start.checked_add(offset).ok_or(corrupt("file data outside of the data area"))?
        };
        match kind {
            FileType::Directory if size % DIRENT_SIZE != 0 => {
                return Err(corrupt("directory size is no multiple of the entry size"));
            }
            FileType::Symlink if size == 0 || size > daxfs_format::SYMLINK_MAX as u64 => {
                return Err(corrupt("symbolic link size"));
            }
            _ => {}
        }
        let extra = self.features.contains(BaseFeatures::INODE_EXTRA);
        Ok(Inode {
            ino,
            kind,
            permissions: mode & PERMISSIONS,
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            size,
            data,
            // An inode of the base has one name. v3's own tool notes what the source had.
            nlink: if kind == FileType::Directory { raw.nlink.get() } else { 1 },
            rdev: if extra && kind.is_device() { raw.rdev.get() } else { 0 },
            mtime: if extra {
                Timestamp::new(raw.mtime_sec.get(), raw.mtime_nsec.get())
            } else {
                Timestamp::default()
            },
        })
    }

    /// Reads and checks entry number `index` of directory `dir`; `None` past the last.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn dirent<B: Backing>(
        &self,
        region: &Region<B>,
        dir: &Inode,
        index: u64,
    ) -> Result<Option<Dirent>> {
        if index >= dir.entries() {
            return Ok(None);
        }
        let raw: BaseDirent = region.read(dirent_at(dir, index)?)?;
        let (ino, kind, name) = self.check_dirent(dir, &raw)?;
        let name_len = name.len();
        Ok(Some(Dirent { ino, kind, name: raw.name, name_len }))
    }

    /// Checks a copy of an entry of directory `dir`.
    fn check_dirent<'r>(
        &self,
        dir: &Inode,
        raw: &'r BaseDirent,
    ) -> Result<(Ino, FileType, &'r [u8])> {
        let corrupt = |what| Error::Corrupt { what, at: dir.data.get() };
        let name = raw_name(dir, raw)?;
        base::check_name(name).map_err(|_| corrupt("name in a directory entry"))?;
        let ino = Ino::new(u64::from(raw.ino.get()));
        if !self.contains(ino) {
            return Err(corrupt("inode number in a directory entry"));
        }
        let kind =
            FileType::from_mode(raw.mode.get()).ok_or(corrupt("file type in a directory entry"))?;
        Ok((ino, kind, name))
    }

    /// Calls `emit` for the entries of directory `dir` from number `from` on, with their numbers, until
    /// it says `false`; says whether it never did.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn dirents<B: Backing>(
        &self,
        region: &Region<B>,
        dir: &Inode,
        from: u64,
        emit: EmitDirent<'_>,
    ) -> Result<bool> {
        let mut raw = [BaseDirent::new_zeroed(); BATCH];
        let mut index = from;
        while index < dir.entries() {
            let count = (dir.entries() - index).min(BATCH as u64) as usize;
            let batch = raw.get_mut(..count).unwrap_or(&mut []);
            region.copy_out(dirent_at(dir, index)?, batch.as_mut_bytes())?;
            for entry in batch.iter() {
                let (ino, kind, name) = self.check_dirent(dir, entry)?;
                if !emit(index, ino, kind, name) {
                    return Ok(false);
                }
                index += 1;
            }
        }
        Ok(true)
    }

    /// Finds `name` in directory `dir`: by halving where the image says that entries are sorted,
    /// else one by one. The entry that is found is checked; others may say what they want.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub fn lookup<B: Backing>(
        &self,
        region: &Region<B>,
        dir: &Inode,
        name: &[u8],
    ) -> Result<Option<Ino>> {
        let mut raw = BaseDirent::new_zeroed();
        let mut compare = |index| -> Result<(core::cmp::Ordering, Option<Ino>)> {
            region.copy_out(dirent_at(dir, index)?, raw.as_mut_bytes())?;
            match raw_name(dir, &raw)?.cmp(name) {
                core::cmp::Ordering::Equal => {
                    let (ino, _, _) = self.check_dirent(dir, &raw)?;
                    Ok((core::cmp::Ordering::Equal, Some(ino)))
                }
                other => Ok((other, None)),
            }
        };
        if !self.features.contains(BaseFeatures::SORTED) {
            for index in 0..dir.entries() {
                if let (_, Some(ino)) = compare(index)? {
                    return Ok(Some(ino));
                }
            }
            return Ok(None);
        }
        let (mut low, mut high) = (0, dir.entries());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(middle)? {
                (_, Some(ino)) => return Ok(Some(ino)),
                (core::cmp::Ordering::Less, None) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(None)
    }

    /// Copies the target of symbolic link `inode` into `into`; returns its length, of which at most
    /// `into.len()` bytes were copied.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the target contains a NUL, or none behind it.
    pub fn symlink_target<B: Backing>(
        &self,
        region: &Region<B>,
        inode: &Inode,
        into: &mut [u8],
    ) -> Result<usize> {
        let corrupt = |what| Error::Corrupt { what, at: inode.ino.get() };
        let len = usize::try_from(inode.size).map_err(|_| corrupt("symbolic link size"))?;
        let mut terminator = [0xff];
        let end = inode.data.checked_add(inode.size).ok_or(corrupt("symbolic link size"))?;
        region.copy_out(end, &mut terminator)?;
        if terminator != [0] {
            return Err(corrupt("symbolic link without NUL"));
        }
        let copied = len.min(into.len());
        let target = into.get_mut(..copied).unwrap_or(&mut []);
        region.copy_out(inode.data, target)?;
        if target.contains(&0) {
            return Err(corrupt("NUL in a symbolic link"));
        }
        Ok(len)
    }
}
