//! `init`: from nothing to a complete configuration, in a folder, in steps that two cities and their attesters take side
//! by side.
//!
//! 1. `init relay` or `init attester` makes keys and the process's own part; a relay's pins the anchor of its chain.
//! 2. `init card` prints what others may know: the card. Cards are exchanged.
//! 3. `init join` makes peers, the other chain and the lanes out of the cards.
//!
//! Every value can be given as a flag; what is missing is asked for on a terminal. No file is overwritten.

mod card;
mod join;

pub(super) use card::card;
pub(super) use join::{join, peer};

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use cityrelay_core::attestation::attester_id;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{AttesterId, Domain};
use cityrelay_link::{Fingerprint, Identity};
use k256::ecdsa::SigningKey;
use serde_json::json;
use zeroize::Zeroizing;

use super::anchor::ask_nodes;
use super::answer::{Answer, Exit, Failure, say};
use super::init_arguments::{InitAttesterArguments, InitRelayArguments, OwnPart};
use super::keys::draw;
use crate::config::layers::DEFAULT_PATH;
use crate::config::{Layers, Sources};
use crate::keys::{create_secret, read_secret};

/// Folder of the keys beside the configuration.
const KEYS: &str = "keys";
const LINK_KEY: &str = "keys/link.key";
const ACCOUNT_KEY: &str = "keys/account.key";
const ATTESTER_KEY: &str = "keys/attester.key";

/// Files of the configuration; the folder's `*.toml` are joined.
const OWN_FILE: &str = "own.toml";

/// Where journals of instances lie, each in a folder named as its configuration's.
const STATE: &str = "/var/lib/cityrelay";

/// The folder that a configuration is made in.
fn folder(sources: &Sources) -> PathBuf {
    sources.place().to_owned()
}

/// Makes the part of a relay: keys, its own section, its chain with a pinned anchor.
pub(super) async fn relay(sources: &Sources, arguments: &InitRelayArguments) -> Result<Answer, Failure> {
    let dir = folder(sources);
    let chain_file = dir.join(chain_file(&arguments.chain));
    refuse_existing(&[dir.join(OWN_FILE), chain_file.clone()])?;
    let name = required(arguments.own.name.clone(), "--name", "Name of this relay (a-z, 0-9 and -)")?;
    let mut settings = Vec::new();
    for setting in &arguments.settings {
        settings.push(setting_line(setting)?);
    }
    make_folder(&dir)?;
    let fingerprint = link_key(&dir)?;
    let account = secp256k1_key(&dir.join(ACCOUNT_KEY))?;
    if !arguments.settings.iter().any(|setting| setting.starts_with("account")) {
        settings.push(format!("account = {{ key_file = \"{ACCOUNT_KEY}\" }}"));
    }
    write_own(&dir, &name, &arguments.own, "")?;

    let section = format!(
        "# This city's chain, read and written through nodes of our own.\n\
         # Every key is explained by `cityrelay config reference`.\n\n[chains.{}]\n{}\n",
        arguments.chain,
        settings.join("\n")
    );
    write_new(&chain_file, &section)?;
    let pinned = pin_anchor(&chain_file, arguments).await;
    let Pinned { anchor, hash } = pinned.inspect_err(|_| {
        // What was written is of no use without its anchor; the keys stay.
        let _ = fs::remove_file(&chain_file);
        let _ = fs::remove_file(dir.join(OWN_FILE));
    })?;
    let domain = Domain::derive(&arguments.chain, hash);
    let more = format!(
        "# A block that the operators of both cities compared by voice. Never taken from a node unseen.\n\
         anchor = {anchor}\n\
         # The chain as the protocol names it, derived from its name and anchor; its gateway keeps it for good.\n\
         domain = \"{domain}\"\n"
    );
    append(&chain_file, &more)?;
    let text = format!(
        "{} and {} are written\nfingerprint {fingerprint}\naccount {account}\ndomain {domain}\n\
         next: give the account what gas costs, where it costs anything, and run `cityrelay gateway deploy`",
        dir.join(OWN_FILE).display(),
        chain_file.display()
    );
    let data = json!({
        "dir": dir, "fingerprint": fingerprint.to_string(), "account": account.to_string(),
        "domain": domain.to_string(), "anchor": anchor,
    });
    Ok(Answer { data, text })
}

/// Makes the part of an attester: keys and its own section.
pub(super) fn attester(sources: &Sources, arguments: &InitAttesterArguments) -> Result<Answer, Failure> {
    let dir = folder(sources);
    refuse_existing(&[dir.join(OWN_FILE)])?;
    let name = required(arguments.own.name.clone(), "--name", "Name of this attester (a-z, 0-9 and -)")?;
    make_folder(&dir)?;
    let fingerprint = link_key(&dir)?;
    let address = secp256k1_key(&dir.join(ATTESTER_KEY))?;
    let role = format!("\n[attester]\nkey_file = \"{ATTESTER_KEY}\"\n");
    write_own(&dir, &name, &arguments.own, &role)?;
    let text = format!(
        "{} is written\nfingerprint {fingerprint}\nattester {address}\n\
         next: tell both cities the attester's address, and print the card with `cityrelay init card`",
        dir.join(OWN_FILE).display()
    );
    let data = json!({
        "dir": dir, "fingerprint": fingerprint.to_string(), "attester": address.to_string(),
    });
    Ok(Answer { data, text })
}

/// An anchor as the section has it, and the hash of its block.
struct Pinned {
    anchor: String,
    hash: Hash32,
}

/// Asks all nodes of the section for the anchor, and takes it only when somebody has confirmed its hash.
async fn pin_anchor(chain_file: &Path, arguments: &InitRelayArguments) -> Result<Pinned, Failure> {
    let sources = Sources { path: Some(chain_file.to_owned()), ..Sources::default() };
    let mut layers = Layers::read(&sources)?;
    let answer = ask_nodes(&mut layers, &arguments.chain, arguments.anchor_height).await?;
    let said = |key: &str| answer.data.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let hash = Hash32::from_hex(&said("hash")).map_err(|error| Failure::new(Exit::Internal, error))?;
    let height = answer.data.get("height").and_then(serde_json::Value::as_u64).unwrap_or_default();
    match arguments.anchor_hash {
        Some(expected) if expected == hash => {}
        Some(expected) => {
            let problem = format!(
                "all nodes say that block {height} has the hash {hash}; expected {expected}: find out who is wrong"
            );
            return Err(Failure::new(Exit::Refused, problem));
        }
        None => {
            let question = format!(
                "All nodes say that block {height} has the hash {hash}. Compare it with another institution by another \
                 way, then type it as you were told it"
            );
            let typed = required(None, &format!("--anchor-height {height} --anchor-hash {hash}"), &question)?;
            // All of it: who makes up a block can choose a few of its hash's digits.
            if typed != hash.to_string() {
                return Err(Failure::new(Exit::Refused, format!("{typed:?} is not {hash}")));
            }
        }
    }
    Ok(Pinned { anchor: said("anchor"), hash })
}

/// `KEY=VALUE` as a line of a section: a TOML value where it is one, else text.
fn setting_line(setting: &str) -> Result<String, Failure> {
    let Some((key, value)) = setting.split_once('=') else {
        let problem = format!("expected KEY=VALUE, such as chain_id=571, got {setting:?}");
        return Err(Failure::new(Exit::Usage, problem));
    };
    let value = toml_edit::Value::from_str(value.trim()).unwrap_or_else(|_| toml_edit::Value::from(value.trim()));
    Ok(format!("{} = {}", key.trim(), value.to_string().trim()))
}

fn chain_file(chain: &str) -> String {
    format!("chain-{chain}.toml")
}

/// A flag's value; on a terminal asked for when it is missing.
fn required(value: Option<String>, flag: &str, question: &str) -> Result<String, Failure> {
    if let Some(value) = value {
        return Ok(value);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{question}: give it as {flag}")));
    }
    say(format_args!("{question}:"));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Failure::new(Exit::Usage, error))?;
    match line.trim() {
        "" => Err(Failure::new(Exit::Usage, format!("nothing was typed; expected {flag}"))),
        typed => Ok(typed.to_owned()),
    }
}

fn write_own(dir: &Path, name: &str, own: &OwnPart, more: &str) -> Result<(), Failure> {
    let role = if more.is_empty() { "relay" } else { "attester" };
    let state = match dir.strip_prefix(DEFAULT_PATH) {
        Ok(instance) => Path::new(STATE).join(instance),
        Err(_) => dir.join("data"),
    };
    let state = own.data_dir.clone().unwrap_or(state);
    let mut text = format!(
        "# This process. Made by `cityrelay init`; every key is explained by `cityrelay config reference`.\n\n\
         [node]\nname = \"{name}\"\nrole = \"{role}\"\n# The journal. It is never restored from a backup while the lanes go on.\n\
         data_dir = \"{}\"\n\n[link]\n# Peers call here.\nlisten = \"{}\"\nidentity_file = \"{LINK_KEY}\"\n",
        state.display(),
        own.listen
    );
    if let Some(metrics) = own.metrics {
        text.push_str(&format!("\n[metrics]\nlisten = \"{metrics}\"\n"));
    }
    text.push_str(more);
    write_new(&dir.join(OWN_FILE), &text)
}

/// The configuration's folder, and the one of its keys, which is closed to everybody else.
fn make_folder(dir: &Path) -> Result<(), Failure> {
    if !dir.is_dir() {
        fs::create_dir_all(dir)
            .and_then(|()| give_to_group_of_folder(dir))
            .map_err(|error| cannot_write(dir, &error))?;
    }
    let keys = dir.join(KEYS);
    if !keys.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(&keys).map_err(|error| cannot_write(&keys, &error))?;
    }
    Ok(())
}

/// The link key's fingerprint; the key is made when there is none.
fn link_key(dir: &Path) -> Result<Fingerprint, Failure> {
    let path = dir.join(LINK_KEY);
    let identity = if path.exists() {
        Identity::load(&path)
    } else {
        let mut seed = Zeroizing::new([0; 32]);
        draw(seed.as_mut_slice())?;
        Identity::create(&path, &seed)
    };
    identity.map(|identity| identity.fingerprint()).map_err(|error| Failure::new(Exit::Usage, error))
}

/// The address of a secp256k1 key; the key is made when there is none.
fn secp256k1_key(path: &Path) -> Result<AttesterId, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, format!("{error:#}"));
    if !path.exists() {
        let mut seed = Zeroizing::new([0; 32]);
        draw(seed.as_mut_slice())?;
        // A random number that is no key is as likely as guessing one.
        SigningKey::from_slice(seed.as_slice()).map_err(|error| Failure::new(Exit::Internal, error))?;
        create_secret(path, &seed).map_err(usage)?;
    }
    let secret = read_secret(path).map_err(usage)?;
    let key = SigningKey::from_slice(&secret).map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(attester_id(key.verifying_key()))
}

fn refuse_existing(paths: &[PathBuf]) -> Result<(), Failure> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) => {
            let problem = format!("{} is there already: change it by hand, or move it away first", path.display());
            Err(Failure::new(Exit::Refused, problem))
        }
        None => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| cannot_write(path, &error))?;
    give_to_group_of_folder(path).map_err(|error| cannot_write(path, &error))
}

/// A package's folder belongs to the group of the daemon, which must read what root makes there.
fn give_to_group_of_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let Some(folder) = path.parent() else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (group, own) = (fs::metadata(folder)?.gid(), fs::metadata(path)?.gid());
    if group == own { Ok(()) } else { chown(path, None, Some(group)) }
}

fn append(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("{}: can't be written: {error}", path.display()))
}
