// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the operations on names.
//!
//! An inode is known by its number and a *generation*: a file system that turns to another state, in
//! which numbers mean other files, gives other generations from then on. What `stat` says is copied
//! into the VFS's inode, and is right for the epoch (see [`crate::dentry`]) that is noted with it.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::super_block::SuperBlock;
use crate::{dentry, file, helpers, mapping, FileSystem};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::bindings;
use kernel::error::{from_err_ptr, from_result, to_result};
use kernel::ffi::{c_char, c_int, c_uint, c_void};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::types::Opaque;

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

/// Beside the epoch of an inode: see [`Inode::touch`].
const TOUCHED: u64 = 1 << 63;
/// The same: there may be mappings that can be stored to without a fault.
const STORABLE: u64 = 1 << 62;

const S_IFMT: u32 = 0o170000;
const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;
const S_IFLNK: u32 = 0o120000;

/// `struct inode` of a `T`.
#[repr(transparent)]
pub struct Inode<T: FileSystem> {
    raw: Opaque<bindings::inode>,
    _file_system: PhantomData<T>,
}

// SAFETY: an inode may be used from any thread.
unsafe impl<T: FileSystem> Send for Inode<T> {}
// SAFETY: what is used of it is protected by locks of its own, or tolerates changes.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

// SAFETY: `ihold` and `iput` count.
unsafe impl<T: FileSystem> AlwaysRefCounted for Inode<T> {
    fn inc_ref(&self) {
        // SAFETY: a reference means that there is one to count from.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(inode: NonNull<Self>) {
        // SAFETY: the caller gives a reference up.
        unsafe { bindings::iput(inode.as_ptr().cast()) };
    }
}

/// What `iget5_locked` compares and sets.
struct Identity {
    ino: u64,
    generation: u32,
}

impl<T: FileSystem> Inode<T> {
    /// # Safety
    ///
    /// `raw` is an inode of `T` that lives for `'a`.
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::inode) -> &'a Self {
        // SAFETY: the caller's condition; the type is transparent.
        unsafe { &*raw.cast() }
    }

    /// The C structure.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.raw.get()
    }

    /// The mounted file system that it belongs to.
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: an inode's super block stays as long as the inode, and is of the same file system.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Its number.
    pub fn ino(&self) -> u64 {
        // SAFETY: set once.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// Its generation.
    pub fn generation(&self) -> u32 {
        // SAFETY: set once.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Type and permissions.
    pub fn mode(&self) -> u32 {
        // SAFETY: a live inode; the field is read as a whole.
        u32::from(unsafe { (&raw const (*self.as_ptr()).i_mode).read_volatile() })
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode() & S_IFMT == S_IFDIR
    }

    /// Link count.
    pub fn nlink(&self) -> u32 {
        // SAFETY: a live inode; both members of the union are the same number.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.__i_nlink }
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        // SAFETY: a live inode.
        let size = unsafe { helpers::daxfs_i_size_read(self.as_ptr()) };
        u64::try_from(size).unwrap_or(0)
    }

    /// Whether these are this inode's attributes, of now or another time.
    pub(crate) fn is(&self, attributes: &Attributes) -> bool {
        self.ino() == attributes.ino
            && self.generation() == attributes.generation
            && (self.mode() ^ attributes.mode) & S_IFMT == 0
    }

    fn epoch(&self) -> &AtomicU64 {
        // SAFETY: `i_version` is an aligned word that nobody else uses: the file system does not say
        // that it has versions.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.as_ptr()).i_version).cast()) }
    }

    /// Which pages may be in page tables: see [`mapping`].
    pub(crate) fn populated(&self) -> &AtomicU64 {
        // SAFETY: `i_private` is an aligned word, of 64 bits, that is used for this alone.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.as_ptr()).i_private).cast()) }
    }

    /// Notes that a page was stored to through a mapping, which changes times, and the space used.
    pub(crate) fn touch(&self) {
        // Relaxed: see `set_epoch`.
        self.epoch().fetch_or(TOUCHED | STORABLE, Ordering::Relaxed);
    }

    /// Notes that times are others than the attributes say.
    pub(crate) fn note_change(&self) {
        // Relaxed: see `set_epoch`.
        self.epoch().fetch_or(TOUCHED, Ordering::Relaxed);
    }

    /// Whether pages were made ones that can be stored to through a mapping since this was last asked.
    pub(crate) fn take_storable(&self) -> bool {
        // Relaxed: see `set_epoch`.
        self.epoch().fetch_and(!STORABLE, Ordering::Relaxed) & STORABLE != 0
    }

    /// Whether [`Self::touch`] noted something that the attributes do not say yet.
    fn is_touched(&self) -> bool {
        // Relaxed: see `set_epoch`.
        self.epoch().load(Ordering::Relaxed) & TOUCHED != 0
    }

    /// Notes for which epoch the attributes are right.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        // Relaxed: the value alone is the message.
        let storable = self.epoch().load(Ordering::Relaxed) & STORABLE;
        self.epoch().store(epoch | storable, Ordering::Relaxed);
    }

    /// Brings the attributes up to date, if others have changed something.
    fn refresh(&self) -> Result {
        let sb = self.super_block();
        T::look(sb)?;
        let now = T::epoch(sb);
        // Relaxed: see `set_epoch`.
        let known = self.epoch().load(Ordering::Relaxed);
        let storable = known & STORABLE;
        if known == now | storable {
            return Ok(());
        }
        let attributes = T::attributes(self)?;
        if !self.is(&attributes) {
            return Err(ESTALE);
        }
        if known == now | storable | TOUCHED {
            // Everything else is kept right by those who change it, with the inode locked.
            self.update_content(&attributes);
        } else {
            self.update(&attributes);
        }
        // Relaxed: see `set_epoch`. If it was touched meanwhile, it stays so.
        let new = now | storable;
        let _ = self.epoch().compare_exchange(known, new, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }

    /// Copies what writing changes into the VFS's inode, which is locked.
    pub(crate) fn update_written(&self, new: &Attributes) {
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_size_write(self.as_ptr(), new.size as i64) };
        self.update_content(new);
    }

    /// Copies what a store through a mapping changes into the VFS's inode.
    fn update_content(&self, new: &Attributes) {
        let raw = self.as_ptr();
        let (a, m, c) = (new.atime, new.mtime, new.ctime);
        // SAFETY: a live inode.
        unsafe {
            helpers::daxfs_i_set_times(
                raw,
                a.seconds,
                a.nanoseconds,
                m.seconds,
                m.nanoseconds,
                c.seconds,
                c.nanoseconds,
            )
        };
        // SAFETY: a live inode; who reads the field tolerates either value.
        unsafe { (*raw).i_blocks = new.blocks };
    }

    /// Copies attributes into the VFS's inode.
    pub fn update(&self, new: &Attributes) {
        let raw = self.as_ptr();
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_set_owner(raw, new.uid, new.gid) };
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_size_write(raw, new.size as i64) };
        self.update_content(new);
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_set_mode(raw, new.mode as u16) };
        if self.nlink() != new.nlink {
            // SAFETY: a live inode.
            unsafe { bindings::set_nlink(raw, new.nlink) };
        }
    }

    /// Reads the attributes again, after an operation on a directory.
    fn update_from_file_system(&self) {
        if let Ok(attributes) = T::attributes(self) {
            self.update(&attributes);
        }
    }

    /// The inode with these attributes: the one that the VFS has, or a new one.
    pub(crate) fn get(sb: &SuperBlock<T>, attributes: &Attributes) -> Result<ARef<Self>> {
        let epoch = T::epoch(sb);
        let mut identity = Identity { ino: attributes.ino, generation: attributes.generation };
        // SAFETY: a mounted super block; the callbacks get what they expect.
        let raw = unsafe {
            bindings::iget5_locked(
                sb.as_ptr(),
                attributes.ino,
                Some(Self::test),
                Some(Self::set),
                (&raw mut identity).cast(),
            )
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: a reference to an inode of this file system.
        let inode = unsafe { ARef::<Self>::from_raw(raw.cast()) };
        // SAFETY: a live inode.
        if unsafe { helpers::daxfs_i_is_new(raw.as_ptr()) } {
            inode.fill(attributes);
            inode.set_epoch(epoch);
            // SAFETY: it was locked as a new one.
            unsafe { bindings::unlock_new_inode(raw.as_ptr()) };
        }
        Ok(inode)
    }

    /// What `iget5_locked` compares with.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn test(raw: *mut bindings::inode, identity: *mut c_void) -> c_int {
        // SAFETY: `get` gives an identity.
        let identity = unsafe { &*identity.cast::<Identity>() };
        // SAFETY: the VFS gives an inode of this super block.
        let inode = unsafe { Self::from_raw(raw) };
        let same = inode.ino() == identity.ino && inode.generation() == identity.generation;
        c_int::from(same)
    }

    /// What `iget5_locked` sets up with.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn set(raw: *mut bindings::inode, identity: *mut c_void) -> c_int {
        // SAFETY: `get` gives an identity.
        let identity = unsafe { &*identity.cast::<Identity>() };
        // SAFETY: the VFS gives an inode that nobody else knows.
        let raw = unsafe { &mut *raw };
        raw.i_ino = identity.ino;
        raw.i_generation = identity.generation;
        0
    }

    /// Makes a fresh VFS inode what the attributes say.
    fn fill(&self, attributes: &Attributes) {
        let raw = self.as_ptr();
        // Relaxed: a fresh inode is this thread's.
        self.epoch().store(0, Ordering::Relaxed);
        self.update(attributes);
        match attributes.mode & S_IFMT {
            S_IFDIR => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = &Operations::<T>::DIRECTORY };
                // SAFETY: as above.
                unsafe { (*raw).__bindgen_anon_3.i_fop = file::directory_operations::<T>() };
            }
            S_IFREG => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = &Operations::<T>::FILE };
                // SAFETY: as above.
                unsafe { (*raw).__bindgen_anon_3.i_fop = file::file_operations::<T>() };
            }
            S_IFLNK => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = &Operations::<T>::LINK };
            }
            _ => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = &Operations::<T>::FILE };
                // SAFETY: as above; it is a fifo, a socket or a device.
                unsafe {
                    bindings::init_special_inode(
                        raw,
                        attributes.mode as u16,
                        helpers::daxfs_dev_decode(attributes.rdev),
                    )
                };
            }
        }
        // Access times are what somebody sets them to. (Not S_DAX: to the kernel that means pages with
        // a `struct page`.)
        // SAFETY: a fresh inode is this thread's.
        unsafe { helpers::daxfs_i_set_noatime(raw) };
    }

    /// Gives the reference to C.
    pub(crate) fn into_raw(this: ARef<Self>) -> *mut bindings::inode {
        ARef::into_raw(this).as_ptr().cast()
    }
}

/// `super_operations.evict_inode`.
///
/// # Safety
///
/// Called by the VFS with an inode of `T` that nobody uses any more.
pub(crate) unsafe fn evict<T: FileSystem>(raw: *mut bindings::inode) {
    // SAFETY: the caller's condition.
    unsafe { bindings::truncate_inode_pages_final(&raw mut (*raw).i_data) };
    // SAFETY: the caller's condition.
    unsafe { bindings::clear_inode(raw) };
    // SAFETY: the caller's condition.
    let inode = unsafe { Inode::<T>::from_raw(raw) };
    T::mapped(&inode.super_block().data()).remove(inode);
    T::evict(inode);
}

/// The attributes that a setattr is about, before and after.
fn changes_of(raw: *mut bindings::inode, attr: &bindings::iattr) -> Changes {
    let valid = attr.ia_valid;
    let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
    // SAFETY: callers have a live, locked inode, into which the VFS has copied the attributes.
    let inode = unsafe { &*raw };
    // SAFETY: as above.
    let (uid, gid) = unsafe { (helpers::daxfs_i_uid(raw), helpers::daxfs_i_gid(raw)) };
    let has = |bit: u32| valid & bit != 0;
    Changes {
        mode: has(bindings::ATTR_MODE).then_some(u32::from(inode.i_mode)),
        uid: has(bindings::ATTR_UID).then_some(uid),
        gid: has(bindings::ATTR_GID).then_some(gid),
        size: None,
        atime: has(bindings::ATTR_ATIME).then(|| time(inode.i_atime_sec, inode.i_atime_nsec)),
        mtime: has(bindings::ATTR_MTIME).then(|| time(inode.i_mtime_sec, inode.i_mtime_nsec)),
    }
}

/// The operations of inodes.
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
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        ..pin_init::zeroed()
    };

    const FILE: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
        ..pin_init::zeroed()
    };

    const LINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(Self::get_link),
        setattr: Some(Self::setattr),
        getattr: Some(Self::getattr),
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
        let found = || -> Result<*mut bindings::inode> {
            // SAFETY: a dentry in lookup keeps its name.
            let name = unsafe { dentry::name(dentry) };
            let sb = dir.super_block();
            dentry::set_epoch(dentry, T::epoch(sb));
            Ok(match T::lookup(dir, name)? {
                Some(attributes) => Inode::into_raw(Inode::get(sb, &attributes)?),
                None => ptr::null_mut(),
            })
        };
        match found() {
            Ok(inode) => {
                let epoch = T::epoch(dir.super_block());
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
        make: impl FnOnce(&Inode<T>, &[u8], &New) -> Result<Attributes>,
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
        let epoch = T::epoch(parent.super_block());
        let made = make(parent, name, &new)?;
        // SAFETY: a fresh inode is this thread's.
        unsafe { (*raw).i_ino = made.ino };
        // SAFETY: as above.
        unsafe { (*raw).i_generation = made.generation };
        inode.fill(&made);
        inode.set_epoch(epoch);
        // SAFETY: it has its number.
        unsafe { helpers::daxfs_i_hash(raw) };
        parent.update_from_file_system();
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
            // SAFETY: the directory is locked: the name stays.
            T::unlink(dir, unsafe { dentry::name(dentry) })?;
            Self::removed(inode);
            dir.update_from_file_system();
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
            // SAFETY: the directory is locked: the name stays.
            T::rmdir(dir, unsafe { dentry::name(dentry) })?;
            Self::removed(inode);
            dir.update_from_file_system();
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

    /// `inode_operations.setattr`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn setattr(
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
    unsafe extern "C" fn getattr(
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

/// The address space of an inode.
pub(crate) fn mapping_of<T: FileSystem>(inode: &Inode<T>) -> mapping::AddressSpace {
    // SAFETY: a live inode has one.
    mapping::AddressSpace::new(unsafe { (*inode.as_ptr()).i_mapping })
}
