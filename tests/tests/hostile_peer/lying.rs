//! A range that a peer changes between any two accesses to it.
//!
//! What is checked may be something else when it is used, unless it is the copy that is used: here every
//! single access can be the one after which the peer has changed what was read, or the one that is told
//! something else than the one before.

use crate::guard::Guarded;
use daxfs::region::{Backing, LoadOrder, StoreOrder};
use daxfs::std_platform::StdLock;
use daxfs::{Platform, Region, Timestamp};
use daxfs_tests::image::Image;
use daxfs_tests::lie::any_lie;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Accesses one operation may need. Those of the small images here need some ten thousands; one that
/// needs more than this goes in circles.
pub const MOST_ACCESSES: u64 = 20_000_000;

/// When the peer lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Never.
    Honest,
    /// It changes what the access with this number has read, right after it.
    Changed {
        /// Counted from the start.
        at: u64,
    },
    /// One of so many accesses is told something that is not there.
    Told {
        /// How many.
        one_in: u64,
    },
}

/// What a peer does, and what it has seen.
pub struct Peer {
    plan: Plan,
    accesses: AtomicU64,
    lies: AtomicU64,
    /// Accesses when the operation began that is going on.
    began: AtomicU64,
    rng: Mutex<fastrand::Rng>,
}

impl Peer {
    /// A peer that keeps to `plan`.
    pub fn new(plan: Plan, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            plan,
            accesses: AtomicU64::new(0),
            lies: AtomicU64::new(0),
            began: AtomicU64::new(0),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        })
    }

    /// Accesses so far.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed)
    }

    /// Lies so far.
    pub fn lies(&self) -> u64 {
        self.lies.load(Ordering::Relaxed)
    }

    /// An operation is over.
    pub fn next_operation(&self) {
        self.began.store(self.accesses(), Ordering::Relaxed);
    }

    /// Counts an access; says what to do about it.
    fn access(&self) -> Option<Lie<'_>> {
        let number = self.accesses.fetch_add(1, Ordering::Relaxed);
        let taken = number - self.began.load(Ordering::Relaxed);
        assert!(taken < MOST_ACCESSES, "an operation has no end");
        let told = match self.plan {
            Plan::Honest => return None,
            Plan::Changed { at } if at != number => return None,
            Plan::Changed { .. } => false,
            Plan::Told { one_in } => {
                if self.rng.lock().unwrap().u64(..one_in) != 0 {
                    return None;
                }
                true
            }
        };
        self.lies.fetch_add(1, Ordering::Relaxed);
        Some(Lie { peer: self, told })
    }
}

/// A lie that is due.
struct Lie<'p> {
    peer: &'p Peer,
    /// Whether only this access is lied to.
    told: bool,
}

impl Lie<'_> {
    fn about(&self, value: u64) -> u64 {
        any_lie(value, &mut *self.peer.rng.lock().unwrap())
    }

    /// Some of the bytes: a word, as a rule.
    fn change(&self, bytes: &mut [u8]) {
        let words = bytes.len().div_ceil(8);
        if words == 0 {
            return;
        }
        let at = self.peer.rng.lock().unwrap().usize(..words) * 8;
        let part = &mut bytes[at..];
        let len = part.len().min(8);
        let mut word = [0; 8];
        word[..len].copy_from_slice(&part[..len]);
        let lie = self.about(u64::from_le_bytes(word)).to_le_bytes();
        part[..len].copy_from_slice(&lie[..len]);
    }
}

/// The range as one mount has it.
pub struct Lying {
    memory: Arc<Guarded>,
    peer: Arc<Peer>,
}

// SAFETY: forwards to the mapped range, which lives as long as this value, with offsets and lengths that
// are the caller's; lies about values only.
unsafe impl Backing for Lying {
    fn size(&self) -> u64 {
        self.memory.range().size()
    }

    fn address(&self, offset: usize) -> Option<NonNull<u8>> {
        self.memory.range().address(offset)
    }

    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        // SAFETY: the caller's conditions are the same.
        let value = unsafe { self.memory.range().load(offset, order) };
        let Some(lie) = self.peer.access() else { return value };
        let other = lie.about(value);
        if lie.told {
            return other;
        }
        // SAFETY: as above.
        unsafe { self.memory.range().store(offset, other, StoreOrder::Relaxed) };
        value
    }

    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        // SAFETY: the caller's conditions are the same.
        unsafe { self.memory.range().store(offset, value, order) };
        if let Some(lie) = self.peer.access() {
            // SAFETY: as above.
            unsafe { self.memory.range().store(offset, lie.about(value), order) };
        }
    }

    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        let Some(lie) = self.peer.access() else {
            // SAFETY: the caller's conditions are the same.
            return unsafe { self.memory.range().compare_exchange(offset, current, new) };
        };
        // Said to have happened, or not, whatever is there.
        if lie.about(0) & 1 == 0 { Ok(current) } else { Err(lie.about(current)) }
    }

    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        // SAFETY: the caller's conditions are the same.
        let read = unsafe { self.memory.range().copy_out(offset, into) };
        let Some(lie) = self.peer.access() else { return read };
        if lie.told {
            lie.change(into);
            return read;
        }
        let mut changed = into.to_vec();
        lie.change(&mut changed);
        // SAFETY: as above: it is as long.
        unsafe { self.memory.range().copy_in(offset, &changed) };
        read
    }

    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        self.peer.access();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.memory.range().copy_in(offset, from) };
    }

    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        self.peer.access();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.memory.range().copy_within(from, to, len) }
    }

    unsafe fn zero(&self, offset: usize, len: usize) {
        self.peer.access();
        // SAFETY: the caller's conditions are the same.
        unsafe { self.memory.range().zero(offset, len) };
    }
}

/// A kernel in a world where the range lies.
#[derive(Clone, Copy)]
pub struct Victim;

impl Platform for Victim {
    type Backing = Lying;
    type Lock<T> = StdLock<T>;

    fn now(&self) -> Timestamp {
        Timestamp::new(1_700_000_000, 0)
    }

    fn random(&self) -> u64 {
        // A case is the same when it is run again.
        0x5eed
    }
}

/// Memory between guards, for one image after the other.
#[derive(Clone)]
pub struct Range {
    memory: Arc<Guarded>,
}

impl Range {
    /// Memory for images as long as `image`, with it.
    pub fn new(image: &Image) -> Self {
        let range = Self { memory: Arc::new(Guarded::new(image.bytes.len())) };
        range.fill(image);
        range
    }

    /// Puts `image` in it, whatever is there.
    pub fn fill(&self, image: &Image) {
        assert_eq!(image.bytes.len() as u64, self.memory.range().size());
        // SAFETY: as long as the range.
        unsafe { self.memory.range().copy_in(0, &image.bytes) };
    }

    /// The range as a mount has it beside `peer`.
    pub fn region(&self, peer: &Arc<Peer>) -> Region<Lying> {
        Region::new(Lying { memory: Arc::clone(&self.memory), peer: Arc::clone(peer) })
    }
}
