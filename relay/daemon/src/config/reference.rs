//! The reference: every key explained, as a TOML file in which everything is commented out.

use std::fmt::Write as _;

use cityrelay_api::adapter::{KeyDoc, Reload};

use super::check::Adapters;
use super::key_table::{CHAIN_PREFIX, OWN_KEYS, default_value};

const WIDTH: usize = 116;

/// The text of `config/reference.toml`.
#[must_use]
pub fn text(adapters: Adapters<'_>) -> String {
    let mut out = String::from(
        "# Every key of CityRelay's configuration, printed by `cityrelay config reference`.\n\
         #\n\
         # A configuration is one file, or a folder whose *.toml files are joined; a key that two files set is a fault,\n\
         # lists of tables ([[peers]], [[lanes]]) are appended. The environment comes next: CITYRELAY__LOG__FORMAT=json\n\
         # sets log.format. Flags come last: --set log.format=json. Relative paths count from the configuration's folder.\n\
         # No key holds a secret: keys are files. A relative file such as keys/link.key is read from the service manager's\n\
         # credential keys_link.key where there is one ($CREDENTIALS_DIRECTORY).\n\
         # A running daemon that gets SIGHUP reads all of it again: what is called reloadable is in force then, and of a\n\
         # chain or a peer whose other keys changed too nothing is before a restart. A fault anywhere changes nothing.\n",
    );
    let mut sections: Vec<(String, Vec<(&str, &KeyDoc)>)> = Vec::new();
    for doc in OWN_KEYS {
        let (section, key) = doc.key.rsplit_once('.').unwrap_or(("", doc.key));
        match sections.last_mut() {
            Some((last, keys)) if last == section => keys.push((key, doc)),
            _ => sections.push((section.to_owned(), vec![(key, doc)])),
        }
    }
    for (section, keys) in sections {
        let header = match section.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{}]", section.replace('*', "NAME")),
        };
        let is_chain = CHAIN_PREFIX.strip_suffix('.') == Some(section.as_str());
        let _ = write!(out, "\n# {header}\n");
        keys.into_iter().for_each(|(key, doc)| entry(&mut out, key, doc));
        if is_chain {
            for adapter in adapters {
                let _ = write!(out, "\n# {header} with adapter = \"{}\"\n", adapter.name());
                adapter.keys().iter().for_each(|doc| entry(&mut out, doc.key, doc));
            }
        }
    }
    out
}

fn entry(out: &mut String, key: &str, doc: &KeyDoc) {
    out.push_str("#\n");
    let mut line = String::from("#");
    for word in doc.doc.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
    let reload = if doc.reload == Reload::Applied { "; reloadable" } else { "" };
    let _ = match (doc.default, default_value(doc)) {
        (None, _) => writeln!(out, "# {key} = …    # {}; required{reload}", doc.form),
        (Some(default), Some(_)) => writeln!(out, "# {key} = {default}    # {}{reload}", doc.form),
        (Some(default), None) => writeln!(out, "# {key} = …    # {}; when missing: {default}{reload}", doc.form),
    };
}
