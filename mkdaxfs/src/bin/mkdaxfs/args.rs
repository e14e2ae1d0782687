//! The command line of `mkdaxfs`.

use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser};
use mkdaxfs::cli::{address, size};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;
/// Exit code where the image was made, but not mounted.
pub(crate) const NOT_MOUNTED: u8 = 3;

/// Make a DAXFS image of a directory tree
///
/// The image holds everything below the directory: regular files, directories, symbolic links,
/// fifos, sockets and device nodes, with owners, modes and modification times. Identical contents
/// are stored once. It appears whole, or not at all. Without -w the image is static and pure v3.
///
/// It goes to a file, or straight to memory: to a DAX device (-o), to a fresh buffer of a DMA heap
/// (-H), or to a range of physical memory (-p). From memory it can be mounted at once (-m).
#[derive(Debug, Parser)]
#[command(name = "mkdaxfs", version, after_long_help = NOTES)]
#[command(group = ArgGroup::new("target").required(true).args(["output", "heap", "physical"]))]
pub(crate) struct Arguments {
    /// Directory to make the image of
    #[arg(short, long, value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Image to write: a file, replaced if it exists, or a DAX device
    #[arg(short, long, value_name = "FILE|DEVICE")]
    pub(crate) output: Option<PathBuf>,

    /// Allocate the image's memory from a DMA heap, as /dev/dma_heap/system, and mount it
    #[arg(short = 'H', long, value_name = "HEAP", requires_all = ["size", "mount"])]
    pub(crate) heap: Option<PathBuf>,

    /// Write the image to physical memory from this address on
    #[arg(short, long = "phys", value_name = "ADDRESS", value_parser = address, requires = "size")]
    pub(crate) physical: Option<u64>,

    /// Size of the memory, in bytes or with K, M or G [default: all of a device]
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub(crate) size: Option<u64>,

    /// Mount the image there; with -w, to be written to
    #[arg(short, long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,

    /// Make a writable image, with a branch table and a delta region
    #[arg(short, long)]
    pub(crate) writable: bool,

    /// Size of the delta region, in bytes or with K, M or G [default: 64M; in memory: the rest]
    #[arg(short = 'D', long, value_name = "SIZE", value_parser = size, requires = "writable")]
    pub(crate) delta_size: Option<u64>,

    /// Start files of 2 MiB and more at multiples of 2 MiB, for huge pages
    #[arg(long)]
    pub(crate) align_large: bool,

    /// Identity of a writable image [default: random]
    #[arg(long, requires = "writable")]
    pub(crate) uuid: Option<Uuid>,

    /// Threads that read and hash [default: one per processor]
    #[arg(short = 'j', long, value_name = "NUMBER")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Overwrite memory even where something has claimed it, or a mount uses the image there
    ///
    /// Memory that this kernel uses as RAM is refused all the same.
    #[arg(long)]
    pub(crate) force: bool,

    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where an image goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Destination<'a> {
    /// To a file.
    File(&'a Path),
    /// To memory.
    Memory(Memory<'a>),
}

/// Which memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Memory<'a> {
    /// A DAX device, or its first bytes.
    Device(&'a Path, Option<u64>),
    /// So many bytes from a DMA heap.
    Heap(&'a Path, u64),
    /// So many bytes of physical memory.
    Physical(u64, u64),
}

impl Arguments {
    /// Where the image goes.
    pub(crate) fn destination(&self) -> Result<Destination<'_>, clap::Error> {
        // clap has made sure that heap and address have a size.
        let size = self.size.unwrap_or_default();
        match (&self.output, &self.heap, self.physical) {
            (_, Some(heap), _) => Ok(Destination::Memory(Memory::Heap(heap, size))),
            (_, _, Some(start)) => Ok(Destination::Memory(Memory::Physical(start, size))),
            (Some(path), ..) if is_device(path) => {
                Ok(Destination::Memory(Memory::Device(path, self.size)))
            }
            (Some(_), ..) if self.size.is_some() || self.mount.is_some() => {
                let message = "-s and -m are for memory: with -H, -p, or -o and a DAX device";
                Err(Self::command().error(ErrorKind::ArgumentConflict, message))
            }
            (Some(path), ..) => Ok(Destination::File(path)),
            (None, None, None) => {
                let message = "where to? -o, -H or -p is needed";
                Err(Self::command().error(ErrorKind::MissingRequiredArgument, message))
            }
        }
    }
}

fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.file_type().is_char_device())
}

const NOTES: &str = "\
Examples:
  mkdaxfs -d rootfs -o image.daxfs -w
  mkdaxfs -d rootfs -H /dev/dma_heap/system -s 256M -m /mnt -w
  mkdaxfs -d rootfs -p 0x100000000 -s 256M -w
  mkdaxfs -d rootfs -o /dev/dax0.0 -w -m /mnt

Environment:
  SOURCE_DATE_EPOCH  Seconds since the epoch. Later modification times become this one, and the
                     uuid of a writable image is derived from its content: the same tree gives
                     the same image, to the byte. (Static images have no uuid.)
  NO_COLOR           If set, messages are not coloured.

Exit status:
  0  the image was made, and mounted if that was asked for
  1  it was not, and a message says why; no file was written, and memory that was
     written to holds no image
  2  wrong arguments
  3  the image was made in memory, but could not be mounted, and a message says why
  128+N  ended by signal N; as 1";
