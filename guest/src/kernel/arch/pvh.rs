//! The way in from QEMU (`-kernel`): the PVH boot protocol.
//!
//! QEMU finds the entry address in an ELF note and starts there in 32-bit mode, without paging, with
//! `ebx` pointing at an `hvm_start_info`. The code below makes page tables that map the first 4 GiB
//! one to one, goes to 64-bit mode, and hands on a `BootInfo` as the `bootloader` crate makes it,
//! with a handover record built from the command line and the first module. Nothing behind
//! `kernel_main` knows this way in exists.

use super::{exit, image, serial};
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind, Optional};
use core::arch::global_asm;
use core::fmt::Write;
use core::mem::MaybeUninit;
use daxfs::format::handover::{ExitStatus, Handover};
use daxfs_guest::handover::{CMDLINE_MAX, record_for};
use daxfs_guest::memory_map::{MemoryMap, Range};
use spin::Mutex;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::FromBytes;

/// What is mapped when this code runs, one to one.
const MAPPED: u64 = 4 << 30;
/// The first megabyte is firmware's and nobody's.
const LOW_MEMORY: u64 = 1 << 20;
/// Longest script.
const SCRIPT_MAX: u64 = 16 << 20;
/// Most regions handed on.
const REGIONS: usize = 64;

global_asm!(
    // Writable, because the address is a relocation in a position-independent image.
    ".section .note.pvh, \"aw\", @note",
    ".balign 4",
    ".long 4, 8, 18", // lengths of name and address; XEN_ELFNOTE_PHYS32_ENTRY
    ".asciz \"Xen\"",
    ".quad pvh_entry",
    //
    ".section .bss.pvh, \"aw\", @nobits",
    ".balign 4096",
    "pvh_tables:", // level 4, level 3, and four of level 2
    ".skip 6 * 4096",
    "pvh_stack:",
    ".skip 32768",
    "pvh_stack_top:",
    //
    ".section .data.pvh, \"aw\", @progbits",
    ".balign 16",
    "pvh_gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff", // 64-bit code, data
    "pvh_gdt_pointer:",
    ".word 23",
    ".long 0", // the table's address, once it is known
    //
    ".section .text.pvh, \"ax\", @progbits",
    ".code32",
    "pvh_entry:",
    "    cli",
    "    cld",
    // A word of the start info serves as the stack that tells where this code is.
    "    mov (%ebx), %edx",
    "    lea 4(%ebx), %esp",
    "    call 2f",
    "2:  pop %ebp",
    "    mov %edx, (%ebx)",
    "    lea pvh_stack_top - 2b(%ebp), %esp",
    "    lea pvh_tables - 2b(%ebp), %esi",
    // Level 4 and level 3.
    "    lea 4096 + 3(%esi), %eax",
    "    mov %eax, (%esi)",
    "    mov $4, %ecx",
    "    lea 4096(%esi), %edi",
    "    lea 8192 + 3(%esi), %eax",
    "3:  mov %eax, (%edi)",
    "    add $8, %edi",
    "    add $4096, %eax",
    "    dec %ecx",
    "    jnz 3b",
    // Level 2: pages of 2 MiB.
    "    mov $2048, %ecx",
    "    lea 8192(%esi), %edi",
    "    mov $0x83, %eax",
    "4:  mov %eax, (%edi)",
    "    add $8, %edi",
    "    add $0x200000, %eax",
    "    dec %ecx",
    "    jnz 4b",
    // Physical address extension, tables, long mode, paging.
    "    mov %cr4, %eax",
    "    or $0x20, %eax",
    "    mov %eax, %cr4",
    "    mov %esi, %cr3",
    "    mov $0xc0000080, %ecx",
    "    rdmsr",
    "    or $0x100, %eax",
    "    wrmsr",
    "    mov %cr0, %eax",
    "    or $0x80000001, %eax",
    "    mov %eax, %cr0",
    "    lea pvh_gdt - 2b(%ebp), %eax",
    "    mov %eax, pvh_gdt_pointer - 2b + 2(%ebp)",
    "    lgdt pvh_gdt_pointer - 2b(%ebp)",
    "    lea 5f - 2b(%ebp), %eax",
    "    push $8",
    "    push %eax",
    "    lret",
    ".code64",
    "5:  mov $16, %eax",
    "    mov %eax, %ds",
    "    mov %eax, %es",
    "    mov %eax, %ss",
    "    lea pvh_stack_top(%rip), %rsp",
    "    mov %ebx, %edi",
    "    xor %ebp, %ebp",
    "    call {start}",
    "    ud2",
    start = sym start,
    options(att_syntax),
);

#[expect(improper_ctypes, reason = "BootInfo is repr(C), and made for exactly this function")]
unsafe extern "C" {
    /// What `bootloader_api::entry_point!` exports.
    safe fn _start(boot_info: &'static mut BootInfo) -> !;
}

/// `hvm_start_info`, with the memory map of version 1.
#[derive(FromBytes)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    cmdline: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// `hvm_modlist_entry`.
#[derive(FromBytes)]
#[repr(C)]
struct Module {
    address: u64,
    size: u64,
    cmdline: u64,
    reserved: u64,
}

/// `hvm_memmap_table_entry`.
#[derive(FromBytes)]
#[repr(C)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;

static REGION_STORE: Mutex<[MemoryRegion; REGIONS]> = Mutex::new([MemoryRegion::empty(); REGIONS]);
static BOOT_INFO: Mutex<MaybeUninit<BootInfo>> = Mutex::new(MaybeUninit::uninit());

/// Where the entry code leads. `info` is the physical address of the start info.
extern "C" fn start(info: u64) -> ! {
    // QEMU starts nothing else this way.
    serial::use_console(Some(serial::COM1));
    exit::machine_is_ours();
    match boot_info(info) {
        Ok(boot_info) => _start(boot_info),
        Err(problem) => {
            // Writing to the port does not fail.
            let _ = writeln!(serial::emergency(), "PVH: {problem}");
            exit::exit(ExitStatus::Panic)
        }
    }
}

fn boot_info(info: u64) -> Result<&'static mut BootInfo, &'static str> {
    let info: StartInfo = read(info).ok_or("no start info")?;
    if info.magic != MAGIC || info.version < 1 {
        return Err("unknown start info");
    }
    let script = if info.module_count > 0 {
        let module: Module = read(info.modules).ok_or("module list out of reach")?;
        Range::new(module.address, module.size)
    } else {
        Range::default()
    };
    if script.len() > SCRIPT_MAX || script.end > MAPPED {
        return Err("the script is too long or out of reach");
    }
    // Lies in memory that the map calls usable: it is copied before any of that is used.
    let mut cmdline_store = [0; CMDLINE_MAX];
    let cmdline = read_string(info.cmdline, &mut cmdline_store)?;

    let mut memory: MemoryMap<REGIONS> = MemoryMap::default();
    for i in 0..u64::from(info.memory_map_entries) {
        let at = info.memory_map + i * size_of::<MemoryMapEntry>() as u64;
        let entry: MemoryMapEntry = read(at).ok_or("memory map out of reach")?;
        if entry.kind == RAM {
            memory.add(Range::new(entry.address, entry.size));
        }
    }
    memory.reserve(Range::new(0, LOW_MEMORY));
    memory.reserve(image::range());
    memory.reserve(script);

    let record = record_for(cmdline.len() as u32, script.len() as u32);
    let len = size_of::<Handover>() as u64 + cmdline.len() as u64 + script.len();
    let buffer = memory.take(len.next_multiple_of(4096), 4096, MAPPED);
    let buffer = buffer.ok_or("no memory for the handover record")?;
    let mut end = buffer.start;
    for part in [record.as_bytes(), cmdline] {
        // SAFETY: free memory of at least that length, just taken out of the map.
        unsafe { copy(part.as_ptr(), end, part.len()) };
        end += part.len() as u64;
    }
    // SAFETY: as above; the script is in memory that is not in the map, and so does not overlap.
    unsafe { copy(pointer(script.start), end, script.len() as usize) };

    Ok(publish(&memory, buffer, len))
}

/// Puts together what the entry point gets.
fn publish(memory: &MemoryMap<REGIONS>, handover: Range, len: u64) -> &'static mut BootInfo {
    let regions = spin::MutexGuard::leak(REGION_STORE.lock());
    let usable = memory.free().iter();
    for (region, range) in regions.iter_mut().zip(usable) {
        let kind = MemoryRegionKind::Usable;
        *region = MemoryRegion { start: range.start, end: range.end, kind };
    }
    let count = memory.free().len().min(REGIONS);
    let (regions, _) = regions.split_at_mut(count);
    let mut boot_info = BootInfo::new(regions.into());
    boot_info.physical_memory_offset = Optional::Some(0);
    boot_info.ramdisk_addr = Optional::Some(handover.start);
    boot_info.ramdisk_len = len;
    boot_info.kernel_addr = image::range().start;
    boot_info.kernel_len = image::range().len();
    spin::MutexGuard::leak(BOOT_INFO.lock()).write(boot_info)
}

fn pointer(at: u64) -> *const u8 {
    core::ptr::with_exposed_provenance(at as usize)
}

/// Copies bytes to physical memory.
///
/// # Safety
///
/// `len` bytes at `from` are readable and `len` bytes at `to` are mapped, free, and elsewhere.
unsafe fn copy(from: *const u8, to: u64, len: usize) {
    let to = core::ptr::with_exposed_provenance_mut(to as usize);
    // SAFETY: the caller's condition.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
}

/// Reads a structure of the starter's from physical memory, if it is mapped.
fn read<T: FromBytes>(at: u64) -> Option<T> {
    if at == 0 || at.checked_add(size_of::<T>() as u64)? > MAPPED {
        return None;
    }
    // SAFETY: mapped one to one, and nobody else runs yet; any bytes make a `T`.
    Some(unsafe { pointer(at).cast::<T>().read_unaligned() })
}

/// Copies a NUL-terminated string from physical memory.
fn read_string(at: u64, into: &mut [u8; CMDLINE_MAX]) -> Result<&[u8], &'static str> {
    if at == 0 {
        return Ok(&[]);
    }
    for i in 0..CMDLINE_MAX {
        into[i] = read(at + i as u64).ok_or("command line out of reach")?;
        if into[i] == 0 {
            return Ok(&into[..i]);
        }
    }
    Err("command line too long")
}
