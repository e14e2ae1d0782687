// SPDX-License-Identifier: GPL-2.0

//! DAX devices: memory as a character device.
//!
//! C header: [`include/linux/dax.h`](srctree/include/linux/dax.h)

#[cfg(CONFIG_DAX)]
use crate::helpers;
#[cfg(CONFIG_DAX)]
use core::ptr::NonNull;
use kernel::bindings;
#[cfg(CONFIG_DAX)]
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::str::CStr;

/// An open DAX device.
///
/// # Invariants
///
/// `file` is an open character device with the mapping of `device`: so it is a device of a DAX driver,
/// which stays as long as the file is open, and what is behind it is a `struct dev_dax`.
pub struct DaxDevice {
    #[cfg(CONFIG_DAX)]
    file: NonNull<bindings::file>,
    #[cfg(CONFIG_DAX)]
    device: NonNull<helpers::DaxDeviceRaw>,
}

// SAFETY: references are counted, and may be given back by any thread.
unsafe impl Send for DaxDevice {}
// SAFETY: what can be done with a shared reference is asking.
unsafe impl Sync for DaxDevice {}

#[cfg(not(CONFIG_DAX))]
impl DaxDevice {
    /// This kernel has none.
    pub fn open(_path: &CStr) -> Result<Self> {
        Err(EOPNOTSUPP)
    }

    /// This kernel has none.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        None
    }
}

#[cfg(CONFIG_DAX)]
impl DaxDevice {
    /// Opens the device with this name.
    pub fn open(path: &CStr) -> Result<Self> {
        let flags = (bindings::O_RDWR | bindings::O_LARGEFILE) as i32;
        // SAFETY: a C string.
        let file = unsafe { bindings::filp_open(path.as_char_ptr(), flags, 0) };
        let file = NonNull::new(from_err_ptr(file)?).ok_or(ENODEV)?;
        // SAFETY: an open file.
        match NonNull::new(unsafe { helpers::daxfs_dax_of(file.as_ptr()) }) {
            Some(device) => Ok(Self { file, device }),
            None => {
                // SAFETY: the reference that `filp_open` gave.
                unsafe { bindings::fput(file.as_ptr()) };
                Err(ENODEV)
            }
        }
    }

    /// Where its memory is, and how much of it in one piece.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        // SAFETY: a device that is referenced.
        let private = NonNull::new(unsafe { helpers::dax_get_private(self.device.as_ptr()) })?;
        let page = kernel::page::PAGE_SIZE as u64;
        // SAFETY: a `struct dev_dax` (type invariant), which goes after the file is closed.
        let at =
            |number| unsafe { helpers::dax_pgoff_to_phys(private.as_ptr(), number, page as usize) };
        let start = at(0);
        if start == u64::MAX {
            return None;
        }
        let joined = |number: u64| at(number as usize) == start.wrapping_add(number * page);
        // Doubled while it goes on, then halved.
        let mut pages = 1_u64;
        let mut step = 1_u64;
        while step < 1 << 40 && joined(pages + step - 1) {
            pages += step;
            step *= 2;
        }
        while step > 0 {
            if joined(pages + step - 1) {
                pages += step;
            }
            step /= 2;
        }
        Some((start, pages * page))
    }
}

#[cfg(CONFIG_DAX)]
impl Drop for DaxDevice {
    fn drop(&mut self) {
        // SAFETY: the reference that `filp_open` gave.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
