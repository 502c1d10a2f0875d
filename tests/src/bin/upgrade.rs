//! A rolling upgrade from the program that `CITYRELAY_OLD_PROGRAM` names to this one. `tests/upgrade` builds it and calls this.
#![allow(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::world::World;
use cityrelay_tests::process::trial::{START_TIMEOUT, Trial};
use cityrelay_tests::process::{play, program};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than the daemon gives itself to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// In which order the processes are upgraded, by their place among the parties: two relays, then four attesters. After each
/// step another mixture runs: at first one new attester of four, at last one old one, relays of both kinds on both sides.
const ORDER: [usize; 6] = [2, 1, 3, 4, 0, 5];

fn main() -> anyhow::Result<()> {
    let old = std::env::var_os("CITYRELAY_OLD_PROGRAM").context("CITYRELAY_OLD_PROGRAM names the older program")?;
    let old = PathBuf::from(old);
    ensure!(old.is_file(), "{} is no program", old.display());
    play("upgrade", async |dir| upgrade(&dir, &old).await);
    Ok(())
}

/// Everything runs the old program; each process is stopped, replaced and started on its data folder while messages are under
/// way, and a round is settled by each mixture.
async fn upgrade(dir: &Path, old: &Path) -> anyhow::Result<()> {
    let mut world = World::start(dir, program::cityrelay(), "mixed").await?;
    world.replace_program(old);
    let mut trial = Trial::begin(dir, world).await?;
    let mut round = 0;
    let mut next = |trial: &Trial| {
        round += 1;
        let scene = trial.scene.clone();
        async move { scene.send_round(round, 1).await }
    };
    next(&trial).await?;
    trial.settle().await?;
    let before = version(&trial, ORDER[0]).await?;
    trial.world.replace_program(program::cityrelay());
    for at in ORDER {
        let name = trial.parties[at].name.clone();
        next(&trial).await?;
        let pid = trial.world.pid(&name).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.with_context(|| format!("{name} runs"))?, Signal::TERM)?;
        let status = trial.world.wait_for_end(&name, STOP_TIMEOUT).await?;
        ensure!(status.success(), "the old {name} ended with {status}");
        next(&trial).await?;
        trial.world.run(&name)?;
        trial
            .world
            .wait_for(&name, START_TIMEOUT)
            .await
            .with_context(|| format!("the new {name} on the old journal"))?;
        next(&trial).await?;
        trial.settle().await.with_context(|| format!("with {name} upgraded"))?;
        eprintln!("{name} is upgraded; everything sent is settled");
    }
    let after = version(&trial, ORDER[0]).await?;
    let sent = u64::try_from((1 + 3 * ORDER.len()) * trial.scene.lanes.len())?;
    let found = trial.finish().await?;
    ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
    eprintln!("upgraded from {before} to {after}: {sent} messages settled, nothing lost or doubled");
    Ok(())
}

async fn version(trial: &Trial, at: usize) -> anyhow::Result<String> {
    Ok(trial.world.status(&trial.parties[at].name).await?.version)
}
