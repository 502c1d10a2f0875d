//! Records as bytes: version, kind, fields.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Epoch, Height, UnixMillis};
use cityrelay_core::record::Record;

use crate::bounded::List;
use crate::codec;
use crate::error::{DecodeError, EncodeError};
use crate::limits::MAX_RECORD_BYTES;
use crate::v1::Mirrored;
use crate::v1::parts::{SetAttestation, domain};
use crate::v1::record as v1;

/// The layout that [`encode_record`] writes.
pub const RECORD_VERSION: u8 = 1;

/// Writes a record.
///
/// # Errors
/// [`EncodeError::TooLong`] for a record that could not be read back: one of the limits, or [`MAX_RECORD_BYTES`].
pub fn encode_record(record: &Record) -> Result<Vec<u8>, EncodeError> {
    match record {
        Record::Client { domain, state, height, hash, headers } => write(
            v1::CLIENT,
            &v1::Client {
                domain: domain.0.0,
                state: state.mirror()?,
                height: height.0,
                hash: hash.0,
                headers: List::collect(headers, Mirrored::mirror)?,
            },
        ),
        Record::Extension(extension) => write(v1::EXTENSION, &extension.mirror()?),
        Record::Attested { flow, evidence, at } => {
            write(v1::ATTESTED, &v1::Attested { flow: (*flow).into(), evidence: evidence.mirror()?, at: at.0 })
        }
        Record::PeerAccepted { flow, point, at } => {
            write(v1::PEER_ACCEPTED, &v1::PeerAccepted { flow: (*flow).into(), point: (*point).into(), at: at.0 })
        }
        Record::Done { flow, point, at } => {
            write(v1::DONE, &v1::Done { flow: (*flow).into(), point: (*point).into(), at: at.0 })
        }
        Record::Intent(intent) => write(v1::INTENT, &intent.mirror()?),
        Record::IntentClosed { domain, hash, end } => {
            write(v1::INTENT_CLOSED, &v1::IntentClosed { domain: domain.0.0, hash: hash.0, end: (*end).into() })
        }
        Record::Signed { flow, point, epoch } => {
            write(v1::SIGNED, &v1::Signed { flow: (*flow).into(), point: (*point).into(), epoch: epoch.0 })
        }
        Record::SetStated { fact, evidence } => {
            let evidence = List::collect(evidence, Mirrored::mirror)?;
            write(v1::SET_STATED, &v1::SetStated { fact: (*fact).into(), evidence })
        }
        Record::SetSigned(attestation) => write(v1::SET_SIGNED, &SetAttestation::from(*attestation)),
        Record::Misbehaviour(misbehaviour) => write(v1::MISBEHAVIOUR, &misbehaviour.mirror()?),
        Record::Audit(audit) => write(v1::AUDIT, &audit.mirror()?),
    }
}

/// Reads what [`encode_record`] wrote, and nothing else.
///
/// # Errors
/// Any [`DecodeError`] but a checksum.
pub fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    let (kind, fields) = codec::split(bytes, RECORD_VERSION, "record bytes", MAX_RECORD_BYTES)?;
    Ok(match kind {
        v1::CLIENT => {
            let v1::Client { domain: word, state, height, hash, headers } = codec::decode(fields)?;
            Record::Client {
                domain: domain(word),
                state: Mirrored::original(state),
                height: Height(height),
                hash: Hash32(hash),
                headers: headers.convert(Mirrored::original),
            }
        }
        v1::EXTENSION => Record::Extension(Mirrored::original(codec::decode(fields)?)),
        v1::ATTESTED => {
            let v1::Attested { flow, evidence, at } = codec::decode(fields)?;
            Record::Attested { flow: flow.into(), evidence: Mirrored::original(evidence), at: UnixMillis(at) }
        }
        v1::PEER_ACCEPTED => {
            let v1::PeerAccepted { flow, point, at } = codec::decode(fields)?;
            Record::PeerAccepted { flow: flow.into(), point: point.into(), at: UnixMillis(at) }
        }
        v1::DONE => {
            let v1::Done { flow, point, at } = codec::decode(fields)?;
            Record::Done { flow: flow.into(), point: point.into(), at: UnixMillis(at) }
        }
        v1::INTENT => Record::Intent(Mirrored::original(codec::decode(fields)?)),
        v1::INTENT_CLOSED => {
            let v1::IntentClosed { domain: word, hash, end } = codec::decode(fields)?;
            Record::IntentClosed { domain: domain(word), hash: Hash32(hash), end: end.into() }
        }
        v1::SIGNED => {
            let v1::Signed { flow, point, epoch } = codec::decode(fields)?;
            Record::Signed { flow: flow.into(), point: point.into(), epoch: Epoch(epoch) }
        }
        v1::SET_STATED => {
            let v1::SetStated { fact, evidence } = codec::decode(fields)?;
            Record::SetStated { fact: fact.into(), evidence: evidence.convert(Mirrored::original) }
        }
        v1::SET_SIGNED => Record::SetSigned(codec::decode::<SetAttestation>(fields)?.into()),
        v1::MISBEHAVIOUR => Record::Misbehaviour(Mirrored::original(codec::decode(fields)?)),
        v1::AUDIT => Record::Audit(Mirrored::original(codec::decode(fields)?)),
        got => return Err(DecodeError::Kind { what: "record", got }),
    })
}

fn write<T: bincode::Encode>(kind: u8, fields: &T) -> Result<Vec<u8>, EncodeError> {
    codec::encode(RECORD_VERSION, kind, fields, "record bytes", MAX_RECORD_BYTES)
}
