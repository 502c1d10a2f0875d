//! Settlement: outcomes come back once each, of messages that were sent, and senders hear of them.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;
use cityrelay_core::gateway_call::{Evidence, GatewayCall};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Index, LaneId, MessageId};
use cityrelay_core::lane::Direction;
use cityrelay_core::message::Message;
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_gateway::examples::{self, Order};
use cityrelay_gateway::{GatewayEvent, Refusal, encode, query};

use crate::abi::Gateway;
use crate::chain::Receipt;
use crate::probes::{self, Probe};
use crate::world::{Terms, World, account, owner, relay, settled, user};

fn probe<C: SolCall>(world: &mut World, call: &C) -> C::Return {
    let answer = world.source.chain.view(world.sender, call.abi_encode());
    C::abi_decode_returns_validate(&answer).unwrap()
}

fn callback(world: &mut World, mode: u8) {
    world.source.chain.call(user(), world.sender, probes::set_mode(mode, vec![])).ok();
}

fn pending(world: &mut World, index: u64) -> Option<Hash32> {
    let question = query::pending_callback(world.id, Index(index));
    query::decode_pending_callback(&world.source.chain.view(world.source.gateway, question)).unwrap()
}

/// One message of the probe sender, delivered.
fn delivered_one() -> World {
    let mut world = World::new();
    world.send_from_contract(b"");
    world.deliver(1, 1);
    world
}

struct Pieces {
    lane: LaneId,
    settlements: Vec<(Message, Outcome)>,
    tail_outcomes: Vec<Hash32>,
    tail_ids: Vec<MessageId>,
    evidence: Evidence,
}

fn broken(world: &mut World, last: usize, attested: usize, change: impl FnOnce(&mut Pieces)) -> Receipt {
    let GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence } =
        world.settlement(1, last, attested)
    else {
        panic!();
    };
    let mut pieces = Pieces { lane, settlements, tail_outcomes, tail_ids, evidence };
    change(&mut pieces);
    let Pieces { lane, settlements, tail_outcomes, tail_ids, evidence } = pieces;
    let call = GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence };
    world.source.submit(relay(), &call)
}

/// A settlement of message 1 as raw calldata, for what the bindings would not encode.
fn raw(world: &mut World, change: impl FnOnce(&mut Gateway::settleCall)) -> Receipt {
    let call = world.settlement(1, 1, 1);
    let mut call = Gateway::settleCall::abi_decode_validate(&encode(&call).unwrap().data).unwrap();
    change(&mut call);
    world.source.chain.call(relay(), world.source.gateway, call.abi_encode())
}

#[test]
fn a_sender_hears_how_its_message_ended() {
    for (payload, status) in [(&[probes::TAKE], Status::Executed), (&[probes::REVERT_EMPTY], Status::Failed)] {
        let mut world = World::new();
        world.send_from_contract(payload);
        world.deliver(1, 1);
        let receipt = world.settle(1, 1);
        assert_eq!(settled(&receipt), [(1, true)]);
        let outcome = world.outcomes[0];
        assert_eq!(outcome.status, status);
        assert_eq!(probe(&mut world, &Probe::callsCall {}), alloy_primitives::U256::ONE);
        assert_eq!(probe(&mut world, &Probe::indexCall {}), 1);
        assert_eq!(probe(&mut world, &Probe::statusCall {}), status.code());
        let [GatewayEvent::MessageSettled { lane, outcome: told, .. }] = &receipt.events[..] else { panic!() };
        assert_eq!((*lane, *told), (world.id, outcome));
        let status = world.source.status(world.id);
        assert_eq!((status.peer, status.settled_outbox_head), (world.inbox[1], world.outbox[1].head));
    }
}

#[test]
fn a_plain_account_gets_no_callback_and_settles_all_the_same() {
    let mut world = World::new();
    world.send(b"");
    world.deliver(1, 1);
    assert_eq!(settled(&world.settle(1, 1)), [(1, true)]);
    assert_eq!(pending(&mut world, 1), None);
}

#[test]
fn what_was_settled_is_skipped() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send_from_contract(b"");
    }
    world.deliver(1, 3);
    assert_eq!(settled(&world.settle(1, 2)), [(1, true), (2, true)]);
    assert_eq!(settled(&world.settle(1, 3)), [(3, true)]);
    assert!(world.settle(1, 3).events.is_empty());
    assert_eq!(probe(&mut world, &Probe::callsCall {}), alloy_primitives::U256::from(3));
}

#[test]
fn a_settlement_can_be_cut_under_the_same_evidence() {
    let mut world = World::new();
    for _ in 0..5 {
        world.send_from_contract(b"");
    }
    world.deliver(1, 4);
    for (first, last) in [(1, 1), (2, 4)] {
        let call = world.settlement(first, last, 4);
        world.source.submit(relay(), &call).ok();
        assert_eq!(world.source.status(world.id).peer, world.inbox[last]);
    }
}

#[test]
fn a_gap_or_an_empty_batch_is_refused() {
    let mut world = World::new();
    world.send(b"");
    world.send(b"");
    world.deliver(1, 2);
    let later = world.settlement(2, 2, 2);
    assert_eq!(world.source.submit(relay(), &later).refused(), "Gap");
    assert_eq!(raw(&mut world, |call| call.firstIndex = 0).refused(), "Gap");
    assert_eq!(raw(&mut world, |call| call.entries.clear()).refused(), "BatchEmpty");
}

#[test]
fn every_field_of_the_message_must_be_as_it_was_sent() {
    type Change = fn(&mut Message);
    let changes: [Change; 5] = [
        |message| message.sender = account(50),
        |message| message.receiver = account(50),
        |message| message.deadline.0 += 1,
        |message| message.gas_limit -= 1,
        |message| message.payload = cityrelay_core::message::Payload::Hash(keccak256(b"forged")),
    ];
    let mut world = delivered_one();
    for change in changes {
        let id = world.id;
        let receipt = broken(&mut world, 1, 1, |pieces| {
            let (message, outcome) = &mut pieces.settlements[0];
            change(message);
            outcome.message = message.id(id);
        });
        assert_eq!(receipt.refused(), "NeverSent");
    }
    broken(&mut world, 1, 1, |_| ()).ok();
}

#[test]
fn status_and_result_are_bound_by_the_head() {
    let mut world = delivered_one();
    let status = broken(&mut world, 1, 1, |pieces| pieces.settlements[0].1.status = Status::Failed);
    assert_eq!(status.refused(), "HeadMismatch");
    let result = broken(&mut world, 1, 1, |pieces| pieces.settlements[0].1.result_hash = keccak256(b"other"));
    assert_eq!(result.refused(), "HeadMismatch");
    for unknown in [0, 5, 255] {
        assert_eq!(raw(&mut world, |call| call.entries[0].status = unknown).refused(), "StatusUnknown");
    }
}

#[test]
fn a_head_that_differs_or_that_nobody_vouches_for_is_refused() {
    let mut world = delivered_one();
    let other = broken(&mut world, 1, 1, |pieces| pieces.evidence.point.head = keccak256(b"other"));
    assert_eq!(other.refused(), "HeadMismatch");
    let unsigned = broken(&mut world, 1, 1, |pieces| pieces.evidence.signatures.clear());
    assert_eq!(unsigned.refused(), "TooFewSignatures");
    assert_eq!(raw(&mut world, |call| call.evidence = Bytes::new()).refused(), "EvidenceMalformed");
}

#[test]
fn the_tail_of_outcomes_is_bound_by_the_head() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    world.deliver(1, 3);
    let changed = broken(&mut world, 1, 3, |pieces| pieces.tail_outcomes[0] = keccak256(b"other"));
    assert_eq!(changed.refused(), "HeadMismatch");
    broken(&mut world, 1, 3, |_| ()).ok();
}

#[test]
fn the_tail_of_ids_must_be_what_was_sent() {
    let mut world = World::new();
    for _ in 0..3 {
        world.send(b"");
    }
    world.deliver(1, 1);
    let changed = broken(&mut world, 1, 1, |pieces| pieces.tail_ids[1] = MessageId(keccak256(b"other")));
    assert_eq!(changed.refused(), "NeverSent");
    // Index 2 is neither the last one nor one whose head was kept.
    let short = broken(&mut world, 1, 1, |pieces| pieces.tail_ids.truncate(1));
    assert_eq!(short.refused(), "NoOutboxHeadAt");
    broken(&mut world, 1, 1, |_| ()).ok();
}

/// A committee that signs an outcome of a message that was never sent: the source gateway knows better.
#[test]
fn an_outcome_of_a_message_that_was_never_sent_is_refused() {
    let mut world = delivered_one();
    let flow = cityrelay_core::lane::Flow { lane: world.id, direction: Direction::Inbox };
    let invented = Message { index: Index(2), sender: account(50), ..world.message(1) };
    let outcome = Outcome {
        index: Index(2),
        message: invented.id(world.id),
        status: Status::Failed,
        result_hash: keccak256(b""),
    };
    assert_eq!(flow.lane, world.id);
    let point = world.inbox[1].extended(Direction::Inbox, outcome.hash(world.id));
    let evidence = world.attest(Direction::Inbox, point);
    let call = GatewayCall::Settle {
        gateway: world.source.gateway,
        lane: world.id,
        settlements: vec![(world.message(1), world.outcomes[0]), (invented, outcome)],
        tail_outcomes: vec![],
        tail_ids: vec![],
        evidence,
    };
    assert_eq!(world.source.submit(relay(), &call).refused(), "NoOutboxHeadAt");
    world.send(b"the true second message");
    assert_eq!(world.source.submit(relay(), &call).refused(), "NeverSent");
}

#[test]
fn old_messages_are_checked_against_a_kept_head() {
    let mut world = World::new();
    for _ in 0..130 {
        world.send(b"");
    }
    world.deliver(1, 70);
    let until = |world: &mut World, first: usize, last: usize, end: usize| {
        let GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, evidence, .. } =
            world.settlement(first, last, last)
        else {
            panic!();
        };
        let tail_ids = world.ids(last + 1, end);
        let call = GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence };
        world.source.submit(relay(), &call)
    };
    assert_eq!(until(&mut world, 1, 10, 63).refused(), "NoOutboxHeadAt");
    assert_eq!(until(&mut world, 1, 10, 65).refused(), "NoOutboxHeadAt");
    until(&mut world, 1, 10, 64).ok();
    until(&mut world, 11, 64, 64).ok();
    // The next kept head lies further on; the last one of all serves as well.
    until(&mut world, 65, 66, 128).ok();
    until(&mut world, 67, 70, 130).ok();
    assert_eq!(world.source.status(world.id).peer, world.inbox[70]);
}

/// What a relay proved at a block stays usable while newer messages are sent.
#[test]
fn a_head_that_a_recent_block_ended_with_is_kept() {
    let mut world = World::new();
    for block in 1..=5 {
        world.source.chain.block_number = block;
        world.send(b"first of its block");
        world.send(b"second of its block");
    }
    world.deliver(1, 3);
    let until = |world: &mut World, end: usize| {
        let GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, evidence, .. } = world.settlement(1, 3, 3)
        else {
            panic!();
        };
        let tail_ids = world.ids(4, end);
        let call = GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence };
        world.source.submit(relay(), &call)
    };
    // Blocks ended with 2, 4, 6, 8, and 10 is the last one sent; 5 was in the middle of a block.
    assert_eq!(until(&mut world, 5).refused(), "NoOutboxHeadAt");
    until(&mut world, 6).ok();
}

/// Places are few: what ended a block long ago is forgotten.
#[test]
fn a_head_that_an_old_block_ended_with_is_forgotten() {
    let mut world = World::new();
    for block in 1..=70 {
        world.source.chain.block_number = block;
        world.send(b"");
    }
    world.deliver(1, 1);
    let GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, evidence, .. } = world.settlement(1, 1, 1)
    else {
        panic!();
    };
    let until = |world: &mut World, end: usize| {
        let call = GatewayCall::Settle {
            gateway,
            lane,
            settlements: settlements.clone(),
            tail_outcomes: tail_outcomes.clone(),
            tail_ids: world.ids(2, end),
            evidence: evidence.clone(),
        };
        world.source.submit(relay(), &call)
    };
    assert_eq!(until(&mut world, 5).refused(), "NoOutboxHeadAt");
    until(&mut world, 20).ok();
}

#[test]
fn settlement_is_for_the_source_of_a_known_lane() {
    let mut world = delivered_one();
    let id = LaneId(keccak256(b"other"));
    let receipt = broken(&mut world, 1, 1, |pieces| {
        pieces.lane = id;
        let (message, outcome) = &mut pieces.settlements[0];
        outcome.message = message.id(id);
    });
    assert_eq!(receipt.refused(), "LaneIsNot");
    let data = encode(&world.settlement(1, 1, 1)).unwrap().data;
    assert_eq!(world.destination.chain.call(relay(), world.destination.gateway, data).refused(), "LaneIsNot");
}

#[test]
fn a_failing_callback_stops_nothing_and_can_be_retried_by_anyone() {
    for mode in [probes::CALLBACK_REVERTS, probes::CALLBACK_BURNS] {
        let mut world = World::new();
        world.send_from_contract(b"");
        world.send(b"");
        world.deliver(1, 2);
        callback(&mut world, mode);
        assert_eq!(settled(&world.settle(1, 2)), [(1, false), (2, true)]);
        let outcome = world.outcomes[0].hash(world.id);
        assert_eq!((pending(&mut world, 1), pending(&mut world, 2)), (Some(outcome), None));

        let retry = world.retry(1);
        assert_eq!(world.source.submit(user(), &retry).refused(), "CallbackFailed");
        assert_eq!(pending(&mut world, 1), Some(outcome));
        callback(&mut world, probes::CALLBACK_TAKES);
        let receipt = world.source.submit(user(), &retry).ok();
        assert_eq!(receipt.events, [GatewayEvent::CallbackRetried { lane: world.id, index: Index(1) }]);
        assert_eq!(pending(&mut world, 1), None);
        assert_eq!(probe(&mut world, &Probe::statusCall {}), Status::Executed.code());
        assert_eq!(world.source.submit(user(), &retry).refused(), "NoPendingCallback");
    }
}

#[test]
fn only_the_settled_outcome_is_retried() {
    let mut world = World::new();
    world.send_from_contract(b"");
    world.send_from_contract(b"");
    world.deliver(1, 2);
    let early = world.retry(1);
    assert_eq!(world.source.submit(user(), &early).refused(), "NoPendingCallback");
    callback(&mut world, probes::CALLBACK_REVERTS);
    world.settle(1, 2);
    callback(&mut world, probes::CALLBACK_TAKES);
    let GatewayCall::RetryCallback { gateway, lane, message, outcome } = world.retry(1) else { panic!() };
    let forged = Outcome { status: Status::Failed, ..outcome };
    let forged = GatewayCall::RetryCallback { gateway, lane, message: message.clone(), outcome: forged };
    assert_eq!(world.source.submit(user(), &forged).refused(), "NoPendingCallback");
    let forged = Message { sender: account(50), ..message };
    let outcome = Outcome { message: forged.id(lane), ..outcome };
    let forged = GatewayCall::RetryCallback { gateway, lane, message: forged, outcome };
    assert_eq!(world.source.submit(user(), &forged).refused(), "NoPendingCallback");
    let unknown = raw_retry(&mut world, 7);
    assert_eq!(unknown.refused(), "StatusUnknown");
}

fn raw_retry(world: &mut World, status: u8) -> Receipt {
    let data = encode(&world.retry(1)).unwrap().data;
    let mut call = Gateway::retryCallbackCall::abi_decode_validate(&data).unwrap();
    call.entry.status = status;
    world.source.chain.call(user(), world.source.gateway, call.abi_encode())
}

#[test]
fn a_callback_gets_the_gas_of_the_lane_and_a_retry_gets_more() {
    let mut world = delivered_one();
    world.settle(1, 1);
    let seen: u64 = probe(&mut world, &Probe::gasAtEntryCall {}).try_into().unwrap();
    assert!((99_000..=100_000).contains(&seen), "{seen}");

    let mut world = delivered_one();
    callback(&mut world, probes::CALLBACK_REVERTS);
    world.settle(1, 1);
    callback(&mut world, probes::CALLBACK_TAKES);
    let retry = world.retry(1);
    world.source.submit(user(), &retry).ok();
    let seen: u64 = probe(&mut world, &Probe::gasAtEntryCall {}).try_into().unwrap();
    assert!(seen > 1_000_000, "{seen}");
}

/// Whatever gas a settlement is given: the callback has its gas, or nothing happens at all.
#[test]
fn little_gas_never_makes_a_callback_fail() {
    let mut world = World::new();
    world.send_from_contract(b"");
    world.send_from_contract(b"");
    world.deliver(1, 2);
    let call = encode(&world.settlement(1, 2, 2)).unwrap();
    let mut refusals = 0;
    let mut gas = 60_000;
    loop {
        let receipt = world.source.chain.transact_with_gas(relay(), &call, gas);
        if receipt.is_success {
            assert_eq!(settled(&receipt), [(1, true), (2, true)], "with {gas} gas");
            break;
        }
        refusals += 1;
        gas += 977;
    }
    assert!(refusals > 100, "only {refusals} gas limits were tried");

    let mut world = delivered_one();
    let call = encode(&world.settlement(1, 1, 1)).unwrap();
    assert_eq!(world.source.chain.transact_with_gas(relay(), &call, 200_000).refused(), "NotEnoughGas");
}

#[test]
fn a_sender_may_send_from_its_callback_but_not_reenter() {
    let delivered_one = || {
        let mut terms = Terms::default();
        terms.limits.callback_gas = 1_000_000;
        let mut world = World::with(&terms);
        world.send_from_contract(b"");
        world.deliver(1, 1);
        world
    };
    let mut world = delivered_one();
    let again = encode(&world.sending(b"again")).unwrap().data;
    world.source.chain.call(user(), world.sender, probes::set_mode(probes::CALLBACK_CALLS_BACK, again)).ok();
    let receipt = world.settle(1, 1);
    let [GatewayEvent::MessageSent { message, .. }, GatewayEvent::MessageSettled { .. }] = &receipt.events[..] else {
        panic!("{receipt:?}");
    };
    assert_eq!((message.index, message.sender), (Index(2), world.sender));

    let mut world = delivered_one();
    let settlement = encode(&world.settlement(1, 1, 1)).unwrap().data;
    world.source.chain.call(user(), world.sender, probes::set_mode(probes::CALLBACK_CALLS_BACK, settlement)).ok();
    world.settle(1, 1);
    assert!(!probe(&mut world, &Probe::innerOkCall {}));
    assert_eq!(Refusal::decode(&probe(&mut world, &Probe::innerAnswerCall {})).unwrap().name, "ReEntered");
    assert_eq!(probe(&mut world, &Probe::callsCall {}), alloy_primitives::U256::ONE);
}

#[test]
fn a_callback_can_be_retried_on_a_closed_lane() {
    let mut world = delivered_one();
    callback(&mut world, probes::CALLBACK_REVERTS);
    world.settle(1, 1);
    callback(&mut world, probes::CALLBACK_TAKES);
    let (gateway, lane) = (world.source.gateway, world.id);
    world.at_source(GatewayCall::AnnounceClose { gateway, lane }).ok();
    world.at_source(GatewayCall::Close { gateway, lane }).ok();
    let retry = world.retry(1);
    world.source.submit(user(), &retry).ok();
}

fn amount(world: &mut World, contract: cityrelay_core::ids::Address, question: Vec<u8>) -> u64 {
    examples::decode_amount(&world.source.chain.view(contract, question)).unwrap()
}

/// The examples together: an order is kept when the board takes the notice, and refunded when it does not.
#[test]
fn the_example_sender_refunds_what_was_not_executed() {
    let mut world = World::with(&Terms::default());
    let board = examples::deploy_notice_board(world.destination.gateway).unwrap();
    let board = world.destination.chain.transact(owner(), &board).ok().created.unwrap();
    world.destination.chain.call(owner(), board, examples::trust_lane(world.id, true)).ok();
    let shop = examples::deploy_prepaid_orders(world.source.gateway).unwrap();
    let shop = world.source.chain.transact(owner(), &shop).ok().created.unwrap();
    world.source.chain.call(owner(), shop, examples::issue_credit(user(), 100).unwrap()).ok();

    let nowhere = account(80);
    for (index, receiver) in [(1, board), (2, nowhere)] {
        let order = Order {
            lane: world.id,
            receiver,
            deadline: world.deadline(std::time::Duration::from_secs(60)),
            gas_limit: 300_000,
            payload: b"closed on Monday".to_vec(),
            price: 30,
        };
        let call = GatewayCall::Raw { to: shop, data: examples::place_order(&order) };
        let receipt = world.source.submit(user(), &call).ok();
        assert_eq!(examples::decode_order(&receipt.output).unwrap(), Index(index));
        let [GatewayEvent::MessageSent { message, .. }] = &receipt.events[..] else { panic!() };
        world.outbox.push(world.outbox[index as usize - 1].extended(Direction::Outbox, message.id(world.id).0));
        world.sent.push(message.clone());
    }
    assert_eq!(amount(&mut world, shop, examples::credit(user()).unwrap()), 40);
    world.deliver(1, 2);
    assert_eq!(settled(&world.settle(1, 2)), [(1, true), (2, true)]);
    assert_eq!(amount(&mut world, shop, examples::credit(user()).unwrap()), 70);
    assert_eq!(amount(&mut world, shop, examples::earned()), 30);

    let count = world.destination.chain.view(board, examples::notice_count());
    assert_eq!(examples::decode_amount(&count).unwrap(), 1);
    let notice = world.destination.chain.view(board, examples::notice(world.id, shop));
    assert_eq!(examples::decode_notice(&notice).unwrap(), b"closed on Monday");
}

#[test]
fn the_example_receiver_takes_only_lanes_it_trusts() {
    let mut world = World::new();
    let board = examples::deploy_notice_board(world.destination.gateway).unwrap();
    let board = world.destination.chain.transact(owner(), &board).ok().created.unwrap();
    let GatewayCall::Send { gateway, lane, deadline, gas_limit, payload, .. } = world.sending(b"x") else { panic!() };
    let call = GatewayCall::Send { gateway, lane, receiver: board, deadline, gas_limit, payload };
    world.send_call(user(), &call);
    assert_eq!(crate::world::statuses(&world.deliver(1, 1)), [Status::Failed]);
    let direct = probes::forward(board, vec![]);
    assert!(!world.destination.chain.call(user(), board, direct).is_success);
}
