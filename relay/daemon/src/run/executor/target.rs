//! Effects that write to a chain, or read what it has taken in.

use std::sync::Arc;

use cityrelay_api::target::{Fate, Fit, Intent, Target, TargetError};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::Domain;
use cityrelay_core::lane::{Flow, LaneIdentity};
use cityrelay_core::machine::effect::JobId;
use cityrelay_core::machine::input::{Fetched, Input, Prepared, TransactionFate};
use cityrelay_core::record::{IntentEnd, IntentRecord};
use tracing::{debug, warn};

use super::{Executor, answer, fetched};

impl Executor {
    fn target(&self, domain: Domain) -> Option<(Arc<dyn Target>, String)> {
        let chain = self.handles.chains.get(&domain)?;
        Some((chain.target.clone()?, chain.name.clone()))
    }

    /// The chain that takes a flow in, with the lane.
    fn destination(&self, flow: Flow) -> Option<(LaneIdentity, Arc<dyn Target>, String)> {
        let lane = self.handles.lanes.get(&flow.lane)?.clone();
        let (target, chain) = self.target(lane.target(flow.direction).domain)?;
        Some((lane, target, chain))
    }

    pub(super) fn prepare(
        &self,
        job: JobId,
        domain: Domain,
        call: GatewayCall,
        open: Vec<IntentRecord>,
        replaces: Option<IntentRecord>,
    ) {
        let to_input = move |answer| Input::Prepared { job, answer };
        let Some((target, chain)) = self.target(domain) else {
            return answer(&self.inputs, to_input(Prepared::Failed));
        };
        self.ask(async move { prepare(target.as_ref(), &call, &open, replaces.as_ref()).await }, move |outcome| {
            to_input(match outcome {
                Some(Ok(prepared)) => prepared,
                Some(Err(error)) => {
                    warn!(chain, %error, "a transaction could not be prepared");
                    Prepared::Failed
                }
                None => Prepared::Failed,
            })
        });
    }

    pub(super) fn broadcast(&self, job: JobId, record: IntentRecord) {
        let to_input = move || Input::Broadcasted(job);
        let Some((target, chain)) = self.target(record.domain) else {
            return answer(&self.inputs, to_input());
        };
        self.ask(async move { target.broadcast(&intent(&record)).await }, move |outcome| {
            if let Some(Err(error)) = outcome {
                debug!(chain, %error, "a broadcast was not taken; following the transaction tells why");
            }
            to_input()
        });
    }

    pub(super) fn track(&self, job: JobId, record: IntentRecord) {
        let to_input = move |fate| Input::Tracked { job, fate };
        let Some((target, chain)) = self.target(record.domain) else {
            return answer(&self.inputs, to_input(TransactionFate::Pending));
        };
        let purpose = record.purpose;
        self.ask(async move { target.track(&intent(&record)).await }, move |outcome| {
            let fate = match fetched("transaction", &chain, outcome) {
                Fetched::Some(Fate::Dropped) => TransactionFate::Dropped,
                Fetched::Some(Fate::Dead) => TransactionFate::Ended(IntentEnd::Dead),
                Fetched::Some(Fate::Final { height, is_success: true, gas_used, .. }) => {
                    TransactionFate::Ended(IntentEnd::Succeeded { height, gas_used })
                }
                Fetched::Some(Fate::Final { height, is_success: false, gas_used, output, .. }) => {
                    let output = hex::encode(&output);
                    warn!(chain, ?purpose, output, "a transaction was reverted");
                    TransactionFate::Ended(IntentEnd::Reverted { height, gas_used })
                }
                Fetched::Some(Fate::Pending) | Fetched::Nothing | Fetched::Failed => TransactionFate::Pending,
            };
            to_input(fate)
        });
    }

    pub(super) fn read_accepted(&self, flow: Flow) {
        let to_input = move |answer| Input::AcceptedRead { flow, answer };
        let Some((lane, target, chain)) = self.destination(flow) else {
            return answer(&self.inputs, to_input(Fetched::Failed));
        };
        let gateway = lane.target(flow.direction).gateway;
        self.ask(async move { target.accepted(gateway, flow).await }, move |outcome| {
            to_input(fetched("accepted point", &chain, outcome))
        });
    }

    pub(super) fn read_committee(&self, flow: Flow) {
        let to_input = move |answer| Input::CommitteeRead { flow, answer };
        let Some((lane, target, chain)) = self.destination(flow) else {
            return answer(&self.inputs, to_input(Fetched::Failed));
        };
        let (_, verifier) = lane.target_verifier(flow.direction);
        self.ask(async move { target.committee(verifier).await }, move |outcome| {
            to_input(fetched("attester set", &chain, outcome))
        });
    }
}

/// Asks whether the call fits and would be taken, then builds and signs the transaction.
async fn prepare(
    target: &dyn Target,
    call: &GatewayCall,
    open: &[IntentRecord],
    replaces: Option<&IntentRecord>,
) -> Result<Prepared, TargetError> {
    match target.fits(call).await? {
        Fit::Fits { .. } => {}
        Fit::TooLarge => return Ok(Prepared::TooLarge),
        Fit::Reverts { output } => {
            warn!(output = hex::encode(&output), "the gateway would refuse the call");
            return Ok(Prepared::Reverts);
        }
    }
    let open: Vec<Intent> = open.iter().map(intent).collect();
    let replaces = replaces.map(intent);
    let Intent { hash, bytes } = target.prepare(call, &open, replaces.as_ref()).await?;
    Ok(Prepared::Ready { hash, bytes })
}

fn intent(record: &IntentRecord) -> Intent {
    Intent { hash: record.hash, bytes: record.bytes.clone() }
}
