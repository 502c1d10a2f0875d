//! A great many applications: contracts that send many messages in one transaction, and that count what comes.

use std::time::Duration;

use anyhow::{Context as _, bail};
use cityrelay::clock::unix_millis;
use cityrelay::demo::setup::{Access, Lane, Town, carry_all};
use cityrelay_api::target::Fit;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::{Address, UnixMillis};
use serde_json::Value;

/// Bytes of a message.
const PAYLOAD_BYTES: usize = 128;

/// Gas for the receiver, which writes one slot.
const GAS_LIMIT: u64 = 60_000;

/// How long a message may take; the lanes allow a day.
const LIFETIME: Duration = Duration::from_secs(20 * 3600);

/// What stands in one city.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Sends, and counts outcomes.
    repeater: Address,
    /// Receives, and counts messages.
    counter: Address,
}

impl Crowd {
    /// Deploys both contracts.
    ///
    /// # Errors
    /// When a transaction fails.
    pub async fn deploy(town: &Town) -> anyhow::Result<Self> {
        let repeater = deploy(include_str!("../../../../adapters/gateway/artifacts/probes/Repeater.json"))?;
        match carry_all(town.owner.target.as_ref(), &[repeater, deploy_counter()?]).await?[..] {
            [Some(repeater), Some(counter)] => Ok(Self { repeater, counter }),
            _ => bail!("a deployment made no contract"),
        }
    }

    /// Sends so many messages on each of these lanes, which start in `town`, one transaction a lane.
    ///
    /// # Errors
    /// When a gateway refuses them, or a node does not answer.
    pub async fn send(
        &self,
        town: &Town,
        application: &Access,
        there: &Self,
        lanes: &[(&Lane, u64)],
    ) -> anyhow::Result<()> {
        let deadline = UnixMillis(unix_millis().0 + u64::try_from(LIFETIME.as_millis())?);
        let calls = lanes.iter().map(|(lane, count)| {
            let send = GatewayCall::Send {
                gateway: town.gateway,
                lane: lane.id,
                receiver: there.counter,
                deadline,
                gas_limit: GAS_LIMIT,
                payload: vec![7; PAYLOAD_BYTES],
            };
            let data = cityrelay_gateway::call::encode(&send)?.data;
            let mut input = selector("repeat(address,uint256,bytes)");
            input.extend_from_slice(&town.gateway.0.0);
            for number in [*count, 96, data.len() as u64] {
                input.extend_from_slice(&word(number));
            }
            input.extend_from_slice(&data);
            input.resize(input.len().next_multiple_of(32) + 4, 0);
            Ok(GatewayCall::Raw { to: self.repeater, data: input })
        });
        let calls = calls.collect::<anyhow::Result<Vec<_>>>()?;
        carry_all(application.target.as_ref(), &calls).await.map(|_| ())
    }

    /// Each message of these lanes was received once, in order, up to that index.
    ///
    /// # Errors
    /// When it was not, or no node answers.
    pub async fn verify_received(&self, town: &Town, lanes: &[(&Lane, u64)]) -> anyhow::Result<()> {
        for (lane, expected) in lanes {
            let mut data = selector("verify(bytes32,uint256)");
            data.extend_from_slice(&lane.id.0.0);
            data.extend_from_slice(&word(*expected));
            let what = || format!("I2: the receiver of {} did not get {expected} messages, each once", lane.id);
            holds(town, self.counter, data).await.with_context(what)?;
        }
        Ok(())
    }

    /// The sender learnt of so many outcomes, and each was *executed*.
    ///
    /// # Errors
    /// When it did not, or no node answers.
    pub async fn verify_outcomes(&self, town: &Town, expected: u64) -> anyhow::Result<()> {
        let mut data = selector("verify(uint256)");
        data.extend_from_slice(&word(expected));
        let what = || format!("I2: the sender in {} did not learn of {expected} executed messages", town.city.name);
        holds(town, self.repeater, data).await.with_context(what)
    }
}

/// A call that reverts unless something holds.
async fn holds(town: &Town, to: Address, data: Vec<u8>) -> anyhow::Result<()> {
    match town.owner.target.fits(&GatewayCall::Raw { to, data }).await? {
        Fit::Fits { .. } => Ok(()),
        Fit::Reverts { output } => bail!("the contract counted {}", hex::encode(output.get(4..).unwrap_or_default())),
        Fit::TooLarge => bail!("the call does not fit into a block"),
    }
}

/// What deploys the contract that takes every message and counts it.
///
/// # Errors
/// When the artifact has no bytecode.
pub fn deploy_counter() -> anyhow::Result<GatewayCall> {
    deploy(include_str!("../../../../adapters/gateway/artifacts/probes/Counter.json"))
}

fn deploy(artifact: &str) -> anyhow::Result<GatewayCall> {
    let artifact: Value = serde_json::from_str(artifact)?;
    let code = artifact["bytecode"].as_str().context("an artifact with bytecode")?;
    Ok(GatewayCall::DeployCode { code: hex::decode(code.trim_start_matches("0x"))? })
}

fn selector(signature: &str) -> Vec<u8> {
    keccak256(signature.as_bytes()).0[..4].to_vec()
}

fn word(number: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&number.to_be_bytes());
    word
}
