//! Two relays with a disturbed network between them: the real program in two real network namespaces.
//!
//! One relay runs [away](namespaces), the other one, all attesters and both chains at home. So one of them lacks its peer when the
//! network is gone, and the other one its peer and the attesters. What disturbs is the kernel's: packets are dropped by nftables
//! where they arrive, and a token bucket makes the line narrow; only delay is made by a [box on the way](slow_forwarder).

pub mod addresses;
pub mod namespaces;
pub mod outage;
pub mod slow_forwarder;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay::demo::configs::Party;
use cityrelay::demo::world::World;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use self::addresses::Addresses;
use self::namespaces::{AWAY, ELSEWHERE, HOME, Namespaces, Way};
use self::slow_forwarder::{Delay, SlowForwarder};
use super::program;
use super::soak::gauges::peaks;
use super::trial::{Scene, Trial};

/// The devnet's chains: one of each kind.
const PAIRING: &str = "mixed";

/// Rounds of at least one message on each lane.
const ROUNDS: usize = 15;

/// Packets of a hundred that are lost, each way.
const LOSS_PERCENT: u32 = 10;

/// Most of a circle around the Earth by fibre, and as uneven as a radio link.
const DELAY: Delay = Delay { least: Duration::from_millis(150), jitter: Duration::from_millis(50) };

/// What the narrow line lets through, each way.
const RATE: &str = "1mbit";

/// Shorter than the silence after which a session is given up.
const SHORT_CUT: Duration = Duration::from_secs(8);

/// Longer than that.
const LONG_CUT: Duration = Duration::from_secs(20);

/// How long messages flow before the network changes, and again after it.
const CALM: Duration = Duration::from_secs(3);

/// How long a session may take to stand again: twice the silence after which it is given up, and the longest pauses between dials.
const RETURN_TIMEOUT: Duration = Duration::from_secs(90);

/// Which trials there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Packets are lost both ways.
    Loss,
    /// Packets take long, and overtake each other.
    Delay,
    /// The line is narrow.
    Rate,
    /// The line is cut: for a moment, for a while, and in one direction only.
    Partition,
    /// The side that dialled gets another address.
    PathChange,
    /// The side that is dialled gets another address.
    NewAddress,
    /// The line is cut while a great many messages are sent.
    Outage,
}

impl Kind {
    /// Every trial by its name; the outage, which takes long, comes last.
    pub const ALL: [(&str, Self); 7] = [
        ("loss", Self::Loss),
        ("delay", Self::Delay),
        ("rate", Self::Rate),
        ("partition", Self::Partition),
        ("path-change", Self::PathChange),
        ("new-address", Self::NewAddress),
        ("outage", Self::Outage),
    ];
}

/// Plays a trial, and checks both chains and all journals in the end. Returns a line of figures.
///
/// # Errors
/// What was lost or doubled, what stood still, or what the network's change should have done and did not.
pub async fn play(dir: &Path, kind: Kind, outage_messages: u64) -> anyhow::Result<String> {
    match kind {
        Kind::Loss => loss(dir).await,
        Kind::Delay => delay(dir).await,
        Kind::Rate => rate(dir).await,
        Kind::Partition => partition(dir).await,
        Kind::PathChange => path_change(dir).await,
        Kind::NewAddress => new_address(dir).await,
        Kind::Outage => outage::outage(dir, outage_messages).await,
    }
}

async fn loss(dir: &Path) -> anyhow::Result<String> {
    let field = Field::lay(dir, Roads::Direct).await?.open().await?;
    for way in Way::BOTH {
        field.net.lose(way, LOSS_PERCENT).await?;
    }
    let started = Instant::now();
    let sent = field.trial.scene.send_rounds(ROUNDS).await?;
    field.close(sent, started, "").await
}

async fn delay(dir: &Path) -> anyhow::Result<String> {
    let field = Field::lay(dir, Roads::Slow(DELAY)).await?.open().await?;
    let started = Instant::now();
    let sent = field.trial.scene.send_rounds(ROUNDS).await?;
    let round_trip = field.metric(field.home(), "link_rtt_seconds", &field.away().name).await?;
    let least = DELAY.least.as_secs_f64() * 2.0;
    ensure!(round_trip >= least, "expected a round trip of at least {least} s, got {round_trip} s");
    field.close(sent, started, &format!("round trip {round_trip:.3} s; ")).await
}

async fn rate(dir: &Path) -> anyhow::Result<String> {
    let mut field = Field::lay(dir, Roads::Direct).await?.open().await?;
    field.net.narrow(RATE).await?;
    let started = Instant::now();
    let sent = field.trial.scene.send_rounds(ROUNDS).await?;
    field.trial.settle().await?;
    let delayed = field.net.delayed_packets().await?;
    ensure!(delayed > 0, "expected packets to wait for {RATE}, none did");
    field.close(sent, started, &format!("{delayed} packets waited for {RATE}; ")).await
}

async fn partition(dir: &Path) -> anyhow::Result<String> {
    let field = Field::lay(dir, Roads::Direct).await?.open().await?;
    let cuts: [(&[Way], Duration); 3] = [(&Way::BOTH, SHORT_CUT), (&Way::BOTH, LONG_CUT), (&[Way::ToAway], LONG_CUT)];
    let started = Instant::now();
    let mut returns = String::new();
    let weather = async {
        for (ways, length) in cuts {
            sleep(CALM).await;
            let before = field.sessions(Some(field.home()))?;
            for way in ways {
                field.net.cut(*way).await?;
            }
            sleep(length).await;
            for way in ways {
                field.net.heal(*way).await?;
            }
            let healed = Instant::now();
            if length == SHORT_CUT {
                // Long enough to have another session, if the cut had cost this one.
                sleep(CALM).await;
                field.wait_for_session(before).await?;
                ensure!(field.sessions(Some(field.home()))? == before, "a cut of {length:?} has cost a session");
                returns += &format!("a cut of {} s cost no session; ", length.as_secs());
            } else {
                field.wait_for_session(before + 1).await?;
                let back = healed.elapsed().as_secs_f64();
                returns += &format!("after {} s a session after {back:.1} s; ", length.as_secs());
            }
        }
        sleep(CALM).await;
        Ok(())
    };
    let sent = while_sending(&field.trial.scene, weather).await?;
    field.close(sent, started, &returns).await
}

async fn path_change(dir: &Path) -> anyhow::Result<String> {
    let mut field = Field::lay(dir, Roads::FromAwayOnly).await?.open().await?;
    let before = field.sessions(None)?;
    let started = Instant::now();
    let weather = async {
        sleep(CALM).await;
        field.net.renumber(true, AWAY, ELSEWHERE).await?;
        sleep(CALM).await;
        Ok(())
    };
    let sent = while_sending(&field.trial.scene, weather).await?;
    field.trial.settle().await?;
    for party in field.homely() {
        let changes = field.metric(party, "link_path_changes_total", &field.away().name).await?;
        ensure!(changes >= 1.0, "{}: expected a change of path to be counted, got {changes}", party.name);
    }
    let after = field.sessions(None)?;
    ensure!(before == after, "expected the session to survive, got {} more", after - before);
    let count = field.homely().count();
    field.close(sent, started, &format!("{count} sessions went on from another address; ")).await
}

async fn new_address(dir: &Path) -> anyhow::Result<String> {
    let field = Field::lay(dir, Roads::FromAwayOnly).await?.open().await?;
    let before = field.sessions(Some(field.home()))?;
    let started = Instant::now();
    let mut back = Duration::ZERO;
    let weather = async {
        sleep(CALM).await;
        field.net.renumber(false, HOME, ELSEWHERE).await?;
        field.tell_away(ELSEWHERE)?;
        let moved = Instant::now();
        field.wait_for_session(before + 1).await?;
        back = moved.elapsed();
        sleep(CALM).await;
        Ok(())
    };
    let sent = while_sending(&field.trial.scene, weather).await?;
    field.close(sent, started, &format!("a new session after {:.1} s; ", back.as_secs_f64())).await
}

/// Sends on all lanes, again and again, until `weather` is over. Returns the number of messages.
async fn while_sending(scene: &Scene, weather: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<u64> {
    let is_over = Cell::new(false);
    let weather = async {
        let ended = weather.await;
        is_over.set(true);
        ended
    };
    let (sent, ()) = tokio::try_join!(scene.send_while(|| !is_over.get()), weather)?;
    Ok(sent)
}

/// How the relays reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roads {
    /// Each dials the other.
    Direct,
    /// The one that is away dials; nobody dials it.
    FromAwayOnly,
    /// Each dials the other by way of a forwarder.
    Slow(Delay),
}

/// Two cities with a relay that is away.
#[derive(Debug)]
pub struct Field {
    /// What runs.
    pub trial: Trial,
    /// Between what.
    pub net: Namespaces,
    dials: Vec<SocketAddr>,
    _forwarders: Vec<SlowForwarder>,
}

impl Field {
    /// Sets everything up, but starts no relay and no attester yet.
    async fn lay(dir: &Path, roads: Roads) -> anyhow::Result<Self> {
        // First of all: until then nobody hears anybody on the loopback.
        let net = Namespaces::make().await?;
        let world = World::start(dir, program::cityrelay(), PAIRING).await?;
        let trial = Trial::prepare(dir, world, 0).await?;
        let parties = trial.parties.clone();
        let (mover, homely) = split(&parties)?;
        net.lead_away(mover.metrics_port).await?;
        let mut mover_at = Some((AWAY, mover.port).into());
        let mut dials: Vec<SocketAddr> = homely.iter().map(|party| (HOME, party.port).into()).collect();
        let mut forwarders = Vec::new();
        match roads {
            Roads::Direct => {}
            Roads::FromAwayOnly => mover_at = None,
            Roads::Slow(delay) => {
                for at in dials.iter_mut().chain(&mut mover_at) {
                    let forwarder = SlowForwarder::start(HOME, *at, delay).await?;
                    *at = forwarder.address;
                    forwarders.push(forwarder);
                }
            }
        }
        let mut field = Self { trial, net, dials, _forwarders: forwarders };
        field.with_addresses(mover_at, |addresses, world| addresses.write(world))?;
        field.trial.world.launch_by(&mover.name, field.net.launcher());
        Ok(field)
    }

    /// Starts all processes, and waits until the relay that is away has had a session with everybody.
    async fn open(mut self) -> anyhow::Result<Self> {
        self.trial.start().await?;
        self.wait_for_session(1).await?;
        for peer in self.homely() {
            let is_so = async || Ok(self.sessions(Some(peer))? > 0);
            self.wait_until("a party had no session", is_so).await?;
        }
        Ok(self)
    }

    /// The relay that is away.
    fn away(&self) -> &Party {
        &self.trial.parties[1]
    }

    /// Its peer.
    fn home(&self) -> &Party {
        &self.trial.parties[0]
    }

    fn homely(&self) -> impl Iterator<Item = &Party> {
        self.trial.parties.iter().filter(|party| party.name != self.away().name)
    }

    fn with_addresses(
        &self,
        mover_at: Option<SocketAddr>,
        change: impl FnOnce(&Addresses<'_>, &World) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let homely: Vec<_> = self.homely().zip(self.dials.iter().copied()).collect();
        change(&Addresses { mover: self.away(), mover_at, homely: &homely }, &self.trial.world)
    }

    /// Tells the relay that is away that everybody at home has another address now, as an operator does.
    fn tell_away(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        self.with_addresses(None, |addresses, world| addresses.move_home(world, address))?;
        let pid = self.trial.world.pid(&self.away().name).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("the relay that is away runs")?, Signal::HUP)?;
        Ok(())
    }

    /// How many sessions the relay that is away has had since its start: with anybody, or with this peer.
    fn sessions(&self, peer: Option<&Party>) -> anyhow::Result<usize> {
        let log = self.trial.world.log(&self.away().name);
        let text = std::fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        let line = peer.map_or("session is up ".to_owned(), |peer| format!("session is up peer={} ", peer.name));
        Ok(text.matches(&line).count())
    }

    /// Waits until both relays say that they have a session with each other, and it is at least the one of this number.
    async fn wait_for_session(&self, number: usize) -> anyhow::Result<()> {
        let is_so = async || Ok(self.relays_with_session().await? == 2 && self.sessions(Some(self.home()))? >= number);
        self.wait_until("the relays had no session", is_so).await
    }

    /// Waits until neither relay has a session with the other one.
    async fn wait_for_silence(&self) -> anyhow::Result<()> {
        self.wait_until("a session went on", async || Ok(self.relays_with_session().await? == 0)).await
    }

    async fn wait_until(&self, what: &str, is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let deadline = Instant::now() + RETURN_TIMEOUT;
        while !is_so().await? {
            ensure!(Instant::now() < deadline, "{what} within {RETURN_TIMEOUT:?}");
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn relays_with_session(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for (at, other) in [(self.home(), self.away()), (self.away(), self.home())] {
            let status = self.trial.world.status(&at.name).await?;
            count += usize::from(status.peers.iter().any(|peer| peer.name == other.name && peer.is_up));
        }
        Ok(count)
    }

    /// A metric of a party about one of its peers.
    async fn metric(&self, of: &Party, name: &str, peer: &str) -> anyhow::Result<f64> {
        // The provider is the process's; somebody else may have set it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let url = format!("http://127.0.0.1:{}/metrics", of.metrics_port);
        let text = reqwest::get(&url).await?.error_for_status()?.text().await?;
        let line = format!("cityrelay_{name}{{peer=\"{peer}\"}} ");
        let value = text.lines().find_map(|said| said.strip_prefix(&line));
        value.with_context(|| format!("{}: expected {line}among its metrics", of.name))?.parse().context("a number")
    }

    /// The most memory that each process has had resident.
    fn peaks(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let names: Vec<String> = self.trial.parties.iter().map(|party| party.name.clone()).collect();
        peaks(&self.trial.world, &names)
    }

    /// Waits until everything is settled, checks both chains and all journals, and says what there is to say.
    async fn close(mut self, sent: u64, started: Instant, note: &str) -> anyhow::Result<String> {
        self.trial.settle().await?;
        let took = started.elapsed().as_secs_f64();
        let peaks = self.peaks()?;
        let packets = self.net.packets().await?;
        let found = self.trial.finish().await?;
        self.net.end().await?;
        ensure!(found == sent, "I1: {sent} messages were sent, the chains have {found}");
        let (largest, bytes) = peaks.iter().max_by_key(|(_, bytes)| **bytes).context("a process")?;
        Ok(format!(
            "{sent} messages in {took:.1} s; {note}{} of {} packets lost; peak resident memory {} MiB ({largest})",
            packets.lost,
            packets.came,
            bytes >> 20
        ))
    }
}

/// The relay of the second city, and everybody else.
fn split(parties: &[Party]) -> anyhow::Result<(&Party, Vec<&Party>)> {
    match parties {
        [first, mover, attesters @ ..] if !mover.is_attester => {
            Ok((mover, std::iter::once(first).chain(attesters).collect()))
        }
        _ => bail!("expected two relays and then attesters"),
    }
}
