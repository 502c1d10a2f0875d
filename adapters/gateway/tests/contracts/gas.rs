//! What messages cost, and that the estimates lie above it. `cargo test -p cityrelay-gateway gas -- --nocapture`
//! prints the table of the README.

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::Index;
use cityrelay_gateway::cost::{self, Cost};
use cityrelay_gateway::{Flavour, encode, examples};

use crate::chain::GAS;
use crate::probes;
use crate::world::{Terms, World, owner, relay, statuses, user};

/// Signatures in the evidence of a [`World`]: three of four.
const SIGNATURES: usize = 3;

/// A world with one earlier message, so that no slot is written first. The receiver is the example board, or a
/// contract that takes everything and does nothing.
fn warmed(has_board: bool) -> World {
    let mut world = World::with(&Terms::default());
    if has_board {
        let board = examples::deploy_notice_board(world.destination.gateway).unwrap();
        let board = world.destination.chain.transact(owner(), &board).ok().created.unwrap();
        world.destination.chain.call(owner(), board, examples::trust_lane(world.id, true)).ok();
        world.receiver = board;
    } else {
        world.receiver = world.destination.deploy(taker());
    }
    world.send(&[0x5a; 256]);
    world.deliver(1, 1);
    world.settle(1, 1);
    world
}

/// Init code of a contract that answers every call with the word of a receiver that took the message.
fn taker() -> Vec<u8> {
    // PUSH32 word, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN
    let runtime =
        [&[0x7f][..], &keccak256(b"cityrelay.v1.received").0, &[0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]].concat();
    // PUSH1 length, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 length, PUSH1 0, RETURN
    let length = u8::try_from(runtime.len()).unwrap();
    [&[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3][..], &runtime].concat()
}

/// Gas of sending, delivering and settling `count` messages, each as a whole.
fn measured(count: usize, has_board: bool) -> [u64; 3] {
    let mut world = warmed(has_board);
    let mut sending = 0;
    for _ in 0..count {
        sending += world.source.chain.simulate(user(), &world.sending(&[0x5a; 256])).gas_used;
        world.send(&[0x5a; 256]);
    }
    let delivery = world.delivery(2, count + 1, count + 1);
    let delivered = world.deliver(2, count + 1);
    assert!(statuses(&delivered).iter().all(|status| status.as_str() == "executed"));
    let settlement = world.settlement(2, count + 1, count + 1);
    let settled = world.settle(2, count + 1);
    assert_estimates(&delivery, delivered.gas_used);
    assert_estimates(&settlement, settled.gas_used);
    [sending, delivered.gas_used, settled.gas_used]
}

#[test]
fn gas_per_message() {
    println!("| batch | send | deliver, to a receiver that does nothing | deliver, to the example receiver | settle |");
    println!("|---|---|---|---|---|");
    for (count, bound) in [(1, BOUND_OF_1), (16, BOUND_OF_16), (64, BOUND_OF_64)] {
        let [sending, delivering, settling] = measured(count, false).map(|gas| gas / count as u64);
        let [_, with_board, _] = measured(count, true).map(|gas| gas / count as u64);
        println!("| {count} | {sending} | {delivering} | {with_board} | {settling} |");
        assert!(delivering < bound, "{delivering} gas per message delivered in batches of {count}");
    }
}

#[test]
fn what_one_send_costs_more_than_another_is_bounded() {
    let mut world = warmed(false);
    let mut used = Vec::new();
    let mut simulate = |world: &mut World| {
        used.push(world.source.chain.simulate(user(), &world.sending(&[0x5a; 256])).gas_used);
    };
    for _ in 2..=127 {
        simulate(&mut world);
        world.send(&[0x5a; 256]);
    }
    // No. 128, as the first of a block after many that shared one.
    world.source.chain.block_number += 1;
    simulate(&mut world);
    let spread = used.iter().max().unwrap() - used.iter().min().unwrap();
    assert!(spread <= cost::SEND_SPREAD, "{spread}");
    assert!(spread > cost::SEND_SPREAD - 5_000, "{spread}: the bound is far above what happens");
}

// A tenth above what the README says: more is a regression.
const BOUND_OF_1: u64 = 118_000;
const BOUND_OF_16: u64 = 24_500;
const BOUND_OF_64: u64 = 19_900;

fn assert_estimates(call: &GatewayCall, used: u64) {
    let estimate = match call {
        GatewayCall::Deliver { messages, tail, .. } => {
            cost::deliver_cost(Flavour::Opcode, messages, tail.len(), SIGNATURES)
        }
        GatewayCall::Settle { settlements, tail_outcomes, tail_ids, .. } => cost::settle_cost(
            Flavour::Opcode,
            settlements.len(),
            tail_outcomes.len(),
            tail_ids.len(),
            SIGNATURES,
            100_000,
        ),
        _ => panic!(),
    };
    assert!(estimate.gas >= used, "estimated {}, used {used}", estimate.gas);
    let bytes = encode(call).unwrap().data.len() as u64;
    assert!(estimate.calldata_bytes >= bytes, "estimated {} bytes, encoded {bytes}", estimate.calldata_bytes);
}

/// The estimate is enough gas for a batch whose receivers use everything they are given.
#[test]
fn the_estimate_covers_receivers_that_use_all_their_gas() {
    for (count, size) in [(1_usize, 0_usize), (5, 4000), (20, 256)] {
        let mut world = World::new();
        for _ in 0..count {
            let mut payload = vec![probes::BURN_ALL_GAS];
            payload.resize(size.max(1), 0xff);
            world.send(&payload);
        }
        let call = world.delivery(1, count, count);
        let estimate = cost::deliver_cost(Flavour::Opcode, &world.sent, 0, SIGNATURES);
        let receipt = world.destination.chain.transact_with_gas(relay(), &encode(&call).unwrap(), estimate.gas).ok();
        assert!(receipt.gas_used <= estimate.gas);
        assert!(estimate.gas < 2 * receipt.gas_used, "{} for {}", estimate.gas, receipt.gas_used);
    }
}

#[test]
fn the_estimate_covers_callbacks_that_fail() {
    for count in [1, 10] {
        let mut world = World::new();
        world.source.chain.call(user(), world.sender, probes::set_mode(probes::CALLBACK_BURNS, vec![])).ok();
        for _ in 0..count {
            world.send_from_contract(b"");
        }
        world.deliver(1, count);
        let call = world.settlement(1, count, count);
        let estimate = cost::settle_cost(Flavour::Opcode, count, 0, 0, SIGNATURES, 100_000);
        let receipt = world.source.chain.transact_with_gas(relay(), &encode(&call).unwrap(), estimate.gas).ok();
        assert!(estimate.gas < 2 * receipt.gas_used, "{} for {}", estimate.gas, receipt.gas_used);
    }
}

#[test]
fn batches_are_cut_to_what_fits() {
    let mut world = World::new();
    for _ in 0..20 {
        world.send(&[1; 256]);
    }
    let all = Cost { calldata_bytes: u64::MAX, gas: u64::MAX };
    assert_eq!(cost::deliverable(Flavour::Opcode, &world.sent, 0, SIGNATURES, all), 20);
    assert_eq!(cost::deliverable(Flavour::Opcode, &[], 0, SIGNATURES, all), 0);
    let nothing = Cost { calldata_bytes: 100, gas: u64::MAX };
    assert_eq!(cost::deliverable(Flavour::Opcode, &world.sent, 0, SIGNATURES, nothing), 0);

    let limit = Cost { calldata_bytes: 1_000_000, gas: 3_000_000 };
    let fitting = cost::deliverable(Flavour::Opcode, &world.sent, 0, SIGNATURES, limit);
    assert!((1..20).contains(&fitting));
    assert!(cost::deliver_cost(Flavour::Opcode, &world.sent[..fitting], 20 - fitting, SIGNATURES).gas <= limit.gas);
    assert!(cost::deliver_cost(Flavour::Opcode, &world.sent[..=fitting], 19 - fitting, SIGNATURES).gas > limit.gas);
    let call = world.delivery(1, fitting, 20);
    let receipt = world.destination.chain.transact_with_gas(relay(), &encode(&call).unwrap(), limit.gas).ok();
    assert_eq!(statuses(&receipt).len(), fitting);
    assert_eq!(world.destination.status(world.id).own.index, Index(fitting as u64));

    let limit = Cost { calldata_bytes: 4000, gas: GAS };
    let settleable = cost::settleable(Flavour::Opcode, 20, 0, 5, SIGNATURES, 100_000, limit);
    assert!((1..20).contains(&settleable));
    assert!(
        cost::settle_cost(Flavour::Opcode, settleable, 20 - settleable, 25 - settleable, SIGNATURES, 100_000)
            .calldata_bytes
            <= 4000
    );
}
