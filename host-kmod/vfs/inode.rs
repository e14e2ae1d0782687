// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! An inode is known by its number and a *generation*: a file system that turns to another state, in
//! which numbers mean other files, gives other generations from then on. What `stat` says is copied
//! into the VFS's inode, and is right for the epoch (see [`crate::dentry`]) that is noted with it. It is
//! copied with `i_lock` held: who makes a change has the inode locked, but who looks for changes of
//! others has not, and must not put back what a change has just replaced.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::attr::{self, Attributes};
use crate::super_block::SuperBlock;
use crate::{file, helpers, mapping, namei, readdir, FileSystem};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::bindings;
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::types::{Opaque, ScopeGuard};
/// The word that tells what the attributes in the VFS's inode are worth: the epoch they are right for,
const EPOCH: u64 = (1 << 40) - 1;
/// whether stores through mappings have changed something since (see [`Inode::touch`]),
const TOUCHED: u64 = 1 << 40;
/// whether there may be mappings that can be stored to without a fault,
const STORABLE: u64 = 1 << 41;
/// and how often attributes were copied.
const COPIED: u64 = 1 << 42;

const S_IFMT: u32 = 0o170000;
pub(crate) const S_IFDIR: u32 = 0o040000;
pub(crate) const S_IFREG: u32 = 0o100000;
pub(crate) const S_IFLNK: u32 = 0o120000;

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

/// What was known of an inode at a time: see [`Inode::replace`].
#[derive(Clone, Copy)]
pub(crate) struct Known(u64);

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

    fn state(&self) -> &AtomicU64 {
        // SAFETY: `i_version` is an aligned word that nobody else uses: the file system does not say
        // that it has versions.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.as_ptr()).i_version).cast()) }
    }

    /// What [`Self::replace`] wants to know: taken before attributes are read.
    pub(crate) fn known(&self) -> Known {
        // Acquire: who sees the epoch sees the attributes that were copied for it.
        Known(self.state().load(Ordering::Acquire))
    }

    /// Which pages may be in page tables: see [`mapping`].
    pub(crate) fn populated(&self) -> &AtomicU64 {
        // SAFETY: `i_private` is an aligned word, of 64 bits, that is used for this alone.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.as_ptr()).i_private).cast()) }
    }

    /// Notes that a page was stored to through a mapping, which changes times, and the space used.
    pub(crate) fn touch(&self) {
        // Relaxed: the bits alone are the message.
        self.state().fetch_or(TOUCHED | STORABLE, Ordering::Relaxed);
    }

    /// Notes that times are others than the attributes say.
    pub(crate) fn note_change(&self) {
        // Relaxed: as above.
        self.state().fetch_or(TOUCHED, Ordering::Relaxed);
    }

    /// Whether pages were made ones that can be stored to through a mapping since this was last asked.
    pub(crate) fn take_storable(&self) -> bool {
        // Relaxed: as above.
        self.state().fetch_and(!STORABLE, Ordering::Relaxed) & STORABLE != 0
    }

    /// Whether [`Self::touch`] noted something that the attributes do not say yet.
    pub(crate) fn is_touched(&self) -> bool {
        // Relaxed: as above.
        self.state().load(Ordering::Relaxed) & TOUCHED != 0
    }

    /// Brings the attributes up to date, if others have changed something.
    pub(crate) fn refresh(&self) -> Result {
        let sb = self.super_block();
        loop {
            T::look(sb)?;
            let now = T::epoch(sb);
            let known = self.known();
            if known.0 & (EPOCH | TOUCHED) == now & EPOCH {
                return Ok(());
            }
            let attributes = T::attributes(self)?;
            if !self.is(&attributes) {
                return Err(ESTALE);
            }
            if self.replace(known, now, &attributes) {
                return Ok(());
            }
        }
    }

    /// Copies attributes, right for an epoch, into the VFS's inode, which may not be locked: not if others
    /// were copied since `known`, which may be newer. Says whether the inode is as these attributes say.
    pub(crate) fn replace(&self, known: Known, epoch: u64, new: &Attributes) -> bool {
        let state = (known.0 & !(EPOCH | TOUCHED) | epoch & EPOCH).wrapping_add(COPIED);
        let _copying = self.copying();
        // Relaxed: whoever copies has the lock.
        if self.state().load(Ordering::Relaxed) != known.0 {
            return false;
        }
        self.copy(new);
        // Release: see `known`. It fails if there was a store through a mapping: then the times may be
        // older than that.
        self.state().compare_exchange(known.0, state, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Copies what writing changes into the VFS's inode, which is locked.
    pub(crate) fn update_written(&self, new: &Attributes) {
        let _copying = self.copying();
        // Relaxed: whoever copies has the lock.
        self.state().fetch_add(COPIED, Ordering::Relaxed);
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_size_write(self.as_ptr(), new.size as i64) };
        self.copy_content(new);
    }

    /// Copies attributes into the VFS's inode, which is locked.
    pub fn update(&self, new: &Attributes) {
        let _copying = self.copying();
        // Relaxed: as above.
        self.state().fetch_add(COPIED, Ordering::Relaxed);
        self.copy(new);
    }

    /// Keeps others from copying attributes. Nothing may wait meanwhile.
    fn copying(&self) -> impl Drop + '_ {
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_spin_lock(self.as_ptr()) };
        ScopeGuard::new(|| {
            // SAFETY: locked above.
            unsafe { helpers::daxfs_i_spin_unlock(self.as_ptr()) };
        })
    }

    fn copy_content(&self, new: &Attributes) {
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
        unsafe { (&raw mut (*raw).i_blocks).write_volatile(new.blocks) };
    }

    fn copy(&self, new: &Attributes) {
        let raw = self.as_ptr();
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_set_owner(raw, new.uid, new.gid) };
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_size_write(raw, new.size as i64) };
        self.copy_content(new);
        // SAFETY: a live inode.
        unsafe { helpers::daxfs_i_set_mode(raw, new.mode as u16) };
        if self.nlink() != new.nlink {
            // SAFETY: a live inode.
            unsafe { bindings::set_nlink(raw, new.nlink) };
        }
    }

    /// Copies the attributes that an operation on a directory has left, which are older than what was
    /// copied since `known`, if anything was: then they are read again.
    pub(crate) fn changed(&self, known: Known, new: &Attributes) {
        if !self.is(new) || !self.replace(known, known.0, new) {
            self.update_from_file_system();
        }
    }

    /// Reads the attributes again, after an operation on a directory.
    pub(crate) fn update_from_file_system(&self) {
        loop {
            let known = self.known();
            let Ok(attributes) = T::attributes(self) else { return };
            if self.replace(known, known.0, &attributes) {
                return;
            }
        }
    }

    /// The inode with these attributes, which are right for `epoch`: the one that the VFS has, or a new
    /// one.
    pub(crate) fn get(
        sb: &SuperBlock<T>,
        attributes: &Attributes,
        epoch: u64,
    ) -> Result<ARef<Self>> {
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
            inode.fill(attributes, epoch);
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

    /// Makes a fresh VFS inode what the attributes say, which are right for `epoch`.
    pub(crate) fn fill(&self, attributes: &Attributes, epoch: u64) {
        let raw = self.as_ptr();
        // Relaxed: a fresh inode is this thread's.
        self.state().store(epoch & EPOCH, Ordering::Relaxed);
        self.copy(attributes);
        match attributes.mode & S_IFMT {
            S_IFDIR => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = namei::directory_operations::<T>() };
                // SAFETY: as above.
                unsafe { (*raw).__bindgen_anon_3.i_fop = readdir::operations::<T>() };
            }
            S_IFREG => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = attr::operations::<T>() };
                // SAFETY: as above.
                unsafe { (*raw).__bindgen_anon_3.i_fop = file::operations::<T>() };
            }
            S_IFLNK => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = namei::link_operations::<T>() };
            }
            _ => {
                // SAFETY: a fresh inode is this thread's.
                unsafe { (*raw).i_op = attr::operations::<T>() };
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

/// The address space of an inode.
pub(crate) fn mapping_of<T: FileSystem>(inode: &Inode<T>) -> mapping::AddressSpace {
    // SAFETY: a live inode has one.
    mapping::AddressSpace::new(unsafe { (*inode.as_ptr()).i_mapping })
}
