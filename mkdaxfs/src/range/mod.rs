//! Memory that an image is written to in place, to be mounted from there: a buffer of a DMA heap, a
//! range of physical memory, a DAX device.
//!
//! # Invariants
//!
//! A [`Range`] is memory that this kernel does not use as its own: a physical range that overlaps
//! System RAM is refused, whatever the caller says; one that something else has claimed is refused
//! unless the caller takes it upon itself.

mod device;
#[allow(unsafe_code, reason = "an ioctl, and the descriptor it returns; nothing else here is")]
mod heap;
mod iomem;
mod mount;
mod mounts;
mod physical;

pub use mount::MountError;

#[cfg(feature = "cli")]
pub(crate) use device::{DaxDevice, open as open_device};

use crate::text::Printable;
use daxfs::format::RegionOffset;
use daxfs::region::{LoadOrder, StoreOrder};
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{MemberInfo, MemberState, Persistence, Region, Volume};
use rustix::fd::OwnedFd;
use std::io;
use std::path::{Path, PathBuf};

/// Ranges and their parts are multiples of this.
const PAGE: u64 = daxfs_format::BLOCK_SIZE;

/// Why memory cannot be used. The message is one line, and says what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// The system refused something.
    #[error("{path:?}: cannot {action}: {reason}{}", after(*.hint))]
    Io {
        /// On what.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
        /// What helps.
        hint: Option<&'static str>,
    },
    /// A start or a size that no range has.
    #[error("{what} is {value:#x}; it must be a multiple of 4096, and not 0")]
    Misaligned {
        /// Of what.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// The device is smaller than what is asked for.
    #[error("{path:?}: has {size} bytes, {wanted} are asked for; give a smaller size, or none")]
    TooSmall {
        /// Which.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// The path is something else.
    #[error("{path:?}: is no {expected}")]
    WrongKind {
        /// Which.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// The range is this kernel's own memory.
    #[error(
        "{start:#x}-{end:#x} is {name} of this kernel, which writing there would destroy; reserve the \
         range (memmap=SIZE$ADDRESS on the kernel's command line), or take one that /proc/iomem does \
         not show as RAM"
    )]
    InUse {
        /// The first byte of what overlaps.
        start: u64,
        /// The last.
        end: u64,
        /// What the kernel calls it.
        name: String,
    },
    /// Something else has the range.
    #[error(
        "{start:#x}-{end:#x} is claimed by {name:?} (/proc/iomem); if that is no harm, use --force"
    )]
    Claimed {
        /// The first byte of what overlaps.
        start: u64,
        /// The last.
        end: u64,
        /// What the kernel calls it.
        name: String,
    },
    /// Stores do not arrive.
    #[error(
        "{path:?}: there is no memory at byte {offset:#x} of the range: what is stored is lost"
    )]
    NoMemory {
        /// The device.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Somebody uses the image in the range.
    #[error(
        "the range holds an image that is mounted ({names}); unmount it everywhere, or, if what had it \
         mounted does not run any more, use --force"
    )]
    Mounted {
        /// What the mounts are called, or where they are.
        names: String,
    },
}

fn after(hint: Option<&'static str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

/// What may be overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claims {
    /// Only what nobody has.
    Respect,
    /// Also what something else has claimed, and an image that is in use. Never this kernel's RAM.
    Ignore,
}

/// Memory for an image.
pub struct Range {
    region: Region<MappedFile>,
    size: u64,
    origin: Origin,
}

/// Where the memory is, for whoever mounts it.
enum Origin {
    /// A buffer, gone with its last descriptor and mount.
    Buffer(OwnedFd),
    /// Physical memory from this address on.
    Physical(u64),
    /// A device.
    Device(PathBuf),
}

impl Range {
    /// A fresh buffer of `size` bytes from a DMA heap (`/dev/dma_heap/system`). It lives as long as
    /// this value, or a mount of it.
    ///
    /// # Errors
    ///
    /// [`RangeError`].
    pub fn allocate(heap: &Path, size: u64) -> Result<Self, RangeError> {
        let size = aligned(size)?;
        let (buffer, mapping) = heap::allocate(heap, size)?;
        Ok(Self { region: Region::new(mapping), size, origin: Origin::Buffer(buffer) })
    }

    /// `size` bytes of physical memory from `start` on.
    ///
    /// # Errors
    ///
    /// [`RangeError`].
    pub fn physical(start: u64, size: u64, claims: Claims) -> Result<Self, RangeError> {
        if !start.is_multiple_of(PAGE) {
            return Err(RangeError::Misaligned { what: "the address", value: start });
        }
        let size = aligned(size)?;
        if start.checked_add(size).is_none() {
            return Err(RangeError::Misaligned { what: "the size", value: size });
        }
        physical::expect_free(start, size, claims)?;
        if claims == Claims::Respect {
            expect_not_mounted(&mounts::of_physical(start, size))?;
        }
        let map = || physical::map(start, size);
        Self::existing(map, size, Origin::Physical(start), claims)
    }

    /// All of a DAX device (`/dev/dax0.0`), or its first `size` bytes.
    ///
    /// # Errors
    ///
    /// [`RangeError`].
    pub fn device(path: &Path, size: Option<u64>, claims: Claims) -> Result<Self, RangeError> {
        let size = size.map(aligned).transpose()?;
        let device = device::open(path)?;
        let size = match size {
            Some(wanted) if wanted > device.size => {
                let path = path.to_path_buf();
                return Err(RangeError::TooSmall { path, size: device.size, wanted });
            }
            Some(wanted) => wanted,
            None => device.size,
        };
        if claims == Claims::Respect {
            expect_not_mounted(&mounts::of_device(path))?;
        }
        Self::existing(|| device.map(true), size, Origin::Device(path.to_path_buf()), claims)
    }

    /// Memory that was there before, which `map` maps.
    fn existing(
        map: impl Fn() -> Result<MappedFile, RangeError>,
        size: u64,
        origin: Origin,
        claims: Claims,
    ) -> Result<Self, RangeError> {
        if claims == Claims::Respect {
            expect_unused(Region::new(map()?))?;
        }
        // It may be memory that stays.
        let region = Region::new(map()?).on(Persistence::Persistent);
        let range = Self { region, size, origin };
        range.probe(0)?;
        range.probe(size - PAGE)?;
        Ok(range)
    }

    /// Memory of this process, which holds `content` so far.
    #[cfg(test)]
    pub(crate) fn private(size: u64, content: &[u8]) -> Self {
        let region = Region::new(MappedFile::anonymous(size).unwrap());
        region.copy_in(RegionOffset::new(0), content).unwrap();
        Self { region, size, origin: Origin::Physical(0) }
    }

    /// Its bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The memory: at least [`Self::size`] bytes of it.
    pub(crate) const fn region(&self) -> &Region<MappedFile> {
        &self.region
    }

    /// Whether all of it is zero.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(self.origin, Origin::Buffer(_))
    }

    /// What messages call it.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.origin {
            Origin::Buffer(_) => PathBuf::from("dma-buf"),
            Origin::Physical(start) => PathBuf::from(format!("{start:#x}")),
            Origin::Device(path) => path.clone(),
        }
    }

    /// Makes sure that what is stored in the page at `offset` arrives. The page stays as it was.
    fn probe(&self, offset: u64) -> Result<(), RangeError> {
        let lost = || RangeError::NoMemory { path: self.path(), offset };
        let at = RegionOffset::new(offset);
        let before = self.region.load(at, LoadOrder::Acquire).map_err(|_| lost())?;
        let other = !before;
        for value in [other, before] {
            self.region.store(at, value, StoreOrder::Release).map_err(|_| lost())?;
            // Out of the processor's caches, as far as it can.
            self.region.persist();
            if self.region.load(at, LoadOrder::Acquire) != Ok(value) {
                return Err(lost());
            }
        }
        Ok(())
    }
}

/// Makes sure that this kernel has nothing of it mounted.
fn expect_not_mounted(places: &[String]) -> Result<(), RangeError> {
    if places.is_empty() {
        return Ok(());
    }
    Err(RangeError::Mounted { names: format!("here: {}", places.join(", ")) })
}

/// Makes sure that no kernel has the image mounted that a range may hold.
fn expect_unused(region: Region<MappedFile>) -> Result<(), RangeError> {
    let mut names = Vec::new();
    let mut note = |member: &MemberInfo| {
        if member.state == MemberState::Alive {
            let name = &member.identity.name;
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            names.push(Printable(&name[..end]).to_string());
        }
    };
    // What is no image, or cannot be read, is nobody's.
    let looked = Volume::open(StdPlatform, region).and_then(|volume| volume.members(&mut note));
    if looked.is_err() || names.is_empty() {
        return Ok(());
    }
    Err(RangeError::Mounted { names: names.join(", ") })
}

/// A size that a range can have.
fn aligned(size: u64) -> Result<u64, RangeError> {
    match size {
        1.. if size.is_multiple_of(PAGE) => Ok(size),
        value => Err(RangeError::Misaligned { what: "the size", value }),
    }
}
