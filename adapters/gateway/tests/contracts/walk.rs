//! Random sequences of sending, checkpoints, deliveries, settlements, rotations, pauses, time and attacks, on chains of both
//! flavours and both executors, with a model as the judge: each index gets exactly one outcome, the one that the model
//! says, the same on both chains, and what is hostile changes nothing. A failing seed prints the line that replays it.

use std::time::Duration;

use alloy_sol_types::SolCall;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, Index};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::Status;
use cityrelay_gateway::{GatewayEvent, Refusal, encode};

use crate::abi::Gateway;
use crate::chain::{Kind, MILLIS, Receipt, SM3, USUAL};
use crate::probes;
use crate::walk_attacks::attack;
use crate::walk_model::{DESTINATION, GATEWAY, Habit, LANE, Model, SOURCE};
use crate::world::{owner, relay, settled, user};

/// Steps of all walks together are 100,000: four kinds of chains, as many seeds, as many steps.
const SEEDS: u64 = 25;
const STEPS: usize = 1_000;

/// Every how many steps everything is compared; the heads are compared after each.
const CHECK_INTERVAL: usize = 32;

#[test]
fn on_chains_whose_opcode_is_keccak() {
    walks("on_chains_whose_opcode_is_keccak", [USUAL, MILLIS]);
}

#[test]
fn on_chains_whose_opcode_is_sm3() {
    walks("on_chains_whose_opcode_is_sm3", [SM3, SM3]);
}

#[test]
fn on_classic_chains_whose_opcode_is_keccak() {
    walks("on_classic_chains_whose_opcode_is_keccak", [MILLIS.classic(), USUAL.classic()]);
}

#[test]
fn on_classic_chains_whose_opcode_is_sm3() {
    walks("on_classic_chains_whose_opcode_is_sm3", [SM3.classic(), SM3.classic()]);
}

fn walks(name: &str, kinds: [Kind; 2]) {
    let only = std::env::var("CITYRELAY_WALK_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let mut counts = [0_usize; 3];
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let _replay = Replay { name, seed };
        for (sum, count) in counts.iter_mut().zip(walk(Model::new(name, seed, kinds))) {
            *sum += count;
        }
    }
    println!("{} messages, {} honest steps, {} hostile ones", counts[0], counts[1], counts[2]);
    if only.is_none() {
        assert_eq!(counts[1] + counts[2], SEEDS as usize * STEPS);
    }
}

/// Prints how to see a failure again.
struct Replay<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed } = self;
            eprintln!(
                "replay: CITYRELAY_WALK_SEED={seed} cargo test -p cityrelay-gateway --test contracts walk::{name}"
            );
        }
    }
}

/// Messages, honest and hostile steps.
fn walk(mut model: Model) -> [usize; 3] {
    let mut hostile = 0;
    for step in 0..STEPS {
        match model.dice.below(20) {
            0..=5 => send(&mut model),
            6..=8 => deliver(&mut model),
            9..=11 => settle(&mut model),
            12 => checkpoint(&mut model),
            13 => match model.dice.below(3) {
                0 => rotate(&mut model),
                1 => retry(&mut model),
                _ => skip(&mut model),
            },
            14 if model.dice.one_in(2) => pause(&mut model),
            14 => {
                let seconds = [1, 5, 30, 400][model.dice.below(4)];
                model.pass(Duration::from_secs(seconds));
            }
            _ => {
                attack(&mut model);
                hostile += 1;
            }
        }
        if step % CHECK_INTERVAL == 0 { model.check() } else { model.check_heads() }
    }
    drain(&mut model);
    [model.world.sent.len(), STEPS - hostile, hostile]
}

/// Name of the error that a call was refused with. Events may be there all the same, on a classic chain.
#[track_caller]
pub fn refused(receipt: &Receipt) -> String {
    assert!(!receipt.is_success, "not refused: {receipt:?}");
    Refusal::decode(&receipt.output).map_or_else(|| format!("0x{}", hex::encode(&receipt.output)), |it| it.name)
}

/// A receiver, its gas, the payload and what the receiver does with it.
fn draw_target(model: &mut Model) -> (Address, u64, Vec<u8>, Habit) {
    const GAS: u64 = 500_000;
    let probe = model.world.receiver;
    let plain = |mode, habit| (probe, GAS, vec![mode, 7], habit);
    match model.dice.below(20) {
        0..=5 => plain(probes::TAKE, Habit::Takes),
        6 => plain(probes::REVERT_EMPTY, Habit::Fails),
        // As if the gas had been short.
        7 => plain(probes::REVERT_WITH_REST, Habit::Fails),
        8 => plain(probes::RETURN_OTHER_WORD, Habit::Fails),
        9 => plain(probes::RETURN_LONGER, Habit::Fails),
        10 => plain(probes::RETURN_NOTHING, Habit::Fails),
        11 => plain(probes::BURN_ALL_GAS, Habit::Fails),
        12 => (probe, 3_000_000, vec![probes::RETURN_MEGABYTE], Habit::Fails),
        13 => plain(probes::DIVE, Habit::Takes),
        14 | 15 => {
            // Re-enters: whatever it tries is refused, and its message counts as taken.
            let inner = reentry(model);
            (probe, GAS, [&[probes::CALL_BACK][..], &inner].concat(), Habit::Takes)
        }
        16 | 17 => (model.places.mortal, GAS, vec![1], Habit::TakesWhileAlive(model.places.mortal)),
        18 if !model.is_strict => {
            let nobody = [
                model.world.destination.gateway,
                model.world.destination.committee,
                precompile(1),
                precompile(2),
                precompile(0x100a),
                Address::from_20([0x52; 20]),
            ];
            (nobody[model.dice.below(nobody.len())], GAS, vec![1], Habit::Fails)
        }
        _ => plain(probes::TAKE, Habit::Takes),
    }
}

fn precompile(number: u16) -> Address {
    let mut bytes = [0; 20];
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    Address::from_20(bytes)
}

/// Calldata that a receiver or a sender throws back at the gateway.
pub fn reentry(model: &mut Model) -> Vec<u8> {
    let (lane, gateway) = (model.world.id, model.world.destination.gateway);
    let call = match model.dice.below(5) {
        0 => {
            let payload = [probes::TAKE];
            let frame = Gateway::executeCall {
                lane: lane.0.0.into(),
                index: model.accepted as u64 + 1,
                sender: user().0.0.into(),
                receiver: model.world.receiver.to_20().unwrap().into(),
                gasLimit: 10_000,
                payload: payload.into(),
            };
            GatewayCall::Raw { to: gateway, data: frame.abi_encode() }
        }
        1 => GatewayCall::Checkpoint { gateway, flow: Flow { lane, direction: Direction::Inbox } },
        2 => GatewayCall::Skip { gateway, lane, index: Index(model.accepted as u64 + 1) },
        3 => GatewayCall::SetPaused { gateway, lane: None, is_paused: true },
        _ if model.accepted < model.world.sent.len() => delivery(model, model.accepted + 1, model.accepted + 1, 0),
        _ => GatewayCall::AcceptOwnership { gateway },
    };
    encode(&call).unwrap().data
}

fn send(model: &mut Model) {
    if !model.alive.contains(&model.places.mortal) && model.dice.one_in(3) {
        model.places.mortal = model.world.destination.deploy(probes::mortal());
        model.alive.insert(model.places.mortal);
        model.allow_receiver(model.places.mortal);
    }
    let (receiver, gas_limit, payload, habit) = draw_target(model);
    let lifetime = [2, 60, 600, 3000][model.dice.below(4)];
    let gateway = model.world.source.gateway;
    let call = GatewayCall::Send {
        gateway,
        lane: model.world.id,
        receiver,
        deadline: model.world.deadline(Duration::from_secs(lifetime)),
        gas_limit,
        payload,
    };
    let mut data = encode(&call).unwrap().data;
    if model.dice.one_in(2) {
        // As applications of the chain's own compiler say it.
        let own = model.world.source.chain.kind.selector("send(bytes32,bytes32,uint64,uint64,bytes)");
        data[..4].copy_from_slice(&own);
    }
    let (sender, chain) = (model.world.sender, &mut model.world.source.chain);
    let receipt = match model.dice.below(8) {
        0..=3 => chain.call(user(), gateway, data),
        4..=6 => chain.call(user(), sender, probes::forward(gateway, data)),
        _ => {
            let depth = model.dice.below(60) as u64;
            chain.call(user(), model.places.deep_caller, probes::dive(depth, gateway, data))
        }
    };
    if model.is_paused(SOURCE) {
        assert_eq!(refused(&receipt), "Paused");
    } else {
        model.world.note_sent(receipt.ok());
        model.habits.push(habit);
    }
}

/// A delivery of `first..=last` under evidence for `beyond` messages more.
pub fn delivery(model: &mut Model, first: usize, last: usize, beyond: usize) -> GatewayCall {
    let point = model.world.outbox[last + beyond];
    let evidence = model.attest(Direction::Outbox, point);
    let now = model.now(DESTINATION);
    let messages = (first..=last).map(|index| {
        let message = model.world.message(index);
        // A body that was lost: its hash will do where the deadline has passed.
        let is_hashed = now > message.deadline.0 && index % 2 == 0;
        if is_hashed { Message { payload: message.payload.hashed(), ..message } } else { message }
    });
    GatewayCall::Deliver {
        gateway: model.world.destination.gateway,
        lane: model.world.id,
        messages: messages.collect(),
        tail: model.world.ids(last + 1, last + beyond),
        evidence,
    }
}

fn deliver(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted == sent {
        return;
    }
    let first = accepted + 1 - model.dice.below(3.min(accepted + 1));
    let last = accepted + 1 + model.dice.below(8.min(sent - accepted));
    let beyond = model.dice.below(4.min(sent - last + 1));
    let call = delivery(model, first, last, beyond);
    let receipt = model.world.destination.submit(relay(), &call);
    if model.is_paused(DESTINATION) {
        assert_eq!(refused(&receipt), "Paused");
        return;
    }
    let Some((statuses, halts_at)) = model.fates(last) else {
        assert_eq!(refused(&receipt), "StillFailing");
        skip(model);
        return;
    };
    let receipt = receipt.ok();
    model.world.note_delivered(&receipt);
    for (index, status) in (accepted + 1..).zip(&statuses) {
        let outcome = model.world.outcomes[index - 1];
        assert_eq!((outcome.index, outcome.status), (Index(index as u64), *status), "message {index}");
        assert_eq!(outcome.message, model.world.sent[index - 1].id(model.world.id));
        note_taken(model, index, *status);
    }
    model.accepted += statuses.len();
    if halts_at.is_some() || !statuses.is_empty() {
        model.halted = halts_at;
    }
    assert_eq!(model.world.outcomes.len(), model.accepted);
}

/// Keeps what the call of a receiver leaves behind.
fn note_taken(model: &mut Model, index: usize, status: Status) {
    if status != Status::Executed {
        return;
    }
    let message = &model.world.sent[index - 1];
    let is_counted = message.receiver == model.world.receiver
        && !matches!(&message.payload, Payload::Bytes(bytes) if bytes.first() == Some(&probes::DIVE));
    model.taken_by_probe += u64::from(is_counted);
    if let Habit::TakesWhileAlive(mortal) = model.habits[index - 1] {
        model.alive.remove(&mortal);
    }
}

/// A settlement of `first..=last` under evidence for `beyond` outcomes more, up to the last message sent.
pub fn settlement(model: &mut Model, first: usize, last: usize, beyond: usize) -> GatewayCall {
    let evidence = model.attest(Direction::Inbox, model.world.inbox[last + beyond]);
    let world = &model.world;
    let pair = |index: usize| {
        let message = world.message(index);
        (Message { payload: message.payload.hashed(), ..message }, world.outcomes[index - 1])
    };
    GatewayCall::Settle {
        gateway: world.source.gateway,
        lane: world.id,
        settlements: (first..=last).map(pair).collect(),
        tail_outcomes: (last..last + beyond).map(|at| world.outcomes[at].hash(world.id)).collect(),
        tail_ids: world.ids(last + 1, world.sent.len()),
        evidence,
    }
}

fn settle(model: &mut Model) {
    let (done, accepted) = (model.done, model.accepted);
    if done == accepted {
        return;
    }
    let mode = [probes::CALLBACK_TAKES, probes::CALLBACK_REVERTS, probes::CALLBACK_BURNS, probes::CALLBACK_CALLS_BACK]
        [model.dice.below(4)];
    let inner = reentry(model);
    model.world.source.chain.call(relay(), model.world.sender, probes::set_mode(mode, inner)).ok();
    let first = done + 1 - model.dice.below(3.min(done + 1));
    let last = done + 1 + model.dice.below(8.min(accepted - done));
    let beyond = model.dice.below(4.min(accepted - last + 1));
    let call = settlement(model, first, last, beyond);
    let receipt = model.world.source.submit(relay(), &call);
    if model.is_paused(SOURCE) {
        assert_eq!(refused(&receipt), "Paused");
        return;
    }
    let is_refusing = mode == probes::CALLBACK_REVERTS || mode == probes::CALLBACK_BURNS;
    let expected: Vec<_> = (done + 1..=last)
        .map(|index| {
            let sender = model.world.sent[index - 1].sender;
            // The deep caller has no callback at all.
            let fails = sender == model.places.deep_caller || (sender == model.world.sender && is_refusing);
            if fails {
                model.pending.insert(index);
            }
            (index as u64, !fails)
        })
        .collect();
    assert_eq!(settled(&receipt.ok()), expected);
    model.done = last;
}

fn retry(model: &mut Model) {
    let Some(index) = model.pending.first().copied() else { return };
    let takes = model.dice.one_in(2);
    let mode = if takes { probes::CALLBACK_TAKES } else { probes::CALLBACK_REVERTS };
    model.world.source.chain.call(relay(), model.world.sender, probes::set_mode(mode, vec![])).ok();
    let call = model.world.retry(index);
    let receipt = model.world.source.submit(user(), &call);
    let has_callback = model.world.sent[index - 1].sender == model.world.sender;
    if model.is_paused(SOURCE) {
        assert_eq!(refused(&receipt), "Paused");
    } else if takes && has_callback {
        receipt.ok();
        model.pending.remove(&index);
        let again = model.world.source.submit(user(), &call);
        assert_eq!(refused(&again), "NoPendingCallback");
    } else {
        assert_eq!(refused(&receipt), "CallbackFailed");
        if !has_callback {
            // It will never be taken; the others behind it still can be.
            model.pending.remove(&index);
        }
    }
}

/// Says again what is vouched for, paused or not.
fn checkpoint(model: &mut Model) {
    let (end, direction) = [(SOURCE, Direction::Outbox), (DESTINATION, Direction::Inbox)][model.dice.below(2)];
    let flow = Flow { lane: model.world.id, direction };
    let point = if end == SOURCE { model.world.outbox.last() } else { model.world.inbox.last() };
    let point = *point.unwrap();
    let city = model.city(end);
    let gateway = city.gateway;
    let receipt = city.submit(user(), &GatewayCall::Checkpoint { gateway, flow }).ok();
    assert_eq!(receipt.events, [GatewayEvent::Checkpoint { flow, point }]);
    assert!(receipt.output.is_empty() && receipt.foreign_logs == 0);
}

fn rotate(model: &mut Model) {
    let end = model.dice.below(2);
    let next = model.draw_seats(end);
    let call = model.rotation(end, &next);
    model.city(end).submit(user(), &call).ok();
    model.seats[end] = next;
    // A rotation is for one epoch: it can't be brought again.
    let again = model.city(end).submit(user(), &call);
    assert!(!again.is_success);
}

fn skip(model: &mut Model) {
    let index = model.accepted + 1;
    let call = model.world.skipping(index as u64);
    let receipt = model.world.at_destination(call);
    let Some(halted) = model.halted else {
        assert_eq!(refused(&receipt), "NotHalted");
        return;
    };
    assert_eq!(halted, index);
    model.world.note_delivered(&receipt.ok());
    assert_eq!(model.world.outcomes[index - 1].status, Status::Skipped);
    model.accepted += 1;
    model.halted = None;
}

/// A pause, or mostly the end of one: what is paused for long shows little.
fn pause(model: &mut Model) {
    let places = [(SOURCE, LANE), (SOURCE, GATEWAY), (DESTINATION, LANE), (DESTINATION, GATEWAY)];
    let drawn = places[model.dice.below(4)];
    let paused = places.into_iter().find(|(end, what)| model.paused[*end][*what]);
    let (end, what) = paused.unwrap_or(drawn);
    let is_paused = paused.is_none();
    let lane = (what == LANE).then_some(model.world.id);
    let city = model.city(end);
    let call = GatewayCall::SetPaused { gateway: city.gateway, lane, is_paused };
    let receipt = city.submit(owner(), &call).ok();
    assert_eq!(receipt.events, [GatewayEvent::PauseChanged { lane, is_paused }]);
    model.paused[end][what] = is_paused;
}

/// Lets everything come to its end, and compares what is left with the invariants.
fn drain(model: &mut Model) {
    for end in [SOURCE, DESTINATION] {
        for what in [LANE, GATEWAY] {
            let lane = (what == LANE).then_some(model.world.id);
            let city = model.city(end);
            let call = GatewayCall::SetPaused { gateway: city.gateway, lane, is_paused: false };
            city.submit(owner(), &call).ok();
        }
        model.paused[end] = [false; 2];
    }
    model.pass(Duration::from_secs(4000));
    while model.accepted < model.world.sent.len() {
        deliver(model);
    }
    while model.done < model.accepted {
        settle(model);
    }
    model.check();
    model.check_calls();
    model.check_redeployed();
    // I2, I3: each index has one outcome, in order, and the settled chain is the whole one.
    let indexes: Vec<u64> = model.world.outcomes.iter().map(|outcome| outcome.index.0).collect();
    assert_eq!(indexes, (1..=model.world.sent.len() as u64).collect::<Vec<_>>());
}
