//! A made-up account for tests: it remembers the calls it was given and answers what the test laid ready.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use cityrelay_api::source::NodeError;
use cityrelay_api::target::{Fate, Fit, Funds, Intent, LaneState, Target, TargetError};
use cityrelay_core::attestation::Committee;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch, Height, LaneId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::opaque::Opaque;

/// What the account did and will see.
#[derive(Debug, Default)]
pub(crate) struct FakeTarget {
    /// Calls prepared, in order.
    pub(crate) calls: Mutex<Vec<GatewayCall>>,
    /// Hashes broadcast, in order.
    pub(crate) broadcasts: Mutex<Vec<Hash32>>,
    /// Answers of `track`, one a call; `Final` and successful when empty.
    pub(crate) fates: Mutex<VecDeque<Fate>>,
    /// How lanes stand.
    pub(crate) lanes: Mutex<BTreeMap<LaneId, LaneState>>,
    /// Answer of `fits`; fits when absent.
    pub(crate) fit: Mutex<Option<Fit>>,
}

#[async_trait]
impl Target for FakeTarget {
    fn account(&self) -> Address {
        Address::from_20([7; 20])
    }

    async fn prepare(&self, call: &GatewayCall, _: &[Intent], _: Option<&Intent>) -> Result<Intent, TargetError> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(call.clone());
        let hash = Hash32::from_u64(calls.len() as u64);
        Ok(Intent { hash, bytes: Opaque { adapter: "fake".to_owned(), version: 1, bytes: Vec::new() } })
    }

    async fn broadcast(&self, intent: &Intent) -> Result<(), TargetError> {
        self.broadcasts.lock().unwrap().push(intent.hash);
        Ok(())
    }

    async fn track(&self, intent: &Intent) -> Result<Fate, TargetError> {
        let laid = self.fates.lock().unwrap().pop_front();
        let mut created = [0xc0; 20];
        created[19] = intent.hash.0[31];
        Ok(laid.unwrap_or(Fate::Final {
            height: Height(9),
            is_success: true,
            gas_used: 21_000,
            created: Some(Address::from_20(created)),
            output: Vec::new(),
        }))
    }

    async fn accepted(&self, _: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        Ok(ChainPoint::start(flow))
    }

    async fn committee(&self, _: Address) -> Result<Committee, NodeError> {
        Ok(Committee::new(Epoch(1), &[AttesterId([1; 20])], 1).unwrap())
    }

    async fn lane_state(&self, _: Address, lane: LaneId) -> Result<LaneState, NodeError> {
        Ok(self.lanes.lock().unwrap().get(&lane).copied().unwrap_or(LaneState::Unknown))
    }

    async fn clock(&self) -> Result<UnixMillis, NodeError> {
        Ok(UnixMillis(1_700_000_000_000))
    }

    async fn funds(&self) -> Result<Funds, NodeError> {
        Ok(Funds::NotNeeded)
    }

    async fn fits(&self, _: &GatewayCall) -> Result<Fit, TargetError> {
        Ok(self.fit.lock().unwrap().clone().unwrap_or(Fit::Fits { gas: 100_000 }))
    }
}
