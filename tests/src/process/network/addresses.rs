//! Who is dialled where: one relay runs away, everybody else at home.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use cityrelay::demo::configs::Party;
use cityrelay::demo::world::World;

use super::namespaces::{HOUSE, HOUSE_AWAY};

/// Which configuration gets which addresses.
#[derive(Debug)]
pub struct Addresses<'a> {
    /// The relay that runs away.
    pub mover: &'a Party,
    /// Where those at home dial it; `None` when only it dials.
    pub mover_at: Option<SocketAddr>,
    /// Where it dials those at home, in their order.
    pub homely: &'a [(&'a Party, SocketAddr)],
}

impl Addresses<'_> {
    /// Changes the configurations of all parties, which have everybody on one loopback.
    ///
    /// # Errors
    /// When one can't be read or written, or has not the form that is expected.
    pub fn write(&self, world: &World) -> anyhow::Result<()> {
        let own = loopback(self.mover.port);
        for (party, _) in self.homely {
            let mut text = read(world, party)?;
            text = listen_everywhere(&text, party)?;
            text = match self.mover_at {
                Some(at) => text.replace(&own, &at.to_string()),
                None => text.replace(&format!("address = \"{own}\"\n"), ""),
            };
            store(world, party, &text)?;
        }
        let mut text = listen_everywhere(&read(world, self.mover)?, self.mover)?;
        for (party, at) in self.homely {
            text = text.replace(&loopback(party.port), &at.to_string());
        }
        text = text.replace(&loopback(self.mover.metrics_port), &format!("{HOUSE_AWAY}:{}", self.mover.metrics_port));
        // What is left are the nodes of its chain.
        store(world, self.mover, &text.replace("127.0.0.1", &HOUSE.to_string()))
    }

    /// The mover dials everybody at home at another address of theirs, once it reads its configuration again.
    ///
    /// # Errors
    /// When the configuration can't be read or written.
    pub fn move_home(&self, world: &World, to: Ipv4Addr) -> anyhow::Result<()> {
        let mut text = read(world, self.mover)?;
        for (_, at) in self.homely {
            text = text.replace(&at.to_string(), &format!("{to}:{}", at.port()));
        }
        store(world, self.mover, &text)
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn listen_everywhere(text: &str, party: &Party) -> anyhow::Result<String> {
    let (here, everywhere) = (loopback(party.port), format!("0.0.0.0:{}", party.port));
    let (here, everywhere) = (format!("listen = \"{here}\""), format!("listen = \"{everywhere}\""));
    ensure!(text.contains(&here), "{}: expected {here} in its configuration", party.name);
    Ok(text.replace(&here, &everywhere))
}

fn read(world: &World, party: &Party) -> anyhow::Result<String> {
    let path = world.config(&party.name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn store(world: &World, party: &Party, text: &str) -> anyhow::Result<()> {
    let path = world.config(&party.name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
