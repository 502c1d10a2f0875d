//! What a header says besides its ordinary fields, the hashes taken over it, and the seals under it, mode by mode.
//!
//! QBFT is written apart from the adapter's codec ([`super::extra_data`]): each checks the other. The other modes take
//! the codec, which recorded chains pin in both directions.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use blst::min_pk::{AggregateSignature, SecretKey, Signature};
use cityrelay_core::hash::Hash32;
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::edge::{EdgeExtra, EdgeSeals, EdgeValidator};
use cityrelay_evm_bft::codec::extra::{Ballot, BftExtra, BftLayout, LegacyExtra};
use cityrelay_evm_bft::codec::header::{ForkItems, Header as CodecHeader};

use super::extra_data::{self, Vote, header_hash_with};
use super::mode::SealMode;
use crate::keys::DevKey;

/// Suite of Edge's aggregate seals (`crypto/bls_signature.go`): Ethereum's consensus suite, signatures in G2.
const BLS_SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// An empty RLP list: what Edge has in the place of the seals of block 0.
const NO_SEALS: u8 = 0xc0;

/// The parts of a header, beside its ordinary fields, that the block hash covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The layout.
    pub mode: SealMode,
    /// Free text.
    pub vanity: B256,
    /// The validators that the header lists; empty under a validator contract.
    pub validators: Vec<Address>,
    /// Under `edge-bls` the key of each, else empty.
    pub bls_keys: Vec<[u8; 48]>,
    /// At most one.
    pub vote: Option<Vote>,
    /// Under `edge-bls` the key of the vote's candidate.
    pub candidate_key: Option<[u8; 48]>,
    /// Under IBFT1 and Edge the proposer's own signature; empty in block 0 and before it has signed.
    pub proposer_seal: Vec<u8>,
    /// Under Edge the item with the seals of the block before.
    pub parent_seals: Bytes,
}

/// One validator's commit seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Its position in the set that sealed the block.
    pub position: usize,
    /// r ‖ s ‖ v, or a compressed point of G2 under `edge-bls`.
    pub bytes: Vec<u8>,
}

impl Unsealed {
    /// A header with nothing in it yet.
    pub fn new(mode: SealMode, vanity: B256) -> Self {
        Self {
            mode,
            vanity,
            validators: Vec::new(),
            bls_keys: Vec::new(),
            vote: None,
            candidate_key: None,
            proposer_seal: Vec::new(),
            parent_seals: Bytes::from_static(&[NO_SEALS]),
        }
    }

    /// The bytes of `extraData` with these seals.
    pub fn extra_data(&self, round: u32, seals: &[Seal]) -> Bytes {
        match self.mode {
            SealMode::Qbft | SealMode::QbftContract => extra_data::encode(self, round, &signatures(seals)),
            SealMode::Ibft2 => self.ibft2(round, seals).encode(BftLayout::Ibft2).into(),
            SealMode::Ibft1 => self.ibft1(seals).encode().into(),
            SealMode::EdgeEcdsa | SealMode::EdgeBls => self.edge(Some(round), seals).encode().into(),
        }
    }

    /// `extraData` of block 0: nobody seals it.
    pub fn genesis_extra_data(&self) -> Bytes {
        if self.mode.is_edge() { self.edge(None, &[]).encode().into() } else { self.extra_data(0, &[]) }
    }

    /// The hash of block 0: Besu hashes it as it is (`BftBlockHashing.serializeHeader`), and only IBFT2 shows it.
    pub fn genesis_hash(&self, header: &Header) -> B256 {
        match self.mode {
            SealMode::Ibft2 => header_hash_with(header, self.genesis_extra_data()),
            SealMode::EdgeEcdsa | SealMode::EdgeBls => self.edge_hash(header, &self.edge(None, &[])),
            _ => self.block_hash(header),
        }
    }

    /// The block hash, which covers neither seals nor round.
    pub fn block_hash(&self, header: &Header) -> B256 {
        match self.mode {
            SealMode::Qbft | SealMode::QbftContract => extra_data::block_hash(header, self),
            SealMode::Ibft2 => {
                header_hash_with(header, self.ibft2(0, &[]).encode_for_block_hash(BftLayout::Ibft2).into())
            }
            SealMode::Ibft1 => header_hash_with(header, self.ibft1(&[]).encode_for_block_hash().into()),
            SealMode::EdgeEcdsa | SealMode::EdgeBls => self.edge_hash(header, &self.edge(Some(0), &[])),
        }
    }

    /// What the proposer signs, where it signs the block apart from its seals.
    pub fn proposal_digest(&self, header: &Header) -> Option<B256> {
        match self.mode {
            // The hash of the hash (GoQuorum `consensus/istanbul/ibft/engine/engine.go:sigHash`).
            SealMode::Ibft1 => Some(keccak256(header_hash_with(header, self.ibft1(&[]).encode_for_proposal().into()))),
            SealMode::EdgeEcdsa | SealMode::EdgeBls => Some(keccak256(self.block_hash(header))),
            _ => None,
        }
    }

    /// What a validator signs.
    pub fn commit_digest(&self, header: &Header, round: u32) -> B256 {
        match self.mode {
            SealMode::Qbft | SealMode::QbftContract => extra_data::commit_digest(header, self, round),
            SealMode::Ibft2 => {
                header_hash_with(header, self.ibft2(round, &[]).encode_for_commit(BftLayout::Ibft2).into())
            }
            SealMode::Ibft1 => commit_message(self.block_hash(header)),
            // `consensus/ibft/verifier.go:calculateProposalHash`, `signer.go:CreateCommittedSeal`.
            SealMode::EdgeEcdsa | SealMode::EdgeBls => {
                let hash = self.block_hash(header);
                let proposal = keccak256([hash.as_slice(), &u64::from(round).to_be_bytes()].concat());
                keccak256(commit_message(proposal))
            }
        }
    }

    /// One validator's seal over a digest.
    pub fn seal(&self, position: usize, key: &DevKey, digest: B256) -> Seal {
        let bytes = match self.mode {
            SealMode::EdgeBls => bls_secret(key).sign(digest.as_slice(), BLS_SUITE, &[]).compress().to_vec(),
            _ => key.sign(digest).to_vec(),
        };
        Seal { position, bytes }
    }

    /// What stands in `miner`: 20 bytes, or under `edge-bls` with a vote the candidate and its key.
    pub fn miner(&self, header: &Header) -> Vec<u8> {
        match (self.vote, self.candidate_key) {
            (Some(vote), Some(key)) => {
                extra_data::list(&[alloy_rlp::encode(vote.candidate), alloy_rlp::encode(key.as_slice())])
            }
            _ => header.beneficiary.to_vec(),
        }
    }

    /// The item of an Edge header that repeats the seals of the block before.
    pub fn as_parent_seals(seals: &[Seal], mode: SealMode) -> Bytes {
        match edge_seals(mode, seals) {
            EdgeSeals::Ecdsa(seals) => {
                extra_data::list(&seals.iter().map(|seal| alloy_rlp::encode(seal.as_slice())).collect::<Vec<_>>())
                    .into()
            }
            EdgeSeals::Bls { bitmap, signature } => {
                extra_data::list(&[alloy_rlp::encode(bitmap.as_slice()), alloy_rlp::encode(signature.as_slice())])
                    .into()
            }
        }
    }

    fn ibft2(&self, round: u32, seals: &[Seal]) -> BftExtra {
        let ballot = |vote: Vote| Ballot { candidate: account(vote.candidate), is_add: vote.add };
        BftExtra {
            vanity: self.vanity.0,
            validators: self.validators.iter().copied().map(account).collect(),
            vote: self.vote.map(ballot),
            round,
            seals: signatures(seals),
        }
    }

    fn ibft1(&self, seals: &[Seal]) -> LegacyExtra {
        LegacyExtra {
            vanity: self.vanity.0,
            validators: self.validators.iter().copied().map(account).collect(),
            proposer_seal: self.proposer_seal.clone(),
            seals: signatures(seals),
        }
    }

    fn edge(&self, round: Option<u32>, seals: &[Seal]) -> EdgeExtra {
        let keys = self.bls_keys.iter().copied().map(Some).chain(std::iter::repeat(None));
        let validators = self.validators.iter().zip(keys);
        EdgeExtra {
            vanity: self.vanity.0,
            validators: validators
                .map(|(validator, bls_key)| EdgeValidator { account: account(*validator), bls_key })
                .collect(),
            proposer_seal: self.proposer_seal.clone(),
            seals: edge_seals(self.mode, seals),
            parent_seals: self.parent_seals.to_vec(),
            round: Some(round.map(|round| u64::from(round).to_be_bytes().to_vec()).unwrap_or_default()),
        }
    }

    fn edge_hash(&self, header: &Header, extra: &EdgeExtra) -> B256 {
        let header = CodecHeader {
            parent_hash: Hash32(header.parent_hash.0),
            ommers_hash: Hash32(header.ommers_hash.0),
            beneficiary: self.miner(header),
            state_root: Hash32(header.state_root.0),
            transactions_root: Hash32(header.transactions_root.0),
            receipts_root: Hash32(header.receipts_root.0),
            logs_bloom: header.logs_bloom.into_array(),
            difficulty: header.difficulty.saturating_to(),
            number: header.number,
            gas_limit: header.gas_limit,
            gas_used: header.gas_used,
            timestamp: header.timestamp,
            extra_data: Vec::new(),
            mix_hash: Hash32(header.mix_hash.0),
            nonce: header.nonce.0,
            fork: ForkItems::default(),
        };
        B256::from(header.hash_of_13_with_extra(&extra.encode_for_block_hash()).0)
    }
}

/// The BLS key of a validator: drawn from its other key, so that one seed gives both.
pub(super) fn bls_public_key(key: &DevKey) -> [u8; 48] {
    bls_secret(key).sk_to_pk().compress()
}

#[expect(clippy::expect_used, reason = "32 bytes are enough to draw a key from")]
fn bls_secret(key: &DevKey) -> SecretKey {
    SecretKey::key_gen(key.secret().as_slice(), b"cityrelay-devnet").expect("a secret of 32 bytes")
}

/// keccak256(hash ‖ 02): `02` is the code of the commit message.
fn commit_message(hash: B256) -> B256 {
    keccak256([hash.as_slice(), &[2]].concat())
}

fn account(address: Address) -> Account {
    Account(address.into_array())
}

fn signatures(seals: &[Seal]) -> Vec<[u8; 65]> {
    seals.iter().filter_map(|seal| <[u8; 65]>::try_from(seal.bytes.as_slice()).ok()).collect()
}

fn edge_seals(mode: SealMode, seals: &[Seal]) -> EdgeSeals {
    if mode != SealMode::EdgeBls {
        return EdgeSeals::Ecdsa(signatures(seals));
    }
    let made: Vec<Signature> = seals.iter().filter_map(|seal| Signature::uncompress(&seal.bytes).ok()).collect();
    let signature = AggregateSignature::aggregate(&made.iter().collect::<Vec<_>>(), false)
        .map(|aggregate| aggregate.to_signature().compress().to_vec())
        .unwrap_or_default();
    let marks = seals.iter().fold(0u128, |marks, seal| marks | 1 << (seal.position % 128));
    let bytes = marks.to_be_bytes();
    let bitmap = bytes.iter().skip_while(|byte| **byte == 0).copied().collect();
    EdgeSeals::Bls { bitmap, signature }
}
