//! The FISCO BCOS chain: blocks, weighted signatures and sealer changes, without sockets and without a clock.
//!
//! A stand-in for v3.16.4 with executor version 1: all sealers are keys in one process, and there is no PBFT between
//! them. What comes out, headers, signatures, roots, receipts and proofs, is what a network of real nodes would show.

pub mod block;
mod genesis;
mod ledger;
pub mod pool;
pub mod sealers;
pub mod system_contract;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, keccak256};
use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::account::SecretKey;
use cityrelay_fisco_bcos::codec::header::{BlockHeader, HeaderSignature, Parent};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};
use cityrelay_fisco_bcos::codec::transaction::{Transaction, TransactionData};
use serde_json::Value;

use self::block::{Block, Included};
use self::ledger::Ledger;
pub use self::ledger::{CallAnswer, TX_GAS_LIMIT, contract_address};
use self::pool::{Domain, Pool};
use self::sealers::{Consensus, Sealer, min_quorum};
use self::system_contract::{CONSENSUS, SYSTEM_CONFIG};
use crate::bcos_rpc;
use crate::city::{City, Reply, Waiting};
use crate::rpc_fault::RpcFault;

/// 3.16.4 as headers carry it.
pub const VERSION: u32 = 0x0310_0400;

/// How a chain begins.
#[derive(Clone, Debug)]
pub struct WeightedBcosConfig {
    /// Hash and curve; default standard.
    pub suite: CryptoSuite,
    /// Default `chain0`.
    pub chain_id: String,
    /// Default `group0`.
    pub group_id: String,
    /// Weights of the sealers at genesis, each at least 1; default four of 1.
    pub weights: Vec<u64>,
    /// Keys of nodes that can join later; default 2.
    pub spare_nodes: usize,
    /// All keys are drawn from it; default 1.
    pub seed: u64,
    /// Time of block 1 in unix milliseconds; default 0.
    pub genesis_millis: u64,
    /// Accounts with known keys; default 10.
    pub accounts: usize,
    /// Most transactions in a block; default 1,000.
    pub tx_count_limit: usize,
    /// Execute as the classic executor of v3.9.0 does: events of calls that were reverted stay in receipts, and calls
    /// to addresses without code succeed. Default false.
    pub is_classic: bool,
    /// Make block 1 at once, with one configuration call: an idle chain makes no blocks, and a light client begins at
    /// block 1 or later. Default true.
    pub founding_block: bool,
}

impl Default for WeightedBcosConfig {
    fn default() -> Self {
        Self {
            suite: CryptoSuite::Standard,
            chain_id: "chain0".to_owned(),
            group_id: "group0".to_owned(),
            weights: vec![1; 4],
            spare_nodes: 2,
            seed: 1,
            genesis_millis: 0,
            accounts: 10,
            tx_count_limit: 1_000,
            is_classic: false,
            founding_block: true,
        }
    }
}

/// The chain and everything that its sealers know.
#[derive(Debug)]
pub struct WeightedBcosChain {
    config: WeightedBcosConfig,
    accounts: Vec<SecretKey>,
    account_secrets: Vec<[u8; 32]>,
    node_keys: Vec<SecretKey>,
    operator: SecretKey,
    operator_nonce: u64,
    blocks: Vec<Arc<Block>>,
    by_hash: HashMap<Hash32, u64>,
    by_transaction: HashMap<Hash32, (u64, usize)>,
    pool: Pool,
    ledger: Ledger,
    stopped: BTreeSet<[u8; 64]>,
    views_skipped: u64,
    view: u64,
    #[cfg(feature = "misbehave")]
    pub(crate) faults: crate::misbehave::FaultBook,
}

/// A change of the consensus table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealerChange {
    /// Makes the node an observer, a sealer included.
    AddObserver(PublicKey),
    /// Makes an observer a sealer of this weight.
    AddSealer(PublicKey, u64),
    /// Changes a sealer's weight.
    SetWeight(PublicKey, u64),
    /// Takes the node out of the table.
    Remove(PublicKey),
}

impl WeightedBcosChain {
    /// Makes block 0, and block 1 where the configuration says so.
    pub fn new(config: WeightedBcosConfig) -> Self {
        let key = |purpose: &str, index: usize| derive(config.suite, config.seed, purpose, index).0;
        let (accounts, account_secrets) =
            (0..config.accounts).map(|index| derive(config.suite, config.seed, "account", index)).unzip();
        let node_keys: Vec<SecretKey> =
            (0..config.weights.len() + config.spare_nodes).map(|index| key("node", index)).collect();
        let consensus = Consensus::new(
            node_keys
                .iter()
                .zip(&config.weights)
                .map(|(key, weight)| Sealer { id: *key.public(), weight: *weight })
                .collect(),
        );
        let operator = key("operator", 0);
        let genesis = genesis::block(&config, consensus.sealers(), operator.address());
        let mut chain = Self {
            accounts,
            account_secrets,
            node_keys,
            operator,
            operator_nonce: 0,
            by_hash: HashMap::from([(genesis.hash, 0)]),
            blocks: vec![Arc::new(genesis)],
            by_transaction: HashMap::new(),
            pool: Pool::default(),
            ledger: Ledger::new(config.suite, config.is_classic, consensus, config.tx_count_limit.max(1)),
            stopped: BTreeSet::new(),
            views_skipped: 0,
            view: 0,
            #[cfg(feature = "misbehave")]
            faults: crate::misbehave::FaultBook::default(),
            config,
        };
        if chain.config.founding_block {
            let limit = chain.ledger.tx_count_limit.to_string();
            let input = genesis::set_value_call(chain.config.suite, "tx_count_limit", &limit);
            chain.submit_as_operator(SYSTEM_CONFIG, input);
            chain.produce_block(chain.config.genesis_millis);
        }
        chain
    }

    /// How the chain began.
    pub fn config(&self) -> &WeightedBcosConfig {
        &self.config
    }

    /// Accounts to send from. Nobody pays for gas here.
    pub fn accounts(&self) -> &[SecretKey] {
        &self.accounts
    }

    /// The 32-byte secrets of [`WeightedBcosChain::accounts`], in their order.
    pub fn account_secrets(&self) -> &[[u8; 32]] {
        &self.account_secrets
    }

    /// Keys of all nodes that seal or may come to; the first ones at genesis.
    pub fn node_keys(&self) -> &[SecretKey] {
        &self.node_keys
    }

    /// Takes a tars transaction into the pool and returns its hash.
    ///
    /// # Errors
    /// The fault that `sendTransaction` answers.
    pub fn submit(&mut self, raw: &[u8]) -> Result<Hash32, RpcFault> {
        let domain = Domain {
            suite: self.config.suite,
            chain_id: &self.config.chain_id,
            group_id: &self.config.group_id,
            height: self.blocks.len().saturating_sub(1) as u64,
        };
        self.pool.insert(raw, domain)
    }

    /// The waiting transactions.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Forgets all waiting transactions.
    pub fn drop_waiting(&mut self) {
        self.pool.clear();
    }

    /// Sends a direct call of the consensus contract. It changes the list from the block after the one that holds it.
    pub fn change_sealers(&mut self, change: SealerChange) {
        let input = genesis::consensus_call(self.config.suite, change);
        self.submit_as_operator(CONSENSUS, input);
    }

    /// Stops a node: it neither leads nor signs until [`WeightedBcosChain::resume_sealer`].
    pub fn stop_sealer(&mut self, id: PublicKey) {
        self.stopped.insert(id.0);
    }

    /// Starts a stopped node again.
    pub fn resume_sealer(&mut self, id: PublicKey) {
        self.stopped.remove(&id.0);
    }

    /// The nodes that are not stopped.
    pub fn running(&self) -> impl Iterator<Item = &PublicKey> {
        self.node_keys.iter().map(SecretKey::public).filter(|id| !self.stopped.contains(&id.0))
    }

    /// The next block is led by a later leader, as after view changes.
    pub fn skip_views(&mut self, views: u64) {
        self.views_skipped += views;
    }

    /// The consensus table that the next block will list.
    pub fn consensus(&self) -> &Consensus {
        &self.ledger.consensus
    }

    /// View changes so far.
    pub fn view(&self) -> u64 {
        self.view
    }

    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.blocks.len().saturating_sub(1) as u64
    }

    /// The newest block.
    #[expect(clippy::expect_used, reason = "a chain is made with its block 0")]
    pub fn newest(&self) -> &Arc<Block> {
        self.blocks.last().expect("block 0 exists")
    }

    /// The block at a height.
    pub fn block(&self, height: u64) -> Option<&Arc<Block>> {
        usize::try_from(height).ok().and_then(|at| self.blocks.get(at))
    }

    /// The block with a hash.
    pub fn block_by_hash(&self, hash: Hash32) -> Option<&Arc<Block>> {
        self.by_hash.get(&hash).and_then(|height| self.block(*height))
    }

    /// The block that holds a transaction, and its place there.
    pub fn find_transaction(&self, hash: Hash32) -> Option<(&Arc<Block>, usize)> {
        let (height, index) = self.by_transaction.get(&hash)?;
        Some((self.block(*height)?, *index))
    }

    /// The code of an account.
    pub fn code(&self, address: Address) -> Bytes {
        self.ledger.world.code(address)
    }

    /// Most transactions in a block.
    pub fn tx_count_limit(&self) -> usize {
        self.ledger.tx_count_limit
    }

    /// Executes a read-only call on the newest state.
    pub fn call(&self, sender: Address, to: Address, input: Bytes) -> CallAnswer {
        let header = &self.newest().header;
        self.ledger.call(header.number, header.timestamp, sender, to, input)
    }

    /// Makes and signs the next block with what waits. Its time is `now_millis`, but never before its parent's.
    ///
    /// Returns `None` when nothing waits, or when the sealers that run have too little weight.
    pub fn produce_block(&mut self, now_millis: u64) -> Option<Arc<Block>> {
        let sealers = self.ledger.consensus.sealers().to_vec();
        let running: u64 =
            sealers.iter().filter(|sealer| !self.stopped.contains(&sealer.id.0)).map(|sealer| sealer.weight).sum();
        if self.pool.is_empty() || running < min_quorum(self.ledger.consensus.total_weight()) {
            return None;
        }
        let parent = Arc::clone(self.newest());
        let number = parent.header.number + 1;
        let timestamp = now_millis.max(parent.header.timestamp + 1);
        let taken = self.pool.take(self.ledger.tx_count_limit, number);
        if taken.is_empty() {
            return None;
        }
        let leader = self.leader(&sealers, number)?;
        let (transactions, state_root) = self.ledger.execute_block(taken, number, timestamp);
        let suite = self.config.suite;
        let hashes: Vec<Hash32> = transactions.iter().map(|included| included.signed.hash).collect();
        let receipts: Vec<Hash32> = transactions.iter().map(|included| included.receipt_hash).collect();
        let gas: u64 = transactions.iter().filter_map(|included| included.receipt.gas_used.parse::<u64>().ok()).sum();
        let header = BlockHeader {
            version: VERSION,
            parents: vec![Parent { number: parent.header.number, hash: parent.hash }],
            txs_root: merkle::root(suite, &hashes).0.to_vec(),
            receipts_root: merkle::root(suite, &receipts).0.to_vec(),
            state_root: state_root.0.to_vec(),
            number,
            gas_used: gas.to_string(),
            timestamp,
            sealer: leader,
            sealers: sealers.iter().map(|sealer| sealer.id).collect(),
            extra_data: Vec::new(),
            weights: sealers.iter().map(|sealer| sealer.weight).collect(),
        };
        let block = self.sign(header, transactions);
        Some(self.append(block))
    }

    /// Signs a header with the key of every running sealer that it lists.
    pub(crate) fn sign(&self, header: BlockHeader, transactions: Vec<Included>) -> Block {
        let hash = header.hash(self.config.suite);
        let mut signatures = Vec::new();
        for (index, id) in header.sealers.iter().enumerate().filter(|(_, id)| !self.stopped.contains(&id.0)) {
            let key = self.node_keys.iter().find(|key| key.public() == id);
            if let Some(signature) = key.and_then(|key| key.sign_header(&hash).ok()) {
                signatures.push(HeaderSignature { sealer: index as u64, signature });
            }
        }
        Block { header, hash, signatures, transactions }
    }

    fn leader(&mut self, sealers: &[Sealer], number: u64) -> Option<u64> {
        let count = sealers.len() as u64;
        self.view += std::mem::take(&mut self.views_skipped);
        for _ in 0..count {
            let index = (number + self.view) % count;
            let sealer = sealers.get(usize::try_from(index).ok()?)?;
            if !self.stopped.contains(&sealer.id.0) {
                return Some(index);
            }
            self.view += 1;
        }
        None
    }

    fn append(&mut self, block: Block) -> Arc<Block> {
        let block = Arc::new(block);
        let number = block.header.number;
        self.ledger.world.note_block_hash(number, block.hash.0.into());
        self.by_hash.insert(block.hash, number);
        for (index, included) in block.transactions.iter().enumerate() {
            self.by_transaction.insert(included.signed.hash, (number, index));
        }
        self.blocks.push(Arc::clone(&block));
        block
    }

    #[expect(clippy::expect_used, reason = "the operator's own transactions name the right chain and a fresh nonce")]
    fn submit_as_operator(&mut self, to: Address, input: Vec<u8>) {
        self.operator_nonce += 1;
        let nonce = keccak256(format!("operator {} {}", self.config.seed, self.operator_nonce));
        let data = TransactionData {
            chain_id: self.config.chain_id.clone(),
            group_id: self.config.group_id.clone(),
            block_limit: self.height() + 500,
            nonce: hex::encode(nonce).chars().take(32).collect(),
            to: format!("0x{}", hex::encode(to)),
            input,
            ..TransactionData::default()
        };
        let transaction = Transaction::sign(data, &self.operator).expect("a valid key signs");
        self.submit(&transaction.encode()).expect("an operator's transaction is in order");
    }
}

impl City for WeightedBcosChain {
    fn tick(&mut self, now: Duration) -> bool {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.produce_block(millis).is_some()
    }

    fn height(&self) -> u64 {
        WeightedBcosChain::height(self)
    }

    fn respond(&mut self, node: usize, body: &[u8]) -> Reply {
        bcos_rpc::respond(self, node, body)
    }

    fn resume(&mut self, _node: usize, waiting: &Waiting, is_late: bool) -> Option<Value> {
        bcos_rpc::resume(self, waiting, is_late)
    }

    #[cfg(feature = "misbehave")]
    fn faults(&mut self) -> &mut crate::misbehave::FaultBook {
        &mut self.faults
    }
}

fn derive(suite: CryptoSuite, seed: u64, purpose: &str, index: usize) -> (SecretKey, [u8; 32]) {
    let mut secret = keccak256(format!("cityrelay-devnet/weighted-bcos/{purpose}/{seed}/{index}"));
    loop {
        // A hash at or above the group order, or zero, is no scalar: draw again.
        match SecretKey::from_bytes(suite, &secret.0) {
            Ok(key) => return (key, secret.0),
            Err(_) => secret = keccak256(secret),
        }
    }
}
