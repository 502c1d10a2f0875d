//! A card: what one process tells the others of itself. Nothing on it is secret; whoever takes one must know from whom.

use std::path::Path;

use cityrelay_core::frame::Role;
use cityrelay_link::Identity;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::answer::{Answer, Exit, Failure};
use super::super::init_arguments::CardArguments;
use super::super::setup::salt_word;
use super::{ATTESTER_KEY, folder, secp256k1_key};
use crate::config::{Layers, Sources};

/// Version of the form; another one is refused by name.
const CARD_VERSION: u32 = 1;

/// A longer card is not read, 256 KiB: thousands of lanes.
const MAX_CARD_BYTES: u64 = 256 << 10;

/// Keys of a chain's section that are its owner's business.
const OWN_BUSINESS: [&str; 3] = ["nodes", "account", "poll_interval"];

/// What others may know of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Card {
    version: u32,
    /// Its name, by which the others call it.
    pub name: String,
    pub role: CardRole,
    /// Where it is called, as host:port; `None` when it calls the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// SHA-256 of its public link key.
    pub fingerprint: String,
    /// What an attester signs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attester: Option<String>,
    /// The city that an attester's institution is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The chain that a relay stands beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<CardChain>,
    /// Lanes that begin on that chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<CardLane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CardRole {
    Relay,
    Attester,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardChain {
    /// Its name in the configurations of both cities.
    pub name: String,
    /// Its section, without what is its owner's business.
    pub settings: toml::Table,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardLane {
    pub channel: String,
    pub salt: String,
}

impl Card {
    /// Reads a card.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let failure = |problem: String| Failure::new(Exit::Usage, format!("{}: {problem}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| failure(format!("can't be read: {error}")))?.len();
        if size > MAX_CARD_BYTES {
            return Err(failure(format!("expected at most {MAX_CARD_BYTES} bytes, got {size}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failure(format!("can't be read: {error}")))?;
        let card: Self = toml::from_str(&text).map_err(|error| failure(format!("is no card: {error}")))?;
        if card.version != CARD_VERSION {
            return Err(failure(format!("expected version {CARD_VERSION}, got {}", card.version)));
        }
        Ok(card)
    }
}

/// Prints the card of the process that is configured; draws the salts of the lanes that begin on its chain.
pub(in super::super) fn card(sources: &Sources, arguments: &CardArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let text = |pointer: &str| layers.tree.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let missing = |key: &str| Failure::new(Exit::Usage, format!("{key} is missing: run `cityrelay init` first"));
    let dir = folder(sources);
    let identity = dir.join(text("/link/identity_file").ok_or_else(|| missing("link.identity_file"))?);
    let fingerprint = Identity::load(&identity).map_err(|error| Failure::new(Exit::Usage, error))?.fingerprint();
    let role: Role = if text("/node/role").as_deref() == Some("attester") { Role::Attester } else { Role::Relay };
    let mut card = Card {
        version: CARD_VERSION,
        name: text("/node/name").ok_or_else(|| missing("node.name"))?,
        role: if role == Role::Attester { CardRole::Attester } else { CardRole::Relay },
        address: arguments.address.clone(),
        fingerprint: fingerprint.to_string(),
        attester: None,
        city: arguments.city.clone(),
        chain: None,
        lanes: Vec::new(),
    };
    if role == Role::Attester {
        card.attester = Some(match (text("/attester/signer"), text("/attester/address")) {
            (Some(_), Some(address)) => address,
            (Some(_), None) => return Err(missing("attester.address")),
            (None, _) => {
                let key = dir.join(text("/attester/key_file").unwrap_or_else(|| ATTESTER_KEY.to_owned()));
                secp256k1_key(&key)?.to_string()
            }
        });
    } else {
        card.chain = Some(own_chain(&layers)?);
        for channel in &arguments.channels {
            card.lanes.push(CardLane { channel: channel.clone(), salt: salt_word()? });
        }
    }
    let text = toml::to_string(&card).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(Answer { data: json!({ "card": card }), text: text.trim_end().to_owned() })
}

/// The chain that has nodes of our own, as others may know it.
fn own_chain(layers: &Layers) -> Result<CardChain, Failure> {
    let chains = layers.tree.get("chains").and_then(Value::as_object);
    let mut own = chains.into_iter().flatten().filter(|(_, section)| section.get("nodes").is_some());
    let (Some((name, section)), None) = (own.next(), own.next()) else {
        let problem = "expected one chain with nodes in the configuration: a card is made before `cityrelay init join`";
        return Err(Failure::new(Exit::Usage, problem));
    };
    let mut section = section.as_object().cloned().unwrap_or_default();
    section.retain(|key, _| !OWN_BUSINESS.contains(&key.as_str()));
    for key in ["anchor", "domain", "gateway", "verifier"] {
        if !section.contains_key(key) {
            let problem = format!("chains.{name}.{key} is missing: append what `cityrelay gateway deploy` prints");
            return Err(Failure::new(Exit::Usage, problem));
        }
    }
    let settings = toml::Table::try_from(section).map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(CardChain { name: name.clone(), settings })
}
