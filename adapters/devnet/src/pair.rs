//! Two cities side by side, for the demo and for tests with processes.

use std::time::Duration;

use thiserror::Error;

use crate::devnet::{CityConfig, Devnet, DevnetConfig, DevnetError};
use crate::sealed_evm::SealedEvmConfig;
use crate::section::Section;
use crate::weighted_bcos::WeightedBcosConfig;

/// Which two chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// A QBFT chain and a BCOS chain.
    Mixed,
    /// Two QBFT chains.
    Alike,
}

impl Pairing {
    /// The pairing with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "mixed" => Some(Self::Mixed),
            "alike" => Some(Self::Alike),
            _ => None,
        }
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
    devnets: Vec<Devnet>,
    cities: [(&'static str, Section); 2],
}

/// Blocks of a QBFT chain count whole seconds, so that it can't be faster.
const QBFT_PERIOD: Duration = Duration::from_secs(1);

/// How long the BCOS chain waits for transactions before it makes a block.
const BCOS_PERIOD: Duration = Duration::from_millis(300);

impl Pair {
    /// Starts both chains, on ports that the system picks.
    ///
    /// # Errors
    /// See [`PairError`].
    pub async fn start(pairing: Pairing) -> Result<Self, PairError> {
        let (first, hangzhou) = qbft(571, 1).await?;
        let (second, other) = match pairing {
            Pairing::Alike => {
                let (devnet, section) = qbft(572, 2).await?;
                (devnet, ("suzhou", section))
            }
            Pairing::Mixed => {
                let city = CityConfig {
                    chain: WeightedBcosConfig::default(),
                    block_period: BCOS_PERIOD,
                    ..CityConfig::default()
                };
                let devnet = Devnet::start(DevnetConfig { weighted_bcos: Some(city), sealed_evm: None }).await?;
                let section = devnet.weighted_bcos().and_then(|running| running.section());
                (devnet, ("shenzhen", section.ok_or(PairError::NoFoundingBlock)?))
            }
        };
        Ok(Self { devnets: vec![first, second], cities: [("hangzhou", hangzhou), other] })
    }

    /// Both cities, by name.
    pub fn cities(&self) -> &[(&'static str, Section); 2] {
        &self.cities
    }

    /// The devnets behind them, in the same order.
    pub fn devnets(&self) -> &[Devnet] {
        &self.devnets
    }

    /// Stops both.
    pub async fn stop(self) {
        for devnet in self.devnets {
            devnet.stop().await;
        }
    }
}

async fn qbft(chain_id: u64, seed: u64) -> Result<(Devnet, Section), PairError> {
    let city = CityConfig {
        chain: SealedEvmConfig { chain_id, seed, ..SealedEvmConfig::default() },
        block_period: QBFT_PERIOD,
        ..CityConfig::default()
    };
    let devnet = Devnet::start(DevnetConfig { sealed_evm: Some(city), weighted_bcos: None }).await?;
    let section = match devnet.sealed_evm() {
        Some(running) => running.section(),
        None => Section::default(),
    };
    Ok((devnet, section))
}
