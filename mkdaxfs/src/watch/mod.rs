//! A live view of a shared range, in a terminal.
//!
//! The range is only looked at: a watcher takes no place in the member table, and needs nothing but a
//! mapping for reading. What it shows is what others have published at some moment; while they
//! change the branch tree it shows the moment before.
//!
//! | file | what it owns |
//! |---|---|
//! | [`snapshot`](Snapshot) | one look at the range |
//! | `history` | what changed from look to look: heartbeats, and what happened to branches and members |
//! | `draw` | the panels |
//! | `console` | panes with text from elsewhere, to stand beside the panels |
//! | `screen` | the terminal, and the keys |
//!
//! A program that has panes of its own implements [`Pane`] for them and calls [`run`]; one that owns
//! the terminal itself calls [`Watch::refresh`] and [`Watch::draw`].

mod console;
mod draw;
mod history;
mod screen;
mod snapshot;

pub use console::{Console, Pane};
pub use ratatui;
pub use screen::run;
pub use snapshot::{Segment, Snapshot};

use daxfs::{Platform, Volume};
use history::History;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};
use std::time::Duration;

/// A range, and what was seen of it so far.
pub struct Watch<P: Platform> {
    title: String,
    volume: Volume<P>,
    history: History,
    /// Branches above the first one that is shown.
    scroll: usize,
}

impl<P: Platform> Watch<P> {
    /// Will watch `volume`, and call it `title`.
    pub fn new(title: impl Into<String>, volume: Volume<P>) -> Self {
        Self { title: title.into(), volume, history: History::default(), scroll: 0 }
    }

    /// Looks at the range. `now` is the time since some moment, the same for all looks.
    ///
    /// A look that fails, because the tree is being changed or is corrupt, is shown as such, and
    /// leaves what was seen before.
    pub fn refresh(&mut self, now: Duration) {
        match Snapshot::read(&self.volume) {
            Ok(snapshot) => self.history.note(snapshot, now),
            Err(error) => self.history.fail(&error, now),
        }
    }

    /// What was seen last.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.history.snapshot()
    }

    /// Why the last look failed.
    pub fn problem(&self) -> Option<&str> {
        self.history.problem()
    }

    /// Draws what was seen.
    pub fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        draw::Panels { title: &self.title, history: &self.history, scroll: self.scroll }
            .draw(frame, area);
    }

    /// What [`Self::draw`] draws on an area of so many columns and lines, as text.
    #[must_use]
    pub fn text(&self, columns: u16, lines: u16) -> String {
        let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, lines));
        let Ok(_) = terminal.draw(|frame| self.draw(frame, frame.area()));
        draw::text(terminal.backend().buffer())
    }

    /// Shows branches further down, or up.
    pub fn scroll(&mut self, by: isize) {
        let most = self.snapshot().map_or(0, |snapshot| snapshot.branches.len().saturating_sub(1));
        self.scroll = self.scroll.saturating_add_signed(by).min(most);
    }
}
