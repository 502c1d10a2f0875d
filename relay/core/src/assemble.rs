//! From hints to a claim: which of the entries that events showed lie on the proved chain.

use std::collections::BTreeMap;

use crate::chain::{ChainPoint, Entry};
use crate::hash::Hash32;
use crate::ids::Index;
use crate::lane::Flow;

/// The most partial chains that are followed at once where events show several entries for one index.
const MAX_BRANCHES: usize = 64;

/// How much of a chain is taken in full; the rest is named by its links.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Most entries.
    pub max_entries: usize,
    /// Most payload bytes. The first entry is taken whatever its size.
    pub max_bytes: usize,
    /// Most gas that the messages may ask for together. The first entry is taken whatever it asks for.
    pub max_gas: u64,
}

/// Why hints make no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// No event showed this entry. Ask another node.
    #[error("no node showed entry {index}, which lies before the proved head")]
    Missing {
        /// The index.
        index: Index,
    },
    /// The events don't add up to the proved head. A node showed something false.
    #[error("the entries shown up to {index} do not lead to the proved head")]
    Mismatch {
        /// The proved index.
        index: Index,
    },
}

/// Picks the entries in `(base, proved]` that chain from `base` to `proved`, and cuts them.
///
/// `hints` may hold several entries for an index (a chain may keep events of calls that were reverted) and entries
/// outside the range. Gives the entries to take in full and the links of those after them.
///
/// # Errors
/// [`AssembleError`] when no choice of hints leads to the proved head.
pub fn assemble(
    flow: Flow,
    base: ChainPoint,
    proved: ChainPoint,
    hints: Vec<Entry>,
    cut: Cut,
) -> Result<(Vec<Entry>, Vec<Hash32>), AssembleError> {
    let mut candidates: BTreeMap<Index, Vec<(Hash32, Entry)>> = BTreeMap::new();
    for entry in hints {
        let index = entry.index();
        if entry.direction() != flow.direction || index <= base.index || index > proved.index {
            continue;
        }
        let link = entry.link(flow);
        let known = candidates.entry(index).or_default();
        if known.iter().all(|(other, _)| *other != link) {
            known.push((link, entry));
        }
    }
    let chosen = choose(flow, base, proved, &candidates)?;
    let mut entries = Vec::new();
    let mut tail = Vec::new();
    let (mut bytes, mut gas) = (0_usize, 0_u64);
    for (index, link) in chosen {
        let entry = candidates.get_mut(&index).and_then(|known| {
            let at = known.iter().position(|(other, _)| *other == link)?;
            Some(known.swap_remove(at).1)
        });
        let Some(entry) = entry else { return Err(AssembleError::Missing { index }) };
        if let Entry::Message(message) = &entry {
            bytes = bytes.saturating_add(message.payload.len());
            gas = gas.saturating_add(message.gas_limit);
        }
        let fits = entries.len() < cut.max_entries && bytes <= cut.max_bytes && gas <= cut.max_gas;
        if tail.is_empty() && (fits || entries.is_empty()) {
            entries.push(entry);
        } else {
            tail.push(link);
        }
    }
    Ok((entries, tail))
}

/// One link per index, such that the chain ends in the proved head.
fn choose(
    flow: Flow,
    base: ChainPoint,
    proved: ChainPoint,
    candidates: &BTreeMap<Index, Vec<(Hash32, Entry)>>,
) -> Result<Vec<(Index, Hash32)>, AssembleError> {
    // Each step keeps its links in an arena with the position of the step before, so that branches share their past.
    let mut arena: Vec<(Index, Hash32, Option<usize>)> = Vec::new();
    let mut branches: Vec<(ChainPoint, Option<usize>)> = vec![(base, None)];
    let mut index = base.index;
    while index < proved.index {
        index = index.next();
        let known = candidates.get(&index).ok_or(AssembleError::Missing { index })?;
        let mut next = Vec::with_capacity(branches.len());
        for (point, past) in &branches {
            for (link, _) in known {
                if next.len() < MAX_BRANCHES {
                    arena.push((index, *link, *past));
                    next.push((point.extended(flow.direction, *link), Some(arena.len() - 1)));
                }
            }
        }
        branches = next;
    }
    let end = branches.into_iter().find(|(point, _)| *point == proved);
    let Some((_, mut step)) = end else { return Err(AssembleError::Mismatch { index: proved.index }) };
    let mut chosen = Vec::new();
    while let Some((index, link, past)) = step.and_then(|at| arena.get(at)) {
        chosen.push((*index, *link));
        step = *past;
    }
    chosen.reverse();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::keccak256;
    use crate::ids::{Address, LaneId, UnixMillis};
    use crate::lane::Direction;
    use crate::message::{Message, Payload};

    const CUT: Cut = Cut { max_entries: 100, max_bytes: 1 << 20, max_gas: u64::MAX };

    fn flow() -> Flow {
        Flow { lane: LaneId(keccak256(b"lane")), direction: Direction::Outbox }
    }

    fn entry(index: u64, payload: &[u8]) -> Entry {
        Entry::Message(Message {
            index: Index(index),
            sender: Address::from_20([1; 20]),
            receiver: Address::from_20([2; 20]),
            deadline: UnixMillis(1),
            gas_limit: 10,
            payload: Payload::Bytes(payload.to_vec()),
        })
    }

    fn chain(entries: &[Entry]) -> ChainPoint {
        entries
            .iter()
            .fold(ChainPoint::start(flow()), |point, entry| point.extended(Direction::Outbox, entry.link(flow())))
    }

    #[test]
    fn the_true_entries_are_picked_among_false_ones() {
        let real: Vec<_> = (1..=5).map(|n| entry(n, b"real")).collect();
        let mut hints: Vec<_> = (1..=5).map(|n| entry(n, b"reverted")).collect();
        hints.extend(real.clone());
        let picked = assemble(flow(), ChainPoint::start(flow()), chain(&real), hints, CUT).unwrap();
        assert_eq!(picked, (real, vec![]));
    }

    #[test]
    fn a_missing_entry_is_named() {
        let real: Vec<_> = (1..=3).map(|n| entry(n, b"x")).collect();
        let hints = vec![real[0].clone(), real[2].clone()];
        let result = assemble(flow(), ChainPoint::start(flow()), chain(&real), hints, CUT);
        assert_eq!(result, Err(AssembleError::Missing { index: Index(2) }));
    }

    #[test]
    fn entries_that_lead_elsewhere_are_a_mismatch() {
        let real: Vec<_> = (1..=3).map(|n| entry(n, b"x")).collect();
        let hints: Vec<_> = (1..=3).map(|n| entry(n, b"y")).collect();
        let result = assemble(flow(), ChainPoint::start(flow()), chain(&real), hints, CUT);
        assert_eq!(result, Err(AssembleError::Mismatch { index: Index(3) }));
    }

    #[test]
    fn what_is_too_much_becomes_the_tail_but_the_first_entry_always_goes() {
        let real: Vec<_> = (1..=4).map(|n| entry(n, &[0; 100])).collect();
        let links: Vec<_> = real.iter().map(|entry| entry.link(flow())).collect();
        for (cut, taken) in [
            (Cut { max_entries: 2, ..CUT }, 2),
            (Cut { max_bytes: 350, ..CUT }, 3),
            (Cut { max_bytes: 10, ..CUT }, 1),
            (Cut { max_gas: 25, ..CUT }, 2),
        ] {
            let (entries, tail) = assemble(flow(), ChainPoint::start(flow()), chain(&real), real.clone(), cut).unwrap();
            assert_eq!(entries, real[..taken], "{cut:?}");
            assert_eq!(tail, links[taken..], "{cut:?}");
        }
    }
}
