//! What a header says, in the terms of its mode: its hash, the set it lists, its vote, its seals.

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::light_client::Refusal;

use super::mode::Mode;
use super::set::Validator;
use super::tally::Vote;
use crate::codec::account::Account;
use crate::codec::edge::{EdgeExtra, EdgeScheme, EdgeSeals, read_candidate};
use crate::codec::extra::{Ballot, BftExtra, BftLayout, ExtraError, LegacyExtra};
use crate::codec::header::Header;
use crate::codec::rlp::RlpError;

/// Mix hash of every BFT header: the text "ctical byzantine fault tolerance" (EIP-650).
pub const BFT_MIX_HASH: Hash32 = Hash32([
    0x63, 0x74, 0x69, 0x63, 0x61, 0x6c, 0x20, 0x62, 0x79, 0x7a, 0x61, 0x6e, 0x74, 0x69, 0x6e, 0x65, 0x20, 0x66, 0x61,
    0x75, 0x6c, 0x74, 0x20, 0x74, 0x6f, 0x6c, 0x65, 0x72, 0x61, 0x6e, 0x63, 0x65,
]);

/// keccak256 of the RLP of an empty list: the only ommers hash of a chain without forks.
pub const NO_OMMERS: Hash32 = Hash32([
    0x1d, 0xcc, 0x4d, 0xe8, 0xde, 0xc7, 0x5d, 0x7a, 0xab, 0x85, 0xb5, 0x67, 0xb6, 0xcc, 0xd4, 0x1a, 0xd3, 0x12, 0x45,
    0x1b, 0x94, 0x8a, 0x74, 0x13, 0xf0, 0xa1, 0x42, 0xfd, 0x40, 0xd4, 0x93, 0x47,
]);

/// A header read in its mode. Nothing is judged yet.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The block hash.
    pub hash: Hash32,
    /// The validators that the header lists, in its order; empty under a validator contract.
    pub listed: Vec<Validator>,
    /// Who proposed the block.
    pub proposer: Account,
    /// The vote it casts.
    pub vote: Option<Vote>,
    /// Its seals, with what they sign.
    pub seals: Seals,
}

/// Committed seals.
#[derive(Clone, Debug)]
pub(super) enum Seals {
    /// One signature for each signer.
    Each {
        /// What is signed.
        digest: Hash32,
        /// r ‖ s ‖ v.
        seals: Vec<[u8; 65]>,
    },
    /// One signature of all.
    Aggregate {
        /// What is signed.
        digest: Hash32,
        /// Who signed, by position in the list.
        bitmap: Vec<u8>,
        /// Compressed G2 point.
        signature: Vec<u8>,
    },
}

/// Reads `header` as `mode` lays it out and checks what every header of it must have.
///
/// Checks, in order: `ommers`, `mix-hash`, `difficulty` (1, on Edge the height), the layout of extraData (`extra-data`,
/// `vanity`, `validator-form`, `vote`, `round`, `seal-form`), `miner` (20 bytes), and under IBFT1 and Edge
/// `proposer-seal`. Under Edge first of these `header-items`: 15, or 16 with a base fee.
pub(super) fn read_header(mode: Mode, header: &Header) -> Result<Reading, Refusal> {
    if header.ommers_hash != NO_OMMERS {
        return Err(Refusal::new("ommers", NO_OMMERS, header.ommers_hash));
    }
    if header.mix_hash != BFT_MIX_HASH {
        return Err(Refusal::new("mix-hash", BFT_MIX_HASH, header.mix_hash));
    }
    let difficulty = if mode.is_edge() { header.number } else { 1 };
    if header.difficulty != difficulty {
        return Err(Refusal::new("difficulty", difficulty, header.difficulty));
    }
    match mode {
        Mode::Qbft | Mode::QbftContract => read_bft(BftLayout::Qbft, header),
        Mode::Ibft2 => read_bft(BftLayout::Ibft2, header),
        Mode::Ibft1 => read_ibft1(header),
        Mode::EdgeEcdsa => read_edge(EdgeScheme::Ecdsa, header),
        Mode::EdgeBls => read_edge(EdgeScheme::Bls, header),
    }
}

/// The hash of block 0 and the validators that it lists. It has no seal and no proposer, so the checks of [`read_header`]
/// do not hold for it.
pub(super) fn read_genesis(mode: Mode, header: &Header) -> Result<(Hash32, Vec<Validator>), Refusal> {
    let bft = |layout| {
        let extra = BftExtra::decode(layout, &header.extra_data).map_err(extra_refusal)?;
        // Besu hashes block 0 as it is (`BftBlockHashing.serializeHeader`), GoQuorum does not: the two differ only under
        // IBFT2, whose hashed form has fewer items, and that is Besu's alone.
        let hash = match layout {
            BftLayout::Ibft2 => header.hash_with_extra(&header.extra_data),
            BftLayout::Qbft => header.hash_with_extra(&extra.encode_for_block_hash(layout)),
        };
        Ok((hash, extra.validators.into_iter().map(plain).collect()))
    };
    let edge = |scheme| {
        let extra = EdgeExtra::decode(scheme, &header.extra_data).map_err(extra_refusal)?;
        Ok((header.hash_of_13_with_extra(&extra.encode_for_block_hash()), extra.validators))
    };
    match mode {
        Mode::Qbft | Mode::QbftContract => bft(BftLayout::Qbft),
        Mode::Ibft2 => bft(BftLayout::Ibft2),
        Mode::Ibft1 => {
            let extra = LegacyExtra::decode(&header.extra_data).map_err(extra_refusal)?;
            let hash = header.hash_with_extra(&extra.encode_for_block_hash());
            Ok((hash, extra.validators.into_iter().map(plain).collect()))
        }
        Mode::EdgeEcdsa => edge(EdgeScheme::Ecdsa),
        Mode::EdgeBls => edge(EdgeScheme::Bls),
    }
}

fn read_bft(layout: BftLayout, header: &Header) -> Result<Reading, Refusal> {
    let extra = BftExtra::decode(layout, &header.extra_data).map_err(extra_refusal)?;
    let proposer = read_miner(header)?;
    let ballot = |Ballot { candidate, is_add }| Vote { voter: proposer, candidate: plain(candidate), is_add };
    Ok(Reading {
        hash: header.hash_with_extra(&extra.encode_for_block_hash(layout)),
        proposer,
        vote: extra.vote.map(ballot),
        seals: Seals::Each { digest: header.hash_with_extra(&extra.encode_for_commit(layout)), seals: extra.seals },
        listed: extra.validators.into_iter().map(plain).collect(),
    })
}

fn read_ibft1(header: &Header) -> Result<Reading, Refusal> {
    let extra = LegacyExtra::decode(&header.extra_data).map_err(extra_refusal)?;
    let candidate = read_miner(header)?;
    // The proposer signs the hash of the hash (GoQuorum `consensus/istanbul/ibft/engine/engine.go:sigHash`).
    let proposal = keccak256(header.hash_with_extra(&extra.encode_for_proposal()).as_bytes());
    let proposer = recover_proposer(proposal, &extra.proposer_seal)?;
    let hash = header.hash_with_extra(&extra.encode_for_block_hash());
    // The zero address is no candidate: an ordinary block has it, with a nonce of zero, which says "drop".
    let is_vote = candidate != Account::default();
    let vote = if is_vote { Some(nonce_vote(header, proposer, plain(candidate))?) } else { None };
    Ok(Reading {
        hash,
        proposer,
        vote,
        seals: Seals::Each { digest: commit_digest(hash), seals: extra.seals },
        listed: extra.validators.into_iter().map(plain).collect(),
    })
}

fn read_edge(scheme: EdgeScheme, header: &Header) -> Result<Reading, Refusal> {
    if header.item_count() > 16 {
        return Err(Refusal::new("header-items", "15 or 16 items", header.item_count()));
    }
    let extra = EdgeExtra::decode(scheme, &header.extra_data).map_err(extra_refusal)?;
    let candidate = read_candidate(scheme, &header.beneficiary).map_err(extra_refusal)?;
    let hash = header.hash_of_13_with_extra(&extra.encode_for_block_hash());
    let proposer = recover_proposer(keccak256(hash.as_bytes()), &extra.proposer_seal)?;
    let proposal = match &extra.round {
        Some(round) if round.len() == 8 => keccak256(&[hash.0.as_slice(), round].concat()),
        Some(_) => return Err(extra_refusal(ExtraError::Round)),
        None => hash,
    };
    let digest = keccak256(commit_digest(proposal).as_bytes());
    let vote = candidate.map(|candidate| nonce_vote(header, proposer, candidate)).transpose()?;
    let seals = match extra.seals {
        EdgeSeals::Ecdsa(seals) => Seals::Each { digest, seals },
        EdgeSeals::Bls { bitmap, signature } => Seals::Aggregate { digest, bitmap, signature },
    };
    Ok(Reading { hash, listed: extra.validators, proposer, vote, seals })
}

/// keccak256(hash ‖ 02): what IBFT1 validators sign (`02` is the code of the commit message).
fn commit_digest(hash: Hash32) -> Hash32 {
    keccak256(&[hash.0.as_slice(), &[2]].concat())
}

fn recover_proposer(digest: Hash32, seal: &[u8]) -> Result<Account, Refusal> {
    let seal = seal.try_into().map_err(|_| Refusal::new("proposer-seal", 65_u64, seal.len()))?;
    Account::recover(digest, seal)
        .ok_or_else(|| Refusal::new("proposer-seal", "a secp256k1 signature with v 0 or 1", seal.as_slice()))
}

fn nonce_vote(header: &Header, voter: Account, candidate: Validator) -> Result<Vote, Refusal> {
    let is_add = match header.nonce {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => true,
        [0, 0, 0, 0, 0, 0, 0, 0] => false,
        other => return Err(Refusal::new("vote", "nonce ffffffffffffffff or 0000000000000000", other.as_slice())),
    };
    Ok(Vote { voter, candidate, is_add })
}

fn read_miner(header: &Header) -> Result<Account, Refusal> {
    let bytes = header.beneficiary.as_slice();
    bytes.try_into().map(Account).map_err(|_| Refusal::new("miner", 20_u64, bytes.len()))
}

fn plain(account: Account) -> Validator {
    Validator { account, bls_key: None }
}

fn extra_refusal(error: ExtraError) -> Refusal {
    match error {
        ExtraError::Layout(error) => rlp_refusal("extra-data", error),
        ExtraError::Vanity { got } => Refusal::new("vanity", 32_u64, got),
        ExtraError::Validators(error) => rlp_refusal("validator-form", error),
        ExtraError::Vote => Refusal::new("vote", "no vote, or an address to add or drop", "something else"),
        ExtraError::Round => Refusal::new("round", "a round below 2^31 in this mode's form", "something else"),
        ExtraError::Seals(error) => rlp_refusal("seal-form", error),
    }
}

/// Turns what is wrong with RLP into a refusal by `check`.
pub(crate) fn rlp_refusal(check: &'static str, error: RlpError) -> Refusal {
    match error {
        RlpError::Short { expected, got }
        | RlpError::Length { expected, got }
        | RlpError::TooLarge { expected, got } => Refusal::new(check, expected, got),
        RlpError::Count { expected, got } => Refusal::new(check, expected, got),
        RlpError::Trailing { got } => Refusal::new(check, 0_u64, got),
        RlpError::NotCanonical => Refusal::new(check, "the shortest form of a length", "a longer form"),
        RlpError::LeadingZero => Refusal::new(check, "a number without leading zeros", "leading zeros"),
        RlpError::Kind { expected } => Refusal::new(check, expected, "the other kind of item"),
    }
}
