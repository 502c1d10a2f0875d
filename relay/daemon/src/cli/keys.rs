//! `keys new` and `keys show`.

use std::path::Path;

use cityrelay_core::attestation::attester_id;
use cityrelay_link::Identity;
use k256::ecdsa::SigningKey;
use rand::TryRngCore as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::{Answer, Exit, Failure};
use super::arguments::{KeyKind, NewKeyArguments};
use crate::keys::{create_secret, read_secret};
use crate::signer::SignerError;
use crate::signer::remote::{RemoteSigner, socket_of};

/// Makes a key file.
pub(super) fn new(arguments: &NewKeyArguments) -> Result<Answer, Failure> {
    let path = &arguments.out;
    if path.exists() {
        return Err(Failure::new(Exit::Refused, format!("{} is there already; choose another file", path.display())));
    }
    let mut seed = Zeroizing::new([0; 32]);
    draw(seed.as_mut_slice())?;
    let file = path.display().to_string();
    match arguments.kind {
        KeyKind::Link => {
            let identity = Identity::create(path, &seed).map_err(|error| Failure::new(Exit::Usage, error))?;
            let fingerprint = identity.fingerprint().to_string();
            let text = format!("fingerprint {fingerprint}");
            Ok(Answer { data: json!({"file": file, "kind": "link", "fingerprint": fingerprint}), text })
        }
        KeyKind::Attester | KeyKind::Account => {
            // A random number that is no key is as likely as guessing one.
            let key = SigningKey::from_slice(seed.as_slice()).map_err(|error| Failure::new(Exit::Internal, error))?;
            create_secret(path, &seed).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))?;
            let address = attester_id(key.verifying_key()).to_string();
            let kind = if arguments.kind == KeyKind::Attester { "attester" } else { "account" };
            let text = format!("address {address}");
            Ok(Answer { data: json!({"file": file, "kind": kind, "address": address}), text })
        }
    }
}

/// Prints what a key file stands for: the fingerprint that it has as a link key, and the address that it has as an
/// attester's or account's key where it can be one.
pub(super) fn show(path: &Path) -> Result<Answer, Failure> {
    if let Some(socket) = path.to_str().and_then(socket_of) {
        return show_of_signer(socket);
    }
    let identity = Identity::load(path).map_err(|error| Failure::new(Exit::Usage, error))?;
    let fingerprint = identity.fingerprint().to_string();
    let address = read_secret(path)
        .ok()
        .and_then(|secret| SigningKey::from_slice(&secret).ok())
        .map(|key| attester_id(key.verifying_key()).to_string());
    let mut text = format!("as a link key: fingerprint {fingerprint}");
    if let Some(address) = &address {
        text.push_str(&format!("\nas an attester's or account's key: address {address}"));
    }
    Ok(Answer {
        data: json!({"file": path.display().to_string(), "fingerprint": fingerprint, "address": address}),
        text,
    })
}

/// Prints the address of the key that a signer has.
fn show_of_signer(socket: &Path) -> Result<Answer, Failure> {
    let address = RemoteSigner::describe(socket).map_err(|error| {
        let exit = match error {
            SignerError::Refused { .. } => Exit::Refused,
            _ => Exit::Unreachable,
        };
        Failure::new(exit, error)
    })?;
    let text = format!("a signer with the attester's key of address {address}");
    Ok(Answer { data: json!({"signer": socket.display().to_string(), "address": address.to_string()}), text })
}

/// Fills `bytes` from the operating system's entropy.
pub(super) fn draw(bytes: &mut [u8]) -> Result<(), Failure> {
    rand::rngs::OsRng
        .try_fill_bytes(bytes)
        .map_err(|error| Failure::new(Exit::Internal, format!("the system gives no random numbers: {error}")))
}
