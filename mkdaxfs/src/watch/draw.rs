//! The panels of a range.

use super::history::{Health, History, branch_of, member_name};
use super::snapshot::{Segment, Snapshot};
use crate::size::format_size;
use crate::text::{Printable, branch_state};
use daxfs::format::segment::{SegmentKind, SegmentState};
use daxfs::{BranchId, BranchInfo, BranchState, Delta, MemberInfo, MemberState};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use std::time::Duration;

/// Branches have these in turn, so that a segment shows whose it is.
const COLORS: [Color; 6] =
    [Color::Cyan, Color::Green, Color::Yellow, Color::Magenta, Color::Blue, Color::LightRed];
/// Most lines of the segment map.
const MAP_LINES: usize = 6;

/// Everything that the panels show.
pub(super) struct Panels<'a> {
    pub(super) title: &'a str,
    pub(super) history: &'a History,
    pub(super) scroll: usize,
}

impl Panels<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(snapshot) = self.history.snapshot() else {
            let why = self.history.problem().unwrap_or("nothing was seen yet");
            let text = Paragraph::new(why).block(Block::bordered().title(self.frame_title()));
            return frame.render_widget(text, area);
        };
        let width = usize::from(area.width.saturating_sub(2)).max(1);
        let map = snapshot.segments.len().div_ceil(width).clamp(1, MAP_LINES) as u16 + 2;
        let [header, middle, segments, events] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Min(5),
            Constraint::Max(map),
            Constraint::Max(7),
        ])
        .areas(area);
        let [branches, members] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
        self.header(snapshot, frame, header);
        self.branches(snapshot, frame, branches);
        self.members(snapshot, frame, members);
        segment_map(snapshot, frame, segments);
        self.events(frame, events);
    }

    fn frame_title(&self) -> String {
        format!(" {} ", Printable(self.title.as_bytes()))
    }

    fn header(&self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let geometry = &snapshot.geometry;
        let size = format_size(geometry.total_size);
        let base = format_size(geometry.base.len);
        let inodes = snapshot.base_inodes;
        let first = match &geometry.delta {
            Delta::None => format!("static, {size}: {inodes} inodes in {base}"),
            Delta::Plain(delta) => format!(
                "plain v3, {size}: {inodes} inodes in {base}, {} for branches",
                format_size(delta.len)
            ),
            Delta::Segmented(segments) => format!(
                "{}, {size}: {inodes} inodes in {base}, {} for branches, lease {} ms",
                uuid::Uuid::from_bytes(geometry.uuid),
                format_size(segments.area.len),
                segments.lease_ms
            ),
        };
        let mut second = Vec::new();
        if let Some(tree) = &snapshot.tree {
            second.push(Span::raw("sequence "));
            second.push(tree.sequence.to_string().bold());
            second.push(Span::raw(format!(", {:.1} changes/s", self.history.rate())));
            if let Some(operation) = snapshot.operation() {
                let branch = snapshot.branches.iter().find(|branch| branch.slot == tree.slot);
                let name = branch.map(|branch| format!(" '{}'", Printable(branch.name.as_bytes())));
                let member = tree.member.get();
                let name = name.unwrap_or_default();
                second.push(format!(", {operation}{name} for member {member}").yellow());
            }
        }
        if let Some(problem) = self.history.problem() {
            second.push(format!("  last look failed: {problem}").red());
        }
        let text = Paragraph::new(vec![Line::raw(first), Line::from(second)]);
        frame.render_widget(text.block(Block::bordered().title(self.frame_title())), area);
    }

    fn branches(&self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let forest = snapshot.forest();
        let live = forest.iter().filter(|(_, branch)| branch.is_live()).count();
        let block = Block::bordered().title(format!(" branches: {live} "));
        let room = usize::from(block.inner(area).height.saturating_sub(1));
        // One line is for the headings, and there is no scrolling beyond the last.
        let skipped = self.scroll.min(forest.len().saturating_sub(room));
        let block = match forest.len().saturating_sub(skipped + room) {
            0 => block,
            more => block.title_bottom(format!(" {more} more ")),
        };
        let bytes = segment_size(snapshot);
        let rows = forest.iter().skip(skipped).map(|(depth, branch)| {
            let style = state_style(branch);
            let name = Line::from(vec![
                Span::raw("  ".repeat((*depth).min(20))),
                Span::styled("\u{25a0} ", Style::new().fg(color(snapshot, branch.id))),
                Span::styled(Printable(branch.name.as_bytes()).to_string(), style),
            ]);
            Row::new([
                name,
                Line::styled(branch_state(branch.state), style),
                Line::raw(branch.owner.map_or_else(|| "-".into(), |o| o.get().to_string())),
                Line::raw(format_size(branch.segments.saturating_mul(bytes))).right_aligned(),
            ])
        });
        let widths = [
            Constraint::Fill(1),
            Constraint::Length(10),
            Constraint::Length(6),
            Constraint::Length(10),
        ];
        let header = Row::new([
            Line::raw("branch"),
            Line::raw("state"),
            Line::raw("member"),
            Line::raw("size").right_aligned(),
        ]);
        let table = Table::new(rows, widths).header(header.dim()).block(block);
        frame.render_widget(table, area);
    }

    fn members(&self, snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered().title(format!(" members: {} ", snapshot.members.len()));
        let room = usize::from(block.inner(area).height.saturating_sub(1));
        let block = match snapshot.members.len().saturating_sub(room) {
            0 => block,
            more => block.title_bottom(format!(" {more} more ")),
        };
        let rows = snapshot.members.iter().map(|member| {
            let (state, style) = self.condition(member);
            let branch = branch_of(snapshot, member).map_or_else(
                || "-".to_owned(),
                |id| match snapshot.branch(id) {
                    Some(branch) => Printable(branch.name.as_bytes()).to_string(),
                    None => format!("#{id}"),
                },
            );
            Row::new([
                Line::raw(member.index.get().to_string()),
                Line::raw(member_name(member)),
                Line::styled(state, style),
                Line::raw(member.heartbeat.to_string()).right_aligned(),
                Line::styled(ago(self.history.silence(member)), style).right_aligned(),
                Line::raw(branch),
            ])
        });
        let widths = [
            Constraint::Length(3),
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Fill(1),
        ];
        let header = Row::new([
            Line::raw("no"),
            Line::raw("name"),
            Line::raw("state"),
            Line::raw("heartbeat").right_aligned(),
            Line::raw("last").right_aligned(),
            Line::raw("branch"),
        ]);
        frame.render_widget(Table::new(rows, widths).header(header.dim()).block(block), area);
    }

    /// How a member does, in a word.
    fn condition(&self, member: &MemberInfo) -> (&'static str, Style) {
        let style = Style::new();
        match (member.state, self.history.health(member)) {
            (MemberState::Expired, _) => ("expired", style.red()),
            (MemberState::Joining, _) => ("joining", style.yellow()),
            (MemberState::Free, _) => ("free", style.dim()),
            (MemberState::Alive, Health::Well) => ("alive", style.green()),
            (MemberState::Alive, Health::Late) => ("late", style.yellow()),
            (MemberState::Alive, Health::Silent) => ("silent", style.red()),
        }
    }

    fn events(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = self.history.events().map(|event| {
            let at = format!("{:>9.2} s  ", event.at.as_secs_f64());
            Line::from(vec![at.dim(), Span::raw(event.what.as_str())])
        });
        let lines = lines.take(usize::from(area.height)).collect::<Vec<_>>();
        let block = Block::bordered().title(" what happened, the latest first ");
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

fn state_style(branch: &BranchInfo) -> Style {
    match branch.state {
        BranchState::Active => Style::new(),
        BranchState::Making => Style::new().fg(Color::Yellow),
        BranchState::Committed => Style::new().fg(Color::Green).add_modifier(Modifier::DIM),
        BranchState::Aborted | BranchState::Free => {
            Style::new().fg(Color::Red).add_modifier(Modifier::DIM)
        }
    }
}

fn segment_size(snapshot: &Snapshot) -> u64 {
    match &snapshot.geometry.delta {
        Delta::Segmented(segments) => segments.size(),
        Delta::None | Delta::Plain(_) => 0,
    }
}

fn color(snapshot: &Snapshot, id: BranchId) -> Color {
    match snapshot.branches.iter().position(|branch| branch.id == id) {
        Some(index) => COLORS[index % COLORS.len()],
        // A branch that is no more: what it had is about to be given back.
        None => Color::DarkGray,
    }
}

/// All segments, one or more to a character.
fn segment_map(snapshot: &Snapshot, frame: &mut Frame<'_>, area: Rect) {
    let segments = &snapshot.segments;
    let is_free = |segment: &&Segment| **segment == Segment::Is(SegmentState::Free);
    let free = segments.iter().filter(is_free).count();
    let block = Block::bordered();
    let inner = block.inner(area);
    let cells = usize::from(inner.width) * usize::from(inner.height);
    let each = segments.len().div_ceil(cells.max(1)).max(1);
    let scale = if each > 1 { format!(", {each} to a character") } else { String::new() };
    let title = match segments.len() {
        0 => " no segments ".to_owned(),
        all => format!(
            " segments: {free} of {all} free, {} each{scale} (\u{2588} data, \u{2593} log) ",
            format_size(segment_size(snapshot))
        ),
    };
    let cells: Vec<Span<'_>> = segments.chunks(each).map(|group| cell(snapshot, group)).collect();
    let lines: Vec<Line<'_>> = cells
        .chunks(usize::from(inner.width).max(1))
        .map(|line| Line::from(line.to_vec()))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block.title(title)), area);
}

/// A character for neighbouring segments: what those in use are, in the colour of the first's owner.
fn cell(snapshot: &Snapshot, group: &[Segment]) -> Span<'static> {
    if group.contains(&Segment::Nonsense) {
        return "?".red();
    }
    let Some(owner) = group.iter().find_map(|segment| segment.owner()) else {
        return "\u{b7}".dark_gray();
    };
    let all = |wanted: SegmentKind| {
        let fits = |segment: &Segment| match segment {
            Segment::Is(SegmentState::Owned { kind, .. }) => *kind == wanted,
            Segment::Is(SegmentState::Free) | Segment::Nonsense => false,
        };
        group.iter().all(fits)
    };
    let text = match (all(SegmentKind::Data), all(SegmentKind::Log)) {
        (true, _) => "\u{2588}",
        (_, true) => "\u{2593}",
        _ => "\u{2592}",
    };
    Span::styled(text, Style::new().fg(color(snapshot, owner)))
}

/// How long ago, short.
fn ago(time: Duration) -> String {
    match time.as_millis() {
        0..100 => "now".to_owned(),
        100..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..600_000 => format!("{} s", time.as_secs()),
        _ => format!("{} min", time.as_secs() / 60),
    }
}

/// The text of a buffer, without what is empty at the ends of its lines.
pub(super) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for line in buffer.content.chunks(width) {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
