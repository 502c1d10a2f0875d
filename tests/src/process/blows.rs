//! Processes killed with SIGKILL, again and again.

use std::time::Duration;

use cityrelay::demo::configs::Party;
use cityrelay::demo::world::World;
use tokio::time::sleep;

use super::trial::{START_TIMEOUT, Scene};

/// Who is killed, and how long after the one before.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    /// Milliseconds since the victims of the blow before answered again.
    pub after_millis: u64,
    /// Positions in the list of parties: 0 and 1 are the relays.
    pub victims: &'static [usize],
    /// How long they stay down.
    pub down_millis: u64,
}

const fn blow(after_millis: u64, victims: &'static [usize], down_millis: u64) -> Blow {
    Blow { after_millis, victims, down_millis }
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

/// Each party alone, in turns, started again at once. Between two blows there is ever more time, up to most of a block's
/// second, so that each party is hit at moments all over it.
pub fn sweep() -> Vec<Blow> {
    const ALONE: [&[usize]; 6] = [&[0], &[1], &[2], &[3], &[4], &[5]];
    ALONE.iter().cycle().zip(0..36).map(|(victim, turn)| blow(turn * 25, victim, 0)).collect()
}

/// Plays the script to its end. Returns how many blows fell while messages were under way.
///
/// # Errors
/// When a process ended by itself, or does not answer after its start.
pub async fn strike(world: &mut World, parties: &[Party], scene: &Scene, script: &[Blow]) -> anyhow::Result<usize> {
    let mut hits = 0;
    for blow in script {
        sleep(Duration::from_millis(blow.after_millis)).await;
        let names = || blow.victims.iter().map(|victim| parties[*victim].name.as_str());
        for name in names() {
            world.kill(name).await?;
        }
        let (sent, _, settled) = scene.totals().await?;
        hits += usize::from(settled < sent);
        sleep(Duration::from_millis(blow.down_millis)).await;
        for name in names() {
            world.run(name)?;
        }
        for name in names() {
            world.wait_for(name, START_TIMEOUT).await?;
        }
    }
    Ok(hits)
}
