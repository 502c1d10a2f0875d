//! Size and gas of a batch, estimated from above, for cutting it before a chain is asked.

use cityrelay_core::message::{Message, Payload};

use crate::flavour::Flavour;

/// What a transaction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of calldata.
    pub calldata_bytes: u64,
    /// Gas, never less than what is used when receivers and senders use all they are given.
    pub gas: u64,
}

/// Gas by which one `send` can cost more than another one of the same size: it is the first of its block, in a place that no head
/// was kept in yet, and its index is a multiple of 64. The gateway then writes two slots from zero (22,100 each, EIP-2929) and
/// one anew (2,900).
///
/// An estimate on the newest state knows nothing of that: neither of the block that it will be in nor of what is sent before.
pub const SEND_SPREAD: u64 = 50_000;

/// How many of `messages` one `deliver` can carry within `limit`, when `signatures` vouch for the head that lies `tail`
/// entries after the last of them. 0 when not even one fits.
#[must_use]
pub fn deliverable(flavour: Flavour, messages: &[Message], tail: usize, signatures: usize, limit: Cost) -> usize {
    longest_prefix(messages.len(), limit, |count| {
        let carried = messages.get(..count).unwrap_or_default();
        deliver_cost(flavour, carried, messages.len() - carried.len() + tail, signatures)
    })
}

/// How many of `entries` outcomes one `settle` can carry within `limit`; `tail_outcomes` and `tail_ids` are those after
/// the last of them. 0 when not even one fits.
#[must_use]
pub fn settleable(
    flavour: Flavour,
    entries: usize,
    tail_outcomes: usize,
    tail_ids: usize,
    signatures: usize,
    callback_gas: u64,
    limit: Cost,
) -> usize {
    longest_prefix(entries, limit, |count| {
        let left = entries - count;
        settle_cost(flavour, count, left + tail_outcomes, left + tail_ids, signatures, callback_gas)
    })
}

/// Cost of delivering `messages` with `tail` ids and `signatures`.
#[must_use]
pub fn deliver_cost(flavour: Flavour, messages: &[Message], tail: usize, signatures: usize) -> Cost {
    let hashing = Hashing::of(flavour);
    let fixed = base(hashing, DELIVER_BASE_BYTES, DELIVER_BASE_GAS, tail, signatures);
    messages.iter().fold(fixed, |sum, message| {
        let payload = match &message.payload {
            Payload::Bytes(bytes) => padded(bytes.len()),
            Payload::Hash(_) => 32,
        };
        let bytes = ENTRY_BYTES.saturating_add(payload);
        let gas = ENTRY_GAS
            .saturating_add(hashing.entry_gas)
            .saturating_add(payload.saturating_mul(PAYLOAD_BYTE_GAS + hashing.payload_byte_gas))
            .saturating_add(forwarded(message.gas_limit))
            .saturating_add(bytes.saturating_mul(CALLDATA_BYTE_GAS));
        sum.plus(bytes, gas)
    })
}

/// Cost of settling `entries` outcomes, each with a callback of `callback_gas`.
#[must_use]
pub fn settle_cost(
    flavour: Flavour,
    entries: usize,
    tail_outcomes: usize,
    tail_ids: usize,
    signatures: usize,
    callback_gas: u64,
) -> Cost {
    let hashing = Hashing::of(flavour);
    let tail = tail_outcomes.saturating_add(tail_ids);
    let fixed = base(hashing, SETTLE_BASE_BYTES, SETTLE_BASE_GAS, tail, signatures);
    let each = SETTLEMENT_GAS
        .saturating_add(hashing.settlement_gas)
        .saturating_add(forwarded(callback_gas))
        .saturating_add(SETTLEMENT_BYTES * CALLDATA_BYTE_GAS);
    let count = entries as u64;
    fixed.plus(count.saturating_mul(SETTLEMENT_BYTES), count.saturating_mul(each))
}

/// Non-zero calldata, EIP-2028. Zero bytes are cheaper.
const CALLDATA_BYTE_GAS: u64 = 16;
/// Selector, six head words, three lengths, evidence up to its signatures.
const DELIVER_BASE_BYTES: u64 = 4 + 32 * 13;
/// One head word more.
const SETTLE_BASE_BYTES: u64 = DELIVER_BASE_BYTES + 64;
/// Transaction, lane, heads, verifier: measured 105,000 (`tests/gas.rs`), a quarter added.
const DELIVER_BASE_GAS: u64 = 130_000;
/// As delivery.
const SETTLE_BASE_GAS: u64 = 130_000;
/// One signature in the evidence, padded as if alone.
const SIGNATURE_BYTES: u64 = 96;
/// ecrecover (3,000), a member slot (2,100), the loop.
const SIGNATURE_GAS: u64 = 7_000;
/// A link hashed in memory.
const TAIL_GAS: u64 = 700;
/// Offset, six words and a length.
const ENTRY_BYTES: u64 = 32 * 8;
/// Hashes, frame, event: measured without the receiver's own gas, a cold receiver and a failing result of full length.
const ENTRY_GAS: u64 = 22_000;
/// Copied and hashed three times, in memory.
const PAYLOAD_BYTE_GAS: u64 = 3;
/// Seven words.
const SETTLEMENT_BYTES: u64 = 32 * 7;
/// Hashes, event, a cold sender, and the slot of a failed callback.
const SETTLEMENT_GAS: u64 = 36_000;

/// What hashing costs more than with the opcode.
#[derive(Clone, Copy)]
struct Hashing {
    base_gas: u64,
    tail_gas: u64,
    entry_gas: u64,
    payload_byte_gas: u64,
    settlement_gas: u64,
}

impl Hashing {
    const fn of(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Opcode => Self { base_gas: 0, tail_gas: 0, entry_gas: 0, payload_byte_gas: 0, settlement_gas: 0 },
            Flavour::Precompile { .. } => Self {
                // One digest, and the first look at the crypto contract.
                base_gas: HASH_GAS + 3_000,
                tail_gas: HASH_GAS,
                // Payload, id, outcome and result, the outbox twice, the inbox.
                entry_gas: 7 * HASH_GAS,
                payload_byte_gas: 4,
                // Id, outcome and both chains.
                settlement_gas: 4 * HASH_GAS,
            },
        }
    }
}

/// A hash of at most eight words by the crypto contract: 3,732 gas for 32 bytes and 6,228 for 1,024 were measured on a
/// running chain; the rest is its encoding.
const HASH_GAS: u64 = 4_900;

impl Cost {
    const fn plus(self, calldata_bytes: u64, gas: u64) -> Self {
        Self { calldata_bytes: self.calldata_bytes.saturating_add(calldata_bytes), gas: self.gas.saturating_add(gas) }
    }

    const fn is_within(self, limit: Self) -> bool {
        self.calldata_bytes <= limit.calldata_bytes && self.gas <= limit.gas
    }
}

fn base(hashing: Hashing, bytes: u64, gas: u64, tail: usize, signatures: usize) -> Cost {
    let (tail, signatures) = (tail as u64, signatures as u64);
    let bytes =
        bytes.saturating_add(tail.saturating_mul(32)).saturating_add(signatures.saturating_mul(SIGNATURE_BYTES));
    let gas = gas
        .saturating_add(hashing.base_gas)
        .saturating_add(tail.saturating_mul(TAIL_GAS + hashing.tail_gas))
        .saturating_add(signatures.saturating_mul(SIGNATURE_GAS))
        .saturating_add(bytes.saturating_mul(CALLDATA_BYTE_GAS));
    Cost { calldata_bytes: bytes, gas }
}

/// What must be there so that a call forwards `gas`: a 64th stays behind (EIP-150), once for the receiver and once for
/// the frame around it.
const fn forwarded(gas: u64) -> u64 {
    gas.saturating_add(gas / 31)
}

fn padded(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(32).saturating_mul(32)
}

/// The largest count for which `cost` is within `limit`; `cost` grows with the count.
fn longest_prefix(total: usize, limit: Cost, cost: impl Fn(usize) -> Cost) -> usize {
    let (mut fits, mut too_many) = (0, total + 1);
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        if cost(middle).is_within(limit) {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    fits
}
