//! One line of a diagnosis.

use std::fmt;

use serde::Serialize;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and an operator should look at it.
    Warning,
    /// It does not work, or must not be relied on.
    Broken,
}

/// One line: what was looked at, what came of it, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// Which one of them, such as `chain north` or `peer south-relay`.
    pub subject: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub words: String,
    /// The command or step that repairs it; `None` where nothing is to be done.
    pub repair: Option<String>,
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
        Finding { area: self, subject: subject.into(), verdict: Verdict::Ok, words: words.into(), repair: None }
    }

    /// It works, and an operator should look at it.
    #[must_use]
    pub fn warning(self, subject: impl Into<String>, words: impl Into<String>, repair: impl Into<String>) -> Finding {
        let repair = Some(repair.into());
        Finding { area: self, subject: subject.into(), verdict: Verdict::Warning, words: words.into(), repair }
    }

    /// It does not work.
    #[must_use]
    pub fn broken(self, subject: impl Into<String>, words: impl Into<String>, repair: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Broken, ..self.warning(subject, words, repair) }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Finding {
    /// One line, and a second one with what helps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Broken => "broken ",
        };
        write!(f, "{verdict}  {}: {}: {}", self.area, self.subject, self.words)?;
        match &self.repair {
            Some(repair) => write!(f, "\n         → {repair}"),
            None => Ok(()),
        }
    }
}
