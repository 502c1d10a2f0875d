//! Reading the chain through its nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::lookout::Lookout;
use cityrelay_api::source::{
    AnchorAnswer, Confirmation, EndpointHealth, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError,
    ServedUpdate, Source,
};
use cityrelay_api::turns::{GRACE, Turns, furthest};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Height, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{AdapterValue, Refusal, SetStatement};
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use cityrelay_gateway::event::GatewayEvent;
use cityrelay_gateway::query;
use futures_util::future::{join, join_all};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ailment;
use super::anchors;
use super::confirm;
use super::endpoint::Endpoint;
use super::event_index::{EventIndex, Means};
use super::pool::{Pool, first_answer};
use super::proofs::{self, Wanted};
use super::set_evidence;
use crate::NAME;
use crate::codec::header::BlockHeader;
use crate::verify::checkpoint::CheckpointProof;
use crate::verify::client::FiscoClient;
use crate::verify::sealer_set::SealerSet;
use crate::verify::update::{ChainUpdate, MAX_UPDATE_HEADERS, UpdateHeader};

/// Bytes of one update at which it is cut: half of what an opaque value may have.
const MAX_UPDATE_BYTES: usize = 8 << 20;

/// Checkpoints that are tried for one proof: applications may call the function in forms of their own.
const MAX_TRIED_CHECKPOINTS: usize = 16;

/// Access to one chain.
#[derive(Debug)]
pub(super) struct FiscoSource {
    client: FiscoClient,
    pool: Arc<Pool>,
    indexes: Mutex<HashMap<IndexKey, Arc<tokio::sync::Mutex<EventIndex>>>>,
    turns: Turns,
    lookout: Arc<Lookout>,
}

/// What a node shows is remembered for each node apart: one that hides events must not spoil the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct IndexKey {
    endpoint: String,
    gateway: [u8; 20],
    by_receipts: bool,
}

impl FiscoSource {
    pub fn new(client: FiscoClient, pool: Arc<Pool>) -> Self {
        Self { client, pool, indexes: Mutex::default(), turns: Turns::default(), lookout: Arc::default() }
    }

    /// The headers that follow height `after`, as far as this endpoint has them, or `None` when it has none. Before them
    /// comes the one at `after` itself: where it is not the one that is trusted, the client sees a fork.
    async fn update_from(&self, endpoint: &Endpoint, after: u64, max: u64) -> Result<Option<ChainUpdate>, NodeError> {
        let tip = endpoint.block_number().await?;
        let to = tip.min(after.saturating_add(max));
        if to <= after {
            return Ok(None);
        }
        let (update, overlap) = self.headers_from(endpoint, after, to).await?;
        Ok((update.headers.len() > overlap).then_some(update))
    }

    /// The header at `after` as far as this endpoint has it, and those that follow it up to `to`; and how many of them are at
    /// `after`.
    async fn headers_from(&self, endpoint: &Endpoint, after: u64, to: u64) -> Result<(ChainUpdate, usize), NodeError> {
        let suite = self.client.suite;
        let digest = |header: &BlockHeader| SealerSet::of_header(header).ok().map(|set| set.digest(suite));
        let item = |sealed, evidence| UpdateHeader { sealed, skips_parent: false, evidence };
        // A node that pruned it can't tell whether the next header lists another set; the client will.
        let (known, fresh) = join(endpoint.header(after), endpoint.headers(after + 1, to)).await;
        let known = known.ok();
        let mut before = known.as_ref().and_then(|known| digest(&known.header));
        // Block 0 has no signatures: there is no second one to be found.
        let mut headers: Vec<_> = known.filter(|_| after > 0).map(|known| item(known, None)).into_iter().collect();
        let overlap = headers.len();
        let mut size = 0;
        for sealed in fresh? {
            let number = sealed.header.number;
            let listed = digest(&sealed.header);
            let is_change = before.is_some() && listed != before;
            let evidence = match is_change {
                true => match set_evidence::find(endpoint, suite, number - 1).await {
                    Err(error @ NodeError::Unreachable { .. }) => return Err(error),
                    // A node that has no such block any more can't help; the client decides what is enough.
                    found => found.unwrap_or_default(),
                },
                false => None,
            };
            let item = item(sealed, evidence);
            size += ChainUpdate { headers: vec![item.clone()] }.encode().len();
            if size > MAX_UPDATE_BYTES && headers.len() > overlap {
                break;
            }
            headers.push(item);
            before = listed;
        }
        Ok((ChainUpdate { headers }, overlap))
    }

    /// Asks another node for one header, beside everything else.
    fn look_out(&self, after: u64) {
        let suite = self.client.suite;
        let asked = self.lookout.ask(after, &self.pool.usable(), move |endpoint, at| async move {
            confirm::newest_below(&endpoint, suite, at).await.ok()
        });
        asked.map(tokio::spawn);
    }

    async fn served(&self, after: u64, max: u64) -> Result<Option<ServedUpdate>, NodeError> {
        let mut is_current = false;
        let mut last = Pool::nobody();
        let (mut endpoints, usable) = self.pool.ranked_and_usable();
        self.turns.take(after, &mut endpoints, usable);
        for endpoint in endpoints {
            match self.update_from(&endpoint, after, max).await {
                Ok(Some(update)) => {
                    let shown = update.headers.iter().map(|item| (item.sealed.header.number, item.sealed.claimed_hash));
                    self.lookout.served(&endpoint.name, shown);
                    let update = to_opaque(NAME, &update);
                    return Ok(Some(ServedUpdate { update, endpoint: endpoint.name.clone() }));
                }
                // Another node may be further on.
                Ok(None) => is_current = true,
                Err(error) => last = error,
            }
        }
        if is_current { Ok(None) } else { Err(last) }
    }

    /// The index of one endpoint and gateway, by log filter or by receipts.
    fn index(&self, endpoint: &Endpoint, gateway: [u8; 20], means: Means) -> Arc<tokio::sync::Mutex<EventIndex>> {
        let key = IndexKey { endpoint: endpoint.name.clone(), gateway, by_receipts: means == Means::Receipts };
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(indexes.entry(key).or_default())
    }

    async fn proof_from(
        &self,
        endpoint: &Endpoint,
        gateway: [u8; 20],
        request: &HeadProofRequest,
    ) -> Result<Option<HeadProofAnswer>, NodeError> {
        // What a lagging node doesn't have yet must not count as read.
        let (oldest, newest) = (request.oldest.0, request.newest.0.min(endpoint.block_number().await?));
        let fits = |event: &GatewayEvent| match event {
            GatewayEvent::Checkpoint { flow, point } => *flow == request.flow && point.index >= request.at_least,
            _ => false,
        };
        for means in [Means::Filter, Means::Receipts] {
            let index = self.index(endpoint, gateway, means);
            let mut index = index.lock().await;
            // Before an event of an older index there is no checkpoint that would fit: the walk costs what is outstanding,
            // however long the chain is.
            let is_older = |event: &GatewayEvent| {
                event.point().is_some_and(|(flow, point)| flow == request.flow && point.index < request.at_least)
            };
            let is_found = |index: &EventIndex| {
                index.newest_first(oldest, newest).any(|(_, seen)| fits(&seen.event) || is_older(&seen.event))
            };
            match index.extend(endpoint, gateway, means, oldest, newest, is_found).await {
                // Whatever the node has against the filter, its receipts may tell. One that is away tells nothing.
                Err(error) if means == Means::Filter && !matches!(error, NodeError::Unreachable { .. }) => continue,
                result => result?,
            }
            let found: Vec<(u64, Hash32)> = index
                .newest_first(oldest, newest)
                .filter(|(_, seen)| fits(&seen.event))
                .take(MAX_TRIED_CHECKPOINTS)
                .map(|(height, seen)| (height, seen.transaction))
                .collect();
            index.forget();
            drop(index);
            for (height, transaction) in found {
                let wanted = Wanted { height, transaction, gateway: request.gateway, flow: request.flow };
                if let Some((point, proof)) = proofs::build(endpoint, &self.client, wanted).await?
                    && point.index >= request.at_least
                {
                    return Ok(Some(HeadProofAnswer::Proof {
                        height: Height(height),
                        point,
                        proof: to_opaque(NAME, &proof),
                        endpoint: endpoint.name.clone(),
                    }));
                }
            }
        }
        if newest < request.newest.0 { Err(endpoint.lags(request.newest.0)) } else { Ok(None) }
    }

    async fn hints_from(
        &self,
        endpoint: &Endpoint,
        gateway: [u8; 20],
        request: &EntryRequest,
        means: Means,
    ) -> Result<Vec<Entry>, NodeError> {
        let newest = request.newest.0.min(endpoint.block_number().await?);
        let index = self.index(endpoint, gateway, means);
        let mut index = index.lock().await;
        let is_found = |index: &EventIndex| {
            let mut indexes = index.newest_first(0, newest).filter_map(|(_, seen)| index_of(&seen.event, request.flow));
            indexes.any(|index| index <= request.first)
        };
        index.extend(endpoint, gateway, means, 1, newest, is_found).await?;
        let mut entries: Vec<Entry> = index
            .newest_first(0, newest)
            .filter(|(_, seen)| {
                index_of(&seen.event, request.flow).is_some_and(|index| (request.first..=request.last).contains(&index))
            })
            .filter_map(|(_, seen)| entry_of(&seen.event))
            .collect();
        index.forget();
        drop(index);
        entries.reverse();
        entries.sort_by_key(Entry::index);
        entries.dedup();
        Ok(entries)
    }
}

async fn hint_from(endpoint: &Endpoint, gateway: [u8; 20], flow: Flow) -> Result<ChainPoint, NodeError> {
    let answer = endpoint.ask(gateway, &query::index(flow.lane)).await?;
    let index = query::decode_index(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))?;
    let answer = endpoint.ask(gateway, &query::head(flow.lane)).await?;
    let head = query::decode_head(&answer).map_err(|error| endpoint.malformed("call", error.to_string()))?;
    Ok(ChainPoint { index, head })
}

#[async_trait]
impl Source for FiscoSource {
    async fn tip(&self) -> Result<Height, NodeError> {
        let endpoints = self.pool.ranked();
        let asked = endpoints.iter().map(|endpoint| endpoint.block_number());
        let height = furthest(asked, |height| *height, || sleep(GRACE)).await;
        height.map(Height).map_err(|error| error.unwrap_or_else(Pool::nobody))
    }

    async fn next_update(&self, after: Height, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError> {
        let served = self.served(after.0, most_headers(max_headers)).await;
        self.look_out(after.0);
        served
    }

    async fn other_branch(&self, after: Height, max_headers: u32) -> Option<ServedUpdate> {
        let apart = self.lookout.take_apart(after.0)?;
        let endpoint = self.pool.all().iter().find(|endpoint| endpoint.name == apart.endpoint)?;
        let tip = endpoint.block_number().await.ok()?;
        let to = tip.min(apart.height.saturating_add(most_headers(max_headers)));
        let (branch, _) = self.headers_from(endpoint, apart.height, to).await.ok()?;
        let is_there = !branch.headers.is_empty();
        is_there.then(|| ServedUpdate { update: to_opaque(NAME, &branch), endpoint: apart.endpoint })
    }

    async fn head_hint(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        let to = short(gateway)?;
        let endpoints = self.pool.usable();
        let asked = endpoints.iter().map(|endpoint| hint_from(endpoint, to, flow));
        let point = furthest(asked, |point| point.index, || sleep(GRACE)).await;
        point.map_err(|error| error.unwrap_or_else(Pool::nobody))
    }

    async fn head_proof(&self, request: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError> {
        let gateway = short(request.gateway)?;
        if self.head_hint(request.gateway, request.flow).await?.index < request.at_least {
            return Ok(HeadProofAnswer::NothingNew);
        }
        let mut last = None;
        for endpoint in self.pool.ranked() {
            match self.proof_from(&endpoint, gateway, request).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => return Ok(HeadProofAnswer::NeedsCheckpoint),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(Pool::nobody))
    }

    async fn entry_hints(&self, request: &EntryRequest) -> Result<Vec<Entry>, NodeError> {
        let gateway = short(request.gateway)?;
        let wanted = usize::try_from(request.last.0.saturating_sub(request.first.0)).unwrap_or(usize::MAX);
        let mut best: Option<Vec<Entry>> = None;
        let mut last = None;
        for endpoint in self.pool.ranked() {
            for means in [Means::Filter, Means::Receipts] {
                match self.hints_from(&endpoint, gateway, request, means).await {
                    Ok(entries) if distinct(&entries) > wanted => return Ok(entries),
                    Ok(entries) => {
                        if best.as_ref().is_none_or(|best| distinct(best) < distinct(&entries)) {
                            best = Some(entries);
                        }
                    }
                    Err(error) => last = Some(error),
                }
            }
        }
        best.ok_or_else(|| last.unwrap_or_else(Pool::nobody))
    }

    async fn confirm_extension(
        &self,
        header: &VerifiedHeader,
        gateway: Address,
        extension: &VerifiedExtension,
        proof: &Opaque,
    ) -> Result<Confirmation, NodeError> {
        let proof: CheckpointProof = from_opaque(NAME, proof)?;
        let mut answers = Vec::new();
        for endpoint in self.pool.own() {
            let suite = self.client.suite;
            answers.push(confirm::extension(&endpoint, suite, header, gateway, extension, &proof).await);
        }
        Ok(confirm::combined(&answers))
    }

    async fn confirm_header(&self, header: &VerifiedHeader) -> Vec<NodeStatement> {
        let (suite, height) = (self.client.suite, header.height().0);
        let mut asked = JoinSet::new();
        for endpoint in self.pool.own() {
            asked.spawn(async move {
                let hash = confirm::hash_at(&endpoint, suite, height).await;
                NodeStatement { node: endpoint.name.clone(), hash }
            });
        }
        asked.join_all().await
    }

    async fn confirm_set(&self, statement: &SetStatement) -> Result<Confirmation, NodeError> {
        let mut answers = Vec::new();
        for endpoint in self.pool.own() {
            answers.push(confirm::set(&endpoint, self.client.suite, statement).await);
        }
        Ok(confirm::combined(&answers))
    }

    async fn pending(&self) -> Result<Option<u64>, NodeError> {
        Err(first_answer!(self.pool.ranked(), |endpoint| endpoint.pool_size().await.map(Some)))
    }

    async fn ailment(&self) -> Result<Option<String>, NodeError> {
        let endpoints = self.pool.usable();
        let asked = endpoints.iter().map(|endpoint| async { (endpoint.name.clone(), endpoint.ailment().await) });
        ailment::combined(join_all(asked).await, Pool::nobody())
    }

    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer> {
        anchors::ask(self.pool.all(), self.client.suite, at).await
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.standing()
    }

    fn report_lie(&self, endpoint: &str, check: &'static str) {
        self.lookout.forget();
        self.pool.report_lie(endpoint, check);
    }
}

/// How many headers an update may have beside the one that is trusted.
fn most_headers(wanted: u32) -> u64 {
    let most = u64::try_from(MAX_UPDATE_HEADERS).unwrap_or(u64::MAX).saturating_sub(1);
    u64::from(wanted).clamp(1, most)
}

/// The 20-byte form that this chain's contracts have.
pub(super) fn short(address: Address) -> Result<[u8; 20], NodeError> {
    address.to_20().ok_or_else(|| Refusal::new("gateway-address", "a 20-byte address", address).into())
}

fn distinct(entries: &[Entry]) -> usize {
    let mut indexes: Vec<Index> = entries.iter().map(Entry::index).collect();
    indexes.dedup();
    indexes.len()
}

/// The index of the entry of `flow` that an event tells about.
fn index_of(event: &GatewayEvent, flow: Flow) -> Option<Index> {
    let is_entry = matches!(event, GatewayEvent::MessageSent { .. } | GatewayEvent::MessageDelivered { .. });
    event.point().filter(|(of, _)| is_entry && *of == flow).map(|(_, point)| point.index)
}

/// The entry that an event tells about.
fn entry_of(event: &GatewayEvent) -> Option<Entry> {
    match event {
        GatewayEvent::MessageSent { message, .. } => Some(Entry::Message(message.clone())),
        GatewayEvent::MessageDelivered { outcome, .. } => Some(Entry::Outcome(*outcome)),
        _ => None,
    }
}
