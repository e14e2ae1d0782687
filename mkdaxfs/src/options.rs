//! What a caller can ask of an image.

use std::num::NonZeroUsize;

/// Bytes of delta region a writable image gets unless told otherwise.
pub const DEFAULT_DELTA_SIZE: u64 = 64 << 20;

/// How an image is built. The default is a static image, pure v3.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// A writable image with this much delta region; `None`: a static image.
    pub writable: Option<DeltaSize>,
    /// Files of 2 MiB and more start at multiples of 2 MiB from the image's start, so that they
    /// can be mapped with huge pages.
    pub large_alignment: bool,
    /// Seconds since the epoch (`SOURCE_DATE_EPOCH`). Later modification times become this one,
    /// and a writable image's uuid is derived from its content instead of chosen at random.
    pub source_date_epoch: Option<u64>,
    /// A writable image's identity. A static image has none.
    pub uuid: Option<[u8; 16]>,
    /// Threads that read and hash; `None`: as many as there are processors.
    pub threads: Option<NonZeroUsize>,
}

/// How large the delta region of a writable image is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeltaSize {
    /// So many bytes, rounded up to whole pages.
    Bytes(u64),
    /// What the whole image lacks to be so many bytes, rounded down to whole pages.
    FillTo(u64),
}

impl Default for DeltaSize {
    fn default() -> Self {
        Self::Bytes(DEFAULT_DELTA_SIZE)
    }
}
