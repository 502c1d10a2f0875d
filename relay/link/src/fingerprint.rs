//! What a peer is pinned by.

use std::fmt;
use std::str::FromStr;

/// SHA-256 of a peer's public key as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), printed as 64 hex digits.
///
/// `openssl pkey -in KEY -pubout -outform DER | sha256sum` prints the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of the key whose SubjectPublicKeyInfo is `spki`, in DER.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(ring::digest::digest(&ring::digest::SHA256, spki).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Why a text is no fingerprint.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a fingerprint is 64 hex digits, got {got} characters: {source}")]
pub struct ParseFingerprintError {
    /// Characters in the text.
    pub got: usize,
    /// What was wrong with them.
    #[source]
    pub source: hex::FromHexError,
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// Reads 64 hex digits in either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|source| ParseFingerprintError { got: text.chars().count(), source })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_printed() {
        let fingerprint = Fingerprint::of_spki(b"");
        // SHA-256 of nothing, FIPS 180-4.
        assert_eq!(fingerprint.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().to_uppercase().parse(), Ok(fingerprint));
    }

    #[test]
    fn a_short_fingerprint_is_refused() {
        assert_eq!("e3b0".parse::<Fingerprint>().unwrap_err().got, 4);
    }

    #[test]
    fn a_wrong_digit_is_refused() {
        let text = "g".repeat(64);
        assert!(matches!(
            text.parse::<Fingerprint>().unwrap_err().source,
            hex::FromHexError::InvalidHexCharacter { c: 'g', index: 0 }
        ));
    }
}
