//! The attester's voice: its key, and the counter that is durable before a signature leaves.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::machine::memory::Remembered;
use cityrelay_core::set_attestation::Attestable;
use cityrelay_core::signing::Signable;
use cityrelay_journal::Journal;
use tracing::{error, info, warn};

use super::signing_counter::{CounterError, Journalled, SigningCounter};
use crate::config::settings::AttesterConfig;
use crate::observability::{Trouble, TroubleKind};
use crate::signer::{AttesterKey, SignerError};

/// What an attester signs with.
#[derive(Debug)]
pub(super) struct Signer {
    key: AttesterKey,
    remembered: Remembered,
    counter: Mutex<SigningCounter>,
    /// Why nothing can be signed, as the last try or look showed.
    failure: Mutex<Option<SignerError>>,
}

impl Signer {
    /// Reads the key or finds the signer, and opens the counter beside the journal. Blocks on both.
    ///
    /// # Errors
    /// When the key can't be read or is another one than configured, or the journal must not sign.
    pub fn open(config: &AttesterConfig, journal: &Journal) -> anyhow::Result<Self> {
        let key = AttesterKey::open(&config.key)?;
        let signed = journal.counts().context("read the journal")?.signed;
        let heads = journal.flows().context("read the journal")?.into_iter();
        let heads = heads.filter_map(|counts| Some((counts.flow, counts.signed?))).collect();
        let counter = SigningCounter::open(&config.counter_file, &Journalled { signed, heads })?;
        let mut lost = BTreeMap::new();
        for (flow, signed) in &counter.marks().heads {
            match journal.point(*flow, signed.index).context("read the journal")? {
                Some(ours) if ours == *signed => {}
                Some(ours) => {
                    let (ours, signed) = (Box::new(ours), Box::new(*signed));
                    let (path, flow) = (config.counter_file.clone(), *flow);
                    return Err(CounterError::Contradiction { path, flow, ours, signed }.into());
                }
                None => {
                    let (lane, direction) = (flow.lane, flow.direction.as_str());
                    warn!(%lane, direction, signed_to = signed.index.0, "the journal is an older one: mute until it has caught up");
                    lost.insert(*flow, *signed);
                }
            }
        }
        let remembered = Remembered { id: Some(key.id()), lost, sets: counter.marks().sets.clone() };
        Ok(Self { key, remembered, counter: Mutex::new(counter), failure: Mutex::default() })
    }

    /// What was signed and the journal does not hold, as it was found at the start.
    pub fn remembered(&self) -> Remembered {
        self.remembered.clone()
    }

    /// Signs what has its sign-once record; `None` when the counter can't be made durable, or the signer does not sign.
    /// Blocks on the disk and on the signer.
    pub fn sign(&self, what: &Attestable) -> Option<SignatureBytes> {
        if let Err(error) = self.counter.lock().unwrap_or_else(PoisonError::into_inner).raise_to(what) {
            error!(error = format!("{error:#}"), "nothing is signed: the signing counter can't be raised");
            return None;
        }
        let signature = self.key.sign(&Signable::Attestation(*what));
        self.note(signature.as_ref().err());
        signature.ok()
    }

    /// Looks whether the key can be used, so that a signer that is away is known before it is needed. Blocks on it.
    pub fn look(&self) {
        // What it refused stays true until it has signed again; whether it is there is seen now.
        let refuses = matches!(*self.failure(), Some(SignerError::Refused { .. }));
        match self.key.probe() {
            Ok(()) if refuses => {}
            looked => self.note(looked.err().as_ref()),
        }
    }

    /// Why nothing can be signed at this moment.
    pub fn trouble(&self) -> Option<Trouble> {
        let failure = self.failure();
        failure.as_ref().map(|error| Trouble::new(TroubleKind::SignerAway, "signer", error.to_string()))
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<SignerError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what came of the last try; what has changed is said once.
    fn note(&self, error: Option<&SignerError>) {
        let mut failure = self.failure();
        match (&*failure, error) {
            (None, Some(error)) => warn!(%error, "nothing is signed"),
            (Some(_), None) => info!("the signer signs again"),
            _ => {}
        }
        *failure = error.cloned();
    }
}
