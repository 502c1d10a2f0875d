//! Effects that read a chain.

use std::sync::Arc;

use cityrelay_api::source::{Confirmation, Source};
use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::lane::{Flow, GatewayAt};
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::machine::effect::{ObserveRequest, UpdateOrigin};
use cityrelay_core::machine::input::{Fetched, Input, Recipient};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use tracing::{debug, error, warn};

use super::{Executor, answer, fetched};
use crate::run::observe::observe;

impl Executor {
    fn source(&self, domain: Domain) -> Option<(Arc<dyn Source>, String)> {
        let chain = self.handles.chains.get(&domain)?;
        Some((chain.source.clone()?, chain.name.clone()))
    }

    /// Where the head of a flow lives, and the source that reads there.
    pub(super) fn origin(&self, flow: Flow) -> Option<(GatewayAt, Arc<dyn Source>, String)> {
        let origin = self.handles.lanes.get(&flow.lane)?.origin(flow.direction);
        let (source, chain) = self.source(origin.domain)?;
        Some((origin, source, chain))
    }

    pub(super) fn fetch_update(&self, domain: Domain, recipient: Recipient, after: Height, max_headers: u32) {
        let to_input = move |answer| Input::UpdateFetched { domain, recipient, after, answer };
        let Some((source, chain)) = self.source(domain) else {
            return answer(&self.inputs, to_input(Fetched::Failed));
        };
        let asked = async move {
            // What may be another branch is for our own client to judge: a peer would take us for its author.
            if recipient == Recipient::Own
                && let Some(other) = source.other_branch(after, max_headers).await
            {
                return Ok(Some(other));
            }
            source.next_update(after, max_headers).await
        };
        self.ask(asked, move |outcome| {
            to_input(match fetched("next update", &chain, outcome) {
                Fetched::Some(Some(served)) => Fetched::Some((served.update, UpdateOrigin::Node(served.endpoint))),
                Fetched::Some(None) | Fetched::Nothing => Fetched::Nothing,
                Fetched::Failed => Fetched::Failed,
            })
        });
    }

    pub(super) fn confirm_header(&self, header: VerifiedHeader) {
        let (domain, height, hash) = (header.domain(), header.height(), header.hash());
        let to_input = move |answer| Input::HeaderConfirmed { domain, height, hash, answer };
        let Some((source, chain)) = self.source(domain) else {
            return answer(&self.inputs, to_input(Fetched::Nothing));
        };
        self.ask(async move { source.confirm_header(&header).await }, move |outcome| {
            to_input(match outcome {
                Some(statements) if statements.is_empty() => Fetched::Nothing,
                Some(statements) => Fetched::Some(statements),
                None => {
                    debug!(chain, height = height.0, "asking the own nodes about a header took too long");
                    Fetched::Failed
                }
            })
        });
    }

    pub(super) fn confirm_set(&self, domain: Domain, statement: SetStatement) {
        let to_input = move |agrees| Input::SetConfirmed { domain, statement, agrees };
        let Some((source, chain)) = self.source(domain) else {
            return answer(&self.inputs, to_input(None));
        };
        self.ask(async move { source.confirm_set(&statement).await }, move |outcome| {
            to_input(verdict(fetched("confirm set", &chain, outcome), &chain, "a validator set"))
        });
    }

    pub(super) fn read_hint(&self, flow: Flow) {
        let to_input = move |answer| Input::HintRead { flow, answer };
        let Some((at, source, chain)) = self.origin(flow) else {
            return answer(&self.inputs, to_input(Fetched::Failed));
        };
        self.ask(async move { source.head_hint(at.gateway, flow).await }, move |outcome| {
            to_input(fetched("head hint", &chain, outcome))
        });
    }

    pub(super) fn observe(&self, request: ObserveRequest) {
        let flow = request.flow;
        let to_input = move |answer| Input::Observed { flow, answer };
        let Some((at, source, chain)) = self.origin(flow) else {
            return answer(&self.inputs, to_input(Fetched::Failed));
        };
        self.ask(async move { observe(source.as_ref(), at.gateway, request).await }, move |outcome| {
            to_input(match fetched("observe", &chain, outcome) {
                Fetched::Some(observed) => observed,
                Fetched::Nothing => Fetched::Nothing,
                Fetched::Failed => Fetched::Failed,
            })
        });
    }

    pub(super) fn confirm(&self, header: VerifiedHeader, extension: VerifiedExtension, proof: Opaque) {
        let flow = extension.flow();
        let to_input = move |agrees| Input::Confirmed { flow, agrees };
        let Some((at, source, chain)) = self.origin(flow) else {
            return answer(&self.inputs, to_input(None));
        };
        self.ask(
            async move { source.confirm_extension(&header, at.gateway, &extension, &proof).await },
            move |outcome| to_input(verdict(fetched("confirm head", &chain, outcome), &chain, "a head")),
        );
    }
}

/// What an own node says, in the machine's form; contradictions are alarms.
fn verdict(answer: Fetched<Confirmation>, chain: &str, what: &'static str) -> Option<bool> {
    match answer {
        Fetched::Some(Confirmation::Agrees) => Some(true),
        Fetched::Some(Confirmation::Disagrees) => {
            error!(chain, what, "our own node contradicts what was verified: nothing is signed");
            Some(false)
        }
        Fetched::Some(Confirmation::NoOwnNode) => {
            warn!(chain, what, "no own node is configured that could confirm it");
            None
        }
        Fetched::Some(Confirmation::NotYet) | Fetched::Nothing | Fetched::Failed => None,
    }
}
