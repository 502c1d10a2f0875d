//! Keys drawn from a seed, so that every run of a test meets the same accounts and validators.

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::SigningKey;

/// A secp256k1 key with its Ethereum address.
#[derive(Clone)]
pub struct DevKey {
    signing: SigningKey,
    address: Address,
}

impl std::fmt::Debug for DevKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevKey").field("address", &self.address).finish_non_exhaustive()
    }
}

impl DevKey {
    /// The key number `index` of a purpose under a seed. Known to everybody who knows the seed: worth nothing elsewhere.
    pub fn derive(seed: u64, purpose: &str, index: usize) -> Self {
        let mut secret = keccak256(format!("cityrelay-devnet/{purpose}/{seed}/{index}"));
        loop {
            // A hash at or above the group order, or zero, is no scalar: draw again.
            match SigningKey::from_slice(secret.as_slice()) {
                Ok(signing) => {
                    let address = Address::from_public_key(signing.verifying_key());
                    return Self { signing, address };
                }
                Err(_) => secret = keccak256(secret),
            }
        }
    }

    /// Last 20 bytes of the keccak256 of the public key.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The 32-byte secret scalar.
    pub fn secret(&self) -> B256 {
        B256::from_slice(&self.signing.to_bytes())
    }

    /// X ‖ Y of the public key, 64 bytes without the leading 04.
    pub fn public_key(&self) -> [u8; 64] {
        let point = self.signing.verifying_key().to_encoded_point(false);
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(point.as_bytes().iter().skip(1)) {
            *to = *from;
        }
        bytes
    }

    /// Signs a digest as it is: r ‖ s ‖ v, 65 bytes, v 0 or 1, low s, deterministic (RFC 6979).
    #[expect(clippy::expect_used, reason = "a valid key signs any 32-byte digest")]
    pub fn sign(&self, digest: B256) -> [u8; 65] {
        let (signature, recovery) =
            self.signing.sign_prehash_recoverable(digest.as_slice()).expect("32-byte digests can be signed");
        let mut bytes = [0; 65];
        let tail = [recovery.to_byte()];
        for (to, from) in bytes.iter_mut().zip(signature.to_bytes().iter().chain(tail.iter())) {
            *to = *from;
        }
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloy_primitives::Signature;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_key() {
        assert_eq!(DevKey::derive(1, "account", 0).secret(), DevKey::derive(1, "account", 0).secret());
        assert_ne!(DevKey::derive(1, "account", 0).secret(), DevKey::derive(2, "account", 0).secret());
        assert_ne!(DevKey::derive(1, "account", 0).secret(), DevKey::derive(1, "account", 1).secret());
        assert_ne!(DevKey::derive(1, "account", 0).secret(), DevKey::derive(1, "validator", 0).secret());
    }

    #[test]
    fn a_signature_recovers_to_the_key() {
        let key = DevKey::derive(1, "validator", 3);
        let digest = keccak256(b"block");
        let signature = Signature::from_raw(&key.sign(digest)).unwrap();
        assert_eq!(signature.recover_address_from_prehash(&digest).unwrap(), key.address());
        let hash = keccak256(key.public_key());
        assert_eq!(Address::from_word(hash), key.address());
    }
}
