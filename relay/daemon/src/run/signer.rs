//! The attester's voice: its key, read once and shown to nobody, and the counter that is durable before a signature leaves.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use cityrelay_core::attestation::{SignatureBytes, attester_id};
use cityrelay_core::ids::AttesterId;
use cityrelay_core::set_attestation::Attestable;
use cityrelay_journal::Journal;
use k256::ecdsa::SigningKey;
use tracing::error;

use super::signing_counter::SigningCounter;
use crate::config::settings::AttesterConfig;

/// What an attester signs with.
#[derive(Debug)]
pub(super) struct Signer {
    key: FileSigner,
    journal: Journal,
    counter: Mutex<SigningCounter>,
}

impl Signer {
    /// Reads the key, and opens the counter beside the journal.
    ///
    /// # Errors
    /// When the key can't be read, or the journal must not sign.
    pub fn open(config: &AttesterConfig, journal: Journal) -> anyhow::Result<Self> {
        let key = FileSigner::load(&config.key_file)?;
        let signed = journal.counts().context("read the journal")?.signed;
        let counter = Mutex::new(SigningCounter::open(&config.counter_file, signed)?);
        Ok(Self { key, journal, counter })
    }

    /// Signs what has its sign-once record; `None` when the counter can't be made durable. Blocks on the disk.
    pub fn sign(&self, what: &Attestable) -> Option<SignatureBytes> {
        if let Err(error) = self.count() {
            error!(error = format!("{error:#}"), "nothing is signed: the signing counter can't be raised");
            return None;
        }
        self.key.sign(what)
    }

    /// Makes the counter as high as the journal, which holds the record of what is being signed.
    fn count(&self) -> anyhow::Result<()> {
        let signed = self.journal.counts().context("read the journal")?.signed;
        self.counter.lock().unwrap_or_else(PoisonError::into_inner).raise_to(signed)
    }
}

/// A signer with its key in memory. The key is wiped when the signer is dropped.
struct FileSigner {
    key: SigningKey,
}

impl FileSigner {
    /// Reads a 32-byte secp256k1 key, in hex, from a file that only its owner may read.
    fn load(path: &Path) -> anyhow::Result<Self> {
        let secret = crate::keys::read_secret(path)?;
        let key = SigningKey::from_slice(&secret)
            .with_context(|| format!("{}: expected a secp256k1 private key", path.display()))?;
        Ok(Self { key })
    }

    /// The address under which the committee knows this key.
    fn id(&self) -> AttesterId {
        attester_id(self.key.verifying_key())
    }

    /// Signs. Whoever calls it has made record and counter durable.
    fn sign(&self, what: &Attestable) -> Option<SignatureBytes> {
        let (signature, recovery) = self.key.sign_prehash_recoverable(what.digest().as_bytes()).ok()?;
        Some(SignatureBytes::from_parts(&signature, recovery))
    }
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSigner").field("id", &self.id()).finish_non_exhaustive()
    }
}
