//! The process that is looked at, as commands name it: its configuration, its unit, the places of its keys.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Repair;
use crate::config::layers::DEFAULT_PATH;
use crate::config::{Layers, Origin, Sources};

/// Where repairs come from that name this process's configuration.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The file or folder of the configuration, absolute.
    place: PathBuf,
    /// Whether its daemon runs.
    runs: bool,
    /// What relative paths count from.
    base: PathBuf,
    /// The merged values, to find entries of lists by name.
    tree: Value,
    /// Where each is set.
    origins: crate::config::Origins,
}

impl Instance {
    /// The process with this configuration.
    #[must_use]
    pub fn new(sources: &Sources, layers: &Layers, runs: bool) -> Self {
        let place = sources.place();
        let place = std::path::absolute(place).unwrap_or_else(|_| place.to_owned());
        Self { place, runs, base: layers.base.clone(), tree: layers.tree.clone(), origins: layers.origins.clone() }
    }

    /// Whether its daemon runs.
    pub(super) const fn runs(&self) -> bool {
        self.runs
    }

    /// A command of this program with this configuration.
    pub(super) fn cityrelay<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Repair {
        let place = self.place.display().to_string();
        let mut line: Vec<&str> = Vec::new();
        if self.place != Path::new(DEFAULT_PATH) {
            line.extend(["--config", place.as_str()]);
        }
        for word in words {
            line.push(word);
        }
        #[cfg(test)]
        tests::assert_parses(&line);
        Repair::of("cityrelay", line)
    }

    /// Opens the place of a key, or of the nearest table around it, in an editor, and has the result checked.
    pub(super) fn edit(&self, key: &str) -> Repair {
        let (file, line) = match nearest_file(&self.origins, key) {
            Some((file, line)) => (std::path::absolute(&file).unwrap_or(file), line),
            None => (self.place.clone(), 1),
        };
        let check = if self.runs { self.cityrelay(["reload"]) } else { self.cityrelay(["config", "check"]) };
        Repair::of("${EDITOR:-vi}", [format!("+{line}").as_str(), &file.display().to_string()]).then(&check)
    }

    /// The file in which a key, or the nearest table around it, is set.
    pub(super) fn file(&self, key: &str) -> PathBuf {
        nearest_file(&self.origins, key).map_or_else(|| self.place.clone(), |(file, _)| file)
    }

    /// The file that a key names, from the folder of the configuration on.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let value = key.split('.').try_fold(&self.tree, |value, part| value.get(part))?;
        Some(self.base.join(value.as_str()?))
    }

    /// Opens a key of a peer's section.
    pub(super) fn edit_peer(&self, name: &str, key: &str) -> Repair {
        self.edit(&format!("{}.{key}", self.peer_key(name)))
    }

    /// The key of a peer's section.
    pub(super) fn peer_key(&self, name: &str) -> String {
        self.entry("peers", &[("name", name)])
    }

    /// Opens the entry of a node.
    pub(super) fn edit_node(&self, chain: &str, node: &str) -> Repair {
        self.edit(&self.node_key(chain, node))
    }

    /// The address of a node.
    pub(super) fn node_url(&self, chain: &str, node: &str) -> Option<&str> {
        let nodes = self.tree.get("chains")?.get(chain)?.get("nodes")?.as_array()?;
        nodes.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(node))?.get("url")?.as_str()
    }

    fn node_key(&self, chain: &str, node: &str) -> String {
        self.entry(&format!("chains.{chain}.nodes"), &[("name", node)])
    }

    /// Opens the section of a lane.
    pub(super) fn edit_lane(&self, channel: &str, source: &str, destination: &str) -> Repair {
        self.edit(&self.entry("lanes", &[("channel", channel), ("source", source), ("destination", destination)]))
    }

    /// The key of the entry of a list that has these values; the list where none has.
    fn entry(&self, list: &str, wanted: &[(&str, &str)]) -> String {
        let mut value = Some(&self.tree);
        for part in list.split('.') {
            value = value.and_then(|value| value.get(part));
        }
        let has_all =
            |entry: &Value| wanted.iter().all(|(key, value)| entry.get(*key).and_then(Value::as_str) == Some(*value));
        let at = value.and_then(Value::as_array).and_then(|entries| entries.iter().position(has_all));
        at.map_or_else(|| list.to_owned(), |at| format!("{list}[{at}]"))
    }

    /// The service of this configuration, where it lies where the packages' units look for it.
    pub(super) fn unit(&self) -> Option<String> {
        if self.place == Path::new(DEFAULT_PATH) {
            return Some("cityrelay".to_owned());
        }
        let name = self.place.file_name()?.to_str()?;
        (self.place.parent() == Some(Path::new(DEFAULT_PATH)) && self.place.extension().is_none())
            .then(|| format!("cityrelay@{name}"))
    }

    /// Starts its daemon, or starts it anew.
    pub(super) fn restart(&self) -> Repair {
        match self.unit() {
            Some(unit) => Repair::of("systemctl", ["restart", &unit]),
            None => self.cityrelay(["run"]),
        }
    }

    /// Asks every node of a chain for one block, and shows who says what.
    pub(super) fn ask_nodes(&self, chain: &str) -> Repair {
        self.cityrelay(["anchor", "fetch", "--chain", chain])
    }
}

/// The file and line of a key, or of the nearest table around it that a file has.
fn nearest_file(origins: &crate::config::Origins, key: &str) -> Option<(PathBuf, usize)> {
    let mut key = key;
    loop {
        if let Some(Origin::File { path, line }) = origins.get(key) {
            return Some((path.clone(), *line));
        }
        if key.is_empty() {
            break;
        }
        key = key.rfind(['.', '[']).and_then(|at| key.get(..at)).unwrap_or_default();
    }
    // Only in the environment or on the command line: the first file of the configuration is as good as any.
    origins.values().find_map(|origin| match origin {
        Origin::File { path, line } => Some((path.clone(), *line)),
        _ => None,
    })
}

#[cfg(test)]
pub(super) fn example(runs: bool) -> Instance {
    tests::instance("/etc/cityrelay/example/x.toml", runs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In every test of this crate: a repair that this program does not take is none.
    pub(super) fn assert_parses(words: &[&str]) {
        let line: Vec<&str> = ["cityrelay"].into_iter().chain(words.iter().copied()).collect();
        assert_eq!(crate::cli::accepts(&line), Ok(()), "{line:?}");
    }

    pub(super) fn instance(place: &str, runs: bool) -> Instance {
        let tree = json!({
            "chains": { "north": { "nodes": [{ "name": "a", "url": "http://a:1" }, { "name": "b" }] } },
            "peers": [{ "name": "attester-1" }, { "name": "attester-9" }],
        });
        let at = |file: &str, line| Origin::File { path: PathBuf::from(place).join(file), line };
        let origins = [
            (String::new(), at("own.toml", 1)),
            ("chains.north".to_owned(), at("chain-north.toml", 3)),
            ("chains.north.nodes[1]".to_owned(), at("chain-north.toml", 7)),
            ("peers[1]".to_owned(), at("peers.toml", 12)),
        ];
        Instance { place: PathBuf::from(place), runs, base: PathBuf::new(), tree, origins: origins.into() }
    }

    #[test]
    fn commands_name_the_configuration_where_it_is_not_the_usual_one() {
        assert_eq!(instance(DEFAULT_PATH, false).cityrelay(["status"]).command(), "cityrelay status");
        let other = instance("/srv/city relay", true);
        assert_eq!(other.cityrelay(["status"]).command(), "cityrelay --config '/srv/city relay' status");
    }

    #[test]
    fn units_are_those_that_the_packages_ship() {
        assert_eq!(instance(DEFAULT_PATH, false).unit().as_deref(), Some("cityrelay"));
        assert_eq!(instance("/etc/cityrelay/north", false).unit().as_deref(), Some("cityrelay@north"));
        for elsewhere in ["/srv/cityrelay", "/etc/cityrelay/own.toml"] {
            assert_eq!(instance(elsewhere, false).unit(), None);
        }
        assert_eq!(instance("/srv/x", false).restart().command(), "cityrelay --config /srv/x run");
    }

    #[test]
    fn keys_are_edited_where_they_stand() {
        let stopped = instance("/etc/cityrelay", false);
        for (key, place) in [
            ("chains.north.nodes[1]", "+7 /etc/cityrelay/chain-north.toml"),
            ("chains.north.nodes[1].url", "+7 /etc/cityrelay/chain-north.toml"),
            ("chains.north.domain", "+3 /etc/cityrelay/chain-north.toml"),
            ("metrics.listen", "+1 /etc/cityrelay/own.toml"),
        ] {
            assert_eq!(stopped.edit(key).command(), format!("${{EDITOR:-vi}} {place} && cityrelay config check"));
        }
        assert_eq!(stopped.edit_node("north", "b"), stopped.edit("chains.north.nodes[1]"));
        assert_eq!(stopped.edit_node("north", "no-such"), stopped.edit("chains.north.nodes"));
        let running = instance("/etc/cityrelay", true).edit_peer("attester-9", "fingerprint");
        assert_eq!(running.command(), "${EDITOR:-vi} +12 /etc/cityrelay/peers.toml && cityrelay reload");
        assert_eq!(stopped.node_url("north", "a"), Some("http://a:1"));
    }
}
