//! The contracts on chains whose hash opcode is not keccak256: what a wrong build meets, and that the right one does
//! there what the usual one does elsewhere.

use std::time::Duration;

use alloy_sol_types::{SolCall, SolConstructor};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Address, Domain, Index};
use cityrelay_core::outcome::Status;
use cityrelay_devnet::execution::CryptoSuite;
use cityrelay_gateway::artifact::Shipped;
use cityrelay_gateway::flavour::Selectors;
use cityrelay_gateway::{EncodedCall, Flavour, GatewayEvent, Refusal, artifact, cost, encode, encode_for, query};

use crate::abi::PrecompileGateway;
use crate::artifacts::{read, signature};
use crate::chain::{Chain, Kind, Receipt, SM3, USUAL};
use crate::probes::{self, Sm3Application};
use crate::world::{Terms, World, attester_key, members, owner, relay, settled, statuses, user};

/// Its own crypto contract knows the usual selectors, its opcode is keccak256.
const WITH_CRYPTO_CONTRACT: Kind = Kind { has_crypto_contract: true, ..USUAL };
/// Where the crypto contract stands.
const CRYPTO_CONTRACT: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x0a];
/// SM3, and applications made by the chain's own compiler.
const SM3_APPLICATIONS: Kind = Kind { flavour: Flavour::Precompile { callbacks: Selectors::Sm3 }, ..SM3 };

fn deployments(kind: Kind) -> [GatewayCall; 2] {
    let domain = Domain(keccak256(b"here"));
    let gateway = GatewayCall::DeployGateway {
        domain,
        owner: owner(),
        announce_delay: Duration::ZERO,
        close_delay: Duration::ZERO,
        clock_is_millis: kind.clock_is_millis,
    };
    [GatewayCall::DeployCommittee { domain, members: members(&[attester_key(1)]), threshold: 1 }, gateway]
}

#[test]
fn a_build_for_another_chain_does_not_go_into_service() {
    for (kind, flavour, error) in [
        (SM3, Flavour::Opcode, "HashIsNotKeccak"),
        (USUAL, SM3.flavour, "HashUnanswered"),
        (WITH_CRYPTO_CONTRACT, SM3.flavour, "HashUnanswered"),
        (WITH_CRYPTO_CONTRACT, SM3_APPLICATIONS.flavour, "HashUnanswered"),
    ] {
        for call in deployments(kind) {
            let receipt = Chain::new(kind).transact(owner(), &encode_for(flavour, &call).unwrap());
            assert_eq!(receipt.refused(), error, "{flavour:?} on {kind:?}");
        }
    }
    for kind in [USUAL, WITH_CRYPTO_CONTRACT, SM3, SM3_APPLICATIONS] {
        for call in deployments(kind) {
            Chain::new(kind).submit(owner(), &call).ok();
        }
    }
}

/// Whatever its immutable values are.
#[test]
fn the_deployed_code_of_both_flavours_is_recognized() {
    for kind in [USUAL, SM3, SM3_APPLICATIONS] {
        let world = World::with(&Terms { kinds: [kind, kind], ..Terms::default() });
        for (contract, shipped) in
            [(world.source.gateway, Shipped::Gateway), (world.source.committee, Shipped::Committee)]
        {
            assert_eq!(artifact::recognize(&world.source.chain.code(contract)), Some(shipped), "{kind:?}");
        }
        assert_eq!(artifact::recognize(&world.source.chain.code(world.sender)), None);
    }
}

#[test]
fn opening_a_lane_repeats_the_test_of_the_hash() {
    let mut world = World::with(&Terms { kinds: [SM3, SM3], is_open: false, ..Terms::default() });
    let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: world.id };
    world.source.chain.kind = Kind { has_crypto_contract: false, ..SM3 };
    assert_eq!(world.at_source(open.clone()).refused(), "HashUnanswered");
    world.source.chain.kind = SM3;
    world.at_source(open).ok();
}

/// What stands at the crypto contract's address instead of it, and how that is refused: in EVM code, so that the answer may
/// have any length.
#[test]
fn a_crypto_contract_that_fails_or_answers_another_length_or_hash_is_refused() {
    let answering = |length: u8| vec![0x60, length, 0x60, 0, 0xf3];
    let cases = [
        (vec![0x00], "HashUnanswered"),
        (answering(1), "HashUnanswered"),
        (answering(31), "HashUnanswered"),
        (answering(33), "HashUnanswered"),
        (answering(64), "HashUnanswered"),
        (vec![0x60, 32, 0x60, 0, 0xfd], "HashUnanswered"),
        (vec![0xfe], "HashUnanswered"),
        (answering(32), "HashIsNotKeccak"),
    ];
    for (code, error) in cases {
        let kind = Kind { has_crypto_contract: false, ..SM3 };
        for call in deployments(kind) {
            let mut chain = Chain::new(kind);
            chain.put_code(CRYPTO_CONTRACT, &code);
            assert_eq!(chain.submit(owner(), &call).refused(), error, "{code:?}");
        }
        // One that goes wrong later: no lane is opened, and nothing is delivered.
        let mut world = World::with(&Terms { kinds: [SM3, SM3], is_open: false, ..Terms::default() });
        world.source.chain.kind = kind;
        world.source.chain.put_code(CRYPTO_CONTRACT, &code);
        let open = GatewayCall::OpenLane { gateway: world.source.gateway, lane: world.id };
        assert_eq!(world.at_source(open).refused(), error, "{code:?}");
        let mut world = World::with(&Terms { kinds: [SM3, SM3], ..Terms::default() });
        world.send(b"before");
        let delivery = world.delivery(1, 1, 1);
        world.destination.chain.kind = kind;
        world.destination.chain.put_code(CRYPTO_CONTRACT, &code);
        let refused = world.destination.chain.submit(relay(), &delivery).refused();
        assert!(error == "HashIsNotKeccak" || refused == error, "{code:?}: {refused}");
    }
}

#[test]
fn a_gateway_says_which_selectors_it_calls_with_and_refuses_unknown_ones() {
    for kind in [SM3, SM3_APPLICATIONS] {
        let mut world = World::with(&Terms { kinds: [USUAL, kind], ..Terms::default() });
        let answer = world.destination.chain.view(world.destination.gateway, query::callback_selectors());
        let callbacks = query::decode_callback_selectors(&answer).unwrap();
        assert_eq!(Flavour::Precompile { callbacks }, kind.flavour);
    }
    let arguments = PrecompileGateway::constructorCall {
        domain: [1; 32].into(),
        clock: 1,
        openDelayMillis: 0,
        closeDelayMillis: 0,
        owner: [1; 20].into(),
        callbackSelectors: 2,
    };
    let data = [artifact::PRECOMPILE_GATEWAY_INIT_CODE, &arguments.abi_encode()].concat();
    let receipt = Chain::new(SM3).transact(owner(), &EncodedCall { to: None, data });
    assert_eq!(receipt.refused(), "CallbackSelectorsUnknown");
}

/// A message each way of every pair of chains: a callback taken, a receiver that reverts, an expired one.
#[test]
fn messages_cross_between_chains_of_all_flavours() {
    let classic = [USUAL.classic(), SM3.classic()];
    for kinds in [[USUAL, SM3], [SM3, USUAL], [SM3, SM3], [WITH_CRYPTO_CONTRACT, SM3], classic] {
        let mut world = World::with(&Terms { kinds, ..Terms::default() });
        world.send_from_contract(&[probes::TAKE]);
        world.send_from_contract(&[probes::REVERT_EMPTY]);
        let receipt = world.deliver(1, 2);
        assert_eq!(statuses(&receipt), [Status::Executed, Status::Failed], "{kinds:?}");
        world.send(b"too late");
        world.pass(Duration::from_secs(601));
        assert_eq!(statuses(&world.deliver(3, 3)), [Status::Expired]);
        assert_eq!(settled(&world.settle(1, 3)), [(1, true), (2, true), (3, true)]);
        let (id, end) = (world.id, Index(3));
        assert_eq!((world.source.status(id).peer.index, world.destination.status(id).peer.index), (end, end));
        assert_eq!(world.committees(), [4, 4], "{kinds:?}");
    }
}

impl World {
    /// How many members the committees say they have.
    fn committees(&mut self) -> [usize; 2] {
        [self.source.committee_in_force(), self.destination.committee_in_force()].map(|set| set.members().len())
    }
}

/// Every function but `execute` answers to the selector that a compiler with SM3 makes exactly as to its own.
#[test]
fn every_function_answers_to_both_selectors() {
    let mut world = World::with(&Terms { kinds: [SM3, SM3], ..Terms::default() });
    let (gateway, committee) = (world.source.gateway, world.source.committee);
    for (artifact, contract) in [("PrecompileGateway.json", gateway), ("PrecompileCommittee.json", committee)] {
        let artifact = read(artifact);
        let functions = artifact["abi"].as_array().unwrap().iter().filter(|item| item["type"] == "function");
        for signature in functions.map(signature) {
            // Zeros are valid arguments of every function, also as offsets and lengths.
            let mut ask = |suite: CryptoSuite| {
                let data = [&suite.selector(&signature)[..], &[0; 1024]].concat();
                let call = GatewayCall::Raw { to: contract, data };
                let receipt = world.source.chain.simulated(user(), &encode(&call).unwrap());
                (receipt.is_success, receipt.output)
            };
            let (usual, twin) = (ask(CryptoSuite::Standard), ask(CryptoSuite::Gm));
            assert!(usual.0 || !usual.1.is_empty(), "{signature} does not take zeros");
            if signature.starts_with("execute(") {
                assert_eq!(twin, (false, Vec::new()));
            } else {
                assert_eq!(twin, usual, "{signature}");
            }
        }
        let unknown = GatewayCall::Raw { to: contract, data: vec![1, 2, 3, 4] };
        let unknown = world.source.chain.simulated(user(), &encode(&unknown).unwrap());
        assert_eq!((unknown.is_success, unknown.output), (false, Vec::new()));
        let nothing = GatewayCall::Raw { to: contract, data: vec![] };
        assert!(!world.source.chain.simulated(user(), &encode(&nothing).unwrap()).is_success);
    }
}

/// A caller stays who it is, whichever selector it uses.
#[test]
fn the_owner_is_known_under_both_selectors() {
    let mut world = World::with(&Terms { kinds: [SM3, SM3], ..Terms::default() });
    let gateway = world.source.gateway;
    let pause = [&CryptoSuite::Gm.selector("pause(bytes32)")[..], &world.id.0.0].concat();
    let refused = world.source.chain.call(user(), gateway, pause.clone());
    assert_eq!(Refusal::decode(&refused.output).unwrap().name, "OnlyOwner");
    let receipt = world.source.chain.call(owner(), gateway, pause).ok();
    assert_eq!(receipt.events, [GatewayEvent::PauseChanged { lane: Some(world.id), is_paused: true }]);
}

#[test]
fn applications_of_the_chains_own_compiler_send_receive_and_learn_outcomes() {
    let mut world = World::with(&Terms { kinds: [SM3_APPLICATIONS, SM3_APPLICATIONS], ..Terms::default() });
    let sender = world.source.deploy(probes::init_code("Sm3Application"));
    world.receiver = world.destination.deploy(probes::init_code("Sm3Application"));
    world.send_as(sender, b"by its own selector");
    assert_eq!(statuses(&world.deliver(1, 1)), [Status::Executed]);
    assert_eq!(settled(&world.settle(1, 1)), [(1, true)]);
    let count = |receipt: Vec<u8>| receipt.last().copied();
    let messages = Sm3Application::messagesCall {}.abi_encode();
    assert_eq!(count(world.destination.chain.view(world.receiver, messages)), Some(1));
    let outcomes = Sm3Application::outcomesCall {}.abi_encode();
    assert_eq!(count(world.source.chain.view(sender, outcomes)), Some(1));
}

/// The configured selectors are the only ones that are called.
#[test]
fn applications_of_the_other_compiler_are_not_reached() {
    let mut world = World::with(&Terms { kinds: [SM3, SM3], ..Terms::default() });
    let sender = world.source.deploy(probes::init_code("Sm3Application"));
    world.receiver = world.destination.deploy(probes::init_code("Sm3Application"));
    world.send_as(sender, b"by the usual selector");
    assert_eq!(statuses(&world.deliver(1, 1)), [Status::Failed]);
    assert_eq!(settled(&world.settle(1, 1)), [(1, false)]);
}

impl World {
    /// Sends through an [`Sm3Application`].
    fn send_as(&mut self, sender: Address, payload: &[u8]) {
        let data = Sm3Application::sendCall {
            gateway: self.source.gateway.to_20().unwrap().into(),
            lane: self.id.0.0.into(),
            receiver: self.receiver.0.0.into(),
            deadlineMillis: self.deadline(Duration::from_secs(600)).0,
            gasLimit: 500_000,
            payload: payload.to_vec().into(),
        };
        let receipt = self.source.chain.call(user(), sender, data.abi_encode()).ok();
        self.note_sent(receipt);
    }
}

/// The estimates hold for the dearer hash as well.
#[test]
fn the_estimates_cover_the_crypto_contract() {
    const SIGNATURES: usize = 3;
    for (count, size) in [(1_usize, 0_usize), (5, 4000), (40, 256)] {
        let mut world = World::with(&Terms { kinds: [SM3, SM3], ..Terms::default() });
        for _ in 0..count {
            let mut payload = vec![probes::BURN_ALL_GAS];
            payload.resize(size.max(1), 0xff);
            world.send(&payload);
        }
        let call = encode(&world.delivery(1, count, count)).unwrap();
        let estimate = cost::deliver_cost(SM3.flavour, &world.sent, 0, SIGNATURES);
        let receipt = world.destination.chain.transact_with_gas(relay(), &call, estimate.gas).ok();
        assert_covers(estimate.gas, &receipt, count);
        world.note_delivered(&receipt);
        let call = encode(&world.settlement(1, count, count)).unwrap();
        let estimate = cost::settle_cost(SM3.flavour, count, 0, 0, SIGNATURES, 0);
        let receipt = world.source.chain.transact_with_gas(relay(), &call, estimate.gas + 200_000).ok();
        assert_covers(estimate.gas, &receipt, count);
    }
}

fn assert_covers(estimate: u64, receipt: &Receipt, count: usize) {
    println!("{count} messages: estimated {estimate}, used {}", receipt.gas_used);
    assert!(receipt.gas_used <= estimate && estimate < 3 * receipt.gas_used);
}
