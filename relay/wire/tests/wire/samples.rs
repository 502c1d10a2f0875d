//! One value for every kind of frame, record and row, each alternative of each choice at least once.

use std::collections::BTreeMap;

use cityrelay_core::attestation::{SignatureBytes, Statement};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::{ClientAt, CommitteeNotice, DeclineReason, Declined, Frame, Hello, Role};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt};
use cityrelay_core::light_client::{Header, SetStatement};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::order::{Action, AuditRecord, Choice, Operator, Order, Subject};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::record::{ExtensionRecord, IntentEnd, IntentRecord, Misbehaviour, Purpose, Record};
use cityrelay_core::set_attestation::{Attestable, SetAttestation, SetEvidence, SetFact};
use cityrelay_core::signing::{Rotation, Signable, SigningAnswer, SigningRefusal, SigningRequest};
use cityrelay_wire::row;

pub fn word(byte: u8) -> Hash32 {
    Hash32([byte; 32])
}

pub fn flow(direction: Direction) -> Flow {
    Flow { lane: LaneId(word(0xa1)), direction }
}

pub fn point(index: u64, byte: u8) -> ChainPoint {
    ChainPoint { index: Index(index), head: word(byte) }
}

pub fn opaque(bytes: &[u8]) -> Opaque {
    Opaque { adapter: "some-chain".to_owned(), version: 0x0102, bytes: bytes.to_vec() }
}

pub fn message(index: u64, payload: Payload) -> Message {
    Message {
        index: Index(index),
        sender: Address::from_20([0x51; 20]),
        receiver: Address(word(0x52)),
        deadline: UnixMillis(1_700_000_000_123),
        gas_limit: 300_000,
        payload,
    }
}

pub fn outcome(index: u64, status: Status) -> Outcome {
    Outcome { index: Index(index), message: MessageId(word(0x61)), status, result_hash: word(0x62) }
}

pub fn outcomes() -> Vec<Outcome> {
    let all = [Status::Executed, Status::Failed, Status::Expired, Status::Skipped];
    (1..).zip(all).map(|(index, status)| outcome(index, status)).collect()
}

pub fn outbox_claim() -> Claim {
    Claim {
        flow: flow(Direction::Outbox),
        first: Index(7),
        entries: vec![
            Entry::Message(message(7, Payload::Bytes(b"hello".to_vec()))),
            Entry::Message(message(8, Payload::Hash(word(0x53)))),
        ],
        tail: vec![word(0x54), word(0x55)],
        height: Height(0x0102_0304_0506_0708),
        proof: opaque(&[1, 2, 3]),
    }
}

pub fn inbox_claim() -> Claim {
    Claim {
        flow: flow(Direction::Inbox),
        first: Index(1),
        entries: outcomes().into_iter().map(Entry::Outcome).collect(),
        tail: vec![],
        height: Height(9),
        proof: opaque(&[]),
    }
}

pub fn evidence() -> Evidence {
    let signatures: BTreeMap<_, _> =
        (1..=2).map(|seed| (AttesterId([seed; 20]), SignatureBytes([0x70 + seed; 65]))).collect();
    Evidence { point: point(8, 0x71), epoch: Epoch(3), signatures }
}

pub fn header() -> Header {
    Header {
        height: Height(12),
        hash: word(0x81),
        parent: word(0x82),
        timestamp: UnixMillis(1_700_000_000_000),
        detail: vec![9, 8, 7],
    }
}

pub fn intent(purpose: Purpose, replaces: Option<Hash32>) -> IntentRecord {
    IntentRecord {
        domain: Domain(word(0xd1)),
        hash: word(0x91),
        bytes: opaque(&[0xca, 0xfe]),
        purpose,
        replaces,
        at: UnixMillis(1_700_000_000_002),
    }
}

pub fn set_attestation() -> SetAttestation {
    let statement = SetStatement { height: Height(0x0102_0304_0506_0708), digest: word(0xe1) };
    SetAttestation {
        fact: SetFact { domain: Domain(word(0xd1)), parent: word(0xe2), statement },
        epoch: Epoch(3),
        verifier: Address::from_20([0xe3; 20]),
        verifier_domain: Domain(word(0xd2)),
    }
}

pub fn set_evidence() -> SetEvidence {
    SetEvidence { attestation: set_attestation(), signatures: evidence().signatures }
}

pub fn frames() -> Vec<(&'static str, Frame)> {
    let domain = Domain(word(0xd1));
    let at = ClientAt { domain, height: Height(77), hash: word(0x31) };
    let mut frames = vec![
        (
            "hello",
            Frame::Hello(Hello {
                oldest_version: 1,
                newest_version: 2,
                role: Role::Relay,
                clients: vec![at],
                flows: vec![(flow(Direction::Outbox), point(3, 0x32)), (flow(Direction::Inbox), point(2, 0x33))],
            }),
        ),
        (
            "hello-attester",
            Frame::Hello(Hello {
                oldest_version: 1,
                newest_version: 1,
                role: Role::Attester,
                clients: vec![],
                flows: vec![],
            }),
        ),
        ("update", Frame::Update { domain, update: opaque(&[4, 5, 6]) }),
        ("client-at", Frame::ClientAt(at)),
        ("extension-outbox", Frame::Extension { claim: outbox_claim(), evidence: vec![evidence()] }),
        ("extension-inbox", Frame::Extension { claim: inbox_claim(), evidence: vec![] }),
        ("accepted", Frame::Accepted { flow: flow(Direction::Outbox), point: point(8, 0x34) }),
        ("attest-request", Frame::AttestRequest { claim: outbox_claim(), index: Index(8), epoch: Epoch(3) }),
        (
            "attestation",
            Frame::Attestation {
                flow: flow(Direction::Inbox),
                point: point(8, 0x35),
                epoch: Epoch(3),
                signature: SignatureBytes([0x36; 65]),
            },
        ),
        (
            "committee",
            Frame::Committee(CommitteeNotice {
                domain,
                verifier: Address::from_20([0x37; 20]),
                epoch: Epoch(4),
                members: vec![AttesterId([1; 20]), AttesterId([2; 20]), AttesterId([3; 20])],
                threshold: 2,
            }),
        ),
        ("set-request", Frame::SetRequest(set_attestation())),
        ("set-attested", Frame::SetAttested(set_evidence())),
    ];
    let reasons = [
        ("declined-unknown-lane", DeclineReason::UnknownLane),
        ("declined-gap", DeclineReason::Gap),
        ("declined-unknown-header", DeclineReason::UnknownHeader),
        ("declined-refused", DeclineReason::Refused),
        ("declined-evidence", DeclineReason::Evidence),
        ("declined-unconfirmed", DeclineReason::Unconfirmed),
        ("declined-busy", DeclineReason::Busy),
        ("declined-mute", DeclineReason::Mute),
        ("declined-paused", DeclineReason::Paused),
    ];
    for (name, reason) in reasons {
        let declined = Declined { flow: flow(Direction::Outbox), index: Index(9), reason };
        frames.push((name, Frame::Declined(declined)));
    }
    frames
}

pub fn extension_record(direction: Direction) -> ExtensionRecord {
    let claim = match direction {
        Direction::Outbox => outbox_claim(),
        Direction::Inbox => inbox_claim(),
    };
    ExtensionRecord {
        flow: claim.flow,
        base: point(claim.first.0 - 1, 0x41),
        entries: claim.entries,
        proved_at: claim.height,
        block_hash: word(0x42),
        block_time: UnixMillis(1_700_000_000_000),
        tail: claim.tail,
        proof: claim.proof,
        at: UnixMillis(1_700_000_000_001),
    }
}

pub fn misbehaviours() -> Vec<(&'static str, Misbehaviour)> {
    let at = UnixMillis(1_700_000_000_003);
    let flow = flow(Direction::Outbox);
    vec![
        (
            "equivocation",
            Misbehaviour::Equivocation {
                domain: Domain(word(0xd1)),
                ours: header(),
                theirs: opaque(&[0xba, 0xd0]),
                theirs_hash: word(0x84),
                served_by: "second-node".to_owned(),
                at,
            },
        ),
        (
            "contradiction",
            Misbehaviour::Contradiction {
                domain: Domain(word(0xd1)),
                ours: header(),
                theirs: word(0x85),
                node: "own-node".to_owned(),
                at,
            },
        ),
        ("conflicting-head", Misbehaviour::ConflictingHead { flow, ours: point(8, 0x72), theirs: evidence(), at }),
        (
            "audit-difference",
            Misbehaviour::AuditDifference {
                flow,
                gateway: Address::from_20([0x73; 20]),
                ours: point(8, 0x72),
                theirs: point(8, 0x74),
                at,
            },
        ),
    ]
}

fn purposes() -> Vec<(&'static str, IntentRecord)> {
    let flow = flow(Direction::Inbox);
    vec![
        ("intent-carry", intent(Purpose::Carry { flow, last: Index(8) }, Some(word(0x92)))),
        ("intent-checkpoint", intent(Purpose::Checkpoint { flow }, None)),
        ("intent-operator", intent(Purpose::Operator, None)),
    ]
}

pub fn records() -> Vec<(&'static str, Record)> {
    let domain = Domain(word(0xd1));
    let outbox = flow(Direction::Outbox);
    let hash = word(0x91);
    let at = UnixMillis(1_700_000_000_004);
    let mut records = vec![
        (
            "client",
            Record::Client {
                domain,
                state: opaque(&[7, 7]),
                height: Height(12),
                hash: word(0x81),
                headers: vec![header()],
            },
        ),
        ("extension-outbox", Record::Extension(extension_record(Direction::Outbox))),
        ("extension-inbox", Record::Extension(extension_record(Direction::Inbox))),
        ("attested", Record::Attested { flow: outbox, evidence: evidence(), at }),
        ("peer-accepted", Record::PeerAccepted { flow: outbox, point: point(8, 0x34), at }),
        ("done", Record::Done { flow: outbox, point: point(8, 0x34), at }),
        (
            "intent-succeeded",
            Record::IntentClosed { domain, hash, end: IntentEnd::Succeeded { height: Height(5), gas_used: 21_000 } },
        ),
        (
            "intent-reverted",
            Record::IntentClosed { domain, hash, end: IntentEnd::Reverted { height: Height(6), gas_used: 50_000 } },
        ),
        ("intent-dead", Record::IntentClosed { domain, hash, end: IntentEnd::Dead }),
        ("signed", Record::Signed { flow: outbox, point: point(8, 0x34), epoch: Epoch(3) }),
        ("set-stated", Record::SetStated { fact: set_attestation().fact, evidence: vec![set_evidence()] }),
        ("set-confirmed", Record::SetStated { fact: set_attestation().fact, evidence: vec![] }),
        ("set-signed", Record::SetSigned(set_attestation())),
    ];
    records.extend(audits().into_iter().map(|(name, audit)| (name, Record::Audit(audit))));
    records.extend(purposes().into_iter().map(|(name, intent)| (name, Record::Intent(intent))));
    records.extend(misbehaviours().into_iter().map(|(name, what)| (name, Record::Misbehaviour(what))));
    records
}

pub fn audits() -> Vec<(&'static str, AuditRecord)> {
    let lane = LaneId(word(0xa1));
    let domain = Domain(word(0xd1));
    let unfreeze =
        |choice| Action::Unfreeze { domain, height: Height(12), ours: word(0x81), theirs: word(0x84), choice };
    let actions = [
        ("audit-unfreeze-ours", unfreeze(Choice::Ours)),
        ("audit-unfreeze-theirs", unfreeze(Choice::Theirs)),
        ("audit-pause", Action::PauseLane { lane }),
        ("audit-resume", Action::ResumeLane { lane }),
        ("audit-retry-lane", Action::Retry(Subject::Lane(lane))),
        ("audit-retry-chain", Action::Retry(Subject::Chain(domain))),
        ("audit-retry-everything", Action::Retry(Subject::Everything)),
        ("audit-other", Action::Other { what: "reload".to_owned() }),
    ];
    let record = |action| {
        let who = Operator { uid: 1000, name: "chen".to_owned() };
        AuditRecord {
            at: UnixMillis(1_700_000_000_006),
            order: Order { who, reason: "asked by phone".to_owned(), action },
        }
    };
    actions.into_iter().map(|(name, action)| (name, record(action))).collect()
}

pub fn signing_requests() -> Vec<(&'static str, SigningRequest)> {
    let verifying = GatewayAt { domain: Domain(word(0xd2)), gateway: Address::from_20([0x73; 20]) };
    let statement = Statement { flow: flow(Direction::Inbox), point: point(8, 0x34), epoch: Epoch(3), verifying };
    let rotation = Rotation {
        verifier: Address::from_20([0xe3; 20]),
        domain: Domain(word(0xd2)),
        epoch: Epoch(4),
        members: [AttesterId([1; 20]), AttesterId([2; 20]), AttesterId([3; 20])].into(),
        threshold: 2,
    };
    let sign = |what| SigningRequest::Sign(Signable::Attestation(what));
    vec![
        ("describe", SigningRequest::Describe),
        ("sign-head", sign(Attestable::Head(statement))),
        ("sign-set", sign(Attestable::Set(set_attestation()))),
        ("sign-rotation", SigningRequest::Sign(Signable::Rotation(rotation))),
    ]
}

pub fn signing_answers() -> Vec<(&'static str, SigningAnswer)> {
    let refusals = [
        ("refused-conflict", SigningRefusal::Conflict { held: word(0x34) }),
        ("refused-record", SigningRefusal::Record),
        ("refused-stranger", SigningRefusal::Stranger),
        ("refused-malformed", SigningRefusal::Malformed),
        ("refused-key", SigningRefusal::Key),
    ];
    let mut answers = vec![
        ("key", SigningAnswer::Key(AttesterId([7; 20]))),
        ("signed", SigningAnswer::Signed(SignatureBytes([0x36; 65]))),
    ];
    answers.extend(refusals.map(|(name, refusal)| (name, SigningAnswer::Refused(refusal))));
    answers
}

pub fn flow_row(signed: Option<ChainPoint>) -> row::FlowRow {
    row::FlowRow {
        ordinal: 5,
        tip: point(8, 0x34),
        peer_accepted: point(7, 0x38),
        done: point(6, 0x39),
        signed,
        extensions: 4,
        payloads_pruned: Index(3),
        bodies_pruned: Index(2),
    }
}

pub fn span_row(kept: row::Kept) -> row::SpanRow {
    row::SpanRow {
        base: point(6, 0x41),
        tip: point(8, 0x34),
        proved_at: Height(9),
        block_hash: word(0x42),
        block_time: UnixMillis(1_700_000_000_000),
        at: UnixMillis(1_700_000_000_001),
        kept,
    }
}

/// The table and key under which every sample row is written.
pub const TABLE: &str = "sample";
pub const KEY: &[u8] = &[1, 2, 3];
