//! Any value comes back as it was, and any bytes are refused or are the one encoding of what they decode to.

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::Frame;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::Header;
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_core::record::{ExtensionRecord, IntentRecord, Misbehaviour, Purpose, Record};
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::record::{decode_record, encode_record};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::samples;

fn word() -> impl Strategy<Value = Hash32> {
    any::<[u8; 32]>().prop_map(Hash32)
}

fn flow() -> impl Strategy<Value = Flow> {
    (word(), any::<bool>()).prop_map(|(lane, inbox)| Flow {
        lane: LaneId(lane),
        direction: if inbox { Direction::Inbox } else { Direction::Outbox },
    })
}

fn point() -> impl Strategy<Value = ChainPoint> {
    (any::<u64>(), word()).prop_map(|(index, head)| ChainPoint { index: Index(index), head })
}

fn opaque() -> impl Strategy<Value = Opaque> {
    ("[a-zß-]{0,16}", any::<u16>(), vec(any::<u8>(), 0..200)).prop_map(|(adapter, version, bytes)| Opaque {
        adapter,
        version,
        bytes,
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![vec(any::<u8>(), 0..300).prop_map(Payload::Bytes), word().prop_map(Payload::Hash)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let message = (any::<u64>(), word(), word(), any::<u64>(), any::<u64>(), payload()).prop_map(
        |(index, sender, receiver, deadline, gas_limit, payload)| {
            Entry::Message(Message {
                index: Index(index),
                sender: Address(sender),
                receiver: Address(receiver),
                deadline: UnixMillis(deadline),
                gas_limit,
                payload,
            })
        },
    );
    let outcome = (any::<u64>(), word(), 1..=4_u8, word()).prop_map(|(index, message, status, result_hash)| {
        Entry::Outcome(Outcome {
            index: Index(index),
            message: MessageId(message),
            status: Status::from_code(status).unwrap(),
            result_hash,
        })
    });
    prop_oneof![message, outcome]
}

fn claim() -> impl Strategy<Value = Claim> {
    (flow(), any::<u64>(), vec(entry(), 0..5), vec(word(), 0..5), any::<u64>(), opaque()).prop_map(
        |(flow, first, entries, tail, height, proof)| Claim {
            flow,
            first: Index(first),
            entries,
            tail,
            height: Height(height),
            proof,
        },
    )
}

fn signature() -> impl Strategy<Value = SignatureBytes> {
    (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u8>()).prop_map(|(r, s, v)| {
        let mut bytes = [v; 65];
        bytes[..32].copy_from_slice(&r);
        bytes[32..64].copy_from_slice(&s);
        SignatureBytes(bytes)
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (point(), any::<u64>(), btree_map(any::<[u8; 20]>().prop_map(AttesterId), signature(), 0..4))
        .prop_map(|(point, epoch, signatures)| Evidence { point, epoch: Epoch(epoch), signatures })
}

fn header() -> impl Strategy<Value = Header> {
    (any::<u64>(), word(), word(), any::<u64>(), vec(any::<u8>(), 0..40)).prop_map(
        |(height, hash, parent, timestamp, detail)| Header {
            height: Height(height),
            hash,
            parent,
            timestamp: UnixMillis(timestamp),
            detail,
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (word(), opaque()).prop_map(|(domain, update)| Frame::Update { domain: Domain(domain), update }),
        (claim(), vec(evidence(), 0..4)).prop_map(|(claim, evidence)| Frame::Extension { claim, evidence }),
        (claim(), any::<u64>(), any::<u64>()).prop_map(|(claim, index, epoch)| Frame::AttestRequest {
            claim,
            index: Index(index),
            epoch: Epoch(epoch)
        }),
        (flow(), point(), any::<u64>(), signature()).prop_map(|(flow, point, epoch, signature)| Frame::Attestation {
            flow,
            point,
            epoch: Epoch(epoch),
            signature
        }),
        proptest::sample::select(samples::frames()).prop_map(|(_, frame)| frame),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let extension =
        (claim(), point(), word(), any::<u64>(), any::<u64>()).prop_map(|(claim, base, block_hash, block_time, at)| {
            Record::Extension(ExtensionRecord {
                flow: claim.flow,
                base,
                entries: claim.entries,
                proved_at: claim.height,
                block_hash,
                block_time: UnixMillis(block_time),
                tail: claim.tail,
                proof: claim.proof,
                at: UnixMillis(at),
            })
        });
    let intent = (word(), word(), opaque(), flow(), any::<u64>(), proptest::option::of(word())).prop_map(
        |(domain, hash, bytes, flow, number, replaces)| {
            Record::Intent(IntentRecord {
                domain: Domain(domain),
                hash,
                bytes,
                purpose: Purpose::Carry { flow, last: Index(number) },
                replaces,
                at: UnixMillis(number),
            })
        },
    );
    let equivocation = (word(), header(), opaque(), any::<u64>()).prop_map(|(domain, ours, theirs, at)| {
        Record::Misbehaviour(Misbehaviour::Equivocation {
            domain: Domain(domain),
            ours,
            theirs,
            theirs_hash: domain,
            served_by: "node".to_owned(),
            at: UnixMillis(at),
        })
    });
    prop_oneof![
        extension,
        intent,
        equivocation,
        (word(), opaque(), any::<u64>(), word(), vec(header(), 0..5)).prop_map(
            |(domain, state, height, hash, headers)| Record::Client {
                domain: Domain(domain),
                state,
                height: Height(height),
                hash,
                headers
            }
        ),
        (flow(), evidence(), any::<u64>()).prop_map(|(flow, evidence, at)| {
            let at = UnixMillis(at);
            Record::Attested { flow, evidence, at }
        }),
        proptest::sample::select(samples::records()).prop_map(|(_, record)| record),
    ]
}

proptest! {
    #[test]
    fn a_frame_comes_back_as_it_was(frame in frame()) {
        prop_assert_eq!(decode_frame(&encode_frame(&frame).unwrap()).unwrap(), frame);
    }

    #[test]
    fn a_record_comes_back_as_it_was(record in record()) {
        prop_assert_eq!(decode_record(&encode_record(&record).unwrap()).unwrap(), record);
    }

    #[test]
    fn bytes_of_a_frame_are_refused_or_canonical(kind in 0..12_u8, fields in vec(any::<u8>(), 0..600)) {
        let bytes = [vec![1, kind], fields].concat();
        if let Ok(frame) = decode_frame(&bytes) {
            prop_assert_eq!(encode_frame(&frame).unwrap(), bytes);
        }
    }

    #[test]
    fn a_damaged_record_is_refused_or_canonical(record in record(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode_record(&record).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = decode_record(&bytes) {
            prop_assert_eq!(encode_record(&other).unwrap(), bytes);
        }
    }
}
