//! A stand-in chain: blocks with sealed headers, a mempool, nonces, one gateway.

use std::collections::BTreeMap;

use cityrelay_core::attestation::Committee;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, hash_words, keccak256};
use cityrelay_core::ids::{Address, Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::ProofStrength;

use crate::dice::Dice;
use crate::model_client::{
    ModelHeader, ModelLightClient, ModelProof, ModelState, ModelUpdate, ProvedHead, heads_root, quorum, seal,
    set_digest,
};
use crate::model_gateway::{ModelGateway, Revert};

/// Validators at the start.
const VALIDATORS: u64 = 4;
/// Everybody who may ever validate.
const CANDIDATES: u64 = 7;
/// Blocks after which a transaction of the checkpoint chain is too old.
const LIFETIME_BLOCKS: u64 = 40;

/// What a chain can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Every block commits to every head; accounts have nonces; a block comes at every interval.
    Storage,
    /// A block commits to the heads whose checkpoint it holds; transactions have a last block instead of a nonce; no
    /// block comes while there are no transactions.
    Checkpoint,
}

/// What the weather does to a chain, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainWeather {
    /// A transaction handed over is lost at once.
    pub lose: u64,
    /// A waiting transaction is forgotten when a block is made.
    pub evict: u64,
    /// A transaction is left for a later block.
    pub delay: u64,
    /// A relay's transaction reverts for no reason of its own.
    pub revert: u64,
    /// A block gets too few seals; only where the next block comes by itself.
    pub short: u64,
    /// Gas that one transaction may ask for; 0 for plenty.
    pub max_gas: u64,
    /// Somebody else has a relay's call mined as well.
    pub copy: u64,
}

/// A signed transaction: what its bytes say.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its hash.
    pub hash: Hash32,
    /// Who signed it.
    pub account: Address,
    /// Its place among those of the account; storage chain only.
    nonce: Option<u64>,
    /// Last block that may hold it; checkpoint chain only.
    last_block: Option<u64>,
    call: GatewayCall,
}

/// What a node says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In no block yet.
    Waiting,
    /// No node knows it.
    Forgotten,
    /// It can't come any more.
    Dead,
    /// In a block, and whether it did its work.
    Mined(Height, bool),
}

/// A block and what the gateway said after it.
#[derive(Clone, Debug)]
pub struct Block {
    /// The sealed header.
    pub header: ModelHeader,
    heads: Vec<ProvedHead>,
    own: BTreeMap<Flow, ChainPoint>,
    taken: BTreeMap<Flow, ChainPoint>,
    committee: Committee,
}

/// The chain.
#[derive(Debug)]
pub struct ModelChain {
    /// Name in traces.
    pub name: &'static str,
    /// The chain as the protocol names it.
    pub domain: Domain,
    /// What it can prove.
    pub kind: ChainKind,
    /// Its gateway, as of the last block.
    pub gateway: ModelGateway,
    /// From genesis on.
    pub blocks: Vec<Block>,
    /// What the weather does to it.
    pub weather: ChainWeather,
    /// Reverts of relays' transactions that the gateway itself decided.
    pub reverts: Vec<(Height, Revert)>,
    /// Calls of relays that somebody else had mined as well.
    pub copies: u64,
    /// Forgotten transactions that a node offered again.
    pub returned: u64,
    /// Forgotten transactions, and the first block for which a node will offer them again.
    returning: Vec<(u64, Hash32)>,
    keys: Vec<Hash32>,
    /// Who seals the next block.
    validators: Vec<u64>,
    /// The set that the next block brings.
    next_validators: Option<Vec<u64>>,
    waiting: Vec<Hash32>,
    transactions: BTreeMap<Hash32, Transaction>,
    mined: BTreeMap<Hash32, (u64, bool)>,
    nonces: BTreeMap<Address, u64>,
    drawn: u64,
}

/// The genesis header of a chain called `name`.
#[must_use]
pub fn genesis(name: &str, now: UnixMillis) -> ModelHeader {
    let parent = keccak256(name.as_bytes());
    let validators = (0..VALIDATORS).collect();
    ModelHeader { height: 0, parent, timestamp: now.0, root: heads_root(&[]), validators, seals: Vec::new() }
}

impl ModelChain {
    /// A chain that holds nothing but its genesis block and `gateway`.
    #[must_use]
    pub fn new(name: &'static str, kind: ChainKind, gateway: ModelGateway, genesis: ModelHeader) -> Self {
        let key = |n: u64| hash_words(&[keccak256(name.as_bytes()), Hash32::from_u64(n)]);
        let mut chain = Self {
            name,
            domain: gateway.at.domain,
            kind,
            gateway,
            blocks: Vec::new(),
            weather: ChainWeather::default(),
            reverts: Vec::new(),
            copies: 0,
            returned: 0,
            returning: Vec::new(),
            keys: (0..CANDIDATES).map(key).collect(),
            validators: genesis.validators.clone(),
            next_validators: None,
            waiting: Vec::new(),
            transactions: BTreeMap::new(),
            mined: BTreeMap::new(),
            nonces: BTreeMap::new(),
            drawn: 0,
        };
        chain.close_block(genesis, Vec::new());
        chain
    }

    /// The light client of this chain.
    #[must_use]
    pub fn client(&self) -> ModelLightClient {
        let strength = match self.kind {
            ChainKind::Storage => ProofStrength::Conclusive,
            ChainKind::Checkpoint => ProofStrength::NeedsLocalConfirmation,
        };
        let proves_changes = self.kind == ChainKind::Storage;
        ModelLightClient { keys: self.keys.clone(), proves_changes, strength }
    }

    /// The trusted state at the genesis block.
    #[must_use]
    pub fn anchor(&self) -> ModelState {
        let genesis = &self.blocks[0].header;
        let validators = genesis.validators.clone();
        let (hash, sealed_by) = (genesis.hash(), validators.clone());
        ModelState { height: 0, hash, sealed_by, validators, held: Vec::new(), stated: None }
    }

    /// Height of the last block.
    #[must_use]
    pub fn tip(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    fn block(&self, height: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(height).unwrap())
    }

    /// Headers `after + 1..`, at most `max`, as a node says that has seen the blocks up to `tip`.
    #[must_use]
    pub fn update(&self, after: Height, max: u32, tip: u64) -> Option<ModelUpdate> {
        let last = tip.min(after.0 + u64::from(max));
        let headers = (after.0 + 1..=last).filter_map(|height| Some(self.block(height)?.header.clone()));
        let headers: Vec<ModelHeader> = headers.collect();
        (!headers.is_empty()).then_some(ModelUpdate { headers })
    }

    /// Another header at a height, sealed by as many validators as the real one: they contradict themselves.
    #[must_use]
    pub fn forked(&self, at: Height) -> Option<ModelUpdate> {
        let real = &self.block(at.0).filter(|_| at.0 > 0)?.header;
        let mut header = ModelHeader { root: heads_root(&[]), timestamp: real.timestamp + 1, ..real.clone() };
        let validators = match (self.kind, at.0.checked_sub(1)) {
            (ChainKind::Storage, Some(before)) => &self.block(before)?.header.validators,
            _ => &header.validators,
        };
        header.seals = self.seals(&header, validators, quorum(validators.len()));
        Some(ModelUpdate { headers: vec![header] })
    }

    /// The seals of the first `count` of `validators` under a header.
    fn seals(&self, header: &ModelHeader, validators: &[u64], count: usize) -> Vec<(u64, Hash32)> {
        let hash = header.hash();
        let key = |validator: u64| self.keys[usize::try_from(validator).unwrap()];
        validators.iter().take(count).map(|validator| (*validator, seal(key(*validator), hash))).collect()
    }

    /// One validator comes, goes, or takes another's place with the next block.
    pub fn change_validators(&mut self, dice: &mut Dice) {
        let mut next = self.validators.clone();
        let outside: Vec<u64> = (0..CANDIDATES).filter(|candidate| !next.contains(candidate)).collect();
        let comes = next.len() < 4 || dice.chance(700);
        let goes = next.len() > 4 || dice.chance(400);
        if goes {
            let leaving = *dice.pick(&next);
            next.retain(|validator| *validator != leaving);
        }
        if comes || !goes {
            next.push(*dice.pick(&outside));
            next.sort_unstable();
        }
        self.next_validators = Some(next);
    }

    /// Whether the block at a height shows the set with this digest; `None` when a node that has seen the blocks up to
    /// `tip` has it not.
    #[must_use]
    pub fn has_set(&self, height: Height, digest: Hash32, tip: u64) -> Option<bool> {
        let header = &self.block(height.0).filter(|_| height.0 <= tip)?.header;
        Some(set_digest(&header.validators) == digest)
    }

    /// Whether a node that has seen the blocks up to `tip`, and has the bodies of the last `blocks` of them, lacks the next
    /// entries of a chain after `base`.
    #[must_use]
    pub fn is_pruned_after(&self, flow: Flow, base: Index, tip: u64, blocks: u64) -> bool {
        self.hint(flow, tip.saturating_sub(blocks)).is_some_and(|pruned| pruned.index > base)
    }

    /// Where a chain that lives here stood after the block `tip`.
    #[must_use]
    pub fn hint(&self, flow: Flow, tip: u64) -> Option<ChainPoint> {
        self.block(tip)?.own.get(&flow).copied()
    }

    /// Where a chain that is taken in here stood after the block `tip`.
    #[must_use]
    pub fn taken(&self, flow: Flow, tip: u64) -> Option<ChainPoint> {
        self.block(tip)?.taken.get(&flow).copied()
    }

    /// The attester set after the block `tip`.
    #[must_use]
    pub fn committee(&self, tip: u64) -> Option<Committee> {
        Some(self.block(tip)?.committee.clone())
    }

    /// Entries of a chain that lives here, `(after, up_to]`.
    #[must_use]
    pub fn entries(&self, flow: Flow, after: Index, up_to: Index) -> Vec<Entry> {
        let is_wanted = |index: Index| index > after && index <= up_to;
        match flow.direction {
            Direction::Outbox => {
                let messages = self.gateway.sources.get(&flow.lane).map(|lane| lane.messages.iter());
                let wanted = messages.into_iter().flatten().filter(|message| is_wanted(message.index));
                wanted.cloned().map(Entry::Message).collect()
            }
            Direction::Inbox => {
                let outcomes = self.gateway.destinations.get(&flow.lane).map(|lane| lane.outcomes.iter());
                let wanted = outcomes.into_iter().flatten().filter(|outcome| is_wanted(outcome.index));
                wanted.copied().map(Entry::Outcome).collect()
            }
        }
    }

    /// The newest proof in `oldest..=newest` of a head beyond `base`.
    #[must_use]
    pub fn prove(&self, flow: Flow, base: Index, oldest: u64, newest: u64) -> Option<(Height, ChainPoint, ModelProof)> {
        (oldest..=newest.min(self.tip())).rev().find_map(|height| {
            let block = self.block(height)?;
            let head = block.heads.iter().find(|head| head.flow == flow && head.point.index > base)?;
            Some((Height(height), head.point, ModelProof { heads: block.heads.clone() }))
        })
    }

    /// The header at a height.
    #[must_use]
    pub fn header_hash(&self, height: Height) -> Option<Hash32> {
        Some(self.block(height.0)?.header.hash())
    }

    /// Signs a transaction of `account`. `open` are the hashes of its transactions that may still come; `replaces` is
    /// the one whose place it takes. Reads the nonce as a node says that has seen the blocks up to `tip`.
    pub fn sign(
        &mut self,
        account: Address,
        call: GatewayCall,
        open: &[Hash32],
        replaces: Option<Hash32>,
        tip: u64,
    ) -> Hash32 {
        self.drawn += 1;
        let (nonce, last_block) = match self.kind {
            ChainKind::Storage => {
                let next = self.nonces.get(&account).copied().unwrap_or(0);
                let nonce_of = |hash: &Hash32| self.transactions.get(hash).and_then(|known| known.nonce);
                let taken: Vec<u64> = open.iter().filter_map(nonce_of).collect();
                let free = (next..).find(|nonce| !taken.contains(nonce));
                (replaces.as_ref().and_then(nonce_of).or(free), None)
            }
            ChainKind::Checkpoint => (None, Some(tip + LIFETIME_BLOCKS)),
        };
        let words = [keccak256(self.name.as_bytes()), account.0, Hash32::from_u64(self.drawn)];
        let hash = hash_words(&words);
        self.transactions.insert(hash, Transaction { hash, account, nonce, last_block, call });
        hash
    }

    /// Takes a signed transaction into the mempool, unless the weather loses it.
    pub fn submit(&mut self, hash: Hash32, dice: &mut Dice) {
        let Some(transaction) = self.transactions.get(&hash).cloned() else { return };
        let is_late = self.is_too_late(&transaction);
        if is_late || self.mined.contains_key(&hash) || self.waiting.contains(&hash) || dice.chance(self.weather.lose) {
            return;
        }
        // A later transaction in the same place pushes the earlier one out.
        if let Some(nonce) = transaction.nonce {
            let transactions = &self.transactions;
            self.waiting.retain(|other| {
                let other = &transactions[other];
                (other.account, other.nonce) != (transaction.account, Some(nonce))
            });
        }
        self.waiting.push(hash);
    }

    fn is_too_late(&self, transaction: &Transaction) -> bool {
        let used = self.nonces.get(&transaction.account).copied().unwrap_or(0);
        transaction.nonce.is_some_and(|nonce| nonce < used)
            || transaction.last_block.is_some_and(|last| last <= self.tip())
    }

    /// What a node that has seen the blocks up to `tip` says of a transaction.
    #[must_use]
    pub fn seen(&self, hash: Hash32, tip: u64) -> Seen {
        if let Some((height, is_success)) = self.mined.get(&hash) {
            return if *height <= tip { Seen::Mined(Height(*height), *is_success) } else { Seen::Waiting };
        }
        if self.waiting.contains(&hash) {
            return Seen::Waiting;
        }
        let is_late = self.transactions.get(&hash).is_none_or(|transaction| self.is_too_late(transaction));
        if is_late && tip == self.tip() { Seen::Dead } else { Seen::Forgotten }
    }

    /// Gas that a transaction may ask for is not enough for these messages.
    #[must_use]
    pub fn is_too_large(&self, call: &GatewayCall) -> bool {
        let GatewayCall::Deliver { messages, .. } = call else { return false };
        let gas: u64 = messages.iter().map(|message| message.gas_limit).sum();
        self.weather.max_gas > 0 && gas > self.weather.max_gas && messages.len() > 1
    }

    /// What the gateway would say to a call in the next block.
    ///
    /// # Errors
    /// The gateway's [`Revert`].
    pub fn try_call(&self, account: Address, call: &GatewayCall, now: UnixMillis) -> Result<(), Revert> {
        self.gateway.clone().execute(account, call, now)
    }

    /// Makes the next block when there is reason to.
    pub fn make_block(&mut self, now: UnixMillis, dice: &mut Dice) {
        if self.kind == ChainKind::Checkpoint && self.waiting.is_empty() && self.next_validators.is_none() {
            return;
        }
        let height = self.tip() + 1;
        self.take_back(height);
        let parent = self.blocks[self.blocks.len() - 1].header.hash();
        let mut later = Vec::new();
        let mut checkpoints = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|hash| self.transactions[hash].nonce);
        for hash in waiting {
            let transaction = self.transactions[&hash].clone();
            if self.is_too_late(&transaction) {
                continue;
            }
            if dice.chance(self.weather.evict) {
                if dice.chance(500) {
                    self.returning.push((height + dice.between(1, 30), hash));
                }
                continue;
            }
            let used = self.nonces.get(&transaction.account).copied().unwrap_or(0);
            let has_gap = transaction.nonce.is_some_and(|nonce| nonce > used);
            if has_gap || dice.chance(self.weather.delay) {
                later.push(hash);
                continue;
            }
            if transaction.nonce.is_some() {
                self.nonces.insert(transaction.account, used + 1);
            }
            let is_application = matches!(
                transaction.call,
                GatewayCall::Send { .. } | GatewayCall::Rotate { .. } | GatewayCall::Skip { .. }
            );
            let fails = !is_application && (self.is_too_large(&transaction.call) || dice.chance(self.weather.revert));
            let copied = matches!(transaction.call, GatewayCall::Deliver { .. } | GatewayCall::Settle { .. })
                && dice.chance(self.weather.copy);
            let is_copy_first = dice.chance(500);
            if copied && is_copy_first {
                self.mine_copy(&transaction.call, now);
            }
            let mut is_success = false;
            if !fails {
                match self.gateway.execute(transaction.account, &transaction.call, now) {
                    Ok(()) => is_success = true,
                    Err(revert) => self.reverts.push((Height(height), revert)),
                }
            }
            if let (true, GatewayCall::Checkpoint { flow, .. }) = (is_success, &transaction.call) {
                let point = *self.gateway.own_points(*flow).unwrap().last().unwrap();
                checkpoints.retain(|head: &ProvedHead| head.flow != *flow);
                checkpoints.push(ProvedHead { gateway: self.gateway.at.gateway, flow: *flow, point });
            }
            if copied && !is_copy_first {
                self.mine_copy(&transaction.call, now);
            }
            self.mined.insert(hash, (height, is_success));
        }
        self.waiting = later;
        let heads = match self.kind {
            ChainKind::Storage => self.all_heads(),
            ChainKind::Checkpoint => checkpoints,
        };
        let change = self.next_validators.take();
        let is_change = change.is_some();
        let next = change.unwrap_or_else(|| self.validators.clone());
        // A block that brings a change where headers prove it is sealed by the set before, else by the new one.
        let before = std::mem::replace(&mut self.validators, next.clone());
        let sealers = if self.kind == ChainKind::Storage { before } else { next.clone() };
        let (root, seals) = (heads_root(&heads), Vec::new());
        let mut header = ModelHeader { height, parent, timestamp: now.0, root, validators: next, seals };
        let enough = quorum(sealers.len());
        let is_short = self.kind == ChainKind::Storage && !is_change && dice.chance(self.weather.short);
        let count = if is_short { enough - 1 } else { dice_seals(dice, enough, sealers.len()) };
        header.seals = self.seals(&header, &sealers, count);
        self.close_block(header, heads);
    }

    /// A stranger's transaction with a relay's call.
    fn mine_copy(&mut self, call: &GatewayCall, now: UnixMillis) {
        if self.gateway.execute(Address::from_20([0xdd; 20]), call, now).is_ok() {
            self.copies += 1;
        }
    }

    /// What was forgotten stays so.
    pub fn forget_returning(&mut self) {
        self.returning.clear();
    }

    /// Some node had kept what the others forgot.
    fn take_back(&mut self, height: u64) {
        let returning = std::mem::take(&mut self.returning).into_iter();
        let (due, later): (Vec<_>, Vec<_>) = returning.partition(|(first, _)| *first <= height);
        self.returning = later;
        for (_, hash) in due {
            let transaction = &self.transactions[&hash];
            let is_taken = transaction.nonce.is_some_and(|nonce| {
                let other = |other: &Hash32| {
                    let other = &self.transactions[other];
                    (other.account, other.nonce) == (transaction.account, Some(nonce))
                };
                self.waiting.iter().any(other)
            });
            let is_known = self.mined.contains_key(&hash) || self.waiting.contains(&hash);
            if !is_taken && !is_known && !self.is_too_late(transaction) {
                self.waiting.push(hash);
                self.returned += 1;
            }
        }
    }

    fn all_heads(&self) -> Vec<ProvedHead> {
        let head = |flow: Flow| {
            let point = *self.gateway.own_points(flow).unwrap().last().unwrap();
            ProvedHead { gateway: self.gateway.at.gateway, flow, point }
        };
        self.gateway.own_flows().into_iter().map(head).collect()
    }

    fn close_block(&mut self, header: ModelHeader, heads: Vec<ProvedHead>) {
        let own = self.all_heads().into_iter().map(|head| (head.flow, head.point)).collect();
        let taken = self.gateway.own_flows().into_iter().map(|own| {
            let flow = Flow { lane: own.lane, direction: own.direction.opposite() };
            (flow, *self.gateway.taken_points(flow).unwrap().last().unwrap())
        });
        let taken = taken.collect();
        self.blocks.push(Block { header, heads, own, taken, committee: self.gateway.committee.clone() });
    }
}

fn dice_seals(dice: &mut Dice, enough: usize, all: usize) -> usize {
    usize::try_from(dice.between(enough as u64, all as u64)).unwrap()
}
