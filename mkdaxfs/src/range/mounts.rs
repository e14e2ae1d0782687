//! `/proc/self/mounts`: where this kernel has ranges mounted. A static image has no table of those who
//! use it, so that this is the only place that tells of them.

use std::fs;
use std::path::Path;

/// Where this kernel has mounted something of the `size` bytes of physical memory at `start`.
pub(super) fn of_physical(start: u64, size: u64) -> Vec<String> {
    find(&read(), |mount| mount.overlaps(start, size))
}

/// Where this kernel has mounted what is on the device at `path`.
pub(super) fn of_device(path: &Path) -> Vec<String> {
    let Ok(device) = path.canonicalize() else { return Vec::new() };
    let same = |source: &str| {
        source.starts_with('/') && Path::new(source).canonicalize().is_ok_and(|it| it == device)
    };
    find(&read(), |mount| same(mount.source))
}

/// A mount of this file system.
struct Mount<'t> {
    source: &'t str,
    options: &'t str,
}

impl Mount<'_> {
    /// Whether it is of physical memory, some of which lies in the `size` bytes at `start`.
    fn overlaps(&self, start: u64, size: u64) -> bool {
        let option = |name| {
            let value = self.options.split(',').find_map(|option| option.strip_prefix(name))?;
            daxfs::parse_size(value.as_bytes())
        };
        match (option("phys="), option("size=")) {
            (Some(other), Some(len)) => {
                other < start.saturating_add(size) && start < other.saturating_add(len)
            }
            _ => false,
        }
    }
}

/// What cannot be read names no mounts: the check is one of several.
fn read() -> String {
    fs::read_to_string("/proc/self/mounts").unwrap_or_default()
}

/// Where those are mounted that `wanted` says.
fn find(text: &str, wanted: impl Fn(&Mount<'_>) -> bool) -> Vec<String> {
    let place = |line: &str| {
        let mut fields = line.split(' ');
        let (source, place) = (fields.next()?, fields.next()?);
        let (kind, options) = (fields.next()?, fields.next()?);
        (kind == "daxfs" && wanted(&Mount { source, options })).then(|| place.to_owned())
    };
    text.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_this_file_system_are_looked_at() {
        let text = "none /a daxfs ro,phys=0x1000,size=0x1000 0 0\nnone /b tmpfs rw,size=1k 0 0\n";
        assert_eq!(find(text, |_| true), ["/a"]);
        assert_eq!(find(text, |mount| mount.source == "other"), [""; 0]);
        assert_eq!(find("nonsense\n\n", |_| true), [""; 0]);
    }

    #[test]
    fn ranges_overlap_from_the_first_to_the_last_byte() {
        let mount = Mount { source: "none", options: "rw,phys=0x3000,size=0x2000,branch=main" };
        for (start, size, expected) in [
            (0x1000, 0x2000, false),
            (0x1000, 0x2001, true),
            (0x4fff, 1, true),
            (0x5000, 0x1000, false),
            (0, u64::MAX, true),
        ] {
            assert_eq!(mount.overlaps(start, size), expected, "{start:#x}");
        }
        let device = Mount { source: "/dev/dax0.0", options: "rw,branch=main" };
        assert!(!device.overlaps(0, u64::MAX));
    }
}
