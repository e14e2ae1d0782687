//! Arguments of commands: options, numbers.

use super::failure::Failure;

/// The one-letter options of a command that were given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options(u64);

impl Options {
    /// Whether `letter` was given.
    #[must_use]
    pub const fn has(self, letter: u8) -> bool {
        self.0 & bit(letter) != 0
    }
}

const fn bit(letter: u8) -> u64 {
    match letter {
        b'A'..=b'Z' => 1 << (letter - b'A'),
        b'a'..=b'z' => 1 << (32 + letter - b'a'),
        _ => 0,
    }
}

/// Splits options, of which `known` exist, from what follows them. `--` ends them; a lone `-` is
/// no option.
///
/// # Errors
///
/// [`Failure::Usage`] for any other option.
pub fn split<'a, 'w>(
    words: &'a [&'w [u8]],
    known: &[u8],
) -> Result<(Options, &'a [&'w [u8]]), Failure<'w>> {
    let mut options = Options::default();
    let mut rest = words;
    while let Some((&word, behind)) = rest.split_first() {
        let letters = match word {
            b"--" => {
                rest = behind;
                break;
            }
            [b'-', letters @ ..] if !letters.is_empty() => letters,
            _ => break,
        };
        for &letter in letters {
            if !known.contains(&letter) {
                return Err(Failure::Usage);
            }
            options.0 |= bit(letter);
        }
        rest = behind;
    }
    Ok((options, rest))
}

/// A number.
///
/// # Errors
///
/// [`Failure::Argument`].
pub fn number(word: &[u8]) -> Result<u64, Failure<'_>> {
    daxfs::parse_number(word).ok_or(Failure::Argument(word, "not a number"))
}

/// A number of bytes; K, M and G are understood.
///
/// # Errors
///
/// [`Failure::Argument`].
pub fn size(word: &[u8]) -> Result<u64, Failure<'_>> {
    daxfs::parse_size(word).ok_or(Failure::Argument(word, "not a size"))
}

/// Permission bits, in octal.
///
/// # Errors
///
/// [`Failure::Argument`].
pub fn mode(word: &[u8]) -> Result<u32, Failure<'_>> {
    let digits = core::str::from_utf8(word).ok().filter(|text| !text.starts_with('+'));
    digits
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .filter(|&mode| mode <= 0o7777)
        .ok_or(Failure::Argument(word, "not an octal mode"))
}

/// `UID:GID`, either of which may be missing.
///
/// # Errors
///
/// [`Failure::Argument`].
pub fn owner(word: &[u8]) -> Result<(Option<u32>, Option<u32>), Failure<'_>> {
    let failure = Failure::Argument(word, "not UID:GID");
    let id = |text: &[u8]| match text {
        b"" => Ok(None),
        _ => {
            let id = daxfs::parse_number(text).and_then(|id| u32::try_from(id).ok());
            id.map(Some).ok_or(failure)
        }
    };
    let mut parts = word.splitn(2, |&b| b == b':');
    let owner = (id(parts.next().unwrap_or(&[]))?, id(parts.next().unwrap_or(&[]))?);
    if owner == (None, None) { Err(failure) } else { Ok(owner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_collected_up_to_the_first_other_word() {
        let words: [&[u8]; 4] = [b"-l", b"-ar", b"x", b"-q"];
        let (options, rest) = split(&words, b"alr").unwrap();
        assert!(options.has(b'l') && options.has(b'a') && options.has(b'r'));
        assert!(!options.has(b'q') && !options.has(b'z'));
        assert_eq!(rest, &words[2..]);
    }

    #[test]
    fn two_dashes_end_options_and_one_is_a_word() {
        let words: [&[u8]; 2] = [b"--", b"-l"];
        assert_eq!(split(&words, b"l").unwrap(), (Options::default(), &words[1..]));
        let words: [&[u8]; 1] = [b"-"];
        assert_eq!(split(&words, b"l").unwrap(), (Options::default(), &words[..]));
    }

    #[test]
    fn unknown_options_are_wrong_usage() {
        let words: [&[u8]; 1] = [b"-lz"];
        assert_eq!(split(&words, b"l"), Err(Failure::Usage));
    }

    #[test]
    fn modes_are_octal_and_bounded() {
        assert_eq!(mode(b"0755"), Ok(0o755));
        assert_eq!(mode(b"7777"), Ok(0o7777));
        for wrong in [&b"8"[..], b"10000", b"", b"+7", b"u+x"] {
            assert!(mode(wrong).is_err());
        }
    }

    #[test]
    fn owners_may_be_half_given() {
        assert_eq!(owner(b"1:2"), Ok((Some(1), Some(2))));
        assert_eq!(owner(b"1"), Ok((Some(1), None)));
        assert_eq!(owner(b":2"), Ok((None, Some(2))));
        for wrong in [&b""[..], b":", b"a:b", b"1:2:3", b"4294967296:0"] {
            assert!(owner(wrong).is_err());
        }
    }
}
