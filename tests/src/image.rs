//! An image as bytes.

use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{Access, BranchName, Error, Mount, MountOptions, Region, RegionOffset, validate};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A mount in this process.
pub type TestMount = Mount<StdPlatform>;

/// An image in private memory, to be changed byte by byte and then mounted.
#[derive(Clone)]
pub struct Image {
    /// The bytes of the range.
    pub bytes: Vec<u8>,
}

impl Image {
    /// The image in `region`.
    #[must_use]
    pub fn of_region(region: &Region<MappedFile>) -> Self {
        let mut bytes = vec![0; usize::try_from(region.size()).expect("a range that is mapped")];
        region.copy_out(RegionOffset::new(0), &mut bytes).expect("the whole range is inside");
        Self { bytes }
    }

    /// The image in `file`.
    #[must_use]
    pub fn of_file(file: &File) -> Self {
        Self::of_region(&Region::new(MappedFile::new(file, false).expect("mapping a file")))
    }

    /// A copy of the structure at `at`.
    #[must_use]
    pub fn get<T: FromBytes>(&self, at: u64) -> T {
        let (value, _) = T::read_from_prefix(&self.bytes[at as usize..]).expect("inside the image");
        value
    }

    /// Replaces the structure at `at`.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, at: u64, value: &T) {
        let bytes = value.as_bytes();
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// The `width` (at most 8) bytes at `at` as a number.
    #[must_use]
    pub fn number(&self, at: u64, width: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.bytes[at as usize..at as usize + width]);
        u64::from_le_bytes(bytes)
    }

    /// Stores a number in the `width` (at most 8) bytes at `at`.
    pub fn set_number(&mut self, at: u64, width: usize, value: u64) {
        self.put(at, &value.to_le_bytes()[..width]);
    }

    /// The image in fresh memory.
    #[must_use]
    pub fn region(&self) -> Region<MappedFile> {
        let region = Region::new(MappedFile::anonymous(self.bytes.len() as u64).expect("memory"));
        region.copy_in(RegionOffset::new(0), &self.bytes).expect("the range is as long");
        region
    }

    /// The image in a file of memory, which can be mapped more than once.
    #[must_use]
    pub fn file(&self) -> File {
        let scratch = Scratch::new();
        scratch.fill(self);
        scratch.file
    }

    /// Mounts a fresh copy of the image.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn mount(&self, options: &MountOptions) -> Result<TestMount, Error> {
        Mount::new(StdPlatform, self.region(), options)
    }

    /// What `validate` finds wrong with the image; its refusal to look counts.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        problems(&self.region())
    }
}

/// Memory for one image after the other: much cheaper than fresh memory for each.
pub struct Scratch {
    file: File,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Empty memory.
    #[must_use]
    pub fn new() -> Self {
        let file = memfd_create("daxfs-tests", MemfdFlags::CLOEXEC).expect("a file of memory");
        Self { file: file.into() }
    }

    /// Puts `image` in it.
    pub fn fill(&self, image: &Image) {
        self.file.set_len(image.bytes.len() as u64).expect("memory");
        self.file.write_all_at(&image.bytes, 0).expect("memory");
    }

    /// What is in it.
    #[must_use]
    pub fn region(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.file, true).expect("mapping memory"))
    }

    /// What is in it, mapped so that nothing can change it.
    #[must_use]
    pub fn fixed(&self) -> Region<MappedFile> {
        Region::new(MappedFile::new(&self.file, false).expect("mapping memory"))
    }

    /// Mounts what is in it.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn mount(&self, options: &MountOptions) -> Result<TestMount, Error> {
        Mount::new(StdPlatform, self.region(), options)
    }
}

/// What `validate` finds wrong with the image in `region`; its refusal to look counts.
#[must_use]
pub fn problems(region: &Region<MappedFile>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = validate(&StdPlatform, region, &mut |p| problems.push(p.to_string())) {
        problems.push(error.to_string());
    }
    problems
}

/// Options for looking at a branch; `None` is what there is by default.
#[must_use]
pub fn read_only(branch: Option<&str>) -> MountOptions {
    MountOptions { branch: branch.map(name), ..MountOptions::default() }
}

/// Options for writing, alone, to a branch that outlives the mount; `None` is `main`.
#[must_use]
pub fn read_write(branch: Option<&str>) -> MountOptions {
    MountOptions { access: Access::ReadWrite, keep: true, exclusive: true, ..read_only(branch) }
}

/// A branch name.
///
/// # Panics
///
/// If `text` cannot be one.
#[must_use]
pub fn name(text: &str) -> BranchName {
    BranchName::new(text.as_bytes()).expect("a branch name")
}
