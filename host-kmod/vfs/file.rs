// SPDX-License-Identifier: GPL-2.0

//! Open files: reading, writing, and what else is done with them.
//!
//! Contents are copied between the file system and a process while the file system holds its locks,
//! so nothing may be fetched for the process then: copies stop at a page that is not there. It is
//! fetched when no lock is held, and the copy goes on.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::inode::Inode;
use crate::super_block::SuperBlock;
use crate::uio::{count, Destination, Source};
use crate::{helpers, mapping, FileSystem};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::{from_result, to_result};
use kernel::ffi::{c_int, c_long, c_uint, c_ulong};
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

/// Most bytes that are copied at a time: how long locks are held.
const MOST: usize = 1 << 20;

/// Modes of `fallocate`, macros that the bindings lack. `helpers.c` checks them.
const KEEP_SIZE: c_int = 0x01;
const PUNCH_HOLE: c_int = 0x02;
const ZERO_RANGE: c_int = 0x10;

/// How often a copy is tried again that does not get on.
const TRIES: u32 = 4;

/// `struct file` of a `T`.
pub struct File<'a, T: FileSystem> {
    raw: *mut bindings::file,
    _file_system: PhantomData<&'a T>,
}

impl<'a, T: FileSystem> File<'a, T> {
    /// # Safety
    ///
    /// `raw` is an open file of `T` that stays open for `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::file) -> Self {
        Self { raw, _file_system: PhantomData }
    }

    /// The inode that is open.
    pub fn inode(&self) -> &'a Inode<T> {
        // SAFETY: an open file holds its inode.
        unsafe { Inode::from_raw((*self.raw).f_inode) }
    }

    /// In which life of the mount it was opened: see [`FileSystem::life`].
    pub fn life(&self) -> usize {
        // SAFETY: an open file; the file system's own field, set by `open`.
        unsafe { (*self.raw).private_data }.addr()
    }
}
/// What `lseek` looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Data.
    Data,
    /// A hole.
    Hole,
}

/// The argument of an ioctl.
pub struct Argument(usize);

impl Argument {
    /// The `len` bytes of the process that it points to.
    pub fn user_slice(&self, len: usize) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.0), len)
    }
}

/// The operations of open regular files.
pub(crate) fn operations<T: FileSystem>() -> *const bindings::file_operations {
    &Operations::<T>::TABLE
}

/// The operations of open files.
pub(crate) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: kernel::module::this_module::<T::Module>().as_ptr(),
        open: Some(Self::open),
        llseek: Some(Self::llseek),
        read_iter: Some(Self::read_iter),
        write_iter: Some(Self::write_iter),
        mmap: Some(mapping::mmap::<T>),
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        fsync: Some(Self::fsync),
        fallocate: Some(Self::fallocate),
        splice_read: Some(bindings::copy_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: COMPAT_IOCTL,
        ..pin_init::zeroed()
    };
    /// `file_operations.open`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives both.
            to_result(unsafe { bindings::generic_file_open(inode, file) })?;
            // SAFETY: an inode of this file system.
            let life = T::life(unsafe { Inode::<T>::from_raw(inode) }.super_block());
            // SAFETY: the VFS gives a file that nobody else has.
            unsafe { (*file).private_data = core::ptr::without_provenance_mut(life) };
            // SAFETY: as above. There is no cache to go round.
            unsafe { helpers::daxfs_f_allow_direct(file) };
            Ok(0)
        })
    }

    /// `file_operations.read_iter`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: the VFS gives a valid request for an open file.
        let file = unsafe { File::<T>::from_raw((*iocb).ki_filp) };
        let mut to = Destination::new(iter);
        // SAFETY: as above.
        let position = unsafe { &mut (*iocb).ki_pos };
        let Ok(start) = u64::try_from(*position) else { return EINVAL.to_errno() as isize };
        let mut done = 0;
        let mut fruitless = 0;
        let outcome = loop {
            let wanted = to.len().min(MOST);
            if wanted == 0 {
                break Ok(());
            }
            to.short = false;
            let read = match T::read(&file, start + done, wanted as u64, &mut to) {
                Ok(read) => read,
                Err(error) => break Err(error),
            };
            done += read;
            if !to.short {
                if read < wanted as u64 {
                    // The file ended.
                    break Ok(());
                }
                continue;
            }
            fruitless = if read == 0 { fruitless + 1 } else { 0 };
            if fruitless > TRIES {
                // It is not the process's memory that is missing.
                break Err(EIO);
            }
            let wanted = to.len().min(MOST);
            // SAFETY: a valid vector; no lock is held.
            if unsafe { bindings::fault_in_iov_iter_writeable(iter, wanted) } == wanted {
                break Err(EFAULT);
            }
        };
        *position += done as i64;
        match outcome {
            Err(error) if done == 0 => error.to_errno() as isize,
            _ => done as isize,
        }
    }

    /// `file_operations.write_iter`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: the VFS gives a valid request for an open file.
        let file = unsafe { File::<T>::from_raw((*iocb).ki_filp) };
        let inode = file.inode();
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_lock(inode.as_ptr()) };
        // SAFETY: the inode is locked, the rest the VFS's.
        let outcome = unsafe { Self::write_locked(&file, iocb, iter) };
        // SAFETY: locked above.
        unsafe { helpers::daxfs_i_unlock(inode.as_ptr()) };
        match outcome {
            // SAFETY: the VFS's request, which has written so much.
            Ok(done) if done > 0 => unsafe { helpers::daxfs_write_sync(iocb, done) },
            Ok(done) => done,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// The request is valid, and the file's inode locked.
    unsafe fn write_locked(
        file: &File<'_, T>,
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> Result<isize> {
        // Appending is decided here: whoever else writes to the file is locked out.
        // SAFETY: a valid request.
        let allowed = unsafe { bindings::generic_write_checks(iocb, iter) };
        if allowed <= 0 {
            return to_result(allowed as c_int).map(|()| 0);
        }
        // SAFETY: an open file, its inode locked.
        to_result(unsafe { bindings::file_remove_privs(file.raw) })?;
        // SAFETY: a valid request.
        let position = unsafe { &mut (*iocb).ki_pos };
        let start = u64::try_from(*position).map_err(|_| EINVAL)?;
        let mut done = 0;
        let mut fruitless = 0;
        let outcome = loop {
            let left = count(iter).min(MOST);
            if left == 0 {
                break Ok(());
            }
            let mut from = Source::new(iter, left);
            let before = count(iter);
            match T::write(file, start + done, &mut from) {
                Ok((written, attributes)) => {
                    done += written;
                    if written > 0 {
                        file.inode().update_written(&attributes);
                    }
                    if written < (before - count(iter)) as u64 {
                        // What was taken and not written is lost to the vector: it ends here.
                        break Ok(());
                    }
                    fruitless = if written == 0 { fruitless + 1 } else { 0 };
                    if fruitless > TRIES {
                        // It is there, but cannot be copied: its memory has gone bad.
                        break Err(EFAULT);
                    }
                    if written == 0 {
                        // SAFETY: a valid vector; no lock of the file system's is held but the
                        // inode's, which no page fault takes.
                        let missing = unsafe { bindings::fault_in_iov_iter_readable(iter, left) };
                        if missing == left {
                            break Err(EFAULT);
                        }
                    }
                }
                Err(error) => break Err(error),
            }
        };
        *position += done as i64;
        match outcome {
            Err(error) if done == 0 => Err(error),
            _ => Ok(done as isize),
        }
    }

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
        let wanted = match whence as u32 {
            bindings::SEEK_DATA => Seek::Data,
            bindings::SEEK_HOLE => Seek::Hole,
            // SAFETY: the VFS gives an open file.
            _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
        };
        from_result(|| {
            // SAFETY: as above.
            let open = unsafe { File::<T>::from_raw(file) };
            let from = u64::try_from(offset).map_err(|_| ENXIO)?;
            let found = T::seek(&open, from, wanted)?.ok_or(ENXIO)?;
            let found = i64::try_from(found).map_err(|_| EOVERFLOW)?;
            // SAFETY: as above.
            Ok(unsafe { bindings::vfs_setpos(file, found, T::MAX_FILE_SIZE) })
        })
    }

    /// `file_operations.fsync`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    pub(crate) unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        _start: bindings::loff_t,
        _end: bindings::loff_t,
        _datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives an open file.
            let open = unsafe { File::<T>::from_raw(file) };
            if open.inode().take_storable() && T::stored(&open).is_ok() {
                open.inode().note_change();
            }
            T::sync(open.inode().super_block()).map(|()| 0)
        })
    }

    /// `file_operations.fallocate`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        // SAFETY: the VFS gives an open file.
        let open = unsafe { File::<T>::from_raw(file) };
        let inode = open.inode();
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_lock(inode.as_ptr()) };
        let allocated = Self::allocate_locked(&open, mode, offset, len);
        // SAFETY: locked above.
        unsafe { helpers::daxfs_i_unlock(inode.as_ptr()) };
        from_result(|| allocated.map(|()| 0))
    }

    /// What `fallocate` does with the file's inode locked.
    fn allocate_locked(file: &File<'_, T>, mode: c_int, offset: i64, len: i64) -> Result {
        let inode = file.inode();
        let offset = u64::try_from(offset).map_err(|_| EINVAL)?;
        let end = offset.checked_add(u64::try_from(len).map_err(|_| EINVAL)?).ok_or(EFBIG)?;
        let size = inode.size();
        let keeps_size = mode & KEEP_SIZE != 0;
        // Where the file may be changed.
        let inside = if keeps_size { end.min(size) } else { end };
        match mode & !KEEP_SIZE {
            // There is no place for pages behind the end of a file.
            0 if keeps_size && end > size => return Err(EOPNOTSUPP),
            0 | PUNCH_HOLE | ZERO_RANGE => {}
            _ => return Err(EOPNOTSUPP),
        }
        if inside <= offset {
            return Ok(());
        }
        if inside > size {
            let new = i64::try_from(inside).map_err(|_| EFBIG)?;
            // SAFETY: a live inode.
            to_result(unsafe { bindings::inode_newsize_ok(inode.as_ptr(), new) })?;
        }
        // SAFETY: an open file, its inode locked.
        to_result(unsafe { bindings::file_remove_privs(file.raw) })?;
        let len = inside - offset;
        let now = match mode & !KEEP_SIZE {
            PUNCH_HOLE => T::punch(file, offset, len)?,
            ZERO_RANGE => {
                inode.update(&T::zero(file, offset, len)?);
                T::allocate(file, offset, len)?
            }
            _ => T::allocate(file, offset, len)?,
        };
        inode.update(&now);
        Ok(())
    }

    /// `file_operations.unlocked_ioctl`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    pub(crate) unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> isize {
        from_result(|| {
            // SAFETY: the VFS gives an open file.
            let open = unsafe { File::<T>::from_raw(file) };
            let sb: &SuperBlock<T> = open.inode().super_block();
            T::ioctl(sb, command, &Argument(argument)).map(|value| value as isize)
        })
    }
}

#[cfg(CONFIG_COMPAT)]
pub(crate) const COMPAT_IOCTL: Option<
    unsafe extern "C" fn(*mut bindings::file, c_uint, c_ulong) -> isize,
> = bindings::compat_ptr_ioctl;
#[cfg(not(CONFIG_COMPAT))]
pub(crate) const COMPAT_IOCTL: Option<
    unsafe extern "C" fn(*mut bindings::file, c_uint, c_ulong) -> isize,
> = None;
