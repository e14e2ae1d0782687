//! The handover record: what a starter tells a guest kernel (docs/architecture.md, "Handover").
//!
//! It is followed in the same buffer by `cmdline_len` bytes of command line and `script_len` bytes
//! of shell script. The PVH path builds one from the PVH command line and the first module.

use crate::assert_layout;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The record's magic number, "DAXHNDOV" in the byte order of the record.
pub const MAGIC: u64 = 0x564f_444e_4858_4144;
/// The only version there is. (Version 1 had no mailbox.)
pub const VERSION: u32 = 2;

/// Where a kernel's console is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleKind {
    /// A 16550 at an I/O port, and the mailbox's rings if there is a mailbox.
    Uart,
    /// The mailbox's rings alone.
    Mailbox,
}

impl ConsoleKind {
    /// The kind the record's field names.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Uart),
            2 => Some(Self::Mailbox),
            _ => None,
        }
    }

    /// The number in the record's field.
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::Uart => 1,
            Self::Mailbox => 2,
        }
    }
}

/// What a starter tells a guest kernel.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Handover {
    /// [`MAGIC`].
    pub magic: U64,
    /// [`VERSION`].
    pub version: U32,
    /// Bytes of this structure.
    pub size: U32,
    /// Physical address of the shared range, page aligned.
    pub shared_phys: U64,
    /// Bytes of the shared range, a multiple of the page size.
    pub shared_size: U64,
    /// Physical address of the kernel's own memory; 0 where the boot memory map says.
    pub own_phys: U64,
    /// Bytes of the kernel's own memory.
    pub own_size: U64,
    /// A [`ConsoleKind`].
    pub console_kind: U32,
    /// I/O port of the console.
    pub console_port: U32,
    /// Nanoseconds since the epoch at the start; 0 if unknown.
    pub boot_time: U64,
    /// Frequency of the time stamp counter in kHz; 0 if unknown.
    pub tsc_khz: U64,
    /// Bytes of command line behind this structure.
    pub cmdline_len: U32,
    /// Bytes of script behind the command line.
    pub script_len: U32,
    /// Physical address of the [mailbox](crate::mailbox), page aligned and in the kernel's own
    /// memory; 0: there is none.
    pub mailbox_phys: U64,
    /// Bytes set aside for the mailbox.
    pub mailbox_size: U64,
    /// Identity of the kernel in the member table; 0: it chooses one.
    pub kernel: U64,
    /// Zero.
    pub reserved: [u8; 24],
}

assert_layout!(
    Handover, size 128,
    magic @ 0, version @ 8, size @ 12, shared_phys @ 16, shared_size @ 24, own_phys @ 32,
    own_size @ 40, console_kind @ 48, console_port @ 52, boot_time @ 56, tsc_khz @ 64,
    cmdline_len @ 72, script_len @ 76, mailbox_phys @ 80, mailbox_size @ 88, kernel @ 96, reserved @ 104,
);

/// I/O port of QEMU's `isa-debug-exit` device, as the runner configures it.
pub const EXIT_PORT: u16 = 0xf4;

/// How a guest kernel run by QEMU ended. QEMU leaves with `value * 2 + 1` for a value written to
/// [`EXIT_PORT`], and with 1 for troubles of its own, so values start at 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// The script (or `halt STATUS`) left with this status: 0 to 99, 127 (no such command) or 130
    /// (interrupted).
    Shell(u8),
    /// The kernel panicked.
    Panic,
    /// The processor raised an exception in the kernel.
    Exception,
}

impl ExitStatus {
    const PANIC: u8 = 101;
    const EXCEPTION: u8 = 102;
    const NO_COMMAND: u8 = 103;
    const INTERRUPTED: u8 = 104;

    /// The value to write to [`EXIT_PORT`].
    #[must_use]
    pub const fn to_port(self) -> u8 {
        1 + match self {
            Self::Shell(status) if status < 100 => status,
            Self::Shell(127) => Self::NO_COMMAND,
            Self::Shell(130) => Self::INTERRUPTED,
            Self::Shell(_) => 99,
            Self::Panic => Self::PANIC,
            Self::Exception => Self::EXCEPTION,
        }
    }

    /// The status that a value written to [`EXIT_PORT`], or to the mailbox, stands for; `None` for 0.
    #[must_use]
    pub const fn from_port(value: u8) -> Option<Self> {
        Some(match value {
            0 => return None,
            value => match value - 1 {
                Self::PANIC => Self::Panic,
                Self::EXCEPTION => Self::Exception,
                Self::NO_COMMAND => Self::Shell(127),
                Self::INTERRUPTED => Self::Shell(130),
                status => Self::Shell(status),
            },
        })
    }

    /// What QEMU's own exit code says; `None` where the guest did not write it.
    #[must_use]
    pub const fn from_qemu(code: u8) -> Option<Self> {
        if code < 3 || code & 1 == 0 {
            return None;
        }
        Self::from_port(code / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_survive_qemu() {
        for status in [
            ExitStatus::Shell(0),
            ExitStatus::Shell(99),
            ExitStatus::Shell(127),
            ExitStatus::Shell(130),
            ExitStatus::Panic,
            ExitStatus::Exception,
        ] {
            let code = status.to_port() * 2 + 1;
            assert_eq!(ExitStatus::from_qemu(code), Some(status));
        }
        assert_eq!(ExitStatus::from_qemu(1), None, "QEMU's own failure");
        assert_eq!(ExitStatus::from_qemu(0), None);
    }
}
