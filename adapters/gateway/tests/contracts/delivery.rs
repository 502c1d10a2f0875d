//! Delivery: exactly once, in order, under evidence only, and no way to turn a message into *failed*.

use std::time::Duration;

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::gateway_call::{Evidence, GatewayCall};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, LaneIdentity};
use cityrelay_core::message::Message;
use cityrelay_core::outcome::Status;
use cityrelay_gateway::call::encode_evidence;
use cityrelay_gateway::{EncodedCall, GatewayEvent, Refusal, encode};

use crate::abi::{self, Gateway};
use crate::chain::{GAS, Receipt};
use crate::probes::{self, Probe};
use crate::world::{Terms, World, account, delivered, relay, statuses, user, with_hash, with_payload};

/// The pieces of a delivery, so that a test can break one.
struct Pieces {
    lane: LaneId,
    messages: Vec<Message>,
    tail: Vec<MessageId>,
    evidence: Evidence,
}

fn broken(world: &mut World, last: usize, attested: usize, change: impl FnOnce(&mut Pieces)) -> Receipt {
    let GatewayCall::Deliver { gateway, lane, messages, tail, evidence } = world.delivery(1, last, attested) else {
        panic!();
    };
    let mut pieces = Pieces { lane, messages, tail, evidence };
    change(&mut pieces);
    let Pieces { lane, messages, tail, evidence } = pieces;
    world.destination.submit(relay(), &GatewayCall::Deliver { gateway, lane, messages, tail, evidence })
}

fn probe<C: SolCall>(world: &mut World, call: &C) -> C::Return {
    let answer = world.destination.chain.view(world.receiver, call.abi_encode());
    C::abi_decode_returns_validate(&answer).unwrap()
}

fn calls(world: &mut World) -> u64 {
    probe(world, &Probe::callsCall {}).try_into().unwrap()
}

fn payload(mode: u8, rest: &[u8]) -> Vec<u8> {
    [&[mode], rest].concat()
}

/// The four bytes that stand for a refusal without a call.
fn selector(name: &str) -> Vec<u8> {
    keccak256(format!("{name}()").as_bytes()).0[..4].to_vec()
}

#[test]
fn a_batch_is_executed_in_order_and_gives_one_outcome_each() {
    let mut world = World::new();
    for number in 0..3_u8 {
        world.send(&payload(probes::TAKE, &[number]));
    }
    let receipt = world.deliver(1, 3);
    let executed = keccak256(b"cityrelay.v1.received").0.to_vec();
    let expected: Vec<_> = (1..=3).map(|index| (index, Status::Executed, executed.clone())).collect();
    assert_eq!(delivered(&receipt), expected);
    assert_eq!(calls(&mut world), 3);
    let status = world.destination.status(world.id);
    assert_eq!((status.own, status.peer), (world.inbox[3], world.outbox[3]));
}

#[test]
fn a_receiver_is_called_with_what_was_sent() {
    let mut world = World::new();
    world.send(&payload(probes::TAKE, b"hello"));
    world.deliver(1, 1);
    let gateway = world.destination.gateway;
    assert_eq!(probe(&mut world, &Probe::callerCall {}).0.0, gateway.to_20().unwrap());
    assert_eq!(probe(&mut world, &Probe::indexCall {}), 1);
    assert_eq!(probe(&mut world, &Probe::senderCall {}).0, user().0.0);
    assert_eq!(probe(&mut world, &Probe::payloadCall {}), Bytes::from(payload(probes::TAKE, b"hello")));
}

#[test]
fn a_batch_can_be_cut_under_the_same_evidence() {
    let mut world = World::new();
    for _ in 0..5 {
        world.send(b"");
    }
    for (first, last) in [(1, 2), (3, 3), (4, 5)] {
        let call = world.delivery(first, last, 5);
        let receipt = world.destination.submit(relay(), &call).ok();
        world.note_delivered(&receipt);
        assert_eq!(world.destination.status(world.id).own, world.inbox[last]);
    }
    assert_eq!(calls(&mut world), 5);
}

#[test]
fn what_was_accepted_is_skipped() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    world.deliver(1, 2);
    let overlapping = world.deliver(1, 3);
    assert_eq!(delivered(&overlapping).iter().map(|it| it.0).collect::<Vec<_>>(), [3]);
    let again = world.delivery(1, 3, 3);
    let again = world.destination.submit(relay(), &again).ok();
    assert!(again.events.is_empty());
    assert!(again.gas_used < 100_000, "a repeated delivery costs {}", again.gas_used);
    assert_eq!(calls(&mut world), 3);
}

#[test]
fn a_gap_is_refused() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    let later = world.delivery(2, 3, 3);
    assert_eq!(world.destination.submit(relay(), &later).refused(), "Gap");
    let at_zero = raw(&mut world, |call| call.firstIndex = 0);
    assert_eq!(at_zero.refused(), "Gap");
}

/// A delivery of message 1 as raw calldata, for what the bindings would not encode.
fn raw(world: &mut World, change: impl FnOnce(&mut Gateway::deliverCall)) -> Receipt {
    let call = world.delivery(1, 1, 1);
    let mut call = Gateway::deliverCall::abi_decode_validate(&encode(&call).unwrap().data).unwrap();
    change(&mut call);
    world.destination.chain.call(relay(), world.destination.gateway, call.abi_encode())
}

#[test]
fn an_empty_batch_is_refused() {
    let mut world = World::new();
    world.send(b"");
    assert_eq!(raw(&mut world, |call| call.entries.clear()).refused(), "BatchEmpty");
}

#[test]
fn an_index_that_overflows_is_refused() {
    let mut world = World::new();
    world.send(b"");
    assert_eq!(raw(&mut world, |call| call.firstIndex = u64::MAX).refused(), "Gap");
}

#[test]
fn every_field_of_a_message_is_bound_by_the_head() {
    type Change = fn(&mut Message);
    let changes: [Change; 6] = [
        |message| message.sender = account(50),
        |message| message.receiver = account(50),
        |message| message.deadline.0 += 1,
        |message| message.gas_limit -= 1,
        |message| *message = with_payload(message, b"forged"),
        |message| *message = with_payload(message, b""),
    ];
    let mut world = World::new();
    world.send(&payload(probes::TAKE, b"true"));
    for change in changes {
        let receipt = broken(&mut world, 1, 1, |pieces| change(&mut pieces.messages[0]));
        assert_eq!(receipt.refused(), "HeadMismatch");
    }
    broken(&mut world, 1, 1, |_| ()).ok();
}

#[test]
fn messages_cannot_be_left_out_reordered_or_added() {
    let mut world = World::new();
    for number in 0..3_u8 {
        world.send(&[probes::TAKE, number]);
    }
    let swapped = broken(&mut world, 3, 3, |pieces| {
        pieces.messages.swap(0, 1);
        for (at, message) in pieces.messages.iter_mut().enumerate() {
            message.index = Index(at as u64 + 1);
        }
    });
    assert_eq!(swapped.refused(), "HeadMismatch");
    let repeated = raw(&mut world, |call| {
        call.entries.push(call.entries[0].clone());
    });
    assert_eq!(repeated.refused(), "HeadMismatch");
    let left_out = broken(&mut world, 3, 3, |pieces| {
        pieces.messages.remove(1);
        pieces.messages[1].index = Index(2);
        pieces.evidence.point.index = Index(2);
    });
    assert_eq!(left_out.refused(), "HeadMismatch");
}

#[test]
fn the_tail_is_bound_by_the_head() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    let changed = broken(&mut world, 1, 3, |pieces| pieces.tail[1] = MessageId(keccak256(b"other")));
    assert_eq!(changed.refused(), "HeadMismatch");
    broken(&mut world, 1, 3, |_| ()).ok();
}

#[test]
fn a_head_that_differs_is_refused() {
    let mut world = World::new();
    world.send(b"");
    let receipt = broken(&mut world, 1, 1, |pieces| pieces.evidence.point.head = keccak256(b"other"));
    assert_eq!(receipt.refused(), "HeadMismatch");
}

#[test]
fn a_head_nobody_vouches_for_is_refused() {
    let mut world = World::new();
    world.send(b"");
    let none = broken(&mut world, 1, 1, |pieces| pieces.evidence.signatures.clear());
    assert_eq!(none.refused(), "TooFewSignatures");
    let empty = raw(&mut world, |call| call.evidence = Bytes::new());
    assert_eq!(empty.refused(), "EvidenceMalformed");
}

/// The verifier's answer counts, not that it did not revert.
#[test]
fn a_verifier_that_answers_something_else_does_not_vouch() {
    let other = probes::fixed_verifier(keccak256(b"something else"), true);
    let mut world = World::with(&Terms { destination_verifier: Some(other), ..Terms::default() });
    world.send(b"");
    let delivery = world.delivery(1, 1, 1);
    assert_eq!(world.destination.submit(relay(), &delivery).refused(), "NotVouched");
}

#[test]
fn delivery_is_for_the_destination_of_a_known_lane() {
    let mut world = World::new();
    world.send(b"");
    let other = broken(&mut world, 1, 1, |pieces| pieces.lane = LaneId(keccak256(b"other")));
    assert_eq!(other.refused(), "LaneIsNot");
    let data = encode(&world.delivery(1, 1, 1)).unwrap().data;
    assert_eq!(world.source.chain.call(relay(), world.source.gateway, data).refused(), "LaneIsNot");
}

#[test]
fn what_a_receiver_may_answer_and_what_becomes_of_it() {
    let rest: Vec<u8> = (0..=255).cycle().take(300).collect();
    let other_word = keccak256(b"cityrelay.v1.received").0.map(|byte| !byte).to_vec();
    let longer = [&keccak256(b"cityrelay.v1.received").0[..], &[0; 32]].concat();
    let cases: [(u8, &[u8], Vec<u8>); 8] = [
        (probes::REVERT_EMPTY, b"", vec![]),
        (probes::REVERT_WITH_REST, b"reason", b"reason".to_vec()),
        // The copy of return data is bounded.
        (probes::REVERT_WITH_REST, &rest, rest[..256].to_vec()),
        (probes::RETURN_OTHER_WORD, b"", other_word),
        (probes::RETURN_LONGER, b"", longer),
        (probes::RETURN_NOTHING, b"", vec![]),
        (probes::BURN_ALL_GAS, b"", vec![]),
        (probes::RETURN_HUGE, b"", vec![0; 256]),
    ];
    for (mode, rest, result) in cases {
        let mut world = World::new();
        world.send(&payload(mode, rest));
        world.send(&payload(probes::TAKE, b""));
        let receipt = world.deliver(1, 2);
        assert_eq!(delivered(&receipt)[0], (1, Status::Failed, result), "mode {mode}");
        // The lane goes on, and what the failed call did is undone.
        assert_eq!(statuses(&receipt)[1], Status::Executed, "mode {mode}");
        assert_eq!(calls(&mut world), 1, "mode {mode}");
    }
}

/// A receiver may revert with what looks like the gateway's own marker for too little gas.
#[test]
fn a_receiver_cannot_pretend_that_gas_was_short() {
    for rest in [&[0][..], &[1], &[]] {
        let mut world = World::new();
        world.send(&payload(probes::REVERT_WITH_REST, rest));
        assert_eq!(delivered(&world.deliver(1, 1)), [(1, Status::Failed, rest.to_vec())]);
    }
}

#[test]
fn a_deadline_is_kept_to_the_millisecond() {
    for (late_by, status) in [(0, Status::Executed), (1, Status::Expired)] {
        let mut world = World::new();
        let message = world.send(b"");
        world.destination.chain.now_millis = message.deadline.0 + late_by;
        let receipt = world.deliver(1, 1);
        assert_eq!(statuses(&receipt), [status]);
        assert_eq!(calls(&mut world), 1 - late_by);
    }
}

#[test]
fn an_expired_message_has_an_empty_result() {
    let mut world = World::new();
    world.send(b"x");
    world.pass(Duration::from_secs(3600));
    assert_eq!(delivered(&world.deliver(1, 1)), [(1, Status::Expired, vec![])]);
}

#[test]
fn an_expired_message_needs_only_its_payload_hash() {
    let mut world = World::new();
    world.send(&[1; 3000]);
    world.send(b"second");
    let hashed = |world: &mut World, change: fn(&mut Message)| {
        broken(world, 1, 2, |pieces| {
            pieces.messages[0] = with_hash(&pieces.messages[0]);
            change(&mut pieces.messages[0]);
        })
    };
    assert_eq!(hashed(&mut world, |_| ()).refused(), "NotExpired");
    world.pass(Duration::from_secs(3600));
    let forged: fn(&mut Message) = |message| *message = with_hash(&with_payload(message, b"forged"));
    assert_eq!(hashed(&mut world, forged).refused(), "HeadMismatch");
    assert_eq!(statuses(&hashed(&mut world, |_| ()).ok()), [Status::Expired]);
}

#[test]
fn a_payload_hash_has_32_bytes() {
    let mut world = World::new();
    world.send(b"x");
    world.pass(Duration::from_secs(3600));
    let receipt = raw(&mut world, |call| {
        call.entries[0].payloadHashed = true;
        call.entries[0].payload = Bytes::from_static(&[0; 31]);
    });
    assert_eq!(receipt.refused(), "PayloadHashMalformed");
}

fn sent_to(receiver: impl FnOnce(&World) -> Address) -> Vec<(u64, Status, Vec<u8>)> {
    let mut world = World::new();
    let receiver = receiver(&world);
    let GatewayCall::Send { gateway, lane, deadline, gas_limit, payload, .. } = world.sending(b"") else { panic!() };
    let call = GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload };
    world.send_call(user(), &call);
    delivered(&world.deliver(1, 1))
}

#[test]
fn who_must_not_be_called_is_not_called() {
    let refused = [(1, Status::Failed, selector("ReceiverRefused"))];
    assert_eq!(sent_to(|world| world.destination.gateway), refused);
    assert_eq!(sent_to(|world| world.destination.committee), refused);
    let number = |value: u64| Address(Hash32::from_u64(value));
    for system in [1, 9, 0x1000, 0x1003, 0x10001, 0xffff_ffff] {
        assert_eq!(sent_to(|_| number(system)), refused, "{system:#x}");
    }
    let no_address = |world: &World| {
        let mut address = world.receiver;
        address.0.0[11] = 1;
        address
    };
    assert_eq!(sent_to(no_address), refused);
    assert_eq!(sent_to(|_| number(0x1_0000_0000)), [(1, Status::Failed, selector("ReceiverHasNoCode"))]);
    assert_eq!(sent_to(|_| account(60)), [(1, Status::Failed, selector("ReceiverHasNoCode"))]);
}

/// The results of messages that were not called are errors that people can read.
#[test]
fn refusals_without_a_call_have_names() {
    for name in ["ReceiverRefused", "ReceiverNotListed", "ReceiverHasNoCode", "AboveLimits"] {
        assert_eq!(Refusal::decode(&selector(name)).unwrap().name, name);
    }
}

#[test]
fn a_receiver_that_is_not_on_the_list_here_is_not_called() {
    let mut terms = Terms::default();
    terms.limits.receivers = vec![account(70)];
    terms.receiver_list_at_source = Some(vec![]);
    let mut world = World::with(&terms);
    world.send(b"");
    assert_eq!(delivered(&world.deliver(1, 1)), [(1, Status::Failed, selector("ReceiverNotListed"))]);
    assert_eq!(calls(&mut world), 0);
}

/// A source that permits more than this end cannot block the lane with it.
#[test]
fn what_is_above_the_limits_here_fails_without_a_call() {
    let mut world = World::with(&Terms { is_open: false, ..Terms::default() });
    // The same lane at a source with higher maxima.
    let mut terms = Terms::default();
    terms.limits.max_payload_bytes = 10_000;
    terms.limits.max_gas_limit = 2_000_000;
    let mut higher = World::with(&terms);
    assert_eq!(world.id, higher.id);
    let GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload } = higher.sending(b"") else {
        panic!()
    };
    let greedy =
        GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit: 1_000_001, payload: payload.clone() };
    higher.send_call(user(), &greedy);
    let long = GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload: vec![1; 4097] };
    higher.send_call(user(), &long);
    let delivery = higher.delivery(1, 2, 2);
    world.at_destination(GatewayCall::OpenLane { gateway: world.destination.gateway, lane }).ok();
    let receipt = world.destination.submit(relay(), &delivery).ok();
    let above = selector("AboveLimits");
    assert_eq!(delivered(&receipt), [(1, Status::Failed, above.clone()), (2, Status::Failed, above)]);
    assert_eq!(calls(&mut world), 0);
}

#[test]
fn a_receiver_gets_exactly_its_gas_limit() {
    let mut world = World::new();
    world.send(b"");
    world.deliver(1, 1);
    let seen: u64 = probe(&mut world, &Probe::gasAtEntryCall {}).try_into().unwrap();
    // A few instructions of dispatch run before the probe looks.
    assert!((499_000..=500_000).contains(&seen), "{seen}");
}

/// Whatever gas a delivery is given: either every message is executed or nothing happens at all.
#[test]
fn little_gas_never_turns_a_message_into_failed() {
    let mut world = World::new();
    let hungry = payload(probes::TAKE, &[1; 100]);
    for _ in 0..3 {
        world.send(&hungry);
    }
    let call = encode(&world.delivery(1, 3, 3)).unwrap();
    let mut refused = 0;
    // Below, the transaction itself is invalid.
    let mut gas = 100_000;
    loop {
        let receipt = world.destination.chain.transact_with_gas(relay(), &call, gas);
        if receipt.is_success {
            assert_eq!(statuses(&receipt), [Status::Executed; 3], "with {gas} gas");
            break;
        }
        refused += 1;
        assert_eq!(world.destination.status(world.id).own.index, Index(0));
        gas += 1_777;
    }
    assert!(refused > 200, "only {refused} gas limits were tried");
    assert_eq!(calls(&mut world), 3);
}

#[test]
fn what_does_not_cover_the_gas_limit_is_refused_by_name() {
    let mut world = World::new();
    world.send(b"");
    world.send(b"");
    let call = encode(&world.delivery(1, 2, 2)).unwrap();
    let receipt = world.destination.chain.transact_with_gas(relay(), &call, 600_000);
    assert_eq!(receipt.refused(), "NotEnoughGas");
    let half = encode(&world.delivery(1, 1, 2)).unwrap();
    world.destination.chain.transact_with_gas(relay(), &half, 800_000).ok();
}

fn reentering(world: &World, inner: &EncodedCall) -> Vec<u8> {
    assert_eq!(inner.to, world.destination.gateway.to_20());
    payload(probes::CALL_BACK, &inner.data)
}

/// A receiver that calls the gateway while it is called.
#[test]
fn a_receiver_cannot_reenter() {
    let mut world = World::new();
    world.send(b"");
    let gateway = world.destination.gateway;
    let to = |call: &GatewayCall| encode(call).unwrap();
    let flow = cityrelay_core::lane::Flow { lane: world.id, direction: Direction::Inbox };
    let settle = Gateway::settleCall {
        lane: world.id.0.0.into(),
        firstIndex: 1,
        entries: vec![],
        tailOutcomes: vec![],
        tailIds: vec![],
        head: [0; 32].into(),
        evidence: Bytes::new(),
    };
    let retry = Gateway::retryCallbackCall {
        lane: world.id.0.0.into(),
        index: 1,
        entry: abi::Settlement {
            sender: [0; 32].into(),
            receiver: [0; 32].into(),
            deadlineMillis: 0,
            gasLimit: 0,
            payloadHash: [0; 32].into(),
            status: 1,
            resultHash: [0; 32].into(),
        },
    };
    let inner = [
        to(&world.delivery(1, 1, 1)),
        to(&GatewayCall::Checkpoint { gateway, flow }),
        to(&world.skipping(1)),
        to(&GatewayCall::SetPaused { gateway, lane: None, is_paused: true }),
        to(&GatewayCall::AnnounceClose { gateway, lane: world.id }),
        EncodedCall { to: gateway.to_20(), data: settle.abi_encode() },
        EncodedCall { to: gateway.to_20(), data: retry.abi_encode() },
    ];
    for call in &inner {
        let payload = reentering(&world, call);
        world.send(&payload);
    }
    for index in 1..=world.sent.len() {
        world.deliver(index, index);
        if index > 1 {
            assert!(!probe(&mut world, &Probe::innerOkCall {}), "message {index}");
            let answer = probe(&mut world, &Probe::innerAnswerCall {});
            assert_eq!(Refusal::decode(&answer).unwrap().name, "ReEntered", "message {index}");
        }
    }
    assert_eq!(calls(&mut world), world.sent.len() as u64);
}

/// A receiver may answer at once on a lane that goes the other way.
#[test]
fn a_receiver_may_send_while_it_is_called() {
    let mut world = World::new();
    let (gateway, there) = (world.destination.gateway, world.lane.clone());
    let back = LaneIdentity {
        source_domain: there.destination_domain,
        destination_domain: there.source_domain,
        source_gateway: there.destination_gateway,
        destination_gateway: there.source_gateway,
        source_verifier: there.destination_verifier,
        destination_verifier: there.source_verifier,
        ..there
    };
    let limits = Terms::default().limits;
    world.at_destination(GatewayCall::AnnounceLane { gateway, lane: back.clone(), limits }).ok();
    world.at_destination(GatewayCall::OpenLane { gateway, lane: back.id() }).ok();
    let answer = GatewayCall::Send {
        gateway,
        lane: back.id(),
        receiver: user(),
        deadline: world.deadline(Duration::from_secs(60)),
        gas_limit: 1,
        payload: b"thank you".to_vec(),
    };
    let payload = reentering(&world, &encode(&answer).unwrap());
    world.send(&payload);
    let receipt = world.deliver(1, 1);
    let [GatewayEvent::MessageSent { lane, message, .. }, GatewayEvent::MessageDelivered { .. }] = &receipt.events[..]
    else {
        panic!("{receipt:?}");
    };
    assert_eq!((*lane, message.index, message.sender), (back.id(), Index(1), world.receiver));
    assert_eq!(statuses(&receipt), [Status::Executed]);
}

#[test]
fn the_frame_around_a_receiver_is_only_for_the_gateway() {
    let mut world = World::new();
    let call = Gateway::executeCall {
        lane: world.id.0.0.into(),
        index: 1,
        sender: user().0.0.into(),
        receiver: world.receiver.to_20().unwrap().into(),
        gasLimit: 100_000,
        payload: Bytes::new(),
    };
    let gateway = world.destination.gateway;
    assert_eq!(world.destination.chain.call(relay(), gateway, call.abi_encode()).refused(), "OnlySelf");

    // Neither for a receiver that calls back.
    world.send(&payload(probes::CALL_BACK, &call.abi_encode()));
    world.deliver(1, 1);
    let answer = probe(&mut world, &Probe::innerAnswerCall {});
    assert_eq!(Refusal::decode(&answer).unwrap().name, "OnlySelf");
    assert_eq!(calls(&mut world), 1);
}

#[test]
fn two_relays_at_once_do_no_harm() {
    let mut world = World::new();
    for _ in 0..4 {
        world.send(b"");
    }
    let (mine, theirs) = (world.delivery(1, 3, 4), world.delivery(1, 4, 4));
    let first = world.destination.submit(relay(), &mine).ok();
    let second = world.destination.submit(account(4), &theirs).ok();
    assert_eq!((delivered(&first).len(), delivered(&second).len()), (3, 1));
    assert_eq!(calls(&mut world), 4);
}

/// Memory is given back between entries: the cost of a payload does not grow with its place in the batch.
#[test]
fn long_batches_of_long_payloads_cost_no_more_per_message() {
    let gas_of = |count: usize| {
        let mut world = World::new();
        for _ in 0..count {
            world.send(&[0; 4000]);
        }
        let call = world.delivery(1, count, count);
        let receipt = world.destination.chain.transact_with_gas(relay(), &encode(&call).unwrap(), GAS).ok();
        receipt.gas_used
    };
    let (few, many) = (gas_of(8), gas_of(32));
    assert!(many < few * 4, "8 messages cost {few}, 32 cost {many}");
}

#[test]
fn evidence_is_in_the_form_that_the_bindings_write() {
    let mut world = World::new();
    world.send(b"");
    let evidence = world.attest(Direction::Outbox, world.outbox[1]);
    let bytes = encode_evidence(&evidence);
    let signatures: Vec<u8> = evidence.signatures.values().flat_map(|SignatureBytes(bytes)| *bytes).collect();
    assert_eq!(bytes[..32], Hash32::from_u64(1).0);
    assert_eq!(bytes[32..64], Hash32::from_u64(64).0);
    assert_eq!(bytes[64..96], Hash32::from_u64(195).0);
    assert_eq!(bytes[96..291], signatures);
    assert_eq!(bytes[291..], [0; 29]);
}

#[test]
fn an_expired_deadline_far_in_the_past_is_no_trouble() {
    let mut world = World::new();
    world.send(b"");
    world.destination.chain.now_millis = UnixMillis(9_000_000_000_000).0;
    assert_eq!(statuses(&world.deliver(1, 1)), [Status::Expired]);
}
