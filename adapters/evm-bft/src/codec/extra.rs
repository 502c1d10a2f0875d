//! What BFT engines keep in `extraData`: three layouts, strictly read, and the reduced forms that are hashed.
//!
//! ```text
//! QBFT   RLP [vanity32, [addr…], vote, round scalar, [seal65…]]    vote: c0, or [addr, ff|empty]
//! IBFT2  RLP [vanity32, [addr…], vote, round 4 bytes, [seal65…]]   vote: 80, or [addr, ff|00]
//! IBFT1  vanity32 ‖ RLP [[addr…], proposer seal 65, [seal65…]]
//! ```
//! (Besu `QbftExtraDataCodec`, `IbftExtraDataCodec`, `Vote`; GoQuorum `core/types/istanbul.go`; EIP-650.)

use super::account::Account;
use super::rlp::{self, Item, RlpError, bytes_item, list_item, uint_item};

/// The most validators that one set may have: a bound on work per header.
pub const MAX_VALIDATORS: usize = 256;

/// Which of the two five-item layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BftLayout {
    /// QBFT.
    Qbft,
    /// IBFT2.
    Ibft2,
}

/// A vote of the proposer to add or drop a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Whom it is about.
    pub candidate: Account,
    /// Add, or drop.
    pub is_add: bool,
}

/// The extraData of QBFT and IBFT2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BftExtra {
    /// Free bytes of the proposer.
    pub vanity: [u8; 32],
    /// The set that seals this block; empty where a contract keeps it.
    pub validators: Vec<Account>,
    /// The proposer's vote.
    pub vote: Option<Ballot>,
    /// Round in which the block was sealed, below 2³¹.
    pub round: u32,
    /// Committed seals, r ‖ s ‖ v.
    pub seals: Vec<[u8; 65]>,
}

/// The extraData of IBFT1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyExtra {
    /// Free bytes of the proposer.
    pub vanity: [u8; 32],
    /// The set that seals this block.
    pub validators: Vec<Account>,
    /// The proposer's own seal; empty in a genesis block.
    pub proposer_seal: Vec<u8>,
    /// Committed seals, r ‖ s ‖ v.
    pub seals: Vec<[u8; 65]>,
}

/// Why extraData is not of its layout. The server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtraError {
    /// No strict RLP, or another number of items.
    #[error("extraData: {0}")]
    Layout(RlpError),
    /// The vanity is not 32 bytes.
    #[error("expected 32 bytes of vanity, got {got}")]
    Vanity {
        /// Bytes found.
        got: usize,
    },
    /// A validator is no 20-byte address, or there are too many.
    #[error("validator list: {0}")]
    Validators(RlpError),
    /// The vote has none of the known forms.
    #[error("expected no vote, or an address and a vote to add or drop it, got neither")]
    Vote,
    /// The round is in the other layout's form, or 2³¹ and above.
    #[error("expected a round in this layout's form and below 2^31, got another")]
    Round,
    /// A seal is not 65 bytes long, or there are too many.
    #[error("seals: {0}")]
    Seals(RlpError),
}

impl BftExtra {
    /// Reads extraData strictly: five items, 32 bytes of vanity, the layout's own forms of vote and round.
    ///
    /// # Errors
    /// Every [`ExtraError`].
    pub fn decode(layout: BftLayout, bytes: &[u8]) -> Result<Self, ExtraError> {
        let items = rlp::decode(bytes).and_then(Item::exactly::<5>);
        let [vanity, validators, vote, round, seals] = items.map_err(ExtraError::Layout)?;
        Ok(Self {
            vanity: read_vanity(vanity)?,
            validators: read_accounts(validators)?,
            vote: read_vote(layout, vote)?,
            round: read_round(layout, round)?,
            seals: read_seals(seals)?,
        })
    }

    /// The whole extraData.
    #[must_use]
    pub fn encode(&self, layout: BftLayout) -> Vec<u8> {
        let mut items = self.head(layout);
        items.push(encode_round(layout, self.round));
        items.push(encode_seals(&self.seals));
        list_item(&items)
    }

    /// What stands in its place when the block hash is taken: QBFT sets the round to 0 and empties the seals, IBFT2
    /// leaves both out.
    #[must_use]
    pub fn encode_for_block_hash(&self, layout: BftLayout) -> Vec<u8> {
        let mut items = self.head(layout);
        if layout == BftLayout::Qbft {
            items.push(uint_item(0));
            items.push(encode_seals(&[]));
        }
        list_item(&items)
    }

    /// What stands in its place when the digest is taken that validators sign: the real round, QBFT with emptied
    /// seals, IBFT2 without them.
    #[must_use]
    pub fn encode_for_commit(&self, layout: BftLayout) -> Vec<u8> {
        let mut items = self.head(layout);
        items.push(encode_round(layout, self.round));
        if layout == BftLayout::Qbft {
            items.push(encode_seals(&[]));
        }
        list_item(&items)
    }

    fn head(&self, layout: BftLayout) -> Vec<Vec<u8>> {
        let vote = match (&self.vote, layout) {
            (None, BftLayout::Qbft) => list_item::<&[u8]>(&[]),
            (None, BftLayout::Ibft2) => bytes_item(&[]),
            (Some(ballot), _) => list_item(&[bytes_item(&ballot.candidate.0), encode_choice(layout, ballot.is_add)]),
        };
        vec![bytes_item(&self.vanity), encode_accounts(&self.validators), vote]
    }
}

impl LegacyExtra {
    /// Reads extraData strictly. The proposer seal may have any length up to 65 bytes: [`LegacyExtra::proposer_seal`].
    ///
    /// # Errors
    /// [`ExtraError`], without `Vote` and `Round`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExtraError> {
        let (vanity, rest) = bytes.split_first_chunk::<32>().ok_or(ExtraError::Vanity { got: bytes.len() })?;
        let items = rlp::decode(rest).and_then(Item::exactly::<3>);
        let [validators, proposer_seal, seals] = items.map_err(ExtraError::Layout)?;
        Ok(Self {
            vanity: *vanity,
            validators: read_accounts(validators)?,
            proposer_seal: read_loose_seal(proposer_seal)?,
            seals: read_seals(seals)?,
        })
    }

    /// The whole extraData.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.with(&self.proposer_seal, &self.seals)
    }

    /// Without committed seals: the form under the block hash.
    #[must_use]
    pub fn encode_for_block_hash(&self) -> Vec<u8> {
        self.with(&self.proposer_seal, &[])
    }

    /// Without any seal: the form under what the proposer signs.
    #[must_use]
    pub fn encode_for_proposal(&self) -> Vec<u8> {
        self.with(&[], &[])
    }

    fn with(&self, proposer_seal: &[u8], seals: &[[u8; 65]]) -> Vec<u8> {
        let list = [encode_accounts(&self.validators), bytes_item(proposer_seal), encode_seals(seals)];
        [self.vanity.as_slice(), &list_item(&list)].concat()
    }
}

fn read_vanity(item: Item<'_>) -> Result<[u8; 32], ExtraError> {
    item.fixed().map_err(|error| match error {
        RlpError::Length { got, .. } => ExtraError::Vanity { got },
        other => ExtraError::Layout(other),
    })
}

fn read_accounts(item: Item<'_>) -> Result<Vec<Account>, ExtraError> {
    let items = item.items(MAX_VALIDATORS).map_err(ExtraError::Validators)?;
    items.into_iter().map(|item| item.fixed().map(Account).map_err(ExtraError::Validators)).collect()
}

/// Reads a list of 65-byte seals.
pub(super) fn read_seals(item: Item<'_>) -> Result<Vec<[u8; 65]>, ExtraError> {
    let items = item.items(MAX_VALIDATORS).map_err(ExtraError::Seals)?;
    items.into_iter().map(|item| item.fixed().map_err(ExtraError::Seals)).collect()
}

pub(super) fn read_loose_seal(item: Item<'_>) -> Result<Vec<u8>, ExtraError> {
    let bytes = item.bytes().map_err(ExtraError::Seals)?;
    if bytes.len() > 65 {
        return Err(ExtraError::Seals(RlpError::Length { expected: 65, got: bytes.len() }));
    }
    Ok(bytes.to_vec())
}

fn read_vote(layout: BftLayout, item: Item<'_>) -> Result<Option<Ballot>, ExtraError> {
    match (item, layout) {
        (Item::List([]), BftLayout::Qbft) | (Item::Bytes([]), BftLayout::Ibft2) => return Ok(None),
        _ => {}
    }
    let [candidate, choice] = item.exactly::<2>().map_err(|_| ExtraError::Vote)?;
    let candidate = candidate.fixed().map(Account).map_err(|_| ExtraError::Vote)?;
    let is_add = match (choice, layout) {
        (Item::Bytes([0xff]), _) => true,
        (Item::Bytes([]), BftLayout::Qbft) | (Item::Bytes([0]), BftLayout::Ibft2) => false,
        _ => return Err(ExtraError::Vote),
    };
    Ok(Some(Ballot { candidate, is_add }))
}

fn encode_choice(layout: BftLayout, is_add: bool) -> Vec<u8> {
    match (is_add, layout) {
        (true, _) => bytes_item(&[0xff]),
        (false, BftLayout::Qbft) => bytes_item(&[]),
        (false, BftLayout::Ibft2) => bytes_item(&[0]),
    }
}

fn read_round(layout: BftLayout, item: Item<'_>) -> Result<u32, ExtraError> {
    let round = match layout {
        BftLayout::Qbft => item.uint().ok().and_then(|round| u32::try_from(round).ok()),
        BftLayout::Ibft2 => item.fixed::<4>().ok().map(u32::from_be_bytes),
    };
    round.filter(|round| *round < 1 << 31).ok_or(ExtraError::Round)
}

fn encode_round(layout: BftLayout, round: u32) -> Vec<u8> {
    match layout {
        BftLayout::Qbft => uint_item(u64::from(round)),
        BftLayout::Ibft2 => bytes_item(&round.to_be_bytes()),
    }
}

pub(super) fn encode_accounts(accounts: &[Account]) -> Vec<u8> {
    list_item(&accounts.iter().map(|account| bytes_item(&account.0)).collect::<Vec<_>>())
}

pub(super) fn encode_seals(seals: &[[u8; 65]]) -> Vec<u8> {
    list_item(&seals.iter().map(|seal| bytes_item(seal)).collect::<Vec<_>>())
}
