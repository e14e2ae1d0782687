//! The mailbox: rings of bytes, and how far a started kernel is. Both ends; the structure is in
//! [`daxfs::format::mailbox`].
//!
//! # Invariants
//!
//! An end of a ring knows its own count and never takes it from the mailbox again. Whatever the other
//! side stores, an end accesses the ring's bytes only, and makes progress by at most the ring's size a
//! call.

use core::mem::offset_of;
use daxfs::format::mailbox::{
    INPUT_DATA, INPUT_SIZE, MAGIC, Mailbox, OUTPUT_DATA, OUTPUT_SIZE, Progress, RingCounts, SIZE,
    VERSION,
};
use daxfs::region::{LoadOrder, StoreOrder};
use daxfs::{Backing, Region, RegionOffset, Result};
use zerocopy::FromZeros;

const PROGRESS: RegionOffset = RegionOffset::new(offset_of!(Mailbox, progress) as u64);
const TICKS: RegionOffset = RegionOffset::new(offset_of!(Mailbox, ticks) as u64);

/// One of the two rings.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    counts: u64,
    data: u64,
    size: u64,
}

/// From the started kernel: its console's output.
pub const OUTPUT: Ring =
    Ring { counts: offset_of!(Mailbox, output) as u64, data: OUTPUT_DATA, size: OUTPUT_SIZE };
/// To the started kernel: what is typed at its console.
pub const INPUT: Ring =
    Ring { counts: offset_of!(Mailbox, input) as u64, data: INPUT_DATA, size: INPUT_SIZE };

const _: () = assert!(OUTPUT_SIZE.is_power_of_two() && INPUT_SIZE.is_power_of_two());
const _: () = assert!(size_of::<Mailbox>() as u64 <= INPUT_DATA);
const _: () = assert!(INPUT_DATA + INPUT_SIZE <= OUTPUT_DATA && OUTPUT_DATA + OUTPUT_SIZE <= SIZE);

impl Ring {
    fn produced(self) -> RegionOffset {
        RegionOffset::new(self.counts + offset_of!(RingCounts, produced) as u64)
    }

    fn consumed(self) -> RegionOffset {
        RegionOffset::new(self.counts + offset_of!(RingCounts, consumed) as u64)
    }

    /// Where byte `count` is, and how many bytes there are up to the end of the ring.
    fn place(self, count: u64) -> (RegionOffset, u64) {
        let within = count % self.size;
        (RegionOffset::new(self.data + within), self.size - within)
    }
}

/// The end of a ring that puts bytes in.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    ring: Ring,
    produced: u64,
}

impl Producer {
    /// The producer's end after `produced` bytes: 0 in a fresh mailbox.
    #[must_use]
    pub const fn new(ring: Ring, produced: u64) -> Self {
        Self { ring, produced }
    }

    /// The producer's end, where a producer before this one left it.
    ///
    /// # Errors
    ///
    /// [`daxfs::Error::OutOfBounds`] if the mailbox is no mailbox.
    pub fn resume<B: Backing>(ring: Ring, mailbox: &Region<B>) -> Result<Self> {
        Ok(Self { ring, produced: mailbox.load(ring.produced(), LoadOrder::Relaxed)? })
    }

    /// Bytes put in so far.
    #[must_use]
    pub const fn produced(&self) -> u64 {
        self.produced
    }

    /// Puts in as many of `bytes` as there is room for, and says how many those were.
    ///
    /// # Errors
    ///
    /// As [`Self::resume`].
    pub fn put<B: Backing>(&mut self, mailbox: &Region<B>, bytes: &[u8]) -> Result<usize> {
        // Acquire: the bytes that were there have been copied by the time they count as taken out.
        let consumed = mailbox.load(self.ring.consumed(), LoadOrder::Acquire)?;
        // A count that cannot be leaves no room.
        let room = self.ring.size.saturating_sub(self.produced.wrapping_sub(consumed));
        let len = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let bytes = bytes.get(..len).unwrap_or(&[]);
        let (at, contiguous) = self.ring.place(self.produced);
        let split = len.min(usize::try_from(contiguous).unwrap_or(usize::MAX));
        let (head, tail) = bytes.split_at(split);
        mailbox.copy_in(at, head)?;
        mailbox.copy_in(RegionOffset::new(self.ring.data), tail)?;
        self.produced = self.produced.wrapping_add(len as u64);
        // Release: pairs with the consumer's acquire; the bytes come first.
        mailbox.store(self.ring.produced(), self.produced, StoreOrder::Release)?;
        Ok(len)
    }
}

/// The end of a ring that takes bytes out.
#[derive(Clone, Copy, Debug)]
pub struct Consumer {
    ring: Ring,
    consumed: u64,
}

impl Consumer {
    /// The consumer's end after `consumed` bytes: 0 in a fresh mailbox.
    #[must_use]
    pub const fn new(ring: Ring, consumed: u64) -> Self {
        Self { ring, consumed }
    }

    /// The consumer's end, where a consumer before this one left it.
    ///
    /// # Errors
    ///
    /// [`daxfs::Error::OutOfBounds`] if the mailbox is no mailbox.
    pub fn resume<B: Backing>(ring: Ring, mailbox: &Region<B>) -> Result<Self> {
        Ok(Self { ring, consumed: mailbox.load(ring.consumed(), LoadOrder::Relaxed)? })
    }

    /// Bytes taken out so far.
    #[must_use]
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Takes out what there is, as much as fits `into`, and says how much that was.
    ///
    /// # Errors
    ///
    /// As [`Self::resume`].
    pub fn take<B: Backing>(&mut self, mailbox: &Region<B>, into: &mut [u8]) -> Result<usize> {
        // Acquire: pairs with the producer's release.
        let produced = mailbox.load(self.ring.produced(), LoadOrder::Acquire)?;
        let there = produced.wrapping_sub(self.consumed);
        if there > self.ring.size {
            return Ok(0);
        }
        let len = into.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let (at, contiguous) = self.ring.place(self.consumed);
        let (into, _) = into.split_at_mut(len);
        let (head, tail) =
            into.split_at_mut(len.min(usize::try_from(contiguous).unwrap_or(usize::MAX)));
        mailbox.copy_out(at, head)?;
        mailbox.copy_out(RegionOffset::new(self.ring.data), tail)?;
        self.consumed = self.consumed.wrapping_add(len as u64);
        // Release: the bytes are copied before they count as taken out.
        mailbox.store(self.ring.consumed(), self.consumed, StoreOrder::Release)?;
        Ok(len)
    }
}

/// The start of a fresh mailbox.
#[must_use]
pub fn fresh() -> Mailbox {
    let mut mailbox = Mailbox::new_zeroed();
    mailbox.magic = MAGIC.into();
    mailbox.version = VERSION.into();
    mailbox.size = (SIZE as u32).into();
    mailbox
}

/// Whether there is a mailbox of the kind this code knows.
#[must_use]
pub fn is_mailbox<B: Backing>(region: &Region<B>) -> bool {
    region.size() >= SIZE
        && region.read::<Mailbox>(RegionOffset::new(0)).is_ok_and(|mailbox| {
            mailbox.magic.get() == MAGIC
                && mailbox.version.get() == VERSION
                && u64::from(mailbox.size.get()) == SIZE
        })
}

/// Says how far the kernel is.
///
/// # Errors
///
/// [`daxfs::Error::OutOfBounds`] if the mailbox is no mailbox.
pub fn set_progress<B: Backing>(mailbox: &Region<B>, progress: Progress) -> Result<()> {
    // Release: whoever sees the kernel ended sees all of its output.
    mailbox.store(PROGRESS, progress.raw(), StoreOrder::Release)
}

/// How far the kernel is; `None` if it says nonsense.
///
/// # Errors
///
/// As [`set_progress`].
pub fn progress<B: Backing>(mailbox: &Region<B>) -> Result<Option<Progress>> {
    // Acquire: pairs with the store in `set_progress`.
    Ok(Progress::from_raw(mailbox.load(PROGRESS, LoadOrder::Acquire)?))
}

/// Says that the kernel runs.
///
/// # Errors
///
/// As [`set_progress`].
pub fn set_ticks<B: Backing>(mailbox: &Region<B>, ticks: u64) -> Result<()> {
    // Relaxed: it is a sign of life, and orders nothing.
    mailbox.store(TICKS, ticks, StoreOrder::Relaxed)
}

/// How often the kernel's timer has ticked.
///
/// # Errors
///
/// As [`set_progress`].
pub fn ticks<B: Backing>(mailbox: &Region<B>) -> Result<u64> {
    // Relaxed: as in `set_ticks`.
    mailbox.load(TICKS, LoadOrder::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::Stream;
    use daxfs::std_platform::MappedFile;
    use std::vec::Vec;

    fn mailbox() -> Region<MappedFile> {
        let region = Region::new(MappedFile::anonymous(SIZE).unwrap());
        region.write(RegionOffset::new(0), &fresh()).unwrap();
        region
    }

    #[test]
    fn a_fresh_mailbox_is_one_and_zeros_are_none() {
        assert!(is_mailbox(&mailbox()));
        assert!(!is_mailbox(&Region::new(MappedFile::anonymous(SIZE).unwrap())));
        assert!(!is_mailbox(&Region::new(MappedFile::anonymous(4096).unwrap())));
        assert_eq!(progress(&mailbox()), Ok(Some(Progress::Loaded)));
    }

    #[test]
    fn a_stream_arrives_unchanged_whatever_the_pieces() {
        const TOTAL: usize = 1 << 20;
        let region = mailbox();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, mut producer) = (Stream::new(1), Producer::new(OUTPUT, 0));
                let (mut sent, mut piece) = (0, 1);
                while sent < TOTAL {
                    let mut bytes = std::vec![0; piece.min(TOTAL - sent)];
                    stream.fill(&mut bytes);
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        rest = &rest[producer.put(&region, rest).unwrap()..];
                        std::thread::yield_now();
                    }
                    sent += bytes.len();
                    piece = piece * 3 % 40_009;
                }
            });
            let mut consumer = Consumer::new(OUTPUT, 0);
            let mut received = Vec::with_capacity(TOTAL);
            let mut piece = 7;
            while received.len() < TOTAL {
                let mut bytes = std::vec![0; piece];
                let len = consumer.take(&region, &mut bytes).unwrap();
                received.extend_from_slice(&bytes[..len]);
                piece = piece * 5 % 30_011;
                std::thread::yield_now();
            }
            let mut expected = std::vec![0; TOTAL];
            Stream::new(1).fill(&mut expected);
            assert!(received == expected);
        });
    }

    #[test]
    fn a_full_ring_takes_no_more_and_loses_nothing() {
        let region = mailbox();
        let mut producer = Producer::new(INPUT, 0);
        let all = [1; INPUT_SIZE as usize + 5];
        assert_eq!(producer.put(&region, &all), Ok(INPUT_SIZE as usize));
        assert_eq!(producer.put(&region, &all), Ok(0));
        let mut consumer = Consumer::resume(INPUT, &region).unwrap();
        assert_eq!(consumer.take(&region, &mut [0; 3]), Ok(3));
        let mut producer = Producer::resume(INPUT, &region).unwrap();
        assert_eq!(producer.put(&region, &[2; 5]), Ok(3));
        let mut rest = [0; INPUT_SIZE as usize + 9];
        assert_eq!(consumer.take(&region, &mut rest), Ok(INPUT_SIZE as usize));
        assert_eq!(rest[INPUT_SIZE as usize - 3..][..3], [2; 3]);
    }

    #[test]
    fn counts_that_cannot_be_stop_a_ring_and_nothing_else() {
        for lie in [1, 2, INPUT_SIZE + 1, u64::MAX, u64::MAX - INPUT_SIZE, 1 << 63] {
            let region = mailbox();
            // Taken out before it was put in.
            region.store(INPUT.consumed(), lie, StoreOrder::Relaxed).unwrap();
            let mut producer = Producer::new(INPUT, 0);
            let most = producer.put(&region, &[1; 9000]).unwrap();
            assert!(most <= INPUT_SIZE as usize, "{lie:#x}");
            // More put in than there is room for.
            region.store(OUTPUT.produced(), lie, StoreOrder::Relaxed).unwrap();
            let mut consumer = Consumer::new(OUTPUT, 0);
            let most = consumer.take(&region, &mut [0; 90_000]).unwrap();
            assert!(most <= OUTPUT_SIZE as usize, "{lie:#x}");
            // The bytes around the ring are as they were.
            assert!(is_mailbox(&region));
        }
    }
}
