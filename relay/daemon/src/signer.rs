//! Where an attester's key lives: in a file that the daemon reads, or with a signer that is a process of its own.
//!
//! [`server`] is the signer process that ships, `cityrelay signer`; [`remote`] asks it, or another one that speaks the same
//! protocol (`deploy/SIGNER.md`, bytes in `cityrelay_wire::signer`), such as one in front of an HSM. Either way a signer
//! computes the digest itself, and [`AttesterKey::sign`] gives nothing back that does not recover to the expected address.

pub mod file_key;
pub mod remote;
pub mod server;

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::ids::AttesterId;
use cityrelay_core::signing::{Signable, SigningRefusal};
use thiserror::Error;

use self::file_key::FileKey;
use self::remote::RemoteSigner;
use crate::config::settings::KeySource;

/// What an attester signs with.
#[derive(Debug)]
pub enum AttesterKey {
    /// A key in this process's memory.
    File(FileKey),
    /// A key in another process.
    Remote(RemoteSigner),
}

/// Why nothing was signed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The signer can't be reached, or does not answer in time. Its operator's fault; ask again later.
    #[error("the signer at {socket} is away ({problem}): start it, or look at its log")]
    Away {
        /// Its socket.
        socket: String,
        /// What the system said.
        problem: String,
    },
    /// The signer has another key. The operator's fault.
    #[error(
        "the signer at {socket} has the key of {got}, expected {expected} (attester.address): correct the address, or \
         give the signer the right key"
    )]
    WrongKey {
        /// Its socket.
        socket: String,
        /// The configured address.
        expected: AttesterId,
        /// The signer's.
        got: AttesterId,
    },
    /// The signer does not sign this.
    #[error("the signer at {socket} refuses: {refusal}")]
    Refused {
        /// Its socket.
        socket: String,
        /// Why.
        refusal: SigningRefusal,
    },
    /// The signer says what no signer says. Its fault.
    #[error("the signer at {socket} answers what is no answer ({problem}): is something else listening there?")]
    Garbage {
        /// Its socket.
        socket: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The signature is not one of the expected key over what was asked. The signer's fault.
    #[error("the signer at {socket} gave a signature that is not one of {expected} over what was asked")]
    BadSignature {
        /// Its socket.
        socket: String,
        /// The configured address.
        expected: AttesterId,
    },
    /// The key in memory did not sign: a fault of the library.
    #[error("the key did not sign")]
    Key,
}

impl AttesterKey {
    /// Reads the key, or notes where the signer is. A signer that is away is asked later.
    ///
    /// # Errors
    /// When the file can't be read or holds another key than the configured address says, or when the signer is there and
    /// has another key.
    pub fn open(source: &KeySource) -> anyhow::Result<Self> {
        match source {
            KeySource::File { path, address } => Ok(Self::File(FileKey::load(path, *address)?)),
            KeySource::Signer { socket, address } => {
                let signer = RemoteSigner::new(socket, *address);
                match signer.probe() {
                    Ok(()) => tracing::info!(socket = %socket.display(), %address, "the signer is there"),
                    Err(error @ SignerError::Away { .. }) => {
                        tracing::warn!(error = format!("{error:#}"), "nothing is signed until the signer is there");
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(Self::Remote(signer))
            }
        }
    }

    /// The address under which the committee knows this key.
    #[must_use]
    pub fn id(&self) -> AttesterId {
        match self {
            Self::File(key) => key.id(),
            Self::Remote(signer) => signer.expected(),
        }
    }

    /// Signs. Whoever calls it has made its own record durable. May wait for another process for some seconds.
    ///
    /// # Errors
    /// [`SignerError`], when nothing was signed.
    pub fn sign(&self, what: &Signable) -> Result<SignatureBytes, SignerError> {
        match self {
            Self::File(key) => key.sign(what).ok_or(SignerError::Key),
            Self::Remote(signer) => signer.sign(what),
        }
    }

    /// Whether the key can be used at this moment. May wait for another process for some seconds.
    ///
    /// # Errors
    /// [`SignerError`], when nothing could be signed.
    pub fn probe(&self) -> Result<(), SignerError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Remote(signer) => signer.probe(),
        }
    }
}

#[cfg(test)]
mod tests;
