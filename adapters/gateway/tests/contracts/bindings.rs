//! The bindings: what they refuse to encode and to decode.

use std::time::Duration;

use alloy_primitives::U256;
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Index, LaneId, MessageId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_gateway::call::decode_checkpoint;
use cityrelay_gateway::refusal::Remedy;
use cityrelay_gateway::{DecodeError, EncodeError, GatewayEvent, Refusal, encode, event, query};

use crate::abi::Gateway;
use crate::world::{Terms, World, account, members, owner};

fn word(seed: &str) -> Hash32 {
    keccak256(seed.as_bytes())
}

/// A checkpoint event as topics and data.
fn checkpoint_log() -> (Vec<Hash32>, Vec<u8>) {
    let event =
        Gateway::Checkpoint { lane: word("lane").0.into(), direction: 1, index: 5, head: word("head").0.into() };
    (event.encode_topics().iter().map(|topic| Hash32(topic.0.0)).collect(), event.encode_data())
}

#[test]
fn a_checkpoint_event_decodes_in_exactly_one_form() {
    let (topics, data) = checkpoint_log();
    let decoded = event::decode(&topics, &data).unwrap();
    let GatewayEvent::Checkpoint { flow, point } = decoded else { panic!() };
    assert_eq!(flow, Flow { lane: LaneId(word("lane")), direction: Direction::Inbox });
    assert_eq!((point.index, point.head), (Index(5), word("head")));

    let refused = |topics: &[Hash32], data: &[u8]| event::decode(topics, data).unwrap_err();
    let longer = [&data[..], &[0; 32]].concat();
    assert!(matches!(refused(&topics, &longer), DecodeError::NotCanonical { .. }));
    assert!(matches!(refused(&topics, &data[..64]), DecodeError::NotCanonical { .. }));
    assert!(matches!(refused(&topics, &[]), DecodeError::NotCanonical { .. }));
    let mut dirty = data.clone();
    dirty[0] = 1;
    assert!(matches!(refused(&topics, &dirty), DecodeError::NotCanonical { .. }));
    let mut third = data.clone();
    third[31] = 2;
    assert!(matches!(refused(&topics, &third), DecodeError::OutOfRange { field: "direction", .. }));
    let more_topics = [&topics[..], &[Hash32::ZERO]].concat();
    assert!(matches!(refused(&more_topics, &data), DecodeError::NotCanonical { .. }));
    assert!(matches!(refused(&topics[..1], &data), DecodeError::NotCanonical { .. }));
}

#[test]
fn foreign_events_are_named_as_such() {
    let topic = word("Transfer(address,address,uint256)");
    assert_eq!(event::decode(&[topic], &[]), Err(DecodeError::UnknownEvent { topic: Some(topic) }));
    assert_eq!(event::decode(&[], &[]), Err(DecodeError::UnknownEvent { topic: None }));
}

#[test]
fn dynamic_data_have_one_form_too() {
    let event = Gateway::MessageSent {
        lane: word("lane").0.into(),
        index: 1,
        sender: word("sender").0.into(),
        receiver: word("receiver").0.into(),
        deadlineMillis: 2,
        gasLimit: 3,
        payload: b"payload".to_vec().into(),
        head: word("head").0.into(),
    };
    let topics: Vec<_> = event.encode_topics().iter().map(|topic| Hash32(topic.0.0)).collect();
    let data = event.encode_data();
    event::decode(&topics, &data).unwrap();
    // Dirty padding behind the payload; another offset; a length beyond the data.
    let last = data.len() - 1;
    for (at, value) in [(last, 1), (159, 0xe0), (last - 62, 1), (last - 32, 0xff)] {
        let mut changed = data.clone();
        changed[at] = value;
        assert!(matches!(event::decode(&topics, &changed), Err(DecodeError::NotCanonical { .. })), "byte {at}");
    }
}

/// No two encodings decode to one event, and none makes the decoder panic.
#[test]
fn every_changed_byte_changes_the_event_or_is_refused() {
    let event = Gateway::MessageDelivered {
        lane: word("lane").0.into(),
        index: 1,
        id: word("id").0.into(),
        status: 2,
        result: b"a result of more than one word, so that there are two".to_vec().into(),
        head: word("head").0.into(),
    };
    let topics: Vec<_> = event.encode_topics().iter().map(|topic| Hash32(topic.0.0)).collect();
    let data = event.encode_data();
    let good = event::decode(&topics, &data).unwrap();
    for at in 0..data.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = data.clone();
            changed[at] ^= flip;
            assert_ne!(event::decode(&topics, &changed), Ok(good.clone()), "byte {at}");
        }
        assert!(event::decode(&topics, &data[..at]).is_err());
    }
    for at in 0..96 {
        let mut changed = topics.clone();
        changed[at / 32].0[at % 32] ^= 1;
        assert_ne!(event::decode(&changed, &data), Ok(good.clone()), "topic byte {at}");
    }
}

#[test]
fn the_calldata_of_a_checkpoint_has_one_form() {
    let flow = Flow { lane: LaneId(word("lane")), direction: Direction::Outbox };
    let data = encode(&GatewayCall::Checkpoint { gateway: account(1), flow }).unwrap().data;
    assert_eq!(data.len(), 68);
    assert_eq!(decode_checkpoint(&data), Ok(flow));
    let other = Gateway::openLaneCall { lane: [0; 32].into() }.abi_encode();
    for wrong in [&data[..67], &[&data[..], &[0; 32]].concat(), &other, &[], &data[4..]] {
        assert!(matches!(decode_checkpoint(wrong), Err(DecodeError::NotCanonical { .. })));
    }
    let mut dirty = data.clone();
    dirty[36] = 1;
    assert!(decode_checkpoint(&dirty).is_err());
    let mut third = data;
    third[67] = 2;
    assert!(matches!(decode_checkpoint(&third), Err(DecodeError::OutOfRange { field: "direction", .. })));
}

#[test]
fn answers_have_one_form() {
    assert_eq!(query::decode_head(&word("head").0), Ok(word("head")));
    for wrong in [&[0; 31][..], &[0; 33], &[0; 64], &[]] {
        assert!(matches!(query::decode_head(wrong), Err(DecodeError::NotCanonical { .. })));
    }
    assert_eq!(query::decode_index(&Hash32::from_u64(9).0), Ok(Index(9)));
    assert!(matches!(query::decode_index(&[0xff; 32]), Err(DecodeError::OutOfRange { got: U256::MAX, .. })));
    let no_set = (1_u64, 5_u32, Vec::<alloy_primitives::Address>::new()).abi_encode_params();
    assert!(matches!(query::decode_committee(&no_set), Err(DecodeError::OutOfRange { field: "threshold", .. })));
}

#[test]
fn batches_that_make_no_sense_are_not_encoded() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    let GatewayCall::Deliver { gateway, lane, messages, tail, evidence } = world.delivery(1, 2, 3) else { panic!() };
    let encoded = |messages: &[_], tail: &[MessageId]| {
        let (messages, tail, evidence) = (messages.to_vec(), tail.to_vec(), evidence.clone());
        encode(&GatewayCall::Deliver { gateway, lane, messages, tail, evidence })
    };
    assert!(encoded(&messages, &tail).is_ok());
    assert_eq!(encoded(&[], &tail), Err(EncodeError::EmptyBatch));
    let gap = [messages[0].clone(), world.message(3)];
    assert_eq!(encoded(&gap, &[]), Err(EncodeError::NotConsecutive { got: Index(3), expected: Index(2) }));
    assert_eq!(encoded(&messages, &[]), Err(EncodeError::EndsElsewhere { got: Index(2), expected: Index(3) }));
}

#[test]
fn an_outcome_stands_beside_its_own_message() {
    let mut world = World::new();
    world.send(b"one");
    world.send(b"two");
    world.deliver(1, 2);
    let GatewayCall::RetryCallback { gateway, lane, message, outcome } = world.retry(1) else { panic!() };
    let expected = message.id(lane);
    let other = world.outcomes[1];
    let wrong = GatewayCall::RetryCallback { gateway, lane, message, outcome: other };
    let error = EncodeError::OutcomeOfAnother { index: Index(1), got: other.message, expected };
    assert_eq!(encode(&wrong), Err(error));
    assert_eq!(outcome.message, expected);
}

#[test]
fn addresses_and_durations_must_fit() {
    let wide = Address(word("wide"));
    let accept = GatewayCall::AcceptOwnership { gateway: wide };
    assert_eq!(encode(&accept), Err(EncodeError::NotAnAddress { field: "contract", got: wide }));
    let call = GatewayCall::DeployGateway {
        domain: Domain(word("here")),
        owner: owner(),
        announce_delay: Duration::MAX,
        close_delay: Duration::ZERO,
        clock_is_millis: false,
    };
    assert_eq!(encode(&call), Err(EncodeError::TooLong { field: "announce delay", got: Duration::MAX }));
    let lane = Some(LaneId(Hash32::ZERO));
    let pause = GatewayCall::SetPaused { gateway: account(1), lane, is_paused: true };
    assert_eq!(encode(&pause), Err(EncodeError::ZeroLane));
    let member = AttesterId([1; 20]);
    let twice = GatewayCall::DeployCommittee { domain: Domain(word("here")), members: vec![member; 2], threshold: 2 };
    assert_eq!(encode(&twice), Err(EncodeError::DuplicateMember { member }));
}

#[test]
fn members_are_put_in_order() {
    let keys: Vec<_> = (1..=4).map(crate::world::attester_key).collect();
    let (mut forth, mut back) = (members(&keys), members(&keys));
    forth.sort();
    back.sort();
    back.reverse();
    let deploy = |members: Vec<AttesterId>| {
        encode(&GatewayCall::DeployCommittee { domain: Domain(word("here")), members, threshold: 3 }).unwrap()
    };
    assert_eq!(deploy(forth), deploy(back));
}

#[test]
fn every_refusal_says_what_helps() {
    let decode = |data: Vec<u8>| Refusal::decode(&data).unwrap();
    let error =
        |signature: &str, words: usize| [&keccak256(signature.as_bytes()).0[..4], &vec![0; words * 32]].concat();
    assert_eq!(decode(error("NotEnoughGas(uint64,uint64)", 2)).remedy, Remedy::HalveBatch);
    assert_eq!(decode(error("Gap(uint64,uint64)", 2)).remedy, Remedy::ReadAgain);
    assert_eq!(decode(error("EpochUnknown(uint64,uint64)", 2)).remedy, Remedy::NewEpoch);
    assert_eq!(decode(error("Paused(bytes32)", 1)).remedy, Remedy::Wait);
    assert_eq!(decode(error("CallbackFailed(uint64)", 1)).remedy, Remedy::Application);
    assert_eq!(decode(error("OnlyOwner(address)", 1)).remedy, Remedy::Owner);
    assert_eq!(decode(error("EvidenceMalformed()", 0)).remedy, Remedy::Never);
    let gap = decode(error("Gap(uint64,uint64)", 2));
    assert_eq!((gap.name.as_str(), gap.to_string().as_str()), ("Gap", "Gap { firstIndex: 0, nextIndex: 0 }"));
    assert_eq!(Refusal::decode(b""), None);
    assert_eq!(Refusal::decode(&error("Error(string)", 2)), None);
    assert_eq!(Refusal::decode(&error("Gap(uint64,uint64)", 1)), None);
}

#[test]
fn hints_carry_the_point_that_they_tell_of() {
    let mut world = World::new();
    world.send(b"");
    let delivery = world.deliver(1, 1);
    let lane = world.id;
    assert_eq!(delivery.events[0].point(), Some((Flow { lane, direction: Direction::Inbox }, world.inbox[1])));
    let settlement = world.settle(1, 1);
    assert_eq!(settlement.events[0].point(), None);
}

#[test]
fn a_lane_id_on_chain_is_that_of_core() {
    // `World::with` checks the announced id against core's; here the whole identity goes the other way.
    let world = World::with(&Terms { is_open: false, ..Terms::default() });
    let call = world.announcement(world.source.gateway, &Terms::default().limits);
    let data = encode(&call).unwrap().data;
    let decoded = Gateway::announceLaneCall::abi_decode_validate(&data).unwrap();
    assert_eq!(decoded.identity.channelHash.0, keccak256(b"medical").0);
    assert_eq!(decoded.limits.maxLifetimeMillis, 3_600_000);
    assert!(decoded.senders.is_empty() && decoded.receivers.is_empty());
}

#[test]
fn signatures_travel_as_they_are() {
    let signatures = [(AttesterId([2; 20]), SignatureBytes([2; 65])), (AttesterId([1; 20]), SignatureBytes([1; 65]))];
    let call = GatewayCall::Rotate {
        verifier: account(1),
        members: vec![AttesterId([2; 20]), AttesterId([1; 20])],
        threshold: 2,
        old: signatures.into_iter().collect(),
        new: signatures.into_iter().collect(),
    };
    let data = encode(&call).unwrap().data;
    let decoded = crate::abi::Committee::rotateCall::abi_decode_validate(&data).unwrap();
    assert_eq!(decoded.oldSignatures.to_vec(), [[1; 65], [2; 65]].concat());
    assert_eq!(decoded.newMembers, [[1; 20], [2; 20]].map(alloy_primitives::Address::from));
}
