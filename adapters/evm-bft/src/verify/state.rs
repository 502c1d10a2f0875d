//! What the client trusts so far.

use std::sync::Arc;

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::{AdapterValue, Refusal};

use super::reading::rlp_refusal;
use super::set::{ValidatorSet, member_bytes, read_member};
use super::tally::{MAX_PENDING_VOTES, Vote};
use super::update::{UpdateItem, encode_items, read_items};
use crate::codec::account::Account;
use crate::codec::rlp::{self, Item, RlpError, bytes_item, list_item, uint_item};

/// The most headers held back.
pub const MAX_HELD_HEADERS: usize = 64;

/// How many of the last final headers can still be compared with a second one at their height.
pub const MAX_RECENT_HEADERS: usize = 64;

/// The trusted state: the last final header, the set that seals the next one, and what is needed to go on.
///
/// ```text
/// RLP [height, hash, time, item count, set, votes, recent, held]
/// set    = [account20 or account20 ‖ key48 …]
/// votes  = [[voter20, candidate as in set, 0|1] …]
/// recent = [[height, hash, set] …]        set empty where it is not known
/// held   = items of an update
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Height of the last final header.
    pub height: u64,
    /// Its hash.
    pub hash: Hash32,
    /// Its time in seconds, 0 when an anchor does not say.
    pub timestamp: u64,
    /// Its number of items: a chain never goes back to an older fork. 0 at an anchor and under Edge, which does not hash
    /// the last ones.
    pub item_count: usize,
    /// The set that seals the next header.
    pub set: Arc<ValidatorSet>,
    /// Votes pending after the last final header.
    pub votes: Arc<Vec<Vote>>,
    /// The last final headers, ascending, at most [`MAX_RECENT_HEADERS`].
    pub recent: Vec<Recent>,
    /// Headers that follow the last final one and are not final yet, at most [`MAX_HELD_HEADERS`].
    pub held: Vec<UpdateItem>,
}

/// A final header that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash32,
    /// The set that sealed it, where it is known.
    pub set: Option<Arc<ValidatorSet>>,
}

impl State {
    /// The state that an anchor gives: a header that the operator vouches for, the set that seals the next one, the
    /// votes pending after it, and its time in seconds (0 when it is not known; then its age is not checked).
    #[must_use]
    pub fn anchor(height: u64, hash: Hash32, timestamp: u64, set: ValidatorSet, votes: Vec<Vote>) -> Self {
        Self {
            height,
            hash,
            timestamp,
            item_count: 0,
            set: Arc::new(set),
            votes: Arc::new(votes),
            recent: vec![Recent { height, hash, set: None }],
            held: Vec::new(),
        }
    }
}

impl AdapterValue for State {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let votes: Vec<_> = self.votes.iter().map(encode_vote).collect();
        let recent = self.recent.iter().map(|recent| {
            let set = recent.set.as_ref().map_or_else(|| list_item::<&[u8]>(&[]), |set| set.encode());
            list_item(&[uint_item(recent.height), bytes_item(recent.hash.as_bytes()), set])
        });
        list_item(&[
            uint_item(self.height),
            bytes_item(self.hash.as_bytes()),
            uint_item(self.timestamp),
            uint_item(u64::try_from(self.item_count).unwrap_or(u64::MAX)),
            self.set.encode(),
            list_item(&votes),
            list_item(&recent.collect::<Vec<_>>()),
            encode_items(&self.held),
        ])
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        if version != Self::VERSION {
            return Err(Refusal::new("state-version", u64::from(Self::VERSION), u64::from(version)));
        }
        read_state(bytes).map_err(|error| rlp_refusal("state-encoding", error))
    }
}

fn read_state(bytes: &[u8]) -> Result<State, RlpError> {
    let [height, hash, timestamp, item_count, set, votes, recent, held] = rlp::decode(bytes)?.exactly::<8>()?;
    let votes = votes.items(MAX_PENDING_VOTES)?.into_iter().map(read_vote).collect::<Result<_, _>>()?;
    let mut known: Option<Arc<ValidatorSet>> = None;
    let recent = recent.items(MAX_RECENT_HEADERS)?.into_iter().map(|item| {
        let [height, hash, set] = item.exactly::<3>()?;
        let set = match set {
            Item::List([]) => None,
            set => {
                let set = ValidatorSet::read(set)?;
                // Neighbours mostly have the same set: keep one copy.
                let shared = known.clone().filter(|known| **known == set).unwrap_or_else(|| Arc::new(set));
                known = Some(Arc::clone(&shared));
                Some(shared)
            }
        };
        Ok(Recent { height: height.uint()?, hash: Hash32(hash.fixed()?), set })
    });
    Ok(State {
        height: height.uint()?,
        hash: Hash32(hash.fixed()?),
        timestamp: timestamp.uint()?,
        item_count: usize::try_from(item_count.uint()?).unwrap_or(usize::MAX),
        set: Arc::new(ValidatorSet::read(set)?),
        votes: Arc::new(votes),
        recent: recent.collect::<Result<_, RlpError>>()?,
        held: read_items(held, MAX_HELD_HEADERS)?,
    })
}

fn encode_vote(vote: &Vote) -> Vec<u8> {
    list_item(&[
        bytes_item(&vote.voter.0),
        bytes_item(&member_bytes(&vote.candidate)),
        uint_item(u64::from(vote.is_add)),
    ])
}

fn read_vote(item: Item<'_>) -> Result<Vote, RlpError> {
    let [voter, candidate, is_add] = item.exactly::<3>()?;
    let is_add = match is_add.uint()? {
        0 => false,
        1 => true,
        _ => return Err(RlpError::TooLarge { expected: 0, got: 1 }),
    };
    Ok(Vote { voter: Account(voter.fixed()?), candidate: read_member(candidate)?, is_add })
}
