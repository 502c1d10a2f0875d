//! Frames as bytes: version, kind, fields. The length in front of them is [`crate::framing`]'s.

use cityrelay_core::frame::Frame;
use cityrelay_core::ids::{Epoch, Index};

use crate::bounded::List;
use crate::codec;
use crate::error::{DecodeError, EncodeError};
pub use crate::limits::MAX_FRAME_BYTES;
use crate::v1::Mirrored;
use crate::v1::frame as v1;
use crate::v1::parts::{SetAttestation, domain};

/// The layout that [`encode_frame`] writes. It is part of ALPN `cityrelay/1`; protocol versions within it are agreed
/// in `Hello`.
pub const FRAME_VERSION: u8 = 1;

/// Writes a frame, without the length that goes in front of it on a stream.
///
/// # Errors
/// [`EncodeError::TooLong`] for a frame that every peer would refuse: one of the limits, or [`MAX_FRAME_BYTES`].
pub fn encode_frame(frame: &Frame) -> Result<Vec<u8>, EncodeError> {
    match frame {
        Frame::Hello(hello) => write(v1::HELLO, &hello.mirror()?),
        Frame::Update { domain, update } => {
            write(v1::UPDATE, &v1::Update { domain: domain.0.0, update: update.mirror()? })
        }
        Frame::ClientAt(at) => write(v1::CLIENT_AT, &v1::ClientAt::from(*at)),
        Frame::Extension { claim, evidence } => {
            let evidence = List::collect(evidence, Mirrored::mirror)?;
            write(v1::EXTENSION, &v1::Extension { claim: claim.mirror()?, evidence })
        }
        Frame::Accepted { flow, point } => {
            write(v1::ACCEPTED, &v1::Accepted { flow: (*flow).into(), point: (*point).into() })
        }
        Frame::Declined(declined) => write(v1::DECLINED, &v1::Declined::from(*declined)),
        Frame::AttestRequest { claim, index, epoch } => {
            write(v1::ATTEST_REQUEST, &v1::AttestRequest { claim: claim.mirror()?, index: index.0, epoch: epoch.0 })
        }
        Frame::Attestation { flow, point, epoch, signature } => write(
            v1::ATTESTATION,
            &v1::Attestation { flow: (*flow).into(), point: (*point).into(), epoch: epoch.0, signature: signature.0 },
        ),
        Frame::Committee(notice) => write(v1::COMMITTEE, &notice.mirror()?),
        Frame::SetRequest(attestation) => write(v1::SET_REQUEST, &SetAttestation::from(*attestation)),
        Frame::SetAttested(evidence) => write(v1::SET_ATTESTED, &evidence.mirror()?),
    }
}

/// Reads what [`encode_frame`] wrote, and nothing else: every byte must belong, every limit hold.
///
/// # Errors
/// Any [`DecodeError`] but a checksum. The sender is at fault; the session should end.
pub fn decode_frame(bytes: &[u8]) -> Result<Frame, DecodeError> {
    let (kind, fields) = codec::split(bytes, FRAME_VERSION, "frame bytes", MAX_FRAME_BYTES)?;
    Ok(match kind {
        v1::HELLO => Frame::Hello(Mirrored::original(codec::decode(fields)?)),
        v1::UPDATE => {
            let v1::Update { domain: word, update } = codec::decode(fields)?;
            Frame::Update { domain: domain(word), update: Mirrored::original(update) }
        }
        v1::CLIENT_AT => Frame::ClientAt(codec::decode::<v1::ClientAt>(fields)?.into()),
        v1::EXTENSION => {
            let v1::Extension { claim, evidence } = codec::decode(fields)?;
            Frame::Extension { claim: Mirrored::original(claim), evidence: evidence.convert(Mirrored::original) }
        }
        v1::ACCEPTED => {
            let v1::Accepted { flow, point } = codec::decode(fields)?;
            Frame::Accepted { flow: flow.into(), point: point.into() }
        }
        v1::DECLINED => Frame::Declined(codec::decode::<v1::Declined>(fields)?.into()),
        v1::ATTEST_REQUEST => {
            let v1::AttestRequest { claim, index, epoch } = codec::decode(fields)?;
            Frame::AttestRequest { claim: Mirrored::original(claim), index: Index(index), epoch: Epoch(epoch) }
        }
        v1::ATTESTATION => {
            let v1::Attestation { flow, point, epoch, signature } = codec::decode(fields)?;
            Frame::Attestation {
                flow: flow.into(),
                point: point.into(),
                epoch: Epoch(epoch),
                signature: v1::signature(signature),
            }
        }
        v1::COMMITTEE => Frame::Committee(Mirrored::original(codec::decode(fields)?)),
        v1::SET_REQUEST => Frame::SetRequest(codec::decode::<SetAttestation>(fields)?.into()),
        v1::SET_ATTESTED => Frame::SetAttested(Mirrored::original(codec::decode(fields)?)),
        got => return Err(DecodeError::Kind { what: "frame", got }),
    })
}

fn write<T: bincode::Encode>(kind: u8, fields: &T) -> Result<Vec<u8>, EncodeError> {
    codec::encode(FRAME_VERSION, kind, fields, "frame bytes", MAX_FRAME_BYTES)
}
