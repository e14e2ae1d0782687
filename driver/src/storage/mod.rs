//! Fallible storage: the only place of the engine that allocates.
//!
//! [`TryVec`] is the one primitive, with one backing per world (`heap`: the `alloc` crate in the guest
//! and in user space; `kernel_heap`: the kernel's allocator under Kbuild); [`Chunks`], [`Slab`], [`Table`] and
//! [`Bitmap`] are built on it. Running out of memory is [`Error::NoMemory`](crate::Error::NoMemory), never a panic.

mod bitmap;
mod chunks;
#[cfg(not(daxfs_kbuild))]
mod heap;
#[cfg(daxfs_kbuild)]
mod kernel_heap;
mod slab;
mod table;
mod vec;

pub use bitmap::Bitmap;
pub use chunks::Chunks;
pub use slab::Slab;
pub use table::Table;
pub use vec::TryVec;
