//! Transactions of the command line that may be under way: each is on disk before it is broadcast, so that a command that
//! was stopped follows the same transaction when it is repeated, and never makes a second one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cityrelay_api::target::Intent;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::Address;
use cityrelay_core::opaque::Opaque;
use serde::{Deserialize, Serialize};

use super::answer::{Exit, Failure};
use crate::durable_file::write_durably;

/// Version of the files; grows when a field changes its meaning.
const VERSION: u32 = 1;

/// The longest file that is read: a transaction of 256 KiB in hex has its place in it.
const MAX_FILE_BYTES: u64 = 2 << 20;

/// A folder of intents.
#[derive(Clone, Debug)]
pub(super) struct IntentFolder(PathBuf);

/// One file.
#[derive(Debug, Serialize, Deserialize)]
struct IntentFile {
    v: u32,
    chain: String,
    account: String,
    what: String,
    hash: String,
    adapter: String,
    adapter_version: u16,
    bytes: String,
}

/// Which call by which account a file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IntentKey {
    chain: String,
    account: Address,
    digest: Hash32,
}

impl IntentKey {
    /// The key of a call: the same call by the same account is the same transaction until that has its end.
    pub(super) fn new(chain: &str, account: Address, call: &GatewayCall) -> Result<Self, Failure> {
        let encoded = cityrelay_gateway::encode(call).map_err(|error| Failure::new(Exit::Usage, error))?;
        let to = encoded.to.map(|to| to.to_vec()).unwrap_or_default();
        let digest = keccak256(&[account.0.as_bytes().as_slice(), &to, &encoded.data].concat());
        Ok(Self { chain: chain.to_owned(), account, digest })
    }

    fn file_name(&self) -> String {
        let digest: String = hex::encode(self.digest.as_bytes()).chars().take(16).collect();
        format!("{}-{digest}.json", self.chain)
    }
}

impl IntentFolder {
    /// The folder, made if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|error| {
            let problem = format!(
                "{}: transactions must be noted there before they are sent, and it can't be made ({error}): name a folder \
                 of yours with --intents",
                path.display()
            );
            Failure::new(Exit::Usage, problem)
        })?;
        Ok(Self(path.to_owned()))
    }

    /// What an earlier run noted for this call, if that transaction may still be under way.
    pub(super) fn find(&self, key: &IntentKey) -> anyhow::Result<Option<Intent>> {
        let path = self.0.join(key.file_name());
        let name = path.display();
        if !path.exists() {
            return Ok(None);
        }
        let size = fs::metadata(&path).with_context(|| format!("{name}: can't be read"))?.len();
        ensure!(size <= MAX_FILE_BYTES, "{name}: expected at most {MAX_FILE_BYTES} bytes, got {size}");
        let text = fs::read(&path).with_context(|| format!("{name}: can't be read"))?;
        let file: IntentFile = serde_json::from_slice(&text).with_context(|| format!("{name}: is no intent"))?;
        ensure!(file.v == VERSION, "{name}: expected version {VERSION}, got {}", file.v);
        ensure!(
            file.chain == key.chain && file.account == key.account.to_string(),
            "{name}: is about chain {:?} and account {}, expected {:?} and {}",
            file.chain,
            file.account,
            key.chain,
            key.account
        );
        let hash = Hash32::from_hex(&file.hash).with_context(|| format!("{name}: hash"))?;
        let bytes = hex::decode(&file.bytes).with_context(|| format!("{name}: bytes"))?;
        Ok(Some(Intent { hash, bytes: Opaque { adapter: file.adapter, version: file.adapter_version, bytes } }))
    }

    /// Notes a transaction; it is on disk when this returns.
    pub(super) fn keep(&self, key: &IntentKey, what: &str, intent: &Intent) -> anyhow::Result<()> {
        let file = IntentFile {
            v: VERSION,
            chain: key.chain.clone(),
            account: key.account.to_string(),
            what: what.to_owned(),
            hash: intent.hash.to_string(),
            adapter: intent.bytes.adapter.clone(),
            adapter_version: intent.bytes.version,
            bytes: hex::encode(&intent.bytes.bytes),
        };
        write_durably(&self.0.join(key.file_name()), &serde_json::to_vec_pretty(&file)?)
    }

    /// Forgets a transaction that has its end.
    pub(super) fn forget(&self, key: &IntentKey) -> anyhow::Result<()> {
        let path = self.0.join(key.file_name());
        fs::remove_file(&path).with_context(|| format!("{}: can't be removed", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent { hash: Hash32([3; 32]), bytes: Opaque { adapter: "fake".to_owned(), version: 7, bytes: vec![1, 2, 3] } }
    }

    #[test]
    fn a_kept_intent_is_found_by_its_call_and_account_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let folder = IntentFolder::open(&dir.path().join("intents")).unwrap();
        let account = Address::from_20([1; 20]);
        let call = |byte| GatewayCall::DeployCode { code: vec![byte] };
        let key = IntentKey::new("north", account, &call(1)).unwrap();
        assert!(folder.find(&key).unwrap().is_none());
        folder.keep(&key, "a call", &intent()).unwrap();
        assert_eq!(folder.find(&key).unwrap(), Some(intent()));
        for other in [
            IntentKey::new("north", account, &call(2)).unwrap(),
            IntentKey::new("south", account, &call(1)).unwrap(),
            IntentKey::new("north", Address::from_20([2; 20]), &call(1)).unwrap(),
        ] {
            assert!(folder.find(&other).unwrap().is_none());
        }
        folder.forget(&key).unwrap();
        assert!(folder.find(&key).unwrap().is_none());
    }

    #[test]
    fn a_damaged_intent_is_an_error_and_not_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = IntentFolder::open(dir.path()).unwrap();
        let key =
            IntentKey::new("north", Address::from_20([1; 20]), &GatewayCall::DeployCode { code: vec![1] }).unwrap();
        fs::write(dir.path().join(key.file_name()), "{").unwrap();
        assert!(folder.find(&key).unwrap_err().to_string().contains("is no intent"));
    }
}
