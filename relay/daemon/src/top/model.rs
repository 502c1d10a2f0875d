//! What is shown, and what keys do to it.

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use crate::control::{LaneReport, MessageReport, StatusReport, WhyReport};

/// One round of answers.
#[derive(Clone, Debug, Default)]
pub struct Pictures {
    /// Where everything stands.
    pub status: StatusReport,
    /// The lanes.
    pub lanes: Vec<LaneReport>,
    /// Messages under way.
    pub messages: Vec<MessageReport>,
    /// Whether there are more of them than were asked for.
    pub has_more: bool,
    /// The message whose timeline is open.
    pub why: Option<WhyReport>,
}

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Draw again.
    Nothing,
    /// Ask the daemon at once.
    Ask,
    /// End.
    Quit,
}

/// Which table the arrow keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// The lanes.
    #[default]
    Lanes,
    /// The messages under way.
    Messages,
}

/// Everything on the screen.
#[derive(Debug, Default)]
pub struct Model {
    /// The newest answers.
    pub pictures: Option<Pictures>,
    /// Why the last question had no answer.
    pub failure: Option<String>,
    /// Where the arrow keys are.
    pub focus: Focus,
    /// Selected lane.
    pub lanes: TableState,
    /// Selected message.
    pub messages: TableState,
    /// The message whose timeline is open, by lane and index.
    pub open: Option<(String, u64)>,
    /// Lines of the timeline that are scrolled away.
    pub scrolled: u16,
}

impl Model {
    /// Takes the answers of a round, or the reason why there are none; what was known stays on the screen.
    pub fn take(&mut self, asked: Result<Pictures, String>) {
        match asked {
            Ok(pictures) => {
                self.failure = None;
                self.pictures = Some(pictures);
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// The message that the next round must explain.
    #[must_use]
    pub fn asked_for(&self) -> Option<(String, u64)> {
        self.open.clone()
    }

    /// What a key, or a new size, does.
    pub fn on_event(&mut self, event: &Event) -> After {
        let Event::Key(key) = event else { return After::Nothing };
        if key.kind == KeyEventKind::Release {
            return After::Nothing;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return After::Quit,
            KeyCode::Char('q') => return After::Quit,
            KeyCode::Esc if self.open.is_some() => self.open = None,
            KeyCode::Esc => return After::Quit,
            KeyCode::Tab | KeyCode::BackTab if self.open.is_none() => {
                self.focus = match self.focus {
                    Focus::Lanes => Focus::Messages,
                    Focus::Messages => Focus::Lanes,
                };
                self.step(0);
            }
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(10),
            KeyCode::PageUp => self.step(-10),
            KeyCode::Enter if self.open.is_none() && self.focus == Focus::Messages => return self.open_selected(),
            KeyCode::Char('r') => return After::Ask,
            _ => {}
        }
        After::Nothing
    }

    /// Moves the selection, or scrolls the open timeline.
    fn step(&mut self, by: i16) {
        if self.open.is_some() {
            self.scrolled = self.scrolled.saturating_add_signed(by);
            return;
        }
        let Some(pictures) = &self.pictures else { return };
        let (state, rows) = match self.focus {
            Focus::Lanes => (&mut self.lanes, pictures.lanes.len()),
            Focus::Messages => (&mut self.messages, pictures.messages.len()),
        };
        let last = rows.saturating_sub(1);
        let to = state.selected().map_or(0, |at| at.saturating_add_signed(isize::from(by)).min(last));
        state.select((rows > 0).then_some(to));
    }

    fn open_selected(&mut self) -> After {
        let pictures = self.pictures.as_ref();
        let selected = self.messages.selected().zip(pictures).and_then(|(at, pictures)| pictures.messages.get(at));
        let Some(message) = selected else { return After::Nothing };
        self.open = Some((message.lane.clone(), message.index));
        self.scrolled = 0;
        After::Ask
    }

    /// The timeline of the open message, as soon as it is there.
    #[must_use]
    pub fn timeline(&self) -> Option<&WhyReport> {
        let (lane, index) = self.open.as_ref()?;
        let why = self.pictures.as_ref()?.why.as_ref()?;
        (why.lane == *lane && why.index == *index).then_some(why)
    }
}
