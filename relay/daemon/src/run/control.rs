//! Answers to the control socket: the machine's own picture, the journal's timeline, and sending.

use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_core::chain::Entry;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::machine::effect::JobEnd;
use cityrelay_core::machine::status::{FlowStatus, Status, WaitReason};
use cityrelay_core::record::IntentEnd;
use cityrelay_journal::{Journal, JournalError, Timeline};
use tokio::sync::{mpsc, oneshot};

use super::plan::Handles;
use crate::clock::unix_millis;
use crate::control::{
    ChainReport, ControlBackend, ControlFault, EndpointReport, FaultKind, FlowReport, PeerReport, SendReport,
    SendRequest, StatusReport, TimelineEntry, WhyQuery, WhyReport,
};
use crate::observability::Health;

/// Questions of the control socket that may wait for the event loop.
const WAITING_QUESTIONS: usize = 64;

/// A question for the event loop, which alone knows the machine.
pub(super) enum Question {
    /// What does it look like now?
    Status(oneshot::Sender<Status>),
    /// Make this call with our account, and say how it ended.
    Submit { domain: Domain, call: Box<GatewayCall>, ended: oneshot::Sender<Ended> },
}

/// How a submitted call ended; `None` when there is no account on that chain.
pub(super) type Ended = Option<(Option<Hash32>, JobEnd)>;

/// The side of the control socket.
pub(super) struct Backend {
    pub name: String,
    pub handles: Arc<Handles>,
    pub journal: Journal,
    pub health: Arc<Health>,
    questions: mpsc::Sender<Question>,
}

impl Backend {
    /// The backend, and where its questions come out.
    pub fn new(
        name: String,
        handles: Arc<Handles>,
        journal: Journal,
        health: Arc<Health>,
    ) -> (Self, mpsc::Receiver<Question>) {
        let (questions, waiting) = mpsc::channel(WAITING_QUESTIONS);
        (Self { name, handles, journal, health, questions }, waiting)
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, ControlFault> {
        let (sender, answer) = oneshot::channel();
        let gone = || ControlFault::new(FaultKind::Internal, "the daemon is stopping");
        self.questions.send(question(sender)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    async fn machine_status(&self) -> Result<Status, ControlFault> {
        self.ask(Question::Status).await
    }

    fn status_report(&self, status: &Status) -> StatusReport {
        let chains = status.clients.iter().map(|client| {
            let source = self.handles.chains.get(&client.domain).and_then(|chain| chain.source.as_ref());
            let endpoints = source.iter().flat_map(|source| source.endpoints()).map(|endpoint| EndpointReport {
                name: endpoint.name,
                is_own: endpoint.is_own,
                is_usable: endpoint.is_usable,
                latency_millis: u64::try_from(endpoint.latency.as_millis()).unwrap_or(u64::MAX),
                height: endpoint.height.0,
                errors: endpoint.errors,
                lies: endpoint.lies,
                last_error: endpoint.last_error,
            });
            ChainReport {
                name: self.handles.chain_name(client.domain).to_owned(),
                domain: client.domain.to_string(),
                height: client.height.0,
                timestamp: client.timestamp.map(|time| time.0),
                held_back: client.held.map(|reason| reason.to_string()),
                is_frozen: client.is_frozen,
                endpoints: endpoints.collect(),
            }
        });
        let peers = status.peers.iter().map(|(peer, role, is_up)| PeerReport {
            name: self.handles.peers.get(peer).cloned().unwrap_or_default(),
            role: role.as_str().to_owned(),
            is_up: *is_up,
        });
        StatusReport {
            name: self.name.clone(),
            role: status.role.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            troubles: self.health.troubles(),
            chains: chains.collect(),
            flows: status.flows.iter().map(|flow| self.flow_report(flow)).collect(),
            peers: peers.collect(),
            open_transactions: u64::try_from(status.open_intents).unwrap_or(u64::MAX),
        }
    }

    fn flow_report(&self, status: &FlowStatus) -> FlowReport {
        let lane = self.handles.lanes.get(&status.flow.lane);
        let chain = |domain| self.handles.chain_name(domain).to_owned();
        FlowReport {
            lane: status.flow.lane.to_string(),
            channel: lane.map(|lane| lane.channel.clone()).unwrap_or_default(),
            source: lane.map(|lane| chain(lane.source_domain)).unwrap_or_default(),
            destination: lane.map(|lane| chain(lane.destination_domain)).unwrap_or_default(),
            direction: status.flow.direction.as_str().to_owned(),
            side: status.side.as_str().to_owned(),
            seen: status.hint.0,
            durable: status.durable.0,
            finished: status.finished.0,
            votes: u64::try_from(status.votes).unwrap_or(u64::MAX),
            oldest: status.oldest.map(|time| time.0),
            waits_for: status.waits_for.as_str().to_owned(),
            who: status.waits_for.who().to_owned(),
            next_step: status.next_step.map(|time| time.0),
        }
    }

    /// The lane that people mean by `text`: an id, or a channel that only one lane has.
    fn lane(&self, text: &str, is_meant: impl Fn(LaneId) -> bool) -> Result<LaneId, ControlFault> {
        let usage = |message: String| ControlFault::new(FaultKind::Usage, message);
        if let Ok(id) = text.parse::<LaneId>() {
            return match self.handles.lanes.contains_key(&id) {
                true => Ok(id),
                false => Err(usage(format!("lane {id} is not configured here"))),
            };
        }
        let named = self.handles.lanes.iter().filter(|(id, lane)| lane.channel == text && is_meant(**id));
        let ids: Vec<LaneId> = named.map(|(id, _)| *id).collect();
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => Err(usage(format!("no lane has channel {text}"))),
            several => {
                let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(usage(format!("several lanes have channel {text}: name one of {}", ids.join(", "))))
            }
        }
    }

    async fn explain(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
        let usage = |message: String| ControlFault::new(FaultKind::Usage, message);
        let (lane, index) = match query {
            WhyQuery::Id(text) => {
                let id: MessageId = text.parse().map_err(|error| usage(format!("{text} is no message id: {error}")))?;
                let found = self.journal.find(id).map_err(|error| journal_fault(&error))?;
                let (flow, index) =
                    found.ok_or_else(|| usage(format!("message {id} has not been verified here (yet)")))?;
                (flow.lane, index)
            }
            WhyQuery::Position { lane, index } => (self.lane(&lane, |_| true)?, Index(index)),
        };
        let identity = self.handles.lanes.get(&lane).ok_or_else(|| usage(format!("lane {lane} is unknown here")))?;
        let outbox = Flow { lane, direction: Direction::Outbox };
        let inbox = Flow { lane, direction: Direction::Inbox };
        let read = |flow| self.journal.timeline(flow, index).map_err(|error| journal_fault(&error));
        let (message, outcome) = (read(outbox)?, read(inbox)?);
        let outcome_entry = match outcome {
            Some(_) => self.journal.entries(inbox, index, index).map_err(|error| journal_fault(&error))?.pop(),
            None => None,
        };
        let status = self.machine_status().await?;
        // Of the flows of this lane the last one that is not past this message is what it waits for.
        let behind = |flow: &&FlowStatus| flow.flow.lane == lane && flow.finished < index;
        let open = status.flows.iter().filter(behind).min_by_key(|flow| (flow.flow.direction, flow.side));
        let mut timeline = Vec::new();
        describe(&mut timeline, "message", message.as_ref());
        describe(&mut timeline, "outcome", outcome.as_ref());
        let settled = outcome.as_ref().is_some_and(|outcome| outcome.done.is_some());
        let state = match (&message, &outcome_entry) {
            _ if settled => "settled",
            (_, Some(Entry::Outcome(outcome))) => outcome.status.as_str(),
            (Some(message), _) if message.done.is_some() => "delivered",
            (Some(message), _) if message.is_peer_accepted => "accepted by the peer",
            (Some(message), _) if message.attested.is_some() => "attested",
            (Some(_), _) => "verified",
            (None, _) => "not seen",
        };
        Ok(WhyReport {
            id: message.as_ref().map(|message| message.link.to_string()),
            lane: lane.to_string(),
            channel: identity.channel.clone(),
            index: index.0,
            state: state.to_owned(),
            is_finished: open.is_none(),
            waits_for: open.map_or(WaitReason::Idle, |flow| flow.waits_for).as_str().to_owned(),
            who: open.map_or(WaitReason::Idle, |flow| flow.waits_for).who().to_owned(),
            next_step: open.and_then(|flow| flow.next_step).map(|time| time.0),
            timeline,
        })
    }

    async fn submit(&self, request: SendRequest) -> Result<SendReport, ControlFault> {
        let usage = |message: String| ControlFault::new(FaultKind::Usage, message);
        let starts_here = |lane: LaneId| {
            let source = self.handles.lanes.get(&lane).map(|lane| lane.source_domain);
            source.and_then(|domain| self.handles.chains.get(&domain)).is_some_and(|chain| chain.target.is_some())
        };
        let lane = self.lane(&request.lane, starts_here)?;
        let identity = self.handles.lanes.get(&lane).ok_or_else(|| usage(format!("lane {lane} is unknown here")))?;
        let receiver: Address =
            request.receiver.parse().map_err(|error| usage(format!("receiver {}: {error}", request.receiver)))?;
        let payload = hex::decode(request.payload_hex.trim_start_matches("0x"))
            .map_err(|error| usage(format!("the payload is no hex: {error}")))?;
        let call = GatewayCall::Send {
            gateway: identity.source_gateway,
            lane,
            receiver,
            deadline: UnixMillis(unix_millis().0.saturating_add(request.expires_in_millis)),
            gas_limit: request.gas_limit,
            payload,
        };
        let domain = identity.source_domain;
        let call = Box::new(call);
        let ended = self.ask(|ended| Question::Submit { domain, call, ended }).await?;
        let (transaction, end) =
            ended.ok_or_else(|| usage(format!("lane {lane} starts on a chain where this process has no account")))?;
        let fault = |kind, text: &str| Err(ControlFault::new(kind, text));
        match (transaction, end) {
            (Some(hash), JobEnd::Transaction(IntentEnd::Succeeded { height, .. })) => Ok(SendReport {
                lane: lane.to_string(),
                transaction: hash.to_string(),
                height: Some(height.0),
                index: None,
                id: None,
            }),
            (_, JobEnd::Transaction(IntentEnd::Reverted { .. }) | JobEnd::WouldRevert) => {
                fault(FaultKind::Refused, "the gateway refuses the message: see the daemon's log for its reason")
            }
            (_, JobEnd::TooLarge) => fault(FaultKind::Refused, "the message does not fit into one transaction"),
            _ => fault(FaultKind::Unreachable, "the transaction could not be made: see the daemon's log"),
        }
    }
}

#[async_trait]
impl ControlBackend for Backend {
    async fn status(&self) -> Result<StatusReport, ControlFault> {
        Ok(self.status_report(&self.machine_status().await?))
    }

    async fn why(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
        self.explain(query).await
    }

    async fn send(&self, request: SendRequest) -> Result<SendReport, ControlFault> {
        self.submit(request).await
    }
}

fn journal_fault(error: &JournalError) -> ControlFault {
    ControlFault::new(FaultKind::Internal, format!("the journal can't be read: {error}"))
}

/// What the journal knows of one position, as lines of a timeline.
fn describe(lines: &mut Vec<TimelineEntry>, subject: &str, timeline: Option<&Timeline>) {
    let Some(timeline) = timeline else { return };
    let mut line = |at: Option<UnixMillis>, what: &str, detail: String| {
        lines.push(TimelineEntry { at: at.map(|time| time.0), what: format!("{subject} {what}"), detail });
    };
    let block = format!("block {} ({})", timeline.proved_at, timeline.block_hash);
    line(Some(timeline.block_time), "final", block);
    line(
        Some(timeline.verified_at),
        "verified",
        format!("head {} at index {}", timeline.point.head, timeline.point.index),
    );
    if let Some((index, epoch)) = timeline.signed {
        line(None, "signed", format!("with the head at index {index}, epoch {epoch}"));
    }
    if let Some((index, epoch, at)) = timeline.attested {
        line(Some(at), "attested", format!("with the head at index {index}, epoch {epoch}"));
    }
    if timeline.is_peer_accepted {
        line(timeline.peer_accepted.map(|(_, at)| at), "accepted", "the peer holds it durably".to_owned());
    }
    for transaction in &timeline.transactions {
        let end = match transaction.end {
            None => "on its way".to_owned(),
            Some(IntentEnd::Succeeded { height, gas_used }) => format!("in block {height}, {gas_used} gas"),
            Some(IntentEnd::Reverted { height, .. }) => format!("reverted in block {height}"),
            Some(IntentEnd::Dead) => "will never be executed".to_owned(),
        };
        line(Some(transaction.at), "carried", format!("transaction {}: {end}", transaction.hash));
        // Whatever came later carried later entries.
        if matches!(transaction.end, Some(IntentEnd::Succeeded { .. })) {
            break;
        }
    }
    if let Some((index, at)) = timeline.done {
        line(Some(at), "taken in", format!("the target chain holds the flow up to index {index}"));
    }
}
