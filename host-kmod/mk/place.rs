// SPDX-License-Identifier: GPL-2.0

//! Places for kernels: physical ranges that the module was given when it was loaded.

use crate::helpers;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;

/// Ranges are multiples of a large page.
const ALIGN: u64 = 2 << 20;

/// A physical range for one kernel.
///
/// # Invariants
///
/// It is not memory that Linux uses, and no driver has claimed it but this one. All of it is mapped at
/// `address`. `phys` and `size` are multiples of [`ALIGN`].
pub(crate) struct Place {
    phys: u64,
    size: usize,
    address: NonNull<u64>,
    /// The processor that runs its kernel.
    pub(crate) cpu: Option<u32>,
    /// Kernels started here so far.
    pub(crate) starts: u64,
    /// Identity of the last of them.
    pub(crate) kernel: u64,
}

// SAFETY: the mapping may be used from any thread.
unsafe impl Send for Place {}

impl Place {
    /// Claims a range.
    fn claim(phys: u64, size: u64) -> Result<Self> {
        let refused = |why: &str| pr_err!("range {size:#x}@{phys:#x} refused: {why}\n");
        if phys % ALIGN != 0 || size % ALIGN != 0 || size == 0 {
            refused("start and size must be multiples of 2M");
            return Err(EINVAL);
        }
        // SAFETY: it only asks.
        let limit = 1_u64.checked_shl(unsafe { helpers::daxfs_mk_phys_bits() }).unwrap_or(u64::MAX);
        let Some(bytes) = usize::try_from(size)
            .ok()
            .filter(|_| phys.checked_add(size).is_some_and(|end| end <= limit))
        else {
            refused("the processor cannot address it");
            return Err(EINVAL);
        };
        // SAFETY: it only asks.
        if unsafe { helpers::daxfs_mk_touches_memory_of_kernel(phys, bytes) } {
            refused("Linux uses memory in it (reserve it with memmap=SIZE$START)");
            return Err(EBUSY);
        }
        // SAFETY: released when the value is dropped, or below.
        if !unsafe { helpers::daxfs_mk_request(phys, bytes) } {
            refused("a driver, or another range, has claimed part of it");
            return Err(EBUSY);
        }
        // SAFETY: Linux does not use the range, and nobody else has claimed it.
        let at = unsafe { bindings::memremap(phys, bytes, bindings::MEMREMAP_WB as usize) };
        let Some(address) = NonNull::new(at.cast()) else {
            // SAFETY: claimed above.
            unsafe { helpers::daxfs_mk_release(phys, bytes) };
            refused("it cannot be mapped");
            return Err(ENOMEM);
        };
        Ok(Self { phys, size: bytes, address, cpu: None, starts: 0, kernel: 0 })
    }

    /// Physical address of its first byte.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Whether `len` bytes from physical address `at` on are in it.
    pub(crate) fn contains(&self, at: u64, len: u64) -> bool {
        at >= self.phys && at.checked_add(len).is_some_and(|end| end <= self.phys + self.size())
    }

    /// Reads the word at a physical address, if it is in this place.
    pub(crate) fn read(&self, at: u64) -> Option<u64> {
        if at % 8 != 0 || !self.contains(at, 8) {
            return None;
        }
        let word = self.address.as_ptr().wrapping_add(((at - self.phys) / 8) as usize);
        // SAFETY: in the range, which is mapped (type invariant), and aligned. Others may write to it:
        // the access is volatile, and any value will do.
        Some(unsafe { word.read_volatile() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: mapped by `claim`, and not used any more.
        unsafe { bindings::memunmap(self.address.as_ptr().cast()) };
        // SAFETY: claimed by `claim`.
        unsafe { helpers::daxfs_mk_release(self.phys, self.size) };
    }
}

/// Claims the ranges of the module's parameter.
pub(crate) fn claim_all(most: usize) -> Result<KVec<Place>> {
    // SAFETY: it only asks.
    let ranges = unsafe { helpers::daxfs_mk_ranges() };
    if ranges.is_null() {
        pr_err!("no memory for kernels: give ranges=SIZE@START[,SIZE@START]...\n");
        return Err(EINVAL);
    }
    // SAFETY: a parameter of a loaded module is a C string that stays.
    let ranges = unsafe { CStr::from_char_ptr(ranges) };
    let mut places = KVec::new();
    for range in ranges.to_bytes().split(|&byte| byte == b',') {
        let Some((phys, size)) = parse(range) else {
            pr_err!("ranges: expected SIZE@START, as in 64M@0x38000000\n");
            return Err(EINVAL);
        };
        if places.len() == most {
            pr_err!("ranges: more than {}\n", most);
            return Err(E2BIG);
        }
        places.push(Place::claim(phys, size)?, GFP_KERNEL)?;
    }
    Ok(places)
}

/// `SIZE@START`, or `SIZE$START`, as for the kernel's `memmap=`.
fn parse(range: &[u8]) -> Option<(u64, u64)> {
    let at = range.iter().position(|&byte| byte == b'@' || byte == b'$')?;
    let (size, start) = range.split_at(at);
    Some((number(start.get(1..)?)?, number(size)?))
}

/// A number, decimal or `0x`, with K, M or G behind it.
fn number(text: &[u8]) -> Option<u64> {
    let (text, shift) = match text.split_last()? {
        (b'K' | b'k', rest) => (rest, 10),
        (b'M' | b'm', rest) => (rest, 20),
        (b'G' | b'g', rest) => (rest, 30),
        _ => (text, 0),
    };
    let (digits, radix) = match text.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for &digit in digits {
        let digit = char::from(digit).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
    }
    value.checked_mul(1 << shift)
}
