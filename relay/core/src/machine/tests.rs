//! The machine, input by input: what it asks for, and what it leaves alone.

mod orders;

use k256::ecdsa::SigningKey;

use super::*;
use crate::attestation::{SignatureBytes, Statement, attester_id};
use crate::chain::{ChainPoint, Entry};
use crate::frame::{ClientAt, DeclineReason, Declined, Frame, Hello};
use crate::gateway_call::{Evidence, GatewayCall};
use crate::hash::{Hash32, keccak256};
use crate::ids::{Epoch, Height, Index};
use crate::light_client::{Header, ProofStrength};
use crate::machine::config::{ChainSetup, LaneSetup, Limits, PeerSetup};
use crate::machine::effect::{Effect, JobEnd};
use crate::machine::input::{Fetched, Observation, Prepared, TransactionFate};
use crate::message::{Message, Payload};
use crate::opaque::Opaque;
use crate::record::{IntentRecord, Misbehaviour};
use crate::recovery::RecoveredClient;

mod boundaries;
mod hostile;
mod memory;
mod older_journals;
mod sets;
mod waiting;

const NOW: UnixMillis = UnixMillis(1_000_000);
const PEER: PeerId = PeerId(1);
const ATTESTER: PeerId = PeerId(2);

fn opaque(text: &str) -> Opaque {
    Opaque { adapter: "model".to_owned(), version: 1, bytes: text.as_bytes().to_vec() }
}

fn domain(name: &str) -> Domain {
    Domain(keccak256(name.as_bytes()))
}

fn lane() -> LaneIdentity {
    LaneIdentity {
        source_domain: domain("here"),
        destination_domain: domain("there"),
        source_gateway: Address::from_20([1; 20]),
        destination_gateway: Address::from_20([2; 20]),
        source_verifier: Address::from_20([3; 20]),
        destination_verifier: Address::from_20([4; 20]),
        channel: "medical".to_owned(),
        salt: Hash32::ZERO,
    }
}

fn flow(direction: Direction) -> Flow {
    Flow { lane: lane().id(), direction }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn committee(epoch: u64) -> Committee {
    let members: Vec<_> = (1..=4).map(|seed| attester_id(key(seed).verifying_key())).collect();
    Committee::new(Epoch(epoch), &members, 3).unwrap()
}

fn message(index: u64) -> Entry {
    Entry::Message(Message {
        index: Index(index),
        sender: Address::from_20([7; 20]),
        receiver: Address::from_20([8; 20]),
        deadline: UnixMillis(u64::MAX),
        gas_limit: 1,
        payload: Payload::Bytes(vec![1]),
    })
}

fn point(index: u64) -> ChainPoint {
    let outbox = flow(Direction::Outbox);
    let links = (1..=index).map(|index| message(index).link(outbox));
    links.fold(ChainPoint::start(outbox), |point, link| point.extended(Direction::Outbox, link))
}

/// Messages `(base, last]` proved at block `height`.
fn extension(base: u64, last: u64, height: u64) -> ExtensionRecord {
    ExtensionRecord {
        flow: flow(Direction::Outbox),
        base: point(base),
        entries: (base + 1..=last).map(message).collect(),
        proved_at: Height(height),
        block_hash: keccak256(b"block"),
        block_time: NOW,
        tail: Vec::new(),
        proof: opaque("proof"),
        at: NOW,
    }
}

fn sign(seed: u8, point: ChainPoint, epoch: u64) -> SignatureBytes {
    let flow = flow(Direction::Outbox);
    let verifying = lane().target(Direction::Outbox);
    let digest = Statement { flow, point, epoch: Epoch(epoch), verifying }.digest();
    let (signature, recovery) = key(seed).sign_prehash_recoverable(&digest.0).unwrap();
    SignatureBytes::from_parts(&signature, recovery)
}

fn evidence(index: u64, epoch: u64) -> Evidence {
    let signatures = (1..=3).map(|seed| (attester_id(key(seed).verifying_key()), sign(seed, point(index), epoch)));
    Evidence { point: point(index), epoch: Epoch(epoch), signatures: signatures.collect() }
}

/// A relay beside `target`, or an attester when there is none, with a client of `here` at block 10.
struct Bench {
    config: MachineConfig,
    recovered: Recovered,
}

impl Bench {
    fn new(target: Option<&str>) -> Self {
        let chain = |name: &str| ChainSetup {
            domain: domain(name),
            anchor: opaque("anchor"),
            height: Height(0),
            hash: Hash32::ZERO,
            has_source: target.is_none_or(|target| target == name),
            has_target: target == Some(name),
            strength: ProofStrength::Conclusive,
            poll_interval: core::time::Duration::from_secs(1),
        };
        let role = if target.is_some() { Role::Relay } else { Role::Attester };
        let peers = [
            PeerSetup { id: PEER, name: "far".to_owned(), role: Role::Relay, attester: None },
            PeerSetup { id: ATTESTER, name: "attester".to_owned(), role: Role::Attester, attester: None },
        ];
        let config = MachineConfig {
            role,
            chains: vec![chain("here"), chain("there")],
            lanes: vec![LaneSetup {
                identity: lane(),
                peer: target.map(|_| PEER),
                source_committee: Some(committee(1)),
                destination_committee: Some(committee(1)),
            }],
            peers: peers.to_vec(),
            limits: Limits::default(),
            jitter_seed: 1,
        };
        Self::of(config)
    }

    /// With this configuration, and nothing durable but a client.
    fn of(config: MachineConfig) -> Self {
        let header = |height: u64| Header {
            height: Height(height),
            hash: keccak256(&height.to_be_bytes()),
            parent: keccak256(&(height - 1).to_be_bytes()),
            timestamp: NOW,
            detail: Vec::new(),
        };
        let headers: Vec<Header> = (1..=10).map(header).collect();
        let client = RecoveredClient {
            domain: domain("here"),
            state: opaque("state"),
            height: Height(10),
            hash: headers[9].hash,
            headers,
        };
        let flows = Machine::sides(&config).into_iter().map(|(flow, side)| {
            let start = ChainPoint::start(flow);
            let (outstanding, evidence, unsettled) = (Vec::new(), Vec::new(), Vec::new());
            RecoveredFlow {
                flow,
                side,
                tip: start,
                peer_accepted: start,
                done: start,
                outstanding,
                evidence,
                unsettled,
            }
        });
        let flows = flows.collect();
        Self { config, recovered: Recovered { clients: vec![client], flows, ..Recovered::default() } }
    }

    /// With messages `1..=last` durable, in extensions that end at `ends`; none is finished.
    fn holding(mut self, ends: &[u64], evidence: Vec<Evidence>) -> Self {
        let flow = self.recovered.flows.iter_mut().find(|found| found.flow == flow(Direction::Outbox)).unwrap();
        let bases = [0].into_iter().chain(ends.iter().copied());
        flow.outstanding = bases.zip(ends).map(|(base, last)| extension(base, *last, 5)).collect();
        flow.tip = point(*ends.last().unwrap());
        flow.evidence = evidence;
        self
    }

    fn start(self) -> Driven {
        let mut driven = Driven { machine: Machine::new(self.config, self.recovered, NOW), now: NOW };
        driven.machine.handle(Input::Tick, NOW);
        driven
    }
}

struct Driven {
    machine: Machine,
    now: UnixMillis,
}

impl Driven {
    fn effects(&mut self) -> Vec<Effect> {
        core::iter::from_fn(|| self.machine.poll_effect()).collect()
    }

    fn give(&mut self, input: Input) -> Vec<Effect> {
        self.effects();
        self.machine.handle(input, self.now);
        self.effects()
    }

    fn frame(&mut self, peer: PeerId, frame: Frame) -> Vec<Effect> {
        self.give(Input::Frame { peer, frame, receipt: crate::machine::effect::ReceiptId(1) })
    }

    /// The peer's session stands, and it holds these flows.
    fn greet(&mut self, peer: PeerId, role: Role, flows: Vec<(Flow, ChainPoint)>) -> Vec<Effect> {
        let clients = vec![ClientAt { domain: domain("here"), height: Height(10), hash: Hash32::ZERO }];
        self.give(Input::PeerUp(peer));
        self.frame(peer, Frame::Hello(Hello { oldest_version: 1, newest_version: 1, role, clients, flows }))
    }
}

fn requests(effects: &[Effect]) -> Vec<(Index, Index)> {
    let asked = |effect: &Effect| match effect {
        Effect::Send { frame: Frame::AttestRequest { claim, index, .. }, .. } => Some((claim.first, *index)),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn declines(effects: &[Effect]) -> Vec<Declined> {
    let declined = |effect: &Effect| match effect {
        Effect::Send { frame: Frame::Declined(declined), .. } => Some(*declined),
        _ => None,
    };
    effects.iter().filter_map(declined).collect()
}

fn loads(effects: &[Effect]) -> Vec<(Index, Index)> {
    let load = |effect: &Effect| match effect {
        Effect::LoadClaim { first, last, .. } => Some((*first, *last)),
        _ => None,
    };
    effects.iter().filter_map(load).collect()
}

/// Whom we told where our client of `here` stands.
fn clients_told(effects: &[Effect]) -> Vec<(PeerId, Height)> {
    let told = |effect: &Effect| match effect {
        Effect::Send { peer, frame: Frame::ClientAt(at) } if at.domain == domain("here") => Some((*peer, at.height)),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

#[test]
fn a_machine_that_waits_for_others_is_not_woken_before_its_next_poll() {
    for (target, ends) in [(Some("here"), &[3][..]), (Some("there"), &[3]), (None, &[])] {
        let mut bench = Bench::new(target);
        if !ends.is_empty() {
            // Attested under an older set, and nobody to ask.
            bench = bench.holding(ends, vec![evidence(3, 1)]);
            bench.config.lanes[0].destination_committee = Some(committee(2));
        }
        let mut driven = bench.start();
        driven.effects();
        driven.machine.handle(Input::Tick, NOW);
        assert!(driven.effects().is_empty(), "{target:?}: everything is under way");
        let wake = driven.machine.poll_timeout();
        assert!(wake.is_none_or(|wake| wake > NOW), "{target:?} wants to be woken at {wake:?}");
    }
}

#[test]
fn an_extension_for_a_peer_that_lacks_headers_waits_for_the_peer() {
    let mut driven = Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.give(Input::PeerUp(PEER));
    let hello = Hello { oldest_version: 1, newest_version: 1, role: Role::Relay, clients: vec![], flows: vec![] };
    driven.frame(PEER, Frame::Hello(hello));
    driven.machine.handle(Input::Tick, NOW);
    driven.effects();
    assert!(driven.machine.poll_timeout().is_none_or(|wake| wake > NOW));
}

#[test]
fn an_attester_that_lags_is_brought_up_to_date_by_either_side() {
    for target in ["here", "there"] {
        let mut bench = Bench::new(Some(target)).holding(&[3, 5], vec![evidence(3, 1), evidence(5, 1)]);
        // The first extension is finished; the second one needs signatures of the set that has come into force.
        let recovered = bench.recovered.flows.iter_mut().find(|found| found.flow == flow(Direction::Outbox)).unwrap();
        recovered.outstanding.remove(0);
        recovered.evidence.clear();
        (recovered.done, recovered.peer_accepted) = (point(3), point(3));
        bench.config.lanes[0].destination_committee = Some(committee(2));
        let mut driven = bench.start();
        let effects = driven.greet(ATTESTER, Role::Attester, vec![]);
        assert_eq!(loads(&effects), [(Index(1), Index(5))], "beside {target}");
        let entries = (1..=5).map(|index| message(index).without_payload()).collect();
        let flow = flow(Direction::Outbox);
        let effects = driven.give(Input::ClaimLoaded { flow, peer: ATTESTER, entries, tail: vec![] });
        assert_eq!(requests(&effects), [(Index(1), Index(5))], "beside {target}: once, from its start");
    }
}

#[test]
fn entries_that_the_journal_can_not_bring_are_not_asked_for_again_at_once() {
    let mut bench = Bench::new(Some("here")).holding(&[3, 5], vec![]);
    bench.recovered.flows[0].outstanding.remove(0);
    bench.recovered.flows[0].peer_accepted = point(3);
    let mut driven = bench.start();
    assert_eq!(loads(&driven.greet(ATTESTER, Role::Attester, vec![])), [(Index(1), Index(5))]);
    let flow = flow(Direction::Outbox);
    let nothing = || Input::ClaimLoaded { flow, peer: ATTESTER, entries: vec![], tail: vec![] };
    assert_eq!(loads(&driven.give(nothing())), []);
    driven.machine.handle(Input::Tick, NOW);
    assert_eq!(loads(&driven.effects()), []);
    // Later it is tried again, and the machine wakes for it.
    let wake = driven.machine.poll_timeout().unwrap();
    let later = UnixMillis(NOW.0 + 2_000);
    assert!(wake > NOW && wake <= later, "{wake:?}");
    driven.machine.handle(Input::Tick, later);
    assert_eq!(loads(&driven.effects()), [(Index(1), Index(5))]);
}

#[test]
fn an_attester_that_lags_far_behind_is_sent_one_piece_after_the_other() {
    let mut bench = Bench::new(Some("here")).holding(&[3, 5], vec![]);
    bench.recovered.flows[0].outstanding.remove(0);
    bench.recovered.flows[0].peer_accepted = point(3);
    let mut driven = bench.start();
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let entries = (1..=2).map(|index| message(index).without_payload()).collect();
    let tail = (3..=5).map(|index| message(index).link(flow(Direction::Outbox))).collect();
    let flow = flow(Direction::Outbox);
    let effects = driven.give(Input::ClaimLoaded { flow, peer: ATTESTER, entries, tail });
    assert_eq!(requests(&effects), [(Index(1), Index(2))]);
    assert_eq!(loads(&effects), [(Index(3), Index(5))]);
}

#[test]
fn one_word_of_an_attester_starts_one_round_of_requests() {
    let mut driven = Bench::new(Some("here")).holding(&[1, 2, 3], vec![]).start();
    let held = vec![(flow(Direction::Outbox), point(0))];
    assert_eq!(requests(&driven.greet(ATTESTER, Role::Attester, held)).len(), 3);
    // It lost what it was sent: each of the three requests is declined with where it stands.
    let accepted = Frame::Accepted { flow: flow(Direction::Outbox), point: point(0) };
    assert_eq!(requests(&driven.frame(ATTESTER, accepted.clone())).len(), 3);
    assert_eq!(requests(&driven.frame(ATTESTER, accepted.clone())), []);
    assert_eq!(requests(&driven.frame(ATTESTER, accepted.clone())), []);
    driven.now = UnixMillis(NOW.0 + 60_000);
    assert_eq!(requests(&driven.frame(ATTESTER, accepted)).len(), 3, "later it may have lost them again");
}

#[test]
fn an_attester_that_is_in_no_set_is_not_asked_once_every_member_is_known() {
    let asked = |members: &[u8]| {
        let mut bench = Bench::new(Some("here")).holding(&[1], vec![]);
        let address = |seed: u8| Some(attester_id(key(seed).verifying_key()));
        bench.config.peers[1].attester = address(9);
        bench.config.peers.extend(members.iter().map(|seed| PeerSetup {
            id: PeerId(100 + u32::from(*seed)),
            name: format!("attester-{seed}"),
            role: Role::Attester,
            attester: address(*seed),
        }));
        let mut driven = bench.start();
        requests(&driven.greet(ATTESTER, Role::Attester, vec![(flow(Direction::Outbox), point(0))])).len()
    };
    assert_eq!(asked(&[1, 2, 3, 4]), 0, "the set is 1 to 4, and this one signs as 9");
    assert_eq!(asked(&[1, 2, 3]), 1, "it may be the fourth member, with an address that we don't know");
}

#[test]
fn an_extension_declined_for_its_signatures_waits_before_it_is_sent_again() {
    let mut driven = Bench::new(Some("here")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let declined = Declined { flow: flow(Direction::Outbox), index: Index(1), reason: DeclineReason::Evidence };
    driven.frame(PEER, Frame::Declined(declined));
    let statement = |seed| {
        let (flow, point, epoch) = (flow(Direction::Outbox), point(3), Epoch(1));
        Frame::Attestation { flow, point, epoch, signature: sign(seed, point, 1) }
    };
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let effects: Vec<Effect> = (1..=3).flat_map(|seed| driven.frame(ATTESTER, statement(seed))).collect();
    let ticket = effects.iter().find_map(|effect| match effect {
        Effect::Append { ticket, .. } => Some(*ticket),
        _ => None,
    });
    assert_eq!(sent(&driven.give(Input::Durable(ticket.unwrap()))), 0);
    driven.now = UnixMillis(NOW.0 + 60_000);
    assert_eq!(sent(&driven.give(Input::Tick)), 1);
}

fn sent(effects: &[Effect]) -> usize {
    let is_extension = |effect: &&Effect| matches!(effect, Effect::Send { frame: Frame::Extension { .. }, .. });
    effects.iter().filter(is_extension).count()
}

#[test]
fn a_declined_volley_is_sent_again_once_whatever_the_peer_names() {
    let held = (1..=3).map(|index| evidence(index, 1)).collect();
    let mut driven = Bench::new(Some("here")).holding(&[1, 2, 3], held).start();
    assert_eq!(sent(&driven.greet(PEER, Role::Relay, vec![])), 3);
    let (flow, reason) = (flow(Direction::Outbox), DeclineReason::Gap);
    for index in [1, 2, 3, 99] {
        driven.frame(PEER, Frame::Declined(Declined { flow, index: Index(index), reason }));
    }
    assert_eq!(sent(&driven.give(Input::Tick)), 0);
    driven.now = UnixMillis(NOW.0 + 1000);
    assert_eq!(sent(&driven.give(Input::Tick)), 3, "after the wait that follows one failure");
    driven.frame(PEER, Frame::Declined(Declined { flow, index: Index(99), reason }));
    driven.now = UnixMillis(NOW.0 + 10_000);
    assert_eq!(sent(&driven.give(Input::Tick)), 3, "an index beyond all that was sent");
}

#[test]
fn an_observation_that_follows_what_is_not_held_any_more_is_dropped() {
    let mut driven = Bench::new(Some("here")).start();
    driven.effects();
    let (flow, hint) = (flow(Direction::Outbox), point(5));
    driven.give(Input::HintRead { flow, answer: Fetched::Some(hint) });
    driven.now = UnixMillis(NOW.0 + 1000);
    driven.give(Input::Tick);
    driven.give(Input::HintRead { flow, answer: Fetched::Some(hint) });
    let claim = extension(2, 5, 5).claim();
    let effects = driven.give(Input::Observed { flow, answer: Fetched::Some(Observation::Claim(claim)) });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_))), "{effects:?}");
    let claim = extension(0, 5, 5).claim();
    let effects = driven.give(Input::Observed { flow, answer: Fetched::Some(Observation::Claim(claim)) });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_))), "{effects:?}");
}

#[test]
fn a_vote_that_comes_late_makes_no_second_evidence() {
    let mut driven = Bench::new(Some("there")).holding(&[3], vec![evidence(3, 1)]).start();
    driven.greet(ATTESTER, Role::Attester, vec![]);
    for seed in 1..=4 {
        let (flow, point) = (flow(Direction::Outbox), point(3));
        let frame = Frame::Attestation { flow, point, epoch: Epoch(1), signature: sign(seed, point, 1) };
        let effects = driven.frame(ATTESTER, frame);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Append { .. })), "vote {seed}: {effects:?}");
    }
}

#[test]
fn an_attester_that_signs_another_head_is_recorded_once_even_when_its_vote_is_not_needed() {
    for held in [vec![], vec![evidence(3, 1)]] {
        let mut driven = Bench::new(Some("here")).holding(&[3], held).start();
        driven.greet(ATTESTER, Role::Attester, vec![]);
        let other = ChainPoint { index: Index(3), head: keccak256(b"another head") };
        let (flow, epoch) = (flow(Direction::Outbox), Epoch(1));
        let frame = Frame::Attestation { flow, point: other, epoch, signature: sign(4, other, 1) };
        let recorded = |effects: &[Effect]| {
            let is_record =
                |record: &Record| matches!(record, Record::Misbehaviour(Misbehaviour::ConflictingHead { .. }));
            let appended = effects.iter().filter(|effect| match effect {
                Effect::Append { records, .. } => records.iter().any(is_record),
                _ => false,
            });
            appended.count()
        };
        assert_eq!(recorded(&driven.frame(ATTESTER, frame.clone())), 1);
        assert_eq!(recorded(&driven.frame(ATTESTER, frame)), 0);
    }
}

#[test]
fn a_claim_beyond_our_client_is_declined_and_holds_up_nothing() {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let claim = |height| extension(0, 3, height).claim();
    let effects = driven.frame(PEER, Frame::Extension { claim: claim(11), evidence: vec![evidence(3, 1)] });
    let expected = Declined { flow: flow(Direction::Outbox), index: Index(1), reason: DeclineReason::UnknownHeader };
    assert_eq!(declines(&effects), [expected]);
    let effects = driven.frame(PEER, Frame::Extension { claim: claim(5), evidence: vec![evidence(3, 1)] });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_))), "{effects:?}");
}

#[test]
fn a_request_about_a_header_that_nobody_brought_holds_up_nobody_else() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let request = |height, last| {
        let claim = extension(0, last, height).claim_without_payloads();
        Frame::AttestRequest { claim, index: Index(last), epoch: Epoch(1) }
    };
    let effects = driven.frame(PEER, request(1000, 3));
    assert_eq!(declines(&effects), [], "our own node may still bring it");
    assert!(driven.machine.poll_timeout().is_none_or(|wake| wake > NOW));
    let effects = driven.frame(PEER, request(5, 4));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::VerifyClaim(_))), "{effects:?}");
}

#[test]
fn a_dropped_transaction_whose_call_is_out_of_date_gives_its_place_to_a_checkpoint() {
    let mut driven = Bench::new(Some("here")).start();
    let call = GatewayCall::Skip { gateway: Address::from_20([1; 20]), lane: lane().id(), index: Index(1) };
    driven.effects();
    let job = driven.machine.submit(domain("here"), call, NOW).unwrap();
    let ready = Prepared::Ready { hash: keccak256(b"first"), bytes: opaque("first") };
    let effects = driven.give(Input::Prepared { job, answer: ready });
    let Some(Effect::Append { ticket, .. }) = effects.into_iter().find(|e| matches!(e, Effect::Append { .. })) else {
        panic!("the intent is made durable first")
    };
    driven.give(Input::Durable(ticket));
    let replaced = drop_until_prepared(&mut driven, job);
    assert!(matches!(replaced, GatewayCall::Skip { .. }), "{replaced:?}");
    driven.give(Input::Prepared { job, answer: Prepared::Reverts });
    let filler = drop_until_prepared(&mut driven, job);
    assert!(
        matches!(filler, GatewayCall::Checkpoint { gateway, .. } if gateway == lane().source_gateway),
        "{filler:?}"
    );

    let ready = Prepared::Ready { hash: keccak256(b"second"), bytes: opaque("second") };
    let tickets = |effects: Vec<Effect>| {
        let ticket = effects.into_iter().find_map(|effect| match effect {
            Effect::Append { ticket, .. } => Some(ticket),
            _ => None,
        });
        ticket.unwrap()
    };
    let ticket = tickets(driven.give(Input::Prepared { job, answer: ready }));
    driven.give(Input::Durable(ticket));
    let end = crate::record::IntentEnd::Succeeded { height: Height(1), gas_used: 1 };
    let ticket = tickets(driven.give(Input::Tracked { job, fate: TransactionFate::Ended(end) }));
    let effects = driven.give(Input::Durable(ticket));
    let ended = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Report(Report::JobEnded { end: JobEnd::WouldRevert, .. })));
    assert!(ended, "the operator's call was not made: {effects:?}");
}

#[test]
fn a_transaction_of_an_earlier_run_that_the_chain_forgot_gives_its_place_to_a_checkpoint() {
    let mut bench = Bench::new(Some("here"));
    bench.recovered.intents.push(IntentRecord {
        domain: domain("here"),
        hash: keccak256(b"left over"),
        bytes: opaque("left over"),
        purpose: Purpose::Carry { flow: flow(Direction::Inbox), last: Index(1) },
        replaces: None,
        at: NOW,
    });
    let mut driven = bench.start();
    let filler = drop_until_prepared(&mut driven, JobId(1));
    assert!(matches!(filler, GatewayCall::Checkpoint { .. }), "{filler:?}");
}

#[test]
fn a_block_that_a_node_tells_is_fetched_before_the_next_poll() {
    let mut driven = Bench::new(Some("here")).start();
    let fetches = |effects: Vec<Effect>| {
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::FetchUpdate { domain: of, .. } if *of == domain("here")))
            .count()
    };
    let told = || Input::NewBlock { domain: domain("here") };
    let answer = |answer| {
        let (recipient, after) = (crate::machine::input::Recipient::Own, Height(10));
        Input::UpdateFetched { domain: domain("here"), recipient, after, answer }
    };
    // The first question went out at the start; a block that is told meanwhile is asked for when it is answered.
    assert_eq!(fetches(driven.give(told())), 0);
    assert_eq!(fetches(driven.give(answer(Fetched::Nothing))), 1);
    assert_eq!(fetches(driven.give(answer(Fetched::Nothing))), 0);
    assert_eq!(fetches(driven.give(Input::Tick)), 0, "the poll is not due");
    assert_eq!(fetches(driven.give(told())), 1);
    // After a failure nobody is hurried.
    assert_eq!(fetches(driven.give(answer(Fetched::Failed))), 0);
    assert_eq!(fetches(driven.give(told())), 0);
}

#[test]
fn the_set_of_a_verifier_is_read_once_for_all_its_flows() {
    let mut bench = Bench::new(Some("there"));
    for salt in 1..=3 {
        let identity = LaneIdentity { salt: Hash32::from_u64(salt), ..lane() };
        bench.config.lanes.push(LaneSetup { identity, ..bench.config.lanes[0].clone() });
    }
    let flows = Machine::sides(&bench.config).into_iter();
    bench.recovered.flows =
        flows.map(|(flow, side)| RecoveredFlow { flow, side, ..bench.recovered.flows[0].clone() }).collect();
    let mut driven = bench.start();
    let reads = |effects: &[Effect]| -> (usize, usize) {
        let count = |is: fn(&Effect) -> bool| effects.iter().filter(|effect| is(effect)).count();
        let sets = count(|effect| matches!(effect, Effect::ReadCommittee { .. }));
        (count(|effect| matches!(effect, Effect::ReadAccepted { .. })), sets)
    };
    assert_eq!(reads(&driven.effects()), (4, 1));
    for (flow, side) in Machine::sides(&Bench::new(Some("there")).config) {
        if side == Side::Inbound {
            driven.give(Input::AcceptedRead { flow, answer: Fetched::Nothing });
        }
    }
    driven.now = UnixMillis(NOW.0 + 60_000);
    assert_eq!(reads(&driven.give(Input::Tick)), (1, 1), "the flow that was answered asks again, for all of them");
}

/// The chain forgets a job's transaction as often as it takes until it is prepared anew.
fn drop_until_prepared(driven: &mut Driven, job: JobId) -> GatewayCall {
    for _ in 0..10 {
        driven.give(Input::Broadcasted(job));
        driven.now = UnixMillis(driven.now.0 + 60_000);
        driven.give(Input::Tick);
        let effects = driven.give(Input::Tracked { job, fate: TransactionFate::Dropped });
        let prepared = effects.into_iter().find_map(|effect| match effect {
            Effect::Prepare { call, replaces, .. } => Some((*call, replaces)),
            _ => None,
        });
        if let Some((call, replaces)) = prepared {
            assert!(replaces.is_some(), "the new one takes the place of the dropped one");
            return call;
        }
    }
    panic!("a dropped transaction is never replaced")
}
