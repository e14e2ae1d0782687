//! Numbers, times and types as text.

use daxfs::{FileType, Timestamp};

/// The number of bytes that an argument names.
///
/// # Errors
///
/// What would be one.
pub fn size(text: &str) -> Result<u64, &'static str> {
    daxfs::parse_size(text.as_bytes())
        .ok_or("a size is a number of bytes, or a number with K, M or G behind it")
}

/// The address that an argument names.
///
/// # Errors
///
/// What would be one.
pub fn address(text: &str) -> Result<u64, &'static str> {
    daxfs::parse_size(text.as_bytes())
        .ok_or("an address is a number, as 0x100000000, or one with K, M or G behind it")
}

/// A time in RFC 3339, or in seconds since the epoch where that has no such time.
#[must_use]
pub fn time(time: Timestamp) -> String {
    // The format counts nanoseconds upwards from the second, before the epoch too.
    let nanos = i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
    match jiff::Timestamp::from_nanosecond(nanos) {
        Ok(time) => time.to_string(),
        Err(_) => format!("@{}.{:09}", time.sec, time.nsec),
    }
}

/// A number of things, in words.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) if noun.ends_with("ch") => format!("{number} {noun}es"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// The name of a file type.
#[must_use]
pub const fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "fifo",
        FileType::CharDevice => "character device",
        FileType::Directory => "directory",
        FileType::BlockDevice => "block device",
        FileType::Regular => "regular file",
        FileType::Symlink => "symbolic link",
        FileType::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_english() {
        assert_eq!(count(1, "directory"), "1 directory");
        assert_eq!(count(2, "directory"), "2 directories");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(3, "branch"), "3 branches");
    }

    #[test]
    fn times_are_utc_and_never_fail() {
        assert_eq!(time(Timestamp::new(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(Timestamp::new(-1, 500_000_000)), "1969-12-31T23:59:59.5Z");
        assert_eq!(time(Timestamp::new(i64::MAX, 1)), "@9223372036854775807.000000001");
    }
}
