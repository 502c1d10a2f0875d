//! Sending: what the source gateway takes, what it writes, what it refuses.

use std::time::Duration;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_gateway::{GatewayEvent, query, storage};

use crate::abi::Gateway;
use crate::world::{Terms, World, account, relay, user};
use alloy_sol_types::SolCall;

fn changed(
    call: GatewayCall,
    change: impl FnOnce(&mut Address, &mut UnixMillis, &mut u64, &mut LaneId),
) -> GatewayCall {
    let GatewayCall::Send { gateway, mut lane, mut receiver, mut deadline, mut gas_limit, payload } = call else {
        panic!("not a send");
    };
    change(&mut receiver, &mut deadline, &mut gas_limit, &mut lane);
    GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload }
}

#[test]
fn a_message_gets_the_next_index_and_extends_the_chain() {
    let mut world = World::new();
    for index in 1..=3_usize {
        let message = world.send(&[7; 40]);
        assert_eq!(message.index, world.outbox[index].index);
        assert_eq!(message.sender, user());
    }
    let status = world.source.status(world.id);
    assert_eq!(status.own, world.outbox[3]);
    let gateway = world.source.gateway;
    let head = world.source.chain.view(gateway, query::head(world.id));
    assert_eq!(query::decode_head(&head).unwrap(), world.outbox[3].head);
    let index = world.source.chain.view(gateway, query::index(world.id));
    assert_eq!(query::decode_index(&index).unwrap(), world.outbox[3].index);
}

#[test]
fn sending_returns_index_and_id() {
    let mut world = World::new();
    let receipt = world.source.submit(user(), &world.sending(b"x")).ok();
    let returned = Gateway::sendCall::abi_decode_returns_validate(&receipt.output).unwrap();
    let GatewayEvent::MessageSent { message, .. } = &receipt.events[0] else { panic!() };
    assert_eq!((returned.index, returned.id.0), (1, message.id(world.id).0.0));
}

/// Slots 0 and 1 are what storage proofs prove: read here from the state, not by call.
#[test]
fn head_and_index_lie_where_the_proofs_look() {
    let mut world = World::new();
    world.send(b"");
    world.send(b"");
    world.deliver(1, 1);
    for (city, point) in [(&world.source, world.outbox[2]), (&world.destination, world.inbox[1])] {
        assert_eq!(city.chain.storage(city.gateway, storage::head_slot(world.id)), point.head);
        assert_eq!(city.chain.storage(city.gateway, storage::index_slot(world.id)), Hash32::from_u64(point.index.0));
    }
}

/// The chain costs the same slots however many messages there are; one more is kept every 64.
#[test]
fn a_message_costs_no_slot_of_its_own() {
    let mut world = World::new();
    world.send(b"");
    let before = world.source.chain.storage_slots(world.source.gateway).len();
    for _ in 2..=63 {
        world.send(b"");
    }
    assert_eq!(world.source.chain.storage_slots(world.source.gateway).len(), before);
    world.send(b"");
    assert_eq!(world.source.chain.storage_slots(world.source.gateway).len(), before + 1);
}

#[test]
fn a_payload_of_the_maximum_is_taken_and_one_byte_more_refused() {
    let mut world = World::new();
    world.send(&[1; 4096]);
    let longer = world.sending(&[1; 4097]);
    assert_eq!(world.source.submit(user(), &longer).refused(), "PayloadTooLong");
}

#[test]
fn a_gas_limit_lies_between_one_and_the_maximum() {
    let mut world = World::new();
    for (gas, taken) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
        let call = changed(world.sending(b""), |_, _, limit, _| *limit = gas);
        let receipt = world.source.submit(user(), &call);
        assert!(receipt.is_success == taken && (taken || receipt.refused() == "GasLimitOutOfRange"), "{gas}");
    }
}

#[test]
fn a_deadline_is_later_than_now_and_within_the_maximum() {
    let mut world = World::new();
    let now = world.source.chain.now_millis;
    let with = |world: &World, deadline| changed(world.sending(b""), |_, at, _, _| *at = UnixMillis(deadline));
    let refused = |world: &mut World, deadline| {
        let call = with(world, deadline);
        world.source.submit(user(), &call).refused()
    };
    assert_eq!(refused(&mut world, 0), "DeadlinePassed");
    assert_eq!(refused(&mut world, now), "DeadlinePassed");
    assert_eq!(refused(&mut world, now + 3_600_001), "DeadlineTooFar");
    assert_eq!(refused(&mut world, u64::MAX), "DeadlineTooFar");
    for deadline in [now + 1, now + 3_600_000] {
        let call = with(&world, deadline);
        world.send_call(user(), &call);
    }
}

#[test]
fn only_a_listed_sender_and_receiver_are_taken() {
    let mut terms = Terms::default();
    terms.limits.senders = vec![user()];
    terms.limits.receivers = vec![account(40)];
    let mut world = World::with(&terms);
    let good = changed(world.sending(b""), |receiver, _, _, _| *receiver = account(40));
    let other_receiver = changed(world.sending(b""), |receiver, _, _, _| *receiver = account(41));
    assert_eq!(world.source.submit(relay(), &good).refused(), "SenderNotAllowed");
    assert_eq!(world.source.submit(user(), &other_receiver).refused(), "ReceiverNotAllowed");
    world.send_call(user(), &good);
}

#[test]
fn the_zero_receiver_is_refused() {
    let mut world = World::new();
    let call = changed(world.sending(b""), |receiver, _, _, _| *receiver = Address(Hash32::ZERO));
    assert_eq!(world.source.submit(user(), &call).refused(), "ReceiverNotAllowed");
}

#[test]
fn a_quota_bounds_what_is_unsettled() {
    let mut terms = Terms::default();
    terms.limits.quota = 2;
    let mut world = World::with(&terms);
    world.send(b"");
    world.send(b"");
    let third = world.sending(b"");
    assert_eq!(world.source.submit(user(), &third).refused(), "QuotaExceeded");
    world.deliver(1, 1);
    assert_eq!(world.source.submit(user(), &third).refused(), "QuotaExceeded");
    world.settle(1, 1);
    world.send_call(user(), &third);
    assert_eq!(world.source.submit(user(), &third).refused(), "QuotaExceeded");
}

#[test]
fn messages_are_sent_only_at_the_source_of_an_open_lane() {
    let mut world = World::new();
    let unknown = changed(world.sending(b""), |_, _, _, lane| *lane = LaneId(keccak256(b"other")));
    assert_eq!(world.source.submit(user(), &unknown).refused(), "LaneIsNot");
    let GatewayCall::Send { lane, receiver, deadline, gas_limit, payload, .. } = world.sending(b"") else { panic!() };
    let gateway = world.destination.gateway;
    let wrong_end = GatewayCall::Send { gateway, lane, receiver, deadline, gas_limit, payload };
    assert_eq!(world.destination.submit(user(), &wrong_end).refused(), "LaneIsNot");

    let mut world = World::with(&Terms { is_open: false, ..Terms::default() });
    let early = world.sending(b"");
    assert_eq!(world.source.submit(user(), &early).refused(), "WrongState");
}

#[test]
fn a_checkpoint_says_the_head_in_one_event_and_returns_nothing() {
    let mut world = World::new();
    world.send(b"");
    world.send(b"");
    world.deliver(1, 1);
    let (lane, outbox, inbox) = (world.id, world.outbox[2], world.inbox[1]);
    for (city, direction, point) in
        [(&mut world.source, Direction::Outbox, outbox), (&mut world.destination, Direction::Inbox, inbox)]
    {
        let flow = Flow { lane, direction };
        let receipt = city.submit(relay(), &GatewayCall::Checkpoint { gateway: city.gateway, flow }).ok();
        assert_eq!(receipt.events, [GatewayEvent::Checkpoint { flow, point }]);
        assert_eq!((receipt.foreign_logs, receipt.output.len()), (0, 0));
    }
}

#[test]
fn a_checkpoint_is_of_an_open_lane_and_of_the_chain_kept_here() {
    let mut world = World::new();
    let gateway = world.source.gateway;
    let checkpoint = |lane, direction| GatewayCall::Checkpoint { gateway, flow: Flow { lane, direction } };
    let other = checkpoint(world.id, Direction::Inbox);
    assert_eq!(world.source.submit(relay(), &other).refused(), "WrongDirection");
    let unknown = checkpoint(LaneId(keccak256(b"other")), Direction::Outbox);
    assert_eq!(world.source.submit(relay(), &unknown).refused(), "WrongState");
    let third = Gateway::checkpointCall { lane: world.id.0.0.into(), direction: 2 };
    assert_eq!(world.source.chain.call(relay(), gateway, third.abi_encode()).refused(), "WrongDirection");
    let mut world = World::with(&Terms { is_open: false, ..Terms::default() });
    let early = GatewayCall::Checkpoint {
        gateway: world.source.gateway,
        flow: Flow { lane: world.id, direction: Direction::Outbox },
    };
    assert_eq!(world.source.submit(relay(), &early).refused(), "WrongState");
}

#[test]
fn time_in_milliseconds_is_the_same_on_both_kinds_of_chains() {
    let mut world = World::new();
    world.pass(Duration::from_millis(1));
    // The source counts whole seconds: one more millisecond is not seen yet.
    let call = changed(world.sending(b""), |_, at, _, _| *at = UnixMillis(1_800_000_000_000));
    assert_eq!(world.source.submit(user(), &call).refused(), "DeadlinePassed");
    world.send(b"");
    assert_eq!(delivered_once(&mut world), 1);
}

fn delivered_once(world: &mut World) -> usize {
    world.deliver(1, 1).events.len()
}
