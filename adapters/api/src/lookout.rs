//! Whether all nodes are on one chain: what was served is compared with what the others show, one after the other.
//!
//! Headers come from one node at a time, the best one. Another one that is on another branch would be noticed only when its
//! turn came to serve, and one that is behind never. So each in turn is asked for one header that was served by
//! somebody else. Where it shows another one, its branch is what this relay's own light client looks at next: two sealed
//! headers freeze it, and one that is not sealed is its server's lie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cityrelay_core::hash::Hash32;

use crate::inspect::Comparable;

/// Headers that are remembered: as many as light clients compare with.
const REMEMBERED: usize = 64;

/// What was served, and who shows something else.
#[derive(Debug, Default)]
pub struct Lookout(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Hashes that were served, by height.
    served: BTreeMap<u64, Hash32>,
    /// The height at which nodes are compared now, and those that have been.
    at: u64,
    compared: BTreeSet<String>,
    /// Whether one is being asked.
    is_looking: bool,
    apart: Option<Apart>,
}

/// A node that shows another header than the one that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The node, as named in the configuration.
    pub endpoint: String,
    /// The height at which they differ.
    pub height: u64,
}

impl Lookout {
    /// Notes headers that a node served, each by height and hash.
    pub fn served(&self, endpoint: &str, headers: impl IntoIterator<Item = (u64, Hash32)>) {
        self.with(|seen| {
            seen.served.extend(headers);
            while seen.served.len() > REMEMBERED {
                seen.served.pop_first();
            }
            let newest = seen.served.last_key_value().map_or(0, |(height, _)| *height);
            if newest > seen.at {
                seen.at = newest;
                seen.compared.clear();
            }
            seen.compared.insert(endpoint.to_owned());
        });
    }

    /// Which of the nodes is to be asked next for one of its headers, at or below the height that is given, where the header
    /// at `after` is trusted; `None` while one is being asked, and when all have been.
    fn next<'a>(&self, after: u64, endpoints: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, u64)> {
        self.with(|seen| {
            if seen.is_looking {
                return None;
            }
            // A chain that stands still since the start has served nothing: the first one that is asked is compared with.
            if seen.at < after {
                seen.at = after;
                seen.compared.clear();
            }
            let next = endpoints.into_iter().find(|endpoint| !seen.compared.contains(*endpoint))?;
            seen.is_looking = true;
            seen.compared.insert(next.to_owned());
            Some((next, seen.at))
        })
    }

    /// Asks the next of the nodes by `show`, which is given the node and a height and gives the height and hash of the
    /// node's newest header at or below it. What comes back asks it: it belongs beside everything else.
    pub fn ask<N: Comparable, S, F>(
        self: &Arc<Self>,
        after: u64,
        nodes: &[Arc<N>],
        show: S,
    ) -> Option<impl Future<Output = ()> + use<N, S, F>>
    where
        S: FnOnce(Arc<N>, u64) -> F,
        F: Future<Output = Option<(u64, Hash32)>>,
    {
        let (name, at) = self.next(after, nodes.iter().map(|node| node.name()))?;
        let node = Arc::clone(nodes.iter().find(|node| node.name() == name)?);
        let (lookout, shown) = (Arc::clone(self), show(Arc::clone(&node), at));
        Some(async move { lookout.showed(node.name(), shown.await) })
    }

    /// What a node that was asked has shown: a height and a hash, or nothing.
    fn showed(&self, endpoint: &str, header: Option<(u64, Hash32)>) {
        self.with(|seen| {
            seen.is_looking = false;
            let Some((height, hash)) = header else { return };
            match seen.served.get(&height) {
                Some(served) if *served != hash => {
                    // Which of the two is ours is not known here: the others are compared with this one from now on, so
                    // that each branch is looked at in its turn as long as nobody has decided.
                    seen.served.insert(height, hash);
                    seen.compared = BTreeSet::from([endpoint.to_owned()]);
                    seen.apart = Some(Apart { endpoint: endpoint.to_owned(), height });
                }
                None if height == seen.at => {
                    seen.served.insert(height, hash);
                }
                _ => {}
            }
        });
    }

    /// The node whose branch is to be served to whoever trusts the header at `after`, once.
    pub fn take_apart(&self, after: u64) -> Option<Apart> {
        self.with(|seen| seen.apart.take_if(|apart| apart.height <= after))
    }

    /// Forgets what was served: some of it was false.
    pub fn forget(&self) {
        self.with(|seen| {
            seen.served.clear();
            seen.compared.clear();
            seen.apart = None;
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["a", "b", "c"];

    fn hash(byte: u8) -> Hash32 {
        Hash32([byte; 32])
    }

    fn apart(endpoint: &str, height: u64) -> Option<Apart> {
        Some(Apart { endpoint: endpoint.to_owned(), height })
    }

    #[test]
    fn each_of_the_others_is_asked_once_a_height() {
        let lookout = Lookout::default();
        lookout.served("b", [(6, hash(6)), (7, hash(7))]);
        assert_eq!(lookout.next(6, NODES), Some(("a", 7)));
        assert_eq!(lookout.next(6, NODES), None, "it is being asked");
        lookout.showed("a", Some((7, hash(7))));
        assert_eq!(lookout.next(7, NODES), Some(("c", 7)));
        lookout.showed("c", None);
        assert_eq!(lookout.next(7, NODES), None, "all have been");
        assert_eq!(lookout.take_apart(9), None);
        lookout.served("a", [(8, hash(8))]);
        assert_eq!(lookout.next(7, NODES), Some(("b", 8)));
    }

    #[test]
    fn another_header_is_looked_at_by_who_trusts_it_or_a_later_one() {
        let lookout = Lookout::default();
        lookout.served("a", [(6, hash(6)), (7, hash(7))]);
        assert_eq!(lookout.next(7, NODES), Some(("b", 7)));
        // It is behind, and on a branch of its own.
        lookout.showed("b", Some((6, hash(0xee))));
        assert_eq!(lookout.take_apart(5), None, "that would be a gap");
        assert_eq!(lookout.take_apart(7), apart("b", 6));
        assert_eq!(lookout.take_apart(7), None);
        lookout.next(7, NODES);
        lookout.showed("a", Some((3, hash(0xee))));
        assert_eq!(lookout.take_apart(7), None, "nothing was served there");
    }

    #[test]
    fn on_a_chain_that_stands_still_both_branches_are_looked_at() {
        let lookout = Lookout::default();
        assert_eq!(lookout.next(5, ["fork", "good"]), Some(("fork", 5)));
        lookout.showed("fork", Some((5, hash(0xee))));
        assert_eq!(lookout.take_apart(5), None, "there is nothing to compare with");
        assert_eq!(lookout.next(5, ["fork", "good"]), Some(("good", 5)));
        lookout.showed("good", Some((5, hash(5))));
        assert_eq!(lookout.take_apart(5), apart("good", 5), "the light client knows that it is its own");
        assert_eq!(lookout.next(5, ["fork", "good"]), Some(("fork", 5)));
        lookout.showed("fork", Some((5, hash(0xee))));
        assert_eq!(lookout.take_apart(5), apart("fork", 5));
        lookout.forget();
        assert_eq!(lookout.next(5, ["fork", "good"]), Some(("fork", 5)));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let lookout = Lookout::default();
        lookout.served("a", (0..200).map(|height| (height, hash(1))));
        lookout.next(199, NODES);
        lookout.showed("b", Some((135, hash(2))));
        assert_eq!(lookout.take_apart(200), None);
        lookout.next(199, NODES);
        lookout.showed("c", Some((136, hash(2))));
        assert_eq!(lookout.take_apart(200), apart("c", 136));
    }
}
