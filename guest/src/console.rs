//! The operator's side of a serial line: line editing, and what was typed ahead.

/// Longest line.
const LINE_MAX: usize = 4096;
/// Most bytes typed ahead.
const TYPE_AHEAD_MAX: usize = 256;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const DELETE_WORD: u8 = 0x17;
const DELETE_LINE: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What a byte from the console led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Nothing but an echo.
    None,
    /// A line is complete.
    Line(&'a [u8]),
    /// The line was abandoned.
    Abandoned,
}

/// Where in a terminal's escape sequence the input is. The sequences (arrow keys and the like) mean
/// nothing here and are swallowed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Sequence {
    #[default]
    None,
    Escape,
    Parameters,
}

/// A line being typed.
#[derive(Debug)]
pub struct LineEditor {
    line: [u8; LINE_MAX],
    len: usize,
    /// The line was given out: the next byte starts a new one.
    complete: bool,
    /// The last byte was a carriage return: a line feed behind it is part of the same line end.
    after_return: bool,
    sequence: Sequence,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self {
            line: [0; LINE_MAX],
            len: 0,
            complete: false,
            after_return: false,
            sequence: Sequence::None,
        }
    }
}

impl LineEditor {
    /// Takes a byte from the console; `echo` takes what the operator is to see.
    pub fn feed(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) -> Event<'_> {
        if core::mem::take(&mut self.complete) {
            self.len = 0;
        }
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match (self.sequence, byte) {
            (_, ESCAPE) => {
                self.sequence = Sequence::Escape;
                return Event::None;
            }
            (Sequence::Escape, b'[' | b'O') => {
                self.sequence = Sequence::Parameters;
                return Event::None;
            }
            (Sequence::Parameters, 0x20..=0x3f) => return Event::None,
            (Sequence::Escape | Sequence::Parameters, 0x20..=0x7e) => {
                self.sequence = Sequence::None;
                return Event::None;
            }
            _ => self.sequence = Sequence::None,
        }
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => {
                echo(b"\n");
                self.complete = true;
                return Event::Line(self.line.get(..self.len).unwrap_or(&[]));
            }
            INTERRUPT => {
                echo(b"^C\n");
                self.len = 0;
                return Event::Abandoned;
            }
            END if self.len == 0 => {
                echo(b"halt\n");
                return Event::Line(b"halt");
            }
            BACKSPACE | DELETE => self.delete_character(echo),
            DELETE_LINE => {
                while self.len > 0 {
                    self.delete_character(echo);
                }
            }
            DELETE_WORD => {
                while self.last() == Some(b' ') {
                    self.delete_character(echo);
                }
                while self.last().is_some_and(|last| last != b' ') {
                    self.delete_character(echo);
                }
            }
            b'\t' => self.insert(b' ', echo),
            0x20.. => self.insert(byte, echo),
            _ => {}
        }
        Event::None
    }

    fn last(&self) -> Option<u8> {
        self.line.get(..self.len)?.last().copied()
    }

    fn insert(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) {
        // A full line takes no more, and shows it by not echoing.
        if let Some(place) = self.line.get_mut(self.len) {
            *place = byte;
            self.len += 1;
            echo(&[byte]);
        }
    }

    /// Takes back a character: all bytes of it, if it is UTF-8.
    fn delete_character(&mut self, echo: &mut dyn FnMut(&[u8])) {
        while let Some(last) = self.last() {
            self.len -= 1;
            if last & 0xc0 != 0x80 {
                echo(b"\x08 \x08");
                return;
            }
        }
    }
}

/// What was typed while a command ran.
#[derive(Debug)]
pub struct TypeAhead {
    bytes: [u8; TYPE_AHEAD_MAX],
    start: usize,
    len: usize,
}

impl Default for TypeAhead {
    fn default() -> Self {
        Self::new()
    }
}

impl TypeAhead {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; TYPE_AHEAD_MAX], start: 0, len: 0 }
    }

    /// Keeps a byte for later; returns whether it is an interrupt instead, which also drops
    /// everything typed before it. What does not fit is lost.
    pub fn push(&mut self, byte: u8) -> bool {
        if byte == INTERRUPT {
            self.len = 0;
            return true;
        }
        if self.len < TYPE_AHEAD_MAX {
            self.bytes[(self.start + self.len) % TYPE_AHEAD_MAX] = byte;
            self.len += 1;
        }
        false
    }

    /// The byte typed first.
    pub fn pop(&mut self) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let byte = self.bytes[self.start];
        self.start = (self.start + 1) % TYPE_AHEAD_MAX;
        self.len -= 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Types `input`, and returns the lines and what was echoed.
    fn type_in(input: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut lines, mut echoed) = (Vec::new(), Vec::new());
        let mut editor = LineEditor::default();
        for &byte in input {
            let event = editor.feed(byte, &mut |bytes| echoed.extend_from_slice(bytes));
            if let Event::Line(line) = event {
                lines.push(line.to_vec());
            }
        }
        (lines, echoed)
    }

    #[test]
    fn every_line_end_ends_one_line() {
        let (lines, _) = type_in(b"a\rb\nc\r\nd\n\n");
        assert_eq!(lines, [&b"a"[..], b"b", b"c", b"d", b""]);
    }

    #[test]
    fn backspace_takes_back_whole_characters_and_stops_at_the_start() {
        let (lines, echoed) = type_in("ab\u{e9}\x7f\x7f\x7f\x7f\x7fx\r".as_bytes());
        assert_eq!(lines, [b"x"]);
        assert_eq!(echoed.iter().filter(|&&b| b == 0x08).count(), 6, "three characters");
    }

    #[test]
    fn control_keys_edit_words_and_lines() {
        assert_eq!(type_in(b"one two  \x17x\r").0, [b"one x"]);
        assert_eq!(type_in(b"one two\x15x\r").0, [b"x"]);
        assert_eq!(type_in(b"one\x03two\r").0, [b"two"]);
    }

    #[test]
    fn arrow_keys_leave_nothing_in_the_line() {
        assert_eq!(type_in(b"l\x1b[A\x1b[1;5Cs\x1bOP\r").0, [b"ls"]);
    }

    #[test]
    fn end_of_input_halts_only_on_an_empty_line() {
        assert_eq!(type_in(b"\x04").0, [b"halt"]);
        assert_eq!(type_in(b"x\x04\r").0, [b"x"]);
    }

    #[test]
    fn a_line_that_is_too_long_keeps_its_start() {
        let mut input = std::vec![b'x'; LINE_MAX + 10];
        input.push(b'\r');
        let (lines, echoed) = type_in(&input);
        assert_eq!(lines[0].len(), LINE_MAX);
        assert_eq!(echoed.len(), LINE_MAX + 1);
    }

    #[test]
    fn bytes_typed_ahead_come_back_in_order_until_an_interrupt() {
        let mut typed = TypeAhead::new();
        for round in 0..3 {
            for i in 0..=TYPE_AHEAD_MAX {
                assert!(!typed.push(i as u8 | 0x80));
            }
            for i in 0..TYPE_AHEAD_MAX {
                assert_eq!(typed.pop(), Some(i as u8 | 0x80), "round {round}");
            }
            assert_eq!(typed.pop(), None);
        }
        typed.push(b'a');
        assert!(typed.push(INTERRUPT));
        assert_eq!(typed.pop(), None);
    }
}
