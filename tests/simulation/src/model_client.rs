//! A stand-in for a chain's light client: hash-linked headers, each sealed by validators with keyed hashes.
//!
//! It stands for the two kinds of chain that the machine must cope with: heads provable at every block, and heads
//! provable only at blocks that hold a checkpoint. Headers of the first kind say which validators seal the next block, so
//! that they prove their own changes; headers of the second kind only show who sealed them, and a change is believed once
//! it was confirmed. Its keyed hashes are not signatures; whoever holds the client's keys can seal.

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
    /// Validators, ascending: of the next block where headers prove their changes, else of this one.
    pub validators: Vec<u64>,
    /// Validators and their seals, ascending.
    pub seals: Vec<(u64, Hash32)>,
}

impl ModelHeader {
    /// The block's hash; the seals are not in it.
    #[must_use]
    pub fn hash(&self) -> Hash32 {
        let (height, timestamp) = (Hash32::from_u64(self.height), Hash32::from_u64(self.timestamp));
        let validators = set_digest(&self.validators);
        hash_words(&[keccak256(b"model header"), height, self.parent, timestamp, self.root, validators])
    }
}

/// What a statement about a validator set names.
#[must_use]
pub fn set_digest(validators: &[u64]) -> Hash32 {
    let words = validators.iter().map(|validator| Hash32::from_u64(*validator));
    hash_words(&[keccak256(b"model validators")].into_iter().chain(words).collect::<Vec<_>>())
}

/// Seals that make a header final: two thirds of the validators, rounded up.
#[must_use]
pub const fn quorum(validators: usize) -> usize {
    (2 * validators).div_ceil(3)
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
    /// The keys of everybody who may ever validate, by number.
    pub keys: Vec<Hash32>,
    /// Whether a header says who seals the next one; else a change must be confirmed.
    pub proves_changes: bool,
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
    /// Who sealed it.
    pub sealed_by: Vec<u64>,
    /// Who seals the header after it.
    pub validators: Vec<u64>,
    /// Headers after it that lack seals.
    pub held: Vec<ModelHeader>,
    /// First header and digest of a set that was confirmed and not met yet.
    pub stated: Option<(u64, Hash32)>,
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
    /// Who sealed a header among `validators`; a seal that is not genuine, or comes twice, refuses it.
    fn verify_seals(&self, header: &ModelHeader, validators: &[u64]) -> Result<Vec<u64>, Refusal> {
        let hash = header.hash();
        let height = Height(header.height);
        let mut sealers = Vec::new();
        for (validator, given) in &header.seals {
            let key = usize::try_from(*validator).ok().and_then(|number| self.keys.get(number));
            let Some(key) = key.filter(|_| validators.contains(validator)) else {
                return Err(Refusal::new("seal-validator", validators.len(), *validator).at(height));
            };
            if sealers.last().is_some_and(|before| before >= validator) {
                return Err(Refusal::new("seal-order", "ascending", "not ascending").at(height));
            }
            sealers.push(*validator);
            let expected = seal(*key, hash);
            if *given != expected {
                return Err(Refusal::new("seal", expected, *given).at(height));
            }
        }
        Ok(sealers)
    }

    /// The validators that must have sealed a header after one with `before`, and those of the header after it.
    fn sets_of<'a>(&self, header: &'a ModelHeader, before: &'a [u64]) -> (&'a [u64], &'a [u64]) {
        if self.proves_changes { (before, &header.validators) } else { (&header.validators, &header.validators) }
    }

    /// The first header of another set: sealed by it, supported by the old one, and confirmed.
    fn verify_change(&self, state: &mut ModelState, header: &ModelHeader) -> Result<Option<HoldReason>, Refusal> {
        let (height, digest) = (Height(header.height), set_digest(&header.validators));
        let sealers = self.verify_seals(header, &header.validators)?;
        let expected = quorum(header.validators.len());
        if sealers.len() < expected {
            return Err(Refusal::new("quorum", expected, sealers.len()).at(height));
        }
        let support = sealers.iter().filter(|sealer| state.validators.contains(sealer)).count();
        let faulty = state.validators.len().saturating_sub(1) / 3;
        if support <= faulty {
            return Err(Refusal::new("old-set-support", faulty + 1, support).at(height));
        }
        match state.stated {
            Some((stated, confirmed)) if stated == header.height => {
                if confirmed != digest {
                    return Err(Refusal::new("set-statement", confirmed, digest).at(height));
                }
                state.stated = None;
                state.validators.clone_from(&header.validators);
                Ok(None)
            }
            _ => Ok(Some(HoldReason::SetUnconfirmed { height, digest })),
        }
    }

    /// A second header at the trusted height: proof that validators contradict themselves, where enough sealed it.
    fn second_header(&self, state: &ModelState, header: &ModelHeader) -> Refusal {
        let at = Height(header.height);
        let refusal = Refusal::new("equal-height", state.hash, header.hash()).at(at);
        match self.verify_seals(header, &state.sealed_by) {
            Ok(sealers) if sealers.len() >= quorum(state.sealed_by.len()) => refusal.equivocation(),
            Ok(_) => refusal,
            Err(other) => other,
        }
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
        let (mut finals, mut set_changes) = (Vec::new(), Vec::new());
        let mut short = None;
        for header in &update.headers {
            let hash = header.hash();
            let at = Height(header.height);
            if header.height < state.height || (header.height == state.height && hash == state.hash) {
                continue;
            }
            if header.height == state.height {
                return Verdict::Refused(self.second_header(&state, header));
            }
            // Headers held back are not final: another one at their height takes their place.
            state.held.retain(|held| held.height < header.height);
            let last = state.held.last();
            let (height, parent) = last.map_or((state.height, state.hash), |held| (held.height, held.hash()));
            if header.height != height + 1 {
                return Verdict::Refused(Refusal::new("height", height + 1, header.height).at(at));
            }
            if header.parent != parent {
                return Verdict::Refused(Refusal::new("parent", parent, header.parent).at(at));
            }
            if !self.proves_changes && header.validators != state.validators {
                match self.verify_change(&mut state, header) {
                    // The set is another one after the block before.
                    Ok(None) => set_changes.push(Height(header.height - 1)),
                    Ok(Some(reason)) => return Verdict::HeldBack { state, headers: finals, set_changes, reason },
                    Err(refusal) => return Verdict::Refused(refusal),
                }
            }
            let before = last_set(&state);
            let (sealers, next) = self.sets_of(header, &before);
            let signers = match self.verify_seals(header, sealers) {
                Ok(signers) => signers,
                Err(refusal) => return Verdict::Refused(refusal),
            };
            let expected = quorum(sealers.len());
            // What lies before this header is final with it only if the set that was trusted there says so as well.
            let of_trusted = signers.iter().filter(|signer| state.validators.contains(signer)).count();
            let has_change = sealers != state.validators.as_slice();
            let is_final = signers.len() >= expected
                && (!has_change || state.held.is_empty() || of_trusted >= quorum(state.validators.len()));
            let (sealers, next) = (sealers.to_vec(), next.to_vec());
            state.held.push(header.clone());
            if is_final {
                if self.proves_changes && next != state.validators {
                    set_changes.push(at);
                }
                (state.height, state.hash) = (header.height, hash);
                (state.sealed_by, state.validators) = (sealers, next);
                finals.extend(state.held.drain(..).map(|held| Header {
                    height: Height(held.height),
                    hash: held.hash(),
                    parent: held.parent,
                    timestamp: UnixMillis(held.timestamp),
                    detail: held.root.0.to_vec(),
                }));
                short = None;
            } else {
                let (expected, got) = (expected as u64, signers.len() as u64);
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
            Some(reason) => Verdict::HeldBack { state, headers: finals, set_changes, reason },
            None => Verdict::Advanced { state, headers: finals, set_changes },
        }
    }

    fn apply_set_statement(&self, trusted: &ModelState, statement: &SetStatement) -> Result<ModelState, Refusal> {
        if self.proves_changes {
            return Err(Refusal::new("set-statement", "none: headers prove their changes", statement.digest));
        }
        if statement.height.0 != trusted.height + 1 {
            return Err(Refusal::new("set-statement", trusted.height + 1, statement.height));
        }
        Ok(ModelState { stated: Some((statement.height.0, statement.digest)), ..trusted.clone() })
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

/// The validators after the last header that is known, final or not.
fn last_set(state: &ModelState) -> Vec<u64> {
    state.held.last().map_or(&state.validators, |held| &held.validators).clone()
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

    fn numbers(&mut self, numbers: &[u64]) {
        self.count(numbers.len());
        numbers.iter().for_each(|number| self.number(*number));
    }

    fn headers(&mut self, headers: &[ModelHeader]) {
        self.count(headers.len());
        for header in headers {
            self.number(header.height);
            self.0.push(header.parent);
            self.number(header.timestamp);
            self.0.push(header.root);
            self.numbers(&header.validators);
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

    fn numbers(&mut self) -> Result<Vec<u64>, Refusal> {
        (0..self.count(1)?).map(|_| self.number()).collect()
    }

    fn headers(&mut self) -> Result<Vec<ModelHeader>, Refusal> {
        (0..self.count(6)?)
            .map(|_| {
                let (height, parent, timestamp, root) = (self.number()?, self.word()?, self.number()?, self.word()?);
                let validators = self.numbers()?;
                let seals = (0..self.count(2)?).map(|_| Ok((self.number()?, self.word()?)));
                let seals = seals.collect::<Result<_, Refusal>>()?;
                Ok(ModelHeader { height, parent, timestamp, root, validators, seals })
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
        words.numbers(&self.sealed_by);
        words.numbers(&self.validators);
        words.headers(&self.held);
        let (height, digest) = self.stated.unwrap_or_default();
        words.number(height);
        words.0.push(digest);
        words.bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        verify_version(version)?;
        let mut words = WordReader(bytes);
        let (height, hash) = (words.number()?, words.word()?);
        let (sealed_by, validators) = (words.numbers()?, words.numbers()?);
        let held = words.headers()?;
        let (first, digest) = (words.number()?, words.word()?);
        let stated = (first > 0).then_some((first, digest));
        words.end().map(|()| Self { height, hash, sealed_by, validators, held, stated })
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
