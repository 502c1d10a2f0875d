//! Reading the chain through its nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cityrelay_api::client::{from_opaque, to_opaque};
use cityrelay_api::source::{
    AnchorAnswer, Confirmation, EndpointHealth, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError,
    ServedUpdate, Source,
};
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
use tokio::task::JoinSet;

use super::anchors;
use super::confirm;
use super::endpoint::Endpoint;
use super::event_index::{EventIndex, Means, has_no_filter};
use super::pool::{Pool, first_answer};
use super::proofs::{self, Wanted};
use super::set_evidence;
use crate::NAME;
use crate::codec::header::BlockHeader;
use crate::verify::checkpoint::CheckpointProof;
use crate::verify::client::FiscoClient;
use crate::verify::sealer_set::SealerSet;
use crate::verify::update::{ChainUpdate, MAX_UPDATE_HEADERS, UpdateHeader};

/// How long slower nodes are waited for once one has answered with its height.
const GRACE: Duration = Duration::from_millis(300);

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
    /// The set that the last served header listed, so that the next update need not ask for that header again.
    last_set: Mutex<Option<(u64, Hash32)>>,
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
        Self { client, pool, indexes: Mutex::default(), last_set: Mutex::default() }
    }

    async fn update_from(&self, endpoint: &Endpoint, after: u64, max: u64) -> Result<Option<ChainUpdate>, NodeError> {
        let tip = endpoint.block_number().await?;
        let to = tip.min(after.saturating_add(max));
        if to <= after {
            return Ok(None);
        }
        let suite = self.client.suite;
        let digest = |header: &BlockHeader| SealerSet::of_header(header).ok().map(|set| set.digest(suite));
        let remembered = *self.last_set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = match remembered.filter(|(height, _)| *height == after) {
            Some((_, digest)) => Some(digest),
            // A node that pruned it can't tell whether the next header lists another set; the client will.
            None => endpoint.header(after).await.ok().and_then(|sealed| digest(&sealed.header)),
        };
        let mut headers = Vec::new();
        let mut size = 0;
        for sealed in endpoint.headers(after + 1, to).await? {
            let number = sealed.header.number;
            let listed = digest(&sealed.header);
            let is_change = before.is_some() && listed != before;
            // Evidence helps, and is never needed: without it the statement alone decides.
            let evidence = match is_change {
                true => set_evidence::find(endpoint, suite, number - 1).await.unwrap_or_default(),
                false => None,
            };
            let item = UpdateHeader { sealed, skips_parent: false, evidence };
            size += ChainUpdate { headers: vec![item.clone()] }.encode().len();
            if size > MAX_UPDATE_BYTES && !headers.is_empty() {
                break;
            }
            headers.push(item);
            before = listed;
        }
        if let (Some(last), Some(digest)) = (headers.last(), before) {
            let remembered = Some((last.sealed.header.number, digest));
            *self.last_set.lock().unwrap_or_else(PoisonError::into_inner) = remembered;
        }
        Ok((!headers.is_empty()).then_some(ChainUpdate { headers }))
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
            let is_found = |index: &EventIndex| index.newest_first(oldest, newest).any(|(_, seen)| fits(&seen.event));
            match index.extend(endpoint, gateway, means, oldest, newest, is_found).await {
                Err(error) if means == Means::Filter && has_no_filter(&error) => continue,
                result => result?,
            }
            let found: Vec<(u64, Hash32)> = index
                .newest_first(oldest, newest)
                .filter(|(_, seen)| fits(&seen.event))
                .take(MAX_TRIED_CHECKPOINTS)
                .map(|(height, seen)| (height, seen.transaction))
                .collect();
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
        drop(index);
        entries.reverse();
        entries.sort_by_key(Entry::index);
        entries.dedup();
        Ok(entries)
    }
}

/// Of all answers that come in time the furthest one: a node that lags, or hides something, hides it from nobody.
async fn furthest<T: 'static>(
    mut asked: JoinSet<Result<T, NodeError>>,
    place: impl Fn(&T) -> u64,
) -> Result<T, NodeError> {
    let mut best: Option<T> = None;
    let mut last = Pool::nobody();
    let mut deadline: Option<Instant> = None;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let next = match left {
            None => asked.join_next().await,
            Some(left) => tokio::time::timeout(left, asked.join_next()).await.unwrap_or_default(),
        };
        match next {
            None => break,
            Some(Ok(Ok(answer))) => {
                if best.as_ref().is_none_or(|best| place(best) < place(&answer)) {
                    best = Some(answer);
                }
                deadline = deadline.or_else(|| Some(Instant::now() + GRACE));
            }
            Some(Ok(Err(error))) => last = error,
            Some(Err(_)) => {}
        }
    }
    best.ok_or(last)
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
        let mut asked = JoinSet::new();
        for endpoint in self.pool.ranked() {
            asked.spawn(async move { endpoint.block_number().await });
        }
        furthest(asked, |height| *height).await.map(Height)
    }

    async fn next_update(&self, after: Height, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError> {
        let max = u64::from(max_headers).clamp(1, u64::try_from(MAX_UPDATE_HEADERS).unwrap_or(u64::MAX));
        let mut is_current = false;
        let mut last = Pool::nobody();
        for endpoint in self.pool.ranked() {
            match self.update_from(&endpoint, after.0, max).await {
                Ok(Some(update)) => {
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

    async fn head_hint(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        let to = short(gateway)?;
        let mut asked = JoinSet::new();
        for endpoint in self.pool.usable() {
            asked.spawn(async move { hint_from(&endpoint, to, flow).await });
        }
        furthest(asked, |point: &ChainPoint| point.index.0).await
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

    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer> {
        anchors::ask(self.pool.all(), self.client.suite, at).await
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.standing()
    }

    fn report_lie(&self, endpoint: &str, check: &'static str) {
        *self.last_set.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.pool.report_lie(endpoint, check);
    }
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
