// SPDX-License-Identifier: GPL-2.0

//! Names in directories, and what symbolic links point to: the operations of directories' inodes and of
//! links'.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::attr::{self, Attributes};
use crate::inode::{Inode, S_IFDIR, S_IFLNK, S_IFREG};
use crate::{dentry, helpers, FileSystem};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::error::{from_err_ptr, from_result};
use kernel::ffi::{c_char, c_int, c_uint};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::aref::ARef;

/// What a new inode is to be.
#[derive(Clone, Copy)]
pub struct New {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number.
    pub rdev: u32,
}

/// What an operation on a name has left: the inode that has got or lost it, and its directory.
pub struct Made {
    /// The inode.
    pub inode: Attributes,
    /// The directory.
    pub dir: Attributes,
}

/// What renaming does with a name that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// It is replaced.
    Replace,
    /// It is an error.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// The operations of directories.
pub(crate) fn directory_operations<T: FileSystem>() -> *const bindings::inode_operations {
    &Operations::<T>::DIRECTORY
}

/// The operations of symbolic links.
pub(crate) fn link_operations<T: FileSystem>() -> *const bindings::inode_operations {
    &Operations::<T>::LINK
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const DIRECTORY: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(Self::lookup),
        create: Some(Self::create),
        unlink: Some(Self::unlink),
        symlink: Some(Self::symlink),
        mkdir: Some(Self::mkdir),
        rmdir: Some(Self::rmdir),
        mknod: Some(Self::mknod),
        rename: Some(Self::rename),
        setattr: Some(attr::Operations::<T>::setattr),
        getattr: Some(attr::Operations::<T>::getattr),
        ..pin_init::zeroed()
    };
    const LINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(Self::get_link),
        setattr: Some(attr::Operations::<T>::setattr),
        getattr: Some(attr::Operations::<T>::getattr),
        ..pin_init::zeroed()
    };

    /// `inode_operations.lookup`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: the VFS holds both.
        let dir = unsafe { Inode::<T>::from_raw(dir) };
        // Before the name is looked up: what comes of it is not older.
        let epoch = T::epoch(dir.super_block());
        let found = || -> Result<*mut bindings::inode> {
            // SAFETY: a dentry in lookup keeps its name.
            let name = unsafe { dentry::name(dentry) };
            let sb = dir.super_block();
            dentry::set_epoch(dentry, epoch);
            Ok(match T::lookup(dir, name)? {
                Some(attributes) => Inode::into_raw(Inode::get(sb, &attributes, epoch)?),
                None => ptr::null_mut(),
            })
        };
        match found() {
            Ok(inode) => {
                // SAFETY: it takes the reference; the dentry is the one to look up.
                let alias = unsafe { bindings::d_splice_alias(inode, dentry) };
                if let (Ok(alias), false) = (from_err_ptr(alias), alias.is_null()) {
                    dentry::set_epoch(alias, epoch);
                }
                alias
            }
            Err(error) => error.to_ptr(),
        }
    }

    /// Makes an inode, and puts it behind the dentry.
    ///
    /// # Safety
    ///
    /// The VFS gives all three, the directory locked.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        make: impl FnOnce(&Inode<T>, &[u8], &New) -> Result<Made>,
    ) -> Result {
        // SAFETY: the caller's condition.
        let parent = unsafe { Inode::<T>::from_raw(dir) };
        // SAFETY: a mounted super block.
        let raw = unsafe { bindings::new_inode(parent.super_block().as_ptr()) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: a reference to an inode of this file system.
        let inode = unsafe { ARef::<Inode<T>>::from_raw(raw.cast()) };
        let raw = raw.as_ptr();
        // SAFETY: a fresh inode, and the directory that it is to be in.
        unsafe { bindings::inode_init_owner(idmap, raw, dir, mode as u16) };
        // SAFETY: a live inode.
        let (uid, gid) = unsafe { (helpers::daxfs_i_uid(raw), helpers::daxfs_i_gid(raw)) };
        let new = New { mode: inode.mode(), uid, gid, rdev: 0 };
        // SAFETY: the directory is locked: the name stays.
        let name = unsafe { dentry::name(dentry) };
        let (epoch, known) = (T::epoch(parent.super_block()), parent.known());
        let made = make(parent, name, &new)?;
        // SAFETY: a fresh inode is this thread's.
        unsafe { (*raw).i_ino = made.inode.ino };
        // SAFETY: as above.
        unsafe { (*raw).i_generation = made.inode.generation };
        inode.fill(&made.inode, epoch);
        // SAFETY: it has its number.
        unsafe { helpers::daxfs_i_hash(raw) };
        parent.changed(known, &made.dir);
        // SAFETY: the dentry is negative, the directory locked; it takes the reference.
        unsafe { bindings::d_instantiate(dentry, Inode::into_raw(inode)) };
        Ok(())
    }

    /// `inode_operations.create`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int {
        from_result(|| {
            let mode = u32::from(mode) | S_IFREG;
            // SAFETY: the VFS gives what `make` needs.
            unsafe { Self::make(idmap, dir, dentry, mode, T::create) }.map(|()| 0)
        })
    }

    /// `inode_operations.mknod`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
        device: u32,
    ) -> c_int {
        from_result(|| {
            // SAFETY: it only computes.
            let rdev = unsafe { helpers::daxfs_dev_encode(device) };
            let make = |dir: &Inode<T>, name: &[u8], new: &New| {
                T::create(dir, name, &New { rdev, ..*new })
            };
            // SAFETY: the VFS gives what `make` needs.
            unsafe { Self::make(idmap, dir, dentry, u32::from(mode), make) }.map(|()| 0)
        })
    }

    /// `inode_operations.mkdir`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> *mut bindings::dentry {
        let mode = u32::from(mode) | S_IFDIR;
        // SAFETY: the VFS gives what `make` needs.
        match unsafe { Self::make(idmap, dir, dentry, mode, T::create) } {
            Ok(()) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// `inode_operations.symlink`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives a C string.
            let target = unsafe { CStr::from_char_ptr(target) }.to_bytes();
            let make = |dir: &Inode<T>, name: &[u8], new: &New| T::symlink(dir, name, target, new);
            // SAFETY: the VFS gives what `make` needs.
            unsafe { Self::make(idmap, dir, dentry, S_IFLNK | 0o777, make) }.map(|()| 0)
        })
    }

    /// `inode_operations.unlink`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds both, locked.
            let dir = unsafe { Inode::<T>::from_raw(dir) };
            // SAFETY: a positive dentry holds its inode.
            let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
            let (inode_known, dir_known) = (inode.known(), dir.known());
            // SAFETY: the directory is locked: the name stays.
            let removed = T::unlink(dir, unsafe { dentry::name(dentry) })?;
            inode.changed(inode_known, &removed.inode);
            dir.changed(dir_known, &removed.dir);
            Ok(0)
        })
    }

    /// `inode_operations.rmdir`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: the VFS holds both, locked.
            let dir = unsafe { Inode::<T>::from_raw(dir) };
            // SAFETY: a positive dentry holds its inode.
            let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
            let known = dir.known();
            // SAFETY: the directory is locked: the name stays.
            let now = T::rmdir(dir, unsafe { dentry::name(dentry) })?;
            Self::removed(inode);
            dir.changed(known, &now);
            Ok(0)
        })
    }

    /// An inode has lost its name.
    fn removed(inode: &Inode<T>) {
        if inode.is_directory() {
            // SAFETY: a live inode, locked.
            unsafe { bindings::clear_nlink(inode.as_ptr()) };
        } else {
            inode.update_from_file_system();
        }
    }

    /// `inode_operations.rename`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            let mode = match flags {
                0 => Rename::Replace,
                bindings::RENAME_NOREPLACE => Rename::NoReplace,
                bindings::RENAME_EXCHANGE => Rename::Exchange,
                _ => return Err(EINVAL),
            };
            // SAFETY: the VFS holds the directories, locked.
            let (from, to) =
                unsafe { (Inode::<T>::from_raw(old_dir), Inode::<T>::from_raw(new_dir)) };
            // SAFETY: the directories are locked: the names stay.
            let (old_name, new_name) = unsafe { (dentry::name(old), dentry::name(new)) };
            T::rename(from, old_name, to, new_name, mode)?;
            // SAFETY: a positive dentry holds its inode.
            unsafe { Inode::<T>::from_raw((*old).d_inode) }.update_from_file_system();
            // SAFETY: a live dentry.
            let target = unsafe { (*new).d_inode };
            if !target.is_null() {
                // SAFETY: a positive dentry holds its inode.
                let target = unsafe { Inode::<T>::from_raw(target) };
                if mode == Rename::Exchange {
                    target.update_from_file_system();
                } else {
                    Self::removed(target);
                }
            }
            from.update_from_file_system();
            to.update_from_file_system();
            Ok(0)
        })
    }

    /// `inode_operations.get_link`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        done: *mut bindings::delayed_call,
    ) -> *const c_char {
        if dentry.is_null() {
            // Nothing may wait.
            return ECHILD.to_ptr::<c_char>();
        }
        // SAFETY: the VFS holds the inode.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        let target = || -> Result<KVec<u8>> {
            let room = usize::try_from(inode.size()).map_err(|_| EINVAL)?.min(4095) + 1;
            let mut target = KVec::from_elem(0_u8, room, GFP_KERNEL)?;
            let len = T::read_link(inode, target.as_mut_slice())?;
            // It ends before the last byte, which stays a NUL.
            target.truncate(len.min(room - 1));
            target.push_within_capacity(0).map_err(|_| ENAMETOOLONG)?;
            Ok(target)
        };
        match target() {
            Ok(target) => {
                let (start, _, _) = target.into_raw_parts();
                // SAFETY: the VFS gives a place for what to do in the end.
                let done = unsafe { &mut *done };
                done.fn_ = Some(bindings::kfree_link);
                done.arg = start.cast();
                start.cast()
            }
            Err(error) => error.to_ptr::<c_char>(),
        }
    }
}
