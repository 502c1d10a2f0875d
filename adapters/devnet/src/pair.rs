//! Two cities side by side, for the demo and for tests with processes.

use std::time::Duration;

use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use thiserror::Error;

use crate::devnet::{CityConfig, Devnet, DevnetConfig, DevnetError};
use crate::sealed_evm::SealedEvmConfig;
use crate::sealed_evm::mode::SealMode;
use crate::section::Section;
use crate::weighted_bcos::WeightedBcosConfig;

/// First QBFT block of the plan `ibft1-to-qbft`: contracts are deployed by then, and messages are under way.
pub const MIGRATION: u64 = 40;

/// What one city of a pair runs.
#[derive(Clone, Debug)]
pub enum CityPlan {
    /// A sealed EVM chain. Its chain id and seed are replaced, so that two cities never share keys.
    SealedEvm(SealedEvmConfig),
    /// A BCOS chain. Its seed is replaced in the same way.
    WeightedBcos(WeightedBcosConfig),
}

impl CityPlan {
    /// The plan with this name: a mode of the sealed EVM chain (`qbft`, `ibft2`, `edge-bls` …); `ibft1-to-qbft`, which
    /// changes its mode at block [`MIGRATION`]; `bcos`; or `bcos-gm`, a GM chain with the classic executor as v3.9.0 has it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "bcos" => Some(Self::WeightedBcos(WeightedBcosConfig::default())),
            "bcos-gm" => Some(Self::WeightedBcos(WeightedBcosConfig {
                suite: CryptoSuite::Gm,
                is_classic: true,
                ..WeightedBcosConfig::default()
            })),
            "ibft1-to-qbft" => Some(Self::SealedEvm(SealedEvmConfig {
                migration: Some((MIGRATION, SealMode::Qbft)),
                ..SealedEvmConfig::of_mode(SealMode::Ibft1)
            })),
            mode => SealMode::from_name(mode).map(SealedEvmConfig::of_mode).map(Self::SealedEvm),
        }
    }
}

/// Which two chains.
#[derive(Clone, Debug)]
pub struct Pairing {
    /// The first city.
    pub first: CityPlan,
    /// The second city.
    pub second: CityPlan,
}

impl Pairing {
    /// The pairing with this name: two plans with a `+` between them, such as `ibft2+bcos`; `mixed` for the demo's,
    /// `qbft+bcos`, `mixed-gm` for the same with a GM chain, and `alike` for two QBFT chains.
    pub fn from_name(name: &str) -> Option<Self> {
        let plans = match name {
            "mixed" => "qbft+bcos",
            "mixed-gm" => "qbft+bcos-gm",
            "alike" => "qbft+qbft",
            plans => plans,
        };
        let (first, second) = plans.split_once('+')?;
        Some(Self { first: CityPlan::from_name(first)?, second: CityPlan::from_name(second)? })
    }
}

/// Why a pair did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PairError {
    /// A chain did not start.
    #[error(transparent)]
    Devnet(#[from] DevnetError),
    /// The BCOS chain made no founding block.
    #[error("the BCOS chain has no block 1 to anchor at")]
    NoFoundingBlock,
}

/// Two running cities.
#[derive(Debug)]
pub struct Pair {
    devnets: [Devnet; 2],
    cities: [(&'static str, Section); 2],
}

/// Blocks of a sealed EVM chain count whole seconds, so that it can't be faster.
const SEALED_EVM_PERIOD: Duration = Duration::from_secs(1);

/// How long the BCOS chain waits for transactions before it makes a block.
const BCOS_PERIOD: Duration = Duration::from_millis(300);

/// Chain id of the first sealed EVM chain; the second has the next.
const FIRST_CHAIN_ID: u64 = 571;

impl Pair {
    /// Starts both chains, on ports that the system picks. A sealed EVM chain is called `hangzhou`, and `suzhou` where it
    /// is the second of the kind; a BCOS chain `shenzhen`, and `guangzhou`.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn start(pairing: Pairing) -> Result<Self, PairError> {
        let is_evm = |plan: &CityPlan| matches!(plan, CityPlan::SealedEvm(_));
        let is_same_kind = is_evm(&pairing.first) == is_evm(&pairing.second);
        let (first, hangzhou) = start(pairing.first, 0, false).await?;
        let (second, other) = start(pairing.second, 1, is_same_kind).await?;
        Ok(Self { devnets: [first, second], cities: [hangzhou, other] })
    }

    /// Both cities, by name.
    pub fn cities(&self) -> &[(&'static str, Section); 2] {
        &self.cities
    }

    /// The devnets behind them, in the same order.
    pub fn devnets(&self) -> &[Devnet; 2] {
        &self.devnets
    }

    /// Stops both.
    pub async fn stop(self) {
        for devnet in self.devnets {
            devnet.stop().await;
        }
    }
}

async fn start(plan: CityPlan, at: u64, is_second: bool) -> Result<(Devnet, (&'static str, Section)), PairError> {
    let seed = at + 1;
    match plan {
        CityPlan::SealedEvm(config) => {
            let chain = SealedEvmConfig { chain_id: FIRST_CHAIN_ID + at, seed, ..config };
            let city = CityConfig { chain, block_period: SEALED_EVM_PERIOD, nodes: 2, first_port: 0 };
            let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(city), weighted_bcos: None }).await?;
            let section = devnet.sealed_evm().map(|running| running.section()).unwrap_or_default();
            Ok((devnet, (if is_second { "suzhou" } else { "hangzhou" }, section)))
        }
        CityPlan::WeightedBcos(config) => {
            let chain = WeightedBcosConfig { seed, ..config };
            let city = CityConfig { chain, block_period: BCOS_PERIOD, nodes: 2, first_port: 0 };
            let devnet = Devnet::start(DevnetConfig { weighted_bcos: Some(city), sealed_evm: None }).await?;
            let section = devnet.weighted_bcos().and_then(|running| running.section());
            let section = section.ok_or(PairError::NoFoundingBlock)?;
            Ok((devnet, (if is_second { "guangzhou" } else { "shenzhen" }, section)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairing_names_two_plans() {
        let pairing = Pairing::from_name("edge-bls+qbft-contract").expect("a pairing");
        assert!(matches!(&pairing.first, CityPlan::SealedEvm(config)
            if config.mode == SealMode::EdgeBls && !config.has_storage_proofs));
        assert!(matches!(&pairing.second, CityPlan::SealedEvm(config) if config.mode == SealMode::QbftContract));
        for name in ["qbft+bcos-gm", "mixed-gm"] {
            let gm = Pairing::from_name(name).expect("a pairing");
            assert!(matches!(&gm.second, CityPlan::WeightedBcos(config) if config.suite == CryptoSuite::Gm));
        }
        assert!(Pairing::from_name("mixed").is_some() && Pairing::from_name("alike").is_some());
        assert!(Pairing::from_name("qbft").is_none() && Pairing::from_name("qbft+clique").is_none());
    }
}
