//! What changes while messages are under way: the validators of both chains, and the committees of both gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::configs::THRESHOLD;
use cityrelay::demo::setup::{Town, carry_all};
use cityrelay_core::attestation::{SignatureBytes, rotation_digest};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{AttesterId, Epoch};
use cityrelay_devnet::Devnet;
use cityrelay_devnet::sealed_evm::mode::SealMode;
use cityrelay_devnet::weighted_bcos::SealerChange;
use k256::ecdsa::SigningKey;
use tokio::time::{Instant, sleep};

use super::trial::Scene;

/// How long a chain may take to change its validators: three proposers must have their turn.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a validator joins or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more than at genesis.
    Join,
    /// It leaves again.
    Leave,
}

/// Changes the validators of these chains, and waits until they are changed.
///
/// # Errors
/// When a chain does not do it in time.
pub async fn change_validators(devnets: &[Devnet], change: Change) -> anyhow::Result<()> {
    for devnet in devnets {
        begin(devnet, change)?;
    }
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    for devnet in devnets {
        while !is_done(devnet, change) {
            ensure!(Instant::now() < deadline, "a chain does not change its validators");
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

fn begin(devnet: &Devnet, change: Change) -> anyhow::Result<()> {
    if let Some(city) = devnet.sealed_evm() {
        return city.with(|chain| {
            let spare = chain.config().validators;
            let keys: Vec<_> = chain.validator_keys().iter().map(|key| key.address()).collect();
            if chain.config().mode_at(chain.height() + 1) == SealMode::QbftContract {
                let size = spare + usize::from(change == Change::Join);
                chain.replace_validators(&keys[..size]).context("the validators' contract")?;
            } else {
                chain.vote(keys[spare], change == Change::Join, None);
            }
            Ok(())
        });
    }
    let city = devnet.weighted_bcos().context("a chain")?;
    city.with(|chain| {
        let spare = *chain.node_keys()[chain.config().weights.len()].public();
        match change {
            Change::Join => {
                chain.change_sealers(SealerChange::AddObserver(spare));
                chain.change_sealers(SealerChange::AddSealer(spare, 1));
            }
            Change::Leave => chain.change_sealers(SealerChange::Remove(spare)),
        }
    });
    Ok(())
}

fn is_done(devnet: &Devnet, change: Change) -> bool {
    let extra = usize::from(change == Change::Join);
    let evm = devnet.sealed_evm().map(|city| city.with(|chain| (chain.validators().len(), chain.config().validators)));
    let bcos = devnet
        .weighted_bcos()
        .map(|city| city.with(|chain| (chain.consensus().sealers().len(), chain.config().weights.len())));
    evm.or(bcos).is_some_and(|(now, genesis)| now == genesis + extra)
}

/// Puts another set of attesters in force on both chains: signed by the old threshold and by every new member.
///
/// # Errors
/// When a gateway refuses it.
pub async fn rotate(scene: &Scene, old: &[SigningKey], new: &[SigningKey]) -> anyhow::Result<()> {
    for town in &scene.towns {
        let before = town.owner.target.committee(town.verifier).await?;
        let epoch = Epoch(before.epoch().0 + 1);
        let members: BTreeSet<AttesterId> = new.iter().map(id).collect();
        let digest = rotation_digest(town.verifier, town.domain, epoch, &members, THRESHOLD);
        let sign = |keys: &[SigningKey]| -> anyhow::Result<BTreeMap<AttesterId, SignatureBytes>> {
            keys.iter()
                .map(|key| {
                    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_bytes())?;
                    Ok((id(key), SignatureBytes::from_parts(&signature, recovery)))
                })
                .collect()
        };
        let call = GatewayCall::Rotate {
            verifier: town.verifier,
            members: members.iter().copied().collect(),
            threshold: THRESHOLD,
            old: sign(&old[..THRESHOLD as usize])?,
            new: sign(new)?,
        };
        carry_all(town.owner.target.as_ref(), &[call]).await.context("rotate")?;
        verify_committee(town, epoch, &members).await?;
    }
    Ok(())
}

async fn verify_committee(town: &Town, epoch: Epoch, members: &BTreeSet<AttesterId>) -> anyhow::Result<()> {
    let after = town.owner.target.committee(town.verifier).await?;
    ensure!(after.epoch() == epoch, "epoch {:?} is in force, expected {epoch:?}", after.epoch());
    ensure!(after.members() == members, "another committee is in force");
    Ok(())
}

fn id(key: &SigningKey) -> AttesterId {
    cityrelay_core::attestation::attester_id(key.verifying_key())
}
