//! The terminal: it is ours from [`run`] to its end, and as it was afterwards.

use super::{Pane, Watch};
use daxfs::Platform;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::widgets::Block;
use ratatui::{DefaultTerminal, Frame};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Shows `watch`, and `panes` below it, until q, Esc or ctrl-C is pressed or `ended` says so. The
/// range is looked at every `interval`.
///
/// Tab moves the focus from the range to each pane and back. What has the focus gets the keys first:
/// a console that takes input takes q and Esc, too; ctrl-C always ends. Signals are the caller's, who
/// catches them to say `ended`: a process that one of them kills leaves the terminal as it is.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::Unsupported`] where standard output is no terminal.
pub fn run<P: Platform>(
    watch: &mut Watch<P>,
    panes: &mut [&mut dyn Pane],
    ended: &dyn Fn() -> bool,
    interval: Duration,
) -> io::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let message = "a live view needs a terminal";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    // Undoes itself on a panic, too.
    let mut terminal = ratatui::try_init()?;
    let result = show(&mut terminal, watch, panes, ended, interval);
    let restored = ratatui::try_restore();
    result.and(restored)
}

fn show<P: Platform>(
    terminal: &mut DefaultTerminal,
    watch: &mut Watch<P>,
    panes: &mut [&mut dyn Pane],
    ended: &dyn Fn() -> bool,
    interval: Duration,
) -> io::Result<()> {
    // Not every terminal has a second screen, which would be empty.
    execute!(io::stdout(), Clear(ClearType::All))?;
    let start = Instant::now();
    let mut focus = Focus::default();
    while !ended() {
        watch.refresh(start.elapsed());
        terminal.draw(|frame| draw(frame, watch, panes, focus))?;
        // Keys that are pressed meanwhile are looked at once, all of them.
        let mut wait = interval;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            match event::read()? {
                Event::Key(key)
                    if key.kind != KeyEventKind::Release
                        && press(key, watch, panes, &mut focus) == Flow::End =>
                {
                    return Ok(());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq, Debug)]
enum Flow {
    Go,
    End,
}

/// The pane that has the focus; `None`: the range.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Focus(Option<usize>);

impl Focus {
    fn next(self, panes: usize) -> Self {
        let next = self.0.map_or(0, |pane| pane + 1);
        Self((next < panes).then_some(next))
    }
}

fn press<P: Platform>(
    key: KeyEvent,
    watch: &mut Watch<P>,
    panes: &mut [&mut dyn Pane],
    focus: &mut Focus,
) -> Flow {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => return Flow::End,
        KeyCode::Tab => {
            *focus = focus.next(panes.len());
            return Flow::Go;
        }
        _ => {}
    }
    if let Some(pane) = focus.0.and_then(|focus| panes.get_mut(focus))
        && pane.key(key)
    {
        return Flow::Go;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Flow::End,
        KeyCode::Up => watch.scroll(-1),
        KeyCode::Down => watch.scroll(1),
        KeyCode::PageUp => watch.scroll(-10),
        KeyCode::PageDown => watch.scroll(10),
        _ => {}
    }
    Flow::Go
}

/// The range above, the panes below it, side by side as far as they have 40 columns each.
fn draw<P: Platform>(
    frame: &mut Frame<'_>,
    watch: &Watch<P>,
    panes: &mut [&mut dyn Pane],
    focus: Focus,
) {
    let area = frame.area();
    if panes.is_empty() {
        return watch.draw(frame, area);
    }
    let [range, below] =
        Layout::vertical([Constraint::Percentage(55), Constraint::Fill(1)]).areas(area);
    watch.draw(frame, range);
    let places = places(below, panes.len());
    for (index, (pane, area)) in panes.iter_mut().zip(places).enumerate() {
        let color = if focus.0 == Some(index) { Color::Yellow } else { Color::DarkGray };
        let block = Block::bordered()
            .title(format!(" {} ", pane.title()))
            .border_style(Style::new().fg(color));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        pane.draw(frame, inner);
    }
}

/// Places for so many panes.
fn places(area: Rect, panes: usize) -> Vec<Rect> {
    let columns = usize::from(area.width / 40).clamp(1, panes.max(1));
    let rows = panes.div_ceil(columns);
    let rows = Layout::vertical(vec![Constraint::Fill(1); rows]).split(area);
    rows.iter()
        .flat_map(|&row| Layout::horizontal(vec![Constraint::Fill(1); columns]).split(row).to_vec())
        .collect()
}
