//! `cityrelay top`: the status page's picture in a terminal.
//!
//! [`model`] is what is shown and what keys do to it, [`screen`] draws it; both know neither terminal nor socket. [`show`]
//! joins them: it asks the daemon, reads keys, and gives the terminal back however it ends.

mod model;
mod screen;

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub use self::model::{After, Model, Pictures};
use crate::control::{ControlReply, ControlRequest, LaneQuery, MessageQuery, WhyQuery, ask};

/// How often the daemon is asked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long the reader of keys sleeps before it looks whether it is still needed.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Messages under way that are fetched.
const MESSAGES: u32 = 200;

/// Whether both ends of the conversation are a terminal.
#[must_use]
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Shows the daemon behind `socket` until the user quits or the process is told to end.
///
/// # Errors
/// When the terminal can't be used.
pub async fn show(socket: &Path) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init().context("use the terminal")?;
    let ended = watch(&mut terminal, socket).await;
    ratatui::try_restore().context("give the terminal back")?;
    ended
}

async fn watch(terminal: &mut ratatui::DefaultTerminal, socket: &Path) -> anyhow::Result<()> {
    let (key_sender, mut keys) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || read_keys(&key_sender));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut model = Model::default();
    // One question at a time; keys are answered meanwhile.
    let (picture_sender, mut pictures) = mpsc::channel(1);
    let mut is_asking = false;
    loop {
        terminal.draw(|frame| screen::draw(frame, &mut model)).context("draw")?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            event = keys.recv() => match event {
                None => bail!("the terminal went away"),
                Some(event) => match model.on_event(&event) {
                    After::Quit => return Ok(()),
                    After::Ask => interval.reset_immediately(),
                    After::Nothing => {}
                },
            },
            Some(asked) = pictures.recv() => {
                is_asking = false;
                model.take(asked);
            }
            _ = interval.tick(), if !is_asking => {
                is_asking = true;
                let (socket, asked_for, sender) = (socket.to_owned(), model.asked_for(), picture_sender.clone());
                tokio::spawn(async move {
                    // Nobody waits for it after the end.
                    let _ = sender.send(pictures_of(&socket, asked_for).await).await;
                });
            }
        }
    }
}

/// Ends when nobody takes the keys any more, or when the terminal is gone.
fn read_keys(sender: &mpsc::Sender<Event>) {
    while !sender.is_closed() {
        let event = match event::poll(KEY_WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(_) => return,
        };
        let Ok(event) = event else { return };
        if sender.blocking_send(event).is_err() {
            return;
        }
    }
}

/// Asks for everything that is shown; the error is in words for people.
async fn pictures_of(socket: &Path, message: Option<(String, u64)>) -> Result<Pictures, String> {
    let ask = async |request| match ask(socket, &request).await {
        Ok(ControlReply::Fault(fault)) => Err(fault.message),
        Ok(reply) => Ok(reply),
        Err(error) => Err(error.to_string()),
    };
    let under_way = MessageQuery { unfinished: true, limit: MESSAGES, ..MessageQuery::default() };
    let replies = (
        ask(ControlRequest::Status).await?,
        ask(ControlRequest::Lanes(LaneQuery::default())).await?,
        ask(ControlRequest::Messages(under_way)).await?,
    );
    let (ControlReply::Status(status), ControlReply::Lanes(lanes), ControlReply::Messages(messages)) = replies else {
        return Err("the daemon answered another question than the one asked".to_owned());
    };
    let why = match message {
        None => None,
        Some((lane, index)) => match ask(ControlRequest::Why(WhyQuery::Position { lane, index })).await? {
            ControlReply::Why(report) => Some(report),
            _ => None,
        },
    };
    Ok(Pictures { status, lanes: lanes.lanes, messages: messages.messages, has_more: messages.next.is_some(), why })
}
