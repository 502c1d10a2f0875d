//! The journal against one chain.
//!
//! Of each lane a chain holds two points: the head of the flow that it keeps, and how far it has taken the other flow in.
//! They differ from the journal when
//! 1. the journal holds another head at the same index;
//! 2. the journal holds entries that were proved at a height which the chain has reached, and the chain has fewer;
//! 3. the journal says that the chain took more in than it says itself.
//!
//! That the chain is ahead of the journal is no difference, and nodes that show less of the chain than they did before
//! are not compared with: they only lag. One that lies can look like a difference for a moment.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_journal::{FlowCounts, Journal, JournalError};
use tracing::warn;

use super::asked;
use crate::run::plan::Handles;

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Audit {
    /// Flows that differ.
    pub differences: BTreeSet<Flow>,
    /// Whether everything that this chain holds was read.
    pub is_complete: bool,
}

/// A point as a chain says it.
#[derive(Clone, Copy, Debug)]
struct Said {
    flow: Flow,
    point: ChainPoint,
    /// Whether the chain keeps the flow, or takes it in.
    is_kept: bool,
}

/// Compares the journal with the chain, whose nodes have shown `reached` before; `None` when nothing could be compared.
pub(super) async fn audit(handles: &Handles, journal: &Journal, domain: Domain, reached: &mut Height) -> Option<Audit> {
    let chain = handles.chains.get(&domain)?;
    // In this order: what the journal holds, then how high the chain is, then what it holds.
    let reading = journal.clone();
    let counts = match tokio::task::spawn_blocking(move || reading.flows()).await {
        Ok(Ok(counts)) => counts.into_iter().map(|counts| (counts.flow, counts)).collect::<BTreeMap<_, _>>(),
        Ok(Err(error)) => return unreadable(&error),
        Err(_) => return None,
    };
    let mut is_complete = true;
    let mut tip = None;
    if let Some(source) = &chain.source {
        tip = asked(&chain.name, "tip", source.tip()).await;
        is_complete &= tip.is_some();
    }
    if tip.is_some_and(|tip| tip < *reached) {
        return None;
    }
    *reached = tip.unwrap_or(*reached);
    let mut said = Vec::new();
    for (lane, identity) in &handles.lanes {
        for direction in [Direction::Outbox, Direction::Inbox] {
            let flow = Flow { lane: *lane, direction };
            let (origin, target_at) = (identity.origin(direction), identity.target(direction));
            if let Some(source) = chain.source.as_ref().filter(|_| origin.domain == domain) {
                let point = asked(&chain.name, "head", source.head_hint(origin.gateway, flow)).await;
                said.extend(point.map(|point| Said { flow, point, is_kept: true }));
                is_complete &= point.is_some();
            }
            if let Some(target) = chain.target.as_ref().filter(|_| target_at.domain == domain) {
                let point = asked(&chain.name, "accepted point", target.accepted(target_at.gateway, flow)).await;
                said.extend(point.map(|point| Said { flow, point, is_kept: false }));
                is_complete &= point.is_some();
            }
        }
    }
    let journal = journal.clone();
    match tokio::task::spawn_blocking(move || compare(&journal, &counts, tip, &said)).await {
        Ok(Ok(differences)) => Some(Audit { differences, is_complete }),
        Ok(Err(error)) => unreadable(&error),
        Err(_) => None,
    }
}

fn unreadable(error: &JournalError) -> Option<Audit> {
    warn!(%error, "the journal can't be read to compare it with a chain");
    None
}

fn compare(
    journal: &Journal,
    counts: &BTreeMap<Flow, FlowCounts>,
    tip: Option<Height>,
    said: &[Said],
) -> Result<BTreeSet<Flow>, JournalError> {
    let mut differences = BTreeSet::new();
    for Said { flow, point, is_kept } in said {
        let Some(counts) = counts.get(flow) else { continue };
        let held = journal.point(*flow, point.index)?;
        let has_other_head = held.is_some_and(|held| held != *point);
        let has_more = if *is_kept {
            counts.tip.index > point.index && {
                let proved_at = journal.timeline(*flow, counts.tip.index)?.map(|timeline| timeline.proved_at);
                proved_at.is_some_and(|proved_at| tip.is_some_and(|tip| tip >= proved_at))
            }
        } else {
            counts.done.index > point.index
        };
        if has_other_head || has_more {
            differences.insert(*flow);
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cityrelay_api::adapter::Adapter as _;
    use cityrelay_core::hash::Hash32;

    use super::*;
    use crate::fake_chain::FAKE;
    use crate::run::plan::ChainHandles;

    #[tokio::test]
    async fn nodes_that_show_less_than_before_are_not_compared_with() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), cityrelay_journal::Options::default()).unwrap();
        let domain = Domain::derive("north", Hash32::ZERO);
        let chain = FAKE.configure(&serde_json::json!({"chain_id": 1}), Path::new("")).unwrap();
        let source = chain.source();
        let tip = source.tip().await.unwrap();
        let chain = ChainHandles {
            name: "north".to_owned(),
            client: chain.client(),
            source: Some(source),
            target: None,
            inspect: chain.inspect(),
            longest_silence: None,
        };
        let handles = Handles { chains: [(domain, chain)].into(), lanes: BTreeMap::new(), peers: BTreeMap::new() };
        let mut reached = Height(0);
        let compared = audit(&handles, &journal, domain, &mut reached).await;
        assert_eq!(compared, Some(Audit { differences: BTreeSet::new(), is_complete: true }));
        assert_eq!(reached, tip);
        reached = Height(tip.0 + 1);
        assert_eq!(audit(&handles, &journal, domain, &mut reached).await, None);
        assert_eq!(reached, Height(tip.0 + 1), "what was shown once is not forgotten");
    }
}
