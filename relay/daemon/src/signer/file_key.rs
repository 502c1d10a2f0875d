//! A secp256k1 key read from a file.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, ensure};
use cityrelay_core::attestation::{SignatureBytes, attester_id};
use cityrelay_core::ids::AttesterId;
use cityrelay_core::signing::Signable;
use k256::ecdsa::SigningKey;
use zeroize::ZeroizeOnDrop;

use crate::keys::read_secret;

/// A key in memory. It is wiped when it is dropped, and shown to nobody.
pub struct FileKey {
    key: SigningKey,
}

/// The compiler says so: a library that stops wiping its keys does not build here.
const fn is_wiped<T: ZeroizeOnDrop>() {}
const _: () = is_wiped::<SigningKey>();

impl FileKey {
    /// Reads a 32-byte secp256k1 key, in hex, from a file that only its owner may read.
    ///
    /// # Errors
    /// When the file can't be read, is open to others, holds no key, or the key of another address than `expected`.
    pub fn load(path: &Path, expected: Option<AttesterId>) -> anyhow::Result<Self> {
        let name = path.display();
        let secret = read_secret(path)?;
        let key = SigningKey::from_slice(&secret)
            .map_err(|_| anyhow::anyhow!("expected a secp256k1 private key"))
            .with_context(|| name.to_string())?;
        let key = Self { key };
        if let Some(expected) = expected {
            let got = key.id();
            ensure!(got == expected, "{name}: is the key of {got}, expected {expected} (attester.address)");
        }
        Ok(key)
    }

    /// The address under which the committee knows this key.
    #[must_use]
    pub fn id(&self) -> AttesterId {
        attester_id(self.key.verifying_key())
    }

    /// Signs the digest of `what`. Whoever calls it has made its record durable.
    pub(super) fn sign(&self, what: &Signable) -> Option<SignatureBytes> {
        let (signature, recovery) = self.key.sign_prehash_recoverable(what.digest().as_bytes()).ok()?;
        Some(SignatureBytes::from_parts(&signature, recovery))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::create_secret;

    #[test]
    fn a_key_of_another_address_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        let id = FileKey::load(&path, None).unwrap().id();
        assert_eq!(FileKey::load(&path, Some(id)).unwrap().id(), id);
        let other = AttesterId([9; 20]);
        let error = format!("{:#}", FileKey::load(&path, Some(other)).unwrap_err());
        for words in [path.display().to_string(), id.to_string(), other.to_string()] {
            assert!(error.contains(&words), "{words} is missing: {error}");
        }
    }

    #[test]
    fn neither_errors_nor_debug_show_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        let key = FileKey::load(&path, None).unwrap();
        let wrong = FileKey::load(&path, Some(AttesterId([9; 20]))).unwrap_err();
        // Above the curve's order: 64 digits that are no key.
        std::fs::write(&path, "f".repeat(64)).unwrap();
        let no_key = FileKey::load(&path, None).unwrap_err();
        for text in [format!("{key:?}"), format!("{wrong:?} {wrong:#}"), format!("{no_key:?} {no_key:#}")] {
            assert!(!text.contains("0707") && !text.contains("ffff") && !text.contains("7, 7"), "{text}");
        }
    }
}
