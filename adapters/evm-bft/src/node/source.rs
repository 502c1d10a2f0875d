//! Reading the chain.

use std::sync::Arc;

use async_trait::async_trait;
use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::lookout::Lookout;
use cityrelay_api::source::{
    AnchorAnswer, Confirmation, EndpointHealth, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError,
    ServedUpdate, Source,
};
use cityrelay_api::turns::{GRACE, Turns, furthest};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::ids::{Address, Height, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{LightClient, SetStatement};
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use futures_util::future::join_all;
use tokio::time::sleep;

use super::heads::Heads;
use super::pool::{Pool, no_node};
use super::{anchors, events, head_proof, updates};
use crate::ADAPTER;
use crate::verify::client::Client;
use crate::verify::head::HeadProof;
use crate::verify::set::ValidatorSet;

/// Read access through a pool of endpoints.
#[derive(Debug)]
pub(crate) struct EvmSource {
    pub(super) pool: Arc<Pool>,
    pub(super) client: Client,
    pub(super) heads: Heads,
    pub(super) turns: Turns,
    pub(super) lookout: Arc<Lookout>,
}

impl EvmSource {
    /// Asks another node for one header, beside everything else.
    fn look_out(&self, after: u64) {
        let asked = self.lookout.ask(after, &self.pool.usable(), |endpoint, at| async move {
            updates::newest_below(&endpoint, at).await.ok().flatten()
        });
        asked.map(tokio::spawn);
    }

    async fn served(&self, after: u64, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError> {
        let rules = self.client.rules();
        let mut last = None;
        let mut has_answered = false;
        let mut endpoints = self.pool.ranked(false);
        let usable = endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
        self.turns.take(after, &mut endpoints, usable);
        for endpoint in endpoints {
            // One that was paused may still be the only one that is ahead, so it is asked too, but last.
            match updates::fetch(&endpoint, rules, after, max_headers).await {
                Ok(Some(update)) => {
                    let first = if after > 0 { after } else { 1 };
                    self.lookout.served(&endpoint.name, (first..).zip(update.items.iter().map(|item| item.hash)));
                    let update = to_opaque(ADAPTER, &update);
                    return Ok(Some(ServedUpdate { update, endpoint: endpoint.name.clone() }));
                }
                Ok(None) => has_answered = true,
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if !has_answered => Err(error),
            None if !has_answered => Err(no_node()),
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Source for EvmSource {
    async fn tip(&self) -> Result<Height, NodeError> {
        let endpoints = self.pool.usable();
        let asked = endpoints.iter().map(|endpoint| endpoint.height());
        let height = furthest(asked, |height| *height, || sleep(GRACE)).await;
        height.map(Height).map_err(|error| error.unwrap_or_else(no_node))
    }

    async fn news(&self) {
        self.heads.next().await;
    }

    async fn next_update(&self, after: Height, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError> {
        let served = self.served(after.0, max_headers).await;
        self.look_out(after.0);
        served
    }

    async fn other_branch(&self, after: Height, max_headers: u32) -> Option<ServedUpdate> {
        let apart = self.lookout.take_apart(after.0)?;
        let endpoint = self.pool.all().iter().find(|endpoint| endpoint.name == apart.endpoint)?;
        let branch = updates::branch(endpoint, self.client.rules(), apart.height, max_headers).await.ok()??;
        Some(ServedUpdate { update: to_opaque(ADAPTER, &branch), endpoint: apart.endpoint })
    }

    /// The furthest point that any usable node names: one that holds back what happened costs nothing then.
    async fn head_hint(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        let endpoints = self.pool.usable();
        let asked = endpoints.iter().map(|endpoint| endpoint.point(gateway, flow.lane, None));
        let point = furthest(asked, |point| point.index, || sleep(GRACE)).await;
        point.map_err(|error| error.map_or_else(no_node, NodeError::from))
    }

    async fn head_proof(&self, request: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError> {
        let mut other = None;
        let mut last = None;
        for endpoint in self.pool.usable() {
            match head_proof::fetch(&endpoint, request).await {
                Ok(proof @ HeadProofAnswer::Proof { .. }) => return Ok(proof),
                // Another node may know more; that a checkpoint is needed says more than that nothing is new.
                Ok(answer @ HeadProofAnswer::NeedsCheckpoint) => other = Some(answer),
                Ok(answer) => other = other.or(Some(answer)),
                Err(error) => last = Some(error),
            }
        }
        other.ok_or_else(|| last.unwrap_or_else(no_node))
    }

    async fn entry_hints(&self, request: &EntryRequest) -> Result<Vec<Entry>, NodeError> {
        let mut found = events::Candidates::default();
        let mut has_answered = false;
        let mut last = None;
        for endpoint in self.pool.usable() {
            match events::fetch(&endpoint, request, &mut found).await {
                Ok(()) => has_answered = true,
                Err(error) => last = Some(error),
            }
            if found.covers(request) {
                break;
            }
        }
        match last {
            Some(error) if !has_answered => Err(error),
            None if !has_answered => Err(no_node()),
            _ => Ok(found.into_entries()),
        }
    }

    async fn confirm_extension(
        &self,
        header: &VerifiedHeader,
        gateway: Address,
        extension: &VerifiedExtension,
        proof: &Opaque,
    ) -> Result<Confirmation, NodeError> {
        let proof: HeadProof = from_opaque(ADAPTER, proof)?;
        let flow = extension.flow();
        let proved = self.client.verify_head(header.header(), &proof, gateway, flow)?;
        let asked = self.pool.own().into_iter().map(|endpoint| async move {
            let height = header.height().0;
            let Ok(block) = endpoint.block(height, false).await else { return Confirmation::NotYet };
            if block.is_null() {
                return Confirmation::NotYet;
            }
            match endpoint.read_header(height, &block) {
                Ok((_, hash)) if hash == header.hash() => {}
                Ok(_) => return Confirmation::Disagrees,
                Err(_) => return Confirmation::NotYet,
            }
            match endpoint.point(gateway, flow.lane, Some(height)).await {
                Ok(point) if point == proved => Confirmation::Agrees,
                Ok(_) => Confirmation::Disagrees,
                Err(_) => Confirmation::NotYet,
            }
        });
        Ok(combine(join_all(asked).await))
    }

    async fn confirm_header(&self, header: &VerifiedHeader) -> Vec<NodeStatement> {
        let height = header.height().0;
        let asked = self.pool.own().into_iter().map(|endpoint| async move {
            let block = endpoint.block(height, false).await.ok().filter(|block| !block.is_null());
            let hash = block.and_then(|block| endpoint.read_header(height, &block).ok()).map(|(_, hash)| hash);
            NodeStatement { node: endpoint.name.clone(), hash }
        });
        join_all(asked).await
    }

    async fn confirm_set(&self, statement: &SetStatement) -> Result<Confirmation, NodeError> {
        let asked = self.pool.own().into_iter().map(|endpoint| async move {
            let before = statement.height.0.saturating_sub(1);
            let Ok(Some(accounts)) = endpoint.validators_after(before).await else { return Confirmation::NotYet };
            match ValidatorSet::of_accounts(&accounts) {
                Ok(set) if set.digest() == statement.digest => Confirmation::Agrees,
                _ => Confirmation::Disagrees,
            }
        });
        Ok(combine(join_all(asked).await))
    }

    /// `txpool_status` (go-ethereum, GoQuorum, Edge) or `txpool_besuStatistics` (Besu); nodes offer them only where their
    /// operator opened that part of the API.
    async fn pending(&self) -> Result<Option<u64>, NodeError> {
        let mut last = None;
        for endpoint in self.pool.usable() {
            match endpoint.pool_size().await {
                Ok(size) => return Ok(size),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_node))
    }

    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer> {
        anchors::ask(self.pool.all(), self.client.rules(), at).await
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }

    fn report_lie(&self, endpoint: &str, check: &'static str) {
        self.lookout.forget();
        self.pool.report_lie(endpoint, check);
    }
}

/// One that disagrees outweighs all others; then one that agrees.
fn combine(answers: Vec<Confirmation>) -> Confirmation {
    if answers.is_empty() {
        return Confirmation::NoOwnNode;
    }
    let has = |wanted| answers.contains(&wanted);
    if has(Confirmation::Disagrees) {
        Confirmation::Disagrees
    } else if has(Confirmation::Agrees) {
        Confirmation::Agrees
    } else {
        Confirmation::NotYet
    }
}

/// Whether a point has reached an index.
pub(super) fn reaches(point: ChainPoint, at_least: Index) -> bool {
    point.index >= at_least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_own_node_that_disagrees_is_enough() {
        use Confirmation::{Agrees, Disagrees, NoOwnNode, NotYet};
        assert_eq!(combine(vec![]), NoOwnNode);
        assert_eq!(combine(vec![NotYet, Agrees]), Agrees);
        assert_eq!(combine(vec![Agrees, Disagrees, NotYet]), Disagrees);
        assert_eq!(combine(vec![NotYet]), NotYet);
    }
}
