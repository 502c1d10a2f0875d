//! What hostile callers try in a walk. Each attack must be refused, or change nothing.

use alloy_sol_types::SolCall;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{Evidence, GatewayCall};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Epoch, Index};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_gateway::encode;

use crate::abi::Gateway;
use crate::chain::Receipt;
use crate::probes;
use crate::walk::{delivery, refused, settlement};
use crate::walk_model::{DESTINATION, Model, SOURCE, taking_end};
use crate::world::{account, relay, user};

/// How a committee refuses genuine signatures for something else: they recover to anybody.
const NOT_SIGNED: [&str; 3] = ["SignerUnknown", "SignersNotAscending", "SignatureInvalid"];

/// One attack, drawn by the dice.
pub fn attack(model: &mut Model) {
    match model.dice.below(12) {
        0 => tamper_with_a_delivery(model),
        1 => tamper_with_a_settlement(model),
        2 => replay_on_another_lane(model),
        3 => replay_other_statements(model),
        4 => settle_what_was_never_sent(model),
        5 => work_from_a_contract(model),
        6 => act_as_the_owner(model),
        7 => forge_a_rotation(model),
        8 => undo_a_send(model),
        9 => call_the_frame(model),
        10 => leave_a_gap(model),
        _ => starve_a_delivery(model),
    }
}

#[track_caller]
fn assert_harmless(model: &Model, end: usize, receipt: &Receipt, errors: &[&str]) {
    let name = refused(receipt);
    let is_expected = errors.contains(&name.as_str()) || (model.is_paused(end) && name == "Paused");
    assert!(is_expected, "{name} instead of {errors:?}");
}

/// A message changed, a head changed, a signature left out.
fn tamper_with_a_delivery(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted == sent {
        return;
    }
    let last = accepted + 1 + model.dice.below(4.min(sent - accepted));
    let beyond = model.dice.below(3.min(sent - last + 1));
    let call = delivery(model, accepted + 1, last, beyond);
    let GatewayCall::Deliver { gateway, lane, mut messages, mut tail, mut evidence } = call else { panic!() };
    let at = model.dice.below(messages.len());
    let errors: &[&str] = match model.dice.below(9) {
        0 => {
            messages[at].gas_limit += 1;
            &["HeadMismatch"]
        }
        1 => {
            messages[at].sender = account(99);
            &["HeadMismatch"]
        }
        2 => {
            messages[at].receiver = account(99);
            &["HeadMismatch"]
        }
        3 => {
            // A payload that only its hash is shown of may be refused for that first.
            messages[at].payload = Payload::Bytes(b"other".to_vec());
            &["HeadMismatch"]
        }
        4 => {
            messages[at].deadline.0 += 1_000_000_000;
            &["HeadMismatch", "NotExpired"]
        }
        5 => {
            // The head is right for nobody: who signs it?
            evidence.point.head.0[model.dice.below(32)] ^= 1;
            &["HeadMismatch"]
        }
        6 => {
            let _ = evidence.signatures.pop_first();
            &["TooFewSignatures"]
        }
        7 => {
            evidence.epoch = Epoch(evidence.epoch.0 + 1);
            &["EpochUnknown"]
        }
        _ if !tail.is_empty() => {
            tail[0].0.0[0] ^= 1;
            &["HeadMismatch"]
        }
        _ => {
            // Signatures of the right people for something else.
            let point = ChainPoint { head: Hash32([3; 32]), ..evidence.point };
            evidence.signatures = model.attest(Direction::Outbox, point).signatures;
            &NOT_SIGNED
        }
    };
    let call = GatewayCall::Deliver { gateway, lane, messages, tail, evidence };
    let receipt = model.world.destination.submit(relay(), &call);
    assert_harmless(model, DESTINATION, &receipt, errors);
}

fn tamper_with_a_settlement(model: &mut Model) {
    let (done, accepted) = (model.done, model.accepted);
    if done == accepted {
        return;
    }
    let last = done + 1 + model.dice.below(4.min(accepted - done));
    let call = settlement(model, done + 1, last, 0);
    let GatewayCall::Settle { gateway, lane, mut settlements, tail_outcomes, mut tail_ids, mut evidence } = call else {
        panic!()
    };
    let at = model.dice.below(settlements.len());
    let errors: &[&str] = match model.dice.below(6) {
        0 => {
            // Another outcome than the destination gave.
            let outcome = &mut settlements[at].1;
            outcome.status = if outcome.status == Status::Executed { Status::Failed } else { Status::Executed };
            &["HeadMismatch"]
        }
        1 => {
            settlements[at].1.result_hash = Hash32([7; 32]);
            &["HeadMismatch"]
        }
        2 => {
            // Another message: its id must fit the outcome, or the bindings refuse already.
            settlements[at].0.gas_limit += 1;
            settlements[at].1.message = settlements[at].0.id(lane);
            &["NeverSent", "NoOutboxHeadAt"]
        }
        3 => {
            let _ = evidence.signatures.pop_first();
            &["TooFewSignatures"]
        }
        4 if !tail_ids.is_empty() => {
            tail_ids[0].0.0[0] ^= 1;
            &["NeverSent", "NoOutboxHeadAt"]
        }
        _ => {
            evidence.epoch = Epoch(evidence.epoch.0.wrapping_sub(1));
            &["EpochUnknown"]
        }
    };
    let call = GatewayCall::Settle { gateway, lane, settlements, tail_outcomes, tail_ids, evidence };
    let receipt = model.world.source.submit(relay(), &call);
    assert_harmless(model, SOURCE, &receipt, errors);
}

/// Messages and evidence of this lane on another one between the same gateways, at a gateway that was deployed anew, and
/// under the name of a lane that a chain that was made anew would have.
fn replay_on_another_lane(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted == sent {
        return;
    }
    let call = delivery(model, accepted + 1, accepted + 1, 0);
    let GatewayCall::Deliver { gateway, messages, evidence, .. } = call else { panic!() };
    let bystander = model.bystander.id();
    let (redeployed, second) = (model.redeployed.id(), model.redeployed.destination_gateway);
    let (gateway, lane, errors): (_, _, &[&str]) = match model.dice.below(6) {
        0 => (gateway, bystander, &["Gap", "HeadMismatch"]),
        1 => (gateway, LaneIdentity { salt: Hash32([8; 32]), ..model.world.lane.clone() }.id(), &["LaneIsNot"]),
        2 => (second, model.world.id, &["LaneIsNot"]),
        3 => (second, redeployed, &["Gap", "HeadMismatch"]),
        drawn => {
            // As the other lane's first message, under signatures that are genuine for this one.
            let (gateway, lane) = if drawn == 4 { (gateway, bystander) } else { (second, redeployed) };
            let message = Message { index: Index(1), ..messages[0].clone() };
            let flow = Flow { lane, direction: Direction::Outbox };
            let point = ChainPoint::start(flow).extended(Direction::Outbox, message.id(lane).0);
            let evidence = Evidence { point, ..evidence };
            let call = GatewayCall::Deliver { gateway, lane, messages: vec![message], tail: vec![], evidence };
            let receipt = model.world.destination.submit(relay(), &call);
            return assert_harmless(model, DESTINATION, &receipt, &NOT_SIGNED);
        }
    };
    let call = GatewayCall::Deliver { gateway, lane, messages, tail: vec![], evidence };
    let receipt = model.world.destination.submit(relay(), &call);
    assert_harmless(model, DESTINATION, &receipt, errors);
}

/// Genuine signatures for the other direction, another epoch, another gateway or another chain.
fn replay_other_statements(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted == sent {
        return;
    }
    let call = delivery(model, accepted + 1, accepted + 1, 0);
    let GatewayCall::Deliver { gateway, lane, messages, tail, evidence } = call else { panic!() };
    let mut statement = model.statement(Flow { lane, direction: Direction::Outbox }, evidence.point);
    match model.dice.below(6) {
        0 => statement.flow.direction = Direction::Inbox,
        1 => statement.epoch = Epoch(statement.epoch.0 + 1),
        2 => statement.verifying.gateway = model.redeployed.destination_gateway,
        3 => {
            let domain = model.world.source.domain;
            statement.verifying = GatewayAt { domain, ..statement.verifying };
        }
        4 => statement.flow.lane = model.bystander.id(),
        _ => statement.point.index = statement.point.index.next(),
    }
    let signatures = model.seats[taking_end(Direction::Outbox)].sign(&statement).signatures;
    let call = GatewayCall::Deliver { gateway, lane, messages, tail, evidence: Evidence { signatures, ..evidence } };
    let receipt = model.world.destination.submit(relay(), &call);
    assert_harmless(model, DESTINATION, &receipt, &NOT_SIGNED);
}

/// The whole committee lies: it vouches for the outcome of a message that nobody sent.
fn settle_what_was_never_sent(model: &mut Model) {
    let (done, lane) = (model.done, model.world.id);
    let index = Index(done as u64 + 1);
    let message = Message {
        index,
        sender: user(),
        receiver: account(9),
        deadline: model.world.deadline(core::time::Duration::from_secs(60)),
        gas_limit: 1,
        payload: Payload::Bytes(b"never sent".to_vec()),
    };
    let outcome = Outcome { index, message: message.id(lane), status: Status::Failed, result_hash: Hash32([1; 32]) };
    let point = model.world.inbox[done].extended(Direction::Inbox, outcome.hash(lane));
    let evidence = model.attest(Direction::Inbox, point);
    let tail_ids = if model.dice.one_in(2) { vec![] } else { model.world.ids(done + 2, model.world.sent.len()) };
    let call = GatewayCall::Settle {
        gateway: model.world.source.gateway,
        lane,
        settlements: vec![(message, outcome)],
        tail_outcomes: vec![],
        tail_ids,
        evidence,
    };
    let receipt = model.world.source.submit(relay(), &call);
    assert_harmless(model, SOURCE, &receipt, &["NeverSent", "NoOutboxHeadAt"]);
}

/// A contract could starve a receiver or undo what it does not like.
fn work_from_a_contract(model: &mut Model) {
    let (lane, gateway) = (model.world.id, model.world.destination.gateway);
    let call = if model.accepted < model.world.sent.len() && model.dice.one_in(2) {
        delivery(model, model.accepted + 1, model.accepted + 1, 0)
    } else {
        GatewayCall::Checkpoint { gateway, flow: Flow { lane, direction: Direction::Inbox } }
    };
    let data = encode(&call).unwrap().data;
    let intruder = model.places.intruder;
    let receipt = model.world.destination.chain.call(user(), intruder, probes::forward(gateway, data.clone()));
    assert_eq!(refused(&receipt), "OnlyPlainAccounts");
    // A contract has no code yet while it is made.
    let code = probes::deploying_caller(gateway, data);
    let receipt = model.world.destination.submit(user(), &GatewayCall::DeployCode { code });
    assert_eq!(refused(&receipt), "OnlyPlainAccounts");
}

fn act_as_the_owner(model: &mut Model) {
    let end = model.dice.below(2);
    let (lane, accepted) = (model.world.id, model.accepted as u64);
    let gateway = model.city(end).gateway;
    let call = match model.dice.below(6) {
        0 => GatewayCall::SetPaused { gateway, lane: Some(lane), is_paused: true },
        1 => GatewayCall::SetPaused { gateway, lane: None, is_paused: false },
        2 => GatewayCall::Skip { gateway, lane, index: Index(accepted + 1) },
        3 => GatewayCall::AnnounceClose { gateway, lane },
        4 => GatewayCall::OfferOwnership { gateway, owner: user() },
        _ => GatewayCall::AcceptOwnership { gateway },
    };
    let receipt = model.city(end).submit(user(), &call);
    assert!(["OnlyOwner", "OnlyProposedOwner"].contains(&refused(&receipt).as_str()));
}

/// Another set, which lacks one of the signatures that it needs.
fn forge_a_rotation(model: &mut Model) {
    let end = model.dice.below(2);
    let mut next = model.draw_seats(end);
    let choice = model.dice.below(3);
    if choice == 2 {
        next.epoch += 1;
    }
    let call = model.rotation(end, &next);
    let GatewayCall::Rotate { verifier, members, threshold, mut old, mut new } = call else { panic!() };
    match choice {
        0 => drop(old.pop_first()),
        1 => drop(new.pop_first()),
        _ => {}
    }
    let call = GatewayCall::Rotate { verifier, members, threshold, old, new };
    let receipt = model.city(end).submit(user(), &call);
    let name = refused(&receipt);
    let errors = ["TooFewSignatures", "SignerUnknown", "SignersNotAscending", "SignatureInvalid", "NewMemberMissing"];
    assert!(errors.contains(&name.as_str()), "{name}");
}

/// A message that was sent inside of a call that was reverted was never sent, whatever events say.
fn undo_a_send(model: &mut Model) {
    let data = encode(&model.world.sending(b"undone")).unwrap().data;
    let gateway = model.world.source.gateway;
    let swallower = model.places.swallower;
    let receipt = model.world.source.chain.call(user(), swallower, probes::swallow(gateway, data)).ok();
    let may_send = !model.is_paused(SOURCE) && !model.is_strict;
    let is_classic = model.world.source.chain.kind.is_classic;
    assert_eq!(receipt.events.len(), usize::from(may_send && is_classic), "{receipt:?}");
}

/// The frame around receivers, by whoever is not the gateway.
fn call_the_frame(model: &mut Model) {
    let gateway = model.world.destination.gateway;
    let data = Gateway::executeCall {
        lane: model.world.id.0.0.into(),
        index: model.accepted as u64 + 1,
        sender: user().0.0.into(),
        receiver: model.world.receiver.to_20().unwrap().into(),
        gasLimit: 100_000,
        payload: vec![probes::TAKE].into(),
    };
    let data = data.abi_encode();
    let receipt = model.world.destination.chain.call(user(), gateway, data.clone());
    assert_eq!(refused(&receipt), "OnlySelf");
    let receipt = model.world.destination.chain.call(user(), model.places.intruder, probes::forward(gateway, data));
    assert_eq!(refused(&receipt), "OnlySelf");
}

fn leave_a_gap(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted + 1 < sent {
        let call = delivery(model, accepted + 2, accepted + 2, 0);
        let receipt = model.world.destination.submit(relay(), &call);
        assert_harmless(model, DESTINATION, &receipt, &["Gap", "NotExpired"]);
    }
    if model.done + 1 < accepted {
        let call = settlement(model, model.done + 2, model.done + 2, 0);
        let receipt = model.world.source.submit(relay(), &call);
        assert_harmless(model, SOURCE, &receipt, &["Gap"]);
    }
}

/// A delivery with less gas than its receiver is due decides nothing.
fn starve_a_delivery(model: &mut Model) {
    let (accepted, sent) = (model.accepted, model.world.sent.len());
    if accepted == sent || model.is_paused(DESTINATION) {
        return;
    }
    let index = accepted + 1;
    let is_called = model.now(DESTINATION) <= model.world.sent[index - 1].deadline.0
        && model.world.sent[index - 1].receiver == model.world.receiver;
    if !is_called {
        return;
    }
    let call = delivery(model, index, index, 0);
    let gas = 250_000 + model.dice.below(50_000) as u64;
    let receipt = model.world.destination.chain.transact_with_gas(relay(), &encode(&call).unwrap(), gas);
    assert!(!receipt.is_success, "{gas} gas sufficed for a receiver that is due 500,000");
}
