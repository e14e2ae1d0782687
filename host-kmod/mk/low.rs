// SPDX-License-Identifier: GPL-2.0

//! Two pages of low memory: the code that a processor starts with, and the first page tables.
//!
//! Linux reserves the first megabyte for good and uses little of it. The pages taken are RAM and
//! contain nothing but zeros, lowest first; Linux's own start-up code lies at the other end. They
//! are zeroed again when the module goes.
//!
//! The code has two tasks, chosen by a word of the page: to go to 64-bit mode and jump into a kernel; or
//! to say that it was reached and do nothing for ever, which proves that the processor does not run
//! whatever it ran before.

use crate::helpers;
use crate::tables::PAGE;
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Lowest page that is tried: the interrupt table and the BIOS's data are below.
const FIRST: u64 = 0x8000;
/// Start-up interrupts reach pages below this one.
const LAST: u64 = 0xa_0000;

/// What the code finds in its page.
#[repr(C)]
struct Parameters {
    /// What it is to do.
    task: u32,
    /// What it says when it has got there.
    token: u32,
    /// Where it says so.
    answer: u32,
    /// Physical address of the root table for the way: below 4 GiB.
    low_root: u32,
    root: u64,
    entry: u64,
    stack: u64,
    argument: u64,
    /// Code and data of 32 bits, code of 64 bits.
    segments: [u64; 4],
    gdt: TablePointer,
    idt: TablePointer,
    /// Where it goes on in 32-bit mode.
    protected: FarPointer,
    /// Where it goes on in 64-bit mode.
    long: FarPointer,
}

#[repr(C)]
struct TablePointer {
    reserved: u16,
    limit: u16,
    base: u32,
}

#[repr(C)]
struct FarPointer {
    offset: u32,
    selector: u32,
}

/// Where the parameters are in the page.
const PARAMETERS: usize = 0x800;
const CODE_32: u32 = 8;
const DATA: u32 = 16;
const CODE_64: u32 = 24;

const TASK_START: u32 = 1;
const TASK_PARK: u32 = 2;

global_asm!(
    ".pushsection .rodata.daxfs_mk_trampoline, \"a\"",
    ".balign 16",
    "daxfs_mk_trampoline:",
    ".code16",
    "    cli",
    "    cld",
    "    xorl %ebx, %ebx",
    "    movw %cs, %bx",
    "    movw %bx, %ds",
    "    shll $4, %ebx", // where the page is
    "    movl {token}, %eax",
    "    cmpl ${park}, {task}",
    "    jne 2f",
    "    movl %eax, {answer}",
    "1:  hlt",
    "    jmp 1b",
    "2:  lidtl {idt}",
    "    lgdtl {gdt}",
    "    movl %cr0, %eax",
    "    andl $0x9fffffff, %eax", // INIT leaves caching off
    "    orl $1, %eax",
    "    movl %eax, %cr0",
    "    ljmpl *{protected}",
    ".code32",
    "daxfs_mk_trampoline_protected:",
    "    movl ${data}, %eax",
    "    movl %eax, %ds",
    "    movl %eax, %es",
    "    movl %eax, %ss",
    "    movl %cr4, %eax",
    "    orl $0x20, %eax", // physical address extension
    "    movl %eax, %cr4",
    "    movl {low_root}(%ebx), %eax",
    "    movl %eax, %cr3",
    "    movl $0xc0000080, %ecx",
    "    rdmsr",
    "    orl $0x900, %eax", // long mode, no-execute
    "    wrmsr",
    "    movl %cr0, %eax",
    "    orl $0x80000000, %eax",
    "    movl %eax, %cr0",
    "    ljmpl *{long}(%ebx)",
    ".code64",
    "daxfs_mk_trampoline_long:",
    "    movq {root}(%rbx), %rax",
    "    movq %rax, %cr3",
    "    movq {stack}(%rbx), %rsp",
    "    movq {argument}(%rbx), %rdi",
    "    movq {entry}(%rbx), %rax",
    "    xorl %ebp, %ebp",
    "    pushq $0",
    "    movl {token}(%rbx), %ecx",
    "    movl %ecx, {answer}(%rbx)",
    // Nothing in the page is needed any more but this instruction.
    "    jmp *%rax",
    "daxfs_mk_trampoline_end:",
    ".popsection",
    park = const TASK_PARK,
    data = const DATA,
    task = const PARAMETERS + offset_of!(Parameters, task),
    token = const PARAMETERS + offset_of!(Parameters, token),
    answer = const PARAMETERS + offset_of!(Parameters, answer),
    low_root = const PARAMETERS + offset_of!(Parameters, low_root),
    root = const PARAMETERS + offset_of!(Parameters, root),
    entry = const PARAMETERS + offset_of!(Parameters, entry),
    stack = const PARAMETERS + offset_of!(Parameters, stack),
    argument = const PARAMETERS + offset_of!(Parameters, argument),
    gdt = const PARAMETERS + offset_of!(Parameters, gdt) + offset_of!(TablePointer, limit),
    idt = const PARAMETERS + offset_of!(Parameters, idt) + offset_of!(TablePointer, limit),
    protected = const PARAMETERS + offset_of!(Parameters, protected),
    long = const PARAMETERS + offset_of!(Parameters, long),
    options(att_syntax),
);

extern "C" {
    static daxfs_mk_trampoline: u8;
    static daxfs_mk_trampoline_protected: u8;
    static daxfs_mk_trampoline_long: u8;
    static daxfs_mk_trampoline_end: u8;
}

/// What a kernel is started with.
#[derive(Clone, Copy)]
pub(crate) struct Jump {
    pub(crate) root: u64,
    pub(crate) entry: u64,
    pub(crate) stack: u64,
    pub(crate) argument: u64,
}

/// The two pages.
///
/// # Invariants
///
/// They are RAM below 1 MiB that nobody else uses, mapped at `address`; the first starts with the code.
pub(crate) struct LowPages {
    phys: u64,
    address: NonNull<u8>,
    last_token: u32,
}

// SAFETY: the mapping may be used from any thread.
unsafe impl Send for LowPages {}

impl LowPages {
    /// Takes two pages and puts the code in the first.
    pub(crate) fn new() -> Result<Self> {
        let (phys, address) = (FIRST..LAST - PAGE)
            .step_by(PAGE as usize)
            .find_map(|phys| find(phys).map(|address| (phys, address)))
            .ok_or_else(|| {
                pr_err!("no two free pages of low memory to start processors from\n");
                ENOMEM
            })?;
        let code = core::ptr::addr_of!(daxfs_mk_trampoline);
        let offset = |to: *const u8| to.addr() - code.addr();
        let len = offset(core::ptr::addr_of!(daxfs_mk_trampoline_end));
        if len > PARAMETERS {
            return Err(EINVAL);
        }
        // SAFETY: the code is `len` bytes long, and the page is free and longer.
        unsafe { core::ptr::copy_nonoverlapping(code, address.as_ptr(), len) };
        let pages = Self { phys, address, last_token: 0 };
        let at = |to: *const u8| phys as u32 + offset(to) as u32;
        let gdt = phys as u32 + (PARAMETERS + offset_of!(Parameters, segments)) as u32;
        pages.write(Parameters {
            task: 0,
            token: 0,
            answer: 0,
            low_root: (phys + PAGE) as u32,
            root: 0,
            entry: 0,
            stack: 0,
            argument: 0,
            segments: [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00af_9b00_0000_ffff],
            gdt: TablePointer { reserved: 0, limit: 31, base: gdt },
            // Without a gate, whatever happens before the kernel has loaded its own is fatal.
            idt: TablePointer { reserved: 0, limit: 0, base: 0 },
            protected: FarPointer {
                offset: at(core::ptr::addr_of!(daxfs_mk_trampoline_protected)),
                selector: CODE_32,
            },
            long: FarPointer {
                offset: at(core::ptr::addr_of!(daxfs_mk_trampoline_long)),
                selector: CODE_64,
            },
        });
        Ok(pages)
    }

    /// Physical address of the page with the code.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// Number of that page, as a start-up interrupt has it.
    pub(crate) fn page(&self) -> u8 {
        (self.phys / PAGE) as u8
    }

    /// The next processor that is started goes into a kernel. `entries` gives the words of its root
    /// table, which is copied to where 32-bit code can load it from.
    pub(crate) fn prepare_start(
        &mut self,
        jump: &Jump,
        entries: impl Fn(u64) -> Option<u64>,
    ) -> Result {
        for index in 0..PAGE / 8 {
            let entry = entries(index).ok_or(EFAULT)?;
            let to = self.address.as_ptr().wrapping_add((PAGE + index * 8) as usize).cast::<u64>();
            // SAFETY: in the second page (type invariant), aligned; no processor that is starting uses
            // it now.
            unsafe { to.write_volatile(entry) };
        }
        self.set(offset_of!(Parameters, root), jump.root);
        self.set(offset_of!(Parameters, entry), jump.entry);
        self.set(offset_of!(Parameters, stack), jump.stack);
        self.set(offset_of!(Parameters, argument), jump.argument);
        self.prepare(TASK_START);
        Ok(())
    }

    /// The next processor that is started says that it was, and does nothing.
    pub(crate) fn prepare_park(&mut self) {
        self.prepare(TASK_PARK);
    }

    fn prepare(&mut self, task: u32) {
        self.last_token = self.last_token.wrapping_add(1).max(1);
        self.set(offset_of!(Parameters, task), task);
        self.set(offset_of!(Parameters, answer), 0_u32);
        self.set(offset_of!(Parameters, token), self.last_token);
    }

    /// Whether the processor that was started has done what was prepared last.
    pub(crate) fn is_answered(&self) -> bool {
        let answer = self.parameter::<u32>(offset_of!(Parameters, answer));
        // SAFETY: in the first page (type invariant), aligned; the processor writes to it.
        unsafe { answer.read_volatile() == self.last_token }
    }

    fn set<T>(&self, field: usize, value: T) {
        let to = self.parameter::<T>(field);
        // SAFETY: in the first page (type invariant), and aligned as in `Parameters`.
        unsafe { to.write_volatile(value) };
    }

    fn write(&self, parameters: Parameters) {
        self.set(0, parameters);
    }

    fn parameter<T>(&self, field: usize) -> *mut T {
        self.address.as_ptr().wrapping_add(PARAMETERS + field).cast()
    }
}

const _: () = assert!(PARAMETERS + size_of::<Parameters>() <= PAGE as usize);

impl Drop for LowPages {
    fn drop(&mut self) {
        // SAFETY: two pages (type invariant); every processor that used them was reset.
        unsafe { core::ptr::write_bytes(self.address.as_ptr(), 0, 2 * PAGE as usize) };
    }
}

/// Whether the two pages at `phys` can be taken; where they are mapped.
fn find(phys: u64) -> Option<NonNull<u8>> {
    let len = 2 * PAGE as usize;
    // SAFETY: it only asks.
    if !unsafe { helpers::daxfs_mk_is_memory_of_kernel(phys, len) } {
        return None;
    }
    // SAFETY: RAM, which Linux has mapped.
    let address = NonNull::new(unsafe { helpers::daxfs_mk_low_memory(phys) }.cast::<u8>())?;
    let is_zero = (0..len).all(|at| {
        // SAFETY: in the two pages, which are mapped.
        unsafe { address.as_ptr().wrapping_add(at).read_volatile() == 0 }
    });
    is_zero.then_some(address)
}
