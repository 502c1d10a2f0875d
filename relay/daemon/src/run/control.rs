//! Answers to the control socket and the page: the machine's own picture, what the journal holds, and what is done.

mod evidence;
mod messages;
mod orders;
mod skip;
mod standing;
mod why;

use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, LaneId, UnixMillis};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_core::machine::effect::JobEnd;
use cityrelay_core::machine::status::{CommitteeStatus, FlowStatus, Status, WaitReason};
use cityrelay_core::order::{Order, OrderRefusal};
use cityrelay_core::record::IntentEnd;
use cityrelay_journal::{Journal, JournalError};
use cityrelay_link::PeerName;
use tokio::sync::{mpsc, oneshot};

use self::standing::{Standing, Waiting};
use super::plan::Handles;
use super::reload::{ReloadReport, Reloader};
use crate::clock::unix_millis;
use crate::control::{
    AuditReport, Caller, ChainReport, ControlBackend, ControlFault, DoneReport, EndpointReport, EvidenceReport,
    FaultKind, FlowReport, LaneOrder, LaneQuery, LaneReport, LaneState, LanesReport, MessageQuery, MessagesReport,
    Newest, PeerReport, Readings, ReloadOrder, RetryOrder, SendReport, SendRequest, SkipOrder, StatusReport,
    UnfreezeOrder, WhyQuery, WhyReport,
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
    /// Carry out this order, once it is durable.
    Order { order: Order, ended: oneshot::Sender<Result<(), OrderRefusal>> },
}

/// How a submitted call ended; `None` when there is no account on that chain.
pub(super) type Ended = Option<(Option<Hash32>, JobEnd)>;

/// The side of the control socket.
pub(super) struct Backend {
    pub name: String,
    pub handles: Arc<Handles>,
    pub journal: Journal,
    pub health: Arc<Health>,
    pub reloader: Arc<Reloader>,
    questions: mpsc::Sender<Question>,
}

impl Backend {
    /// The backend, and where its questions come out.
    pub fn new(
        name: String,
        handles: Arc<Handles>,
        journal: Journal,
        health: Arc<Health>,
        reloader: Arc<Reloader>,
    ) -> (Self, mpsc::Receiver<Question>) {
        let (questions, waiting) = mpsc::channel(WAITING_QUESTIONS);
        (Self { name, handles, journal, health, reloader, questions }, waiting)
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
                held_back: client.held_words(),
                is_frozen: client.is_frozen(),
                endpoints: endpoints.collect(),
            }
        });
        let link = self.reloader.link_stats();
        let peers = status.peers.iter().map(|(peer, role, is_up)| {
            let name = self.handles.peers.get(peer).cloned().unwrap_or_default();
            let stats = link.peers.get(&PeerName::new(&name));
            let pin = stats.and_then(|stats| stats.pin);
            let failure = stats.and_then(|stats| stats.last_dial_failure).filter(|_| !is_up);
            PeerReport {
                role: role.as_str().to_owned(),
                is_up: *is_up,
                key: pin.map(|pin| pin.as_str().to_owned()),
                dial_failure: failure.map(|failure| failure.as_str().to_owned()),
                name,
            }
        });
        StatusReport {
            name: self.name.clone(),
            role: status.role.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: unix_millis().0,
            troubles: self.health.troubles(),
            chains: chains.collect(),
            flows: status.flows.iter().map(|flow| self.flow_report(flow, &status.committees)).collect(),
            peers: peers.collect(),
            open_transactions: u64::try_from(status.open_intents).unwrap_or(u64::MAX),
        }
    }

    fn flow_report(&self, status: &FlowStatus, committees: &[CommitteeStatus]) -> FlowReport {
        let lane = self.handles.lanes.get(&status.flow.lane);
        let chain = |domain| self.handles.chain_name(domain).to_owned();
        let committee = committees.iter().find(|known| Some(known.key) == status.committee);
        let members = committee.map(|committee| committee.members.as_slice()).unwrap_or_default();
        let awaited = members.iter().filter(|member| !status.voters.contains(member));
        let lacks_votes = status.waits_for == WaitReason::Attestations;
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
            voters: status.voters.iter().map(ToString::to_string).collect(),
            awaited: awaited.filter(|_| lacks_votes).map(ToString::to_string).collect(),
            needed: committee.map(|committee| u64::from(committee.threshold)),
            oldest: status.oldest.map(|time| time.0),
            waits_for: status.waits_for.as_str().to_owned(),
            who: status.waits_for.who().to_owned(),
            next_step: status.next_step.map(|time| time.0),
        }
    }

    /// The lanes that people mean by `text`: an id, a channel, or all of them when nothing is said.
    fn lanes_named(&self, text: Option<&str>) -> Result<Vec<LaneId>, ControlFault> {
        let Some(text) = text else { return Ok(self.handles.lanes.keys().copied().collect()) };
        let is_meant = |(id, lane): &(&LaneId, &LaneIdentity)| {
            lane.channel == text || text.parse::<LaneId>().is_ok_and(|wanted| wanted == **id)
        };
        let ids: Vec<LaneId> = self.handles.lanes.iter().filter(is_meant).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Err(ControlFault::new(FaultKind::Usage, format!("no lane has the channel or the id {text}")));
        }
        Ok(ids)
    }

    fn lane_report(&self, lane: LaneId, status: &Status) -> Option<LaneReport> {
        let identity = self.handles.lanes.get(&lane)?;
        let standing = Standing::of(lane, status)?;
        let Waiting { reason, next_step } = standing.waits;
        let depth = standing.newest.saturating_sub(standing.finished);
        Some(LaneReport {
            lane: lane.to_string(),
            channel: identity.channel.clone(),
            source: self.handles.chain_name(identity.source_domain).to_owned(),
            destination: self.handles.chain_name(identity.destination_domain).to_owned(),
            state: match () {
                () if reason.needs_operator() => LaneState::Stuck,
                () if reason == WaitReason::Paused => LaneState::Paused,
                () if depth == 0 && reason != WaitReason::Nodes => LaneState::Idle,
                () => LaneState::Moving,
            },
            depth,
            newest: standing.newest,
            finished: standing.finished,
            oldest: standing.oldest.map(|time| time.0),
            waits_for: reason.as_str().to_owned(),
            who: reason.who().to_owned(),
            next_step: next_step.map(|time| time.0),
        })
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

    async fn submit(&self, caller: &Caller, request: SendRequest) -> Result<SendReport, ControlFault> {
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
        self.note(caller, String::new(), format!("send on {}", self.lane_words(lane))).await?;
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
impl Readings for Backend {
    async fn status(&self) -> Result<StatusReport, ControlFault> {
        Ok(self.status_report(&self.machine_status().await?))
    }

    async fn lanes(&self, query: LaneQuery) -> Result<LanesReport, ControlFault> {
        let status = self.machine_status().await?;
        let is_meant = self.lanes_named(query.lane.as_deref())?;
        let mut lanes: Vec<_> = is_meant.iter().filter_map(|lane| self.lane_report(*lane, &status)).collect();
        lanes.sort_by_cached_key(|lane| (lane.channel.clone(), lane.source.clone(), lane.destination.clone()));
        Ok(LanesReport { lanes })
    }

    async fn messages(&self, query: MessageQuery) -> Result<MessagesReport, ControlFault> {
        self.page(query).await
    }

    async fn why(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
        self.explain(query).await
    }

    async fn evidence(&self, newest: Newest) -> Result<EvidenceReport, ControlFault> {
        self.evidence_report(newest).await
    }

    async fn audit(&self, newest: Newest) -> Result<AuditReport, ControlFault> {
        self.audit_report(newest).await
    }
}

#[async_trait]
impl ControlBackend for Backend {
    async fn send(&self, caller: &Caller, request: SendRequest) -> Result<SendReport, ControlFault> {
        self.submit(caller, request).await
    }

    async fn pause(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault> {
        self.pause_lane(caller, order).await
    }

    async fn resume(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault> {
        self.resume_lane(caller, order).await
    }

    async fn retry(&self, caller: &Caller, order: RetryOrder) -> Result<DoneReport, ControlFault> {
        self.retry_now(caller, order).await
    }

    async fn skip(&self, caller: &Caller, order: SkipOrder) -> Result<DoneReport, ControlFault> {
        self.skip_message(caller, order).await
    }

    async fn unfreeze(&self, caller: &Caller, order: UnfreezeOrder) -> Result<DoneReport, ControlFault> {
        self.unfreeze_chain(caller, order).await
    }

    async fn reload(&self, caller: &Caller, order: ReloadOrder) -> Result<ReloadReport, ControlFault> {
        self.reload_now(caller, order).await
    }
}

fn journal_fault(error: &JournalError) -> ControlFault {
    ControlFault::new(FaultKind::Internal, format!("the journal can't be read: {error}"))
}
