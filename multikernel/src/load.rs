//! Putting a kernel into a place.

use crate::boot_info;
use crate::device::{Device, processor};
use crate::elf::{Image, Protection};
use crate::error::{Error, Result};
use crate::layout::{
    BOOT_INFO, HANDOVER, LARGE_PAGE, Layout, MAILBOX, PAGE, PHYSICAL_OFFSET, STACK_END,
};
use crate::page_tables::PageTables;
use crate::record::Record;
use daxfs::std_platform::MappedFile;
use daxfs::{Region, RegionOffset};
use daxfs_format::handover::{ConsoleKind, Handover};
use daxfs_format::mailbox;
use daxfs_format::multikernel::{Place, Start};
use daxfs_guest::SharedRange;
use daxfs_guest::handover::{Request, record_for};
use std::fs;
use std::mem::offset_of;
use std::time::{SystemTime, UNIX_EPOCH};
use zerocopy::{FromZeros, IntoBytes};

const DATA: Protection = Protection { write: true, execute: false };
const EVERYTHING: Protection = Protection { write: true, execute: true };
/// Least free memory of a kernel: it looks for a piece whose ends are multiples of a large page.
const LEAST_FREE: u64 = 4 << 20;

/// A place with a kernel that is ready to be started.
pub(crate) struct Loaded {
    start: Start,
    shared: SharedRange,
    memory: Region<MappedFile>,
}

impl Loaded {
    /// Puts the kernel that `record` describes into its place, where nothing runs.
    pub(crate) fn new(device: &Device, place: &Place, record: &Record) -> Result<Self> {
        let index = place.index.get();
        if let Some(cpu) = processor(place) {
            return Err(Error::Running { place: index, cpu });
        }
        let file = fs::read(&record.kernel).map_err(Error::file(&record.kernel, "read"))?;
        let image = Image::read(&file)
            .map_err(|reason| Error::Elf { path: record.kernel.clone(), reason })?;
        let (handover, shared) = handover(place, record)?;

        let said = (handover.len() - size_of::<Handover>()) as u64;
        // How many tables there are does not depend on where they are.
        let layout = Layout::new(said, 0, 0);
        let count = tables(place, &layout, &image).len();
        let layout = Layout::new(said, count, image.bytes.len() as u64);
        let (size, needed) = (place.size.get(), layout.free + LEAST_FREE);
        if size < needed {
            return Err(Error::TooLarge { needed, place: size });
        }
        let tables = tables(place, &layout, &image);

        let phys = place.phys.get();
        let address = PHYSICAL_OFFSET + phys;
        let boot_info = boot_info::make(&boot_info::Contents {
            address: address + BOOT_INFO,
            physical_offset: PHYSICAL_OFFSET,
            free_start: phys + layout.free,
            free_end: phys + size,
            handover: address + HANDOVER,
            handover_len: handover.len() as u64,
            image: phys + layout.image,
            image_len: image.bytes.len() as u64,
        });

        let memory = device.map(place, layout.free)?;
        let put =
            |at, bytes: &[u8]| memory.copy_in(RegionOffset::new(at), bytes).map_err(Error::Mailbox);
        // Whatever a kernel before this one has left goes, its output first.
        memory.zero(RegionOffset::new(MAILBOX), layout.free).map_err(Error::Mailbox)?;
        put(BOOT_INFO, &boot_info)?;
        put(HANDOVER, &handover)?;
        put(layout.tables, &tables.bytes())?;
        put(layout.image, &image.bytes)?;
        put(MAILBOX, daxfs_guest::mailbox::fresh().as_bytes())?;

        let mut start = Start::new_zeroed();
        start.index = place.index;
        start.entry = image.entry.into();
        start.root = tables.root().into();
        start.stack = (address + STACK_END).into();
        start.argument = (address + BOOT_INFO).into();
        start.kernel = record.identity.into();
        Ok(Self { start, shared, memory })
    }

    /// The shared range that it mounts: physical address and bytes.
    pub(crate) const fn shared(&self) -> (u64, u64) {
        (self.shared.phys, self.shared.size)
    }

    /// Starts it on a processor.
    pub(crate) fn start(mut self, device: &Device, cpu: u32) -> Result<()> {
        // Release order does not matter: nobody looks before the ioctl.
        let at = HANDOVER + offset_of!(Handover, boot_time) as u64;
        let now = now().to_le_bytes();
        self.memory.copy_in(RegionOffset::new(at), &now).map_err(Error::Mailbox)?;
        self.start.cpu = cpu.into();
        device.start(self.start)
    }
}

/// The handover record and what stands behind it, and the shared range that it comes to.
fn handover(place: &Place, record: &Record) -> Result<(Vec<u8>, SharedRange)> {
    let (cmdline, script) = (record.options.as_bytes(), record.script.as_bytes());
    let mut handover = record_for(cmdline.len() as u32, script.len() as u32);
    handover.own_phys = place.phys;
    handover.own_size = place.size;
    let (kind, port) = match record.uart {
        Some(port) => (ConsoleKind::Uart, port),
        None => (ConsoleKind::Mailbox, 0),
    };
    handover.console_kind = kind.raw().into();
    handover.console_port = u32::from(port).into();
    handover.boot_time = now().into();
    handover.tsc_khz = place.tsc_khz;
    handover.mailbox_phys = (place.phys.get() + MAILBOX).into();
    handover.mailbox_size = mailbox::SIZE.into();
    handover.kernel = record.identity.into();
    let bytes = [handover.as_bytes(), cmdline, script].concat();
    // What the kernel would find fault with is told here.
    let shared = Request::parse(&bytes)?.shared;
    Ok((bytes, shared))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// The page tables: the image where it is linked, the whole place at [`PHYSICAL_OFFSET`], and the page
/// that the processor comes from.
fn tables(place: &Place, layout: &Layout, image: &Image) -> PageTables {
    let phys = place.phys.get();
    let mut tables = PageTables::new(phys + layout.tables);
    let trampoline = place.trampoline.get();
    tables.map(trampoline, trampoline, EVERYTHING);
    for at in (0..place.size.get()).step_by(LARGE_PAGE as usize) {
        tables.map_large(PHYSICAL_OFFSET + phys + at, phys + at, DATA);
    }
    for (page, protection) in (0..).zip(&image.pages) {
        if let Some(protection) = protection {
            let at = page * PAGE;
            tables.map(image.start + at, phys + layout.image + at, *protection);
        }
    }
    tables
}
