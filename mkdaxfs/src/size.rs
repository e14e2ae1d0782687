//! Sizes as people write them.

/// Why a text is not a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseSizeError {
    /// No number, or something behind it that is no suffix.
    #[error("not a size: give a number of bytes, or one with K, M, G or T behind it")]
    Syntax,
    /// It does not fit 64 bits.
    #[error("a size beyond 64 bits")]
    TooLarge,
}

/// Bytes that `text` names: a decimal number, or one with `K`, `M`, `G` or `T` (powers of 1024, in
/// either case) behind it.
///
/// # Errors
///
/// [`ParseSizeError`].
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseSizeError::Syntax);
    }
    let number: u64 = digits.parse().map_err(|_| ParseSizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(ParseSizeError::TooLarge)
}

/// `bytes` as people read it: three digits or so, powers of 1024.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut unit = 0;
    let mut value = bytes as f64 / 1024.0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_suffix_are_understood() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
        assert_eq!(parse_size("3K"), Ok(3072));
        assert_eq!(parse_size("2T"), Ok(2 << 40));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1", "+1", "1.5G", "1 M", "1MB", "0x10", "\u{0661}"] {
            assert_eq!(parse_size(text), Err(ParseSizeError::Syntax), "{text:?}");
        }
        assert_eq!(parse_size("18446744073709551616"), Err(ParseSizeError::TooLarge));
        assert_eq!(parse_size("18446744073709551615K"), Err(ParseSizeError::TooLarge));
    }

    #[test]
    fn sizes_read_well_at_every_magnitude() {
        assert_eq!(format_size(0), "0 bytes");
        assert_eq!(format_size(1023), "1023 bytes");
        assert_eq!(format_size(1536), "1.5 KiB");
        assert_eq!(format_size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(format_size(u64::MAX), "16.0 EiB");
    }
}
