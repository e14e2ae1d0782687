//! A hash index from keys kept elsewhere to small numbers.
//!
//! Open addressing with linear probing and backward-shift deletion: no tombstones, so probing stays
//! short whatever the history. At most three quarters of the places are in use.

use super::TryVec;
use crate::error::{Error, Result};

#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    id: u32,
}

const EMPTY: Place = Place { hash: 0, id: u32::MAX };

/// An index: hash to numbers below `u32::MAX`. The caller compares keys.
#[derive(Default)]
pub struct Table {
    /// A power of two of places, or none.
    places: TryVec<Place>,
    used: usize,
}

impl Table {
    /// Makes sure that the next `count` insertions do not fail.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        let wanted = self.used.checked_add(count).ok_or(Error::NoMemory)?;
        if wanted <= self.places.len() / 4 * 3 {
            return Ok(());
        }
        let size = wanted
            .checked_mul(2)
            .and_then(usize::checked_next_power_of_two)
            .ok_or(Error::NoMemory)?
            .max(16);
        let mut bigger = Self { places: TryVec::new(), used: 0 };
        bigger.places.resize(size, EMPTY)?;
        for place in self.places.iter().filter(|p| p.id != u32::MAX) {
            bigger.place(*place);
        }
        *self = bigger;
        Ok(())
    }

    /// The number stored under `hash` for which `is_it` holds.
    #[must_use]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(fold(hash), is_it).and_then(|at| self.places.get(at)).map(|place| place.id)
    }

    /// Stores `id` under `hash`. The caller has made sure that its key is not there yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn insert(&mut self, hash: u64, id: u32) -> Result<()> {
        self.reserve(1)?;
        self.place(Place { hash: fold(hash), id });
        Ok(())
    }

    /// Takes the number out that [`Self::find`] would return.
    pub fn remove(&mut self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut hole = self.position(fold(hash), is_it)?;
        let removed = self.places.get(hole)?.id;
        let mask = self.places.len() - 1;
        let mut next = hole;
        for _ in 0..self.places.len() {
            next = (next + 1) & mask;
            let place = *self.places.get(next)?;
            if place.id == u32::MAX {
                break;
            }
            // A place may move back to the hole unless its home lies between the hole and itself.
            let home = place.hash as usize & mask;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                if let Some(p) = self.places.get_mut(hole) {
                    *p = place;
                }
                hole = next;
            }
        }
        if let Some(p) = self.places.get_mut(hole) {
            *p = EMPTY;
        }
        self.used -= 1;
        Some(removed)
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.places.memory()
    }

    fn position(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        for _ in 0..self.places.len() {
            let place = self.places.get(at)?;
            if place.id == u32::MAX {
                return None;
            }
            if place.hash == hash && is_it(place.id) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Puts `place` where it belongs; there is room.
    fn place(&mut self, place: Place) {
        let Some(mask) = self.places.len().checked_sub(1) else { return };
        let mut at = place.hash as usize & mask;
        for _ in 0..self.places.len() {
            if let Some(p) = self.places.get_mut(at) {
                if p.id == u32::MAX {
                    *p = place;
                    self.used += 1;
                    return;
                }
            }
            at = (at + 1) & mask;
        }
    }
}

/// The high half is the better mixed one of a multiplicative hash.
const fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::hash_map::{Entry, HashMap};
    use std::vec::Vec;

    /// Few different hashes force long probe chains and deletions inside them.
    #[test]
    fn behaves_like_a_map_under_colliding_hashes() {
        let mut table = Table::default();
        let mut model: HashMap<u64, u32> = HashMap::new();
        let mut keys: Vec<u64> = Vec::new();
        let mut seed = 1_u64;
        for step in 0..20_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (seed >> 33) % 500;
            let hash = key % 7;
            match model.entry(key) {
                Entry::Occupied(known) if step % 2 == 0 => {
                    let id = known.remove();
                    assert_eq!(table.remove(hash, |i| keys[i as usize] == key), Some(id));
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    keys.push(key);
                    let id = keys.len() as u32 - 1;
                    table.insert(hash, id).unwrap();
                    place.insert(id);
                }
            }
            if step % 97 == 0 {
                for key in 0..500 {
                    let found = table.find(key % 7, |i| keys[i as usize] == key);
                    assert_eq!(found, model.get(&key).copied());
                }
            }
        }
    }
}
