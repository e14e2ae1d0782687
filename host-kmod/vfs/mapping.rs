// SPDX-License-Identifier: GPL-2.0

//! Mappings of files into address spaces: page faults, and taking mappings down.
//!
//! Pages of the range have no `struct page`: they are mapped as page frames. A frame is put into a
//! page table while the file system holds the lock under which it looked the frame up, and taken out
//! again before it lets go of the page, so no mapping outlives what it shows.
//!
//! Taking pages out means looking at every mapping of a file, of which there may be many. So each inode
//! has a word that tells which of its pages may be in page tables at all: a bit for each of the first
//! 63, and one for all others. It is set before a page is put in, with the file system's lock shared,
//! and cleared before pages are taken out, with the lock exclusive.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/huge_mm.h`](srctree/include/linux/huge_mm.h)

use crate::file::File;
use crate::helpers;
use crate::inode::{mapping_of, Inode};
use crate::memory::Frames;
use crate::sync::RwSemaphore;
use crate::FileSystem;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::bindings::{self, vm_fault_t};
use kernel::error::{from_result, to_result};
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::page::{PAGE_SHIFT, PAGE_SIZE};
use kernel::prelude::*;
use kernel::types::Opaque;

const NOPAGE: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_NOPAGE;
const SIGBUS: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_SIGBUS;
const HWPOISON: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_HWPOISON;
const OOM: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_OOM;
const FALLBACK: vm_fault_t = bindings::vm_fault_reason_VM_FAULT_FALLBACK;

/// How many pages are mapped where one is asked for.
const AROUND: u64 = 64;

/// Pages of a huge page.
const HUGE: u64 = 512;
/// log2 of that.
const HUGE_ORDER: u32 = 9;

/// Where pages of a file are.
pub enum Place {
    /// In these frames, the page that was asked for in the first.
    Frames(Frames),
    /// Nowhere: they are zeros.
    Hole,
    /// In pieces: the page has to be put together.
    Pieces,
}

/// The address space of a live inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressSpace(*mut bindings::address_space);

impl AddressSpace {
    pub(crate) fn new(raw: *mut bindings::address_space) -> Self {
        Self(raw)
    }
}

/// Pages from this one on share a bit of the word that tells which may be in page tables.
const LAST_BIT: u64 = 63;

/// The bits of pages in the word that tells which may be in page tables.
fn bits_of(pages: &Range<u64>) -> u64 {
    if pages.is_empty() {
        return 0;
    }
    let (first, last) = (pages.start.min(LAST_BIT), (pages.end - 1).min(LAST_BIT));
    (u64::MAX >> (LAST_BIT - last)) & (u64::MAX << first)
}

/// Pages may be in page tables from now on. The file system's lock is held.
fn populate(word: &AtomicU64, pages: &Range<u64>) {
    let bits = bits_of(pages);
    // Relaxed: the lock orders it.
    if word.load(Ordering::Relaxed) & bits != bits {
        word.fetch_or(bits, Ordering::Relaxed);
    }
}

/// Pages are about to be taken out of page tables; says whether any may be in there. The file system's
/// lock is held exclusively.
fn depopulate(word: &AtomicU64, pages: &Range<u64>) -> bool {
    let bits = bits_of(pages);
    // Relaxed: the lock orders it.
    if word.load(Ordering::Relaxed) & bits == 0 {
        return false;
    }
    let all = pages.start <= LAST_BIT && pages.end == u64::MAX;
    let gone = if all { bits } else { bits & !(1 << LAST_BIT) };
    word.fetch_and(!gone, Ordering::Relaxed);
    true
}

/// A page of the kernel's, zeros at first, that may be mapped read-only anywhere. (The kernel's own page
/// of zeros may not, where stores can follow.)
struct OwnPage(NonNull<bindings::page>);

impl OwnPage {
    fn new() -> Result<Self> {
        // SAFETY: it makes a new page.
        NonNull::new(unsafe { helpers::daxfs_alloc_zeroed_page() }).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for OwnPage {
    fn drop(&mut self) {
        // SAFETY: the reference is this value's; page tables have their own.
        unsafe { helpers::daxfs_put_page(self.0.as_ptr()) };
    }
}

/// The files of a mount that were ever mapped.
///
/// # Invariants
///
/// Entries are address spaces of inodes that were not evicted yet: eviction removes them, under the
/// lock.
pub struct Mapped {
    files: RwSemaphore<KBox<Opaque<bindings::xarray>>>,
    /// What holes look like.
    zeros: OwnPage,
}

// SAFETY: the array may be used from any thread: it has a lock of its own.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// None yet.
    pub fn new() -> Result<Self> {
        let array = KBox::new(Opaque::uninit(), GFP_KERNEL)?;
        // SAFETY: memory for one.
        unsafe { helpers::daxfs_xa_init(array.get()) };
        let class = kernel::static_lock_class!();
        let files = RwSemaphore::new(array, c"daxfs_mapped", class)?;
        Ok(Self { files, zeros: OwnPage::new()? })
    }

    fn add<T: FileSystem>(&self, file: &File<'_, T>) -> Result {
        let inode = file.inode();
        let files = self.files.write();
        // The number of a file of another life may be that of another file now, which this one must not
        // displace. One of the life that begins is added behind this, or has made the life's change seen
        // here: both have the lock.
        if file.life() != T::life(inode.super_block()) {
            return Err(ESTALE);
        }
        let entry = mapping_of(inode).0.cast();
        // SAFETY: an initialised array.
        to_result(unsafe { helpers::daxfs_xa_store(files.get(), inode.ino() as usize, entry) })
    }

    /// An inode is evicted.
    pub(crate) fn remove<T: FileSystem>(&self, inode: &Inode<T>) {
        let files = self.files.read();
        // SAFETY: an initialised array.
        if unsafe { helpers::daxfs_xa_empty(files.get()) } {
            return;
        }
        drop(files);
        let files = self.files.write();
        let index = inode.ino() as usize;
        // SAFETY: an initialised array.
        let known = unsafe { bindings::xa_load(files.get(), index) };
        if known == mapping_of(inode).0.cast() {
            // SAFETY: as above.
            unsafe { bindings::xa_erase(files.get(), index) };
        }
    }

    /// The word of the file's inode that tells which of its pages may be in page tables.
    ///
    /// # Safety
    ///
    /// `mapping` is an entry of the array, whose lock is held for `'a`.
    unsafe fn populated<'a, T>(mapping: *mut T) -> &'a AtomicU64 {
        let mapping: *mut bindings::address_space = mapping.cast();
        // SAFETY: not evicted while the lock is held (type invariant): it has an inode.
        let inode = unsafe { (*mapping).host };
        // SAFETY: `i_private` is a word of 64 bits that is used for this alone.
        unsafe { AtomicU64::from_ptr((&raw mut (*inode).i_private).cast()) }
    }

    /// Takes mappings of these pages of a file down. The file system's lock is held exclusively.
    pub fn unmap(&self, ino: u64, pages: Range<u64>) {
        let files = self.files.read();
        // SAFETY: an initialised array.
        let known = unsafe { bindings::xa_load(files.get(), ino as usize) };
        if known.is_null() {
            return;
        }
        // SAFETY: an entry of the array, whose lock is held.
        if !depopulate(unsafe { Self::populated(known) }, &pages) {
            return;
        }
        let count = pages.end.saturating_sub(pages.start).min(1 << 52) as usize;
        // SAFETY: not evicted while the lock is held (type invariant).
        unsafe { bindings::unmap_mapping_pages(known.cast(), pages.start as usize, count, false) };
    }

    /// Takes all mappings of all files down. The file system's lock is held exclusively.
    pub fn unmap_all(&self) {
        let files = self.files.read();
        let mut index = 0;
        loop {
            // SAFETY: an initialised array.
            let known = unsafe { helpers::daxfs_xa_next(files.get(), &mut index) };
            if known.is_null() {
                return;
            }
            // SAFETY: an entry of the array, whose lock is held.
            if depopulate(unsafe { Self::populated(known) }, &(0..u64::MAX)) {
                // SAFETY: not evicted while the lock is held (type invariant).
                unsafe { bindings::unmap_mapping_pages(known.cast(), 0, 0, false) };
            }
            index += 1;
        }
    }
}

/// `file_operations.mmap`.
///
/// # Safety
///
/// Called by the kernel with an open file of `T` and a mapping that is being made.
pub(crate) unsafe extern "C" fn mmap<T: FileSystem>(
    file: *mut bindings::file,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    from_result(|| {
        // SAFETY: the caller's condition.
        let file = unsafe { File::<T>::from_raw(file) };
        let inode = file.inode();
        T::mapped(&inode.super_block().data()).add(&file)?;
        // SAFETY: the mapping is this thread's.
        unsafe { helpers::daxfs_vma_mixed(vma) };
        // SAFETY: as above.
        unsafe { (*vma).vm_ops = &Operations::<T>::TABLE };
        Ok(0)
    })
}

/// A page fault.
#[derive(Clone, Copy)]
struct Fault(*mut bindings::vm_fault);

impl Fault {
    fn raw(&self) -> &bindings::vm_fault {
        // SAFETY: made by callbacks from a fault that lasts as long as they do.
        unsafe { &*self.0 }
    }

    fn vma(&self) -> *mut bindings::vm_area_struct {
        self.raw().__bindgen_anon_1.vma
    }

    fn page(&self) -> u64 {
        self.raw().__bindgen_anon_1.pgoff as u64
    }

    fn address(&self) -> usize {
        self.raw().__bindgen_anon_1.address
    }

    fn file<T: FileSystem>(&self) -> File<'_, T> {
        // SAFETY: the mapping holds its file, which is one of `T`.
        unsafe { File::from_raw((*self.vma()).vm_file) }
    }

    fn is_store(&self) -> bool {
        self.raw().flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
    }

    fn is_shared(&self) -> bool {
        // SAFETY: a live mapping.
        let flags = unsafe { (*self.vma()).__bindgen_anon_2.vm_flags };
        flags & bindings::VM_SHARED != 0
    }

    /// Whether huge pages may be put in: see `daxfs_vma_mixed`.
    fn may_be_huge(&self) -> bool {
        // SAFETY: a live mapping.
        let flags = unsafe { (*self.vma()).__bindgen_anon_2.vm_flags };
        flags & bindings::VM_MAYSHARE != 0
    }

    /// Addresses of the mapping.
    fn addresses(&self) -> Range<usize> {
        // SAFETY: a live mapping.
        let bounds = unsafe { &(*self.vma()).__bindgen_anon_1.__bindgen_anon_1 };
        bounds.vm_start..bounds.vm_end
    }

    /// Notes that pages from `page` on are put into page tables.
    fn populate<T: FileSystem>(&self, page: u64, count: u64) {
        let pages = page..page.saturating_add(count);
        populate(self.file::<T>().inode().populated(), &pages);
    }

    /// Puts frames in at the address and, as far as that is easy, behind it.
    fn insert<T: FileSystem>(&self, frames: Frames) -> vm_fault_t {
        self.populate::<T>(self.page(), frames.count);
        let (first, count) = (frames.first as usize, frames.count as usize);
        // SAFETY: frames of a range that the file system has lent for this.
        unsafe { helpers::daxfs_insert_frames(self.0, first, count) }
    }

    /// Puts a frame in that may be stored to, or allows that if it is there.
    fn insert_writable<T: FileSystem>(&self, frame: Frames) -> vm_fault_t {
        self.populate::<T>(self.page(), 1);
        // SAFETY: as in `insert`.
        unsafe { helpers::daxfs_insert_writable(self.0, frame.first as usize) }
    }

    /// Puts a page of the kernel's in.
    fn insert_page<T: FileSystem>(&self, page: NonNull<bindings::page>) -> vm_fault_t {
        self.populate::<T>(self.page(), 1);
        // SAFETY: an ordinary page; the page table gets a reference of its own.
        unsafe { helpers::daxfs_insert_page(self.0, page.as_ptr()) }
    }

    fn failed(error: Error) -> vm_fault_t {
        if error == ENOMEM {
            OOM
        } else if error == EIO {
            // Memory has gone bad: SIGBUS, which says so.
            HWPOISON
        } else {
            SIGBUS
        }
    }
}

/// The bytes of a page of the kernel's.
///
/// # Safety
///
/// `page` is an ordinary page, mapped by the kernel, that nobody else uses for `'a`.
unsafe fn bytes_of<'a>(page: *mut bindings::page) -> &'a mut [u8] {
    // SAFETY: the caller's condition.
    let start = unsafe { helpers::daxfs_page_address(page) };
    // SAFETY: a page has that many bytes.
    unsafe { slice::from_raw_parts_mut(start.cast(), PAGE_SIZE) }
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        page_mkwrite: Some(Self::make_writable),
        pfn_mkwrite: Some(Self::make_writable),
        access: Some(Self::access),
        ..pin_init::zeroed()
    };

    /// `vm_operations_struct.fault`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> vm_fault_t {
        let fault = Fault(vmf);
        let file = fault.file::<T>();
        if fault.is_store() && fault.is_shared() {
            let mut result = SIGBUS;
            let owned = Self::own(&fault, &file, &mut |frame| {
                result = fault.insert_writable::<T>(frame);
            });
            return owned.map_or_else(Fault::failed, |()| result);
        }
        // A process that stores to what is its own gets the page read-only at first: the fault that
        // follows copies it.
        let most = if fault.is_store() { 1 } else { AROUND };
        let fs = file.inode().super_block().data();
        let zeros = T::mapped(&fs).zeros.0;
        let mut result = None;
        let located = T::locate(&file, fault.page(), most, &mut |place| {
            result = match place {
                Place::Frames(frames) => Some(fault.insert::<T>(frames)),
                Place::Hole => Some(fault.insert_page::<T>(zeros)),
                Place::Pieces => None,
            };
        });
        match (located, result) {
            (Err(error), _) => Fault::failed(error),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Self::put_together(&fault, &file).unwrap_or_else(Fault::failed),
        }
    }

    /// Makes the page one that may be stored to.
    fn own(fault: &Fault, file: &File<'_, T>, map: &mut dyn FnMut(Frames)) -> Result {
        let sb = file.inode().super_block().as_ptr();
        // SAFETY: a mounted super block.
        unsafe { helpers::daxfs_start_pagefault(sb) };
        let owned = T::own(file, fault.page(), map);
        // SAFETY: started above.
        unsafe { helpers::daxfs_end_pagefault(sb) };
        file.inode().touch();
        owned
    }

    /// Maps a page of the kernel's with the content of one that is in pieces.
    fn put_together(fault: &Fault, file: &File<'_, T>) -> Result<vm_fault_t> {
        let page = OwnPage::new()?;
        // SAFETY: nobody else has it.
        T::read_page(file, fault.page(), unsafe { bytes_of(page.0.as_ptr()) })?;
        // If it is not in pieces any more, the fault comes back.
        let mut result = NOPAGE;
        T::locate(file, fault.page(), 1, &mut |place| {
            if let Place::Pieces = place {
                result = fault.insert_page::<T>(page.0);
            }
        })?;
        Ok(result)
    }

    /// A store to a page that is mapped read-only.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn make_writable(vmf: *mut bindings::vm_fault) -> vm_fault_t {
        let fault = Fault(vmf);
        // Stores are allowed while the file system holds the page, not by the kernel afterwards: by then the
        // page could be one that must not be stored to, mapped again by another reader. If another page is
        // mapped, it is about to be taken down, and the fault comes back.
        let mut result = NOPAGE;
        let owned = Self::own(&fault, &fault.file(), &mut |frame| {
            result = fault.insert_writable::<T>(frame);
        });
        owned.map_or_else(Fault::failed, |()| result)
    }

    /// `vm_operations_struct.access`: debuggers read what has no `struct page`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn access(
        vma: *mut bindings::vm_area_struct,
        address: c_ulong,
        buffer: *mut c_void,
        len: c_int,
        write: c_int,
    ) -> c_int {
        from_result(|| {
            if write != 0 {
                // What a process has for itself was copied before; the rest is for those who have it open.
                return Err(EACCES);
            }
            // SAFETY: the kernel holds the address space's lock: the mapping stays, and its file.
            let (start, first, file) = unsafe {
                let bounds = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
                (bounds.vm_start, (*vma).vm_pgoff, File::<T>::from_raw((*vma).vm_file))
            };
            let page = first + ((address - start) >> PAGE_SHIFT);
            let within = address % PAGE_SIZE;
            let mut bytes = KVec::from_elem(0_u8, PAGE_SIZE, GFP_KERNEL)?;
            T::read_page(&file, page as u64, bytes.as_mut_slice())?;
            let wanted = usize::try_from(len).map_err(|_| EINVAL)?;
            let bytes = bytes.get(within..).unwrap_or(&[]);
            let bytes = bytes.get(..wanted).unwrap_or(bytes);
            // SAFETY: the kernel gives `len` bytes of its own.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            Ok(bytes.len() as c_int)
        })
    }

    /// `vm_operations_struct.huge_fault`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn huge_fault(vmf: *mut bindings::vm_fault, order: u32) -> vm_fault_t {
        let fault = Fault(vmf);
        if order != HUGE_ORDER || fault.is_store() || !fault.may_be_huge() {
            return FALLBACK;
        }
        let within = fault.page() % HUGE;
        let bytes = (HUGE as usize) << PAGE_SHIFT;
        let start = fault.address() & !(bytes - 1);
        let addresses = fault.addresses();
        let fits = (fault.address() >> PAGE_SHIFT) as u64 % HUGE == within
            && start >= addresses.start
            && start + bytes <= addresses.end;
        if !fits {
            return FALLBACK;
        }
        let file = fault.file::<T>();
        let mut result = FALLBACK;
        let located = T::locate(&file, fault.page() - within, HUGE, &mut |place| {
            if let Place::Frames(frames) = place {
                if frames.count >= HUGE && frames.first % HUGE == 0 {
                    fault.populate::<T>(fault.page() - within, HUGE);
                    // SAFETY: frames of a range that the file system has lent for this; the mapping
                    // holds all of their addresses.
                    result =
                        unsafe { bindings::vmf_insert_pfn_pmd(vmf, frames.first as usize, false) };
                }
            }
        });
        match located {
            Ok(()) => result,
            Err(_) => FALLBACK,
        }
    }
}
