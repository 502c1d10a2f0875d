//! One scenario per invariant that the machine upholds. The seeded runs in `simulation.rs` check I1 to I4 at every step;
//! here each meets the one situation that it is for.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use cityrelay_core::ids::Index;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::OrderId;
use cityrelay_core::machine::input::Input;
use cityrelay_core::order::{Action, Choice, Operator, Order};
use cityrelay_core::record::{Frozen, Misbehaviour};
use cityrelay_simulation::finish;
use cityrelay_simulation::model_chain::ChainKind;
use cityrelay_simulation::process::Behaviour;
use cityrelay_simulation::weather::Fault;
use cityrelay_simulation::world::{EPOCH_MILLIS, RELAYS, World};

/// A short run: seven seconds of traffic, no breakage of its own.
fn short(seed: u64) -> World {
    let mut world = World::without_faults(seed);
    world.plan.traffic_millis = 7000;
    world.plan.calm_millis = 8000;
    world
}

fn run_until(world: &mut World, millis: u64) {
    while world.violation.is_none() && world.now.0 < EPOCH_MILLIS + millis && world.step() {}
    assert_eq!(world.violation, None);
}

#[test]
fn i1_what_the_source_did_not_finalise_is_never_taken_in() {
    for seed in 1..=4 {
        let mut world = short(seed);
        world.plan.faults.push((Fault::FalseFrames, u64::MAX / 4));
        world.plan.calm_millis = 40_000;
        world.begin();
        for relay in 0..RELAYS {
            world.processes[relay].weather.false_frames = 700;
        }
        let run = finish(seed, world).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(run.tally["claims refused"] > 0 && run.tally["false frames"] > 10, "{:?}", run.tally);
    }
}

#[test]
fn i2_exactly_once_whatever_crashes_after_which_effect() {
    // Two relays and an attester, each dying after each of its first effects, in steps that share no factor with the
    // rhythm of the polls.
    for (who, last, step) in [(0, 270, 7), (1, 270, 7), (2, 110, 3)] {
        for effects in (0..last).step_by(step) {
            let mut world = short(2);
            // Enough for every process to do something all the time.
            world.plan.steady = Some((0, 150));
            world.plan.traffic_millis = 8000;
            world.plan.calm_millis = 9000;
            world.begin();
            world.processes[usize::try_from(who).unwrap()].weather.dies_after = Some(effects);
            let run = finish(effects, world).unwrap_or_else(|failure| panic!("process {who}: {failure}"));
            assert_eq!(run.tally.get("crashes"), Some(&1), "process {who} after {effects} effects");
        }
    }
}

#[test]
fn i3_a_relay_that_reports_an_index_done_can_show_all_before_it() {
    let mut world = short(5);
    world.begin();
    let mut shown = 0;
    while world.violation.is_none() && world.now.0 < EPOCH_MILLIS + 40_000 && world.step() {
        for flow in world.flows() {
            let relay = &world.processes[world.chain_of(flow, false)].disk;
            let done = relay.done(flow);
            if done > Index(shown) {
                shown = done.0;
                assert_eq!(relay.entries(flow, Index(1), done).unwrap().len() as u64, done.0);
                assert_eq!(relay.links(flow, Index(1), done).len() as u64, done.0);
            }
        }
    }
    assert_eq!(world.violation, None);
    assert!(shown > 0, "something was done");
}

#[test]
fn i4_no_signature_while_the_disk_keeps_nothing() {
    let mut world = short(6);
    world.plan.faults.push((Fault::BadDisk, u64::MAX / 4));
    world.begin();
    run_until(&mut world, 2000);
    for attester in RELAYS..world.processes.len() {
        world.processes[attester].weather.is_disk_failing = true;
    }
    // What was durable before may still be on its way.
    run_until(&mut world, 2500);
    let before = world.signed.clone();
    run_until(&mut world, 7900);
    assert_eq!(world.signed, before);
    let run = finish(6, world).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(run.tally["signatures"] > 0, "they sign once the disk is whole");
}

#[test]
fn i7_one_attester_in_trouble_does_not_slow_the_others() {
    let time = |behaviour| {
        let mut world = short(7);
        world.processes[RELAYS].behaviour = behaviour;
        world.plan.bad_attester = Some((PeerId(2), behaviour));
        world.plan.stays_bad = true;
        world.begin();
        finish(7, world).unwrap_or_else(|failure| panic!("{failure}")).millis
    };
    let sound = time(Behaviour::Honest);
    for behaviour in [Behaviour::Silent, Behaviour::Rubbish, Behaviour::Equivocating] {
        let slowed = time(behaviour);
        assert!(slowed < sound + 5000, "{behaviour:?}: {slowed} ms instead of {sound} ms");
    }
}

#[test]
fn i8_two_final_headers_freeze_the_client_until_somebody_decides() {
    let mut world = short(8);
    world.plan.stays_frozen = true;
    world.plan.steady = Some((0, 400));
    world.plan.faults.push((Fault::Fork, u64::MAX / 4));
    world.begin();
    run_until(&mut world, 4000);
    let attester = RELAYS;
    let id = PeerId(2);
    world.processes[attester].weather.shows_fork = true;
    run_until(&mut world, 7000);
    world.processes[attester].weather.shows_fork = false;
    let is_frozen = |world: &World, chain: usize| {
        let status = world.processes[attester].machine.as_ref().unwrap().status();
        let client = status.clients.into_iter().find(|client| client.domain == world.chains[chain].domain).unwrap();
        (client.is_frozen(), client.height)
    };
    let (frozen, height) = is_frozen(&world, 0);
    assert!(frozen, "the client of the chain that contradicts itself is frozen");
    let kept = world.processes[attester].disk.misbehaviour();
    let is_kept =
        kept.iter().any(|kept| matches!(kept, Misbehaviour::Equivocation { ours, .. } if ours.height == height));
    assert!(is_kept, "both headers are kept: {kept:?}");

    // It signs nothing about that chain any more, also after a restart; the three others carry on.
    let signed_from = |world: &World| {
        let of_chain = world.signed.keys().filter(|(who, flow, _)| *who == id && world.chain_of(*flow, true) == 0);
        of_chain.count()
    };
    let before = signed_from(&world);
    world.crash(id);
    let mut world = run_to_rest(world);
    assert_eq!(signed_from(&world), before);
    let (frozen, later) = is_frozen(&world, 0);
    assert!(frozen && later == height, "a restart thaws nothing");

    // An operator decides.
    decide(&mut world, attester, 0);
    let until = world.now.0 - EPOCH_MILLIS + 5000;
    run_until(&mut world, until);
    let (frozen, later) = is_frozen(&world, 0);
    assert!(!frozen && later > height, "it goes on from {height}, at {later}");
}

/// The operator of a process lets its client of a chain go on with the header that it held.
fn decide(world: &mut World, process: usize, chain: usize) {
    let id = PeerId(u32::try_from(process).unwrap());
    let domain = world.chains[chain].domain;
    let status = world.processes[process].machine.as_ref().unwrap().status();
    let frozen = status.clients.iter().find(|client| client.domain == domain).unwrap().frozen.unwrap();
    let Frozen { height, ours, theirs } = frozen;
    let action = Action::Unfreeze { domain, height, ours, theirs, choice: Choice::Ours };
    let who = Operator { uid: 0, name: "operator".to_owned() };
    let order = Order { who, reason: "compared out of band".to_owned(), action };
    world.handle(id, Input::Order { id: OrderId(1), order: order.clone() });
    let until = world.now.0 - EPOCH_MILLIS + 1000;
    run_until(world, until);
    let kept = world.processes[process].disk.audit();
    assert_eq!(kept.first().map(|kept| &kept.order), Some(&order), "the order is kept");
}

#[test]
fn i8_an_own_node_that_holds_another_block_freezes_the_client_and_nothing_is_attested() {
    let mut world = short(18);
    world.plan.stays_frozen = true;
    world.plan.faults.push((Fault::NodeApart, u64::MAX / 4));
    world.plan.steady = Some((0, 400));
    world.begin();
    run_until(&mut world, 4000);
    let chain = world.chains.iter().position(|chain| chain.kind == ChainKind::Checkpoint).unwrap();
    let (attester, id) = (RELAYS, PeerId(2));
    world.processes[attester].weather.own_node_is_apart = true;
    run_until(&mut world, 7000);
    let client = |world: &World| {
        let status = world.processes[attester].machine.as_ref().unwrap().status();
        status.clients.into_iter().find(|client| client.domain == world.chains[chain].domain).unwrap()
    };
    let frozen = client(&world).frozen.expect("the client is frozen");
    let kept = world.processes[attester].disk.misbehaviour();
    let is_kept = kept.iter().any(|kept| match kept {
        Misbehaviour::Contradiction { ours, theirs, node, .. } => {
            (ours.height, ours.hash, *theirs, node.as_str()) == (frozen.height, frozen.ours, frozen.theirs, "own")
        }
        _ => false,
    });
    assert!(is_kept, "both statements and the node's name are kept: {kept:?}");
    let signed = |world: &World| {
        world.signed.keys().filter(|(who, flow, _)| *who == id && world.chain_of(*flow, true) == chain).count()
    };
    let before = signed(&world);
    world.crash(id);
    let mut world = run_to_rest(world);
    assert_eq!(signed(&world), before, "the three others carry on without it, also after a restart");

    // Its node is put right, and the operator decides.
    world.processes[attester].weather.own_node_is_apart = false;
    decide(&mut world, attester, chain);
    let until = world.now.0 - EPOCH_MILLIS + 5000;
    run_until(&mut world, until);
    let client = client(&world);
    assert!(client.frozen.is_none() && client.confirmed > frozen.height, "it goes on: {client:?}");
}

fn run_to_rest(mut world: World) -> World {
    // The attester that a test killed is back as well; those beyond the attesters may never start.
    let is_up = |world: &World| world.processes.iter().take(RELAYS + 1).all(|process| process.machine.is_some());
    while !(world.is_complete() && is_up(&world)) {
        assert!(world.now.0 < EPOCH_MILLIS + 120_000, "not at rest:\n{}", world.standing());
        let until = world.now.0 - EPOCH_MILLIS + 1000;
        run_until(&mut world, until);
    }
    world.verify_rest();
    assert_eq!(world.violation, None);
    let sent: usize = world.chains[0].gateway.sources.values().map(|lane| lane.messages.len()).sum();
    assert!(sent > 0, "there was something to carry");
    world
}
