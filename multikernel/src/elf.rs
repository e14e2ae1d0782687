//! The kernel's image: what an ELF file says will be where.
//!
//! The image is loaded where it is linked: page tables put those addresses wherever there is memory, so
//! that its relocations, which the linker has applied for that address, are right as they are.

use crate::layout::PAGE;
use object::elf;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ReadRef};

/// Most bytes of an image.
const LARGEST: u64 = 256 << 20;
/// The image must be in the lower half of the address space: the upper is the loader's.
const HIGHEST: u64 = 1 << 46;
/// The first megabyte is where processors start.
const LOWEST: u64 = 1 << 20;

/// The section that `bootloader_api::entry_point!` makes.
const CONFIGURATION: &str = ".bootloader-config";

/// Why a file is no kernel.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ElfError {
    #[error("it is no ELF file: {0}")]
    Malformed(#[from] object::Error),
    #[error("it is no program for x86-64")]
    Machine,
    #[error("it has nothing to load")]
    Empty,
    #[error("it is linked to {0:#x}..{1:#x}, where it cannot be loaded")]
    Addresses(u64, u64),
    #[error("it is a program, but no kernel that is passed a BootInfo")]
    NoKernel,
    #[error("its entry point {0:#x} is not in its code")]
    Entry(u64),
}

/// A page's protection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Protection {
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

/// An image, as it is in memory.
#[derive(Debug)]
pub(crate) struct Image {
    /// Virtual address of its first page.
    pub(crate) start: u64,
    /// Virtual address of its first instruction.
    pub(crate) entry: u64,
    /// Its bytes, whole pages.
    pub(crate) bytes: Vec<u8>,
    /// Of each page, what may be done with it; nothing is there where there is none.
    pub(crate) pages: Vec<Option<Protection>>,
}

impl Image {
    /// Reads an ELF file.
    pub(crate) fn read(file: &[u8]) -> Result<Self, ElfError> {
        let parsed = ElfFile64::<Endianness>::parse(file)?;
        let endian = Endianness::Little;
        let header = parsed.elf_header();
        let kind = header.e_type(endian);
        if header.endian()? != endian
            || header.e_machine(endian) != elf::EM_X86_64
            || (kind != elf::ET_DYN && kind != elf::ET_EXEC)
        {
            return Err(ElfError::Machine);
        }
        let segments = parsed.elf_program_headers();
        let loaded = || {
            segments.iter().filter(|segment| {
                segment.p_type(endian) == elf::PT_LOAD && segment.p_memsz(endian) > 0
            })
        };
        let start = loaded().map(|segment| segment.p_vaddr(endian)).min().ok_or(ElfError::Empty)?;
        let start = start & !(PAGE - 1);
        let ends =
            loaded().map(|segment| segment.p_vaddr(endian).saturating_add(segment.p_memsz(endian)));
        let end = ends.max().unwrap_or(u64::MAX);
        if start < LOWEST || end > HIGHEST || end - start > LARGEST {
            return Err(ElfError::Addresses(start, end));
        }
        let len = (end - start).next_multiple_of(PAGE) as usize;
        let mut image = Self {
            start,
            entry: header.e_entry(endian),
            bytes: vec![0; len],
            pages: vec![None; len / PAGE as usize],
        };
        for segment in loaded() {
            image.load(file, segment, endian)?;
        }
        let entry = image.page(image.entry);
        if !entry.is_some_and(|protection| protection.execute) {
            return Err(ElfError::Entry(image.entry));
        }
        parsed.section_by_name(CONFIGURATION).ok_or(ElfError::NoKernel)?;
        Ok(image)
    }

    fn load(
        &mut self,
        file: &[u8],
        segment: &elf::ProgramHeader64<Endianness>,
        endian: Endianness,
    ) -> Result<(), ElfError> {
        let at = segment.p_vaddr(endian) - self.start;
        let (in_file, in_memory) = (segment.p_filesz(endian), segment.p_memsz(endian));
        let bytes = file
            .read_bytes_at(segment.p_offset(endian), in_file)
            .ok()
            .filter(|_| in_file <= in_memory)
            .ok_or(ElfError::Empty)?;
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        let flags = segment.p_flags(endian);
        let pages = at / PAGE as usize..(at + in_memory as usize).div_ceil(PAGE as usize);
        for page in &mut self.pages[pages] {
            // A page that two segments share permits what either does.
            let page = page.get_or_insert_default();
            page.write |= flags & elf::PF_W != elf::ProgramFlags::default();
            page.execute |= flags & elf::PF_X != elf::ProgramFlags::default();
        }
        Ok(())
    }

    /// What may be done with the page at a virtual address.
    fn page(&self, address: u64) -> Option<Protection> {
        let page = address.checked_sub(self.start)? / PAGE;
        *self.pages.get(usize::try_from(page).ok()?)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very program is an ELF file with several segments.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn files_that_are_no_kernels_are_refused() {
        assert!(matches!(Image::read(b"#!/bin/sh\n"), Err(ElfError::Malformed(_))));
        assert!(matches!(Image::read(&[]), Err(ElfError::Malformed(_))));
        let mut other = own();
        other[18] = 0xb7; // AArch64
        assert_eq!(Image::read(&other).unwrap_err(), ElfError::Machine);
    }

    #[test]
    fn an_image_that_would_cover_the_first_megabyte_is_refused() {
        // A program of the system's is linked to 0.
        let program = own();
        assert!(matches!(Image::read(&program), Err(ElfError::Addresses(0, _))));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_and_nothing_else_happens() {
        let program = own();
        for len in (0..4096.min(program.len())).step_by(7) {
            assert!(Image::read(&program[..len]).is_err(), "{len}");
        }
    }
}
