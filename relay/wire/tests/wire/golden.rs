//! The bytes of every kind, pinned. A byte that changes here breaks peers or journals in the field.

use std::fs;
use std::path::PathBuf;

use cityrelay_core::ids::{Epoch, Height, Index, MessageId, UnixMillis};
use cityrelay_core::lane::Direction;
use cityrelay_core::message::Payload;
use cityrelay_core::record::{Frozen, IntentEnd, Purpose};
use cityrelay_core::signing::SigningRequest;
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::record::{decode_record, encode_record};
use cityrelay_wire::row::{self, Row, decode_row, encode_row};
use cityrelay_wire::signer::{
    self, decode_signing_answer, decode_signing_request, encode_signing_answer, encode_signing_request,
};

use crate::samples::{self, KEY, TABLE, word};

fn check(folder: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", folder, &format!("{name}.hex")].iter().collect();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if std::env::var_os("CITYRELAY_WRITE_GOLDEN").is_some() => {
            let lines: Vec<String> = bytes.chunks(32).map(hex::encode).collect();
            let text = lines.join("\n") + "\n";
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
            text
        }
        Err(error) => panic!(
            "{}: {error}. A new kind needs its golden file: CITYRELAY_WRITE_GOLDEN=1 cargo test -p cityrelay-wire \
             golden writes those that are missing and never changes one that is there",
            path.display()
        ),
    };
    let golden = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
    assert_eq!(
        hex::encode(bytes),
        hex::encode(&golden),
        "{folder}/{name}: the layout changed. A released layout stays as it is; vectors/README.md says how to add the \
         next version beside it"
    );
    golden
}

#[test]
fn every_frame_has_its_golden_bytes() {
    for (name, frame) in samples::frames() {
        let golden = check("frames", name, &encode_frame(&frame).unwrap());
        assert_eq!(decode_frame(&golden).unwrap(), frame, "{name}");
    }
}

#[test]
fn every_record_has_its_golden_bytes() {
    for (name, record) in samples::records() {
        let golden = check("records", name, &encode_record(&record).unwrap());
        assert_eq!(decode_record(&golden).unwrap(), record, "{name}");
    }
}

#[test]
fn every_question_to_a_signer_and_every_answer_has_its_golden_bytes() {
    for (name, request) in samples::signing_requests() {
        let golden = check("signer", name, &encode_signing_request(&request).unwrap());
        let (length, body) = golden.split_at(signer::LENGTH_BYTES);
        assert_eq!(signer::decode_signer_length(length.try_into().unwrap()), Ok(body.len()), "{name}");
        assert_eq!(decode_signing_request(body).unwrap(), request, "{name}");
    }
    for (name, answer) in samples::signing_answers() {
        let golden = check("signer", name, &encode_signing_answer(&answer).unwrap());
        let (length, body) = golden.split_at(signer::LENGTH_BYTES);
        assert_eq!(signer::decode_signer_length(length.try_into().unwrap()), Ok(body.len()), "{name}");
        assert_eq!(decode_signing_answer(body).unwrap(), answer, "{name}");
    }
}

#[test]
fn every_place_of_a_signer_has_its_golden_key() {
    for (name, request) in samples::signing_requests() {
        if let SigningRequest::Sign(what) = request {
            check("keys", &format!("signer-{name}"), &signer::place_key(what.place().0));
        }
    }
}

fn check_row<R: Row + PartialEq + std::fmt::Debug>(name: &str, row: &R) {
    let golden = check("rows", name, &encode_row(TABLE, KEY, row).unwrap());
    assert_eq!(&decode_row::<R>(TABLE, KEY, &golden).unwrap(), row, "{name}");
}

#[test]
fn every_row_has_its_golden_bytes() {
    let at = UnixMillis(1_700_000_000_005);
    let flow = samples::flow(Direction::Outbox);
    check_row("flow", &samples::flow_row(Some(samples::point(8, 0x34))));
    check_row("flow-unsigned", &samples::flow_row(None));
    check_row("span-ids", &samples::span_row(row::Kept::Ids(vec![word(0x43), word(0x44)])));
    let outcomes = samples::outcomes().into_iter().map(|outcome| row::KeptOutcome {
        message: outcome.message,
        status: outcome.status,
        result_hash: outcome.result_hash,
    });
    check_row("span-outcomes", &samples::span_row(row::Kept::Outcomes(outcomes.collect())));
    let messages =
        vec![samples::message(7, Payload::Bytes(b"hello".to_vec())), samples::message(8, Payload::Hash(word(0x53)))];
    let tail = vec![word(0x54)];
    check_row("body", &row::BodyRow { messages, tail, proof: Some(samples::opaque(&[1, 2, 3])) });
    check_row("body-pruned", &row::BodyRow { messages: vec![], tail: vec![], proof: None });
    check_row("evidence", &row::AttestedRow { evidence: samples::evidence(), at });
    check_row("accepted", &row::AcceptedRow { at });
    check_row("done", &row::DoneRow { at });
    check_row("signed", &row::SignedRow { head: word(0x34), epoch: Epoch(3) });
    check_row(
        "client",
        &row::ClientRow { state: samples::opaque(&[7]), height: Height(12), hash: word(0x81), headers: 9 },
    );
    check_row("header", &samples::header());
    check_row("intent", &samples::intent(Purpose::Operator, None));
    check_row(
        "closed-intent",
        &row::ClosedIntentRow {
            purpose: Purpose::Checkpoint { flow },
            replaces: Some(word(0x92)),
            at,
            end: IntentEnd::Dead,
        },
    );
    check_row("domain", &row::DomainRow { domain: cityrelay_core::ids::Domain(word(0xd1)) });
    check_row("ordinal", &row::OrdinalRow { flow });
    let frozen = Frozen { height: Height(12), ours: word(0x81), theirs: word(0x84) };
    check_row("frozen", &row::FrozenRow { frozen, at });
    check_row("decided", &row::DecidedRow { chosen: word(0x81), rejected: word(0x84) });
    check_row("paused", &row::PausedRow { at });
    check_row("signed-once", &row::SignedOnceRow { content: word(0x34) });
    let (_, audit) = samples::audits().swap_remove(0);
    check_row("audit", &audit);
    check_row(
        "set",
        &row::SetRow {
            fact: samples::set_attestation().fact,
            is_confirmed: true,
            is_signed: false,
            evidence: vec![samples::set_evidence()],
        },
    );
    check_row(
        "counters",
        &row::CountersRow {
            flows: 2,
            records: 99,
            signed: 7,
            audits: 1,
            clients: 3,
            intents: 4,
            frozen: 5,
            misbehaviour: 6,
            decided: 7,
            paused: 8,
            sets: 9,
        },
    );
    for (name, misbehaviour) in samples::misbehaviours() {
        check_row(name, &misbehaviour);
    }
}

#[test]
fn every_key_has_its_golden_bytes() {
    let flow = samples::flow(Direction::Inbox);
    let index = Index(0x0102_0304_0506_0708);
    let domain = cityrelay_core::ids::Domain(word(0xd1));
    check("keys", "flow", &row::flow_key(flow));
    check("keys", "position", &row::position_key(flow, index));
    check("keys", "evidence", &row::evidence_key(flow, index, Epoch(3)));
    check("keys", "header", &row::header_key(domain, Height(9)));
    check("keys", "intent", &row::intent_key(domain, word(0x91)));
    check("keys", "carry", &row::carry_key(flow, index, word(0x91)));
    check("keys", "id", &row::id_key(5, index, MessageId(word(0x61))));
    assert_eq!(row::read_header_key(&row::header_key(domain, Height(9))), Some((domain, Height(9))));
    assert_eq!(row::read_position_key(&row::position_key(flow, index)), Some((flow, index)));
    assert_eq!(row::read_position_key(&row::carry_key(flow, index, word(0x91))), Some((flow, index)));
    for index in [index, Index(0), Index(row::ID_BLOCK - 1), Index(row::ID_BLOCK), Index(u64::MAX)] {
        let key = row::id_key(5, index, MessageId(word(0x61)));
        assert_eq!(row::read_id_key(&key), Some((5, index)));
        assert!(key.starts_with(&row::id_prefix(5, index.0 / row::ID_BLOCK, MessageId(word(0x61)))));
    }
    assert_eq!(row::read_id_key(&[0xff; 20]), None, "a block beyond the last");
}
