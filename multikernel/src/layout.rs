//! What lies where in a place, and where the kernel finds it when it starts.
//!
//! ```text
//!   0        mailbox
//!   64 KiB   BootInfo, memory regions behind it
//!   68 KiB   not used
//!   128 KiB  stack
//!   192 KiB  handover record, command line, script
//!            page tables
//!            the image, its first page first
//!   2 MiB * n  free memory, up to the end
//! ```

use daxfs_format::handover::Handover;

/// Size of a page.
pub(crate) const PAGE: u64 = 4096;
/// Size of a large page.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;

/// Where the mailbox is.
pub(crate) const MAILBOX: u64 = 0;
/// Where `BootInfo` is.
pub(crate) const BOOT_INFO: u64 = 64 << 10;
/// The end of the stack.
pub(crate) const STACK_END: u64 = 192 << 10;
/// Where the handover record is.
pub(crate) const HANDOVER: u64 = STACK_END;

/// All of the place is mapped at its physical address and this.
pub(crate) const PHYSICAL_OFFSET: u64 = 0xffff_8000_0000_0000;

/// What depends on what is loaded; offsets in the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// The page tables.
    pub(crate) tables: u64,
    /// The image.
    pub(crate) image: u64,
    /// Free memory, up to the place's end.
    pub(crate) free: u64,
}

impl Layout {
    /// Divides a place up.
    pub(crate) const fn new(said: u64, tables: u64, image: u64) -> Self {
        let handover_end = HANDOVER + size_of::<Handover>() as u64 + said;
        let tables_at = handover_end.next_multiple_of(PAGE);
        let image_at = tables_at + tables * PAGE;
        let free = (image_at + image).next_multiple_of(LARGE_PAGE);
        Self { tables: tables_at, image: image_at, free }
    }
}

const _: () = assert!(daxfs_format::mailbox::SIZE <= BOOT_INFO);
