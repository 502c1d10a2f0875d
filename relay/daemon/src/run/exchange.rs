//! Access to a chain that can be exchanged while everybody keeps their handle: another list of nodes takes effect with
//! the next question.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use cityrelay_api::inspect::{Ended, Inspect, NodeReport, TransactionCounts, UnsignedCall};
use cityrelay_api::source::{
    AnchorAnswer, Confirmation, EndpointHealth, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError,
    ServedUpdate, Source,
};
use cityrelay_api::target::{Fate, Fit, Funds, Intent, LaneState, Target, TargetError};
use cityrelay_core::attestation::Committee;
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use tokio::sync::Notify;

/// A handle whose inside can be exchanged.
pub(super) struct Exchange<T: ?Sized> {
    inside: RwLock<Arc<T>>,
    exchanged: Notify,
}

impl<T: ?Sized> fmt::Debug for Exchange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Exchange<T> {
    pub fn new(inside: Arc<T>) -> Self {
        Self { inside: RwLock::new(inside), exchanged: Notify::new() }
    }

    /// Puts another one in; questions under way end with the one that they began with.
    pub fn set(&self, inside: Arc<T>) {
        *self.inside.write().unwrap_or_else(PoisonError::into_inner) = inside;
        self.exchanged.notify_waiters();
    }

    fn inside(&self) -> Arc<T> {
        Arc::clone(&self.inside.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Source for Exchange<dyn Source> {
    async fn tip(&self) -> Result<Height, NodeError> {
        self.inside().tip().await
    }

    /// Another list of nodes is news too: whoever waits asks the new ones then.
    async fn news(&self) {
        let exchanged = self.exchanged.notified();
        let inside = self.inside();
        tokio::select! {
            () = inside.news() => {}
            () = exchanged => {}
        }
    }

    async fn next_update(&self, after: Height, max_headers: u32) -> Result<Option<ServedUpdate>, NodeError> {
        self.inside().next_update(after, max_headers).await
    }

    async fn other_branch(&self, after: Height, max_headers: u32) -> Option<ServedUpdate> {
        self.inside().other_branch(after, max_headers).await
    }

    async fn head_hint(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        self.inside().head_hint(gateway, flow).await
    }

    async fn head_proof(&self, request: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError> {
        self.inside().head_proof(request).await
    }

    async fn entry_hints(&self, request: &EntryRequest) -> Result<Vec<Entry>, NodeError> {
        self.inside().entry_hints(request).await
    }

    async fn confirm_extension(
        &self,
        header: &VerifiedHeader,
        gateway: Address,
        extension: &VerifiedExtension,
        proof: &Opaque,
    ) -> Result<Confirmation, NodeError> {
        self.inside().confirm_extension(header, gateway, extension, proof).await
    }

    async fn confirm_header(&self, header: &VerifiedHeader) -> Vec<NodeStatement> {
        self.inside().confirm_header(header).await
    }

    async fn confirm_set(&self, statement: &SetStatement) -> Result<Confirmation, NodeError> {
        self.inside().confirm_set(statement).await
    }

    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer> {
        self.inside().anchors(at).await
    }

    async fn pending(&self) -> Result<Option<u64>, NodeError> {
        self.inside().pending().await
    }

    async fn ailment(&self) -> Result<Option<String>, NodeError> {
        self.inside().ailment().await
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.inside().endpoints()
    }

    fn report_lie(&self, endpoint: &str, check: &'static str) {
        self.inside().report_lie(endpoint, check);
    }
}

#[async_trait]
impl Inspect for Exchange<dyn Inspect> {
    async fn nodes(&self) -> Vec<NodeReport> {
        self.inside().nodes().await
    }

    async fn call(&self, contract: Address, data: &[u8]) -> Result<Vec<u8>, NodeError> {
        self.inside().call(contract, data).await
    }

    async fn try_call(&self, contract: Address, data: &[u8], by: Option<Address>) -> Result<Option<Ended>, NodeError> {
        self.inside().try_call(contract, data, by).await
    }

    async fn code(&self, contract: Address) -> Result<Vec<u8>, NodeError> {
        self.inside().code(contract).await
    }

    fn unsigned(&self, call: &GatewayCall) -> Result<UnsignedCall, TargetError> {
        self.inside().unsigned(call)
    }

    async fn transactions(&self, account: Address) -> Result<Option<TransactionCounts>, NodeError> {
        self.inside().transactions(account).await
    }
}

#[async_trait]
impl Target for Exchange<dyn Target> {
    fn account(&self) -> Address {
        self.inside().account()
    }

    async fn prepare(
        &self,
        call: &GatewayCall,
        open: &[Intent],
        replaces: Option<&Intent>,
    ) -> Result<Intent, TargetError> {
        self.inside().prepare(call, open, replaces).await
    }

    async fn broadcast(&self, intent: &Intent) -> Result<(), TargetError> {
        self.inside().broadcast(intent).await
    }

    async fn track(&self, intent: &Intent) -> Result<Fate, TargetError> {
        self.inside().track(intent).await
    }

    async fn accepted(&self, gateway: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        self.inside().accepted(gateway, flow).await
    }

    async fn committee(&self, verifier: Address) -> Result<Committee, NodeError> {
        self.inside().committee(verifier).await
    }

    async fn lane_state(&self, gateway: Address, lane: LaneId) -> Result<LaneState, NodeError> {
        self.inside().lane_state(gateway, lane).await
    }

    async fn clock(&self) -> Result<UnixMillis, NodeError> {
        self.inside().clock().await
    }

    async fn funds(&self) -> Result<Funds, NodeError> {
        self.inside().funds().await
    }

    async fn fits(&self, call: &GatewayCall) -> Result<Fit, TargetError> {
        self.inside().fits(call).await
    }
}
