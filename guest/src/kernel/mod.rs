//! The kernel: from `BootInfo` to a shell on a mounted image.
//!
//! | module | what it owns |
//! |---|---|
//! | [`arch`] | the processor and the machine around it |
//! | [`memory`] | the address space |
//! | [`heap`] | the heap |
//! | [`heartbeat`] | the proof that this kernel runs |
//! | [`clock`] | time |
//! | [`platform`] | what the engine asks for |
//! | [`mailbox`] | what is shared with a starter that goes on running |
//! | [`machine`] | what the shell asks for |
//! | [`session`] | mounting, the script or the interactive shell |

mod arch;
mod clock;
mod heap;
mod heartbeat;
mod machine;
mod mailbox;
mod memory;
mod platform;
mod session;

use arch::serial::Console;
use arch::{apic, exit, gdt, interrupts, pc, serial};
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::{BootInfo, entry_point};
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use daxfs::format::handover::ExitStatus;
use daxfs::format::mailbox::Progress;
use daxfs_guest::handover::{HandoverError, Request, Starter};
use memory::{AddressSpace, MemoryError};

/// What the kernel asks of the `bootloader` crate.
static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config
};

entry_point!(kernel_main, config = &BOOTLOADER_CONFIG);

/// Why the kernel does not get as far as mounting.
#[derive(Clone, Copy, Debug)]
enum BootError {
    NoHandover,
    NoMailbox,
    Handover(HandoverError),
    Memory(MemoryError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHandover => f.write_str("no handover record"),
            Self::NoMailbox => f.write_str("no mailbox where the handover record says"),
            Self::Handover(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}"),
        }
    }
}

impl From<HandoverError> for BootError {
    fn from(error: HandoverError) -> Self {
        Self::Handover(error)
    }
}

impl From<MemoryError> for BootError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// The one way in, whoever starts this kernel.
fn kernel_main(boot_info: &'static mut BootInfo) -> ! {
    gdt::load();
    interrupts::load();
    arch::enable_protection();
    let Err(error) = start(boot_info);
    fail(error)
}

fn start(boot_info: &BootInfo) -> Result<core::convert::Infallible, BootError> {
    let address = boot_info.ramdisk_addr.as_ref().ok_or(BootError::NoHandover)?;
    let len = boot_info.ramdisk_len as usize;
    let handover = core::ptr::with_exposed_provenance(*address as usize);
    // SAFETY: the starter mapped this many bytes there and does not touch them any more.
    let handover: &[u8] = unsafe { core::slice::from_raw_parts(handover, len) };
    let request = Request::parse(handover)?;
    serial::use_console(request.console_port);
    if request.starter == Starter::Machine {
        exit::machine_is_ours();
    }
    if let Some(mailbox) = request.mailbox {
        let offset = boot_info.physical_memory_offset.as_ref().copied().unwrap_or(0);
        // SAFETY: the starter mapped own memory, which it is in, at this offset, and keeps to the
        // mailbox's rules; `run` opens it where it is mapped then.
        if !unsafe { mailbox::open(mailbox.start.wrapping_add(offset)) } {
            return Err(BootError::NoMailbox);
        }
        mailbox::set_progress(Progress::Running);
    }
    let space = memory::prepare(boot_info, handover, &request)?;
    // SAFETY: `prepare` mapped the image where it runs, and an unused stack.
    unsafe { switch(space, len) }
}

/// Goes to another address space and stack, and on to [`run`].
///
/// # Safety
///
/// The image is mapped in `space` where it is now, and nobody uses the stack.
unsafe fn switch(space: AddressSpace, handover_len: usize) -> ! {
    // SAFETY: the next instruction is in the image, which does not move; nothing on the old stack is
    // used any more.
    unsafe {
        asm!(
            "mov cr3, {root}",
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {run}",
            "ud2",
            root = in(reg) space.root,
            stack = in(reg) space.stack_top,
            run = sym run,
            in("rdi") handover_len,
            options(noreturn),
        )
    }
}

/// The kernel in its own address space.
extern "C" fn run(handover_len: usize) -> ! {
    // SAFETY: `prepare` mapped it there for good, if there is one.
    unsafe { mailbox::open(memory::mailbox_address().unwrap_or(0)) };
    // SAFETY: `switch` went to the address space that `prepare` made, and comes here once.
    let handover = unsafe { memory::enter(handover_len) };
    let request = match handover.map(Request::parse) {
        Some(Ok(request)) => request,
        Some(Err(error)) => fail(error.into()),
        None => fail(BootError::NoHandover),
    };
    let owns_machine = request.starter == Starter::Machine;
    serial::init(request.console_port, owns_machine && request.script.is_some());
    if owns_machine {
        pc::mask_pic();
    }
    platform::choose_kernel_id(request.kernel);
    clock::init(&request);
    if let Some(registers) = memory::apic_registers() {
        // SAFETY: `prepare` mapped them there, uncached.
        unsafe { apic::start(registers, clock::uptime) };
        x86_64::instructions::interrupts::enable();
    }
    exit::exit(ExitStatus::Shell(session::run(&request)))
}

/// Says why the kernel did not start, and ends it.
fn fail(error: BootError) -> ! {
    // Writing to the port does not fail.
    let _ = writeln!(serial::emergency(), "daxfs guest: cannot start: {error}");
    exit::exit(ExitStatus::Panic)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    // Writing to the port does not fail.
    let _ = writeln!(serial::emergency(), "\nPANIC: {info}");
    exit::exit(ExitStatus::Panic)
}

/// Writes a line to the console.
fn say(line: fmt::Arguments<'_>) {
    // Writing to the port does not fail.
    let _ = writeln!(Console, "{line}");
}
