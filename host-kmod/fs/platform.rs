// SPDX-License-Identifier: GPL-2.0

//! What the engine asks of Linux.

use crate::range::LinuxRange;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use daxfs::{Ino, Lock, Platform, Timestamp};
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::Arc;
use vfs::mapping::Mapped;
use vfs::sync::{ReadGuard, RwSemaphore, WriteGuard};
use vfs::system;

/// This kernel's name among those that share ranges: a random number, the same until the module is
/// unloaded.
static KERNEL_ID: AtomicU64 = AtomicU64::new(0);

/// Chooses the kernel's number.
pub(crate) fn choose_kernel_id() {
    // Relaxed: before anything is mounted.
    KERNEL_ID.store(system::random(), Ordering::Relaxed);
}

/// What a mount's engine and the VFS tell each other.
pub(crate) struct Shared {
    /// The files that were mapped into processes.
    pub(crate) mapped: Mapped,
    epoch: AtomicU64,
    life: AtomicUsize,
}

impl Shared {
    /// For a mount that begins.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { mapped: Mapped::new()?, epoch: AtomicU64::new(1), life: AtomicUsize::new(1) })
    }

    /// What the VFS remembers of this mount is right if it was remembered in this epoch.
    pub(crate) fn epoch(&self) -> u64 {
        // Acquire: what is asked of the engine after this is not older than the epoch.
        self.epoch.load(Ordering::Acquire)
    }

    /// Inode numbers mean the same files as long as this is the same. Never 0.
    pub(crate) fn life(&self) -> usize {
        self.life.load(Ordering::Acquire)
    }
}

/// Linux, as the engine sees it.
pub(crate) struct Linux(pub(crate) Arc<Shared>);

impl Platform for Linux {
    type Backing = LinuxRange;
    type Lock<T> = LinuxLock<T>;

    const KEEPS_REMOVED: bool = true;

    fn now(&self) -> Timestamp {
        let now = system::now();
        Timestamp::new(now.seconds, now.nanoseconds)
    }

    fn random(&self) -> u64 {
        system::random()
    }

    fn kernel_id(&self) -> u64 {
        // Relaxed: chosen before anything is mounted.
        KERNEL_ID.load(Ordering::Relaxed)
    }

    fn moved(&self, ino: Ino, pages: Range<u64>) {
        self.0.mapped.unmap(ino.get(), pages);
    }

    fn outdated(&self) {
        // Release: who sees the epoch comes behind the change, or waits for the engine's lock.
        self.0.epoch.fetch_add(1, Ordering::Release);
        self.0.mapped.unmap_all();
    }

    fn switched(&self) {
        self.0.life.fetch_add(1, Ordering::Release);
        self.0.epoch.fetch_add(1, Ordering::Release);
    }
}

/// The engine's lock: a semaphore under which memory is allocated without coming back here.
pub(crate) struct LinuxLock<T>(RwSemaphore<T>);

impl<T> Lock<T> for LinuxLock<T> {
    type Read<'a>
        = ReadGuard<'a, T>
    where
        T: 'a;
    type Write<'a>
        = WriteGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> daxfs::Result<Self> {
        RwSemaphore::new(value, c"daxfs_mount", static_lock_class!())
            .map(Self)
            .map_err(|_| daxfs::Error::NoMemory)
    }

    fn read(&self) -> Self::Read<'_> {
        self.0.read()
    }

    fn write(&self) -> Self::Write<'_> {
        self.0.write()
    }
}
