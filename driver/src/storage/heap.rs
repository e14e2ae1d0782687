//! What [`TryVec`](super::TryVec) is made of, where there is an `alloc` crate: its `Vec`.
//!
//! Each world has a module with these functions; everything else the worlds' vectors have in common.

extern crate alloc;

pub(super) use alloc::vec::Vec;

use crate::error::{Error, Result};

/// Makes room for `additional` more elements, and some more.
pub(super) fn reserve<T>(vec: &mut Vec<T>, additional: usize) -> Result<()> {
    vec.try_reserve(additional).map_err(|_| Error::NoMemory)
}

/// Makes room for exactly `additional` more elements.
pub(super) fn reserve_exact<T>(vec: &mut Vec<T>, additional: usize) -> Result<()> {
    vec.try_reserve_exact(additional).map_err(|_| Error::NoMemory)
}

/// Appends `value`.
pub(super) fn push<T>(vec: &mut Vec<T>, value: T) -> Result<()> {
    reserve(vec, 1)?;
    vec.push(value);
    Ok(())
}

/// Inserts `value` at `index`, which is not behind the end.
pub(super) fn insert<T>(vec: &mut Vec<T>, index: usize, value: T) -> Result<()> {
    reserve(vec, 1)?;
    vec.insert(index, value);
    Ok(())
}

/// Removes the element at `index`, if there is one.
pub(super) fn remove<T>(vec: &mut Vec<T>, index: usize) -> Option<T> {
    (index < vec.len()).then(|| vec.remove(index))
}

/// Keeps the elements for which `keep` holds.
pub(super) fn retain<T>(vec: &mut Vec<T>, keep: impl FnMut(&T) -> bool) {
    vec.retain(keep);
}

/// Appends a copy of `values`.
pub(super) fn extend<T: Copy>(vec: &mut Vec<T>, values: &[T]) -> Result<()> {
    reserve(vec, values.len())?;
    vec.extend_from_slice(values);
    Ok(())
}

/// Grows or shrinks to `len` elements, new ones being `value`.
pub(super) fn resize<T: Copy>(vec: &mut Vec<T>, len: usize, value: T) -> Result<()> {
    reserve_exact(vec, len.saturating_sub(vec.len()))?;
    vec.resize(len, value);
    Ok(())
}
