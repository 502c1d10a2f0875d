//! The state machine in conversation with a world that does what the input says: peers, nodes and a disk that answer,
//! lie, stay silent or come late. Whatever happens, nothing leaves the machine before the record behind it is durable.

mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cityrelay_api::client::ErasedClient;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::frame::{ClientAt, CommitteeNotice, DeclineReason, Declined, Frame, Hello, Role};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::Refusal;
use cityrelay_core::machine::Machine;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{ClaimCheck, Effect, OrderId, ReceiptId, UpdateOrigin};
use cityrelay_core::machine::input::{
    ClaimRefusal, Fetched, Input, NodeStatement, Observation, Prepared, TransactionFate,
};
use cityrelay_core::order::{Action, Choice, Operator, Order, Subject};
use cityrelay_core::record::{Frozen, IntentEnd, Record};
use cityrelay_core::set_attestation::{Attestable, SetAttestation};
use cityrelay_core::verify::verify_evidence;
use cityrelay_wire::frame::decode_frame;

use world::{Story, claim, committee, domain, evidence, flow, lane, opaque, signature};

const PEERS: [(PeerId, Role); 3] = [(PeerId(1), Role::Relay), (PeerId(2), Role::Attester), (PeerId(3), Role::Attester)];

/// More effects than one input can have reason for.
const MAX_EFFECTS: usize = 4096;

/// Reads `input` as a play: who the machine is, then what happens to it, byte by byte.
pub fn machine(input: &[u8]) {
    let mut script = Script(input);
    let Some(cast) = script.byte() else { return };
    let mut play = Play::new(cast);
    while let Some(act) = script.byte() {
        if play.act(act, &mut script).is_none() {
            return;
        }
    }
}

/// The bytes of the input, read from the front.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte()?) % from.len();
        from.get(at).copied()
    }

    fn bytes(&mut self) -> Option<&[u8]> {
        let length = usize::from(self.byte()?);
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }
}

struct Play {
    machine: Machine,
    client: Box<dyn ErasedClient>,
    now: UnixMillis,
    /// Effects that wait for an answer, oldest first.
    open: VecDeque<Effect>,
    disk: Disk,
    receipts: u64,
    transactions: u64,
}

/// What is durable, and the two rules by which the journal refuses.
#[derive(Default)]
struct Disk {
    tips: BTreeMap<Flow, ChainPoint>,
    signed: BTreeMap<(Flow, Index), ChainPoint>,
    intents: BTreeSet<Hash32>,
    sets: BTreeSet<SetAttestation>,
}

impl Disk {
    /// Takes the records whole or not at all.
    fn append(&mut self, records: &[Record]) -> bool {
        let fits = records.iter().all(|record| match record {
            Record::Extension(extension) => extension.base == self.tip(extension.flow),
            Record::Signed { flow, point, .. } => {
                self.signed.get(&(*flow, point.index)).is_none_or(|signed| signed == point)
            }
            _ => true,
        });
        for record in records.iter().filter(|_| fits) {
            match record {
                Record::Extension(extension) => drop(self.tips.insert(extension.flow, extension.tip())),
                Record::Signed { flow, point, .. } => drop(self.signed.insert((*flow, point.index), *point)),
                Record::Intent(intent) => drop(self.intents.insert(intent.hash)),
                Record::SetSigned(attestation) => drop(self.sets.insert(*attestation)),
                _ => {}
            }
        }
        fits
    }

    fn tip(&self, flow: Flow) -> ChainPoint {
        self.tips.get(&flow).copied().unwrap_or_else(|| ChainPoint::start(flow))
    }
}

impl Play {
    fn new(cast: u8) -> Self {
        let now = world::NOW;
        let machine = Machine::new(world::config(cast), world::recovered(cast), now);
        let client = Box::new(world::client());
        let mut play =
            Self { machine, client, now, open: VecDeque::new(), disk: Disk::default(), receipts: 0, transactions: 0 };
        play.give(Input::Tick);
        play
    }

    fn give(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        let mut count = 0;
        while let Some(effect) = self.machine.poll_effect() {
            count += 1;
            assert!(count < MAX_EFFECTS, "one input makes effects without end");
            self.watch(&effect);
            if !matches!(effect, Effect::Send { .. } | Effect::Release(_) | Effect::Report(_)) {
                self.open.push_back(effect);
            }
        }
        let _ = self.machine.poll_timeout();
        let _ = self.machine.status();
    }

    /// Nothing leaves before the record behind it is durable.
    fn watch(&self, effect: &Effect) {
        let is_signed = |flow, point: ChainPoint| self.disk.signed.get(&(flow, point.index)) == Some(&point);
        match effect {
            Effect::Sign { what: Attestable::Set(attestation), .. } => {
                assert!(self.disk.sets.contains(attestation), "signs what is not recorded: {attestation:?}");
            }
            Effect::Sign { what: Attestable::Head(statement), .. } => {
                assert!(is_signed(statement.flow, statement.point), "signs what is not recorded: {statement:?}");
            }
            Effect::Send { frame: Frame::Attestation { flow, point, .. }, .. } => {
                assert!(is_signed(*flow, *point), "speaks of a signature that is not recorded: {point:?}");
            }
            Effect::Send { frame: Frame::Extension { claim, .. }, .. } => {
                let last = claim.entries.last().expect("an extension has entries").index();
                assert!(last <= self.disk.tip(claim.flow).index, "sends what is not durable: {last:?}");
            }
            Effect::Send { frame: Frame::Accepted { flow, point }, .. } => {
                let tip = self.disk.tip(*flow);
                assert!(point.index <= tip.index, "accepts what is not durable: {point:?}, tip {tip:?}");
            }
            Effect::Broadcast { intent, .. } => {
                assert!(self.disk.intents.contains(&intent.hash), "broadcasts what is not recorded");
            }
            _ => {}
        }
    }

    /// One thing happens; `None` when the script ends in the middle of it.
    fn act(&mut self, act: u8, script: &mut Script<'_>) -> Option<()> {
        match act % 16 {
            0 => {
                self.now = UnixMillis(self.now.0.saturating_add(u64::from(script.byte()?) * 50));
                self.give(Input::Tick);
            }
            1 => self.give(Input::PeerUp(script.pick(&PEERS)?.0)),
            2 => self.give(Input::PeerDown(script.pick(&PEERS)?.0)),
            3..=6 => self.answer(true, script)?,
            7 => self.answer(false, script)?,
            8 => {
                let later = self.open.pop_front();
                self.open.extend(later);
            }
            9 => {
                let domain = domain(script.pick(&["here", "there"])?);
                let lane = lane().id();
                let choice = script.pick(&[Choice::Ours, Choice::Theirs])?;
                let frozen = self.machine.status().clients.into_iter().find(|client| client.domain == domain);
                let nothing = Frozen { height: Height(0), ours: Hash32::ZERO, theirs: Hash32::ZERO };
                let frozen = frozen.and_then(|client| client.frozen).unwrap_or(nothing);
                let Frozen { height, ours, theirs } = frozen;
                let action = match script.byte()? % 6 {
                    0 => Action::PauseLane { lane },
                    1 => Action::ResumeLane { lane },
                    2 => Action::Retry(Subject::Lane(lane)),
                    3 => Action::Retry(Subject::Chain(domain)),
                    4 => Action::Retry(Subject::Everything),
                    _ => Action::Unfreeze { domain, height, ours, theirs, choice },
                };
                let who = Operator { uid: 0, name: "operator".to_owned() };
                let order = Order { who, reason: String::new(), action };
                self.give(Input::Order { id: OrderId(1), order });
            }
            10 => {
                let gateway = lane().source_gateway;
                let call = GatewayCall::Skip { gateway, lane: lane().id(), index: Index(1) };
                let _ = self.machine.submit(domain("here"), call, self.now);
                self.give(Input::Tick);
            }
            11 => {
                let peer = script.pick(&PEERS)?.0;
                let Ok(frame) = decode_frame(script.bytes()?) else { return Some(()) };
                self.frame(peer, frame);
            }
            _ => {
                let (peer, role) = script.pick(&PEERS)?;
                let frame = said(role, script)?;
                self.frame(peer, frame);
            }
        }
        Some(())
    }

    fn frame(&mut self, peer: PeerId, frame: Frame) {
        self.receipts += 1;
        self.give(Input::Frame { peer, frame, receipt: ReceiptId(self.receipts) });
    }

    /// The oldest open effect is answered, as it should be or as badly as it can be.
    fn answer(&mut self, is_good: bool, script: &mut Script<'_>) -> Option<()> {
        let Some(effect) = self.open.pop_front() else { return Some(()) };
        let shape = script.byte()?;
        if let Some(input) = self.answer_to(effect, is_good, shape) {
            self.give(input);
        }
        Some(())
    }

    fn answer_to(&mut self, effect: Effect, is_good: bool, shape: u8) -> Option<Input> {
        let story = Story(shape & 1);
        Some(match effect {
            Effect::Append { ticket, records } => match is_good && self.disk.append(&records) {
                true => Input::Durable(ticket),
                false => Input::AppendFailed { ticket, is_retryable: !is_good && shape & 1 == 0 },
            },
            Effect::FetchUpdate { domain, recipient, after, .. } => {
                let update = world::update(after, shape % 8);
                let answer = Fetched::Some((update, UpdateOrigin::Node("node".to_owned())));
                Input::UpdateFetched {
                    domain,
                    recipient,
                    after,
                    answer: if is_good { answer } else { Fetched::Failed },
                }
            }
            Effect::VerifyUpdate { domain, trusted, update, origin } => {
                let result = self.client.verify_update(domain, &trusted, &update, self.now);
                Input::UpdateVerified { domain, update, origin, result }
            }
            Effect::ConfirmHeader { header } => {
                let (domain, height, hash) = (header.domain(), header.height(), header.hash());
                let says = [Some(hash), Some(keccak256(&hash.0)), None]
                    .map(|hash| NodeStatement { node: "own".to_owned(), hash });
                let answer = match shape % 5 {
                    0 => Fetched::Some(says.to_vec()),
                    1 => Fetched::Nothing,
                    2 => Fetched::Some(vec![says[2].clone()]),
                    _ => Fetched::Some(vec![says[0].clone()]),
                };
                Input::HeaderConfirmed { domain, height, hash, answer: if is_good { answer } else { Fetched::Failed } }
            }
            Effect::ConfirmSet { domain, statement } => {
                Input::SetConfirmed { domain, statement, agrees: is_good.then_some(shape & 1 == 0) }
            }
            Effect::ApplySetStatement { domain, statement, .. } => {
                Input::SetApplied { domain, statement, result: Err(Refusal::new("set-statement", "none", "one")) }
            }
            Effect::ReadHint { flow } => {
                let answer = Fetched::Some(story.point(flow, u64::from(shape % 8)));
                Input::HintRead { flow, answer: if is_good { answer } else { Fetched::Nothing } }
            }
            Effect::Observe(request) => {
                let (flow, first) = (request.flow, request.base.index.0 + 1);
                let claim = claim(story, flow, first, 1 + shape % 4, request.newest);
                let answer = match shape % 5 {
                    0 => Fetched::Some(Observation::NeedsCheckpoint),
                    _ => Fetched::Some(Observation::Claim(claim)),
                };
                Input::Observed { flow, answer: if is_good { answer } else { Fetched::Failed } }
            }
            Effect::VerifyClaim(check) => self.verify_claim(*check),
            Effect::LoadClaim { flow, peer, first, last } => {
                let entries = (first.0..=last.0).map(|index| story.entry(flow, index)).collect();
                Input::ClaimLoaded { flow, peer, entries, tail: Vec::new() }
            }
            Effect::LoadSigned { flow, peer, first, last, .. } => {
                let count = last.0.saturating_sub(first.0).min(4) as u8 + 1;
                let claim = is_good.then(|| claim(story, flow, first.0, count, Height(u64::from(shape))));
                Input::SignedLoaded { peer, found: claim.map(|claim| (claim, Vec::new())) }
            }
            Effect::ReadPoint { flow, index } => {
                Input::PointRead { flow, index, point: is_good.then(|| story.point(flow, index.0)) }
            }
            Effect::Confirm { extension, .. } => {
                Input::Confirmed { flow: extension.flow(), agrees: is_good.then_some(shape & 2 == 0) }
            }
            Effect::Sign { what, peer } => {
                let signature = match &what {
                    Attestable::Head(statement) => is_good.then(|| signature(1, statement)),
                    Attestable::Set(_) => None,
                };
                Input::Signed { what, peer, signature }
            }
            Effect::Prepare { job, .. } => {
                self.transactions += 1;
                let hash = keccak256(&self.transactions.to_be_bytes());
                let answer = match shape % 8 {
                    0 => Prepared::TooLarge,
                    1 => Prepared::Reverts,
                    _ if is_good => Prepared::Ready { hash, bytes: opaque(b"transaction") },
                    _ => Prepared::Failed,
                };
                Input::Prepared { job, answer }
            }
            Effect::Broadcast { job, .. } => Input::Broadcasted(job),
            Effect::Track { job, .. } => {
                let (height, gas_used) = (Height(u64::from(shape)), 1);
                let fate = match shape % 5 {
                    0 => TransactionFate::Pending,
                    1 => TransactionFate::Dropped,
                    2 => TransactionFate::Ended(IntentEnd::Reverted { height, gas_used }),
                    3 => TransactionFate::Ended(IntentEnd::Dead),
                    _ => TransactionFate::Ended(IntentEnd::Succeeded { height, gas_used }),
                };
                Input::Tracked { job, fate }
            }
            Effect::ReadAccepted { flow } => {
                let answer = Fetched::Some(story.point(flow, u64::from(shape % 8)));
                Input::AcceptedRead { flow, answer: if is_good { answer } else { Fetched::Failed } }
            }
            Effect::ReadCommittee { flow } => {
                let answer = Fetched::Some(committee(1 + u64::from(shape & 1)));
                Input::CommitteeRead { flow, answer: if is_good { answer } else { Fetched::Failed } }
            }
            _ => return None,
        })
    }

    fn verify_claim(&self, check: ClaimCheck) -> Input {
        let ClaimCheck { origin, lane, base, header, claim, evidence } = check;
        let verified = self.client.verify_extension(&header, &lane, base, claim.clone());
        let result = verified.map_err(ClaimRefusal::from).and_then(|extension| {
            let Some((committee, evidence)) = evidence else { return Ok((extension, Vec::new())) };
            let mut checked = Vec::new();
            for item in evidence {
                let covered = extension.points().iter().find(|point| point.index == item.point.index);
                let point = covered.copied().unwrap_or_else(|| extension.tip());
                checked.push(verify_evidence(&lane, extension.flow(), &committee, point, item)?);
            }
            Ok((extension, checked))
        });
        Input::ClaimVerified { origin, claim, result }
    }
}

/// Something that a peer may say, true or not.
fn said(role: Role, script: &mut Script<'_>) -> Option<Frame> {
    let kind = script.byte()?;
    let shape = script.byte()?;
    let story = Story(shape & 1);
    let flow = flow(if shape & 2 == 0 { Direction::Outbox } else { Direction::Inbox });
    let index = u64::from(shape >> 4);
    let point = story.point(flow, index);
    let height = Height(10 + u64::from(kind >> 6));
    let epoch = Epoch(1 + u64::from(shape >> 3 & 1));
    let first = u64::from(script.byte()? % 16);
    Some(match kind % 10 {
        0 => {
            let clients = vec![ClientAt { domain: domain("here"), height, hash: world::block_hash(height) }];
            Frame::Hello(Hello { oldest_version: 1, newest_version: 1, role, clients, flows: vec![(flow, point)] })
        }
        1 => Frame::Update { domain: domain("here"), update: world::update(Height(first), shape % 8) },
        2 => Frame::ClientAt(ClientAt { domain: domain("here"), height, hash: world::block_hash(height) }),
        3 | 4 => {
            let claim = claim(story, flow, first, 1 + kind % 4, height);
            let last = first + u64::from(kind % 4);
            Frame::Extension { claim, evidence: vec![evidence(story, flow, last, epoch)] }
        }
        5 => Frame::Accepted { flow, point },
        6 => {
            let reasons = [
                DeclineReason::UnknownLane,
                DeclineReason::Gap,
                DeclineReason::UnknownHeader,
                DeclineReason::Refused,
                DeclineReason::Evidence,
                DeclineReason::Unconfirmed,
                DeclineReason::Busy,
                DeclineReason::Mute,
            ];
            Frame::Declined(Declined { flow, index: Index(first), reason: reasons[usize::from(kind >> 4) % 8] })
        }
        7 => {
            let claim = claim(story, flow, first, 1 + kind % 4, height);
            Frame::AttestRequest { claim, index: Index(index), epoch }
        }
        8 => {
            let statement = world::statement(flow, point, epoch);
            Frame::Attestation { flow, point, epoch, signature: signature(1 + kind % 4, &statement) }
        }
        _ => {
            let committee = committee(epoch.0);
            let members = committee.members().iter().copied().collect();
            let verifier = lane().destination_verifier;
            let threshold = 1 + u32::from(kind % 4);
            Frame::Committee(CommitteeNotice { domain: domain("there"), verifier, epoch, members, threshold })
        }
    })
}
