//! The real program between a network of real nodes, built from their own sources, and a chain of the devnet.
//!
//! `real-nodes [TRIAL…]` plays all trials, or those that are named. `tests/real-nodes` builds the nodes and calls it.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use cityrelay::demo::world::World;
use cityrelay_tests::process::networks::{Kind, Network};
use cityrelay_tests::process::trial::{Trial, second_city};
use cityrelay_tests::process::{play, program};
use tokio::time::sleep;

/// Name of the network's city.
const CITY: &str = "hangzhou";

/// Rounds of one message on each lane, sent while the network changes.
const ROUNDS: usize = 6;

/// How long a validator is away: blocks that it should propose are made in rounds above 0.
const ABSENCE: Duration = Duration::from_secs(12);

/// Every trial.
const TRIALS: [(&str, Kind); 5] = [
    ("goquorum-qbft", Kind::QuorumQbft),
    ("goquorum-ibft1-to-qbft", Kind::QuorumIbft1Until(45)),
    ("goquorum-contract", Kind::QuorumContractFrom(20)),
    ("polygon-edge-bls", Kind::EdgeBls),
    ("polygon-edge-ecdsa", Kind::EdgeEcdsa),
];

fn main() -> anyhow::Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(stranger) = chosen.iter().find(|name| TRIALS.iter().all(|(known, _)| known != name)) {
        let known = TRIALS.map(|(name, _)| name).join(", ");
        bail!("{stranger:?} is no trial; known are {known}");
    }
    for (name, kind) in TRIALS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            play(name, async |dir| relay(&dir, name, kind).await);
        }
    }
    Ok(())
}

/// Messages go both ways while a validator joins, another is killed and comes back, and the new one leaves again. In the
/// end the network is recorded, and the light client verifies the recording.
async fn relay(dir: &Path, name: &str, kind: Kind) -> anyhow::Result<()> {
    let mut network = Network::start(dir, kind, 4, 1).await?;
    let (devnet, second) = second_city().await?;
    let city = network.city(CITY).await?;
    let world = World::beside(dir, program::cityrelay(), vec![city.clone(), second])?;
    let trial = Trial::begin(dir, world).await?;
    if let Kind::QuorumContractFrom(height) = kind {
        network.wait_for_block(height).await?;
    }
    let changes = async {
        network.vote(4, true, 5).await?;
        network.kill(2).await?;
        sleep(ABSENCE).await;
        network.restart(2).await?;
        network.vote(4, false, 4).await
    };
    let rounds = async {
        for round in 1..=ROUNDS {
            trial.scene.send_round(round, 1).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(rounds, changes)?;
    if let Kind::QuorumIbft1Until(height) = kind {
        network.wait_for_block(height + 2).await?;
    }
    trial.scene.send_round(ROUNDS + 1, 1).await?;
    let sent = ((ROUNDS + 1) * trial.scene.lanes.len()) as u64;
    let found = trial.finish().await?;
    ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
    let replayed = network.record_and_replay(&city).await?;
    eprintln!("{name}: {sent} messages settled; {replayed}");
    devnet.stop().await;
    Ok(())
}
