//! The kernel's own image: its program headers, as the linker left them in its first page.

use core::ptr::addr_of;
use daxfs_guest::Protection;
use daxfs_guest::memory_map::Range;
use zerocopy::FromBytes;
use zerocopy_derive::FromBytes;

unsafe extern "C" {
    /// The ELF header, at the start of the first loaded segment.
    #[link_name = "__ehdr_start"]
    safe static ELF_HEADER: u8;
}

/// The part of an ELF64 header that says where the program headers are.
#[derive(FromBytes)]
#[repr(C)]
struct ElfHeader {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    size: u16,
    program_header_size: u16,
    program_header_count: u16,
}

/// An ELF64 program header.
#[derive(FromBytes)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    virt: u64,
    phys: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

const LOAD: u32 = 1;
const GNU_RELRO: u32 = 0x6474_e552;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// A part of the image that is mapped alike.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its addresses, page aligned.
    pub range: Range,
    /// What may be done there.
    pub protection: Protection,
    /// What it is called.
    pub name: &'static str,
}

/// Address of the image's first byte.
pub fn base() -> u64 {
    addr_of!(ELF_HEADER).addr() as u64
}

/// All addresses of the image, page aligned.
pub fn range() -> Range {
    let mut all = Range { start: base(), end: base() };
    for segment in segments() {
        all.end = all.end.max(segment.range.end);
    }
    all
}

/// The segments that are loaded; a part of the data that is constant once the image is relocated
/// comes as a segment of its own, behind the one it is a part of.
pub fn segments() -> impl Iterator<Item = Segment> {
    let header: ElfHeader = read(0);
    // A position-independent image is linked at some address, and loaded at that or another one.
    let first = read_program_headers(&header).find(|h| h.kind == LOAD).map_or(0, |h| h.virt);
    let slide = base().wrapping_sub(first);
    read_program_headers(&header).filter_map(move |header| {
        let execute = header.flags & EXECUTE != 0;
        let write = header.flags & WRITE != 0 && header.kind == LOAD;
        let name = match (header.kind, write, execute) {
            (LOAD, true, _) => "data",
            (LOAD, false, true) => "code",
            (LOAD, false, false) => "constants",
            (GNU_RELRO, ..) => "constants (relocated)",
            _ => return None,
        };
        let start = header.virt.wrapping_add(slide);
        let end = start + header.memory_size;
        let range = if header.kind == LOAD {
            Range { start: start & !0xfff, end: end.next_multiple_of(4096) }
        } else {
            Range { start, end }.aligned_inside(4096)
        };
        let protection = Protection { write, execute: execute && header.kind == LOAD };
        Some(Segment { range, protection, name })
    })
}

fn read_program_headers(header: &ElfHeader) -> impl Iterator<Item = ProgramHeader> + use<> {
    let (start, size) = (header.program_headers, u64::from(header.program_header_size));
    (0..u64::from(header.program_header_count)).map(move |i| read(start + i * size))
}

/// Reads a header at `offset` of the image's first page.
fn read<T: FromBytes>(offset: u64) -> T {
    let at = addr_of!(ELF_HEADER).wrapping_add(offset as usize).cast::<T>();
    // SAFETY: the linker puts the ELF header and the program headers, which are less than a page,
    // at the start of the first loaded segment; it is constant, and any bytes make a `T`.
    unsafe { at.read_unaligned() }
}
