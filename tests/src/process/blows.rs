//! Processes ended in the middle of their work, again and again: killed, told to stop, or killed while they stop.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cityrelay::demo::configs::Party;
use cityrelay::demo::world::World;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::trial::{START_TIMEOUT, Scene};

/// Longer than the daemon gives itself to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL: it gets no chance to tidy up.
    Kill,
    /// SIGTERM: it must end by itself, with exit code 0.
    Stop,
    /// SIGTERM, and SIGKILL so many milliseconds later, while it makes everything durable.
    KillWhileStopping(u64),
}

/// Who is ended, how, and how long after the blow before.
#[derive(Clone, Debug)]
pub struct Blow {
    /// Milliseconds since the victims of the blow before answered again.
    pub after_millis: u64,
    /// Positions in the list of parties: 0 and 1 are the relays.
    pub victims: Cow<'static, [usize]>,
    /// How they are ended.
    pub ending: Ending,
    /// How long they stay down.
    pub down_millis: u64,
}

const fn blow(after_millis: u64, victims: &'static [usize], down_millis: u64) -> Blow {
    Blow { after_millis, victims: Cow::Borrowed(victims), ending: Ending::Kill, down_millis }
}

/// Each relay and each attester at least once, alone and together, restarted at once and later. Waits are of all sizes,
/// so that blows fall before, between and after the steps of a message.
pub const SCRIPT: &[Blow] = &[
    blow(900, &[0], 300),
    blow(450, &[2], 800),
    blow(700, &[1], 300),
    // Fewer attesters than are needed.
    blow(350, &[3, 4], 900),
    blow(500, &[0, 1], 400),
    blow(150, &[0], 0),
    blow(80, &[0], 0),
    blow(650, &[1], 0),
    blow(250, &[5], 1200),
    blow(400, &[0, 3], 100),
    blow(300, &[1, 2], 500),
    blow(550, &[0, 1, 2, 3, 4, 5], 200),
    blow(120, &[1], 0),
];

/// Blows without end, drawn from a seed: any of the parties, alone or several at once, at any moment of a block's time.
/// Two of three are SIGKILL. The same seed draws the same blows.
#[derive(Debug)]
pub struct DrawnBlows {
    dice: StdRng,
    parties: usize,
    longest_wait_millis: u64,
}

impl DrawnBlows {
    /// Blows on so many parties, each at most so long after the one before.
    #[must_use]
    pub fn new(seed: u64, parties: usize, longest_wait_millis: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), parties, longest_wait_millis }
    }
}

impl Iterator for DrawnBlows {
    type Item = Blow;

    fn next(&mut self) -> Option<Blow> {
        let dice = &mut self.dice;
        let count = match dice.random_range(1..=20) {
            1..=11 => 1,
            12..=16 => 2,
            17..=19 => 3,
            _ => self.parties,
        };
        let mut left: Vec<usize> = (0..self.parties).collect();
        let drawn = (0..count.min(self.parties)).map(|_| {
            let at = dice.random_range(0..left.len());
            left.swap_remove(at)
        });
        let victims: Vec<usize> = drawn.collect();
        let ending = match dice.random_range(1..=6) {
            1..=4 => Ending::Kill,
            5 => Ending::Stop,
            _ => Ending::KillWhileStopping(dice.random_range(0..=20)),
        };
        // Half of them are started again at once.
        let down_millis = if dice.random_bool(0.5) { 0 } else { dice.random_range(1..=300) };
        let after_millis = dice.random_range(0..=self.longest_wait_millis);
        Some(Blow { after_millis, victims: victims.into(), ending, down_millis })
    }
}

/// Plays the script to its end. Returns how many blows fell while messages were under way.
///
/// # Errors
/// When a process ended by itself, did not end well when it was told to stop, or does not answer after its start.
pub async fn strike(
    world: &mut World,
    parties: &[Party],
    scene: &Scene,
    script: impl IntoIterator<Item = Blow>,
) -> anyhow::Result<usize> {
    let mut hits = 0;
    for (number, blow) in (1..).zip(script) {
        let names: Vec<&str> = blow.victims.iter().map(|victim| parties[*victim].name.as_str()).collect();
        eprintln!(
            "blow {number}: after {} ms {:?} {names:?}, down {} ms",
            blow.after_millis, blow.ending, blow.down_millis
        );
        land(world, &names, &blow, scene, &mut hits).await.with_context(|| format!("blow {number}"))?;
    }
    Ok(hits)
}

async fn land(world: &mut World, names: &[&str], blow: &Blow, scene: &Scene, hits: &mut usize) -> anyhow::Result<()> {
    sleep(Duration::from_millis(blow.after_millis)).await;
    end(world, names, blow.ending).await?;
    let (sent, _, settled) = scene.totals().await?;
    *hits += usize::from(settled < sent);
    sleep(Duration::from_millis(blow.down_millis)).await;
    for name in names {
        world.run(name)?;
    }
    for name in names {
        world.wait_for(name, START_TIMEOUT).await?;
    }
    Ok(())
}

/// Ends processes, all at once.
///
/// # Errors
/// When one is not running, or did not end well when it was told to stop.
pub async fn end(world: &mut World, names: &[&str], ending: Ending) -> anyhow::Result<()> {
    if ending != Ending::Kill {
        for name in names {
            let pid = world.pid(name).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            kill_process(pid.with_context(|| format!("{name} runs"))?, Signal::TERM)?;
        }
    }
    if let Ending::KillWhileStopping(millis) = ending {
        sleep(Duration::from_millis(millis)).await;
    }
    for name in names {
        if ending == Ending::Stop {
            let status = world.wait_for_end(name, STOP_TIMEOUT).await?;
            ensure!(status.code() == Some(0), "{name} was told to stop and ended with {status}");
        } else {
            world.kill(name).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_blows_hit_everybody_in_every_way_and_again_under_the_same_seed() {
        let draw = |seed| DrawnBlows::new(seed, 6, 600).take(200).map(|blow| format!("{blow:?}")).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for seed in 1..=20 {
            let blows: Vec<Blow> = DrawnBlows::new(seed, 6, 600).take(200).collect();
            for party in 0..6 {
                assert!(blows.iter().any(|blow| *blow.victims == [party]), "seed {seed}: {party} alone");
            }
            assert!(blows.iter().any(|blow| blow.victims.len() == 6), "seed {seed}");
            let kills = blows.iter().filter(|blow| blow.ending == Ending::Kill).count();
            assert!((100..=160).contains(&kills), "seed {seed}: {kills}");
            assert!(blows.iter().any(|blow| blow.ending == Ending::Stop), "seed {seed}");
            assert!(blows.iter().all(|blow| blow.after_millis <= 600), "seed {seed}");
        }
    }
}
