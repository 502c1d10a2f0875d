//! Each limit: the largest that fits is carried, one more is refused on the way out and on the way in.

use cityrelay_core::chain::Entry;
use cityrelay_core::claim::{Claim, MAX_CLAIM_ENTRIES, MAX_CLAIM_TAIL};
use cityrelay_core::frame::{ClientAt, Frame, Hello, MAX_HELLO_CLIENTS, MAX_HELLO_LANES, MAX_SIGNATURES};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::ids::{AttesterId, Domain, Height};
use cityrelay_core::lane::Direction;
use cityrelay_core::light_client::Header;
use cityrelay_core::message::Payload;
use cityrelay_core::opaque::{MAX_ADAPTER_NAME_BYTES, MAX_OPAQUE_BYTES, Opaque};
use cityrelay_core::order::{Action, MAX_OPERATOR_NAME_BYTES, MAX_OTHER_ACTION_BYTES, MAX_REASON_BYTES, Order};
use cityrelay_core::record::{MAX_WITNESS_BYTES, Misbehaviour, Record};
use cityrelay_core::set_attestation::SetEvidence;
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::limits::{
    MAX_EVIDENCE, MAX_FRAME_BYTES, MAX_HEADER_DETAIL_BYTES, MAX_PAYLOAD_BYTES, MAX_RECORD_HEADERS, MAX_SET_EVIDENCE,
};
use cityrelay_wire::record::{decode_record, encode_record};
use cityrelay_wire::{DecodeError, EncodeError};

use crate::samples::{self, word};

/// `make(limit)` must survive, `make(limit + 1)` be refused.
fn frame_limit(what: &str, limit: usize, make: impl Fn(usize) -> Frame) {
    let fits = make(limit);
    assert_eq!(decode_frame(&encode_frame(&fits).unwrap()).unwrap(), fits, "{what}");
    assert_eq!(
        encode_frame(&make(limit + 1)).map_err(|error| error.to_string()),
        Err(format!("expected at most {limit} {what}, got {}", limit + 1))
    );
}

fn record_limit(what: &str, limit: usize, make: impl Fn(usize) -> Record) {
    let fits = make(limit);
    assert_eq!(decode_record(&encode_record(&fits).unwrap()).unwrap(), fits, "{what}");
    assert_eq!(
        encode_record(&make(limit + 1)).map_err(|error| error.to_string()),
        Err(format!("expected at most {limit} {what}, got {}", limit + 1))
    );
}

fn with_claim(claim: Claim) -> Frame {
    Frame::Extension { claim, evidence: vec![] }
}

#[test]
fn entries_of_a_claim() {
    let entry = Entry::Message(samples::message(1, Payload::Hash(word(1))));
    frame_limit("entries", MAX_CLAIM_ENTRIES, |count| {
        with_claim(Claim { entries: vec![entry.clone(); count], ..samples::outbox_claim() })
    });
}

#[test]
fn tail_of_a_claim() {
    frame_limit("links in a tail", MAX_CLAIM_TAIL, |count| {
        with_claim(Claim { tail: vec![word(1); count], ..samples::outbox_claim() })
    });
}

#[test]
fn payload_of_a_message() {
    frame_limit("payload bytes", MAX_PAYLOAD_BYTES, |count| {
        let entries = vec![Entry::Message(samples::message(1, Payload::Bytes(vec![7; count])))];
        with_claim(Claim { entries, ..samples::outbox_claim() })
    });
}

#[test]
fn opaque_bytes() {
    frame_limit("opaque bytes", MAX_OPAQUE_BYTES, |count| Frame::Update {
        domain: Domain(word(1)),
        update: Opaque { bytes: vec![7; count], ..samples::opaque(&[]) },
    });
}

#[test]
fn name_of_an_adapter() {
    frame_limit("bytes of an adapter name", MAX_ADAPTER_NAME_BYTES, |count| Frame::Update {
        domain: Domain(word(1)),
        update: Opaque { adapter: "a".repeat(count), ..samples::opaque(&[]) },
    });
}

#[test]
fn signatures_of_a_head() {
    frame_limit("signatures", MAX_SIGNATURES, |count| {
        let signature = samples::evidence().signatures.into_values().next().unwrap();
        let signatures = (0..count).map(|n| (AttesterId([u8::try_from(n).unwrap(); 20]), signature)).collect();
        let evidence = vec![Evidence { signatures, ..samples::evidence() }];
        Frame::Extension { claim: samples::outbox_claim(), evidence }
    });
}

#[test]
fn signatures_of_a_set() {
    frame_limit("signatures", MAX_SIGNATURES, |count| {
        let signature = samples::evidence().signatures.into_values().next().unwrap();
        let signatures = (0..count).map(|n| (AttesterId([u8::try_from(n).unwrap(); 20]), signature)).collect();
        Frame::SetAttested(SetEvidence { signatures, ..samples::set_evidence() })
    });
    record_limit("verifiers' attestations of a set", MAX_SET_EVIDENCE, |count| Record::SetStated {
        fact: samples::set_attestation().fact,
        evidence: vec![samples::set_evidence(); count],
    });
}

#[test]
fn evidence_of_an_extension() {
    frame_limit("attested heads", MAX_EVIDENCE, |count| Frame::Extension {
        claim: samples::outbox_claim(),
        evidence: vec![samples::evidence(); count],
    });
}

fn hello(clients: usize, flows: usize) -> Frame {
    let at = ClientAt { domain: Domain(word(1)), height: Height(1), hash: word(2) };
    Frame::Hello(Hello {
        oldest_version: 1,
        newest_version: 1,
        role: cityrelay_core::frame::Role::Relay,
        clients: vec![at; clients],
        flows: vec![(samples::flow(Direction::Outbox), samples::point(1, 1)); flows],
    })
}

#[test]
fn clients_and_flows_of_a_hello() {
    frame_limit("clients", MAX_HELLO_CLIENTS, |count| hello(count, 0));
    frame_limit("flows", MAX_HELLO_LANES, |count| hello(0, count));
}

#[test]
fn attesters_of_a_committee() {
    let (_, committee) = samples::frames().into_iter().find(|(name, _)| *name == "committee").unwrap();
    let Frame::Committee(notice) = committee else { panic!("not a committee") };
    frame_limit("attesters", cityrelay_core::attestation::MAX_ATTESTERS, |count| {
        let mut notice = notice.clone();
        notice.members = vec![AttesterId([1; 20]); count];
        Frame::Committee(notice)
    });
}

fn client(headers: Vec<Header>) -> Record {
    Record::Client { domain: Domain(word(1)), state: samples::opaque(&[]), height: Height(1), hash: word(1), headers }
}

#[test]
fn headers_of_a_client() {
    let header = Header { detail: vec![], ..samples::header() };
    record_limit("headers", MAX_RECORD_HEADERS, |count| client(vec![header.clone(); count]));
}

#[test]
fn detail_of_a_header() {
    record_limit("bytes of header detail", MAX_HEADER_DETAIL_BYTES, |count| {
        client(vec![Header { detail: vec![1; count], ..samples::header() }])
    });
}

fn audit(change: impl FnOnce(&mut Order)) -> Record {
    let (_, mut audit) = samples::audits().swap_remove(0);
    change(&mut audit.order);
    Record::Audit(audit)
}

#[test]
fn texts_of_an_order() {
    record_limit("bytes of an operator's name", MAX_OPERATOR_NAME_BYTES, |count| {
        audit(|order| order.who.name = "w".repeat(count))
    });
    record_limit("bytes of a reason", MAX_REASON_BYTES, |count| audit(|order| order.reason = "r".repeat(count)));
    record_limit("bytes of an action", MAX_OTHER_ACTION_BYTES, |count| {
        audit(|order| order.action = Action::Other { what: "o".repeat(count) })
    });
}

#[test]
fn name_of_a_witness() {
    record_limit("bytes of a witness' name", MAX_WITNESS_BYTES, |count| {
        Record::Misbehaviour(Misbehaviour::Contradiction {
            domain: Domain(word(1)),
            ours: samples::header(),
            theirs: word(2),
            node: "n".repeat(count),
            at: cityrelay_core::ids::UnixMillis(1),
        })
    });
}

#[test]
fn a_frame_over_the_limit_is_not_written() {
    let entry = Entry::Message(samples::message(1, Payload::Bytes(vec![7; MAX_PAYLOAD_BYTES])));
    let frame = with_claim(Claim { entries: vec![entry; 32], ..samples::outbox_claim() });
    let EncodeError::TooLong { what, expected, got } = encode_frame(&frame).unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((what, expected), ("frame bytes", MAX_FRAME_BYTES));
    assert!(got > MAX_FRAME_BYTES);
}

#[test]
fn a_frame_over_the_limit_is_not_read() {
    let bytes = vec![1; MAX_FRAME_BYTES + 1];
    assert_eq!(
        decode_frame(&bytes),
        Err(DecodeError::TooLong { what: "frame bytes", expected: MAX_FRAME_BYTES, got: MAX_FRAME_BYTES + 1 })
    );
}

#[test]
fn a_count_that_only_promises_is_refused_by_its_limit() {
    // An update: version, kind, domain, then the count of the adapter's name.
    let (_, update) = samples::frames().into_iter().find(|(name, _)| *name == "update").unwrap();
    let mut bytes = encode_frame(&update).unwrap();
    bytes[34..38].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        decode_frame(&bytes),
        Err(DecodeError::TooLong {
            what: "bytes of an adapter name",
            expected: MAX_ADAPTER_NAME_BYTES,
            got: usize::try_from(u32::MAX).unwrap(),
        })
    );
}
