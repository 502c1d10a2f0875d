//! How mirror structs become bytes and come back, strictly.

use bincode::config::{BigEndian, Configuration, Fixint, Limit};
use bincode::de::read::Reader;
use bincode::de::{Decode, Decoder, DecoderImpl};
use bincode::enc::Encode;

use crate::bounded::Fault;
use crate::error::{DecodeError, EncodeError};
use crate::limits::MAX_RECORD_BYTES;

type Layout = Configuration<BigEndian, Fixint, Limit<MAX_RECORD_BYTES>>;

fn layout() -> Layout {
    bincode::config::standard().with_big_endian().with_fixed_int_encoding().with_limit::<MAX_RECORD_BYTES>()
}

/// Version, kind and fields of a value, at most `max_bytes`.
pub(crate) fn encode<T: Encode>(
    version: u8,
    kind: u8,
    value: &T,
    what: &'static str,
    max_bytes: usize,
) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![version, kind];
    // Writing to memory fails for one reason only: a count that its list has already bounded.
    bincode::encode_into_std_write(value, &mut bytes, layout()).map_err(|_| EncodeError::TooLong {
        what,
        expected: max_bytes,
        got: usize::MAX,
    })?;
    if bytes.len() > max_bytes {
        return Err(EncodeError::TooLong { what, expected: max_bytes, got: bytes.len() });
    }
    Ok(bytes)
}

/// Takes the version and the kind off the front.
pub(crate) fn split<'a>(
    bytes: &'a [u8],
    version: u8,
    what: &'static str,
    max_bytes: usize,
) -> Result<(u8, &'a [u8]), DecodeError> {
    if bytes.len() > max_bytes {
        return Err(DecodeError::TooLong { what, expected: max_bytes, got: bytes.len() });
    }
    match bytes {
        [got, ..] if *got != version => Err(DecodeError::Version { expected: version, got: *got }),
        [_, kind, fields @ ..] => Ok((*kind, fields)),
        _ => Err(DecodeError::Truncated),
    }
}

/// Reads the fields of a value; every byte must belong to it.
pub(crate) fn decode<T: Decode<Fault>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut decoder = DecoderImpl::new(Rest(bytes), layout(), Fault::default());
    let value = T::decode(&mut decoder);
    if let Some(fault) = decoder.context().0.take() {
        return Err(fault);
    }
    let value = value.map_err(named)?;
    match decoder.reader().0.len() {
        0 => Ok(value),
        got => Err(DecodeError::Trailing { got }),
    }
}

fn named(error: bincode::error::DecodeError) -> DecodeError {
    use bincode::error::DecodeError as Bincode;
    match error {
        Bincode::UnexpectedEnd { .. } => DecodeError::Truncated,
        Bincode::UnexpectedVariant { type_name, found, .. } => DecodeError::Code { what: type_name, got: found },
        Bincode::InvalidBooleanValue(got) => DecodeError::Code { what: "yes or no", got: u32::from(got) },
        Bincode::LimitExceeded => {
            DecodeError::TooLong { what: "bytes", expected: MAX_RECORD_BYTES, got: MAX_RECORD_BYTES.saturating_add(1) }
        }
        _ => DecodeError::Malformed,
    }
}

/// What is left to read. Unlike bincode's own reader it can say how much that is.
struct Rest<'a>(&'a [u8]);

impl Reader for Rest<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), bincode::error::DecodeError> {
        let short = bytes.len().saturating_sub(self.0.len());
        let Some((head, rest)) = self.0.split_at_checked(bytes.len()) else {
            return Err(bincode::error::DecodeError::UnexpectedEnd { additional: short });
        };
        bytes.copy_from_slice(head);
        self.0 = rest;
        Ok(())
    }

    fn peek_read(&mut self, count: usize) -> Option<&[u8]> {
        self.0.get(..count)
    }

    fn consume(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }
}
