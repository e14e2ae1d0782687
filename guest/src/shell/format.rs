//! Numbers, times, modes and names as text.

use core::fmt;
use daxfs::Timestamp;
use time::OffsetDateTime;

/// Bytes as text: what is not UTF-8, or would control a terminal, is replaced.
pub const fn text(bytes: &[u8]) -> Text<'_> {
    Text(bytes)
}

/// See [`text`].
#[derive(Clone, Copy)]
pub struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { '?' } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char('?')?;
            }
        }
        Ok(())
    }
}

/// A number of bytes in the largest unit that divides it, or with one decimal.
#[derive(Clone, Copy)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 {
            0x4000_0000.. => ("GiB", 30),
            0x10_0000.. => ("MiB", 20),
            0x400.. => ("KiB", 10),
            _ => return write!(f, "{} B", self.0),
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        if self.0.trailing_zeros() >= shift {
            write!(f, "{} {unit}", self.0 >> shift)
        } else {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

/// A time of day in UTC, to the second.
#[derive(Clone, Copy)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0.sec) {
            Ok(t) => write!(
                f,
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                t.year(),
                u8::from(t.month()),
                t.day(),
                t.hour(),
                t.minute(),
                t.second()
            ),
            // Years the calendar does not reach: media may say anything.
            Err(_) => write!(f, "@{}", self.0.sec),
        }
    }
}

/// A mode as `ls -l` has it.
#[derive(Clone, Copy)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = daxfs::format::mode::mode_string(self.0);
        text(&letters).fmt(f)
    }
}

/// Major and minor number of a device, from the packed form that `st_rdev` has on Linux.
pub const fn device(rdev: u32) -> (u32, u32) {
    ((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn sizes_say_no_more_than_they_know() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (256 << 20, "256 MiB"),
            ((1 << 30) + 1, "1.0 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_are_calendar_times_while_there_is_a_calendar() {
        assert_eq!(Time(Timestamp::new(0, 0)).to_string(), "1970-01-01 00:00:00");
        assert_eq!(Time(Timestamp::new(951_782_400, 0)).to_string(), "2000-02-29 00:00:00");
        assert_eq!(Time(Timestamp::new(i64::MAX, 0)).to_string(), "@9223372036854775807");
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(text(b"a\x1b[2Jb\xff\n").to_string(), "a?[2Jb??");
    }

    #[test]
    fn devices_are_unpacked_as_linux_packs_them() {
        for (major, minor) in [(1, 3), (0xfff, 0xf_ffff), (5, 0x1_2367)] {
            let packed = daxfs::format::base::encode_dev(major, minor);
            assert_eq!(device(packed), (major, minor));
        }
    }
}
