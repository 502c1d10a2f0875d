//! A stand-in for a chain's light client: hash-linked headers, each sealed by validators with keyed hashes.
//!
//! It stands for the two kinds of chain that the machine must cope with: heads provable at every block, and heads
//! provable only at blocks that hold a checkpoint. Its keyed hashes are not signatures; whoever holds the client's keys
//! can seal.

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::{Hash32, hash_words, keccak256};
use cityrelay_core::ids::{Address, Height, Index, LaneId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::{
    AdapterValue, Header, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict,
};

/// The adapter's name in opaque values.
pub const MODEL_ADAPTER: &str = "model";

/// The most headers that may wait for a quorum.
const MAX_HELD: usize = 16;

/// A header of the stand-in chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHeader {
    /// Number of the block.
    pub height: u64,
    /// Hash of the block before.
    pub parent: Hash32,
    /// Unix milliseconds.
    pub timestamp: u64,
    /// Commits to the heads that can be proved at this block; see [`heads_root`].
    pub root: Hash32,
    /// Position of the validator and its seal.
    pub seals: Vec<(u64, Hash32)>,
}

impl ModelHeader {
    /// The block's hash; the seals are not in it.
    #[must_use]
    pub fn hash(&self) -> Hash32 {
        let (height, timestamp) = (Hash32::from_u64(self.height), Hash32::from_u64(self.timestamp));
        hash_words(&[keccak256(b"model header"), height, self.parent, timestamp, self.root])
    }
}

/// The seal of the validator with `key` over a block hash.
#[must_use]
pub fn seal(key: Hash32, hash: Hash32) -> Hash32 {
    hash_words(&[keccak256(b"model seal"), key, hash])
}

/// One head that a block commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvedHead {
    /// The gateway that holds it.
    pub gateway: Address,
    /// Lane and direction.
    pub flow: Flow,
    /// The head.
    pub point: ChainPoint,
}

/// What a header's root is for these heads.
#[must_use]
pub fn heads_root(heads: &[ProvedHead]) -> Hash32 {
    let mut words = WordWriter::default();
    words.heads(heads);
    hash_words(&words.0)
}

/// The rules of one stand-in chain.
#[derive(Clone, Debug)]
pub struct ModelLightClient {
    /// The validators' keys.
    pub keys: Vec<Hash32>,
    /// Seals that make a header final.
    pub quorum: usize,
    /// What a head of this chain is worth.
    pub strength: ProofStrength,
}

/// What is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelState {
    /// Last final header.
    pub height: u64,
    /// Its hash.
    pub hash: Hash32,
    /// Headers after it that lack seals.
    pub held: Vec<ModelHeader>,
}

/// Consecutive headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUpdate {
    /// Ascending.
    pub headers: Vec<ModelHeader>,
}

/// All the heads that a block commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelProof {
    /// The heads.
    pub heads: Vec<ProvedHead>,
}

impl ModelLightClient {
    /// Counts the seals of a header; a seal that is not genuine, or comes twice, refuses it.
    fn verify_seals(&self, header: &ModelHeader) -> Result<usize, Refusal> {
        let hash = header.hash();
        let height = Height(header.height);
        let mut before = None;
        for (position, given) in &header.seals {
            let key = usize::try_from(*position).ok().and_then(|position| self.keys.get(position));
            let Some(key) = key else {
                return Err(Refusal::new("seal-validator", self.keys.len(), *position).at(height));
            };
            if before.is_some_and(|before| before >= *position) {
                return Err(Refusal::new("seal-order", "ascending", "not ascending").at(height));
            }
            before = Some(*position);
            let expected = seal(*key, hash);
            if *given != expected {
                return Err(Refusal::new("seal", expected, *given).at(height));
            }
        }
        Ok(header.seals.len())
    }
}

impl LightClient for ModelLightClient {
    type State = ModelState;
    type Update = ModelUpdate;
    type HeadProof = ModelProof;

    fn trusted_height(&self, state: &ModelState) -> Height {
        Height(state.height)
    }

    fn trusted_hash(&self, state: &ModelState) -> Hash32 {
        state.hash
    }

    fn verify_update(&self, trusted: &ModelState, update: &ModelUpdate, _now: UnixMillis) -> Verdict<ModelState> {
        let mut state = trusted.clone();
        let mut finals = Vec::new();
        let mut short = None;
        for header in &update.headers {
            let hash = header.hash();
            let votes = match self.verify_seals(header) {
                Ok(votes) => votes,
                Err(refusal) => return Verdict::Refused(refusal),
            };
            let at = Height(header.height);
            if header.height < state.height || (header.height == state.height && hash == state.hash) {
                continue;
            }
            if header.height == state.height {
                let refusal = Refusal::new("equal-height", state.hash, hash).at(at);
                let is_final = votes >= self.quorum;
                return Verdict::Refused(if is_final { refusal.equivocation() } else { refusal });
            }
            // Headers held back are not final: another one at their height takes their place.
            state.held.retain(|held| held.height < header.height);
            let (height, parent) = state.held.last().map_or((state.height, state.hash), |h| (h.height, h.hash()));
            if header.height != height + 1 {
                return Verdict::Refused(Refusal::new("height", height + 1, header.height).at(at));
            }
            if header.parent != parent {
                return Verdict::Refused(Refusal::new("parent", parent, header.parent).at(at));
            }
            state.held.push(header.clone());
            if votes >= self.quorum {
                (state.height, state.hash) = (header.height, hash);
                finals.extend(state.held.drain(..).map(|held| Header {
                    height: Height(held.height),
                    hash: held.hash(),
                    parent: held.parent,
                    timestamp: UnixMillis(held.timestamp),
                    detail: held.root.0.to_vec(),
                }));
                short = None;
            } else {
                let (expected, got) = (self.quorum as u64, votes as u64);
                let (held, limit) = (state.held.len() as u64, MAX_HELD as u64);
                short = Some(if held > limit {
                    HoldReason::AtBound { height: at, held, limit, expected, got }
                } else {
                    HoldReason::ShortOfQuorum { height: at, expected, got }
                });
            }
        }
        state.held.truncate(MAX_HELD);
        match short {
            Some(reason) => Verdict::HeldBack { state, headers: finals, set_changes: Vec::new(), reason },
            None => Verdict::Advanced { state, headers: finals, set_changes: Vec::new() },
        }
    }

    fn apply_set_statement(&self, _trusted: &ModelState, statement: &SetStatement) -> Result<ModelState, Refusal> {
        Err(Refusal::new("set-statement", "none: the validators are fixed", statement.digest))
    }

    fn verify_head(
        &self,
        header: &Header,
        proof: &ModelProof,
        gateway: Address,
        flow: Flow,
    ) -> Result<ChainPoint, Refusal> {
        let root = heads_root(&proof.heads);
        if header.detail != root.0 {
            return Err(Refusal::new("root", header.detail.as_slice(), root).at(header.height));
        }
        let found = proof.heads.iter().find(|head| head.gateway == gateway && head.flow == flow);
        found.map(|head| head.point).ok_or_else(|| Refusal::new("head", flow.lane.0, "nothing").at(header.height))
    }

    fn strength(&self) -> ProofStrength {
        self.strength
    }
}

/// Values as 32-byte words, one after the other.
#[derive(Debug, Default)]
struct WordWriter(Vec<Hash32>);

impl WordWriter {
    fn number(&mut self, number: u64) {
        self.0.push(Hash32::from_u64(number));
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn headers(&mut self, headers: &[ModelHeader]) {
        self.count(headers.len());
        for header in headers {
            self.number(header.height);
            self.0.push(header.parent);
            self.number(header.timestamp);
            self.0.push(header.root);
            self.count(header.seals.len());
            for (position, seal) in &header.seals {
                self.number(*position);
                self.0.push(*seal);
            }
        }
    }

    fn heads(&mut self, heads: &[ProvedHead]) {
        self.count(heads.len());
        for head in heads {
            self.0.push(head.gateway.0);
            self.0.push(head.flow.lane.0);
            self.number(u64::from(head.flow.direction.code()));
            self.number(head.point.index.0);
            self.0.push(head.point.head);
        }
    }

    fn bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.0).collect()
    }
}

struct WordReader<'a>(&'a [u8]);

impl WordReader<'_> {
    fn word(&mut self) -> Result<Hash32, Refusal> {
        let (word, rest) =
            self.0.split_first_chunk::<32>().ok_or_else(|| Refusal::new("words", 32_u64, self.0.len()))?;
        self.0 = rest;
        Ok(Hash32(*word))
    }

    fn number(&mut self) -> Result<u64, Refusal> {
        let word = self.word()?;
        word.to_u64().ok_or_else(|| Refusal::new("number", "a 64-bit number", word))
    }

    /// A count of things of `words` words each, which must all be there.
    fn count(&mut self, words: usize) -> Result<u64, Refusal> {
        let count = self.number()?;
        let room = (self.0.len() / 32 / words) as u64;
        if count > room { Err(Refusal::new("count", room, count)) } else { Ok(count) }
    }

    fn headers(&mut self) -> Result<Vec<ModelHeader>, Refusal> {
        (0..self.count(5)?)
            .map(|_| {
                let (height, parent, timestamp, root) = (self.number()?, self.word()?, self.number()?, self.word()?);
                let seals = (0..self.count(2)?).map(|_| Ok((self.number()?, self.word()?)));
                let seals = seals.collect::<Result<_, Refusal>>()?;
                Ok(ModelHeader { height, parent, timestamp, root, seals })
            })
            .collect()
    }

    fn heads(&mut self) -> Result<Vec<ProvedHead>, Refusal> {
        (0..self.count(5)?)
            .map(|_| {
                let gateway = Address(self.word()?);
                let lane = LaneId(self.word()?);
                let code = self.number()?;
                let direction = u8::try_from(code).ok().and_then(Direction::from_code);
                let direction = direction.ok_or_else(|| Refusal::new("direction", 1_u64, code))?;
                let point = ChainPoint { index: Index(self.number()?), head: self.word()? };
                Ok(ProvedHead { gateway, flow: Flow { lane, direction }, point })
            })
            .collect()
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::new("trailing", 0_u64, self.0.len())) }
    }
}

fn verify_version(version: u16) -> Result<(), Refusal> {
    if version == 1 { Ok(()) } else { Err(Refusal::new("version", 1_u64, u64::from(version))) }
}

impl AdapterValue for ModelState {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut words = WordWriter::default();
        words.number(self.height);
        words.0.push(self.hash);
        words.headers(&self.held);
        words.bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        verify_version(version)?;
        let mut words = WordReader(bytes);
        let state = Self { height: words.number()?, hash: words.word()?, held: words.headers()? };
        words.end().map(|()| state)
    }
}

impl AdapterValue for ModelUpdate {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut words = WordWriter::default();
        words.headers(&self.headers);
        words.bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        verify_version(version)?;
        let mut words = WordReader(bytes);
        let update = Self { headers: words.headers()? };
        words.end().map(|()| update)
    }
}

impl AdapterValue for ModelProof {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut words = WordWriter::default();
        words.heads(&self.heads);
        words.bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        verify_version(version)?;
        let mut words = WordReader(bytes);
        let proof = Self { heads: words.heads()? };
        words.end().map(|()| proof)
    }
}
