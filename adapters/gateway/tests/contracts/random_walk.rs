//! Random sequences of sending, delivering, settling, time and mischief: each index gets exactly one outcome, the same
//! on both chains, and both gateways always stand where the model stands. A failing seed is printed.

use std::time::Duration;

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::outcome::Status;

use crate::probes;
use crate::world::{World, relay, settled};

/// A stream of numbers from a seed.
struct Dice(Hash32);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = keccak256(&self.0.0);
        u64::from_be_bytes(*self.0.0.first_chunk().unwrap()) as usize % bound
    }
}

#[test]
fn every_index_gets_exactly_one_outcome_on_both_chains() {
    for seed in 0..8_u64 {
        walk(seed);
    }
}

fn walk(seed: u64) {
    println!("seed {seed}");
    let mut dice = Dice(Hash32::from_u64(seed));
    let mut world = World::new();
    let (mut accepted, mut done) = (0, 0);
    for _ in 0..60 {
        match dice.below(8) {
            0..=2 => {
                let mode = [probes::TAKE, probes::REVERT_EMPTY, probes::RETURN_OTHER_WORD, probes::BURN_ALL_GAS];
                let payload = [mode[dice.below(4)], 7];
                if dice.below(2) == 0 {
                    world.send(&payload)
                } else {
                    world.send_from_contract(&payload)
                };
            }
            3 | 4 if accepted < world.sent.len() => accepted = deliver(&mut world, &mut dice, accepted),
            5 | 6 if done < accepted => done = settle(&mut world, &mut dice, done, accepted),
            7 => world.pass(Duration::from_secs(dice.below(400) as u64)),
            _ => mischief(&mut world, &mut dice, accepted),
        }
        check(&mut world, accepted, done);
    }
    // Drain.
    world.pass(Duration::from_secs(3600));
    if accepted < world.sent.len() {
        world.deliver(accepted + 1, world.sent.len());
    }
    let all = world.sent.len();
    if done < all {
        world.settle(done + 1, all);
    }
    check(&mut world, all, all);
    assert_eq!(world.outcomes.len(), all);
}

fn deliver(world: &mut World, dice: &mut Dice, accepted: usize) -> usize {
    let sent = world.sent.len();
    let first = 1 + dice.below(accepted + 1);
    let last = accepted + 1 + dice.below(sent - accepted);
    let attested = last + dice.below(sent - last + 1);
    let call = world.delivery(first, last, attested);
    let receipt = world.destination.submit(relay(), &call).ok();
    world.note_delivered(&receipt);
    assert_eq!(receipt.events.len(), last - accepted);
    last
}

fn settle(world: &mut World, dice: &mut Dice, done: usize, accepted: usize) -> usize {
    let mode = [probes::CALLBACK_TAKES, probes::CALLBACK_REVERTS][dice.below(2)];
    world.source.chain.call(relay(), world.sender, probes::set_mode(mode, vec![])).ok();
    let first = 1 + dice.below(done + 1);
    let last = done + 1 + dice.below(accepted - done);
    let attested = last + dice.below(accepted - last + 1);
    let call = world.settlement(first, last, attested);
    let receipt = world.source.submit(relay(), &call).ok();
    assert_eq!(settled(&receipt).len(), last - done);
    last
}

/// Calls that must change nothing.
fn mischief(world: &mut World, dice: &mut Dice, accepted: usize) {
    let sent = world.sent.len();
    if sent == 0 {
        return;
    }
    let last = 1 + dice.below(sent);
    let GatewayCall::Deliver { gateway, lane, mut messages, tail, mut evidence } = world.delivery(1, last, sent) else {
        panic!();
    };
    match dice.below(3) {
        0 => messages[last - 1].gas_limit += 1,
        1 => evidence.point.head.0[dice.below(32)] ^= 1,
        _ => drop(evidence.signatures.pop_first()),
    }
    let call = GatewayCall::Deliver { gateway, lane, messages, tail, evidence };
    let receipt = world.destination.submit(relay(), &call);
    // Where everything was accepted before, nothing is looked at and nothing happens.
    assert!(receipt.events.is_empty() && receipt.is_success == (last <= accepted), "{receipt:?}");
}

fn check(world: &mut World, accepted: usize, done: usize) {
    let (id, sent) = (world.id, world.sent.len());
    let destination = world.destination.status(id);
    assert_eq!((destination.own, destination.peer), (world.inbox[accepted], world.outbox[accepted]));
    let source = world.source.status(id);
    assert_eq!((source.own, source.peer), (world.outbox[sent], world.inbox[done]));
    assert_eq!(source.settled_outbox_head, world.outbox[done].head);
    assert!(world.outcomes.iter().all(|outcome| outcome.status != Status::Skipped));
}
