//! The sealed EVM chain in any of its modes: blocks, seals, validators and rounds, without sockets and without a clock.
//!
//! A stand-in: all validators are keys in one process, and there is no gossip. What comes out, headers, seals, roots,
//! receipts and proofs, is what a network of real clients would show.

pub mod block;
pub mod extra_data;
pub mod mode;
pub mod pool;
pub mod tally;
pub mod unsealed;
pub mod validator_contract;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::Transaction;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_primitives::{Address, B64, B256, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use revm::context::TxEnv;
use revm::primitives::hardfork::SpecId;
use serde_json::Value;

use self::block::{Block, Included};
use self::extra_data::{Vote, blank_header};
use self::mode::SealMode;
use self::pool::{Pool, SubmitError, machine_input};
use self::tally::Tally;
use self::unsealed::{Unsealed, bls_public_key};
use crate::city::{City, Reply, Waiting};
use crate::eth_rpc;
use crate::execution::{self, Environment, Execution, ExecutionError, Rules};
use crate::keys::DevKey;
use crate::world::World;

/// The vanity of every header: says what this is.
const VANITY: &[u8; 32] = b"cityrelay-devnet, a stand-in\0\0\0\0";

/// How a chain begins.
#[derive(Clone, Debug)]
pub struct SealedEvmConfig {
    /// How blocks are sealed; default QBFT.
    pub mode: SealMode,
    /// From which height on they are sealed in another mode, as GoQuorum moves from IBFT1 to QBFT; default never. Neither
    /// mode may be one of Polygon Edge's.
    pub migration: Option<(u64, SealMode)>,
    /// Whether nodes answer `eth_getProof`; default yes. Polygon Edge's do not.
    pub has_storage_proofs: bool,
    /// Whether nodes answer `eth_getBlockReceipts`; default yes. GoQuorum's and Polygon Edge's do not.
    pub has_block_receipts: bool,
    /// EIP-155 chain id; default 571.
    pub chain_id: u64,
    /// Blocks after which pending votes are forgotten; at least 1, default 30.
    pub epoch_length: u64,
    /// Validators at genesis; at least 1, default 4.
    pub validators: usize,
    /// Keys that can be voted in later; default 4.
    pub spare_validators: usize,
    /// All keys are drawn from it; default 1.
    pub seed: u64,
    /// Gas of a block; default 700,000,000, as GoQuorum's.
    pub gas_limit: u64,
    /// Time of block 0 in unix seconds; default 0.
    pub genesis_seconds: u64,
    /// Accounts that own 1,000,000 coins each at genesis; default 10.
    pub accounts: usize,
    /// States kept for calls and proofs, the newest included; at least 1, default 512, as Besu's Bonsai storage.
    pub kept_states: usize,
}

impl Default for SealedEvmConfig {
    fn default() -> Self {
        Self {
            mode: SealMode::Qbft,
            migration: None,
            has_storage_proofs: true,
            has_block_receipts: true,
            chain_id: 571,
            epoch_length: 30,
            validators: 4,
            spare_validators: 4,
            seed: 1,
            gas_limit: 700_000_000,
            genesis_seconds: 0,
            accounts: 10,
            kept_states: 512,
        }
    }
}

impl SealedEvmConfig {
    /// The defaults of a mode: Polygon Edge's nodes prove nothing but receipts, one by one.
    pub fn of_mode(mode: SealMode) -> Self {
        Self { mode, has_storage_proofs: !mode.is_edge(), has_block_receipts: !mode.is_edge(), ..Self::default() }
    }

    /// How the block at a height is sealed.
    pub fn mode_at(&self, height: u64) -> SealMode {
        self.migration.filter(|(from, _)| *from <= height).map_or(self.mode, |(_, mode)| mode)
    }

    /// Whether a contract holds the validators, now or later.
    pub fn has_validator_contract(&self) -> bool {
        [self.mode, self.mode_at(u64::MAX)].contains(&SealMode::QbftContract)
    }
}

/// The chain and everything that its validators know.
#[derive(Debug)]
pub struct SealedEvmChain {
    config: SealedEvmConfig,
    rules: Rules,
    accounts: Vec<DevKey>,
    validator_keys: Vec<DevKey>,
    blocks: Vec<Arc<Block>>,
    /// The set after each block.
    sets: Vec<Vec<Address>>,
    by_hash: HashMap<B256, u64>,
    by_transaction: HashMap<B256, (u64, usize)>,
    states: BTreeMap<u64, World>,
    world: World,
    pool: Pool,
    tally: Tally,
    /// Under a validator contract the set before, when the newest block changed it: it seals the next block.
    late_sealers: Option<Vec<Address>>,
    campaigns: Vec<Campaign>,
    stopped: BTreeSet<Address>,
    least_round: u32,
    #[cfg(feature = "misbehave")]
    pub(crate) faults: crate::misbehave::FaultBook,
}

/// A vote that is to be cast by some of the validators.
#[derive(Clone, Copy, Debug)]
struct Campaign {
    vote: Vote,
    voters_left: usize,
}

impl SealedEvmChain {
    /// Makes block 0.
    pub fn new(config: SealedEvmConfig) -> Self {
        let accounts: Vec<DevKey> =
            (0..config.accounts).map(|index| DevKey::derive(config.seed, "sealed-evm/account", index)).collect();
        let validator_keys: Vec<DevKey> = (0..config.validators.max(1) + config.spare_validators)
            .map(|index| DevKey::derive(config.seed, "sealed-evm/validator", index))
            .collect();
        let mut world = World::default();
        let coins = U256::from(1_000_000u64) * U256::from(10u64).pow(U256::from(18));
        for account in &accounts {
            world.fund(account.address(), coins);
        }
        let mode = config.mode_at(0);
        let validators: Vec<Address> =
            validator_keys.iter().take(config.validators.max(1)).map(DevKey::address).collect();
        if config.has_validator_contract() {
            validator_contract::place(&mut world, &validators);
        }
        let tally = Tally::new(validators, mode.is_edge());
        let sealers = tally.validators().to_vec();
        let unsealed = Unsealed {
            // As on the recorded chain, block 0 lists the set under a contract, too.
            validators: sealers.clone(),
            bls_keys: bls_keys(mode, &validator_keys, &sealers),
            ..Unsealed::new(mode, B256::ZERO)
        };
        let mut header = blank_header();
        if mode.is_edge() {
            header.mix_hash = B256::ZERO;
        }
        header.state_root = world.state_root();
        header.ommers_hash = EMPTY_OMMER_ROOT_HASH;
        header.transactions_root = EMPTY_ROOT_HASH;
        header.receipts_root = EMPTY_ROOT_HASH;
        header.gas_limit = config.gas_limit;
        header.timestamp = config.genesis_seconds;
        header.base_fee_per_gas = mode.has_base_fee().then_some(0);
        let hash = unsealed.genesis_hash(&header);
        world.note_block_hash(0, hash);
        let genesis = Block {
            header,
            hash,
            unsealed,
            proposer: Address::ZERO,
            sealers,
            round: 0,
            seals: Vec::new(),
            transactions: Vec::new(),
        };
        let rules = Rules {
            spec: SpecId::LONDON,
            chain_id: config.chain_id,
            max_code_bytes: 24_576,
            ordered_nonces: true,
            suite: CryptoSuite::Standard,
            has_crypto_contract: false,
            is_classic: false,
        };
        Self {
            rules,
            accounts,
            validator_keys,
            sets: vec![genesis.sealers.clone()],
            blocks: vec![Arc::new(genesis)],
            by_hash: HashMap::from([(hash, 0)]),
            by_transaction: HashMap::new(),
            states: BTreeMap::from([(0, world.clone())]),
            world,
            pool: Pool::default(),
            tally,
            late_sealers: None,
            campaigns: Vec::new(),
            stopped: BTreeSet::new(),
            least_round: 0,
            #[cfg(feature = "misbehave")]
            faults: crate::misbehave::FaultBook::default(),
            config,
        }
    }

    /// How the chain began.
    pub fn config(&self) -> &SealedEvmConfig {
        &self.config
    }

    /// The funded accounts.
    pub fn accounts(&self) -> &[DevKey] {
        &self.accounts
    }

    /// Keys of all who validate or may come to; the first `validators` of them at genesis.
    pub fn validator_keys(&self) -> &[DevKey] {
        &self.validator_keys
    }

    /// Takes a raw signed transaction into the pool and returns its hash.
    ///
    /// # Errors
    /// Any [`SubmitError`].
    pub fn submit(&mut self, raw: &[u8]) -> Result<B256, SubmitError> {
        if self.by_transaction.contains_key(&keccak256(raw)) {
            return Err(SubmitError::AlreadyKnown);
        }
        self.pool.insert(raw, &self.world, self.config.chain_id, self.config.gas_limit)
    }

    /// The waiting transactions.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Forgets all waiting transactions.
    pub fn drop_waiting(&mut self) {
        self.pool.clear();
    }

    /// Sends the transaction that puts this set into the validator contract. It is the last of the accounts that pays, so
    /// that nobody else's nonces move.
    ///
    /// # Errors
    /// Any [`SubmitError`]; `InvalidSender` when the chain has no account or no validator contract.
    pub fn replace_validators(&mut self, validators: &[Address]) -> Result<B256, SubmitError> {
        if !self.config.has_validator_contract() {
            return Err(SubmitError::InvalidSender);
        }
        let key = self.accounts.last().ok_or(SubmitError::InvalidSender)?;
        let nonce = self.pool.next_nonce(key.address(), &self.world);
        let raw = validator_contract::replacement(key, self.config.chain_id, nonce, validators);
        self.submit(&raw)
    }

    /// Casts a vote through the next `voters` proposers that have not cast it; all of them when `None`. Without effect
    /// under a validator contract.
    pub fn vote(&mut self, candidate: Address, add: bool, voters: Option<usize>) {
        let vote = Vote { candidate, add };
        self.campaigns.retain(|campaign| campaign.vote.candidate != candidate);
        self.campaigns.push(Campaign { vote, voters_left: voters.unwrap_or(usize::MAX) });
    }

    /// Stops a validator: it neither proposes nor seals until [`SealedEvmChain::resume_validator`].
    pub fn stop_validator(&mut self, validator: Address) {
        self.stopped.insert(validator);
    }

    /// Starts a stopped validator again.
    pub fn resume_validator(&mut self, validator: Address) {
        self.stopped.remove(&validator);
    }

    /// The next block is agreed at this round or a later one.
    pub fn next_round(&mut self, round: u32) {
        self.least_round = round;
    }

    /// The validators of the next block: ascending, on Edge in the order in which they joined.
    pub fn validators(&self) -> &[Address] {
        self.tally.validators()
    }

    /// The set after the block at a height: what `qbft_getValidatorsByBlockNumber` answers. Under a validator contract it
    /// is what the contract says there, not who sealed.
    pub fn validators_after(&self, height: u64) -> Option<&[Address]> {
        if height == self.height() {
            return Some(self.validators());
        }
        self.sets.get(usize::try_from(height).ok()?).map(Vec::as_slice)
    }

    /// The BLS key of a validator; `None` unless the mode is `edge-bls` and its key is known.
    pub fn bls_key(&self, validator: Address) -> Option<[u8; 48]> {
        let key = self.validator_keys.iter().find(|key| key.address() == validator)?;
        (self.config.mode == SealMode::EdgeBls).then(|| bls_public_key(key))
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
    pub fn block_by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.by_hash.get(&hash).and_then(|height| self.block(*height))
    }

    /// The block that holds a transaction, and its place there.
    pub fn find_transaction(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (height, index) = self.by_transaction.get(&hash)?;
        Some((self.block(*height)?, *index))
    }

    /// The state after a block; `None` when pruned or in the future.
    pub fn world(&self, height: u64) -> Option<&World> {
        self.states.get(&height)
    }

    /// The state after the newest block.
    pub fn newest_world(&self) -> &World {
        &self.world
    }

    /// Executes a call on the state after a block. `None` when that state is not kept.
    pub fn call(&self, height: u64, call: TxEnv) -> Option<Result<Execution, ExecutionError>> {
        let world = self.world(height)?;
        let header = &self.block(height)?.header;
        let environment = Environment {
            number: header.number,
            timestamp: header.timestamp,
            gas_limit: self.config.gas_limit,
            beneficiary: header.beneficiary,
            base_fee: 0,
            difficulty: header.difficulty,
        };
        Some(execution::call(world, &self.rules, &environment, call))
    }

    /// Makes and seals the next block with what waits. Its time is `now_seconds`, but always later than its parent's.
    ///
    /// Returns `None` when too few validators run.
    pub fn produce_block(&mut self, now_seconds: u64) -> Option<Arc<Block>> {
        let parent = Arc::clone(self.newest());
        let number = parent.header.number + 1;
        let mode = self.config.mode_at(number);
        let validators = self.tally.validators().to_vec();
        let sealers = self.late_sealers.clone().unwrap_or_else(|| validators.clone());
        let running = sealers.iter().filter(|validator| !self.stopped.contains(*validator)).count();
        if running < mode.quorum(sealers.len()) {
            return None;
        }
        let (proposer, round) = self.proposer(&sealers, parent.proposer)?;
        let is_epoch_block = number.is_multiple_of(self.config.epoch_length.max(1));
        let may_vote = !is_epoch_block && mode != SealMode::QbftContract;
        let vote = if may_vote { self.vote_of(proposer) } else { None };

        let mut header = blank_header();
        header.parent_hash = parent.hash;
        header.ommers_hash = EMPTY_OMMER_ROOT_HASH;
        header.beneficiary = proposer;
        if mode.votes_in_miner() {
            header.beneficiary = vote.map(|vote| vote.candidate).unwrap_or_default();
            header.nonce = if vote.is_some_and(|vote| vote.add) { B64::repeat_byte(0xff) } else { B64::ZERO };
        }
        if mode.is_edge() {
            header.difficulty = U256::from(number);
        }
        header.number = number;
        header.gas_limit = self.config.gas_limit;
        header.timestamp = now_seconds.max(parent.header.timestamp + 1);
        header.base_fee_per_gas = mode.has_base_fee().then_some(0);
        let transactions = self.execute_waiting(&Environment {
            number,
            timestamp: header.timestamp,
            gas_limit: header.gas_limit,
            beneficiary: header.beneficiary,
            base_fee: 0,
            difficulty: header.difficulty,
        });
        block::fill_roots(&mut header, &transactions);
        header.state_root = self.world.state_root();

        let listed = if mode == SealMode::QbftContract { Vec::new() } else { sealers.clone() };
        let mut unsealed = Unsealed {
            bls_keys: bls_keys(mode, &self.validator_keys, &listed),
            validators: listed,
            vote,
            candidate_key: vote.and_then(|vote| self.bls_key(vote.candidate)),
            ..Unsealed::new(mode, B256::from(*VANITY))
        };
        if mode.is_edge() && number > 1 {
            unsealed.parent_seals = Unsealed::as_parent_seals(&parent.seals, mode);
        }
        let draft = Draft { header, unsealed, proposer, sealers, round };
        let most = if self.late_sealers.is_some() { mode.quorum(draft.sealers.len()) } else { usize::MAX };
        let block = self.seal(draft, transactions, most);
        self.elect(number, proposer, vote);
        self.campaigns.retain(|campaign| campaign.voters_left > 0 && self.tally.is_open(campaign.vote));
        self.least_round = 0;
        Some(self.append(block))
    }

    /// The set that follows from the block at `number`.
    fn elect(&mut self, number: u64, proposer: Address, vote: Option<Vote>) {
        if self.config.mode_at(number + 1) != SealMode::QbftContract {
            let is_epoch_block = number.is_multiple_of(self.config.epoch_length.max(1));
            self.tally.apply(is_epoch_block, proposer, vote);
            return;
        }
        let before = self.tally.validators().to_vec();
        self.tally.replace(validator_contract::read(&self.world));
        let has_changed = self.tally.validators() != before;
        self.late_sealers = has_changed.then_some(before);
    }

    /// The same block with other unsealed parts, sealed by the same validators.
    #[cfg(feature = "misbehave")]
    pub(crate) fn seal_again(&self, block: &Block, unsealed: Unsealed) -> Block {
        let Block { header, proposer, sealers, round, transactions, .. } = block.clone();
        self.seal(Draft { header, unsealed, proposer, sealers, round }, transactions, usize::MAX)
    }

    /// Seals a header with the keys of the sealers that run, `most` of them.
    fn seal(&self, draft: Draft, transactions: Vec<Included>, most: usize) -> Block {
        let Draft { header, mut unsealed, proposer, sealers, round } = draft;
        let key_of = |validator: Address| self.validator_keys.iter().find(|key| key.address() == validator);
        if let (Some(digest), Some(key)) = (unsealed.proposal_digest(&header), key_of(proposer)) {
            unsealed.proposer_seal = key.sign(digest).to_vec();
        }
        let digest = unsealed.commit_digest(&header, round);
        let running = sealers.iter().enumerate().filter(|(_, validator)| !self.stopped.contains(*validator));
        let seals = running
            .filter_map(|(position, validator)| Some(unsealed.seal(position, key_of(*validator)?, digest)))
            .take(most)
            .collect();
        Block { hash: unsealed.block_hash(&header), header, unsealed, proposer, sealers, round, seals, transactions }
    }

    /// The next running validator in turn, and the round at which its turn comes.
    fn proposer(&self, validators: &[Address], last: Address) -> Option<(Address, u32)> {
        let first = match validators.iter().position(|validator| *validator == last) {
            Some(at) => at + 1,
            // Who left is followed by the next address; where the joining order counts, by the first.
            None if self.config.mode.is_edge() => 0,
            None => validators.partition_point(|validator| *validator < last),
        };
        (self.least_round..).take(validators.len()).find_map(|round| {
            let at = (first + round as usize) % validators.len();
            let candidate = validators.get(at).filter(|validator| !self.stopped.contains(*validator))?;
            Some((*candidate, round))
        })
    }

    fn vote_of(&mut self, proposer: Address) -> Option<Vote> {
        let tally = &self.tally;
        let campaign = self
            .campaigns
            .iter_mut()
            .find(|campaign| campaign.voters_left > 0 && !tally.has_voted(proposer, campaign.vote))?;
        campaign.voters_left -= 1;
        Some(campaign.vote)
    }

    fn execute_waiting(&mut self, environment: &Environment) -> Vec<Included> {
        let mut included = Vec::new();
        let mut put_back = Vec::new();
        let mut gas_left = environment.gas_limit;
        loop {
            let ready = self.pool.take_ready(&self.world);
            if ready.is_empty() {
                break;
            }
            for transaction in ready {
                if transaction.gas_limit() > gas_left {
                    put_back.push(transaction);
                    continue;
                }
                let run = execution::execute(&self.world, &self.rules, environment, machine_input(&transaction), None);
                let Ok((result, changes)) = run else { continue };
                self.world.apply(changes);
                gas_left = gas_left.saturating_sub(result.gas_used);
                let cumulative_gas = environment.gas_limit - gas_left;
                included.push(Included::new(transaction, result, cumulative_gas));
            }
        }
        for transaction in put_back {
            self.pool.put_back(transaction);
        }
        included
    }

    fn append(&mut self, block: Block) -> Arc<Block> {
        let block = Arc::new(block);
        let number = block.header.number;
        self.world.note_block_hash(number, block.hash);
        self.by_hash.insert(block.hash, number);
        for (index, included) in block.transactions.iter().enumerate() {
            self.by_transaction.insert(included.hash(), (number, index));
        }
        self.states.insert(number, self.world.clone());
        while self.states.len() > self.config.kept_states.max(1) {
            self.states.pop_first();
        }
        self.sets.push(self.tally.validators().to_vec());
        self.blocks.push(Arc::clone(&block));
        block
    }

    /// Forgets the states below a height, as a node does that was restarted with less storage.
    pub fn prune_states_below(&mut self, height: u64) {
        let newest = self.height();
        self.states.retain(|kept, _| *kept >= height || *kept == newest);
    }
}

/// A block that is not sealed yet.
struct Draft {
    header: alloy_consensus::Header,
    unsealed: Unsealed,
    proposer: Address,
    sealers: Vec<Address>,
    round: u32,
}

/// The BLS keys of these validators, where the mode has any.
fn bls_keys(mode: SealMode, keys: &[DevKey], validators: &[Address]) -> Vec<[u8; 48]> {
    if mode != SealMode::EdgeBls {
        return Vec::new();
    }
    let key_of = |validator: &Address| keys.iter().find(|key| key.address() == *validator);
    validators.iter().filter_map(key_of).map(bls_public_key).collect()
}

/// How far block times may run ahead of the clock when transactions wait and blocks come faster than one a second.
/// A header's time rises by at least a second with each block (besu `TimestampMoreRecentThanParent`).
const MAX_AHEAD_SECONDS: u64 = 3;

impl City for SealedEvmChain {
    fn tick(&mut self, now: Duration) -> bool {
        let next = self.newest().header.timestamp + 1;
        let ahead = if self.pool.is_empty() { 0 } else { MAX_AHEAD_SECONDS };
        next <= now.as_secs() + ahead && self.produce_block(now.as_secs()).is_some()
    }

    fn height(&self) -> u64 {
        SealedEvmChain::height(self)
    }

    fn respond(&mut self, node: usize, body: &[u8]) -> Reply {
        eth_rpc::respond(self, node, body)
    }

    fn told_head(&mut self, node: usize) -> Option<Value> {
        Some(eth_rpc::render_head(self.newest(), node))
    }

    fn tells_heads(&self) -> bool {
        true
    }

    fn resume(&mut self, _node: usize, _waiting: &Waiting, _is_late: bool) -> Option<Value> {
        None
    }

    #[cfg(feature = "misbehave")]
    fn faults(&mut self) -> &mut crate::misbehave::FaultBook {
        &mut self.faults
    }
}
