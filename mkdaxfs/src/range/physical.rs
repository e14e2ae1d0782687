//! Physical memory, through `/dev/mem`.

use super::iomem::{Conflict, conflict};
use super::{Claims, RangeError};
use daxfs::std_platform::MappedFile;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

const DEVICE: &str = "/dev/mem";
const MAP: &str = "/proc/iomem";

/// Makes sure that the `size` bytes at `start` are not this kernel's, nor, as far as `claims` are
/// respected, anybody else's.
pub(super) fn expect_free(start: u64, size: u64, claims: Claims) -> Result<(), RangeError> {
    let text = fs::read_to_string(MAP).map_err(|reason| RangeError::Io {
        path: MAP.into(),
        action: "find out what is in the range",
        reason,
        hint: None,
    })?;
    match (conflict(&text, start, size), claims) {
        (Some(Conflict::Ram(ram)), _) => {
            Err(RangeError::InUse { start: ram.start, end: ram.end, name: ram.name })
        }
        (Some(Conflict::Claimed(by)), Claims::Respect) => {
            Err(RangeError::Claimed { start: by.start, end: by.end, name: by.name })
        }
        (Some(Conflict::Hidden), _) => Err(RangeError::Io {
            path: MAP.into(),
            action: "see addresses",
            reason: io::ErrorKind::PermissionDenied.into(),
            hint: Some("only an administrator can; run this as root"),
        }),
        (Some(Conflict::Claimed(_)), Claims::Ignore) | (None, _) => Ok(()),
    }
}

/// Maps physical memory, cached as memory is.
pub(super) fn map(start: u64, size: u64) -> Result<MappedFile, RangeError> {
    let error = |action, reason: io::Error| {
        let hint = match reason.kind() {
            io::ErrorKind::NotFound => {
                Some("this kernel is built without CONFIG_DEVMEM; use a DAX device or a DMA heap")
            }
            io::ErrorKind::PermissionDenied => Some(
                "this needs root, and a kernel that allows it: not locked down, and iomem=relaxed \
                 on its command line if something has claimed the range",
            ),
            io::ErrorKind::InvalidInput => Some(
                "this processor cannot address it, or it is mapped uncached (see \
                 /sys/kernel/debug/x86/pat_memtype_list)",
            ),
            _ => None,
        };
        RangeError::Io { path: PathBuf::from(DEVICE), action, reason, hint }
    };
    // Not O_SYNC: that would map it uncached, and other kernels map it cached.
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|reason| error("open it", reason))?;
    MappedFile::part(&device, start, size, true).map_err(|reason| error("map the range", reason))
}
