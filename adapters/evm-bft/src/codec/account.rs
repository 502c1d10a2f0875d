//! 20-byte accounts.

use core::fmt;

use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::Address;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

/// A 20-byte account, contract or validator, printed as `0x` and 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Account(pub [u8; 20]);

impl Account {
    /// The account of a public key: last 20 bytes of keccak256 of its 64-byte form.
    #[must_use]
    pub fn of_key(key: &VerifyingKey) -> Self {
        let point = key.to_encoded_point(false);
        Self::from_word_tail(&keccak256(point.as_bytes().get(1..).unwrap_or_default()))
    }

    /// The signer of `digest`: secp256k1 over the digest itself, r ‖ s ‖ v with v of 0 or 1, s not limited.
    ///
    /// `None` when v is anything else or no key fits.
    #[must_use]
    pub fn recover(digest: Hash32, seal: &[u8; 65]) -> Option<Self> {
        let (v, rs) = seal.split_last()?;
        let recovery = match *v {
            0 => RecoveryId::new(false, false),
            1 => RecoveryId::new(true, false),
            _ => return None,
        };
        let signature = Signature::from_slice(rs).ok()?;
        // The library recovers only low-s signatures: (r, s, v) and (r, n - s, 1 - v) have the same signer.
        let (signature, recovery) = match signature.normalize_s() {
            Some(low) => (low, RecoveryId::new(!recovery.is_y_odd(), false)),
            None => (signature, recovery),
        };
        let key = VerifyingKey::recover_from_prehash(digest.as_bytes(), &signature, recovery).ok()?;
        Some(Self::of_key(&key))
    }

    /// The last 20 bytes of a word.
    #[must_use]
    pub fn from_word_tail(word: &Hash32) -> Self {
        let mut account = [0; 20];
        account.copy_from_slice(word.0.split_at(12).1);
        Self(account)
    }

    /// The protocol's 32-byte form.
    #[must_use]
    pub fn to_address(self) -> Address {
        Address::from_20(self.0)
    }

    /// Reads 40 hex digits, with or without `0x`, in any case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_address(), f)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    #[test]
    fn a_seal_recovers_its_signer_in_both_forms_of_s() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let digest = keccak256(b"block");
        let (signature, recovery) = key.sign_prehash_recoverable(digest.as_bytes()).unwrap();
        let account = Account::of_key(key.verifying_key());
        let mut seal = [0; 65];
        seal[..64].copy_from_slice(&signature.to_bytes());
        seal[64] = recovery.to_byte();
        assert_eq!(Account::recover(digest, &seal), Some(account));

        let (r, s) = signature.split_scalars();
        let high = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        assert!(high.normalize_s().is_some());
        seal[..64].copy_from_slice(&high.to_bytes());
        seal[64] = 1 - recovery.to_byte();
        assert_eq!(Account::recover(digest, &seal), Some(account));

        seal[64] = 27;
        assert_eq!(Account::recover(digest, &seal), None);
    }
}
