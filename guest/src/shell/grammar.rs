//! The shell's grammar: commands separated by `;` or line ends, words by blanks.
//!
//! - `'...'` is literal.
//! - In `"..."`, `\"`, `\\`, `\n` and `\t` stand for a quote, a backslash, a line feed and a tab;
//!   any other backslash stands for itself.
//! - Outside of quotes a backslash makes the next byte literal; before a line end the two vanish.
//! - `#` at the start of a word begins a comment that reaches to the end of the line.
//!
//! There is no expansion of any kind.

use core::fmt;
use daxfs::storage::TryVec;

/// Why a text is no sequence of commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyntaxError {
    /// A quote is not closed; the line it is opened in, from 1.
    Quote(usize),
    /// A backslash at the very end.
    Backslash,
    /// Out of memory.
    NoMemory,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quote(line) => write!(f, "quote without an end (line {line})"),
            Self::Backslash => f.write_str("nothing behind the last backslash"),
            Self::NoMemory => f.write_str("out of memory"),
        }
    }
}

impl core::error::Error for SyntaxError {}

impl From<daxfs::Error> for SyntaxError {
    fn from(_: daxfs::Error) -> Self {
        // Vectors are all that can fail here.
        Self::NoMemory
    }
}

/// The words of a command.
#[derive(Default)]
pub struct Words {
    bytes: TryVec<u8>,
    /// Where each word ends.
    ends: TryVec<usize>,
}

impl Words {
    /// The words, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = core::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter()).filter_map(|(start, &end)| self.bytes.get(start..end))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The commands of a text, one after another.
#[derive(Clone, Debug)]
pub struct Commands<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Commands<'t> {
    /// The commands of `text`.
    #[must_use]
    pub const fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Puts the words of the next command into `words`; none are left if that stays empty.
    ///
    /// # Errors
    ///
    /// A [`SyntaxError`]. There is nothing sensible to be read behind one.
    pub fn next(&mut self, words: &mut Words) -> Result<(), SyntaxError> {
        words.clear();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' | b'\n' => {
                    self.at += 1;
                    if !words.is_empty() {
                        return Ok(());
                    }
                }
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                b'\\' if self.text.get(self.at + 1) == Some(&b'\n') => self.at += 2,
                _ => self.word(words)?,
            }
        }
        Ok(())
    }

    fn word(&mut self, words: &mut Words) -> Result<(), SyntaxError> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'\'' => self.literal(words)?,
                b'"' => self.quoted(words)?,
                b'\\' => {
                    let next = *self.text.get(self.at + 1).ok_or(SyntaxError::Backslash)?;
                    self.at += 2;
                    if next != b'\n' {
                        words.bytes.push(next)?;
                    }
                }
                _ => {
                    self.at += 1;
                    words.bytes.push(byte)?;
                }
            }
        }
        words.ends.push(words.bytes.len())?;
        Ok(())
    }

    fn literal(&mut self, words: &mut Words) -> Result<(), SyntaxError> {
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or(&[]);
        let len = rest.iter().position(|&b| b == b'\'').ok_or(self.unclosed(self.at))?;
        words.bytes.extend_from_slice(rest.get(..len).unwrap_or(&[]))?;
        self.at = start + len + 1;
        Ok(())
    }

    fn quoted(&mut self, words: &mut Words) -> Result<(), SyntaxError> {
        let start = self.at;
        self.at += 1;
        loop {
            let byte = self.peek().ok_or(self.unclosed(start))?;
            self.at += 1;
            let meant = match byte {
                b'"' => return Ok(()),
                b'\\' => match self.peek() {
                    Some(b'n') => Some(b'\n'),
                    Some(b't') => Some(b'\t'),
                    Some(other @ (b'"' | b'\\')) => Some(other),
                    _ => None,
                },
                _ => None,
            };
            if meant.is_some() {
                self.at += 1;
            }
            words.bytes.push(meant.unwrap_or(byte))?;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unclosed(&self, at: usize) -> SyntaxError {
        let before = self.text.get(..at).unwrap_or(&[]);
        SyntaxError::Quote(1 + before.iter().filter(|&&b| b == b'\n').count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn parse(text: &str) -> Result<Vec<Vec<String>>, SyntaxError> {
        let mut commands = Commands::new(text.as_bytes());
        let mut words = Words::default();
        let mut all = Vec::new();
        loop {
            commands.next(&mut words)?;
            if words.is_empty() {
                return Ok(all);
            }
            all.push(words.iter().map(|w| String::from_utf8(w.to_vec()).unwrap()).collect());
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn commands_end_at_semicolons_and_line_ends() {
        check("ls; cat a\n\n;;pwd\r\n", &[&["ls"], &["cat", "a"], &["pwd"]]);
        check("", &[]);
        check("  \t ", &[]);
    }

    #[test]
    fn quotes_keep_everything_together() {
        check("write a 'x; y # z'", &[&["write", "a", "x; y # z"]]);
        check("write a \"x; 'y'\"", &[&["write", "a", "x; 'y'"]]);
        check("a'b'\"c\"d", &[&["abcd"]]);
        check("'a\nb'", &[&["a\nb"]]);
    }

    #[test]
    fn an_empty_quote_is_a_word() {
        check("write a ''", &[&["write", "a", ""]]);
        check("\"\"", &[&[""]]);
    }

    #[test]
    fn escapes_mean_what_they_mean_where_they_stand() {
        check(r#"echo "a\nb\t\"\\\q""#, &[&["echo", "a\nb\t\"\\\\q"]]);
        check(r"echo 'a\nb'", &[&["echo", r"a\nb"]]);
        check(r"echo a\ b\;c\n", &[&["echo", "a b;cn"]]);
        check("echo a\\\nb \\\n c", &[&["echo", "ab", "c"]]);
    }

    #[test]
    fn comments_start_words_only() {
        check("ls # all; of it\npwd", &[&["ls"], &["pwd"]]);
        check("cat a#b", &[&["cat", "a#b"]]);
        check("# only this", &[]);
    }

    #[test]
    fn what_is_not_finished_is_an_error() {
        assert_eq!(parse("ls\ncat 'a\nb"), Err(SyntaxError::Quote(2)));
        assert_eq!(parse("\"a\\\""), Err(SyntaxError::Quote(1)));
        assert_eq!(parse("ls \\"), Err(SyntaxError::Backslash));
    }
}
