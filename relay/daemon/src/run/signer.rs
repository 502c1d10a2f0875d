//! The attester's key: reads it once, signs digests, shows it to nobody.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use cityrelay_core::attestation::{SignatureBytes, attester_id};
use cityrelay_core::ids::AttesterId;
use cityrelay_core::set_attestation::Attestable;
use k256::ecdsa::SigningKey;

/// A signer with its key in memory. The key is wiped when the signer is dropped.
pub(super) struct FileSigner {
    key: SigningKey,
}

impl FileSigner {
    /// Reads a 32-byte secp256k1 key, in hex, from a file that only its owner may read.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let secret = crate::keys::read_secret(path)?;
        let key = SigningKey::from_slice(&secret)
            .with_context(|| format!("{}: expected a secp256k1 private key", path.display()))?;
        Ok(Self { key })
    }

    /// The address under which the committee knows this key.
    pub fn id(&self) -> AttesterId {
        attester_id(self.key.verifying_key())
    }

    /// Signs. Whoever calls it has made the sign-once record durable.
    pub fn sign(&self, what: &Attestable) -> Option<SignatureBytes> {
        let (signature, recovery) = self.key.sign_prehash_recoverable(what.digest().as_bytes()).ok()?;
        Some(SignatureBytes::from_parts(&signature, recovery))
    }
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSigner").field("id", &self.id()).finish_non_exhaustive()
    }
}
