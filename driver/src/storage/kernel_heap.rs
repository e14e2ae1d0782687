//! What [`TryVec`](super::TryVec) is made of in a Linux module: the kernel's `KVVec`, which takes
//! small memory from `kmalloc` and large memory from `vmalloc`.
//!
//! This is the only place of the engine that knows the `kernel` crate. A trait for allocators would
//! have kept even that out, at the price of a type parameter on everything that holds a vector; a
//! hook with a C symbol at the price of `unsafe` code here and there. `KVVec` is what any other
//! module of that kernel uses.
//!
//! # Flags
//!
//! Allocations may wait, and may fail: `GFP_KERNEL | __GFP_NOWARN`, as every caller handles failure,
//! and how much is asked for can depend on an image. Most are made under the mount's lock, which
//! eviction of inodes takes too, so reclaim must not come back to the filesystem from here: the lock
//! of that world opens a `memalloc_nofs` scope when it is taken exclusively, which makes these
//! allocations `GFP_NOFS`, `vmalloc` included.

pub(super) use kernel::alloc::KVVec as Vec;

use crate::error::{Error, Result};
use kernel::alloc::flags::{__GFP_NOWARN, GFP_KERNEL};
use kernel::alloc::Flags;

fn flags() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// Makes room for `additional` more elements, and some more.
pub(super) fn reserve<T>(vec: &mut Vec<T>, additional: usize) -> Result<()> {
    vec.reserve(additional, flags()).map_err(|_| Error::NoMemory)
}

/// Makes room for `additional` more elements; the kernel's vector decides whether there is more.
pub(super) fn reserve_exact<T>(vec: &mut Vec<T>, additional: usize) -> Result<()> {
    reserve(vec, additional)
}

/// Appends `value`.
pub(super) fn push<T>(vec: &mut Vec<T>, value: T) -> Result<()> {
    vec.push(value, flags()).map_err(|_| Error::NoMemory)
}

/// Inserts `value` at `index`, which is not behind the end.
pub(super) fn insert<T>(vec: &mut Vec<T>, index: usize, value: T) -> Result<()> {
    reserve(vec, 1)?;
    vec.insert_within_capacity(index, value).map_err(|_| Error::NoMemory)
}

/// Removes the element at `index`, if there is one.
pub(super) fn remove<T>(vec: &mut Vec<T>, index: usize) -> Option<T> {
    vec.remove(index).ok()
}

/// Keeps the elements for which `keep` holds. (The kernel's own could panic, as far as the compiler
/// can see.)
pub(super) fn retain<T>(vec: &mut Vec<T>, mut keep: impl FnMut(&T) -> bool) {
    let mut kept = 0;
    for at in 0..vec.len() {
        let Some((before, from)) = vec.as_mut_slice().split_at_mut_checked(at) else { break };
        let Some(value) = from.first_mut().filter(|value| keep(value)) else { continue };
        if let Some(place) = before.get_mut(kept) {
            core::mem::swap(place, value);
        }
        kept += 1;
    }
    vec.truncate(kept);
}

/// Appends a copy of `values`.
pub(super) fn extend<T: Copy>(vec: &mut Vec<T>, values: &[T]) -> Result<()> {
    vec.extend_from_slice(values, flags()).map_err(|_| Error::NoMemory)
}

/// Grows or shrinks to `len` elements, new ones being `value`.
pub(super) fn resize<T: Copy>(vec: &mut Vec<T>, len: usize, value: T) -> Result<()> {
    vec.resize(len, value, flags()).map_err(|_| Error::NoMemory)
}
