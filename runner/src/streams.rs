//! What comes out of a machine, passed on as it comes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Copies from a machine to `to` until the machine's end, and calls `passed` with the number of bytes
/// after each piece. When `to` takes no more, the rest is read and dropped: the machine must not hang
/// because nobody listens.
///
/// # Errors
///
/// What the system says to the first write that fails. A reader that has gone away is no error.
pub fn copy(
    mut from: impl Read,
    to: &mut dyn Write,
    mut passed: impl FnMut(u64),
) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut outcome = Ok(());
    let mut open = true;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return outcome,
            Ok(count) => {
                if open && let Err(error) = to.write_all(&buffer[..count]).and_then(|()| to.flush())
                {
                    open = false;
                    // Whoever read the output has enough.
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        outcome = Err(error);
                    }
                }
                passed(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Calls `each` with each line that is not empty.
pub fn lines(from: impl Read, mut each: impl FnMut(&str)) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            each(text);
        }
        line.clear();
    }
}

/// The last lines of a stream.
#[derive(Clone, Debug)]
pub struct Last {
    lines: VecDeque<String>,
    most: usize,
}

impl Last {
    /// Keeps so many lines.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { lines: VecDeque::new(), most }
    }

    /// The next line.
    pub fn push(&mut self, line: &str) {
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// The lines, the last one last.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Full(usize, io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(self.1.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_is_read_even_if_nobody_takes_it() {
        for (kind, fails) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::Other, true)] {
            let mut from = &[7_u8; 100_000][..];
            let mut read = 0;
            let outcome = copy(&mut from, &mut Full(10_000, kind), |count| read += count);
            assert_eq!(outcome.is_err(), fails);
            assert_eq!((read, from.len()), (100_000, 0));
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut last = Last::new(2);
        lines(&b"one\r\n\ntwo\nthree"[..], |line| last.push(line));
        assert_eq!(last.into_lines(), ["two", "three"]);
    }
}
