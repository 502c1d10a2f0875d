//! Drawing. Colour never says anything that a word does not say too.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, Wrap};

use super::model::{Focus, Model, Pictures};
use crate::control::{LaneState, StatusReport, WhyReport};

/// Lines about trouble that are shown before the rest is only counted.
const TROUBLES_SHOWN: usize = 4;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let Some(pictures) = &model.pictures else {
        let words = model.failure.clone().unwrap_or_else(|| "asking the daemon …".to_owned());
        let lines = vec![Line::from(words), Line::from("q quits").dim()];
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
        return;
    };
    let attention = attention(&pictures.status, model.failure.as_deref());
    let chains = chains(&pictures.status);
    let rows = |lines: usize| u16::try_from(lines).unwrap_or(u16::MAX);
    let [head, troubles, clients, lanes, messages, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows(attention.len())),
        Constraint::Length(rows(chains.len())),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title(&pictures.status, model.failure.is_some()), head);
    frame.render_widget(Paragraph::new(attention), troubles);
    frame.render_widget(Paragraph::new(chains), clients);
    let table = lane_table(pictures, model.focus == Focus::Lanes);
    frame.render_stateful_widget(table, lanes, &mut model.lanes);
    let table = message_table(pictures, model.focus == Focus::Messages);
    frame.render_stateful_widget(table, messages, &mut model.messages);
    frame.render_widget(
        Line::from(" q quit  Tab other table  ↑↓ move  Enter timeline  Esc back  r ask now").dim(),
        foot,
    );
    if model.open.is_some() {
        draw_timeline(frame, model, area);
    }
}

fn good() -> Style {
    Style::new().fg(Color::Green).add_modifier(Modifier::BOLD)
}

fn bad() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn title(status: &StatusReport, is_stale: bool) -> Line<'static> {
    let ready = match () {
        () if is_stale => Span::styled("NO ANSWER", bad()),
        () if status.troubles.is_empty() => Span::styled("ready", good()),
        () => Span::styled("NOT READY", bad()),
    };
    let up = status.peers.iter().filter(|peer| peer.is_up).count();
    let rest = format!("  {up} of {} peers  {} open transactions", status.peers.len(), status.open_transactions);
    Line::from(vec![
        Span::raw(status.name.clone()).bold(),
        Span::raw(format!(" ({}, {})  ", status.role, status.version)),
        ready,
        Span::raw(rest),
    ])
}

/// What is in trouble, and the peers that are away.
fn attention(status: &StatusReport, failure: Option<&str>) -> Vec<Line<'static>> {
    let failure = failure.map(|failure| Line::styled(format!("! {failure}"), bad()));
    let troubles = status.troubles.iter();
    let said = troubles.map(|trouble| Line::styled(format!("! {}: {}", trouble.subject, trouble.reason), bad()));
    let mut lines: Vec<_> = failure.into_iter().chain(said).collect();
    if lines.len() > TROUBLES_SHOWN {
        let more = lines.len() - (TROUBLES_SHOWN - 1);
        lines.truncate(TROUBLES_SHOWN - 1);
        lines.push(Line::styled(format!("! and {more} more: cityrelay status"), bad()));
    }
    lines
}

fn chains(status: &StatusReport) -> Vec<Line<'static>> {
    let line = |chain: &crate::control::ChainReport| {
        let age = chain.timestamp.map_or_else(|| "-".to_owned(), |time| age(status.now, time));
        let mut spans = vec![
            Span::raw(format!("chain {:<14} height ", chain.name)),
            Span::raw(chain.height.to_string()).bold(),
            Span::raw(format!(", {age} old")),
        ];
        if chain.is_frozen {
            spans.push(Span::styled(", FROZEN", bad()));
        }
        if let Some(reason) = &chain.held_back {
            spans.push(Span::styled(format!(", held back: {reason}"), bad()));
        }
        let (all, usable) = (chain.endpoints.len(), chain.endpoints.iter().filter(|node| node.is_usable).count());
        if all > 0 {
            spans.push(Span::raw(format!(", {usable} of {all} nodes in use")));
        }
        Line::from(spans)
    };
    status.chains.iter().map(line).collect()
}

fn table(rows: Vec<Row<'static>>, widths: &[Constraint], header: &[&'static str], title: String) -> Table<'static> {
    Table::new(rows, widths.to_vec())
        .header(Row::new(header.iter().copied().map(Cell::from)).style(Style::new().add_modifier(Modifier::DIM)))
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn highlight(table: Table<'static>, has_focus: bool) -> Table<'static> {
    match has_focus {
        true => table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED)).highlight_symbol("> "),
        false => table.row_highlight_style(Style::new()),
    }
}

fn lane_table(pictures: &Pictures, has_focus: bool) -> Table<'static> {
    let rows = pictures.lanes.iter().map(|lane| {
        let style = match lane.state {
            LaneState::Idle => Style::new(),
            LaneState::Moving | LaneState::Paused => Style::new().fg(Color::Yellow),
            LaneState::Stuck => bad(),
        };
        Row::new([
            lane.channel.clone(),
            format!("{} → {}", lane.source, lane.destination),
            lane.state.as_str().to_owned(),
            lane.depth.to_string(),
            lane.oldest.map_or_else(|| "-".to_owned(), |oldest| age(pictures.status.now, oldest)),
            lane.finished.to_string(),
            lane.waits_for.clone(),
            lane.who.clone(),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(3),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Fill(2),
    ];
    let header = ["channel", "way", "state", "depth", "age", "finished", "waits for", "who must act"];
    highlight(table(rows.collect(), &widths, &header, format!(" Lanes ({}) ", pictures.lanes.len())), has_focus)
}

fn message_table(pictures: &Pictures, has_focus: bool) -> Table<'static> {
    let rows = pictures.messages.iter().map(|message| {
        let state = message.state.as_str();
        Row::new([
            message.id.clone(),
            message.channel.clone(),
            message.index.to_string(),
            message.outcome.as_ref().map_or_else(|| state.to_owned(), |outcome| format!("{state} ({outcome})")),
            age(pictures.status.now, message.block_time),
            message.waits_for.clone(),
        ])
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(19),
        Constraint::Length(9),
        Constraint::Length(12),
    ];
    let more = if pictures.has_more { " and more" } else { "" };
    let title = format!(" Messages under way ({}{more}) ", pictures.messages.len());
    let header = ["message", "channel", "index", "state", "age", "waits for"];
    highlight(table(rows.collect(), &widths, &header, title), has_focus)
}

fn draw_timeline(frame: &mut Frame<'_>, model: &mut Model, area: Rect) {
    let lines = match model.timeline() {
        None => vec![Line::from("asking …")],
        Some(why) => timeline(why, model.pictures.as_ref().map_or(0, |pictures| pictures.status.now)),
    };
    // The last line stays on the screen, however far somebody scrolls.
    let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(1);
    model.scrolled = model.scrolled.min(last);
    let words = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((model.scrolled, 0))
        .block(Block::new().borders(Borders::ALL).title(" Timeline: Esc closes, ↑↓ scroll "));
    frame.render_widget(Clear, area);
    frame.render_widget(words, area);
}

fn timeline(why: &WhyReport, now: u64) -> Vec<Line<'static>> {
    let id = why.id.clone().unwrap_or_else(|| "not verified here".to_owned());
    let outcome = why.outcome.as_ref().map(|outcome| format!(", outcome {outcome}")).unwrap_or_default();
    let mut lines = vec![
        Line::from(format!("message {} of {}", why.index, why.channel)).bold(),
        Line::from(format!("id {id}")),
        Line::from(format!("state {}{outcome}", why.state.as_str())),
    ];
    if !why.is_finished {
        let next = why.next_step.map(|at| format!(", next step in {}", age(at, now))).unwrap_or_default();
        lines.push(Line::from(format!("waits for {}: {} must act{next}", why.waits_for, why.who)));
    }
    lines.push(Line::default());
    for entry in &why.timeline {
        let at = entry.at.and_then(|at| std::time::UNIX_EPOCH.checked_add(Duration::from_millis(at)));
        let at = at.map_or_else(|| "-".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string());
        lines.push(Line::from(vec![
            Span::raw(format!("{at:<26}")).dim(),
            Span::raw(entry.what.clone()).bold(),
            Span::raw(format!("  {}", entry.detail)),
        ]));
    }
    lines
}

/// The time from `then` to `now`, by its two largest units.
fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

    use super::super::model::After;
    use super::*;
    use crate::control::{ChainReport, LaneReport, MessageReport, MessageState, TimelineEntry};
    use crate::observability::{Trouble, TroubleKind};

    fn pictures() -> Pictures {
        let chain =
            ChainReport { name: "north".to_owned(), height: 4711, timestamp: Some(99_000), ..Default::default() };
        let lane = LaneReport {
            lane: "0x01".to_owned(),
            channel: "medical".to_owned(),
            source: "north".to_owned(),
            destination: "south".to_owned(),
            state: LaneState::Moving,
            depth: 3,
            newest: 9,
            finished: 6,
            oldest: Some(40_000),
            waits_for: "attestations".to_owned(),
            who: "the attesters".to_owned(),
            next_step: None,
        };
        let message = MessageReport {
            id: "0xabcdef".to_owned(),
            lane: "0x01".to_owned(),
            channel: "medical".to_owned(),
            index: 7,
            state: MessageState::Verified,
            outcome: None,
            is_finished: false,
            block_time: 40_000,
            waits_for: "attestations".to_owned(),
            who: "the attesters".to_owned(),
        };
        let status =
            StatusReport { name: "relay-a".to_owned(), now: 100_000, chains: vec![chain], ..Default::default() };
        Pictures { status, lanes: vec![lane], messages: vec![message], has_more: false, why: None }
    }

    fn drawn(model: &mut Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    fn press(model: &mut Model, code: KeyCode) -> After {
        model.on_event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn everything_that_matters_is_on_a_small_screen() {
        let mut model = Model::default();
        model.take(Ok(pictures()));
        let text = drawn(&mut model, 100, 24);
        for word in
            ["relay-a", "ready", "4711", "1s old", "medical", "north → south", "1m00s", "attestations", "0xabcdef"]
        {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn trouble_and_silence_are_told_in_words() {
        let mut model = Model::default();
        assert!(drawn(&mut model, 60, 10).contains("asking the daemon"));
        let mut shown = pictures();
        let trouble = |number| Trouble::new(TroubleKind::LaneStuck, format!("lane {number}"), "stuck");
        shown.status.troubles = (1..=6).map(trouble).collect();
        model.take(Ok(shown));
        let text = drawn(&mut model, 100, 24);
        assert!(text.contains("NOT READY") && text.contains("lane 3: stuck") && text.contains("and 3 more"), "{text}");
        model.take(Err("no daemon answers".to_owned()));
        let text = drawn(&mut model, 100, 24);
        assert!(text.contains("NO ANSWER") && text.contains("no daemon answers") && text.contains("4711"), "{text}");
    }

    #[test]
    fn keys_lead_to_a_message_and_back_and_out() {
        let mut model = Model::default();
        assert_eq!(press(&mut model, KeyCode::Enter), After::Nothing);
        model.take(Ok(pictures()));
        press(&mut model, KeyCode::Tab);
        assert_eq!(press(&mut model, KeyCode::Enter), After::Ask);
        assert_eq!(model.asked_for(), Some(("0x01".to_owned(), 7)));
        assert!(drawn(&mut model, 80, 20).contains("asking"));
        let entry = TimelineEntry { at: Some(0), what: "message verified".to_owned(), detail: "block 5".to_owned() };
        let why = WhyReport { lane: "0x01".to_owned(), index: 7, timeline: vec![entry], ..WhyReport::default() };
        model.take(Ok(Pictures { why: Some(why), ..pictures() }));
        let text = drawn(&mut model, 80, 20);
        assert!(text.contains("1970-01-01T00:00:00.000Z  message verified  block 5"), "{text}");
        assert_eq!(press(&mut model, KeyCode::Esc), After::Nothing);
        assert_eq!(model.asked_for(), None);
        assert_eq!(press(&mut model, KeyCode::Char('q')), After::Quit);
    }

    #[test]
    fn no_size_is_too_small_to_draw() {
        let mut model = Model::default();
        model.take(Ok(pictures()));
        press(&mut model, KeyCode::Down);
        for (width, height) in [(1, 1), (3, 2), (20, 5), (300, 100)] {
            drawn(&mut model, width, height);
        }
    }
}
