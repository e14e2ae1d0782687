//! Numbered places that keep their number while in use.

use super::Chunks;
use crate::error::{Error, Result};

enum Place<T> {
    Used(T),
    /// The next free place, if any.
    Free(Option<u32>),
}

/// Storage for values addressed by a small number, with reuse of freed places.
pub struct Slab<T> {
    places: Chunks<Place<T>>,
    free: Option<u32>,
    used: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Chunks::default(), free: None, used: 0 }
    }
}

impl<T> Slab<T> {
    /// Makes sure that the next `count` insertions do not fail.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        self.places.reserve(count)
    }

    /// All numbers in use are below this.
    #[must_use]
    pub fn capacity_used(&self) -> u64 {
        self.places.len() as u64
    }

    /// Stores `value` and returns its number.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn insert(&mut self, value: T) -> Result<u32> {
        if let Some(id) = self.free {
            if let Some(place) = self.places.get_mut(id as usize) {
                if let Place::Free(next) = *place {
                    self.free = next;
                    *place = Place::Used(value);
                    self.used += 1;
                    return Ok(id);
                }
            }
        }
        // u32::MAX is kept out: tables use it as "none".
        let id = u32::try_from(self.places.len())
            .ok()
            .filter(|&id| id < u32::MAX)
            .ok_or(Error::NoMemory)?;
        self.places.push(Place::Used(value))?;
        self.used += 1;
        Ok(id)
    }

    /// Takes the value out and frees its number.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let place = self.places.get_mut(id as usize)?;
        if matches!(place, Place::Free(_)) {
            return None;
        }
        let Place::Used(value) = core::mem::replace(place, Place::Free(self.free)) else {
            return None;
        };
        self.free = Some(id);
        self.used -= 1;
        Some(value)
    }

    /// The value with this number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&T> {
        match self.places.get(id as usize)? {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    /// The value with this number.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.places.get_mut(id as usize)? {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    /// All values with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(id, place)| match place {
            Place::Used(value) => Some((id as u32, value)),
            Place::Free(_) => None,
        })
    }

    /// All values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        })
    }

    /// Values stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.places.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_numbers_are_used_again_and_others_keep_theirs() {
        let mut slab = Slab::default();
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None, "removing twice");
        assert_eq!(slab.insert('c').unwrap(), a);
        assert_eq!((slab.get(a), slab.get(b)), (Some(&'c'), Some(&'b')));
        assert_eq!(slab.len(), 2);
    }
}
