//! The two crypto suites of the chain: keccak256 with secp256k1, and SM3 with SM2.

use core::fmt;

use cityrelay_core::hash::{Hash32, keccak256};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sm2::dsa::signature::Verifier;
use sm3::{Digest, Sm3};

/// User id that every SM2 signature of the chain is bound to (`fast_sm2.cpp`, v3.16.4).
pub const SM2_USER_ID: &str = "1234567812345678";

/// Bytes of a public key: X ‖ Y without the leading 04.
pub const PUBLIC_KEY_BYTES: usize = 64;

/// A 64-byte public key: the id of a node, or the key of an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; PUBLIC_KEY_BYTES]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Which hash and which signatures a chain uses; pinned by configuration, never learned from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoSuite {
    /// keccak256 and secp256k1; `crypto = "standard"`.
    Standard,
    /// SM3 and SM2 (GM/T 0003, 0004); `crypto = "gm"`.
    Gm,
}

impl CryptoSuite {
    /// The word used in configuration and recordings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Gm => "gm",
        }
    }

    /// The suite called `name`, or `None`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Standard, Self::Gm].into_iter().find(|suite| suite.as_str() == name)
    }

    /// The chain's hash of `bytes`.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> Hash32 {
        match self {
            Self::Standard => keccak256(bytes),
            Self::Gm => Hash32(Sm3::digest(bytes).into()),
        }
    }

    /// First four bytes of the hash of a function's signature, as the chain's own precompiled contracts expect it.
    #[must_use]
    pub fn selector(self, signature: &str) -> [u8; 4] {
        let hash = self.hash(signature.as_bytes()).0;
        hash.first_chunk::<4>().copied().unwrap_or_default()
    }

    /// The account of a public key: last 20 bytes of its hash.
    #[must_use]
    pub fn account(self, key: &PublicKey) -> [u8; 20] {
        let hash = self.hash(&key.0).0;
        hash.last_chunk::<20>().copied().unwrap_or_default()
    }

    /// Bytes of a signature in a header's signature list: r ‖ s ‖ recovery id, or r ‖ s.
    #[must_use]
    pub const fn header_signature_bytes(self) -> usize {
        match self {
            Self::Standard => 65,
            Self::Gm => 64,
        }
    }

    /// Bytes of a transaction's signature: r ‖ s ‖ recovery id, or r ‖ s ‖ public key.
    #[must_use]
    pub const fn transaction_signature_bytes(self) -> usize {
        match self {
            Self::Standard => 65,
            Self::Gm => 128,
        }
    }

    /// Whether `signature` (as in a header) is `key`'s over the 32 bytes of `hash`.
    ///
    /// secp256k1 recovers and compares, as the node does (`Secp256k1Crypto.cpp`): a high s is accepted with the
    /// matching recovery id, a recovery id above 3 never.
    #[must_use]
    pub fn is_signed_by(self, key: &PublicKey, hash: &Hash32, signature: &[u8]) -> bool {
        match self {
            Self::Standard => recover(hash, signature).as_ref() == Some(key),
            Self::Gm => verify_sm2(key, hash, signature),
        }
    }

    /// The key that signed a transaction with this hash, or `None` when the signature is none.
    ///
    /// On a GM chain the key comes with the signature, and is checked against it.
    #[must_use]
    pub fn transaction_signer(self, hash: &Hash32, signature: &[u8]) -> Option<PublicKey> {
        match self {
            Self::Standard => recover(hash, signature),
            Self::Gm => {
                let (rs, key) = signature.split_at_checked(64)?;
                let key = PublicKey(key.try_into().ok()?);
                verify_sm2(&key, hash, rs).then_some(key)
            }
        }
    }
}

/// The key whose secp256k1 signature over `hash` this is.
fn recover(hash: &Hash32, signature: &[u8]) -> Option<PublicKey> {
    let (id, rs) = signature.split_last()?;
    let signature = Signature::from_slice(rs).ok()?;
    let id = RecoveryId::from_byte(*id)?;
    // k256 verifies low s only. (r, s) with one parity is the same statement as (r, n - s) with the other.
    let (signature, id) = match signature.normalize_s() {
        Some(low) => (low, RecoveryId::new(!id.is_y_odd(), id.is_x_reduced())),
        None => (signature, id),
    };
    let key = VerifyingKey::recover_from_prehash(&hash.0, &signature, id).ok()?;
    let point = key.to_encoded_point(false);
    point.as_bytes().get(1..)?.try_into().ok().map(PublicKey)
}

fn verify_sm2(key: &PublicKey, hash: &Hash32, signature: &[u8]) -> bool {
    let mut sec1 = Vec::with_capacity(PUBLIC_KEY_BYTES + 1);
    sec1.push(4);
    sec1.extend_from_slice(&key.0);
    let Ok(signature) = sm2::dsa::Signature::from_slice(signature) else { return false };
    sm2::dsa::VerifyingKey::from_sec1_bytes(SM2_USER_ID, &sec1).is_ok_and(|key| key.verify(&hash.0, &signature).is_ok())
}
