//! What the journal keeps in its tables: keys, rows, and the checksum that ties a row to its table and key.

pub mod format_1;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Epoch, Height, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::Header;
use cityrelay_core::message::Message;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::order::AuditRecord;
use cityrelay_core::outcome::Status;
use cityrelay_core::record::{Frozen, IntentEnd, IntentRecord, Misbehaviour, Purpose};
use cityrelay_core::set_attestation::{SetEvidence, SetFact};

use crate::codec;
use crate::error::{DecodeError, EncodeError};
use crate::limits::MAX_RECORD_BYTES;
use crate::v1::Mirrored;

/// The layout that [`encode_row`] writes.
pub const ROW_VERSION: u8 = 1;

const CHECKSUM_BYTES: usize = 4;

/// A value that the journal keeps under a key.
pub trait Row: Mirrored {
    /// The number in front of the row's fields.
    const KIND: u8;
}

/// Where a flow stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Short name of the flow inside this journal.
    pub ordinal: u32,
    /// The durable tip.
    pub tip: ChainPoint,
    /// What the peer holds.
    pub peer_accepted: ChainPoint,
    /// What the target chain has taken in.
    pub done: ChainPoint,
    /// The highest point that was released for signing.
    pub signed: Option<ChainPoint>,
    /// Extensions applied so far.
    pub extensions: u64,
    /// Payload bytes up to this index are gone.
    pub payloads_pruned: Index,
    /// Bodies up to this index are gone.
    pub bodies_pruned: Index,
}

/// The part of an extension that is kept for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRow {
    /// The point before its first entry.
    pub base: ChainPoint,
    /// The point after its last entry.
    pub tip: ChainPoint,
    /// The header at which the head was proved.
    pub proved_at: Height,
    /// Hash of that header.
    pub block_hash: Hash32,
    /// Time of that header.
    pub block_time: UnixMillis,
    /// When it was verified.
    pub at: UnixMillis,
    /// What its links are made of.
    pub kept: Kept,
}

/// What is kept of each entry for good: enough for its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Of messages: their ids, which are the links.
    Ids(Vec<Hash32>),
    /// Of outcomes: everything but the index, which follows from the position.
    Outcomes(Vec<KeptOutcome>),
}

/// An outcome without its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptOutcome {
    /// Id of the message.
    pub message: MessageId,
    /// What happened.
    pub status: Status,
    /// keccak256 of the result.
    pub result_hash: Hash32,
}

/// The part of an extension that may be pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRow {
    /// The messages of an outbox extension; empty for an inbox, whose entries are kept in the [`SpanRow`].
    pub messages: Vec<Message>,
    /// Links after the last entry up to the proved head.
    pub tail: Vec<Hash32>,
    /// The adapter's proof; `None` once pruned.
    pub proof: Option<Opaque>,
}

/// An attested head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedRow {
    /// The head and its signatures.
    pub evidence: Evidence,
    /// When the signatures were enough.
    pub at: UnixMillis,
}

/// When the peer said that it holds a flow up to the index in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedRow {
    /// When it said so.
    pub at: UnixMillis,
}

/// When a flow was seen taken in up to the index in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoneRow {
    /// When we saw it.
    pub at: UnixMillis,
}

/// That the head of the index in the key was released for signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRow {
    /// The head.
    pub head: Hash32,
    /// The newest generation for which it was released.
    pub epoch: Epoch,
}

/// A light client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// Its state.
    pub state: Opaque,
    /// Height of its last final header.
    pub height: Height,
    /// Hash of that header.
    pub hash: Hash32,
    /// Headers kept for it.
    pub headers: u32,
}

/// A transaction whose fate is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedIntentRow {
    /// What it was for.
    pub purpose: Purpose,
    /// The transaction whose place it took.
    pub replaces: Option<Hash32>,
    /// When it was made.
    pub at: UnixMillis,
    /// What became of it.
    pub end: IntentEnd,
}

/// A chain on which something happened that the key alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainRow {
    /// The chain.
    pub domain: Domain,
}

/// A flow by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrdinalRow {
    /// The flow.
    pub flow: Flow,
}

/// That a chain's client is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenRow {
    /// Over what.
    pub frozen: Frozen,
    /// Since when.
    pub at: UnixMillis,
}

/// A chain's validator set from the height in the key on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRow {
    /// The set.
    pub fact: SetFact,
    /// Whether our own nodes confirmed it.
    pub is_confirmed: bool,
    /// Whether it was released for signing.
    pub is_signed: bool,
    /// The signatures that vouched for it here.
    pub evidence: Vec<SetEvidence>,
}

/// Which of two headers an operator chose; the key names chain and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidedRow {
    /// Hash of the header that counts.
    pub chosen: Hash32,
    /// Hash of the one that does not.
    pub rejected: Hash32,
}

/// That an operator has paused the lane in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PausedRow {
    /// Since when.
    pub at: UnixMillis,
}

/// What a signer has signed for the place in the key: nothing else ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedOnceRow {
    /// The content; see [`cityrelay_core::signing::Signable::place`].
    pub content: Hash32,
}

/// Numbers of the whole journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountersRow {
    /// Flows seen; the next short name.
    pub flows: u32,
    /// Records applied.
    pub records: u64,
    /// Sign-once records applied, repetitions included: the signing counter.
    pub signed: u64,
    /// Orders of operators kept.
    pub audits: u64,
    /// Light clients held. This and those after it are compared with the rows found: a lost row is damage.
    pub clients: u32,
    /// Transactions whose fate is not known.
    pub intents: u32,
    /// Frozen chains.
    pub frozen: u32,
    /// Pieces of evidence of misbehaviour.
    pub misbehaviour: u32,
    /// Decisions about frozen clients.
    pub decided: u32,
    /// Paused lanes.
    pub paused: u32,
    /// Validator sets.
    pub sets: u32,
}

macro_rules! kinds {
    ($($row:ty = $kind:literal;)*) => {
        $(
            impl Row for $row {
                const KIND: u8 = $kind;
            }
        )*
    };
}

kinds! {
    FlowRow = 1;
    SpanRow = 2;
    BodyRow = 3;
    AttestedRow = 4;
    DoneRow = 5;
    SignedRow = 6;
    ClientRow = 7;
    Header = 8;
    IntentRecord = 9;
    ClosedIntentRow = 10;
    DomainRow = 11;
    OrdinalRow = 12;
    FrozenRow = 13;
    AuditRecord = 14;
    CountersRow = 15;
    Misbehaviour = 16;
    AcceptedRow = 17;
    SetRow = 18;
    DecidedRow = 19;
    PausedRow = 20;
    SignedOnceRow = 21;
}

/// Writes a row, with a checksum over table, key and row: a row that turns up under another key is found out.
///
/// # Errors
/// [`EncodeError::TooLong`] for a row that could not be read back.
pub fn encode_row<R: Row>(table: &str, key: &[u8], row: &R) -> Result<Vec<u8>, EncodeError> {
    let max_bytes = MAX_RECORD_BYTES - CHECKSUM_BYTES;
    let mut bytes = codec::encode(ROW_VERSION, R::KIND, &row.mirror()?, "row bytes", max_bytes)?;
    let checksum = checksum(table, key, &bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    Ok(bytes)
}

/// Reads what [`encode_row`] wrote under this key of this table.
///
/// # Errors
/// [`DecodeError::Checksum`] for damage; the others for a journal of another build.
pub fn decode_row<R: Row>(table: &str, key: &[u8], bytes: &[u8]) -> Result<R, DecodeError> {
    let Some((row, stored)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(DecodeError::Truncated);
    };
    let (expected, got) = (checksum(table, key, row), u32::from_be_bytes(*stored));
    if expected != got {
        return Err(DecodeError::Checksum { expected, got });
    }
    let (kind, fields) = codec::split(row, ROW_VERSION, "row bytes", MAX_RECORD_BYTES)?;
    if kind != R::KIND {
        return Err(DecodeError::Kind { what: "row", got: kind });
    }
    Ok(R::original(codec::decode(fields)?))
}

fn checksum(table: &str, key: &[u8], row: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.as_bytes());
    hasher.update(&[0]);
    hasher.update(key);
    hasher.update(row);
    hasher.finalize()
}

/// Key of a flow: 32 bytes lane, 1 byte direction.
#[must_use]
pub fn flow_key(flow: Flow) -> [u8; 33] {
    let mut key = [0; 33];
    if let Some((direction, lane)) = key.split_last_mut() {
        lane.copy_from_slice(&flow.lane.0.0);
        *direction = flow.direction.code();
    }
    key
}

/// Key of a position on a flow: 33 bytes flow, 8 bytes index. Positions of one flow are in order and side by side.
#[must_use]
pub fn position_key(flow: Flow, index: Index) -> [u8; 41] {
    let mut key = [0; 41];
    let (head, tail) = key.split_at_mut(33);
    head.copy_from_slice(&flow_key(flow));
    tail.copy_from_slice(&index.0.to_be_bytes());
    key
}

/// The position that the first 41 bytes of a key name.
#[must_use]
pub fn read_position_key(key: &[u8]) -> Option<(Flow, Index)> {
    let (lane, rest) = key.split_first_chunk::<32>()?;
    let (direction, rest) = rest.split_first()?;
    let (index, _) = rest.split_first_chunk::<8>()?;
    let flow = Flow { lane: LaneId(Hash32(*lane)), direction: Direction::from_code(*direction)? };
    Some((flow, Index(u64::from_be_bytes(*index))))
}

/// Key of an attested head: 41 bytes position, 8 bytes epoch.
#[must_use]
pub fn evidence_key(flow: Flow, index: Index, epoch: Epoch) -> [u8; 49] {
    let mut key = [0; 49];
    let (head, tail) = key.split_at_mut(41);
    head.copy_from_slice(&position_key(flow, index));
    tail.copy_from_slice(&epoch.0.to_be_bytes());
    key
}

/// Key of a header, and of a decision about one: 32 bytes domain, 8 bytes height.
#[must_use]
pub fn header_key(domain: Domain, height: Height) -> [u8; 40] {
    let mut key = [0; 40];
    let (head, tail) = key.split_at_mut(32);
    head.copy_from_slice(&domain.0.0);
    tail.copy_from_slice(&height.0.to_be_bytes());
    key
}

/// The chain and height that a key of [`header_key`] names.
#[must_use]
pub fn read_header_key(key: &[u8]) -> Option<(Domain, Height)> {
    let key: &[u8; 40] = key.try_into().ok()?;
    let (domain, height) = key.split_first_chunk::<32>()?;
    let height = height.first_chunk::<8>()?;
    Some((Domain(Hash32(*domain)), Height(u64::from_be_bytes(*height))))
}

/// Key of a transaction: 32 bytes domain, 32 bytes hash.
#[must_use]
pub fn intent_key(domain: Domain, hash: Hash32) -> [u8; 64] {
    let mut key = [0; 64];
    let (head, tail) = key.split_at_mut(32);
    head.copy_from_slice(&domain.0.0);
    tail.copy_from_slice(&hash.0);
    key
}

/// Key of a transaction by what it carries: 41 bytes position of the last entry in it, 32 bytes hash.
#[must_use]
pub fn carry_key(flow: Flow, last: Index, hash: Hash32) -> [u8; 73] {
    let mut key = [0; 73];
    let (head, tail) = key.split_at_mut(41);
    head.copy_from_slice(&position_key(flow, last));
    tail.copy_from_slice(&hash.0);
    key
}

/// Indices whose ids lie together in an id key. Ids are random: in one order for the whole journal every id would
/// change a page of its own, and make durable many times what it weighs. Blocks fill a few pages each, one after the
/// other; whoever looks for an id looks once in each block.
pub const ID_BLOCK: u64 = 1024;

/// Bytes of an id key before the id's own: short name and block.
pub const ID_KEY_STEM: usize = 11;

/// Key of a message by its id: 4 bytes short name of the flow, 7 bytes block (index / [`ID_BLOCK`]), the first 7 bytes
/// of the id, 2 bytes place in the block.
///
/// Only a hint, to keep it small: whoever finds it compares the whole id with the link at that position.
#[must_use]
pub fn id_key(ordinal: u32, index: Index, id: MessageId) -> [u8; 20] {
    let mut key = [0; 20];
    let (head, tail) = key.split_at_mut(18);
    head.copy_from_slice(&id_prefix(ordinal, index.0 / ID_BLOCK, id));
    let [.., high, low] = (index.0 % ID_BLOCK).to_be_bytes();
    tail.copy_from_slice(&[high, low]);
    key
}

/// What every id key of this id in one block of a flow starts with.
#[must_use]
pub fn id_prefix(ordinal: u32, block: u64, id: MessageId) -> [u8; 18] {
    let mut prefix = [0; 18];
    let (head, rest) = prefix.split_at_mut(4);
    let (middle, tail) = rest.split_at_mut(7);
    head.copy_from_slice(&ordinal.to_be_bytes());
    // A block's number is at most 2^64 / 1024: its first byte is always 0.
    middle.copy_from_slice(block.to_be_bytes().split_at(1).1);
    tail.copy_from_slice(id.0.0.split_at(7).0);
    prefix
}

/// The short name and the index in an id key.
#[must_use]
pub fn read_id_key(key: &[u8]) -> Option<(u32, Index)> {
    let key: &[u8; 20] = key.try_into().ok()?;
    let (ordinal, rest) = key.split_first_chunk::<4>()?;
    let (block, rest) = rest.split_first_chunk::<7>()?;
    let place = rest.last_chunk::<2>()?;
    let block = block.iter().fold(0, |block: u64, byte| (block << 8) | u64::from(*byte));
    let index = block.checked_mul(ID_BLOCK)?.checked_add(u64::from(u16::from_be_bytes(*place)))?;
    Some((u32::from_be_bytes(*ordinal), Index(index)))
}
