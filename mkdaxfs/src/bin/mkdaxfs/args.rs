//! The command line of `mkdaxfs`.

use clap::Parser;
use mkdaxfs::cli::size;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use uuid::Uuid;

/// Exit code for wrong arguments.
pub(crate) const USAGE: u8 = 2;

/// Make a DAXFS image of a directory tree
///
/// The image holds everything below the directory: regular files, directories, symbolic links,
/// fifos, sockets and device nodes, with owners, modes and modification times. Identical contents
/// are stored once. It appears whole, or not at all. Without -w the image is static and pure v3.
#[derive(Debug, Parser)]
#[command(name = "mkdaxfs", version, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// Directory to make the image of
    #[arg(short, long, value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Image to write; a file that exists is replaced
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Make a writable image, with a branch table and a delta region
    #[arg(short, long)]
    pub(crate) writable: bool,

    /// Size of the delta region, in bytes or with K, M or G [default: 64M]
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

    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const NOTES: &str = "\
Environment:
  SOURCE_DATE_EPOCH  Seconds since the epoch. Later modification times become this one, and the
                     uuid of a writable image is derived from its content: the same tree gives
                     the same image, to the byte. (Static images have no uuid.)
  NO_COLOR           If set, messages are not coloured.

Exit status:
  0  the image was made
  1  it was not, and a message says why; nothing was written
  2  wrong arguments
  128+N  ended by signal N; nothing was written";
