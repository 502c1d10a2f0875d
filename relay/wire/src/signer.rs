//! The conversation with a signer that is a process of its own: questions and answers as bytes.
//!
//! # Layout
//! One connection on a Unix socket carries any number of questions, each answered before the next.
//!
//! ```text
//! on the socket      u32 length of what follows (2 ..= MAX_SIGNER_BYTES), then
//! question, answer   u8 version = 1 | u8 kind | fields
//!
//!   1 describe       –
//!   2 sign head      32 lane | u8 direction (0 outbox, 1 inbox) | u64 index | 32 head | u64 attester epoch
//!                    | 32 domain of the verifying gateway | 32 that gateway
//!   3 sign set       32 domain | 32 hash of the header before | u64 height | 32 digest of the set | u64 attester epoch
//!                    | 32 verifier | 32 domain of the verifier
//!   4 sign rotation  32 verifier | 32 domain | u64 new epoch | u32 count, that many 20-byte members, ascending | u32 threshold
//!
//! 129 key            20 address of the key
//! 130 signed         65 signature: r, s (low), v of 27 or 28
//! 131 refused        u8 why: 1 conflict, 2 record, 3 stranger, 4 malformed, 5 key | 32 content held (zero but for 1)
//! ```
//!
//! Integers are big-endian. What must be durable before a question of kind 2, 3 or 4 is answered by a signature, and how
//! the digest is made, says `deploy/SIGNER.md`.

use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch};
use cityrelay_core::set_attestation::Attestable;
use cityrelay_core::signing::{Rotation, Signable, SigningAnswer, SigningPlace, SigningRefusal, SigningRequest};

use crate::codec;
use crate::error::{DecodeError, EncodeError};
use crate::row::{header_key, position_key};
use crate::v1::Mirrored;
use crate::v1::parts::SetAttestation;
use crate::v1::signer as v1;

/// The layout that is written and read.
pub const SIGNER_VERSION: u8 = 1;

/// The most bytes of one question or answer: a rotation to the largest set takes less than 1,400.
pub const MAX_SIGNER_BYTES: usize = 2048;

/// Bytes of the length in front of each question and answer.
pub const LENGTH_BYTES: usize = 4;

const WHAT: &str = "bytes of a signer's question or answer";

/// The length that `header` announces.
///
/// # Errors
/// [`DecodeError::TooLong`] above [`MAX_SIGNER_BYTES`], [`DecodeError::Truncated`] below the two bytes that everything
/// has: both before anything is allocated.
pub fn decode_signer_length(header: [u8; LENGTH_BYTES]) -> Result<usize, DecodeError> {
    let got = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    match got {
        0..2 => Err(DecodeError::Truncated),
        2..=MAX_SIGNER_BYTES => Ok(got),
        _ => Err(DecodeError::TooLong { what: WHAT, expected: MAX_SIGNER_BYTES, got }),
    }
}

/// A question with its length in front.
///
/// # Errors
/// [`EncodeError::TooLong`] for a rotation to more members than a set may have.
pub fn encode_signing_request(request: &SigningRequest) -> Result<Vec<u8>, EncodeError> {
    match request {
        SigningRequest::Describe => write(v1::DESCRIBE, &()),
        SigningRequest::Sign(Signable::Attestation(Attestable::Head(statement))) => {
            write(v1::SIGN_HEAD, &v1::SignHead::from(*statement))
        }
        SigningRequest::Sign(Signable::Attestation(Attestable::Set(attestation))) => {
            write(v1::SIGN_SET, &SetAttestation::from(*attestation))
        }
        SigningRequest::Sign(Signable::Rotation(rotation)) => write(v1::SIGN_ROTATION, &rotation.mirror()?),
    }
}

/// Reads a question without the length in front, and nothing else.
///
/// # Errors
/// Any [`DecodeError`] but a checksum. The asker is at fault.
pub fn decode_signing_request(bytes: &[u8]) -> Result<SigningRequest, DecodeError> {
    let (kind, fields) = codec::split(bytes, SIGNER_VERSION, WHAT, MAX_SIGNER_BYTES)?;
    let signable = match kind {
        v1::DESCRIBE => return codec::decode::<()>(fields).map(|()| SigningRequest::Describe),
        v1::SIGN_HEAD => Signable::Attestation(Attestable::Head(codec::decode::<v1::SignHead>(fields)?.into())),
        v1::SIGN_SET => Signable::Attestation(Attestable::Set(codec::decode::<SetAttestation>(fields)?.into())),
        v1::SIGN_ROTATION => Signable::Rotation(rotation(codec::decode(fields)?)?),
        got => return Err(DecodeError::Kind { what: "signing request", got }),
    };
    Ok(SigningRequest::Sign(signable))
}

fn rotation(mirror: v1::SignRotation) -> Result<Rotation, DecodeError> {
    if !mirror.ascends() {
        return Err(DecodeError::Order { what: "members of a rotation" });
    }
    Ok(Mirrored::original(mirror))
}

/// An answer with its length in front.
///
/// # Errors
/// Never: every answer is short.
pub fn encode_signing_answer(answer: &SigningAnswer) -> Result<Vec<u8>, EncodeError> {
    match answer {
        SigningAnswer::Key(id) => write(v1::KEY, &id.0),
        SigningAnswer::Signed(signature) => write(v1::SIGNED, &signature.0),
        SigningAnswer::Refused(refusal) => write(v1::REFUSED, &v1::Refused::from(*refusal)),
    }
}

/// Reads an answer without the length in front, and nothing else.
///
/// # Errors
/// Any [`DecodeError`] but a checksum. The signer is at fault.
pub fn decode_signing_answer(bytes: &[u8]) -> Result<SigningAnswer, DecodeError> {
    let (kind, fields) = codec::split(bytes, SIGNER_VERSION, WHAT, MAX_SIGNER_BYTES)?;
    Ok(match kind {
        v1::KEY => SigningAnswer::Key(AttesterId(codec::decode(fields)?)),
        v1::SIGNED => SigningAnswer::Signed(crate::v1::frame::signature(codec::decode(fields)?)),
        v1::REFUSED => SigningAnswer::Refused(SigningRefusal::try_from(codec::decode::<v1::Refused>(fields)?)?),
        got => return Err(DecodeError::Kind { what: "signing answer", got }),
    })
}

/// Under which key a signer keeps what it signed: one byte for the kind of place, then the place.
#[must_use]
pub fn place_key(place: SigningPlace) -> Vec<u8> {
    let (kind, place) = match place {
        SigningPlace::Head { flow, index } => (v1::SIGN_HEAD, position_key(flow, index).to_vec()),
        SigningPlace::Set { domain, height } => (v1::SIGN_SET, header_key(domain, height).to_vec()),
        SigningPlace::Rotation { verifier, domain, epoch } => {
            (v1::SIGN_ROTATION, rotation_key(verifier, domain, epoch))
        }
    };
    [vec![kind], place].concat()
}

fn rotation_key(verifier: Address, domain: Domain, epoch: Epoch) -> Vec<u8> {
    [&verifier.0.0[..], &domain.0.0[..], &epoch.0.to_be_bytes()[..]].concat()
}

fn write<T: bincode::Encode>(kind: u8, fields: &T) -> Result<Vec<u8>, EncodeError> {
    let body = codec::encode(SIGNER_VERSION, kind, fields, WHAT, MAX_SIGNER_BYTES)?;
    let got = body.len();
    let length =
        u32::try_from(got).map_err(|_| EncodeError::TooLong { what: WHAT, expected: MAX_SIGNER_BYTES, got })?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}
