//! Strict lanes: a failing receiver halts, and only that message can be skipped.

use std::time::Duration;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::outcome::Status;
use cityrelay_gateway::{GatewayEvent, encode};

use crate::chain::{Chain, MILLIS};
use crate::probes::{self, TAKE_UNLESS_BROKEN};
use crate::world::{City, Terms, World, delivered, relay, statuses, user};

/// A strict lane with three messages to a receiver that is broken.
fn halted_after(healthy: usize) -> World {
    let mut world = strict();
    for number in 0..3_u8 {
        let mode = if usize::from(number) < healthy { probes::TAKE } else { TAKE_UNLESS_BROKEN };
        world.send(&[mode, number]);
    }
    world.destination.chain.call(user(), world.receiver, probes::set_broken(true)).ok();
    world
}

fn strict() -> World {
    let mut terms = Terms::default();
    terms.limits.is_strict = true;
    terms.limits.senders = vec![user()];
    terms.limits.receivers = vec![probe_receiver_address()];
    World::with(&terms)
}

/// Where [`World::with`] will put the receiver: the third contract of the owner.
fn probe_receiver_address() -> cityrelay_core::ids::Address {
    let mut city = City::new("destination", MILLIS, Duration::ZERO);
    city.deploy(probes::receiver())
}

#[test]
fn a_failing_receiver_halts_before_its_message() {
    let mut world = halted_after(1);
    let receipt = world.deliver(1, 3);
    assert_eq!(statuses(&receipt), [Status::Executed]);
    let [_, GatewayEvent::LaneHalted { lane, index, id, result }] = &receipt.events[..] else {
        panic!("{receipt:?}");
    };
    let second = world.message(2);
    assert_eq!((*lane, *index, *id, result.len()), (world.id, second.index, second.id(world.id), 0));
    let status = world.destination.status(world.id);
    assert_eq!((status.own, status.peer), (world.inbox[1], world.outbox[1]));
    assert_eq!(status.halted, Some(*id));
}

#[test]
fn a_halted_lane_refuses_while_its_message_fails_and_goes_on_when_it_does_not() {
    let mut world = halted_after(0);
    world.deliver(1, 3);
    let again = world.delivery(1, 3, 3);
    assert_eq!(world.destination.submit(relay(), &again).refused(), "StillFailing");
    world.destination.chain.call(user(), world.receiver, probes::set_broken(false)).ok();
    assert_eq!(statuses(&world.deliver(1, 3)), [Status::Executed; 3]);
    assert_eq!(world.destination.status(world.id).halted, None);
}

#[test]
fn a_lane_can_halt_again_behind_a_message_that_recovered() {
    let mut world = strict();
    world.send(&[TAKE_UNLESS_BROKEN]);
    world.send(&[probes::REVERT_EMPTY]);
    world.destination.chain.call(user(), world.receiver, probes::set_broken(true)).ok();
    world.deliver(1, 2);
    world.destination.chain.call(user(), world.receiver, probes::set_broken(false)).ok();
    assert_eq!(statuses(&world.deliver(1, 2)), [Status::Executed]);
    let second = world.message(2).id(world.id);
    assert_eq!(world.destination.status(world.id).halted, Some(second));
}

#[test]
fn a_message_that_halted_the_lane_may_expire() {
    let mut world = halted_after(0);
    world.deliver(1, 1);
    world.pass(Duration::from_secs(3600));
    assert_eq!(statuses(&world.deliver(1, 3)), [Status::Expired; 3]);
    assert_eq!(world.destination.status(world.id).halted, None);
}

#[test]
fn the_owner_skips_exactly_the_message_that_halted() {
    let mut world = halted_after(0);
    let skip = |world: &mut World, index| {
        let call = world.skipping(index);
        world.at_destination(call)
    };
    assert_eq!(skip(&mut world, 1).refused(), "NotHalted");
    world.deliver(1, 3);
    assert_eq!(skip(&mut world, 0).refused(), "NotHalted");
    assert_eq!(skip(&mut world, 2).refused(), "NotHalted");
    let receipt = skip(&mut world, 1).ok();
    world.note_delivered(&receipt);
    assert_eq!(delivered(&receipt), [(1, Status::Skipped, vec![])]);
    let status = world.destination.status(world.id);
    assert_eq!((status.own, status.peer, status.halted), (world.inbox[1], world.outbox[1], None));
    assert_eq!(skip(&mut world, 1).refused(), "NotHalted");
    assert_eq!(skip(&mut world, 2).refused(), "NotHalted");

    world.destination.chain.call(user(), world.receiver, probes::set_broken(false)).ok();
    assert_eq!(statuses(&world.deliver(2, 3)), [Status::Executed; 2]);
    // A skipped outcome settles like any other.
    world.settle(1, 3);
    assert_eq!(world.source.status(world.id).peer, world.inbox[3]);
}

#[test]
fn a_lane_that_is_not_strict_never_halts() {
    let mut world = World::new();
    world.send(&[probes::REVERT_EMPTY]);
    world.deliver(1, 1);
    world.send(b"");
    let skip = world.skipping(2);
    assert_eq!(world.at_destination(skip).refused(), "NotHalted");
}

#[test]
fn skipping_is_for_the_destination_of_a_lane_in_service() {
    let mut world = halted_after(0);
    world.deliver(1, 1);
    let (gateway, lane) = (world.source.gateway, world.id);
    let at_source = GatewayCall::Skip { gateway, lane, index: world.message(1).index };
    assert_eq!(world.at_source(at_source).refused(), "LaneIsNot");
    let gateway = world.destination.gateway;
    world.at_destination(GatewayCall::AnnounceClose { gateway, lane }).ok();
    world.at_destination(GatewayCall::Close { gateway, lane }).ok();
    let skip = world.skipping(1);
    assert_eq!(world.at_destination(skip).refused(), "WrongState");
}

#[test]
fn little_gas_does_not_halt_a_strict_lane() {
    let mut world = strict();
    world.send(&[probes::TAKE]);
    let call = encode(&world.delivery(1, 1, 1)).unwrap();
    let chain: &mut Chain = &mut world.destination.chain;
    assert_eq!(chain.transact_with_gas(relay(), &call, 550_000).refused(), "NotEnoughGas");
    assert_eq!(world.destination.status(world.id).halted, None);
    assert_eq!(statuses(&world.deliver(1, 1)), [Status::Executed]);
}
