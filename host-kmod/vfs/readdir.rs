// SPDX-License-Identifier: GPL-2.0

//! Listing directories.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::file::{self, File, COMPAT_IOCTL};
use crate::{helpers, FileSystem};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::from_result;
use kernel::ffi::{c_char, c_int};
use kernel::prelude::*;

/// An entry of a directory.
pub struct Entry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode's number.
    pub ino: u64,
    /// Type, as in the mode.
    pub mode: u32,
    /// Where listing goes on behind it.
    pub next: u64,
}

/// Entries of a directory on their way to a process: gathered under the file system's locks, handed
/// over without.
pub struct Entries {
    /// Room for [`ROOM`] bytes, of which `used` are entries: next, ino, mode, length of the name, name.
    bytes: KVec<u8>,
    used: usize,
}

/// Bytes of entries that are listed at once.
const ROOM: usize = 4096;
/// Bytes of an entry in front of its name.
const HEAD: usize = 24;

impl Entries {
    fn new() -> Result<Self> {
        Ok(Self { bytes: KVec::from_elem(0, ROOM, GFP_KERNEL)?, used: 0 })
    }

    /// Takes an entry; says whether there was room.
    #[inline]
    pub fn push(&mut self, entry: &Entry<'_>) -> bool {
        let len = entry.name.len();
        let Some(place) = self.bytes.get_mut(self.used..) else { return false };
        let Some((head, rest)) = place.split_first_chunk_mut::<HEAD>() else { return false };
        let Some(name) = rest.get_mut(..len) else { return false };
        let fields = [entry.next, entry.ino, u64::from(entry.mode) << 32 | len as u64];
        for (to, from) in head.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        name.copy_from_slice(entry.name);
        self.used += HEAD + len;
        true
    }

    /// Calls `emit` for what was gathered, until it says `false`.
    fn each(&self, mut emit: impl FnMut(&Entry<'_>) -> bool) {
        let mut rest = self.bytes.get(..self.used).unwrap_or(&[]);
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        while let Some((next, behind)) = rest.split_first_chunk::<8>() {
            let Some((ino, behind)) = behind.split_first_chunk::<8>() else { return };
            let Some((last, behind)) = behind.split_first_chunk::<8>() else { return };
            let (mode, len) = ((word(last) >> 32) as u32, word(last) as u32 as usize);
            let Some((name, behind)) = behind.split_at_checked(len) else { return };
            if !emit(&Entry { name, ino: word(ino), mode, next: word(next) }) {
                return;
            }
            rest = behind;
        }
    }
}

/// The operations of open directories.
pub(crate) fn operations<T: FileSystem>() -> *const bindings::file_operations {
    &Operations::<T>::TABLE
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<T::Module>().as_ptr(),
        llseek: Some(Self::llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate),
        fsync: Some(file::Operations::<T>::fsync),
        unlocked_ioctl: Some(file::Operations::<T>::ioctl),
        compat_ioctl: COMPAT_IOCTL,
        ..pin_init::zeroed()
    };
    /// `file_operations.llseek`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // Positions in a directory are cookies, not bytes.
        // SAFETY: the VFS gives an open file.
        unsafe { bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, 0) }
    }

    /// `file_operations.iterate_shared`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives both.
            if !unsafe { helpers::daxfs_dir_emit_dots(file, ctx) } {
                return Ok(0);
            }
            // SAFETY: the VFS gives an open file.
            let open = unsafe { File::<T>::from_raw(file) };
            // SAFETY: the VFS gives the context to this call.
            let position = unsafe { &raw mut (*ctx).pos };
            let mut entries = Entries::new()?;
            loop {
                entries.used = 0;
                // The dots are at 0 and 1.
                // SAFETY: as above.
                let cookie = u64::try_from(unsafe { *position } - 2).map_err(|_| EINVAL)?;
                T::list(open.inode(), cookie, &mut entries)?;
                if entries.used == 0 {
                    return Ok(0);
                }
                let mut room = true;
                entries.each(|entry| {
                    let (start, len) = (entry.name.as_ptr(), entry.name.len());
                    let kind = (entry.mode >> 12) & 15;
                    // SAFETY: the VFS's context, and a name of that length.
                    room = unsafe {
                        let name = start.cast::<c_char>();
                        helpers::daxfs_dir_emit(ctx, name, len as c_int, entry.ino, kind)
                    };
                    if room {
                        // SAFETY: as above.
                        unsafe { *position = entry.next.saturating_add(2) as i64 };
                    }
                    room
                });
                if !room {
                    return Ok(0);
                }
            }
        })
    }
}
