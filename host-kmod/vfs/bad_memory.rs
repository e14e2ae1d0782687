// SPDX-License-Identifier: GPL-2.0

//! Memory that has gone bad: which frames, and who is told.
//!
//! Reading such memory is a machine check. A copy that is made for that ends there and goes on with an
//! error; the kernel's other loads do not, so what is known to be bad must not be touched again.
//!
//! What is known comes from the processor's reports (a machine check that was survived, a scrubber that
//! found something before anybody read it), which reach every [`Watcher`], and from copies that ended
//! early. It is kept until the module goes: a mount that begins later does not have to find out again.
//!
//! C header: [`arch/x86/include/asm/mce.h`](srctree/arch/x86/include/asm/mce.h)

use crate::helpers;
use core::marker::PhantomData;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::bindings;
use kernel::error::to_result;
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Whether any frame is known to be bad: nearly always none is.
static ANY: AtomicBool = AtomicBool::new(false);

/// Page frames, by number.
pub type FrameNumbers = RangeInclusive<u64>;

/// Whether any frame is known to be bad.
#[inline]
pub(crate) fn any() -> bool {
    // Relaxed: whoever has to see a report takes a lock that comes behind it.
    ANY.load(Ordering::Relaxed)
}

/// The first of these frames that is known to be bad.
#[cold]
pub(crate) fn first(frames: &FrameNumbers) -> Option<u64> {
    let mut found = *frames.start() as c_ulong;
    // SAFETY: it only asks.
    let is = unsafe { helpers::daxfs_bad_find(&mut found, *frames.end() as c_ulong) };
    is.then_some(found as u64)
}

/// Remembers that these frames are bad.
#[cold]
pub(crate) fn add(frames: &FrameNumbers) -> Result {
    let (first, last) = (*frames.start() as c_ulong, *frames.end() as c_ulong);
    // SAFETY: it may wait for memory, and so may whoever calls this.
    to_result(unsafe { helpers::daxfs_bad_add(first, last) })?;
    // Relaxed: as in `any`.
    ANY.store(true, Ordering::Relaxed);
    Ok(())
}

/// Copies bytes that may be in memory that has gone bad; returns how many there are before that.
///
/// Words first, then the rest, as the engine copies elsewhere. Both instructions have an entry in the
/// kernel's table of those that may fail (`asm/extable.h`), from where they are left with what remains.
///
/// # Safety
///
/// `len` bytes at `from` are mapped, `len` bytes at `to` may be written to, and they do not overlap.
#[cfg(CONFIG_X86_64)]
#[inline(never)]
pub unsafe extern "C" fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
    let end: *const u8;
    // SAFETY: it reads and writes the caller's bytes, at most; the ABI keeps the direction flag clear; only
    // the named registers change.
    unsafe {
        core::arch::asm!(
            "2: rep movsq",
            "mov ecx, {rest:e}",
            "3: rep movsb",
            "4:",
            ".pushsection __ex_table, \"a\"",
            ".balign 4",
            ".long 2b - .",
            ".long 4b - .",
            ".long {kind}",
            ".long 3b - .",
            ".long 4b - .",
            ".long {kind}",
            ".popsection",
            rest = in(reg) len % 8,
            kind = const MAY_BE_BAD,
            inout("rcx") len / 8 => _,
            inout("rsi") from => end,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
    end.addr() - from.addr()
}

/// `EX_TYPE_DEFAULT_MCE_SAFE`; `helpers.c` checks it.
#[cfg(CONFIG_X86_64)]
const MAY_BE_BAD: u32 = 14;

/// The same, as other processors do it.
///
/// # Safety
///
/// As above.
#[cfg(not(CONFIG_X86_64))]
pub unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: the caller's conditions.
    unsafe { helpers::daxfs_copy_bad(to.cast(), from.cast(), len) }
}

/// Someone who is told that memory has gone bad.
pub trait Watch: Send + Sync + 'static {
    /// Who is told first.
    const PRIORITY: c_int;

    /// These frames, whoever uses them, have gone bad. May wait.
    fn gone_bad(&self, frames: &FrameNumbers);
}

/// What everybody knows. It is told before all others.
pub struct Registry(());

impl Registry {
    /// Remembers what is reported, until the value is dropped. One of these is enough.
    pub fn begin() -> Result<Watcher<Self>> {
        Watcher::new(Arc::new(Self(()), GFP_KERNEL)?)
    }
}

impl Watch for Registry {
    const PRIORITY: c_int = MOUNTS + 1;

    fn gone_bad(&self, frames: &FrameNumbers) {
        if add(frames).is_err() {
            pr_err!("no memory to remember that frame {:#x} has gone bad\n", frames.start());
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        ANY.store(false, Ordering::Relaxed);
        // SAFETY: the module ends: nobody asks any more.
        unsafe { helpers::daxfs_bad_forget() };
    }
}

/// The priority of those who use the memory. `helpers.c` checks what it means.
pub const MOUNTS: c_int = 2;

#[repr(C)]
struct Inner<T: Watch> {
    block: Opaque<bindings::notifier_block>,
    target: Arc<T>,
}

/// Has a target told as long as this lives. Dropping it waits until it is not being told any more.
pub struct Watcher<T: Watch> {
    inner: *mut Inner<T>,
    _owned: PhantomData<Inner<T>>,
}

// SAFETY: it may be dropped by any thread; the target is shared between threads.
unsafe impl<T: Watch> Send for Watcher<T> {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl<T: Watch> Sync for Watcher<T> {}

impl<T: Watch> Watcher<T> {
    /// Begins.
    pub fn new(target: Arc<T>) -> Result<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(Self::notified),
            priority: T::PRIORITY,
            ..pin_init::zeroed()
        };
        let inner =
            KBox::into_raw(KBox::new(Inner { block: Opaque::new(block), target }, GFP_KERNEL)?);
        // SAFETY: it stays where it is until `drop`, which takes it back.
        unsafe { helpers::daxfs_watch_memory((*inner).block.get()) };
        Ok(Self { inner, _owned: PhantomData })
    }

    /// `notifier_block.notifier_call`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn notified(
        block: *mut bindings::notifier_block,
        _value: c_ulong,
        report: *mut c_void,
    ) -> c_int {
        let (mut first, mut last) = (0, 0);
        // SAFETY: the report is the one that the chain is called with.
        if unsafe { helpers::daxfs_bad_frames_of(report, &mut first, &mut last) } {
            // `Inner` starts with its `notifier_block`.
            let inner = block.cast::<Inner<T>>();
            // SAFETY: `drop` waits for this to end.
            unsafe { &(*inner).target }.gone_bad(&(first as u64..=last as u64));
        }
        bindings::NOTIFY_DONE as c_int
    }
}

impl<T: Watch> Drop for Watcher<T> {
    fn drop(&mut self) {
        // SAFETY: registered by `new`.
        unsafe { helpers::daxfs_unwatch_memory((*self.inner).block.get()) };
        // SAFETY: nobody is told through it any more.
        drop(unsafe { KBox::from_raw(self.inner) });
    }
}
