//! `lane move` and `lane remove`: the two ends of taking a lane to a new gateway, in the configuration.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use cityrelay_core::hash::Hash32;
use cityrelay_core::lane::LaneIdentity;
use cityrelay_gateway::query::LaneStage;
use serde_json::json;
use toml_edit::{DocumentMut, Item, Table};

use super::answer::{Answer, Exit, Failure, say};
use super::lanes::{Known, gateway_on, lane_words, pick};
use super::owner_arguments::{LaneChoice, MoveArguments};
use super::setup::salt_word;
use crate::config::files;
use crate::config::settings::LaneConfig;
use crate::config::{Layers, Sources, check};
use crate::contracts;
use crate::durable_file::write_durably;

/// Prints the section of the lane that takes another one's place on a new gateway.
pub(super) fn section(sources: &Sources, arguments: &MoveArguments) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let old = pick(&known.lanes, &arguments.choice)?;
    let chain = &known.chain(&arguments.choice.chain)?.name;
    if gateway_on(old, chain) == arguments.gateway {
        let problem = format!("{} uses gateway {} on {chain} already", lane_words(old), arguments.gateway);
        return Err(Failure::new(Exit::Refused, problem));
    }
    let salt = match arguments.salt {
        Some(salt) => salt,
        None => Hash32::from_hex(&salt_word()?).map_err(|error| Failure::new(Exit::Internal, error))?,
    };
    let mut identity = LaneIdentity { salt, ..old.identity.clone() };
    if old.source == *chain {
        identity.source_gateway = arguments.gateway;
        identity.source_verifier = arguments.verifier;
    } else {
        identity.destination_gateway = arguments.gateway;
        identity.destination_verifier = arguments.verifier;
    }
    let lane = LaneConfig { id: identity.id(), identity, ..old.clone() };
    say(format_args!("{} takes the place of {}", lane_words(&lane), lane_words(old)));
    let section = text_of(&lane, old);
    let text = section.trim_end().to_owned();
    let data = json!({
        "lane": lane.id.to_string(), "replaces": old.id.to_string(), "salt": salt.to_string(), "section": section,
    });
    Ok(Answer { data, text })
}

fn text_of(lane: &LaneConfig, old: &LaneConfig) -> String {
    let identity = &lane.identity;
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = format!(
        "\n# Lane {}, in place of {}\n[[lanes]]\nchannel = {}\nsource = \"{}\"\ndestination = \"{}\"\nsalt = \"{}\"\n\
         source_gateway = \"{}\"\nsource_verifier = \"{}\"\ndestination_gateway = \"{}\"\ndestination_verifier = \"{}\"\n",
        lane.id,
        old.id,
        quoted(&identity.channel),
        lane.source,
        lane.destination,
        identity.salt,
        identity.source_gateway,
        identity.source_verifier,
        identity.destination_gateway,
        identity.destination_verifier,
    );
    if let Some(peer) = &lane.peer {
        // Writing to a string can't fail.
        let _ = writeln!(text, "peer = {}", quoted(peer));
    }
    text
}

/// Takes a lane out of the configuration's files, once it is closed for good wherever this configuration can look.
pub(super) async fn remove(sources: &Sources, choice: &LaneChoice) -> Result<Answer, Failure> {
    let known = Known::read(sources)?;
    let lane = pick(&known.lanes, choice)?;
    let words = lane_words(lane);
    if known.lanes.len() == 1 {
        let problem = format!("{words} is the only lane: without it nothing would be relayed");
        return Err(Failure::new(Exit::Refused, problem));
    }
    let mut looked = Vec::new();
    for name in [&lane.source, &lane.destination] {
        let chain = known.chain(name)?;
        if chain.chain.source().endpoints().is_empty() {
            continue;
        }
        let gateway = gateway_on(lane, name);
        let stage =
            contracts::lane_status(chain.chain.inspect().as_ref(), gateway, lane.id).await?.map(|status| status.stage);
        if !matches!(stage, Some(LaneStage::Closed) | None) {
            let problem = format!(
                "{words} is not closed on {name}: what is unsettled would be left behind; close it for good first \
                 (`cityrelay lane close --chain {name} --lane {})`",
                lane.id
            );
            return Err(Failure::new(Exit::Refused, problem));
        }
        looked.push(name.as_str());
    }
    if looked.is_empty() {
        let problem = format!("no node is configured on either chain of {words}: whether it is closed can't be seen");
        return Err(Failure::new(Exit::Usage, problem));
    }
    let path = sources.place();
    let changed = files_without(path, lane)?;
    if changed.is_empty() {
        let problem = format!("{words} stands in no file under {}: it comes from the environment", path.display());
        return Err(Failure::new(Exit::Usage, problem));
    }
    for (path, text) in &changed {
        replace(path, text)?;
    }
    // What is left must be a whole configuration of lanes.
    check::lanes_only(&Layers::read(sources)?, cityrelay_all::adapters())?;
    let names: Vec<String> = changed.iter().map(|(path, _)| path.display().to_string()).collect();
    let text = format!(
        "{words} is closed on {} and taken out of {}; it is forgotten at the next start",
        looked.join(" and "),
        names.join(", ")
    );
    Ok(Answer { data: json!({ "lane": lane.id.to_string(), "files": names }), text })
}

/// The files of the configuration that have this lane, without it; all else in them stays as it is.
fn files_without(path: &Path, lane: &LaneConfig) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut changed = Vec::new();
    for path in files::paths(path)? {
        let fault = |problem: String| Failure::new(Exit::Usage, format!("{}: {problem}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
        let mut document = DocumentMut::from_str(&text).map_err(|error| fault(error.message().to_owned()))?;
        let Some(lanes) = document.get_mut("lanes").and_then(Item::as_array_of_tables_mut) else { continue };
        let before = lanes.len();
        lanes.retain(|table| !is_lane(table, lane));
        if lanes.len() == before {
            continue;
        }
        if lanes.is_empty() {
            document.remove("lanes");
        }
        changed.push((path, document.to_string()));
    }
    Ok(changed)
}

/// Whether a `[[lanes]]` table is that lane: a salt is drawn for one lane.
fn is_lane(table: &Table, lane: &LaneConfig) -> bool {
    let text = |key: &str| table.get(key).and_then(Item::as_str).unwrap_or_default();
    Hash32::from_hex(text("salt")) == Ok(lane.identity.salt)
        && text("channel") == lane.identity.channel
        && text("source") == lane.source
        && text("destination") == lane.destination
}

/// Replaces a file of the configuration; owner, group and mode stay.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
    let before = fs::metadata(path).map_err(fault)?;
    write_durably(path, text.as_bytes()).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))?;
    fs::set_permissions(path, Permissions::from_mode(before.mode() & 0o7777)).map_err(fault)?;
    let after = fs::metadata(path).map_err(fault)?;
    if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
        chown(path, Some(before.uid()), Some(before.gid())).map_err(fault)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::lanes::tests::lane;
    use super::*;

    #[test]
    fn the_section_that_is_printed_is_the_lane_that_is_named() {
        let old = lane("medical", "north", "south");
        let identity = LaneIdentity { salt: Hash32([9; 32]), ..old.identity.clone() };
        let new = LaneConfig { id: identity.id(), identity, peer: Some("south-relay".to_owned()), ..old.clone() };
        let document = DocumentMut::from_str(&text_of(&new, &old)).unwrap();
        let table = document["lanes"].as_array_of_tables().unwrap().get(0).unwrap();
        assert!(is_lane(table, &new) && !is_lane(table, &old));
        assert_eq!(table["source_gateway"].as_str(), Some(&*new.identity.source_gateway.to_string()));
        assert_eq!(table["destination_verifier"].as_str(), Some(&*new.identity.destination_verifier.to_string()));
        assert_eq!(table["peer"].as_str(), Some("south-relay"));
    }

    #[test]
    fn one_lane_is_taken_out_and_everything_else_stays_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (lane("medical", "north", "south"), lane("trade", "north", "south"));
        let section = |lane: &LaneConfig| text_of(lane, lane);
        let (here, there) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        fs::write(&here, format!("# kept\n[node]\nname = 'x' # kept too\n{}{}", section(&first), section(&second)))
            .unwrap();
        fs::write(&there, "[log]\nformat = \"json\"\n").unwrap();
        let changed = files_without(folder.path(), &first).unwrap();
        assert_eq!(changed.len(), 1);
        let (path, text) = &changed[0];
        assert_eq!(path, &here);
        assert_eq!(*text, format!("# kept\n[node]\nname = 'x' # kept too\n{}", section(&second)));

        fs::set_permissions(&here, Permissions::from_mode(0o640)).unwrap();
        replace(&here, text).unwrap();
        assert_eq!(fs::metadata(&here).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&here).unwrap(), *text);
        assert!(files_without(folder.path(), &first).unwrap().is_empty());
    }
}
