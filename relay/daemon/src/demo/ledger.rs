//! What both chains say in the end, read back from their events and checked against their gateways' heads.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use cityrelay_api::source::EntryRequest;
use cityrelay_core::assemble::{Cut, assemble};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::ids::{Address, Index};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::outcome::Status;

use super::setup::{Lane, Town};

/// One lane as both chains have it.
#[derive(Clone, Debug)]
pub struct LaneLedger {
    /// Messages that the source gateway took.
    pub sent: u64,
    /// Outcomes by status.
    pub outcomes: BTreeMap<Status, u64>,
    /// Outcomes that the source gateway has settled.
    pub settled: u64,
}

impl LaneLedger {
    /// How many messages had this outcome.
    #[must_use]
    pub fn count(&self, status: Status) -> u64 {
        self.outcomes.get(&status).copied().unwrap_or(0)
    }
}

/// How far a lane has come, without looking at entries: sent, delivered, settled.
///
/// # Errors
/// When a node does not answer.
pub async fn progress(towns: &[Town], lane: &Lane) -> anyhow::Result<(u64, u64, u64)> {
    let (from, to) = ends(towns, lane)?;
    let (source, destination) = (lane.identity.source_gateway, lane.identity.destination_gateway);
    let sent = from.owner.source.head_hint(source, flow(lane, Direction::Outbox)).await?;
    let delivered = to.owner.target.accepted(destination, flow(lane, Direction::Outbox)).await?;
    let settled = from.owner.target.accepted(source, flow(lane, Direction::Inbox)).await?;
    Ok((sent.index.0, delivered.index.0, settled.index.0))
}

/// Reads a lane back from both chains and checks I1, I2 and I3 on it.
///
/// * I1, nothing forged: both hash chains, recomputed from what the gateways' events say, end in the heads that the
///   gateways hold; each outcome names the id of the message with its index.
/// * I2, exactly once: every index has one message and one outcome, and nothing else fits the heads.
/// * I3, complete: the destination has taken in everything that was sent, the source has settled every outcome.
///
/// # Errors
/// The first thing that does not hold, or a node that does not answer.
pub async fn check(towns: &[Town], lane: &Lane) -> anyhow::Result<LaneLedger> {
    let (from, to) = ends(towns, lane)?;
    let outbox = flow(lane, Direction::Outbox);
    let inbox = flow(lane, Direction::Inbox);
    let (source, destination) = (lane.identity.source_gateway, lane.identity.destination_gateway);
    let messages = read_chain(from, source, outbox).await.context("I1: the outbox chain")?;
    let outcomes = read_chain(to, destination, inbox).await.context("I1: the inbox chain")?;
    ensure!(
        messages.len() == outcomes.len(),
        "I2: {} messages and {} outcomes on {}",
        messages.len(),
        outcomes.len(),
        lane.id
    );
    let mut ledger = LaneLedger { sent: 0, outcomes: BTreeMap::new(), settled: 0 };
    for (message, outcome) in messages.iter().zip(&outcomes) {
        let (Entry::Message(message), Entry::Outcome(outcome)) = (message, outcome) else {
            bail!("an entry on the wrong chain of {}", lane.id)
        };
        ensure!(message.index == outcome.index, "I2: index {} and {}", message.index, outcome.index);
        ensure!(
            message.id(lane.id) == outcome.message,
            "I1: outcome {} names a message that was not sent",
            outcome.index
        );
        ledger.sent += 1;
        *ledger.outcomes.entry(outcome.status).or_insert(0) += 1;
    }
    let head = |entries: &[Entry], flow: Flow| {
        entries.iter().fold(ChainPoint::start(flow), |point, entry| point.extended(flow.direction, entry.link(flow)))
    };
    let delivered = to.owner.target.accepted(destination, outbox).await?;
    ensure!(delivered == head(&messages, outbox), "I3: the destination holds another outbox head of {}", lane.id);
    let settled = from.owner.target.accepted(source, inbox).await?;
    ensure!(settled == head(&outcomes, inbox), "I3: the source has not settled all of {}", lane.id);
    ledger.settled = settled.index.0;
    Ok(ledger)
}

/// Every entry of a chain, recomputed up to the head that its gateway holds.
async fn read_chain(town: &Town, gateway: Address, flow: Flow) -> anyhow::Result<Vec<Entry>> {
    let head = town.owner.source.head_hint(gateway, flow).await?;
    let start = ChainPoint::start(flow);
    if head.index == start.index {
        ensure!(head.head == start.head, "an empty chain with head {}", head.head);
        return Ok(Vec::new());
    }
    let newest = town.owner.source.tip().await?;
    let request = EntryRequest { gateway, flow, first: Index(1), last: head.index, newest };
    let hints = town.owner.source.entry_hints(&request).await?;
    let cut = Cut { max_entries: usize::MAX, max_bytes: usize::MAX, max_gas: u64::MAX };
    let (entries, _) = assemble(flow, start, head, hints, cut)?;
    Ok(entries)
}

fn ends<'a>(towns: &'a [Town], lane: &Lane) -> anyhow::Result<(&'a Town, &'a Town)> {
    towns.get(lane.from).zip(towns.get(lane.to)).context("a lane between two towns")
}

/// One of a lane's two chains.
#[must_use]
pub const fn flow(lane: &Lane, direction: Direction) -> Flow {
    Flow { lane: lane.id, direction }
}
