//! Reading the account's secret key from its file.

use std::path::Path;

use k256::pkcs8::DecodePrivateKey;
use zeroize::Zeroizing;

use crate::codec::account::SecretKey;
use crate::codec::suite::CryptoSuite;

/// The longest key file that is read: a PEM key has a few hundred bytes.
const MAX_FILE_BYTES: u64 = 16 << 10;

/// Reads a secret key: PKCS#8 or SEC1 PEM (as the chain's own tools write it), or 64 hex digits.
///
/// The error is a text for the operator and holds nothing of the file's content.
pub(super) fn read(suite: CryptoSuite, path: &Path) -> Result<SecretKey, String> {
    let shown = path.display();
    let length = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("{shown}: longer than a key file can be"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?);
    let bytes = secret_bytes(suite, text.trim())
        .ok_or_else(|| format!("{shown}: neither a PEM key of the configured crypto nor 64 hex digits"))?;
    SecretKey::from_bytes(suite, &bytes).map_err(|error| format!("{shown}: {error}"))
}

fn secret_bytes(suite: CryptoSuite, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.starts_with("-----BEGIN") {
        return match suite {
            CryptoSuite::Standard => {
                let key = k256::SecretKey::from_pkcs8_pem(text).or_else(|_| k256::SecretKey::from_sec1_pem(text));
                key.ok().map(|key| Zeroizing::new(key.to_bytes().into()))
            }
            CryptoSuite::Gm => {
                let key = sm2::SecretKey::from_pkcs8_pem(text).or_else(|_| sm2::SecretKey::from_sec1_pem(text));
                key.ok().map(|key| Zeroizing::new(key.to_bytes().into()))
            }
        };
    }
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "bcec428d5205abe0f0cc8a734083908d9eb8563e31f943d760786edf42ad67dd";

    #[test]
    fn hex_and_pem_give_the_same_key() {
        use k256::pkcs8::EncodePrivateKey;
        let secret = k256::SecretKey::from_slice(&hex::decode(HEX).unwrap()).unwrap();
        let pem = secret.to_pkcs8_pem(k256::pkcs8::LineEnding::LF).unwrap();
        let sec1 = secret.to_sec1_pem(k256::pkcs8::LineEnding::LF).unwrap();
        for text in [HEX, pem.as_str(), sec1.as_str()] {
            assert_eq!(hex::encode(*secret_bytes(CryptoSuite::Standard, text.trim()).unwrap()), HEX);
        }
        assert_eq!(hex::encode(*secret_bytes(CryptoSuite::Gm, HEX).unwrap()), HEX);
    }

    #[test]
    fn a_key_of_another_curve_and_other_text_are_refused() {
        use sm2::pkcs8::EncodePrivateKey;
        let secret = sm2::SecretKey::from_slice(&hex::decode(HEX).unwrap()).unwrap();
        let pem = secret.to_pkcs8_pem(sm2::pkcs8::LineEnding::LF).unwrap();
        assert!(secret_bytes(CryptoSuite::Standard, &pem).is_none());
        assert!(secret_bytes(CryptoSuite::Gm, &pem).is_some());
        assert!(secret_bytes(CryptoSuite::Standard, "0x1234").is_none());
    }
}
