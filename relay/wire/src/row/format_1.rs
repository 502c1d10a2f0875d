//! Rows of journals of format 1 whose fields were others than today's; only read, to take such a journal over.

use bincode::{Decode, Encode};

use super::{CountersRow, Row};
use crate::EncodeError;
use crate::v1::Mirrored;

/// The numbers of a whole journal before validator sets were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountersWithoutSets(pub CountersRow);

impl Row for CountersWithoutSets {
    const KIND: u8 = CountersRow::KIND;
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(decode_context = "crate::bounded::Fault")]
pub struct Mirror {
    flows: u32,
    records: u64,
    signed: u64,
    audits: u64,
    clients: u32,
    intents: u32,
    frozen: u32,
    misbehaviour: u32,
    decided: u32,
    paused: u32,
}

impl Mirrored for CountersWithoutSets {
    type Mirror = Mirror;

    fn mirror(&self) -> Result<Mirror, EncodeError> {
        let CountersRow {
            flows, records, signed, audits, clients, intents, frozen, misbehaviour, decided, paused, ..
        } = self.0;
        Ok(Mirror { flows, records, signed, audits, clients, intents, frozen, misbehaviour, decided, paused })
    }

    fn original(mirror: Mirror) -> Self {
        let Mirror { flows, records, signed, audits, clients, intents, frozen, misbehaviour, decided, paused } = mirror;
        Self(CountersRow {
            flows,
            records,
            signed,
            audits,
            clients,
            intents,
            frozen,
            misbehaviour,
            decided,
            paused,
            sets: 0,
        })
    }
}
