//! Secret keys of accounts and, for networks made for tests, of nodes.

use core::fmt;

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Address;
use k256::ecdsa::SigningKey;
use sm2::dsa::signature::Signer;

use super::suite::{CryptoSuite, PublicKey, SM2_USER_ID};

/// A secret key under one suite, wiped when it is dropped. Its debug form shows the public key only.
#[derive(Clone)]
pub struct SecretKey {
    key: Inner,
    public: PublicKey,
}

#[derive(Clone)]
enum Inner {
    Standard(SigningKey),
    /// The signing form is made for each signature: that of this library is not wiped, this one is.
    Gm(sm2::SecretKey),
}

/// Why a key or a signature could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are no secret key of the suite. The operator's fault.
    #[error("expected a 32-byte secret key of the curve, got a number that is zero or too large")]
    Range,
    /// The library refused to sign, which no valid key makes it do.
    #[error("expected a signature, got a refusal of the curve library")]
    Signing,
}

impl SecretKey {
    /// The key with these big-endian bytes.
    ///
    /// # Errors
    /// [`KeyError::Range`] when the number is zero or not below the group order.
    pub fn from_bytes(suite: CryptoSuite, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let (key, sec1) = match suite {
            CryptoSuite::Standard => {
                let key = SigningKey::from_slice(bytes).map_err(|_| KeyError::Range)?;
                let sec1 = key.verifying_key().to_encoded_point(false).as_bytes().to_vec();
                (Inner::Standard(key), sec1)
            }
            CryptoSuite::Gm => {
                let key = sm2::dsa::SigningKey::from_slice(SM2_USER_ID, bytes).map_err(|_| KeyError::Range)?;
                let point = sm2::elliptic_curve::sec1::ToEncodedPoint::to_encoded_point(key.verifying_key(), false);
                let kept = sm2::SecretKey::from_slice(bytes).map_err(|_| KeyError::Range)?;
                (Inner::Gm(kept), point.as_bytes().to_vec())
            }
        };
        let public = sec1.get(1..).and_then(|key| key.try_into().ok()).map(PublicKey).ok_or(KeyError::Range)?;
        Ok(Self { key, public })
    }

    /// The suite the key belongs to.
    #[must_use]
    pub const fn suite(&self) -> CryptoSuite {
        match self.key {
            Inner::Standard(_) => CryptoSuite::Standard,
            Inner::Gm(_) => CryptoSuite::Gm,
        }
    }

    /// Its public key; a node's id.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The account of the key.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::from_20(self.suite().account(&self.public))
    }

    /// Signs a header hash as a sealer does: r ‖ s ‖ recovery id, or r ‖ s.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library refuses.
    pub fn sign_header(&self, hash: &Hash32) -> Result<Vec<u8>, KeyError> {
        match &self.key {
            Inner::Standard(key) => {
                let (signature, id) = key.sign_prehash_recoverable(&hash.0).map_err(|_| KeyError::Signing)?;
                let mut bytes = signature.to_bytes().to_vec();
                bytes.push(id.to_byte());
                Ok(bytes)
            }
            Inner::Gm(key) => {
                let key = sm2::dsa::SigningKey::new(SM2_USER_ID, key).map_err(|_| KeyError::Signing)?;
                let signature: sm2::dsa::Signature = key.try_sign(&hash.0).map_err(|_| KeyError::Signing)?;
                Ok(signature.to_bytes().to_vec())
            }
        }
    }

    /// Signs a transaction hash: r ‖ s ‖ recovery id, or r ‖ s ‖ public key.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the library refuses.
    pub fn sign_transaction(&self, hash: &Hash32) -> Result<Vec<u8>, KeyError> {
        let mut signature = self.sign_header(hash)?;
        if self.suite() == CryptoSuite::Gm {
            signature.extend_from_slice(&self.public.0);
        }
        Ok(signature)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}
