//! Keys that the service manager hands over (systemd.exec(5), `LoadCredential=`).

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

/// Where the service manager says that its credentials are.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Keys with this ending hold the path of a file.
const FILE_KEY_ENDING: &str = "_file";

/// A folder of credentials.
///
/// A relative file such as `keys/link.key` is the credential `keys_link.key`, which is the name that
/// `LoadCredential=keys:/etc/cityrelay/keys` gives it. So one configuration serves the daemon, which is given its keys
/// and can't read the originals, and the operator's commands, which read the originals.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// The credentials that this environment names; `None` when nobody hands any over.
    pub(super) fn of(environment: &[(String, String)]) -> Option<Self> {
        let (_, folder) = environment.iter().find(|(name, _)| name == VARIABLE)?;
        Some(Self { folder: PathBuf::from(folder) })
    }

    /// Puts the credential in place of every relative file that has one.
    pub(super) fn replace_files(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value {
                        Value::String(file) if key.ends_with(FILE_KEY_ENDING) => {
                            if let Some(credential) = self.credential(file) {
                                *file = credential;
                            }
                        }
                        other => self.replace_files(other),
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.replace_files(value)),
            _ => {}
        }
    }

    fn credential(&self, file: &str) -> Option<String> {
        let parts = Path::new(file).components().map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        let name = parts.collect::<Option<Vec<&str>>>()?.join("_");
        let path = self.folder.join(name);
        if path.is_file() { path.into_os_string().into_string().ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_relative_file_is_replaced_by_the_credential_of_its_name_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keys_link.key"), "secret").unwrap();
        std::fs::write(folder.path().join("keys_token"), "secret").unwrap();
        let named = folder.path().to_str().unwrap().to_owned();
        let credentials = Credentials::of(&[(VARIABLE.to_owned(), named.clone())]).unwrap();
        let mut tree = json!({
            "link": { "identity_file": "keys/link.key", "note": "keys/link.key" },
            "nodes": [{ "bearer_token_file": "keys/token" }, { "bearer_token_file": "keys/other" }],
            "escape_file": "../keys_link.key",
            "whole_file": "/keys/link.key",
        });
        credentials.replace_files(&mut tree);
        let expected = json!({
            "link": { "identity_file": format!("{named}/keys_link.key"), "note": "keys/link.key" },
            "nodes": [{ "bearer_token_file": format!("{named}/keys_token") }, { "bearer_token_file": "keys/other" }],
            "escape_file": "../keys_link.key",
            "whole_file": "/keys/link.key",
        });
        assert_eq!(tree, expected);
    }

    #[test]
    fn without_a_service_manager_nothing_is_replaced() {
        assert!(Credentials::of(&[("HOME".to_owned(), "/".to_owned())]).is_none());
    }
}
