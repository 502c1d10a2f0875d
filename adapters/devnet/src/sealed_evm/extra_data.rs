//! `extraData` of a QBFT header, and the two hashes that are taken over it.
//!
//! Written apart from the adapter's codec, over another RLP library: each checks the other.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, b256, keccak256};

use super::unsealed::Unsealed;

/// What every BFT header carries as `mixHash` (besu `BftHelpers.EXPECTED_MIX_HASH`).
pub const MIX_HASH: B256 = b256!("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365");

/// A proposer's vote in its block: add or drop one validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Whom it is about.
    pub candidate: Address,
    /// Add when true, drop when false.
    pub add: bool,
}

/// RLP `[vanity, [address…], vote, round, [seal…]]` (besu `QbftExtraDataCodec`).
pub(super) fn encode(unsealed: &Unsealed, round: u32, seals: &[[u8; 65]]) -> Bytes {
    let vote = match &unsealed.vote {
        None => list(&[]),
        Some(vote) => {
            let value: &[u8] = if vote.add { &[0xff] } else { &[] };
            list(&[alloy_rlp::encode(vote.candidate), alloy_rlp::encode(value)])
        }
    };
    let validators: Vec<Vec<u8>> = unsealed.validators.iter().map(alloy_rlp::encode).collect();
    let seals: Vec<Vec<u8>> = seals.iter().map(|seal| alloy_rlp::encode(seal.as_slice())).collect();
    let items = [alloy_rlp::encode(unsealed.vanity), list(&validators), vote, alloy_rlp::encode(round), list(&seals)];
    Bytes::from(list(&items))
}

/// Keccak256 of the header with these bytes as `extraData`.
pub(super) fn header_hash_with(header: &Header, extra_data: Bytes) -> B256 {
    let header = Header { extra_data, ..header.clone() };
    keccak256(alloy_rlp::encode(&header))
}

/// The block hash: round 0 and no seals, whatever the real round.
pub(super) fn block_hash(header: &Header, unsealed: &Unsealed) -> B256 {
    header_hash_with(header, encode(unsealed, 0, &[]))
}

/// What a validator signs: the real round and no seals.
pub(super) fn commit_digest(header: &Header, unsealed: &Unsealed, round: u32) -> B256 {
    header_hash_with(header, encode(unsealed, round, &[]))
}

/// A header's fixed fields for a block that carries BFT seals.
pub fn blank_header() -> Header {
    Header { mix_hash: MIX_HASH, difficulty: U256::from(1), ..Header::default() }
}

/// An RLP list of encoded items.
pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload_length = items.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(payload_length + 9);
    alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
    for item in items {
        out.extend_from_slice(item);
    }
    out
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;
    use crate::sealed_evm::mode::SealMode;

    fn unsealed(vote: Option<Vote>) -> Unsealed {
        let validators = vec![Address::repeat_byte(1)];
        Unsealed { validators, vote, ..Unsealed::new(SealMode::Qbft, B256::ZERO) }
    }

    #[test]
    fn votes_are_encoded_as_the_clients_do() {
        let none = encode(&unsealed(None), 0, &[]);
        assert!(none.ends_with(&hex!("c0 80 c0")));
        let add = encode(&unsealed(Some(Vote { candidate: Address::repeat_byte(2), add: true })), 1, &[]);
        assert!(add.ends_with(&hex!("d7 94 0202020202020202020202020202020202020202 81ff 01 c0")));
        let drop = encode(&unsealed(Some(Vote { candidate: Address::repeat_byte(2), add: false })), 0, &[]);
        assert!(drop.ends_with(&hex!("d6 94 0202020202020202020202020202020202020202 80 80 c0")));
    }

    #[test]
    fn the_round_is_in_the_digest_and_not_in_the_hash() {
        let header = blank_header();
        let unsealed = unsealed(None);
        assert_eq!(block_hash(&header, &unsealed), commit_digest(&header, &unsealed, 0));
        assert_ne!(block_hash(&header, &unsealed), commit_digest(&header, &unsealed, 1));
    }
}
