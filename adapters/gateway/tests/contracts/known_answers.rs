//! Known answers of deployed contracts, on chains of both flavours, and what they show where a chain computes something else.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, UnixMillis};
use cityrelay_gateway::known_answers::{self, Expected, KnownAnswer};
use cityrelay_gateway::{EncodedCall, Flavour};

use crate::chain::{Chain, Kind, SM3, USUAL};
use crate::world::{Terms, World, owner};

/// Who runs a call for which no account is named.
const NOBODY: Address = Address(Hash32::ZERO);

fn is_right(chain: &mut Chain, by: Address, contract: Address, known: &KnownAnswer) -> bool {
    let receipt = chain.simulated(by, &EncodedCall { to: contract.to_20(), data: known.data.clone() });
    match &known.expected {
        Expected::Returned(answer) => receipt.is_success && receipt.output == *answer,
        Expected::Reverted(data) => !receipt.is_success && receipt.output == *data,
    }
}

/// Of recovery, delivery, sending, and ids of lanes.
fn known(world: &mut World) -> [KnownAnswer; 4] {
    let (lane, now) = (world.id, UnixMillis(world.source.chain.now_millis));
    let (source, destination) = (world.source.status(lane), world.destination.status(lane));
    let set = world.source.committee_in_force();
    let (gateway, committee, domain) = (world.source.gateway, world.source.committee, world.source.domain);
    [
        known_answers::recovery(committee, domain, &set).unwrap(),
        known_answers::message_hash(lane, &destination),
        known_answers::sent_message(lane, &source, NOBODY, now),
        known_answers::lane_hash(gateway, committee, domain).unwrap(),
    ]
}

fn are_right(world: &mut World, [recovery, delivered, sent, lane_hash]: &[KnownAnswer; 4]) -> [bool; 4] {
    let (gateway, committee) = (world.source.gateway, world.source.committee);
    [
        is_right(&mut world.source.chain, NOBODY, committee, recovery),
        is_right(&mut world.destination.chain, NOBODY, world.destination.gateway, delivered),
        is_right(&mut world.source.chain, NOBODY, gateway, sent),
        is_right(&mut world.source.chain, owner(), gateway, lane_hash),
    ]
}

#[test]
fn deployed_contracts_of_both_flavours_give_the_known_answers() {
    for kind in [USUAL, SM3] {
        let mut world = World::with(&Terms { kinds: [kind, kind], ..Terms::default() });
        let asked = known(&mut world);
        assert_eq!(are_right(&mut world, &asked), [true; 4], "{kind:?}");
        // Nothing of it changed anything: the lane goes on, and gives them again behind other heads.
        for number in 1..=3 {
            world.send(&[number]);
        }
        world.deliver(1, 3).ok();
        let asked = known(&mut world);
        assert_eq!(are_right(&mut world, &asked), [true; 4], "{kind:?}");
    }
}

#[test]
fn a_chain_that_computes_something_else_is_seen_by_each_of_them() {
    // The opcode of the usual build computes SM3 there; the crypto contract of the other build is gone.
    for (kind, other) in
        [(USUAL, Kind { flavour: Flavour::Opcode, ..SM3 }), (SM3, Kind { has_crypto_contract: false, ..SM3 })]
    {
        let mut world = World::with(&Terms { kinds: [kind, kind], ..Terms::default() });
        let asked = known(&mut world);
        world.source.chain.kind = other;
        world.destination.chain.kind = other;
        assert_eq!(are_right(&mut world, &asked), [false; 4], "{other:?}");
    }
}

#[test]
fn a_chain_without_recovery_is_seen() {
    let mut world = World::new();
    let asked = known(&mut world);
    world.source.chain.has_precompiles = false;
    assert_eq!(are_right(&mut world, &asked), [false, true, true, true]);
}
