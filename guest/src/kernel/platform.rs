//! The engine's platform: how it finds memory, locks, time and chance here.

use super::{arch, clock};
use daxfs::{Lock, MappedRange, Platform, Timestamp};
use spin::Once;
use x86_64::instructions::random::RdRand;

/// This kernel's identity in the member table.
static KERNEL_ID: Once<u64> = Once::new();

/// Says what this kernel's identity is, if its starter has chosen one.
pub fn choose_kernel_id(id: Option<u64>) {
    if let Some(id) = id {
        KERNEL_ID.call_once(|| id);
    }
}

/// The bare-metal platform.
#[derive(Clone, Copy, Default, Debug)]
pub struct BareMetal;

impl Platform for BareMetal {
    type Backing = MappedRange;
    type Lock<T> = SpinLock<T>;

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn random(&self) -> u64 {
        let mut seed = arch::tsc();
        if let Some(random) = RdRand::new().and_then(RdRand::get_u64) {
            seed ^= random;
        }
        // Spreads what little a bare counter knows over all bits.
        let mut bytes = [0; 8];
        daxfs_guest::fill::Stream::new(seed).fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn kernel_id(&self) -> u64 {
        *KERNEL_ID.call_once(|| self.random())
    }
}

/// [`spin::RwLock`] as an engine lock. No interrupt handler takes one, so on one processor it is
/// never waited for.
pub struct SpinLock<T>(spin::RwLock<T>);

impl<T> Lock<T> for SpinLock<T> {
    type Read<'a>
        = spin::RwLockReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = spin::RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> daxfs::Result<Self> {
        Ok(Self(spin::RwLock::new(value)))
    }

    fn read(&self) -> Self::Read<'_> {
        self.0.read()
    }

    fn write(&self) -> Self::Write<'_> {
        self.0.write()
    }
}
