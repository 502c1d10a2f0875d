//! What a machine can say about itself: where each flow stands, and what it waits for.

use crate::frame::Role;
use crate::ids::{AttesterId, Domain, Epoch, Height, Index, UnixMillis};
use crate::lane::{Direction, Flow};
use crate::light_client::HoldReason;
use crate::machine::client::Client;
use crate::machine::config::PeerId;
use crate::machine::desk::Desk;
use crate::machine::inbound::Inbound;
use crate::machine::outbound::Outbound;
use crate::machine::{CommitteeKey, Machine};
use crate::record::Frozen;
use crate::recovery::Side;

/// Why a flow does not go on this very moment. The closed list behind `why`, the API, the logs and the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitReason {
    /// Nothing waits: everything known is done.
    Idle,
    /// Entries were seen; a verified header that proves them is awaited.
    Header,
    /// The chain's nodes fail to show, or to prove, what the flow holds there.
    Nodes,
    /// The chain's headers are held back.
    HeldBack,
    /// The chain's client can't go on from what it trusts; an operator must anchor it anew.
    Anchor,
    /// The client of the chain is frozen until an operator decides.
    Frozen,
    /// A checkpoint transaction is on its way to the chain.
    Checkpoint,
    /// The attester set of the verifying gateway is not known yet.
    Committee,
    /// Fewer attesters signed than are needed.
    Attestations,
    /// There is no session with the peer.
    Peer,
    /// The peer has not accepted yet.
    Acceptance,
    /// The peer holds the messages; their outcomes are awaited.
    Outcome,
    /// A transaction is on its way to the chain.
    Transaction,
    /// The last try failed; the next one comes after a wait.
    Retry,
    /// Journal and gateway (or journal and peer) differ; an operator must look.
    Dispute,
    /// The operator has paused the lane.
    Paused,
    /// The signer that holds an attester's key is away, or refuses.
    Signer,
    /// An attester whose journal has forgotten signatures: they are merged back from the relays first.
    Mute,
}

impl WaitReason {
    /// Every reason, for documentation and metric labels.
    pub const ALL: [Self; 18] = [
        Self::Idle,
        Self::Header,
        Self::Nodes,
        Self::HeldBack,
        Self::Anchor,
        Self::Frozen,
        Self::Checkpoint,
        Self::Committee,
        Self::Attestations,
        Self::Peer,
        Self::Acceptance,
        Self::Outcome,
        Self::Transaction,
        Self::Retry,
        Self::Dispute,
        Self::Paused,
        Self::Signer,
        Self::Mute,
    ];

    /// The word used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Header => "header",
            Self::Nodes => "nodes",
            Self::HeldBack => "held-back",
            Self::Anchor => "anchor",
            Self::Frozen => "frozen",
            Self::Checkpoint => "checkpoint",
            Self::Committee => "committee",
            Self::Attestations => "attestations",
            Self::Peer => "peer",
            Self::Acceptance => "acceptance",
            Self::Outcome => "outcome",
            Self::Transaction => "transaction",
            Self::Retry => "retry",
            Self::Dispute => "dispute",
            Self::Paused => "paused",
            Self::Signer => "signer",
            Self::Mute => "mute",
        }
    }

    /// Whether nothing goes on until the operator decides.
    #[must_use]
    pub const fn needs_operator(self) -> bool {
        matches!(self, Self::Anchor | Self::Frozen | Self::Dispute)
    }

    /// Who must act so that it goes on.
    #[must_use]
    pub const fn who(self) -> &'static str {
        match self {
            Self::Idle => "nobody",
            Self::Header | Self::HeldBack => "the chain's validators",
            Self::Anchor | Self::Frozen | Self::Dispute | Self::Paused | Self::Signer => "the operator",
            Self::Nodes | Self::Checkpoint | Self::Committee | Self::Transaction => "the chain's nodes",
            Self::Attestations => "the attesters",
            Self::Peer | Self::Acceptance | Self::Outcome => "the peer",
            Self::Mute => "the relays",
            Self::Retry => "this relay",
        }
    }
}

/// Where one flow stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// The flow.
    pub flow: Flow,
    /// The side on which we stand.
    pub side: Side,
    /// Whose signatures the target chain counts; `None` at an attester, who asks nobody.
    pub committee: Option<CommitteeKey>,
    /// What the chain's nodes say, unproved.
    pub hint: Index,
    /// Verified and durable here.
    pub durable: Index,
    /// Accepted by the peer (outbound) or taken in by the target chain (inbound).
    pub finished: Index,
    /// The attesters that have signed the first head that lacks signatures.
    pub voters: Vec<AttesterId>,
    /// Time of the block behind the oldest unfinished entry.
    pub oldest: Option<UnixMillis>,
    /// What it waits for.
    pub waits_for: WaitReason,
    /// The earliest next step, where it is known.
    pub next_step: Option<UnixMillis>,
}

/// Where one chain's client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// The chain.
    pub domain: Domain,
    /// Last final header.
    pub height: Height,
    /// Its time.
    pub timestamp: Option<UnixMillis>,
    /// Why headers wait.
    pub held: Option<HoldReason>,
    /// Where they wait for attesters to vouch for a validator set: signatures got, and needed.
    pub set_votes: Option<(usize, usize)>,
    /// Over what an operator must decide, when the client is frozen.
    pub frozen: Option<Frozen>,
    /// The last header on which an own node agreed, where the chain's proofs need that; else as `height`.
    pub confirmed: Height,
}

impl ClientStatus {
    /// Whether an operator must decide.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }
}

/// The attester set of one verifier, as last read or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeStatus {
    /// The verifier, and whose word the set is.
    pub key: CommitteeKey,
    /// Generation of the set.
    pub epoch: Epoch,
    /// The attesters in it.
    pub members: Vec<AttesterId>,
    /// How many signatures are enough.
    pub threshold: u32,
    /// Attesters with a session whose signatures count, or whose addresses are not known.
    pub reachable: usize,
}

impl ClientStatus {
    /// Why headers wait, in words; with the signatures of attesters where they wait for those.
    #[must_use]
    pub fn held_words(&self) -> Option<String> {
        let reason = self.held?;
        Some(match self.set_votes {
            Some((got, needed)) => {
                format!("{reason}; {got} of {needed} attesters vouched for it so far: the attesters must act")
            }
            None => reason.to_string(),
        })
    }
}

/// The whole machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Relay or attester.
    pub role: Role,
    /// The chains.
    pub clients: Vec<ClientStatus>,
    /// The flows.
    pub flows: Vec<FlowStatus>,
    /// The peers, and whether their session stands.
    pub peers: Vec<(PeerId, Role, bool)>,
    /// The attester sets that are known.
    pub committees: Vec<CommitteeStatus>,
    /// Transactions whose end is not known.
    pub open_intents: usize,
}

impl Machine {
    /// A picture of the machine.
    #[must_use]
    pub fn status(&self) -> Status {
        let clients = self.clients.values().map(|client| ClientStatus {
            domain: client.setup.domain,
            height: client.height,
            timestamp: client.headers.last_key_value().map(|(_, header)| header.header().timestamp),
            held: client.held,
            set_votes: self.set_votes(client.setup.domain),
            frozen: client.frozen,
            confirmed: client.confirmed_height(),
        });
        let outbound = self.outbound.values().map(|flow| self.outbound_status(flow));
        let inbound = self.inbound.values().map(|flow| self.inbound_status(flow));
        let desks = self.desks.values().map(|desk| self.desk_status(desk));
        let committees = self.committees.iter().map(|(key, committee)| CommitteeStatus {
            key: *key,
            epoch: committee.epoch(),
            members: committee.members().iter().copied().collect(),
            threshold: committee.threshold(),
            reachable: self.reachable(committee),
        });
        Status {
            role: self.role,
            clients: clients.collect(),
            flows: outbound.chain(inbound).chain(desks).collect(),
            peers: self.peers.values().map(|peer| (peer.setup.id, peer.setup.role, peer.is_ready)).collect(),
            committees: committees.collect(),
            open_intents: self.jobs.values().filter(|job| job.intent.is_some()).count(),
        }
    }

    fn desk_status(&self, desk: &Desk) -> FlowStatus {
        let client = self.clients.get(&desk.lane.origin(desk.flow.direction).domain);
        let waits_for = match client {
            Some(client) if client.is_frozen() => WaitReason::Frozen,
            _ if self.is_paused(desk.flow) => WaitReason::Paused,
            _ if desk.lost.is_contradicted() => WaitReason::Dispute,
            _ if desk.lost.is_mute() => WaitReason::Mute,
            _ if desk.was_unsigned_since(self.io.now, self.io.limits.retry_max) => WaitReason::Signer,
            Some(client) => desk.waits_for(client),
            None => WaitReason::Idle,
        };
        FlowStatus {
            flow: desk.flow,
            side: Side::Attester,
            committee: None,
            hint: desk.asked().max(desk.durable.index).max(desk.lost.missing().unwrap_or_default()),
            durable: desk.durable.index,
            finished: desk.durable.index,
            voters: Vec::new(),
            oldest: None,
            waits_for,
            next_step: self.desk_due(desk),
        }
    }

    fn outbound_status(&self, out: &Outbound) -> FlowStatus {
        let client = self.clients.get(&out.lane.origin(out.flow.direction).domain);
        let unsigned = out.queue.iter().find(|outgoing| outgoing.evidence.is_none());
        let is_peer_ready = self.peers.get(&out.peer).is_some_and(|peer| peer.is_ready);
        let knows_committee = self.committees.contains_key(&out.committee);
        let waits_for = if out.is_in_dispute {
            WaitReason::Dispute
        } else if client.is_some_and(Client::is_frozen) {
            WaitReason::Frozen
        } else if self.is_paused(out.flow) {
            WaitReason::Paused
        } else if unsigned.is_some() {
            if knows_committee { WaitReason::Attestations } else { WaitReason::Committee }
        } else if !out.queue.is_empty() {
            if is_peer_ready { WaitReason::Acceptance } else { WaitReason::Peer }
        } else if out.hint > out.durable.index {
            match client {
                Some(Client { held: Some(reason), .. }) if reason.needs_anchor() => WaitReason::Anchor,
                Some(Client { held: Some(_), .. }) => WaitReason::HeldBack,
                _ if out.is_failing() => WaitReason::Nodes,
                _ if out.checkpoint.is_some() => WaitReason::Checkpoint,
                _ => WaitReason::Header,
            }
        } else if out.is_failing() {
            WaitReason::Nodes
        } else {
            WaitReason::Idle
        };
        FlowStatus {
            flow: out.flow,
            side: Side::Outbound,
            committee: Some(out.committee),
            hint: out.hint.max(out.durable.index),
            durable: out.durable.index,
            finished: out.accepted.index,
            voters: unsigned.map(|outgoing| outgoing.quorum.voters().collect()).unwrap_or_default(),
            oldest: out.queue.front().map(|outgoing| outgoing.record.block_time),
            waits_for,
            next_step: self.outbound_due(out),
        }
    }

    fn inbound_status(&self, inbound: &Inbound) -> FlowStatus {
        let committee = self.committees.get(&inbound.committee);
        let stale = inbound.queue.iter().find(|incoming| {
            incoming.evidence.as_ref().map(|evidence| evidence.epoch) != committee.map(|committee| committee.epoch())
        });
        // Only an inbox has an outbox that leads to the peer.
        let outbox = Flow { lane: inbound.flow.lane, direction: Direction::Outbox };
        let awaits_outcomes =
            self.outbound.get(&outbox).is_some_and(|outbox| outbox.accepted.index > inbound.durable.index);
        let waits_for = if inbound.is_in_dispute {
            WaitReason::Dispute
        } else if self.is_paused(inbound.flow) {
            WaitReason::Paused
        } else if inbound.queue.is_empty() {
            if awaits_outcomes { WaitReason::Outcome } else { WaitReason::Idle }
        } else if inbound.job.is_some() {
            WaitReason::Transaction
        } else if committee.is_none() {
            WaitReason::Committee
        } else if stale.is_some() {
            WaitReason::Attestations
        } else {
            WaitReason::Retry
        };
        FlowStatus {
            flow: inbound.flow,
            side: Side::Inbound,
            committee: Some(inbound.committee),
            hint: inbound.durable.index,
            durable: inbound.durable.index,
            finished: inbound.done.index,
            voters: stale.map(|incoming| incoming.quorum.voters().collect()).unwrap_or_default(),
            oldest: inbound.queue.front().map(|incoming| incoming.record.block_time),
            waits_for,
            next_step: self.inbound_due(inbound),
        }
    }
}
