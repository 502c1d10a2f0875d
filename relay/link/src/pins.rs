//! The keys that a peer may prove, and whose key is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::fingerprint::Fingerprint;
use crate::lock::lock;
use crate::peer::Peer;

/// Which of its keys a peer has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// The one that it is known by.
    Current,
    /// The one that takes its place.
    Next,
}

impl Pin {
    /// The word used in answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
        }
    }
}

/// The keys of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    pub(crate) current: Fingerprint,
    pub(crate) next: Option<Fingerprint>,
}

impl Pins {
    /// Which of them it is.
    pub(crate) fn find(&self, key: Fingerprint) -> Option<Pin> {
        if key == self.current {
            return Some(Pin::Current);
        }
        (Some(key) == self.next).then_some(Pin::Next)
    }

    /// Both, or the one.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Fingerprint> {
        [Some(self.current), self.next].into_iter().flatten()
    }
}

/// Whose key is whose, at the moment.
#[derive(Debug)]
pub(crate) struct Pinboard(Mutex<BTreeMap<Fingerprint, Arc<Peer>>>);

impl Pinboard {
    pub(crate) fn of<'a>(peers: impl IntoIterator<Item = &'a Arc<Peer>>) -> Self {
        Self(Mutex::new(owners(peers)))
    }

    /// Who has proved this key.
    pub(crate) fn owner(&self, key: Fingerprint) -> Option<Arc<Peer>> {
        lock(&self.0).get(&key).cloned()
    }

    /// Every key that somebody may prove.
    pub(crate) fn keys(&self) -> BTreeSet<Fingerprint> {
        lock(&self.0).keys().copied().collect()
    }

    /// Looks at the peers' keys again.
    pub(crate) fn renew<'a>(&self, peers: impl IntoIterator<Item = &'a Arc<Peer>>) {
        *lock(&self.0) = owners(peers);
    }
}

fn owners<'a>(peers: impl IntoIterator<Item = &'a Arc<Peer>>) -> BTreeMap<Fingerprint, Arc<Peer>> {
    let each =
        peers.into_iter().flat_map(|peer| peer.pins().keys().map(|key| (key, Arc::clone(peer))).collect::<Vec<_>>());
    each.collect()
}
