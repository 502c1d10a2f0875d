//! A stand-in for the gateway and committee contracts: the same rules, written down a second time from their text.
//!
//! It checks evidence by itself and never calls the relay's own verification, so that a mistake there shows here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::attestation::{Committee, SignatureBytes, Statement, rotation_digest};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{ANCHOR_INTERVAL, Evidence, GatewayCall};
use cityrelay_core::hash::{Hash32, hash_words, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::tag;

/// Places for heads that recent blocks ended with, as in the contract.
const RECENT_PLACES: u64 = 61;

/// First payload byte of a message whose receiver always fails.
pub const FAILING_PAYLOAD: u8 = 0xff;

/// Why a call reverted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Revert {
    /// The lane has no such role here.
    #[error("the lane is not in this role here")]
    LaneIsNot,
    /// The call is for another gateway or verifier.
    #[error("wrong contract")]
    WrongContract,
    /// Entries do not follow what is held.
    #[error("gap: the next index is {next}, got {first}")]
    Gap {
        /// Index that must come next.
        next: u64,
        /// First index of the call.
        first: u64,
    },
    /// No entries.
    #[error("empty batch")]
    BatchEmpty,
    /// The recomputed head is not the attested one.
    #[error("head mismatch at {index}")]
    HeadMismatch {
        /// Index of the head.
        index: u64,
    },
    /// The committee does not vouch for the head.
    #[error("not vouched: {0}")]
    NotVouched(&'static str),
    /// A payload is given by its hash and the message has not expired.
    #[error("message {0} has not expired")]
    NotExpired(u64),
    /// The gateway keeps no outbox head there.
    #[error("no outbox head at {0}")]
    NoOutboxHeadAt(u64),
    /// The settled messages are not the ones that were sent.
    #[error("never sent up to {0}")]
    NeverSent(u64),
    /// The owner has paused the lane.
    #[error("paused")]
    Paused,
    /// The message that halted the lane failed again.
    #[error("message {0} still fails")]
    StillFailing(u64),
    /// Only the message that halted the lane can be skipped.
    #[error("not halted at {0}")]
    NotHalted(u64),
    /// A deadline lies in the past.
    #[error("deadline passed")]
    DeadlinePassed,
    /// Not a call of the model.
    #[error("unknown call")]
    UnknownCall,
}

/// A lane where it begins.
#[derive(Clone, Debug)]
pub struct SourceLane {
    identity: LaneIdentity,
    /// Everything sent, in order.
    pub messages: Vec<Message>,
    /// Outbox chain: the point after each message.
    pub points: Vec<ChainPoint>,
    /// Every settled outcome, in order.
    pub settled: Vec<Outcome>,
    /// The inbox chain as settled: the point after each outcome.
    pub settled_points: Vec<ChainPoint>,
    settled_outbox_head: Hash32,
    anchors: BTreeMap<u64, Hash32>,
    /// Heads that recent blocks ended with, at their index modulo [`RECENT_PLACES`].
    recent: BTreeMap<u64, Hash32>,
    /// Time of the block of the last message.
    last_send_block: UnixMillis,
}

/// A lane where it ends.
#[derive(Clone, Debug)]
pub struct DestinationLane {
    identity: LaneIdentity,
    /// The outbox chain as accepted: the point after each message.
    pub accepted_points: Vec<ChainPoint>,
    /// Every outcome, in order.
    pub outcomes: Vec<Outcome>,
    /// Inbox chain: the point after each outcome.
    pub points: Vec<ChainPoint>,
    /// A failing message halts the lane.
    pub is_strict: bool,
    /// The message that halted it.
    pub halted: Option<MessageId>,
    /// Messages whose receivers were put right: they fail no more.
    pub mended: BTreeSet<MessageId>,
}

/// One gateway with its committee.
#[derive(Clone, Debug)]
pub struct ModelGateway {
    /// Where it stands.
    pub at: GatewayAt,
    /// Address of the committee.
    pub verifier: Address,
    /// The attester set in force.
    pub committee: Committee,
    /// Lanes that begin here.
    pub sources: BTreeMap<LaneId, SourceLane>,
    /// Lanes that end here.
    pub destinations: BTreeMap<LaneId, DestinationLane>,
    /// Heads of other chains that were taken in, to be compared with those chains.
    pub taken: Vec<(Flow, ChainPoint)>,
    /// Lanes that the owner has paused: nothing is sent, delivered or settled on them.
    pub paused: BTreeSet<LaneId>,
    /// Times that a strict lane was halted.
    pub halts: u64,
}

impl ModelGateway {
    /// A gateway without lanes.
    #[must_use]
    pub fn new(at: GatewayAt, verifier: Address, committee: Committee) -> Self {
        let (sources, destinations, taken) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { at, verifier, committee, sources, destinations, taken, paused: BTreeSet::new(), halts: 0 }
    }

    /// Opens a lane on its side of it.
    pub fn open_lane(&mut self, identity: LaneIdentity, is_strict: bool) {
        let lane = identity.id();
        let outbox = ChainPoint::start(Flow { lane, direction: Direction::Outbox });
        let inbox = ChainPoint::start(Flow { lane, direction: Direction::Inbox });
        if identity.source_domain == self.at.domain {
            let lane_here = SourceLane {
                identity,
                messages: Vec::new(),
                points: vec![outbox],
                settled: Vec::new(),
                settled_points: vec![inbox],
                settled_outbox_head: outbox.head,
                anchors: BTreeMap::new(),
                recent: BTreeMap::new(),
                last_send_block: UnixMillis(0),
            };
            self.sources.insert(lane, lane_here);
        } else {
            let (accepted_points, points) = (vec![outbox], vec![inbox]);
            let lane_here = DestinationLane {
                identity,
                accepted_points,
                outcomes: Vec::new(),
                points,
                is_strict,
                halted: None,
                mended: BTreeSet::new(),
            };
            self.destinations.insert(lane, lane_here);
        }
    }

    /// The points of a chain that lives here, from index 0 on.
    #[must_use]
    pub fn own_points(&self, flow: Flow) -> Option<&[ChainPoint]> {
        match flow.direction {
            Direction::Outbox => self.sources.get(&flow.lane).map(|lane| lane.points.as_slice()),
            Direction::Inbox => self.destinations.get(&flow.lane).map(|lane| lane.points.as_slice()),
        }
    }

    /// The points of a chain that is taken in here, from index 0 on.
    #[must_use]
    pub fn taken_points(&self, flow: Flow) -> Option<&[ChainPoint]> {
        match flow.direction {
            Direction::Outbox => self.destinations.get(&flow.lane).map(|lane| lane.accepted_points.as_slice()),
            Direction::Inbox => self.sources.get(&flow.lane).map(|lane| lane.settled_points.as_slice()),
        }
    }

    /// Every chain that lives here.
    #[must_use]
    pub fn own_flows(&self) -> Vec<Flow> {
        let outbox = self.sources.keys().map(|lane| Flow { lane: *lane, direction: Direction::Outbox });
        let inbox = self.destinations.keys().map(|lane| Flow { lane: *lane, direction: Direction::Inbox });
        outbox.chain(inbox).collect()
    }

    /// Executes a call of `sender` in a block of time `now`; nothing changes when it reverts.
    ///
    /// # Errors
    /// A [`Revert`] as the contract would have it.
    pub fn execute(&mut self, sender: Address, call: &GatewayCall, now: UnixMillis) -> Result<(), Revert> {
        match call {
            GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload } => {
                self.require_here(*gateway)?;
                self.require_running(*lane)?;
                let lane = self.sources.get_mut(lane).ok_or(Revert::LaneIsNot)?;
                lane.send(sender, *receiver, *deadline, *gas_limit, payload.clone(), now)
            }
            GatewayCall::Checkpoint { gateway, flow } => {
                self.require_here(*gateway)?;
                self.own_points(*flow).map(|_| ()).ok_or(Revert::LaneIsNot)
            }
            GatewayCall::Deliver { gateway, lane, messages, tail, evidence } => {
                self.require_here(*gateway)?;
                self.require_running(*lane)?;
                self.deliver(*lane, messages, tail, evidence, now)
            }
            GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence } => {
                self.require_here(*gateway)?;
                self.require_running(*lane)?;
                self.settle(*lane, settlements, tail_outcomes, tail_ids, evidence)
            }
            GatewayCall::Rotate { verifier, members, threshold, old, new } => {
                if *verifier != self.verifier {
                    return Err(Revert::WrongContract);
                }
                self.rotate(members, *threshold, old, new)
            }
            GatewayCall::Skip { gateway, lane, index } => {
                self.require_here(*gateway)?;
                self.destinations.get_mut(lane).ok_or(Revert::LaneIsNot)?.skip(*lane, *index)
            }
            _ => Err(Revert::UnknownCall),
        }
    }

    fn require_running(&self, lane: LaneId) -> Result<(), Revert> {
        if self.paused.contains(&lane) { Err(Revert::Paused) } else { Ok(()) }
    }

    fn require_here(&self, gateway: Address) -> Result<(), Revert> {
        if gateway == self.at.gateway { Ok(()) } else { Err(Revert::WrongContract) }
    }

    fn deliver(
        &mut self,
        id: LaneId,
        messages: &[Message],
        tail: &[MessageId],
        evidence: &Evidence,
        now: UnixMillis,
    ) -> Result<(), Revert> {
        let lane = self.destinations.get(&id).ok_or(Revert::LaneIsNot)?;
        let mut accepted = lane.accepted_points.last().copied().unwrap();
        let first = messages.first().ok_or(Revert::BatchEmpty)?.index.0;
        let next = accepted.index.0 + 1;
        if first == 0 || first > next {
            return Err(Revert::Gap { next, first });
        }
        let skipped = usize::try_from(next - first).unwrap();
        if skipped >= messages.len() {
            return Ok(());
        }
        let (mut inbox, mut attested) = (lane.points.last().copied().unwrap(), accepted);
        let (mut accepted_points, mut points, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let (halted_before, mut halted) = (lane.halted, lane.halted);
        let mut is_halted = false;
        for (position, message) in messages.iter().enumerate().skip(skipped) {
            // The contract takes no index: the position in the batch is the index.
            let index = Index(first + position as u64);
            let is_expired = now > message.deadline;
            if matches!(message.payload, Payload::Hash(_)) && !is_expired {
                return Err(Revert::NotExpired(index.0));
            }
            let message_id = Message { index, ..message.clone() }.id(id);
            attested = next_outbox(attested, message_id.0);
            if is_halted {
                continue;
            }
            let outcome = outcome_of(index, message_id, message, is_expired, lane.mended.contains(&message_id));
            if lane.is_strict && outcome.status == Status::Failed {
                if halted == Some(message_id) {
                    return Err(Revert::StillFailing(index.0));
                }
                (halted, is_halted) = (Some(message_id), true);
                continue;
            }
            halted = None;
            accepted = attested;
            accepted_points.push(accepted);
            inbox = next_inbox(inbox, outcome.hash(id));
            points.push(inbox);
            outcomes.push(outcome);
        }
        let attested = tail.iter().fold(attested, |point, link| next_outbox(point, link.0));
        self.require_vouched(&lane.identity, Direction::Outbox, attested, evidence)?;
        self.taken.push((Flow { lane: id, direction: Direction::Outbox }, attested));
        self.halts += u64::from(halted.is_some() && halted != halted_before);
        let lane = self.destinations.get_mut(&id).ok_or(Revert::LaneIsNot)?;
        lane.halted = halted;
        lane.accepted_points.extend(accepted_points);
        lane.points.extend(points);
        lane.outcomes.extend(outcomes);
        Ok(())
    }

    fn settle(
        &mut self,
        id: LaneId,
        settlements: &[(Message, Outcome)],
        tail_outcomes: &[Hash32],
        tail_ids: &[MessageId],
        evidence: &Evidence,
    ) -> Result<(), Revert> {
        let lane = self.sources.get(&id).ok_or(Revert::LaneIsNot)?;
        let mut inbox = lane.settled_points.last().copied().unwrap();
        let first = settlements.first().ok_or(Revert::BatchEmpty)?.1.index.0;
        let next = inbox.index.0 + 1;
        if first == 0 || first > next {
            return Err(Revert::Gap { next, first });
        }
        let skipped = usize::try_from(next - first).unwrap();
        if skipped >= settlements.len() {
            return Ok(());
        }
        let mut outbox = ChainPoint { index: inbox.index, head: lane.settled_outbox_head };
        let (mut settled, mut settled_points) = (Vec::new(), Vec::new());
        for (position, (message, outcome)) in settlements.iter().enumerate().skip(skipped) {
            let index = Index(first + position as u64);
            let message_id = Message { index, ..message.clone() }.id(id);
            let outcome = Outcome { index, message: message_id, ..*outcome };
            outbox = next_outbox(outbox, message_id.0);
            inbox = next_inbox(inbox, outcome.hash(id));
            settled.push(outcome);
            settled_points.push(inbox);
        }
        lane.require_sent(outbox, tail_ids)?;
        let attested = tail_outcomes.iter().fold(inbox, |point, link| next_inbox(point, *link));
        self.require_vouched(&lane.identity, Direction::Inbox, attested, evidence)?;
        self.taken.push((Flow { lane: id, direction: Direction::Inbox }, attested));
        let lane = self.sources.get_mut(&id).ok_or(Revert::LaneIsNot)?;
        lane.settled_outbox_head = outbox.head;
        lane.settled.extend(settled);
        lane.settled_points.extend(settled_points);
        Ok(())
    }

    /// The attested head is `point`, and the committee's members vouch for it to this gateway.
    fn require_vouched(
        &self,
        identity: &LaneIdentity,
        direction: Direction,
        point: ChainPoint,
        evidence: &Evidence,
    ) -> Result<(), Revert> {
        if evidence.point != point {
            return Err(Revert::HeadMismatch { index: point.index.0 });
        }
        if evidence.epoch != self.committee.epoch() {
            return Err(Revert::NotVouched("epoch"));
        }
        let flow = Flow { lane: identity.id(), direction };
        let digest = Statement { flow, point, epoch: evidence.epoch, verifying: self.at }.digest();
        self.require_quorum(digest, &evidence.signatures)
    }

    fn require_quorum(&self, digest: Hash32, signatures: &BTreeMap<AttesterId, SignatureBytes>) -> Result<(), Revert> {
        let signers: BTreeSet<AttesterId> =
            signatures.values().filter_map(|signature| signer(digest, signature)).collect();
        if signers.len() != signatures.len() || !signers.is_subset(self.committee.members()) {
            return Err(Revert::NotVouched("signer"));
        }
        if signers.len() < usize::try_from(self.committee.threshold()).unwrap() {
            return Err(Revert::NotVouched("threshold"));
        }
        Ok(())
    }

    fn rotate(
        &mut self,
        members: &[AttesterId],
        threshold: u32,
        old: &BTreeMap<AttesterId, SignatureBytes>,
        new: &BTreeMap<AttesterId, SignatureBytes>,
    ) -> Result<(), Revert> {
        let epoch = Epoch(self.committee.epoch().0 + 1);
        let set: BTreeSet<AttesterId> = members.iter().copied().collect();
        let digest = rotation_digest(self.verifier, self.at.domain, epoch, &set, threshold);
        self.require_quorum(digest, old)?;
        let countersigned: BTreeSet<AttesterId> =
            new.values().filter_map(|signature| signer(digest, signature)).collect();
        if countersigned != set {
            return Err(Revert::NotVouched("new member missing"));
        }
        self.committee = Committee::new(epoch, members, threshold).map_err(|_| Revert::NotVouched("set"))?;
        Ok(())
    }
}

/// Who signed which digest, by the signature's bytes.
type Signers = BTreeMap<(Hash32, [u8; 65]), Option<AttesterId>>;

/// Signatures whose signers are remembered: recovery is most of a run's time, and a gateway is shown each one many times.
const REMEMBERED: usize = 4096;

/// Who signed: the same for the same bytes, whoever asks.
pub(super) fn signer(digest: Hash32, signature: &SignatureBytes) -> Option<AttesterId> {
    thread_local! {
        static KNOWN: RefCell<Signers> = const { RefCell::new(Signers::new()) };
    }
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        *known.entry((digest, signature.0)).or_insert_with(|| signature.signer(digest).ok())
    })
}

impl DestinationLane {
    /// Steps over the message that halted the lane.
    fn skip(&mut self, lane: LaneId, index: Index) -> Result<(), Revert> {
        let accepted = self.accepted_points.last().copied().unwrap();
        let Some(message) = self.halted.filter(|_| index == accepted.index.next()) else {
            return Err(Revert::NotHalted(index.0));
        };
        let outcome = Outcome { index, message, status: Status::Skipped, result_hash: keccak256(b"") };
        let inbox = self.points.last().copied().unwrap();
        self.halted = None;
        self.accepted_points.push(next_outbox(accepted, message.0));
        self.points.push(next_inbox(inbox, outcome.hash(lane)));
        self.outcomes.push(outcome);
        Ok(())
    }
}

impl SourceLane {
    fn send(
        &mut self,
        sender: Address,
        receiver: Address,
        deadline: UnixMillis,
        gas_limit: u64,
        payload: Vec<u8>,
        now: UnixMillis,
    ) -> Result<(), Revert> {
        if deadline <= now {
            return Err(Revert::DeadlinePassed);
        }
        let last = self.points.last().copied().unwrap();
        let index = last.index.next();
        if self.last_send_block != now {
            self.last_send_block = now;
            self.recent.insert(last.index.0 % RECENT_PLACES, last.head);
        }
        let message = Message { index, sender, receiver, deadline, gas_limit, payload: Payload::Bytes(payload) };
        let point = next_outbox(last, message.id(self.identity.id()).0);
        if index.0 % ANCHOR_INTERVAL == 0 {
            self.anchors.insert(index.0, point.head);
        }
        self.points.push(point);
        self.messages.push(message);
        Ok(())
    }

    /// The settled ids and `tail_ids` lead to an outbox head that is kept here.
    fn require_sent(&self, settled: ChainPoint, tail_ids: &[MessageId]) -> Result<(), Revert> {
        let end = tail_ids.iter().fold(settled, |point, id| next_outbox(point, id.0));
        let last = self.points.last().copied().unwrap();
        let kept = if end.index == last.index { Some(last.head) } else { self.anchors.get(&end.index.0).copied() };
        match kept {
            None if self.recent.get(&(end.index.0 % RECENT_PLACES)) == Some(&end.head) => Ok(()),
            None => Err(Revert::NoOutboxHeadAt(end.index.0)),
            Some(head) if head != end.head => Err(Revert::NeverSent(end.index.0)),
            Some(_) => Ok(()),
        }
    }
}

/// The next head of an outbox chain, from the text of the protocol.
fn next_outbox(point: ChainPoint, id: Hash32) -> ChainPoint {
    ChainPoint { index: Index(point.index.0 + 1), head: hash_words(&[tag::outbox(), point.head, id]) }
}

/// The next head of an inbox chain, from the text of the protocol.
fn next_inbox(point: ChainPoint, outcome: Hash32) -> ChainPoint {
    ChainPoint { index: Index(point.index.0 + 1), head: hash_words(&[tag::inbox(), point.head, outcome]) }
}

fn outcome_of(index: Index, id: MessageId, message: &Message, is_expired: bool, is_mended: bool) -> Outcome {
    let fails =
        !is_mended && matches!(&message.payload, Payload::Bytes(bytes) if bytes.first() == Some(&FAILING_PAYLOAD));
    let (status, result_hash) = match (is_expired, fails) {
        (true, _) => (Status::Expired, keccak256(b"")),
        (false, true) => (Status::Failed, keccak256(b"the receiver reverted")),
        (false, false) => (Status::Executed, keccak256(b"received")),
    };
    Outcome { index, message: id, status, result_hash }
}

/// A domain for a stand-in chain.
#[must_use]
pub fn model_domain(name: &str, genesis: Hash32) -> Domain {
    Domain::derive(name, genesis)
}
