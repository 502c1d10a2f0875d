//! What a revert of the contracts means, and what helps.

use alloy_sol_types::SolInterface;

use crate::abi::Committee::CommitteeErrors;
use crate::abi::Gateway::GatewayErrors;
use crate::abi::PrecompileGateway::PrecompileGatewayErrors;

/// What a relay does about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Deliver less at once, or with more gas.
    HalveBatch,
    /// Somebody was faster, or the call was built on old state: read the contract and build it again.
    ReadAgain,
    /// The attester set has changed: collect signatures for the epoch in force.
    NewEpoch,
    /// Try again later, unchanged: paused, too early, quota used up.
    Wait,
    /// The receiver or sender must be put right, or the owner must skip.
    Application,
    /// The owner must act, or whoever called is not allowed to.
    Owner,
    /// The call is wrong and stays wrong.
    Never,
}

/// A revert of one of the contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the error, such as `HeadMismatch`.
    pub name: String,
    /// Name and values, for people.
    pub text: String,
    /// What helps.
    pub remedy: Remedy,
}

impl Refusal {
    /// Reads revert data; `None` when it is no error of the gateway or the committee.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        if let Ok(error) = GatewayErrors::abi_decode_validate(data) {
            return Some(Self::new(&error, gateway_remedy(&error)));
        }
        if let Ok(error) = CommitteeErrors::abi_decode_validate(data) {
            return Some(Self::new(&error, committee_remedy(&error)));
        }
        let error = PrecompileGatewayErrors::abi_decode_validate(data).ok()?;
        Some(Self::new(&error, precompile_remedy(&error)))
    }

    /// `error` prints as `Name(Name { field: value })`; the outer name is dropped.
    fn new(error: &impl core::fmt::Debug, remedy: Remedy) -> Self {
        let printed = format!("{error:?}");
        let (name, rest) = printed.split_once('(').unwrap_or((&printed, ""));
        let text = rest.strip_suffix(')').unwrap_or(rest);
        Self { name: name.to_owned(), text: text.to_owned(), remedy }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text)
    }
}

const fn gateway_remedy(error: &GatewayErrors) -> Remedy {
    use GatewayErrors as E;
    match error {
        E::NotEnoughGas(_) => Remedy::HalveBatch,
        E::Gap(_)
        | E::HeadMismatch(_)
        | E::NoOutboxHeadAt(_)
        | E::NeverSent(_)
        | E::NoPendingCallback(_)
        | E::NotExpired(_)
        | E::NotHalted(_) => Remedy::ReadAgain,
        E::Paused(_) | E::TooEarly(_) | E::QuotaExceeded(_) => Remedy::Wait,
        E::StillFailing(_)
        | E::CallbackFailed(_)
        | E::ReceiverRefused(_)
        | E::ReceiverNotListed(_)
        | E::ReceiverHasNoCode(_)
        | E::AboveLimits(_) => Remedy::Application,
        E::OnlyOwner(_)
        | E::OnlyProposedOwner(_)
        | E::SenderNotAllowed(_)
        | E::ReceiverNotAllowed(_)
        | E::WrongState(_)
        | E::LaneIsNot(_) => Remedy::Owner,
        _ => Remedy::Never,
    }
}

const fn committee_remedy(error: &CommitteeErrors) -> Remedy {
    use CommitteeErrors as E;
    match error {
        E::EpochUnknown(_) | E::SignerUnknown(_) | E::TooFewSignatures(_) => Remedy::NewEpoch,
        _ => Remedy::Never,
    }
}

const fn precompile_remedy(error: &PrecompileGatewayErrors) -> Remedy {
    use PrecompileGatewayErrors as E;
    match error {
        // In service, where the known-answer tests have passed, only the gas can have run out.
        E::HashUnanswered(_) => Remedy::HalveBatch,
        E::CallbackSelectorsUnknown(_) => Remedy::Never,
    }
}
