//! A range whose words are loom's while a model runs, and plain memory before and after.
//!
//! Loom has to know a word before there are threads. So what the two do is done once, one after the
//! other, to learn which words they touch; others, should a schedule touch them, stay plain.

use daxfs::region::{Backing, Fence, LoadOrder, StoreOrder};
use daxfs::std_platform::StdLock;
use daxfs::{Platform, Region, Timestamp};
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Copies longer than this are file content, in which nothing is ordered by itself.
const LONG: usize = 512;

/// Words are learned in records of so many bytes.
const RECORD: usize = 128;

/// What the members of a model share. (Loom runs its threads one at a time.)
pub struct Memory {
    plain: RefCell<Vec<u8>>,
    words: RefCell<HashMap<usize, Rc<AtomicU64>>>,
    /// Records that were touched, while somebody wants to know.
    touched: RefCell<BTreeSet<usize>>,
    learning: Cell<bool>,
}

impl Memory {
    /// Memory with these bytes.
    pub fn new(bytes: &[u8]) -> Rc<Self> {
        Rc::new(Self {
            plain: RefCell::new(bytes.to_vec()),
            words: RefCell::default(),
            touched: RefCell::default(),
            learning: Cell::new(false),
        })
    }

    /// From here on touched records are learned.
    pub fn learn(&self) {
        self.learning.set(true);
    }

    /// Those that were.
    pub fn learned(&self) -> BTreeSet<usize> {
        self.touched.take()
    }

    /// From here on the words of these records are loom's.
    pub fn begin(&self, records: &BTreeSet<usize>) {
        let offsets = records.iter().flat_map(|&record| (record..record + RECORD).step_by(8));
        let words = offsets.map(|at| (at, Rc::new(AtomicU64::new(self.plain(at)))));
        self.words.borrow_mut().extend(words);
    }

    /// They are not any more. Every thread has been joined.
    pub fn end(&self) {
        for (offset, word) in self.words.take() {
            self.put_plain(offset, word.load(Ordering::SeqCst));
        }
    }

    fn plain(&self, offset: usize) -> u64 {
        let bytes = self.plain.borrow();
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("8 bytes"))
    }

    fn put_plain(&self, offset: usize, value: u64) {
        self.plain.borrow_mut()[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// The loom word at `offset`, if it is one. `short`: it is not touched with a page of others.
    fn word(&self, offset: usize, short: bool) -> Option<Rc<AtomicU64>> {
        if short && self.learning.get() {
            self.touched.borrow_mut().insert(offset / RECORD * RECORD);
        }
        self.words.borrow().get(&offset).cloned()
    }

    fn load(&self, offset: usize, short: bool, order: Ordering) -> u64 {
        match self.word(offset, short) {
            Some(word) => word.load(order),
            None => self.plain(offset),
        }
    }

    fn store(&self, offset: usize, short: bool, value: u64, order: Ordering) {
        match self.word(offset, short) {
            Some(word) => word.store(value, order),
            None => self.put_plain(offset, value),
        }
    }

    /// Calls `each` for every word that has bytes in `offset..offset + len`, with which of its bytes, and
    /// where they are in the range.
    fn words(
        offset: usize,
        len: usize,
        mut each: impl FnMut(usize, std::ops::Range<usize>, usize),
    ) {
        let mut at = offset;
        while at < offset + len {
            let word = at / 8 * 8;
            let end = (word + 8).min(offset + len);
            each(word, at - word..end - word, at - offset);
            at = end;
        }
    }

    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let short = into.len() <= LONG;
        Self::words(offset, into.len(), |word, part, at| {
            let bytes = self.load(word, short, Ordering::Relaxed).to_le_bytes();
            into[at..at + part.len()].copy_from_slice(&bytes[part]);
        });
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        let short = from.len() <= LONG;
        Self::words(offset, from.len(), |word, part, at| {
            // The rest of a word that is written in part is the writer's, too.
            let mut bytes = match part.len() {
                8 => [0; 8],
                _ => self.load(word, short, Ordering::Relaxed).to_le_bytes(),
            };
            let len = part.len();
            bytes[part].copy_from_slice(&from[at..at + len]);
            self.store(word, short, u64::from_le_bytes(bytes), Ordering::Relaxed);
        });
    }
}

/// A member's way to the memory.
pub struct Shared(pub Rc<Memory>);

// SAFETY: every access is an access to a vector, checked by its length.
unsafe impl Backing for Shared {
    fn size(&self) -> u64 {
        self.0.plain.borrow().len() as u64
    }
    fn fence(&self, which: Fence) {
        if self.0.words.borrow().is_empty() {
            return;
        }
        match which {
            Fence::Loads => fence(Ordering::Acquire),
            Fence::Full => fence(Ordering::SeqCst),
            Fence::Persist => {}
        }
    }
    unsafe fn load(&self, offset: usize, order: LoadOrder) -> u64 {
        let order = match order {
            LoadOrder::Relaxed => Ordering::Relaxed,
            LoadOrder::Acquire => Ordering::Acquire,
        };
        self.0.load(offset, true, order)
    }
    unsafe fn store(&self, offset: usize, value: u64, order: StoreOrder) {
        let order = match order {
            StoreOrder::Relaxed => Ordering::Relaxed,
            StoreOrder::Release => Ordering::Release,
        };
        self.0.store(offset, true, value, order);
    }
    unsafe fn compare_exchange(&self, offset: usize, current: u64, new: u64) -> Result<u64, u64> {
        match self.0.word(offset, true) {
            Some(word) => word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire),
            None => {
                let found = self.0.plain(offset);
                if found != current {
                    return Err(found);
                }
                self.0.put_plain(offset, new);
                Ok(found)
            }
        }
    }
    unsafe fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        self.0.copy_out(offset, into);
        true
    }
    unsafe fn copy_in(&self, offset: usize, from: &[u8]) {
        self.0.copy_in(offset, from);
    }
    unsafe fn copy_within(&self, from: usize, to: usize, len: usize) -> bool {
        let mut bytes = vec![0; len];
        self.0.copy_out(from, &mut bytes);
        self.0.copy_in(to, &bytes);
        true
    }
    unsafe fn zero(&self, offset: usize, len: usize) {
        self.0.copy_in(offset, &vec![0; len]);
    }
}

/// A kernel on such memory.
pub struct Kernel;

impl Platform for Kernel {
    type Backing = Shared;
    type Lock<T> = StdLock<T>;
    fn now(&self) -> Timestamp {
        Timestamp::new(1_000_000, 0)
    }
    fn random(&self) -> u64 {
        7
    }
}

/// A region of it.
pub fn region(memory: &Rc<Memory>) -> Region<Shared> {
    Region::new(Shared(Rc::clone(memory)))
}
