//! One line of a diagnosis.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::Repair;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The clock of this machine.
    Clock,
    /// The disk below the data folder.
    Disk,
    /// What the system permits this process.
    Limits,
    /// Addresses that are listened on.
    Ports,
    /// Key files.
    Keys,
    /// The other ends of the link.
    Peers,
    /// Nodes of a chain.
    Nodes,
    /// The trust anchor of a chain, and whether its headers verify.
    Anchor,
    /// Gateways and verifiers.
    Contracts,
    /// Lanes on their gateways.
    Lanes,
    /// Attester sets.
    Attesters,
    /// Accounts that pay for transactions.
    Accounts,
    /// What is durable.
    Journal,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and an operator should look at it.
    Warning,
    /// It does not work, or must not be relied on.
    Broken,
}

/// One line: what was looked at, what came of it, and what helps. One that is not ok has a [`Repair`]: there is no way to
/// make another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    area: Area,
    subject: String,
    words: String,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warning(Repair),
    Broken(Repair),
}

impl Finding {
    /// What it is about.
    #[must_use]
    pub const fn area(&self) -> Area {
        self.area
    }

    /// How bad it is.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self.state {
            State::Ok => Verdict::Ok,
            State::Warning(_) => Verdict::Warning,
            State::Broken(_) => Verdict::Broken,
        }
    }

    /// What was found.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// What repairs it; `None` exactly where it is ok.
    #[must_use]
    pub const fn repair(&self) -> Option<&Repair> {
        match &self.state {
            State::Ok => None,
            State::Warning(repair) | State::Broken(repair) => Some(repair),
        }
    }
}

impl Area {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Limits => "limits",
            Self::Ports => "ports",
            Self::Keys => "keys",
            Self::Peers => "peers",
            Self::Nodes => "nodes",
            Self::Anchor => "anchor",
            Self::Contracts => "contracts",
            Self::Lanes => "lanes",
            Self::Attesters => "attesters",
            Self::Accounts => "accounts",
            Self::Journal => "journal",
        }
    }

    /// As it should be.
    #[must_use]
    pub fn ok(self, subject: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding { area: self, subject: subject.into(), words: words.into(), state: State::Ok }
    }

    /// It works, and an operator should look at it.
    #[must_use]
    pub fn warning(self, subject: impl Into<String>, words: impl Into<String>, repair: Repair) -> Finding {
        Finding { state: State::Warning(repair), ..self.ok(subject, words) }
    }

    /// It does not work.
    #[must_use]
    pub fn broken(self, subject: impl Into<String>, words: impl Into<String>, repair: Repair) -> Finding {
        Finding { state: State::Broken(repair), ..self.ok(subject, words) }
    }
}

impl Serialize for Finding {
    /// `repair` is the command, `advice` what is to be known besides; both are null where nothing is to be done.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 6)?;
        fields.serialize_field("area", &self.area)?;
        fields.serialize_field("subject", &self.subject)?;
        fields.serialize_field("verdict", &self.verdict())?;
        fields.serialize_field("words", &self.words)?;
        fields.serialize_field("repair", &self.repair().map(Repair::command))?;
        fields.serialize_field("advice", &self.repair().and_then(Repair::words))?;
        fields.end()
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Finding {
    /// One line, and below it what helps: the last line of what is not ok is a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict() {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Broken => "broken ",
        };
        write!(f, "{verdict}  {}: {}: {}", self.area, self.subject, self.words)?;
        match self.repair() {
            Some(repair) => repair.fmt(f),
            None => Ok(()),
        }
    }
}
