// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes: what `stat` says, and changing it.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::inode::Inode;
use crate::{helpers, FileSystem};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::{from_result, to_result};
use kernel::ffi::{c_int, c_uint};
use kernel::prelude::*;

/// A point in time: seconds since 1970, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 1e9.
    pub nanoseconds: u32,
}

/// What `stat` says about an inode.
#[derive(Clone, Copy)]
pub struct Attributes {
    /// Its number.
    pub ino: u64,
    /// Its generation.
    pub generation: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Owner, as the file system stores it.
    pub uid: u32,
    /// Group, as the file system stores it.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Link count.
    pub nlink: u32,
    /// Device number, as `mknod` of the system call has it.
    pub rdev: u32,
    /// Access time.
    pub atime: Time,
    /// Modification time.
    pub mtime: Time,
    /// Change time.
    pub ctime: Time,
    /// Space used, in units of 512 bytes.
    pub blocks: u64,
}

/// Attributes that are to be changed.
#[derive(Clone, Copy, Default)]
pub struct Changes {
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes of content.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<Time>,
    /// Modification time.
    pub mtime: Option<Time>,
}

/// The attributes that a setattr is about, before and after.
fn changes_of(raw: *mut bindings::inode, attr: &bindings::iattr) -> Changes {
    let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
    // SAFETY: callers have a live, locked inode, into which the VFS has copied the attributes.
    let (uid, gid) = unsafe { (helpers::daxfs_i_uid(raw), helpers::daxfs_i_gid(raw)) };
    // SAFETY: as above.
    let mode = unsafe { (*raw).i_mode };
    // SAFETY: as above.
    let atime = unsafe { time((*raw).i_atime_sec, (*raw).i_atime_nsec) };
    // SAFETY: as above.
    let mtime = unsafe { time((*raw).i_mtime_sec, (*raw).i_mtime_nsec) };
    let has = |bit: u32| attr.ia_valid & bit != 0;
    Changes {
        mode: has(bindings::ATTR_MODE).then_some(u32::from(mode)),
        uid: has(bindings::ATTR_UID).then_some(uid),
        gid: has(bindings::ATTR_GID).then_some(gid),
        size: None,
        atime: has(bindings::ATTR_ATIME).then_some(atime),
        mtime: has(bindings::ATTR_MTIME).then_some(mtime),
    }
}

/// The operations of inodes that are neither directories nor symbolic links.
pub(crate) fn operations<T: FileSystem>() -> *const bindings::inode_operations {
    &Operations::<T>::TABLE
}

/// The operations that all inodes have.
pub(crate) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        ..pin_init::zeroed()
    };

    /// `inode_operations.setattr`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    pub(crate) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds the dentry, and its inode locked.
            to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;
            // SAFETY: a positive dentry holds its inode.
            let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
            let raw = inode.as_ptr();
            // SAFETY: the VFS gives it to this call.
            let attr = unsafe { &*attr };
            if attr.ia_valid & bindings::ATTR_SIZE != 0 {
                let size = u64::try_from(attr.ia_size).map_err(|_| EINVAL)?;
                let now =
                    T::set_attributes(inode, &Changes { size: Some(size), ..Changes::default() })?;
                // SAFETY: a live inode, locked.
                unsafe { bindings::truncate_setsize(raw, attr.ia_size) };
                inode.update(&now);
            }
            // The VFS knows what becomes of set-id bits. It copies into its inode; if the file
            // system refuses, the inode gets back what it had.
            // SAFETY: a live inode, locked.
            unsafe { bindings::setattr_copy(idmap, raw, attr) };
            let changes = changes_of(raw, attr);
            match T::set_attributes(inode, &changes) {
                Ok(now) => {
                    inode.update(&now);
                    Ok(0)
                }
                Err(error) => {
                    inode.update_from_file_system();
                    Err(error)
                }
            }
        })
    }

    /// `inode_operations.getattr`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    pub(crate) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request: u32,
        _flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds a path to a positive dentry.
            let raw = unsafe { (*(*path).dentry).d_inode };
            // SAFETY: a positive dentry holds its inode.
            let inode = unsafe { Inode::<T>::from_raw(raw) };
            // Who has no name any more is changed by nobody else.
            if inode.nlink() > 0 || inode.is_touched() {
                inode.refresh()?;
            }
            // SAFETY: a live inode; the VFS gives the buffer.
            unsafe { bindings::generic_fillattr(idmap, request, raw, stat) };
            // SAFETY: the VFS gives the buffer.
            let stat = unsafe { &mut *stat };
            stat.blksize = kernel::page::PAGE_SIZE as u32;
            Ok(0)
        })
    }
}
