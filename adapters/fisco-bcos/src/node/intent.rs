//! What is journalled of a transaction before it is sent.

use cityrelay_core::light_client::{AdapterValue, Refusal};

use crate::codec::binary::{Decoder, Encoder};
use crate::verify::state::{encoding, expect_version};

/// A signed transaction and what is needed to follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedIntent {
    /// The tars bytes.
    pub bytes: Vec<u8>,
    /// Its nonce, for a replacement.
    pub nonce: String,
    /// Last block that may hold it.
    pub block_limit: u64,
}

impl AdapterValue for SignedIntent {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.bytes(&self.bytes);
        encoder.bytes(self.nonce.as_bytes());
        encoder.number(self.block_limit);
        encoder.into_bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        expect_version(Self::VERSION, version)?;
        let mut decoder = Decoder::new(bytes);
        let read = |decoder: &mut Decoder<'_>| {
            Ok(Self { bytes: decoder.bytes()?, nonce: decoder.text()?, block_limit: decoder.number()? })
        };
        let intent = read(&mut decoder).map_err(encoding)?;
        decoder.finish().map_err(encoding)?;
        Ok(intent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_golden_and_every_cut_is_refused() {
        let intent = SignedIntent { bytes: vec![0x1a, 0x0b], nonce: "7".to_owned(), block_limit: 500 };
        let bytes = intent.encode();
        assert_eq!(hex::encode(&bytes), "000000021a0b000000013700000000000001f4");
        assert_eq!(SignedIntent::decode(1, &bytes), Ok(intent));
        for length in 0..bytes.len() {
            assert_eq!(SignedIntent::decode(1, &bytes[..length]).unwrap_err().check, "encoding");
        }
    }
}
