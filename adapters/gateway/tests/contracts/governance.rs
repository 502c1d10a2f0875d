//! What the owner may do, when, and who else may not.

use std::time::Duration;

use alloy_sol_types::{SolCall, SolConstructor};
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_gateway::call::{AllowList, set_allowed};
use cityrelay_gateway::query::{self, LaneStage};
use cityrelay_gateway::{EncodedCall, GatewayEvent, encode};
use revm::primitives::hardfork::SpecId;

use crate::abi::Gateway;
use crate::chain::{Chain, MILLIS, USUAL};
use crate::probes;
use crate::world::{Terms, World, account, owner, relay, user};

const DAY: Duration = Duration::from_secs(86_400);

fn deployment(clock_is_millis: bool) -> GatewayCall {
    GatewayCall::DeployGateway {
        domain: Domain(keccak256(b"here")),
        owner: owner(),
        announce_delay: Duration::ZERO,
        close_delay: Duration::ZERO,
        clock_is_millis,
    }
}

#[test]
fn a_new_gateway_says_what_it_was_told() {
    let mut chain = Chain::new(MILLIS);
    let call = GatewayCall::DeployGateway {
        domain: Domain(keccak256(b"here")),
        owner: owner(),
        announce_delay: DAY,
        close_delay: 2 * DAY,
        clock_is_millis: true,
    };
    let receipt = chain.transact(user(), &encode(&call).unwrap()).ok();
    let first = GatewayEvent::OwnerChanged { previous: Address::from_20([0; 20]), owner: owner() };
    assert_eq!(receipt.events, [first]);

    let answer = chain.view(receipt.created.unwrap(), query::gateway_status());
    let status = query::decode_gateway_status(&answer).unwrap();
    assert_eq!((status.version, status.domain, status.clock_is_millis), (1, Domain(keccak256(b"here")), true));
    assert_eq!((status.announce_delay, status.close_delay), (DAY, 2 * DAY));
    assert_eq!((status.owner, status.offered_to), (owner(), Address::from_20([0; 20])));
    assert!(!status.is_paused);
}

#[test]
fn a_gateway_refuses_a_clock_in_the_other_unit() {
    for (chain_counts_millis, told_millis) in [(true, false), (false, true)] {
        let mut chain = Chain::new(if chain_counts_millis { MILLIS } else { USUAL });
        let receipt = chain.transact(owner(), &encode(&deployment(told_millis)).unwrap());
        assert_eq!(receipt.refused(), "ClockIsWrong");
        chain.transact(owner(), &encode(&deployment(chain_counts_millis)).unwrap()).ok();
    }
}

fn constructed(domain: Hash32, clock: u8, owner: [u8; 20]) -> EncodedCall {
    let arguments = Gateway::constructorCall {
        domain: domain.0.into(),
        clock,
        openDelayMillis: 0,
        closeDelayMillis: 0,
        owner: owner.into(),
    };
    EncodedCall { to: None, data: [cityrelay_gateway::artifact::GATEWAY_INIT_CODE, &arguments.abi_encode()].concat() }
}

#[test]
fn a_gateway_refuses_an_unknown_clock_and_zeros() {
    let mut chain = Chain::new(USUAL);
    let (here, somebody) = (keccak256(b"here"), [1; 20]);
    assert_eq!(chain.transact(owner(), &constructed(here, 2, somebody)).refused(), "ClockIsWrong");
    assert_eq!(chain.transact(owner(), &constructed(Hash32::ZERO, 0, somebody)).refused(), "ZeroNotAllowed");
    assert_eq!(chain.transact(owner(), &constructed(here, 0, [0; 20])).refused(), "ZeroNotAllowed");
    chain.transact(owner(), &constructed(here, 0, somebody)).ok();
}

#[test]
fn a_build_whose_hash_is_not_keccak_does_not_go_into_service() {
    let mut chain = Chain::new(USUAL);
    let good = constructed(keccak256(b"here"), 0, [1; 20]);
    let arguments = good.data.get(cityrelay_gateway::artifact::GATEWAY_INIT_CODE.len()..).unwrap();
    let wrong = EncodedCall { to: None, data: [&probes::init_code("WrongFlavourGateway"), arguments].concat() };
    assert_eq!(chain.transact(owner(), &wrong).refused(), "HashIsNotKeccak");
}

#[test]
fn a_chain_without_ecrecover_gets_neither_gateway_nor_committee() {
    let mut chain = Chain::new(USUAL);
    chain.has_precompiles = false;
    assert_eq!(chain.transact(owner(), &encode(&deployment(false)).unwrap()).refused(), "RecoveryIsWrong");
    let committee = GatewayCall::DeployCommittee {
        domain: Domain(keccak256(b"here")),
        members: crate::world::members(&[crate::world::attester_key(1)]),
        threshold: 1,
    };
    assert_eq!(chain.transact(owner(), &encode(&committee).unwrap()).refused(), "RecoveryIsWrong");
}

#[test]
fn opening_repeats_the_known_answer_tests() {
    let mut world = World::with(&Terms { is_open: false, ..Terms::default() });
    let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: world.id };
    world.source.chain.has_precompiles = false;
    assert_eq!(world.at_source(open.clone()).refused(), "RecoveryIsWrong");
    world.source.chain.has_precompiles = true;
    world.source.chain.clock_is_millis = true;
    assert_eq!(world.at_source(open.clone()).refused(), "ClockIsWrong");
    world.source.chain.clock_is_millis = false;
    world.at_source(open).ok();
}

#[test]
fn both_ends_open_with_their_own_chain_at_its_start() {
    let mut world = World::new();
    let (id, outbox, inbox) = (world.id, world.outbox[0], world.inbox[0]);
    let source = world.source.status(id);
    assert_eq!((source.stage, source.keeps), (LaneStage::Open, Direction::Outbox));
    assert_eq!((source.own, source.peer, source.settled_outbox_head), (outbox, inbox, outbox.head));
    let destination = world.destination.status(id);
    assert_eq!((destination.stage, destination.keeps), (LaneStage::Open, Direction::Inbox));
    assert_eq!((destination.own, destination.peer), (inbox, outbox));
    assert_eq!(destination.settled_outbox_head, Hash32::ZERO);
    assert_eq!(source.verifier, world.source.committee);
    assert_eq!(source.terms.max_payload_bytes, 4096);
    assert_eq!(source.halted, None);
}

#[test]
fn an_unknown_lane_has_no_status() {
    let mut world = World::new();
    let answer = world.source.chain.view(world.source.gateway, query::lane_status(LaneId(keccak256(b"other"))));
    assert_eq!(query::decode_lane_status(&answer).unwrap(), None);
}

#[test]
fn a_lane_opens_only_after_its_delay_and_once() {
    let mut world = World::with(&Terms { is_open: false, delays: DAY, ..Terms::default() });
    let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: world.id };
    assert_eq!(world.source.status(world.id).stage, LaneStage::Announced);
    assert_eq!(world.source.status(world.id).ready_at, UnixMillis(world.source.chain.now_millis + 86_400_000));
    world.pass(DAY - Duration::from_secs(1));
    assert_eq!(world.at_source(open.clone()).refused(), "TooEarly");
    world.pass(Duration::from_secs(1));
    let receipt = world.at_source(open.clone()).ok();
    let flow = Flow { lane: world.id, direction: Direction::Outbox };
    assert_eq!(receipt.events, [GatewayEvent::LaneOpened { flow, head: world.outbox[0].head }]);
    assert_eq!(world.at_source(open).refused(), "WrongState");
}

#[test]
fn a_lane_that_was_not_announced_does_not_open() {
    let mut world = World::new();
    let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: LaneId(keccak256(b"other")) };
    assert_eq!(world.at_source(open).refused(), "WrongState");
}

#[test]
fn a_lane_is_announced_once() {
    let mut world = World::new();
    let again = world.announcement(world.source.gateway, &Terms::default().limits);
    assert_eq!(world.at_source(again).refused(), "WrongState");
}

fn announced(change: impl FnOnce(&mut LaneIdentity)) -> String {
    let mut world = World::new();
    world.lane.salt = keccak256(b"another salt");
    change(&mut world.lane);
    let gateway = world.source.gateway;
    let call = world.announcement(gateway, &Terms::default().limits);
    let receipt = world.at_source(call);
    if receipt.is_success { "accepted".to_owned() } else { receipt.refused() }
}

#[test]
fn exactly_one_end_of_a_lane_is_here() {
    assert_eq!(announced(|_| ()), "accepted");
    assert_eq!(announced(|lane| lane.source_domain = Domain(keccak256(b"third"))), "WrongDomains");
    assert_eq!(announced(|lane| lane.destination_domain = lane.source_domain), "WrongDomains");
    assert_eq!(announced(|lane| lane.destination_domain = Domain(Hash32::ZERO)), "WrongDomains");
}

#[test]
fn the_gateways_of_a_lane_are_this_one_and_one() {
    assert_eq!(announced(|lane| lane.source_gateway = account(9)), "WrongGateway");
    assert_eq!(announced(|lane| lane.destination_gateway = Address(Hash32::ZERO)), "WrongGateway");
}

#[test]
fn the_verifiers_of_a_lane_are_a_contract_here_and_one_there() {
    assert_eq!(announced(|lane| lane.source_verifier = account(9)), "WrongVerifier");
    assert_eq!(announced(|lane| lane.source_verifier.0.0[0] = 1), "WrongVerifier");
    assert_eq!(announced(|lane| lane.destination_verifier = Address(Hash32::ZERO)), "WrongVerifier");
}

#[test]
fn a_verifier_that_vouches_without_evidence_is_refused_when_the_lane_opens() {
    let credulous = probes::fixed_verifier(keccak256(b"cityrelay.v1.verified"), false);
    let mut world = World::with(&Terms { source_verifier: Some(credulous), is_open: false, ..Terms::default() });
    let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: world.id };
    assert_eq!(world.at_source(open).refused(), "WrongVerifier");
}

fn announced_with(change: impl FnOnce(&mut LaneLimits)) -> String {
    let mut world = World::new();
    world.lane.salt = keccak256(b"another salt");
    let mut limits = Terms::default().limits;
    change(&mut limits);
    let call = world.announcement(world.source.gateway, &limits);
    let receipt = world.at_source(call);
    if receipt.is_success { "accepted".to_owned() } else { receipt.refused() }
}

#[test]
fn a_strict_lane_needs_both_lists() {
    let strict = |senders: &[Address], receivers: &[Address]| {
        let (senders, receivers) = (senders.to_vec(), receivers.to_vec());
        announced_with(|limits| {
            *limits = LaneLimits { is_strict: true, senders, receivers, ..limits.clone() };
        })
    };
    assert_eq!(strict(&[account(5)], &[account(6)]), "accepted");
    assert_eq!(strict(&[], &[account(6)]), "StrictNeedsLists");
    assert_eq!(strict(&[account(5)], &[]), "StrictNeedsLists");
}

#[test]
fn limits_that_permit_nothing_are_refused() {
    assert_eq!(announced_with(|limits| limits.max_gas_limit = 0), "LimitsMalformed");
    assert_eq!(announced_with(|limits| limits.max_deadline = Duration::ZERO), "LimitsMalformed");
}

/// Every function of the owner, called by somebody else.
#[test]
fn only_the_owner_acts_as_the_owner() {
    let mut world = World::new();
    let (gateway, lane) = (world.source.gateway, world.id);
    let calls = [
        world.announcement(gateway, &Terms::default().limits),
        GatewayCall::OpenLane { gateway, lane },
        GatewayCall::SetPaused { gateway, lane: Some(lane), is_paused: true },
        GatewayCall::SetPaused { gateway, lane: None, is_paused: false },
        world.skipping(1),
        GatewayCall::AnnounceClose { gateway, lane },
        GatewayCall::Close { gateway, lane },
        GatewayCall::OfferOwnership { gateway, owner: user() },
        GatewayCall::Raw { to: gateway, data: set_allowed(lane, AllowList::Senders, user(), true) },
    ];
    for call in calls {
        let call = match call {
            GatewayCall::Skip { lane, index, .. } => GatewayCall::Skip { gateway, lane, index },
            other => other,
        };
        assert_eq!(world.source.submit(user(), &call).refused(), "OnlyOwner", "{call:?}");
    }
}

#[test]
fn a_pause_stops_sending_delivering_settling_and_retrying_but_no_checkpoint() {
    for whole_gateway in [false, true] {
        let mut world = World::new();
        world.source.chain.call(user(), world.sender, probes::set_mode(probes::CALLBACK_REVERTS, vec![])).ok();
        world.send_from_contract(b"");
        world.send(b"");
        world.deliver(1, 1);
        world.settle(1, 1);
        let delivery = world.delivery(2, 2, 2);
        let foreseen = world.destination.chain.simulate(relay(), &delivery);
        world.note_delivered(&foreseen);
        let settlement = world.settlement(2, 2, 2);

        let lane = (!whole_gateway).then_some(world.id);
        for city in [&mut world.source, &mut world.destination] {
            let pause = GatewayCall::SetPaused { gateway: city.gateway, lane, is_paused: true };
            let receipt = city.submit(owner(), &pause).ok();
            assert_eq!(receipt.events, [GatewayEvent::PauseChanged { lane, is_paused: true }]);
        }
        let sending = world.sending(b"");
        assert_eq!(world.source.submit(user(), &sending).refused(), "Paused");
        assert_eq!(world.destination.submit(relay(), &delivery).refused(), "Paused");
        assert_eq!(world.source.submit(relay(), &settlement).refused(), "Paused");
        let retry = world.retry(1);
        assert_eq!(world.source.submit(relay(), &retry).refused(), "Paused");
        let flow = Flow { lane: world.id, direction: Direction::Outbox };
        world.source.submit(relay(), &GatewayCall::Checkpoint { gateway: world.source.gateway, flow }).ok();

        for city in [&mut world.source, &mut world.destination] {
            let resume = GatewayCall::SetPaused { gateway: city.gateway, lane, is_paused: false };
            city.submit(owner(), &resume).ok();
        }
        world.destination.submit(relay(), &delivery).ok();
        world.source.submit(relay(), &settlement).ok();
        world.source.submit(user(), &sending).ok();
    }
}

#[test]
fn only_a_known_lane_can_be_paused() {
    let mut world = World::new();
    let lane = Some(LaneId(keccak256(b"other")));
    let pause = GatewayCall::SetPaused { gateway: world.source.gateway, lane, is_paused: true };
    assert_eq!(world.at_source(pause).refused(), "WrongState");
}

#[test]
fn closing_takes_its_delay_and_delivers_and_settles_meanwhile() {
    let mut world = World::with(&Terms { is_open: false, delays: DAY, ..Terms::default() });
    world.pass(DAY);
    for city in [&mut world.source, &mut world.destination] {
        city.submit(owner(), &GatewayCall::OpenLane { gateway: city.gateway, lane: world.id }).ok();
    }
    world.send(b"");
    world.send(b"");
    let (gateway, lane) = (world.source.gateway, world.id);
    let close = GatewayCall::Close { gateway, lane };
    assert_eq!(world.at_source(close.clone()).refused(), "WrongState");
    let receipt = world.at_source(GatewayCall::AnnounceClose { gateway, lane }).ok();
    let ready_at = UnixMillis(world.source.chain.now_millis + 86_400_000);
    assert_eq!(receipt.events, [GatewayEvent::CloseAnnounced { lane, ready_at }]);
    assert_eq!(world.at_source(GatewayCall::AnnounceClose { gateway, lane }).refused(), "WrongState");

    let sending = world.sending(b"");
    assert_eq!(world.source.submit(user(), &sending).refused(), "WrongState");
    world.deliver(1, 1);
    world.settle(1, 1);
    assert_eq!(world.at_source(close.clone()).refused(), "TooEarly");
    world.pass(DAY);
    let receipt = world.at_source(close.clone()).ok();
    let closed = GatewayEvent::LaneClosed { lane, index: world.outbox[2].index, peer_index: world.outbox[1].index };
    assert_eq!(receipt.events, [closed]);
    assert_eq!(world.source.status(lane).stage, LaneStage::Closed);
}

#[test]
fn a_closed_lane_is_closed_for_good() {
    let mut world = World::new();
    world.send(b"");
    let delivery = world.delivery(1, 1, 1);
    let foreseen = world.destination.chain.simulate(relay(), &delivery);
    world.note_delivered(&foreseen);
    let settlement = world.settlement(1, 1, 1);
    for city in [&mut world.source, &mut world.destination] {
        let (gateway, lane) = (city.gateway, world.id);
        city.submit(owner(), &GatewayCall::AnnounceClose { gateway, lane }).ok();
        city.submit(owner(), &GatewayCall::Close { gateway, lane }).ok();
    }
    let (gateway, lane) = (world.source.gateway, world.id);
    let sending = world.sending(b"");
    assert_eq!(world.source.submit(user(), &sending).refused(), "WrongState");
    assert_eq!(world.destination.submit(relay(), &delivery).refused(), "WrongState");
    assert_eq!(world.source.submit(relay(), &settlement).refused(), "WrongState");
    assert_eq!(world.at_source(GatewayCall::OpenLane { gateway, lane }).refused(), "WrongState");
    assert_eq!(world.at_source(GatewayCall::Close { gateway, lane }).refused(), "WrongState");
    let announce = world.announcement(gateway, &Terms::default().limits);
    assert_eq!(world.at_source(announce).refused(), "WrongState");
    let pause = GatewayCall::SetPaused { gateway, lane: Some(lane), is_paused: true };
    assert_eq!(world.at_source(pause).refused(), "WrongState");
    let edit = GatewayCall::Raw { to: gateway, data: set_allowed(lane, AllowList::Senders, user(), true) };
    assert_eq!(world.at_source(edit).refused(), "WrongState");
    let flow = Flow { lane, direction: Direction::Outbox };
    let receipt = world.source.submit(relay(), &GatewayCall::Checkpoint { gateway, flow }).ok();
    assert_eq!(receipt.events, [GatewayEvent::Checkpoint { flow, point: world.outbox[1] }]);
}

#[test]
fn a_hand_over_takes_two_steps() {
    let mut world = World::new();
    let gateway = world.source.gateway;
    let accept = GatewayCall::AcceptOwnership { gateway };
    assert_eq!(world.source.submit(user(), &accept).refused(), "OnlyProposedOwner");
    let receipt = world.at_source(GatewayCall::OfferOwnership { gateway, owner: user() }).ok();
    assert_eq!(receipt.events, [GatewayEvent::OwnershipOffered { owner: owner(), offered_to: user() }]);
    let pause = GatewayCall::SetPaused { gateway, lane: None, is_paused: true };
    assert_eq!(world.source.submit(user(), &pause).refused(), "OnlyOwner");
    assert_eq!(world.source.submit(relay(), &accept).refused(), "OnlyProposedOwner");
    let receipt = world.source.submit(user(), &accept).ok();
    assert_eq!(receipt.events, [GatewayEvent::OwnerChanged { previous: owner(), owner: user() }]);
    assert_eq!(world.source.submit(owner(), &pause).refused(), "OnlyOwner");
    assert_eq!(world.source.submit(user(), &accept).refused(), "OnlyProposedOwner");
    world.source.submit(user(), &pause).ok();
}

#[test]
fn an_offer_can_be_withdrawn() {
    let mut world = World::new();
    let gateway = world.source.gateway;
    world.at_source(GatewayCall::OfferOwnership { gateway, owner: user() }).ok();
    world.at_source(GatewayCall::OfferOwnership { gateway, owner: Address::from_20([0; 20]) }).ok();
    assert_eq!(world.source.submit(user(), &GatewayCall::AcceptOwnership { gateway }).refused(), "OnlyProposedOwner");
}

#[test]
fn a_list_can_be_edited_where_the_lane_has_one() {
    let mut terms = Terms::default();
    terms.limits.senders = vec![user()];
    let mut world = World::with(&terms);
    let (gateway, lane) = (world.source.gateway, world.id);
    let edit =
        |list, entry, is_allowed| GatewayCall::Raw { to: gateway, data: set_allowed(lane, list, entry, is_allowed) };
    assert_eq!(world.at_source(edit(AllowList::Receivers, account(7), true)).refused(), "NoSuchList");
    let unknown = Gateway::setAllowedCall { lane: lane.0.0.into(), list: 2, account: [1; 32].into(), allowed: true };
    let unknown = GatewayCall::Raw { to: gateway, data: unknown.abi_encode() };
    assert_eq!(world.at_source(unknown).refused(), "NoSuchList");

    let sending = world.sending(b"");
    assert_eq!(world.source.submit(relay(), &sending).refused(), "SenderNotAllowed");
    let receipt = world.at_source(edit(AllowList::Senders, relay(), true)).ok();
    let list = AllowList::Senders;
    assert_eq!(receipt.events, [GatewayEvent::AllowanceChanged { lane, list, account: relay(), is_allowed: true }]);
    let answer = world.source.chain.view(gateway, query::is_allowed(lane, AllowList::Senders, relay()));
    assert!(query::decode_is_allowed(&answer).unwrap());
    world.source.submit(relay(), &sending).ok();
    world.at_source(edit(AllowList::Senders, relay(), false)).ok();
    assert_eq!(world.source.submit(relay(), &sending).refused(), "SenderNotAllowed");
}

/// What a relay calls is for plain accounts: not a contract, not one that is being deployed, not an account with
/// delegated code.
#[test]
fn contracts_cannot_do_the_work_of_a_relay() {
    let mut world = World::new();
    world.send(b"");
    world.deliver(1, 1);
    let flow = Flow { lane: world.id, direction: Direction::Outbox };
    let gateway = world.source.gateway;
    let calls = [
        GatewayCall::Checkpoint { gateway, flow },
        world.settlement(1, 1, 1),
        world.retry(1),
        GatewayCall::Raw { to: gateway, data: encode(&world.delivery(1, 1, 1)).unwrap().data },
    ];
    for call in calls {
        let data = encode(&call).unwrap().data;
        let through = probes::forward(gateway, data.clone());
        assert_eq!(world.source.chain.call(relay(), world.sender, through).refused(), "OnlyPlainAccounts");
        let deploying = GatewayCall::DeployCode { code: probes::deploying_caller(gateway, data.clone()) };
        assert_eq!(world.source.submit(relay(), &deploying).refused(), "OnlyPlainAccounts");

        world.source.chain.spec = SpecId::PRAGUE;
        world.source.chain.delegate(account(20), world.sender);
        assert_eq!(world.source.submit(account(20), &call).refused(), "OnlyPlainAccounts");
        world.source.chain.spec = SpecId::LONDON;
    }
}
