//! What Polygon Edge keeps in `extraData` and, for a vote, in `miner`.
//!
//! ```text
//! vanity32 ‖ RLP [validators, proposer seal 65, committed seals, parent's committed seals, round 8 bytes]
//! ECDSA    validators [addr…]               committed seals [seal65…]
//! BLS      validators [[addr, key48]…]      committed seals [bitmap, signature96], ["", ""] when empty
//! ```
//! Older blocks have no round. (`consensus/ibft/signer/extra.go`, `helper.go`, Edge 1.3.2.)

use super::account::Account;
use super::extra::{ExtraError, MAX_VALIDATORS, encode_accounts, encode_seals, read_loose_seal, read_seals};
use super::rlp::{self, Item, RlpError, bytes_item, list_item};

/// How an Edge chain seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeScheme {
    /// One secp256k1 signature for each validator.
    Ecdsa,
    /// One aggregate signature on BLS12-381.
    Bls,
}

/// A validator as an Edge header lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeValidator {
    /// Its account.
    pub account: Account,
    /// Its compressed G1 key, on BLS chains.
    pub bls_key: Option<[u8; 48]>,
}

/// Committed seals of an Edge header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeSeals {
    /// r ‖ s ‖ v of each signer.
    Ecdsa(Vec<[u8; 65]>),
    /// One signature of all signers.
    Bls {
        /// Bit i is set when validator i of the header's list signed; big-endian, without leading zeros.
        bitmap: Vec<u8>,
        /// Compressed G2 point, empty in an unsealed block.
        signature: Vec<u8>,
    },
}

/// The extraData of a Polygon Edge header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeExtra {
    /// Free bytes.
    pub vanity: [u8; 32],
    /// The set that seals this block, in the order in which its members joined.
    pub validators: Vec<EdgeValidator>,
    /// The proposer's own seal; empty in a genesis block.
    pub proposer_seal: Vec<u8>,
    /// Seals of this block.
    pub seals: EdgeSeals,
    /// The encoded item with the parent's seals: hashed as it is.
    pub parent_seals: Vec<u8>,
    /// Round, where the block has one: 8 bytes, empty in a genesis block.
    pub round: Option<Vec<u8>>,
}

impl EdgeExtra {
    /// Reads extraData strictly.
    ///
    /// # Errors
    /// Every [`ExtraError`] but `Vote`.
    pub fn decode(scheme: EdgeScheme, bytes: &[u8]) -> Result<Self, ExtraError> {
        let (vanity, rest) = bytes.split_first_chunk::<32>().ok_or(ExtraError::Vanity { got: bytes.len() })?;
        let items = rlp::decode(rest).and_then(|item| item.items(5)).map_err(ExtraError::Layout)?;
        let (validators, proposer_seal, seals, parent_seals, round) = match items.as_slice() {
            [validators, proposer_seal, seals, parent_seals] => (validators, proposer_seal, seals, parent_seals, None),
            [validators, proposer_seal, seals, parent_seals, round] => {
                (validators, proposer_seal, seals, parent_seals, Some(round))
            }
            other => return Err(ExtraError::Layout(RlpError::Count { expected: 5, got: other.len() })),
        };
        let round = match round {
            Some(Item::Bytes(bytes)) if bytes.is_empty() || bytes.len() == 8 => Some(bytes.to_vec()),
            Some(_) => return Err(ExtraError::Round),
            None => None,
        };
        // Looked into only so that nothing but lists of byte strings is taken over as it is.
        let inside = parent_seals.items(MAX_VALIDATORS).map_err(ExtraError::Seals)?;
        inside.into_iter().try_for_each(|item| item.bytes().map(drop)).map_err(ExtraError::Seals)?;
        Ok(Self {
            vanity: *vanity,
            validators: read_validators(scheme, *validators)?,
            proposer_seal: read_loose_seal(*proposer_seal)?,
            seals: read_committed(scheme, *seals)?,
            parent_seals: parent_seals.encode(),
            round,
        })
    }

    /// The whole extraData.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.with(&self.proposer_seal, &encode_committed(&self.seals), self.round.as_deref())
    }

    /// The form under the block hash: no proposer seal, no committed seals, an empty round where there is one.
    #[must_use]
    pub fn encode_for_block_hash(&self) -> Vec<u8> {
        let empty = match self.seals {
            EdgeSeals::Ecdsa(_) => encode_seals(&[]),
            EdgeSeals::Bls { .. } => list_item(&[bytes_item(&[]), bytes_item(&[])]),
        };
        self.with(&[], &empty, self.round.as_ref().map(|_| [].as_slice()))
    }

    fn with(&self, proposer_seal: &[u8], seals: &[u8], round: Option<&[u8]>) -> Vec<u8> {
        let has_keys = matches!(self.seals, EdgeSeals::Bls { .. });
        let mut items = vec![
            encode_validators(has_keys, &self.validators),
            bytes_item(proposer_seal),
            seals.to_vec(),
            self.parent_seals.clone(),
        ];
        items.extend(round.map(bytes_item));
        [self.vanity.as_slice(), &list_item(&items)].concat()
    }
}

/// Whom the `miner` item of an Edge header votes about, `None` when it is the zero address.
///
/// # Errors
/// [`ExtraError::Vote`] when it is neither 20 bytes nor (on BLS chains) `[addr, key48]`.
pub fn read_candidate(scheme: EdgeScheme, beneficiary: &[u8]) -> Result<Option<EdgeValidator>, ExtraError> {
    if let Ok(account) = <[u8; 20]>::try_from(beneficiary) {
        let account = Account(account);
        let is_vote = account != Account::default();
        return Ok(is_vote.then_some(EdgeValidator { account, bls_key: None }));
    }
    if scheme == EdgeScheme::Ecdsa {
        return Err(ExtraError::Vote);
    }
    let item = rlp::decode(beneficiary).map_err(|_| ExtraError::Vote)?;
    read_validator(scheme, item).map(Some).map_err(|_| ExtraError::Vote)
}

fn read_validator(scheme: EdgeScheme, item: Item<'_>) -> Result<EdgeValidator, RlpError> {
    match scheme {
        EdgeScheme::Ecdsa => Ok(EdgeValidator { account: item.fixed().map(Account)?, bls_key: None }),
        EdgeScheme::Bls => {
            let [account, key] = item.exactly::<2>()?;
            Ok(EdgeValidator { account: account.fixed().map(Account)?, bls_key: Some(key.fixed()?) })
        }
    }
}

fn read_validators(scheme: EdgeScheme, item: Item<'_>) -> Result<Vec<EdgeValidator>, ExtraError> {
    let items = item.items(MAX_VALIDATORS).map_err(ExtraError::Validators)?;
    items.into_iter().map(|item| read_validator(scheme, item).map_err(ExtraError::Validators)).collect()
}

fn read_committed(scheme: EdgeScheme, item: Item<'_>) -> Result<EdgeSeals, ExtraError> {
    if scheme == EdgeScheme::Ecdsa {
        return read_seals(item).map(EdgeSeals::Ecdsa);
    }
    let [bitmap, signature] = item.exactly::<2>().map_err(ExtraError::Seals)?;
    let bitmap = bitmap.bytes().map_err(ExtraError::Seals)?;
    if bitmap.first() == Some(&0) {
        return Err(ExtraError::Seals(RlpError::LeadingZero));
    }
    if bitmap.len() > MAX_VALIDATORS / 8 {
        return Err(ExtraError::Seals(RlpError::TooLarge { expected: MAX_VALIDATORS / 8, got: bitmap.len() }));
    }
    let signature = signature.bytes().map_err(ExtraError::Seals)?;
    if !signature.is_empty() && signature.len() != 96 {
        return Err(ExtraError::Seals(RlpError::Length { expected: 96, got: signature.len() }));
    }
    Ok(EdgeSeals::Bls { bitmap: bitmap.to_vec(), signature: signature.to_vec() })
}

fn encode_committed(seals: &EdgeSeals) -> Vec<u8> {
    match seals {
        EdgeSeals::Ecdsa(seals) => encode_seals(seals),
        EdgeSeals::Bls { bitmap, signature } => list_item(&[bytes_item(bitmap), bytes_item(signature)]),
    }
}

fn encode_validators(has_keys: bool, validators: &[EdgeValidator]) -> Vec<u8> {
    if !has_keys {
        return encode_accounts(&validators.iter().map(|validator| validator.account).collect::<Vec<_>>());
    }
    let items = validators.iter().map(|validator| {
        let key = validator.bls_key.as_ref().map_or(&[][..], |key| key.as_slice());
        list_item(&[bytes_item(&validator.account.0), bytes_item(key)])
    });
    list_item(&items.collect::<Vec<_>>())
}
