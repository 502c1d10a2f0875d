//! What journals say after their processes have ended, against what both chains say.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use cityrelay::demo::configs::{Party, THRESHOLD};
use cityrelay::demo::ledger::flow;
use cityrelay::demo::world::World;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Index;
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_journal::{Journal, Options};

use super::trial::Scene;

/// The last point of each flow, as the chain says that took it in.
pub type Heads = BTreeMap<Flow, ChainPoint>;

/// The heads that attesters signed for an index, and how many did.
type Signed = BTreeMap<(Flow, Index), BTreeMap<Hash32, usize>>;

/// Asks both chains.
///
/// # Errors
/// When a node does not answer.
pub async fn heads_on_chains(scene: &Scene) -> anyhow::Result<Heads> {
    let mut heads = Heads::new();
    for lane in &scene.lanes {
        for direction in [Direction::Outbox, Direction::Inbox] {
            let (_, to) = Scene::ends(lane, direction);
            let gateway = match direction {
                Direction::Outbox => lane.identity.destination_gateway,
                Direction::Inbox => lane.identity.source_gateway,
            };
            let flow = flow(lane, direction);
            heads.insert(flow, scene.towns[to].owner.target.accepted(gateway, flow).await?);
        }
    }
    Ok(heads)
}

/// Opens the journal of each party, whose process has ended, and checks:
///
/// * every row, and that each chain recomputed from its links ends in the recorded heads;
/// * I2, I3: a relay's journal holds every link up to the head on the chain, one for each index, and every entry that it
///   has not pruned, says that it is taken in or accepted, and that nothing is outstanding;
/// * I4: all attesters together signed one head for an index, and it is on the chain; of the last heads there are enough
///   signatures;
/// * nobody wrote misbehaviour down.
///
/// # Errors
/// The first of these that does not hold, or a journal that can't be read.
pub fn check_journals(world: &World, parties: &[Party], scene: &Scene, heads: &Heads) -> anyhow::Result<()> {
    let mut signed = Signed::new();
    for (at, party) in parties.iter().enumerate() {
        let dir = world.journal(&party.name);
        let open = || Journal::open(&dir, Options::default());
        let journal = open().with_context(|| format!("open the journal of {}", party.name))?;
        let checked = if party.is_attester {
            check_attester(&journal, heads, &mut signed)
        } else {
            check_relay(&journal, at, scene, heads)
        };
        journal.close();
        checked.with_context(|| format!("the journal of {}", party.name))?;
    }
    // The relays' chains were found to be the chains' own, so one of them has the head of every index.
    let relay = Journal::open(&world.journal(&parties[0].name), Options::default())?;
    for ((flow, index), votes) in &signed {
        let expected = relay.point(*flow, *index)?.map(|point| point.head);
        ensure!(
            votes.len() == 1 && votes.keys().next() == expected.as_ref(),
            "I4: index {index} of {flow:?} has head {expected:?}, attesters signed {votes:?}"
        );
    }
    for (flow, head) in heads {
        let votes = signed.get(&(*flow, head.index)).and_then(|votes| votes.get(&head.head)).copied().unwrap_or(0);
        ensure!(votes >= THRESHOLD as usize, "I4: {votes} attesters signed the last head of {flow:?}");
    }
    Ok(())
}

fn check_sound(journal: &Journal) -> anyhow::Result<()> {
    let misbehaviour = journal.misbehaviour()?;
    ensure!(misbehaviour.is_empty(), "misbehaviour was seen: {misbehaviour:?}");
    journal.read(|view| view.verify())?;
    Ok(())
}

fn check_attester(journal: &Journal, heads: &Heads, signed: &mut Signed) -> anyhow::Result<()> {
    check_sound(journal)?;
    for (flow, head) in heads {
        for index in (1..=head.index.0).map(Index) {
            // Few indices are signed; to have the point of another one costs a walk through its extension.
            let Some((point, _)) = journal.read(|view| view.signed(*flow, index))? else { continue };
            let own = journal.point(*flow, index)?;
            ensure!(Some(point) == own, "I4: signed {point:?}, which is not on its chain: {own:?}");
            *signed.entry((*flow, index)).or_default().entry(point.head).or_insert(0) += 1;
        }
    }
    Ok(())
}

fn check_relay(journal: &Journal, at: usize, scene: &Scene, heads: &Heads) -> anyhow::Result<()> {
    check_sound(journal)?;
    let counts = journal.flows()?;
    for lane in &scene.lanes {
        for direction in [Direction::Outbox, Direction::Inbox] {
            let flow = flow(lane, direction);
            let head = heads[&flow];
            let counts = counts.iter().find(|counts| counts.flow == flow);
            let counts = counts.with_context(|| format!("I3: nothing of {flow:?}"))?;
            ensure!(counts.tip == head, "I3: {flow:?} ends at {:?}, on the chain at {head:?}", counts.tip);
            let (_, to) = Scene::ends(lane, direction);
            let finished = if at == to { counts.done } else { counts.peer_accepted };
            ensure!(finished == head, "I3: {flow:?} is finished up to {finished:?}, on the chain up to {head:?}");
            let links = journal.links(flow, Index(1), head.index)?.len();
            ensure!(links as u64 == head.index.0, "I3: {flow:?} holds {links} links up to {head:?}");
            let first = counts.bodies_pruned.next();
            let entries = journal.entries(flow, first, head.index)?;
            let indices: Vec<u64> = entries.iter().map(|entry| entry.index().0).collect();
            ensure!(indices == (first.0..=head.index.0).collect::<Vec<_>>(), "I2: {flow:?} holds {indices:?}");
        }
    }
    Ok(())
}
