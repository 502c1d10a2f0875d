//! `init join`: peers, the other chain and the lanes, out of the cards of both cities and their attesters.

use std::fmt::Write as _;
use std::path::Path;

use cityrelay_link::Identity;
use serde_json::{Value, json};

use super::super::answer::{Answer, Exit, Failure};
use super::super::init_arguments::{JoinArguments, PeerArguments};
use super::card::{Card, CardChain, CardRole};
use super::{chain_file, folder, refuse_existing, setting_line, write_new};
use crate::config::{Layers, Sources, check};

const PEERS_FILE: &str = "peers.toml";
const LANES_FILE: &str = "lanes.toml";

/// Writes the files, and checks the whole configuration.
pub(in super::super) fn join(sources: &Sources, arguments: &JoinArguments) -> Result<Answer, Failure> {
    let dir = folder(sources);
    let layers = Layers::read(sources)?;
    let text = |pointer: &str| layers.tree.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = Identity::load(&dir.join(text("/link/identity_file")))
        .map_err(|error| Failure::new(Exit::Usage, error))?
        .fingerprint()
        .to_string();
    let is_attester = text("/node/role") == "attester";
    let cards = arguments.cards.iter().map(|path| Card::read(path)).collect::<Result<Vec<_>, _>>()?;
    let relays: Vec<(&Card, &CardChain)> = cards
        .iter()
        .filter(|card| card.role == CardRole::Relay)
        .filter_map(|card| Some((card, card.chain.as_ref()?)))
        .collect();
    let [first, second] = relays[..] else {
        let problem = format!("expected the cards of two relays with their chains, got {}", relays.len());
        return Err(Failure::new(Exit::Usage, problem));
    };
    if first.1.name == second.1.name {
        let problem = format!("both cards call their chain {:?}: one of them must change it", first.1.name);
        return Err(Failure::new(Exit::Usage, problem));
    }
    if !is_attester && first.0.fingerprint != own && second.0.fingerprint != own {
        return Err(Failure::new(Exit::Usage, format!("none of the cards is this relay's own (fingerprint {own})")));
    }

    let peers: Vec<&Card> = cards
        .iter()
        .filter(|card| card.fingerprint != own && !(is_attester && card.role == CardRole::Attester))
        .collect();
    let mut files = vec![(PEERS_FILE.to_owned(), peers_text(&peers, is_attester))];
    for (card, chain) in [first, second] {
        if is_attester || card.fingerprint != own {
            files.push((chain_file(&chain.name), chain_text(chain, &arguments.settings)?));
        }
    }
    let mut lanes = String::from("# Lanes, from the cards: both relays and every attester have the same.\n");
    for ((from, source), (to, destination)) in [(first, second), (second, first)] {
        let peer = if from.fingerprint == own { to } else { from };
        lanes_text(&mut lanes, from, source, destination, (!is_attester).then_some(peer));
    }
    files.push((LANES_FILE.to_owned(), lanes));

    refuse_existing(&files.iter().map(|(name, _)| dir.join(name)).collect::<Vec<_>>())?;
    for (name, text) in &files {
        write_new(&dir.join(name), text)?;
    }
    finish(sources, &dir, files.into_iter().map(|(name, _)| name).collect())
}

/// What was written must be a whole configuration.
fn finish(sources: &Sources, dir: &Path, names: Vec<String>) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let config = check::config(&layers, cityrelay_all::adapters())?;
    let mut text = format!(
        "{} are written in {}: {} peers, {} lanes, no faults",
        names.join(", "),
        dir.display(),
        config.peers.len(),
        config.lanes.len()
    );
    for lane in &config.lanes {
        let _ = write!(text, "\nlane {} {} {} → {}", lane.id, lane.identity.channel, lane.source, lane.destination);
    }
    let lanes: Vec<String> = config.lanes.iter().map(|lane| lane.id.to_string()).collect();
    Ok(Answer { data: json!({ "dir": dir, "files": names, "lanes": lanes }), text })
}

/// Relays call everybody who has an address; attesters are called.
fn peers_text(peers: &[&Card], is_attester: bool) -> String {
    let text = String::from("# Peers, from their cards. Compare each fingerprint with its owner by another way.\n");
    peers.iter().fold(text, |text, card| text + &peer_text(card, is_attester))
}

fn peer_text(card: &Card, is_attester: bool) -> String {
    let role = if card.role == CardRole::Relay { "relay" } else { "attester" };
    let mut text = format!(
        "\n[[peers]]\nname = {}\nrole = \"{role}\"\nfingerprint = {}\n",
        quoted(&card.name),
        quoted(&card.fingerprint)
    );
    // Writing to a string can't fail.
    if let (false, Some(address)) = (is_attester, &card.address) {
        let _ = writeln!(text, "address = {}", quoted(address));
    }
    if let Some(attester) = &card.attester {
        let _ = writeln!(text, "attester = {}", quoted(attester));
    }
    if let Some(city) = &card.city {
        let _ = writeln!(text, "city = {}", quoted(city));
    }
    text
}

/// Prints the section of one more peer, to be appended to the others'.
pub(in super::super) fn peer(sources: &Sources, arguments: &PeerArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let is_attester = layers.tree.pointer("/node/role").and_then(Value::as_str) == Some("attester");
    let card = Card::read(&arguments.card)?;
    if is_attester && card.role == CardRole::Attester {
        return Err(Failure::new(Exit::Usage, "attesters don't talk to each other: this card is for relays"));
    }
    let known = layers.tree.get("peers").and_then(Value::as_array);
    let is_there = |key: &str, value: &str| {
        known.into_iter().flatten().any(|peer| peer.get(key).and_then(Value::as_str) == Some(value))
    };
    if is_there("name", &card.name) || is_there("fingerprint", &card.fingerprint) {
        let problem = format!("a peer called {} or with fingerprint {} is there already", card.name, card.fingerprint);
        return Err(Failure::new(Exit::Refused, problem));
    }
    let text = peer_text(&card, is_attester);
    Ok(Answer { data: json!({ "peer": card.name, "section": text }), text: text.trim_end().to_owned() })
}

/// The chain's section; of the settings `NAME.KEY=VALUE` those that are about it.
fn chain_text(chain: &CardChain, settings: &[String]) -> Result<String, Failure> {
    let mut text = format!("# A chain, from its relay's card.\n\n[chains.{}]\n", chain.name);
    for (key, value) in &chain.settings {
        let _ = writeln!(text, "{key} = {value}");
    }
    let prefix = format!("{}.", chain.name);
    for setting in settings.iter().filter_map(|setting| setting.strip_prefix(&prefix)) {
        let _ = writeln!(text, "{}", setting_line(setting)?);
    }
    Ok(text)
}

fn lanes_text(text: &mut String, from: &Card, source: &CardChain, destination: &CardChain, peer: Option<&Card>) {
    for lane in &from.lanes {
        let _ = write!(
            text,
            "\n[[lanes]]\nchannel = {}\nsource = \"{}\"\ndestination = \"{}\"\nsalt = {}\n",
            quoted(&lane.channel),
            source.name,
            destination.name,
            quoted(&lane.salt)
        );
        if let Some(peer) = peer {
            let _ = writeln!(text, "peer = {}", quoted(&peer.name));
        }
    }
}

/// Text of a card as a TOML value: it came from somebody else.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
