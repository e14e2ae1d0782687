//! Panes beside the panels, and the one that shows the text of a console.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most lines that a console remembers.
const LINES: usize = 2000;
/// Most characters of a line that are remembered.
const COLUMNS: usize = 1000;

/// Something that is shown beside the panels of a range.
pub trait Pane {
    /// What stands in its frame.
    fn title(&self) -> String;
    /// Draws it, without its frame.
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect);
    /// A key that was pressed while it has the focus; whether it meant something.
    fn key(&mut self, key: KeyEvent) -> bool {
        let _ = key;
        false
    }
}

/// Gets what is typed.
type Input = Box<dyn FnMut(&[u8]) + Send>;

/// The text of a console: whatever somebody, in any thread, [pushes](Self::push). Clones are the
/// same console.
#[derive(Clone)]
pub struct Console {
    title: Arc<str>,
    text: Arc<Mutex<Text>>,
    input: Option<Arc<Mutex<Input>>>,
}

impl Console {
    /// An empty one, which takes no input.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.into(), text: Arc::default(), input: None }
    }

    /// An empty one. `input` gets, as a terminal would send it, what is typed while the pane has the
    /// focus.
    pub fn with_input(title: &str, input: impl FnMut(&[u8]) + Send + 'static) -> Self {
        Self { input: Some(Arc::new(Mutex::new(Box::new(input)))), ..Self::new(title) }
    }

    /// Adds what came from the console. Characters may be cut anywhere.
    pub fn push(&self, bytes: &[u8]) {
        let mut text = self.text();
        for &byte in bytes {
            text.push(byte);
        }
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pane for Console {
    fn title(&self) -> String {
        self.title.to_string()
    }

    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let text = self.text();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        // From the last one up, until there is no more room.
        let rows = text.lines.iter().rev().flat_map(|line| pieces(line, width).into_iter().rev());
        let mut rows: Vec<_> = rows.take(height).map(Line::raw).collect();
        rows.reverse();
        frame.render_widget(Paragraph::new(rows), area);
    }

    fn key(&mut self, key: KeyEvent) -> bool {
        let Some(input) = &self.input else { return false };
        let Some(bytes) = typed(key) else { return false };
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        (*input)(&bytes);
        true
    }
}

/// A line in pieces of so many characters, as a terminal shows it.
fn pieces(line: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((at, _)) = rest.char_indices().nth(width.max(1)) {
        let (piece, behind) = rest.split_at(at);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

/// What a terminal sends for a key; `None` for those that mean something to the watcher, or nothing.
fn typed(key: KeyEvent) -> Option<Vec<u8>> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char(c) if control => match c.to_ascii_uppercase() {
            // Ends the watcher.
            'C' => return None,
            c @ '@'..='_' => vec![c as u8 - b'@'],
            _ => return None,
        },
        KeyCode::Char(c) => c.encode_utf8(&mut [0; 4]).as_bytes().to_vec(),
        KeyCode::Enter => b"\r".to_vec(),
        KeyCode::Backspace => vec![0x7f],
        KeyCode::Up => b"\x1b[A".to_vec(),
        KeyCode::Down => b"\x1b[B".to_vec(),
        KeyCode::Right => b"\x1b[C".to_vec(),
        KeyCode::Left => b"\x1b[D".to_vec(),
        _ => return None,
    })
}

/// Lines of text, as far as a console is text: colours and movements of the cursor are left out.
#[derive(Default)]
struct Text {
    lines: VecDeque<String>,
    state: State,
    /// A character that is not complete.
    pending: Vec<u8>,
    /// The next character starts the line anew.
    returned: bool,
}

/// Where in an escape sequence the text is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Plain,
    /// Behind an escape character.
    Escape,
    /// Behind what starts a control sequence.
    Sequence,
}

impl Text {
    fn push(&mut self, byte: u8) {
        match (self.state, byte) {
            (State::Escape, b'[') => self.state = State::Sequence,
            (State::Escape, _) => self.state = State::Plain,
            (State::Sequence, 0x40..=0x7e) => self.state = State::Plain,
            (State::Sequence, _) => {}
            (State::Plain, 0x1b) => self.state = State::Escape,
            (State::Plain, b'\n') => self.end_line(),
            (State::Plain, b'\r') => self.returned = true,
            (State::Plain, 0x08 | 0x7f) => {
                self.line().pop();
            }
            (State::Plain, b'\t') => (0..8 - self.line().len() % 8).for_each(|_| self.add(' ')),
            (State::Plain, 0..0x20) => {}
            (State::Plain, byte) => {
                self.pending.push(byte);
                self.decode();
            }
        }
    }

    /// Takes the pending bytes once they are a character, or cannot become one.
    fn decode(&mut self) {
        let found = match str::from_utf8(&self.pending) {
            Ok(text) => text.chars().next(),
            Err(error) => error.error_len().map(|_| char::REPLACEMENT_CHARACTER),
        };
        if let Some(found) = found {
            self.pending.clear();
            self.add(if found.is_control() { char::REPLACEMENT_CHARACTER } else { found });
        }
    }

    fn add(&mut self, c: char) {
        if std::mem::take(&mut self.returned) {
            self.line().clear();
        }
        let line = self.line();
        if line.len() < COLUMNS {
            line.push(c);
        }
    }

    fn end_line(&mut self) {
        self.pending.clear();
        self.returned = false;
        self.line();
        self.lines.push_back(String::new());
        while self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    /// The line that is being written.
    fn line(&mut self) -> &mut String {
        if self.lines.is_empty() {
            self.lines.push_back(String::new());
        }
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut text = Text::default();
        bytes.iter().for_each(|&byte| text.push(byte));
        text.lines.into()
    }

    #[test]
    fn text_is_shown_without_what_steers_a_terminal() {
        assert_eq!(
            lines(b"plain\r\n\x1b[1;31mred\x1b[0m \x1bMnext\x07\n"),
            ["plain", "red next", ""]
        );
        assert_eq!(lines(b"50%\r100%"), ["100%"]);
        assert_eq!(lines(b"ab\x08c\td"), ["ac      d"]);
        assert_eq!(lines("gr\u{fc}n \u{9b}".as_bytes()), ["gr\u{fc}n \u{fffd}"]);
        assert_eq!(lines(b"\xff\xe2\x82x"), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn long_lines_go_on_in_the_next_row() {
        assert_eq!(pieces("gr\u{fc}ngelb", 4), ["gr\u{fc}n", "gelb"]);
        assert_eq!(pieces("four", 4), ["four"]);
        assert_eq!(pieces("five5", 4), ["five", "5"]);
        assert_eq!(pieces("", 4), [""]);
        assert_eq!(pieces("ab", 0), ["a", "b"]);
    }

    #[test]
    fn a_console_that_talks_for_ever_is_bounded() {
        let console = Console::new("log");
        console.push(&vec![b'x'; 3 * COLUMNS]);
        (0..2 * LINES).for_each(|i| console.push(format!("{i}\n").as_bytes()));
        let text = console.text();
        assert_eq!(text.lines.len(), LINES);
        assert!(text.lines.iter().all(|line| line.len() <= COLUMNS));
    }

    #[test]
    fn keys_arrive_as_a_terminal_sends_them() {
        let (sender, typed) = mpsc::channel();
        let mut console = Console::with_input("guest", move |bytes| {
            sender.send(bytes.to_vec()).unwrap();
        });
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        assert!(console.key(key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(console.key(key(KeyCode::Char('d'), KeyModifiers::CONTROL)));
        assert!(console.key(key(KeyCode::Up, KeyModifiers::NONE)));
        assert!(!console.key(key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!console.key(key(KeyCode::Tab, KeyModifiers::NONE)));
        assert_eq!(typed.try_iter().collect::<Vec<_>>().concat(), b"q\x04\x1b[A");
        assert!(!Console::new("log").key(key(KeyCode::Char('q'), KeyModifiers::NONE)));
    }
}
