//! `skip`: an owner's decision about a strict lane, carried out where this process's account is the owner's.

use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::Index;
use cityrelay_core::machine::effect::JobEnd;
use cityrelay_core::record::IntentEnd;

use super::orders::{require_reason, usage};
use super::{Backend, Question};
use crate::contracts::{self, ReadError};
use crate::control::{Caller, ControlFault, DoneReport, FaultKind, SkipOrder};

impl Backend {
    /// Steps over the message that halted a strict lane on its destination.
    ///
    /// Checked, in order: a reason; the lane; that the gateway there is halted before exactly that index; that our account
    /// owns the gateway. Who ordered it is durable before the transaction is made, which the journal follows to its end.
    pub(super) async fn skip_message(&self, caller: &Caller, order: SkipOrder) -> Result<DoneReport, ControlFault> {
        require_reason(&order.reason)?;
        let refused = |words: String| Err(ControlFault::new(FaultKind::Refused, words));
        let lane = self.one_lane(&order.lane)?;
        let identity = self.handles.lanes.get(&lane).ok_or_else(|| usage(format!("lane {lane} is unknown here")))?;
        let (domain, gateway) = (identity.destination_domain, identity.destination_gateway);
        let chain =
            self.handles.chains.get(&domain).ok_or_else(|| usage(format!("lane {lane} ends on no chain of ours")))?;
        let index = Index(order.index);
        let by_owner = format!(
            "cityrelay lane skip --chain {} --lane {lane} --index {index}, with the configuration of the owner, or with \
             --unsigned for its multisig",
            chain.name
        );
        let Some(target) = &chain.target else {
            return refused(format!("this process has no account on {}: {by_owner}", chain.name));
        };
        let inspect = chain.inspect.as_ref();
        let words = self.lane_words(lane);
        let status = contracts::lane_status(inspect, gateway, lane).await.map_err(unread)?;
        let standing =
            status.ok_or_else(|| usage(format!("gateway {gateway} on {} does not know {words}", chain.name)))?;
        match standing.halted {
            None => return refused(format!("{words} is not halted on {}: there is nothing to skip", chain.name)),
            Some(_) if index != standing.own.index.next() => {
                let next = standing.own.index.next();
                return refused(format!(
                    "{words} is halted at index {next}: only that one can be skipped, got {index}"
                ));
            }
            Some(_) => {}
        }
        let owner = contracts::gateway_status(inspect, gateway).await.map_err(unread)?.owner;
        if owner != target.account() {
            return refused(format!(
                "only {owner} may skip on {}, our account is {}: {by_owner}",
                chain.name,
                target.account()
            ));
        }
        self.note(caller, order.reason, format!("skip index {index} of {words}")).await?;
        let call = Box::new(GatewayCall::Skip { gateway, lane, index });
        let ended = self.ask(|ended| Question::Submit { domain, call, ended }).await?;
        let fault = |kind, text: &str| Err(ControlFault::new(kind, text));
        match ended {
            Some((Some(_), JobEnd::Transaction(IntentEnd::Succeeded { .. }))) => Ok(DoneReport {
                done: format!("index {index} of {words} is skipped; its sender is told so at settlement"),
            }),
            Some((_, JobEnd::Transaction(IntentEnd::Reverted { .. }) | JobEnd::WouldRevert)) => {
                fault(FaultKind::Refused, "the gateway refuses it: see the daemon's log for its reason")
            }
            _ => fault(FaultKind::Unreachable, "the transaction could not be made: see the daemon's log"),
        }
    }
}

fn unread(error: ReadError) -> ControlFault {
    let kind = match error {
        ReadError::Node(_) => FaultKind::Unreachable,
        _ => FaultKind::Unhealthy,
    };
    ControlFault::new(kind, error.to_string())
}
