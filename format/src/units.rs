//! Newtypes for every kind of number in the format.
//!
//! Each wraps one integer, has no arithmetic operators, and offers only checked arithmetic: a
//! number that came from the range cannot overflow silently, and two kinds cannot be mixed.

use core::fmt;

macro_rules! unit {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a raw number.
            #[must_use]
            pub const fn new(raw: $inner) -> Self {
                Self(raw)
            }
            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! offset {
    ($name:ident) => {
        impl $name {
            /// The offset `bytes` further on; `None` on overflow.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }
            /// Bytes from `start` to here; `None` if `start` lies behind.
            #[must_use]
            pub const fn checked_since(self, start: Self) -> Option<u64> {
                self.0.checked_sub(start.0)
            }
            /// Whether this is a multiple of `align`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
        }
    };
}

unit! {
    /// Bytes from the start of the shared range.
    RegionOffset(u64)
}
offset!(RegionOffset);

unit! {
    /// Bytes from the start of the base image.
    BaseOffset(u64)
}
offset!(BaseOffset);

unit! {
    /// An inode number. 0 is none, 1 the root, `1..=inode_count` are the base image's.
    Ino(u64)
}

impl Ino {
    /// The root directory, of every image and every branch.
    pub const ROOT: Self = Self(1);
}

unit! {
    /// A branch's identity; never used twice in one image. 0 is none. At most 40 bits.
    BranchId(u64)
}

impl BranchId {
    /// No branch: the parent of the root branch.
    pub const NONE: Self = Self(0);
    /// The largest id a segment-map word can name.
    pub const MAX: Self = Self((1 << 40) - 1);

    /// Whether this names a branch at all.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

unit! {
    /// Index of a record in the branch table.
    Slot(u32)
}

unit! {
    /// Index of a segment of the delta region.
    SegmentIndex(u32)
}

unit! {
    /// A place in a log chain: ordinal of the segment in the chain (high 32 bits), offset in that
    /// segment (low 32 bits). Grows monotonically along the chain.
    LogPosition(u64)
}

impl LogPosition {
    /// The place `offset` bytes into the chain's segment number `ordinal`.
    #[must_use]
    pub const fn at(ordinal: u32, offset: u32) -> Self {
        Self(((ordinal as u64) << 32) | offset as u64)
    }
    /// Which segment of the chain, from 0.
    #[must_use]
    pub const fn ordinal(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Bytes from the start of that segment.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// A point in time, seconds and nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp {
    /// Seconds since the epoch, negative before it.
    pub sec: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nsec: u32,
}

impl Timestamp {
    /// Nanoseconds in a second.
    pub const NANOS: u32 = 1_000_000_000;

    /// A time from its parts; a nanosecond count of a second or more (hostile media) becomes 0.
    #[must_use]
    pub const fn new(sec: i64, nsec: u32) -> Self {
        Self { sec, nsec: if nsec < Self::NANOS { nsec } else { 0 } }
    }
    /// A time from nanoseconds since the epoch, as log entry headers carry it.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { sec: (nanos / Self::NANOS as u64) as i64, nsec: (nanos % Self::NANOS as u64) as u32 }
    }
    /// Nanoseconds since the epoch, clamped to what a log entry header can carry.
    #[must_use]
    pub const fn to_nanos(self) -> u64 {
        if self.sec < 0 {
            return 0;
        }
        match (self.sec as u64).checked_mul(Self::NANOS as u64) {
            Some(n) => n.saturating_add(self.nsec as u64),
            None => u64::MAX,
        }
    }
}
