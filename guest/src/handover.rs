//! What the starter asked for: the handover record, read and checked.

use core::fmt;
use daxfs::format::BLOCK_SIZE;
use daxfs::format::handover::{ConsoleKind, Handover, MAGIC, VERSION};
use daxfs::format::mailbox;
use daxfs::{Access, BranchName, MountOptions};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::memory_map::Range;
use crate::system::SharedRange;

/// Branch the guest makes for itself unless it is told another.
const DEFAULT_BRANCH: &[u8] = b"guest";
/// Longest command line.
pub const CMDLINE_MAX: usize = 1024;
/// I/O port of the first serial port.
const COM1: u16 = 0x3f8;

/// Why a handover cannot be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandoverError {
    /// There are fewer bytes than the record says.
    Truncated,
    /// It does not start with the magic number.
    Magic(u64),
    /// It is of a version, or of a size, that this kernel does not know.
    Version(u32),
    /// The console is of a kind this kernel cannot drive.
    Console(u32),
    /// The mailbox is too small, misaligned, or not in the kernel's own memory.
    Mailbox(Range),
    /// The command line says nothing about the range, or the record nonsense.
    Range(SharedRange),
    /// The command line is wrong.
    Options(daxfs::Error),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("handover record is cut short"),
            Self::Magic(magic) => write!(f, "no handover record (magic {magic:#x})"),
            Self::Version(version) => write!(f, "unknown handover version {version}"),
            Self::Console(kind) => write!(f, "unknown kind of console {kind}"),
            Self::Mailbox(at) => write!(f, "mailbox at {:#x}..{:#x} cannot be", at.start, at.end),
            Self::Range(range) => write!(
                f,
                "no usable shared range (phys={:#x}, size={:#x}): both must be given, and be \
                 multiples of {BLOCK_SIZE}",
                range.phys, range.size
            ),
            Self::Options(error) => write!(f, "command line: {error}"),
        }
    }
}

impl core::error::Error for HandoverError {}

impl From<daxfs::Error> for HandoverError {
    fn from(error: daxfs::Error) -> Self {
        Self::Options(error)
    }
}

/// Whose machine this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Starter {
    /// Firmware or a boot loader: all devices are this kernel's.
    Machine,
    /// Another kernel, which goes on running: only the named memory and the console are this
    /// kernel's.
    Kernel {
        /// This kernel's memory.
        own: Range,
    },
}

/// A handover record, checked.
#[derive(Debug)]
pub struct Request<'a> {
    /// The shared range.
    pub shared: SharedRange,
    /// How to mount it.
    pub mount: MountOptions,
    /// Whether writing was asked for in so many words, or is only what a guest does by default.
    pub write_demanded: bool,
    /// Whose machine this is.
    pub starter: Starter,
    /// I/O port of the console; `None` if it has none.
    pub console_port: Option<u16>,
    /// The mailbox, physical: rings for the console, and a place to say how far the kernel is.
    pub mailbox: Option<Range>,
    /// The kernel's identity in the member table.
    pub kernel: Option<u64>,
    /// Time of day at the start, in nanoseconds since the epoch.
    pub boot_time: Option<u64>,
    /// Frequency of the time stamp counter.
    pub tsc_khz: Option<u64>,
    /// The script to run instead of a shell at the console.
    pub script: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads a record and what stands behind it.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be followed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let (record, rest) =
            Handover::read_from_prefix(bytes).map_err(|_| HandoverError::Truncated)?;
        if record.magic.get() != MAGIC {
            return Err(HandoverError::Magic(record.magic.get()));
        }
        if record.version.get() != VERSION || record.size.get() as usize != size_of::<Handover>() {
            return Err(HandoverError::Version(record.version.get()));
        }
        let cmdline_len = record.cmdline_len.get() as usize;
        let script_len = record.script_len.get() as usize;
        let (cmdline, rest) = rest.split_at_checked(cmdline_len).ok_or(HandoverError::Truncated)?;
        let script = rest.get(..script_len).ok_or(HandoverError::Truncated)?;

        let kind = record.console_kind.get();
        let console_port = match ConsoleKind::from_raw(kind).ok_or(HandoverError::Console(kind))? {
            ConsoleKind::Uart => {
                let port = record.console_port.get();
                Some(u16::try_from(port).map_err(|_| HandoverError::Console(port))?)
            }
            ConsoleKind::Mailbox => None,
        };
        let options = Options::parse(cmdline)?;
        let shared = SharedRange {
            phys: options.phys.unwrap_or(record.shared_phys.get()),
            size: options.size.unwrap_or(record.shared_size.get()),
        };
        let fits = shared.size > 0
            && (shared.phys | shared.size).is_multiple_of(BLOCK_SIZE)
            && shared.phys > 0
            // Physical addresses have at most 52 bits.
            && shared.phys.checked_add(shared.size).is_some_and(|end| end <= 1 << 52);
        if !fits {
            return Err(HandoverError::Range(shared));
        }
        let own = Range::new(record.own_phys.get(), record.own_size.get());
        if !own.is_empty() && !own.intersection(&Range::new(shared.phys, shared.size)).is_empty() {
            return Err(HandoverError::Range(shared));
        }
        Ok(Self {
            shared,
            mount: options.mount,
            write_demanded: options.write_demanded,
            starter: if own.is_empty() { Starter::Machine } else { Starter::Kernel { own } },
            console_port,
            mailbox: mailbox_in(&record, &own)?,
            kernel: Some(record.kernel.get()).filter(|&id| id > 0),
            boot_time: Some(record.boot_time.get()).filter(|&t| t > 0),
            tsc_khz: Some(record.tsc_khz.get()).filter(|&khz| khz > 0),
            script: (script_len > 0).then_some(script),
        })
    }
}

/// The mailbox, if there is one.
fn mailbox_in(record: &Handover, own: &Range) -> Result<Option<Range>, HandoverError> {
    let at = Range::new(record.mailbox_phys.get(), record.mailbox_size.get());
    if at.start == 0 {
        return Ok(None);
    }
    let fits = at.start.is_multiple_of(BLOCK_SIZE)
        && at.len() >= mailbox::SIZE
        && own.intersection(&at) == at;
    if fits { Ok(Some(at)) } else { Err(HandoverError::Mailbox(at)) }
}

/// The record for a command line and a script, as a starter that knows nothing else makes it. The
/// two follow it in the buffer.
#[must_use]
pub fn record_for(cmdline_len: u32, script_len: u32) -> Handover {
    let mut record = Handover::new_zeroed();
    record.magic = MAGIC.into();
    record.version = VERSION.into();
    record.size = (record.as_bytes().len() as u32).into();
    record.console_kind = ConsoleKind::Uart.raw().into();
    record.console_port = u32::from(COM1).into();
    record.cmdline_len = cmdline_len.into();
    record.script_len = script_len.into();
    record
}

/// The command line, with what a guest does by default filled in: it owns the branch `guest`, made
/// from `main`, and keeps it when it leaves.
struct Options {
    phys: Option<u64>,
    size: Option<u64>,
    mount: MountOptions,
    write_demanded: bool,
}

impl Options {
    fn parse(cmdline: &[u8]) -> Result<Self, daxfs::Error> {
        let mut keep = true;
        let mut read_only = false;
        let mut write_demanded = false;
        // Only this kernel knows `nokeep`; the engine's parser does not get to see it. There is no
        // heap yet.
        let mut known = [0; CMDLINE_MAX];
        let mut len = 0;
        let too_long = daxfs::Error::InvalidArgument("too long");
        for option in cmdline.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            match option {
                b"nokeep" => keep = false,
                b"keep" => keep = true,
                _ => {
                    read_only |= option == b"ro";
                    write_demanded |= option == b"rw";
                    let end = len + option.len();
                    known.get_mut(len..end).ok_or(too_long)?.copy_from_slice(option);
                    *known.get_mut(end).ok_or(too_long)? = b',';
                    len = end + 1;
                }
            }
        }
        let parsed = MountOptions::parse(known.get(..len).unwrap_or(&[]))?;
        let mut mount = parsed.mount;
        if !read_only && !write_demanded {
            mount.access = Access::ReadWrite;
        }
        if mount.access == Access::ReadWrite {
            mount.branch = mount.branch.or_else(|| BranchName::new(DEFAULT_BRANCH));
            mount.keep = keep;
        }
        Ok(Self { phys: parsed.phys, size: parsed.size, mount, write_demanded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes(cmdline: &[u8], script: &[u8]) -> Vec<u8> {
        let record = record_for(cmdline.len() as u32, script.len() as u32);
        [record.as_bytes(), cmdline, script].concat()
    }

    const RANGE: &str = "phys=0x100000000,size=256M";

    #[test]
    fn a_bare_range_means_an_own_branch_that_is_kept() {
        let bytes = bytes(RANGE.as_bytes(), b"");
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request.shared, SharedRange { phys: 1 << 32, size: 256 << 20 });
        assert_eq!(request.mount.branch, BranchName::new(b"guest"));
        assert_eq!(request.mount.access, Access::ReadWrite);
        assert!(request.mount.keep && !request.write_demanded);
        assert_eq!(request.script, None);
        assert_eq!(request.starter, Starter::Machine);
    }

    #[test]
    fn read_only_does_not_ask_for_a_branch() {
        let bytes = bytes(std::format!("{RANGE},ro").as_bytes(), b"ls");
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request.mount.access, Access::ReadOnly);
        assert_eq!(request.mount.branch, None);
        assert_eq!(request.script, Some(&b"ls"[..]));
    }

    #[test]
    fn nokeep_is_understood_and_other_words_are_not() {
        let text = std::format!("{RANGE},rw,nokeep,branch=b");
        assert!(!Request::parse(&bytes(text.as_bytes(), b"")).unwrap().mount.keep);
        let text = std::format!("{RANGE},bogus");
        let record = bytes(text.as_bytes(), b"");
        assert!(matches!(Request::parse(&record), Err(HandoverError::Options(_))));
    }

    #[test]
    fn a_record_cut_at_any_byte_is_refused() {
        let whole = bytes(RANGE.as_bytes(), b"ls /");
        for len in 0..whole.len() {
            assert_eq!(
                Request::parse(&whole[..len]).unwrap_err(),
                HandoverError::Truncated,
                "{len} bytes"
            );
        }
        assert!(Request::parse(&whole).is_ok());
    }

    #[test]
    fn ranges_that_cannot_be_mapped_are_refused() {
        for cmdline in [
            "",
            "phys=0x1000",
            "phys=0x1001,size=4096",
            "phys=4096,size=100",
            "phys=0xfffffffffffff000,size=8192",
            "phys=0x10000000000000,size=4096",
        ] {
            let record = bytes(cmdline.as_bytes(), b"");
            assert!(matches!(Request::parse(&record), Err(HandoverError::Range(_))), "{cmdline}");
        }
    }

    /// A record as another kernel on the machine makes it.
    fn started(change: impl FnOnce(&mut Handover)) -> Vec<u8> {
        let mut record = record_for(RANGE.len() as u32, 0);
        record.own_phys = 0x3800_0000.into();
        record.own_size = (64 << 20).into();
        record.console_kind = ConsoleKind::Mailbox.raw().into();
        record.mailbox_phys = 0x3800_1000.into();
        record.mailbox_size = mailbox::SIZE.into();
        change(&mut record);
        [record.as_bytes(), RANGE.as_bytes()].concat()
    }

    #[test]
    fn a_kernel_beside_another_one_has_memory_of_its_own_and_a_mailbox_in_it() {
        let bytes = started(|_| {});
        let request = Request::parse(&bytes).unwrap();
        let own = Range { start: 0x3800_0000, end: 0x3c00_0000 };
        assert_eq!(request.starter, Starter::Kernel { own });
        assert_eq!(request.mailbox, Some(Range::new(0x3800_1000, mailbox::SIZE)));
        assert_eq!(request.console_port, None);
    }

    #[test]
    fn mailboxes_that_are_not_wholly_the_kernels_are_refused() {
        let moves: [fn(&mut Handover); 5] = [
            |r| r.mailbox_phys = 0x3800_1001.into(),
            |r| r.mailbox_phys = 0x37ff_f000.into(),
            |r| r.mailbox_phys = 0x3bff_f000.into(),
            |r| r.mailbox_size = (mailbox::SIZE - 1).into(),
            |r| r.own_size = 0.into(),
        ];
        for (i, change) in moves.into_iter().enumerate() {
            let bytes = started(change);
            let error = Request::parse(&bytes).unwrap_err();
            assert!(matches!(error, HandoverError::Mailbox(_)), "{i}: {error:?}");
        }
    }

    #[test]
    fn own_memory_in_the_shared_range_is_refused() {
        let bytes = started(|r| r.own_phys = (1_u64 << 32).into());
        assert!(matches!(Request::parse(&bytes), Err(HandoverError::Range(_))));
    }

    #[test]
    fn foreign_records_are_told_apart() {
        let mut record = bytes(RANGE.as_bytes(), b"");
        record[8] = 1;
        assert_eq!(Request::parse(&record).unwrap_err(), HandoverError::Version(1));
        record[0] = 0;
        assert!(matches!(Request::parse(&record), Err(HandoverError::Magic(_))));
    }
}
