//! Rules, recordings, and a QBFT chain whose validators' keys the test holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::UnixMillis;
use cityrelay_core::light_client::{Header as FinalHeader, HoldReason, LightClient, Refusal, Verdict};
use k256::ecdsa::SigningKey;
use serde_json::Value;

use crate::codec::account::Account;
use crate::codec::edge::{EdgeExtra, EdgeScheme};
use crate::codec::extra::{Ballot, BftExtra, BftLayout, LegacyExtra};
use crate::codec::header::{ForkItems, Header};
use crate::codec::json;
use crate::codec::trie_proof::EMPTY_ROOT;
use crate::verify::client::Client;
use crate::verify::mode::{Mode, ModeTable};
use crate::verify::reading::{BFT_MIX_HASH, NO_OMMERS, Reading, read_header};
use crate::verify::rules::{ContractLayout, EpochVotes, Rules};
use crate::verify::set::{Validator, ValidatorSet};
use crate::verify::state::State;
use crate::verify::update::{Update, UpdateItem};

pub(crate) fn vector(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(path);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

pub(crate) fn word(value: &Value) -> Hash32 {
    Hash32::from_hex(value.as_str().unwrap()).unwrap()
}

pub(crate) fn accounts(value: &Value) -> Vec<Account> {
    value.as_array().unwrap().iter().map(|item| Account::from_hex(item.as_str().unwrap()).unwrap()).collect()
}

pub(crate) fn rules(modes: &[(u64, Mode)], epoch_length: u64) -> Rules {
    Rules {
        modes: ModeTable::new(modes).unwrap(),
        epochs: BTreeMap::from([(0, epoch_length)]),
        epoch_votes: EpochVotes::Counted,
        overrides: BTreeMap::new(),
        contracts: BTreeMap::new(),
        trusting_period: Duration::from_secs(14 * 86_400),
        max_clock_drift: Duration::from_secs(10),
    }
}

/// The rules of one file of `vectors/evm-live`.
pub(crate) fn live_rules(name: &str, recording: &Value) -> Rules {
    let epoch = recording["epoch_length"].as_u64().unwrap();
    match name {
        "qbft-votes" => rules(&[(0, Mode::Qbft)], epoch),
        "qbft-contract" => Rules {
            contracts: BTreeMap::from([(
                0,
                ContractLayout {
                    address: Account::from_hex(recording["validator_contract"].as_str().unwrap()).unwrap(),
                    length_slot: Hash32::ZERO,
                    items_slot: cityrelay_core::hash::keccak256(&[0; 32]),
                },
            )]),
            ..rules(&[(0, Mode::Qbft), (8, Mode::QbftContract)], epoch)
        },
        "ibft1-to-qbft" => rules(&[(0, Mode::Ibft1), (30, Mode::Qbft)], epoch),
        "edge-ecdsa" => rules(&[(0, Mode::EdgeEcdsa)], epoch),
        "edge-bls" => rules(&[(0, Mode::EdgeBls)], epoch),
        other => panic!("no rules for {other}"),
    }
}

/// The anchor at block 0 of a recording.
pub(crate) fn genesis(rules: &Rules, recording: &Value) -> State {
    let (header, hash) = json::read_header(&recording["blocks"][0]["block"]).unwrap();
    let plain = |accounts: Vec<Account>| ValidatorSet::of_accounts(&accounts).unwrap();
    let edge = |scheme| ValidatorSet::new(EdgeExtra::decode(scheme, &header.extra_data).unwrap().validators).unwrap();
    let set = match rules.modes.at(0) {
        Mode::Ibft1 => plain(LegacyExtra::decode(&header.extra_data).unwrap().validators),
        Mode::Ibft2 => plain(BftExtra::decode(BftLayout::Ibft2, &header.extra_data).unwrap().validators),
        Mode::Qbft | Mode::QbftContract => {
            plain(BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap().validators)
        }
        Mode::EdgeEcdsa => edge(EdgeScheme::Ecdsa),
        Mode::EdgeBls => edge(EdgeScheme::Bls),
    };
    State::anchor(0, hash, 0, set, Vec::new())
}

/// A time just after `seconds`.
pub(crate) fn at(seconds: u64) -> UnixMillis {
    UnixMillis(seconds * 1000)
}

pub(crate) fn time_of(update: &Update) -> UnixMillis {
    at(Header::decode(&update.items.last().unwrap().header).unwrap().timestamp)
}

pub(crate) fn accepted(verdict: Verdict<State>) -> (State, Vec<FinalHeader>) {
    match verdict {
        Verdict::Advanced { state, headers, .. } => (state, headers),
        other => panic!("expected an advance, got {other:?}"),
    }
}

pub(crate) fn held(verdict: Verdict<State>) -> (State, Vec<FinalHeader>, HoldReason) {
    match verdict {
        Verdict::HeldBack { state, headers, reason, .. } => (state, headers, reason),
        other => panic!("expected a held-back header, got {other:?}"),
    }
}

pub(crate) fn refused(verdict: Verdict<State>) -> Refusal {
    match verdict {
        Verdict::Refused(refusal) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A QBFT chain in which the test holds every key.
pub(crate) struct SealedByTest {
    pub(crate) rules: Rules,
    pub(crate) tip: Header,
    pub(crate) tip_hash: Hash32,
}

/// What one block of [`SealedByTest`] holds.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) validators: Vec<u8>,
    pub(crate) signers: Vec<u8>,
    pub(crate) proposer: u8,
    pub(crate) vote: Option<(u8, bool)>,
    pub(crate) round: u32,
    /// Makes blocks at one height differ.
    pub(crate) gas_used: u64,
}

impl Plan {
    pub(crate) fn new(validators: &[u8], signers: &[u8]) -> Self {
        let proposer = signers.first().copied().unwrap_or(1);
        let (validators, signers) = (validators.to_vec(), signers.to_vec());
        Self { validators, signers, proposer, vote: None, round: 0, gas_used: 0 }
    }

    pub(crate) fn by(self, proposer: u8) -> Self {
        Self { proposer, ..self }
    }

    pub(crate) fn voting(self, candidate: u8, is_add: bool) -> Self {
        Self { vote: Some((candidate, is_add)), ..self }
    }
}

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_slice(&[n; 32]).unwrap()
}

pub(crate) fn member(n: u8) -> Account {
    Account::of_key(key(n).verifying_key())
}

pub(crate) fn members(numbers: &[u8]) -> ValidatorSet {
    ValidatorSet::of_accounts(&numbers.iter().map(|n| member(*n)).collect::<Vec<_>>()).unwrap()
}

pub(crate) fn seal(n: u8, digest: Hash32) -> [u8; 65] {
    let (signature, recovery) = key(n).sign_prehash_recoverable(digest.as_bytes()).unwrap();
    let mut seal = [0; 65];
    seal[..64].copy_from_slice(&signature.to_bytes());
    seal[64] = recovery.to_byte();
    seal
}

impl SealedByTest {
    /// A chain after block 0, with epochs of 30 blocks.
    pub(crate) fn new() -> Self {
        let tip = Header {
            parent_hash: Hash32::ZERO,
            ommers_hash: NO_OMMERS,
            beneficiary: vec![0; 20],
            state_root: EMPTY_ROOT,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            logs_bloom: [0; 256],
            difficulty: 1,
            number: 0,
            gas_limit: 30_000_000,
            gas_used: 0,
            timestamp: 1_800_000_000,
            extra_data: Vec::new(),
            mix_hash: BFT_MIX_HASH,
            nonce: [0; 8],
            fork: ForkItems::default(),
        };
        let rules = rules(&[(0, Mode::Qbft)], 30);
        Self { rules, tip, tip_hash: Hash32([9; 32]) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.rules.clone())
    }

    /// The trusted state at the tip, with these validators next.
    pub(crate) fn anchor(&self, validators: &[u8]) -> State {
        State::anchor(self.tip.number, self.tip_hash, self.tip.timestamp, members(validators), Vec::new())
    }

    /// Makes the next block and moves on to it.
    pub(crate) fn next(&mut self, plan: &Plan) -> UpdateItem {
        let (header, item) = self.draft(plan);
        self.tip = header;
        self.tip_hash = item.hash;
        item
    }

    /// Makes the next block and stays where it is.
    pub(crate) fn draft(&self, plan: &Plan) -> (Header, UpdateItem) {
        let header = Header {
            parent_hash: self.tip_hash,
            number: self.tip.number + 1,
            timestamp: self.tip.timestamp + 1,
            beneficiary: member(plan.proposer).0.to_vec(),
            gas_used: plan.gas_used,
            ..self.tip.clone()
        };
        let validators: Vec<_> = members(&plan.validators).members().iter().map(|member| member.account).collect();
        let vote = plan.vote.map(|(candidate, is_add)| Ballot { candidate: member(candidate), is_add });
        let extra = BftExtra { vanity: [0; 32], validators, vote, round: plan.round, seals: Vec::new() };
        sealed(header, extra, &plan.signers)
    }
}

/// Seals a QBFT header over what it holds.
pub(crate) fn sealed(mut header: Header, mut extra: BftExtra, signers: &[u8]) -> (Header, UpdateItem) {
    let digest = header.hash_with_extra(&extra.encode_for_commit(BftLayout::Qbft));
    extra.seals = signers.iter().map(|signer| seal(*signer, digest)).collect();
    header.extra_data = extra.encode(BftLayout::Qbft);
    let hash = header.hash_with_extra(&extra.encode_for_block_hash(BftLayout::Qbft));
    let item = UpdateItem { header: header.encode(), hash, set_proof: None };
    (header, item)
}

pub(crate) fn update(items: &[UpdateItem]) -> Update {
    Update { items: items.to_vec() }
}

/// Runs a client over an update at the time of its last header.
pub(crate) fn run(client: &Client, state: &State, items: &[UpdateItem]) -> Verdict<State> {
    let update = update(items);
    let now = time_of(&update);
    client.verify_update(state, &update, now)
}

pub(in crate::verify) fn reading(mode: Mode, header: &Header) -> Reading {
    read_header(mode, header).unwrap()
}

pub(crate) fn plain_set(accounts: &[Account]) -> Arc<ValidatorSet> {
    Arc::new(ValidatorSet::of_accounts(accounts).unwrap())
}

pub(crate) fn plain(accounts: &[Account]) -> Vec<Validator> {
    accounts.iter().map(|account| Validator { account: *account, bls_key: None }).collect()
}
