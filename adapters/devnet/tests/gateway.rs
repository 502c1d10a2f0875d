//! The gateway's contracts on both chains: deployed, a message sent, its head proved, the message delivered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256};
use cityrelay_core::attestation::{SignatureBytes, Statement};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::light_client::{Header, LightClient, Verdict};
use cityrelay_core::message::{Message, Payload};
use cityrelay_devnet::eth_rpc;
use cityrelay_devnet::keys::DevKey;
use cityrelay_devnet::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use cityrelay_devnet::weighted_bcos::{WeightedBcosChain, WeightedBcosConfig};
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::json::{read_account_proof, read_header};
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::head::HeadProof;
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::{Update, UpdateItem};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use cityrelay_fisco_bcos::verify::checkpoint::{CheckpointProof, ReceiptInclusion};
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::sealer_set::SealerSet;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, UpdateHeader};
use cityrelay_gateway::storage::{head_slot, index_slot};
use cityrelay_gateway::{EncodedCall, GatewayEvent, encode, examples};
use serde_json::json;

const NOW: u64 = 1_800_000_000;

/// Both chains with committee and gateway, and a lane open from the first to the second.
struct Cities {
    evm: SealedEvmChain,
    evm_nonce: u64,
    bcos: WeightedBcosChain,
    bcos_nonce: u64,
    lane: LaneIdentity,
    attester: DevKey,
    board: Address,
}

fn evm_owner(chain: &SealedEvmChain) -> Address {
    Address::from_20(chain.accounts()[0].address().into_array())
}

impl Cities {
    fn start() -> Self {
        let evm = SealedEvmChain::new(SealedEvmConfig { genesis_seconds: NOW, ..SealedEvmConfig::default() });
        let bcos = WeightedBcosChain::new(WeightedBcosConfig { genesis_millis: NOW * 1000, ..Default::default() });
        let evm_domain = Domain::derive("hangzhou", Hash32(evm.block(0).unwrap().hash.0));
        let bcos_domain = Domain::derive("shenzhen", bcos.block(1).unwrap().hash);
        let attester = DevKey::derive(7, "attester", 0);
        let nobody = Address::from_20([0; 20]);
        let lane = LaneIdentity {
            source_domain: evm_domain,
            destination_domain: bcos_domain,
            source_gateway: nobody,
            destination_gateway: nobody,
            source_verifier: nobody,
            destination_verifier: nobody,
            channel: "medical".to_owned(),
            salt: keccak256(b"salt"),
        };
        let mut cities = Self { evm, evm_nonce: 0, bcos, bcos_nonce: 0, lane, attester, board: nobody };
        cities.deploy();
        cities
    }

    fn deploy(&mut self) {
        let members = vec![AttesterId(self.attester.address().into_array())];
        let committee = |domain| GatewayCall::DeployCommittee { domain, members: members.clone(), threshold: 1 };
        let gateway = |domain, owner, clock_is_millis| GatewayCall::DeployGateway {
            domain,
            owner,
            announce_delay: Duration::ZERO,
            close_delay: Duration::from_secs(60),
            clock_is_millis,
        };
        let (evm_domain, bcos_domain) = (self.lane.source_domain, self.lane.destination_domain);
        self.lane.source_verifier = self.on_evm(&committee(evm_domain)).unwrap();
        self.lane.source_gateway = self.on_evm(&gateway(evm_domain, evm_owner(&self.evm), false)).unwrap();
        let owner = self.bcos.accounts()[0].address();
        self.lane.destination_verifier = self.on_bcos(&committee(bcos_domain)).unwrap();
        self.lane.destination_gateway = self.on_bcos(&gateway(bcos_domain, owner, true)).unwrap();
        let limits = LaneLimits {
            max_payload_bytes: 10_000,
            max_gas_limit: 1_000_000,
            max_deadline: Duration::from_secs(86_400),
            callback_gas: 100_000,
            is_strict: false,
            quota: 0,
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        for gateway in [self.lane.source_gateway, self.lane.destination_gateway] {
            let announce = GatewayCall::AnnounceLane { gateway, lane: self.lane.clone(), limits: limits.clone() };
            let open = GatewayCall::OpenLane { gateway, lane: self.lane.id() };
            if gateway == self.lane.source_gateway {
                self.on_evm(&announce);
                self.on_evm(&open);
            } else {
                self.on_bcos(&announce);
                self.on_bcos(&open);
            }
        }
        let board = examples::deploy_notice_board(self.lane.destination_gateway).unwrap();
        self.board = self.send_bcos(&board).unwrap();
        let trust = examples::trust_lane(self.lane.id(), true);
        self.on_bcos(&GatewayCall::Raw { to: self.board, data: trust });
    }

    fn on_evm(&mut self, call: &GatewayCall) -> Option<Address> {
        let EncodedCall { to, data } = encode(call).unwrap();
        let key = self.evm.accounts()[0].clone();
        let transaction = TxLegacy {
            chain_id: Some(571),
            nonce: self.evm_nonce,
            gas_limit: 10_000_000,
            to: to.map_or(TxKind::Create, |to| TxKind::Call(to.into())),
            input: data.into(),
            value: U256::ZERO,
            gas_price: 0,
        };
        self.evm_nonce += 1;
        let signature = Signature::from_raw(&key.sign(transaction.signature_hash())).unwrap();
        self.evm.submit(&TxEnvelope::from(transaction.into_signed(signature)).encoded_2718()).unwrap();
        let block = self.evm.produce_block(0).unwrap();
        let included = &block.transactions[0];
        assert!(included.receipt.is_success(), "{call:?}: 0x{}", hex::encode(&included.revert_reason));
        included.created.map(|address| Address::from_20(address.into_array()))
    }

    fn on_bcos(&mut self, call: &GatewayCall) -> Option<Address> {
        self.send_bcos(&encode(call).unwrap())
    }

    fn send_bcos(&mut self, call: &EncodedCall) -> Option<Address> {
        self.bcos_nonce += 1;
        let data = TransactionData {
            chain_id: "chain0".to_owned(),
            group_id: "group0".to_owned(),
            block_limit: self.bcos.height() + 500,
            nonce: format!("{:032x}", self.bcos_nonce),
            to: call.to.map(|to| format!("0x{}", hex::encode(to))).unwrap_or_default(),
            input: call.data.clone(),
            ..TransactionData::default()
        };
        let transaction = Transaction::sign(data, &self.bcos.accounts()[0]).unwrap();
        self.bcos.submit(&transaction.encode()).unwrap();
        let block = self.bcos.produce_block(0).unwrap();
        let receipt = &block.transactions[0].receipt;
        assert_eq!(receipt.status, 0, "0x{}", hex::encode(&receipt.output));
        receipt.contract_address.parse().ok()
    }

    fn send_a_message(&mut self) -> Message {
        let message = Message {
            index: Index(1),
            sender: evm_owner(&self.evm),
            receiver: self.board,
            deadline: UnixMillis((NOW + 3_600) * 1000),
            gas_limit: 500_000,
            payload: Payload::Bytes(b"a letter of credit".to_vec()),
        };
        self.on_evm(&GatewayCall::Send {
            gateway: self.lane.source_gateway,
            lane: self.lane.id(),
            receiver: message.receiver,
            deadline: message.deadline,
            gas_limit: message.gas_limit,
            payload: b"a letter of credit".to_vec(),
        });
        message
    }
}

fn outbox(lane: LaneId) -> Flow {
    Flow { lane, direction: Direction::Outbox }
}

/// The newest EVM header, verified from block 0.
fn verified_evm_header(chain: &mut SealedEvmChain) -> (Client, Header) {
    let client = Client::new(Rules {
        modes: ModeTable::new(&[(0, Mode::Qbft)]).unwrap(),
        epochs: BTreeMap::from([(0, 30)]),
        epoch_votes: EpochVotes::Ignored,
        overrides: BTreeMap::new(),
        contracts: BTreeMap::new(),
        trusting_period: Duration::from_secs(3_600),
        max_clock_drift: Duration::from_secs(600),
    });
    let genesis = chain.block(0).unwrap();
    let accounts: Vec<Account> =
        genesis.unsealed.validators.iter().map(|validator| Account(validator.into_array())).collect();
    let set = ValidatorSet::of_accounts(&accounts).unwrap();
    let anchor = State::anchor(0, Hash32(genesis.hash.0), NOW, set, Vec::new());
    let items = (1..=chain.height())
        .map(|height| {
            let params = [json!(format!("{height:#x}")), json!(true)];
            let block = eth_rpc::answer(chain, 0, "eth_getBlockByNumber", &params).unwrap();
            let (header, hash) = read_header(&block).unwrap();
            UpdateItem { header: header.encode(), hash, set_proof: None }
        })
        .collect();
    match client.verify_update(&anchor, &Update { items }, UnixMillis(NOW * 1000)) {
        Verdict::Advanced { headers, .. } => (client, headers.last().unwrap().clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_outbox_head_is_proved_by_storage() {
    let mut cities = Cities::start();
    let message = cities.send_a_message();
    let (lane, gateway) = (cities.lane.id(), cities.lane.source_gateway);
    let (client, header) = verified_evm_header(&mut cities.evm);
    let address = format!("0x{}", hex::encode(gateway.to_20().unwrap()));
    let slots = json!([head_slot(lane).to_string(), index_slot(lane).to_string()]);
    let answer =
        eth_rpc::answer(&mut cities.evm, 0, "eth_getProof", &[json!(address), slots, json!("latest")]).unwrap();
    let proof = read_account_proof(&answer).unwrap();
    let [head, index] = proof.slots.try_into().unwrap();
    let proof = HeadProof::Storage { account: proof.account_nodes, head: head.nodes, index: index.nodes };
    let point = client.verify_head(&header, &proof, gateway, outbox(lane)).unwrap();
    assert_eq!(point, expected_point(lane, &message));
}

fn expected_point(lane: LaneId, message: &Message) -> ChainPoint {
    let entry = Entry::Message(message.clone());
    ChainPoint::start(outbox(lane)).extended(Direction::Outbox, entry.link(outbox(lane)))
}

#[test]
fn a_message_crosses_and_its_outcome_is_proved_by_a_checkpoint() {
    let mut cities = Cities::start();
    let message = cities.send_a_message();
    let lane = cities.lane.id();
    let point = expected_point(lane, &message);
    let statement = Statement {
        flow: outbox(lane),
        point,
        epoch: Epoch(1),
        verifying: GatewayAt { domain: cities.lane.destination_domain, gateway: cities.lane.destination_gateway },
    };
    let mut signature = cities.attester.sign(statement.digest().0.into());
    signature[64] += 27;
    let signer = SignatureBytes(signature).signer(statement.digest());
    assert_eq!(signer.unwrap(), AttesterId(cities.attester.address().into_array()));
    let evidence = Evidence {
        point,
        epoch: Epoch(1),
        signatures: BTreeMap::from([(AttesterId(cities.attester.address().into_array()), SignatureBytes(signature))]),
    };
    let gateway = cities.lane.destination_gateway;
    cities.on_bcos(&GatewayCall::Deliver {
        gateway,
        lane,
        messages: vec![message.clone()],
        tail: Vec::new(),
        evidence,
    });
    let delivery = cities.bcos.newest().transactions[0].receipt.clone();
    let events: Vec<GatewayEvent> = delivery
        .logs
        .iter()
        .filter(|log| log.address == hex::encode(gateway.to_20().unwrap()))
        .map(|log| cityrelay_gateway::event::decode(&log.topics, &log.data).unwrap())
        .collect();
    assert!(!events.is_empty());
    let board = alloy_primitives::Address::from(cities.board.to_20().unwrap());
    let count = cities.bcos.call(alloy_primitives::Address::ZERO, board, examples::notice_count().into());
    assert_eq!(U256::from_be_slice(&count.output), U256::from(1));

    let inbox = Flow { lane, direction: Direction::Inbox };
    cities.on_bcos(&GatewayCall::Checkpoint { gateway, flow: inbox });
    let (client, header) = verified_bcos_header(&cities.bcos);
    let block = cities.bcos.newest();
    let proof = CheckpointProof {
        transaction: block.transactions[0].signed.transaction.data.clone(),
        transaction_hashes: block.transaction_hashes(),
        receipt: block.transactions[0].receipt.clone(),
        inclusion: ReceiptInclusion::Path(merkle::proof(CryptoSuite::Standard, &block.receipt_hashes(), 0)),
    };
    let inbox_point = client.verify_head(&header, &proof, gateway, inbox).unwrap();
    assert_eq!(inbox_point.index, Index(1));
    assert_ne!(inbox_point, ChainPoint::start(inbox));
}

/// The newest BCOS header, verified from block 1.
fn verified_bcos_header(chain: &WeightedBcosChain) -> (FiscoClient, Header) {
    let client = FiscoClient {
        suite: CryptoSuite::Standard,
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        trusting_period: Duration::from_secs(3_600),
    };
    let first = chain.block(1).unwrap();
    let anchor = TrustedState::anchored(Height(1), first.hash, SealerSet::of_header(&first.header).unwrap());
    let headers = (2..=chain.height())
        .map(|height| UpdateHeader {
            sealed: chain.block(height).unwrap().at_node(0),
            skips_parent: false,
            evidence: None,
        })
        .collect();
    match client.verify_update(&anchor, &ChainUpdate { headers }, UnixMillis(NOW * 1000)) {
        Verdict::Advanced { headers, .. } => (client, headers.last().unwrap().clone()),
        other => panic!("{other:?}"),
    }
}
