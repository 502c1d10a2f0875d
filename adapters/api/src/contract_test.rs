//! What every adapter owes to the daemon, as checks that run over any chain which a test can steer.
//!
//! [`every_check`] deploys a gateway through the adapter, follows the chain with its light client, and then breaks one
//! thing after the other: bytes of updates and proofs, nodes, transactions. Each check panics with what it found.
//! For test programs only: no release has the feature `contract-test`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "the checks of a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::claim::Claim;
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::light_client::{Gravity, Refusal};
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader, VerifiedUpdate};

use crate::adapter::Chain;
use crate::source::{Confirmation, EntryRequest, HeadProofAnswer, HeadProofRequest, NodeError, Source};
use crate::target::{Fate, Fit, Intent, LaneState, Target};

/// A chain with two nodes that a test can steer.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The chain as the adapter configures it, over these of its nodes, with an account that can pay. Nothing is
    /// remembered from one call to the next: each is a restart.
    fn chain(&self, nodes: &[usize]) -> Arc<dyn Chain>;

    /// Name in that configuration of a node.
    fn name(&self, node: usize) -> String;

    /// The chain as the protocol names it.
    fn domain(&self) -> Domain;

    /// Whether contracts see milliseconds.
    fn clock_is_millis(&self) -> bool;

    /// Local time.
    fn now(&self) -> UnixMillis;

    /// Waits for a moment: less than a block takes.
    async fn pause(&self);

    /// Has the chain make no more blocks, or make them again. Nodes go on answering.
    fn stall(&self, is_stalled: bool);

    /// Makes one node, or both, misbehave.
    async fn misbehave(&self, node: Option<usize>, misdeed: Misdeed);

    /// Makes all nodes behave again; those that were away are back.
    async fn behave(&self);
}

/// What nodes can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Shows a header at this height that nobody has sealed.
    Forge(Height),
    /// Shows another header at this height, sealed by a quorum.
    Equivocate(Height),
    /// Takes transactions and forgets them.
    DropTransactions,
    /// Does not answer: its port is closed.
    Vanish,
}

/// Both nodes of a driver.
const BOTH: &[usize] = &[0, 1];

/// How often [`Driver::pause`] is waited for something that must happen.
const PATIENCE: usize = 600;

/// How many bytes of an encoding are changed, one at a time, evenly spread.
const CHANGED_BYTES: usize = 48;

/// Runs every check, in the order in which they stand here.
///
/// * an idle chain is no stall, and costs no node its standing; on a stalled one transactions are seen to wait;
/// * from every height that was trusted the source serves an update that the client takes;
/// * an update with one byte changed never leads to another header;
/// * a head is proved, found by hints, and confirmed; a checkpoint is asked for where the chain proves heads by nothing
///   else, and a message alone is none;
/// * a proof holds for its own header, gateway, lane and direction only, and with one byte changed for no other head;
/// * a transaction broadcast twice, and after a restart, has one effect;
/// * a transaction that the nodes dropped is found out, and broadcast again takes effect once;
/// * a node that forges a header is named, counted and left, and the chain is followed all the same;
/// * every own node says which header it has at a height, and one that is away says nothing;
/// * two sealed headers at one height are told apart from mere lies, and found in the ordinary course;
/// * nodes that are all away are reported as such, each by name, and asked again when they are back.
///
/// # Panics
/// When one of them does not hold.
pub async fn every_check(driver: &dyn Driver) {
    let mut site = Site::open(driver).await;
    idle_is_no_stall(&site).await;
    a_stall_shows_in_the_pool(&site).await;
    updates_follow_from_every_height(&site).await;
    a_changed_byte_leads_nowhere(&site).await;
    let proved = heads_are_proved(&mut site).await;
    proofs_are_bound(&site, &proved);
    a_repeated_broadcast_has_one_effect(&site).await;
    a_dropped_transaction_is_found(&site).await;
    a_forger_is_left(&mut site).await;
    headers_are_confirmed_by_own_nodes(&mut site).await;
    equivocation_is_told_apart(&mut site).await;
    all_nodes_away_is_reported(&site).await;
}

/// A chain with a gateway, followed from its anchor.
struct Site<'a> {
    driver: &'a dyn Driver,
    chain: Arc<dyn Chain>,
    gateway: Address,
    lane: LaneIdentity,
    /// What was trusted after each header, the anchor's first.
    states: Vec<Opaque>,
    headers: BTreeMap<Height, VerifiedHeader>,
}

/// A head with everything that went into proving it.
struct Proved {
    height: Height,
    claim: Claim,
}

impl<'a> Site<'a> {
    async fn open(driver: &'a dyn Driver) -> Self {
        let chain = driver.chain(BOTH);
        let target = target(&chain);
        let domain = driver.domain();
        let committee = GatewayCall::DeployCommittee { domain, members: vec![AttesterId([7; 20])], threshold: 1 };
        let verifier = carry_out(driver, &target, &committee).await.expect("a committee");
        let committee = target.committee(verifier).await.expect("the committee");
        assert_eq!((committee.threshold(), committee.epoch().0), (1, 1), "the committee in force");
        let gateway = GatewayCall::DeployGateway {
            domain,
            owner: target.account(),
            announce_delay: Duration::ZERO,
            close_delay: Duration::from_secs(60),
            clock_is_millis: driver.clock_is_millis(),
        };
        let gateway = carry_out(driver, &target, &gateway).await.expect("a gateway");
        let lane = LaneIdentity {
            source_domain: domain,
            destination_domain: Domain(keccak256(b"elsewhere")),
            source_gateway: gateway,
            destination_gateway: Address::from_20([8; 20]),
            source_verifier: verifier,
            destination_verifier: Address::from_20([9; 20]),
            channel: "trade".to_owned(),
            salt: keccak256(b"salt"),
        };
        assert_eq!(target.lane_state(gateway, lane.id()).await, Ok(LaneState::Unknown));
        let limits = LaneLimits {
            max_payload_bytes: 10_000,
            max_gas_limit: 1_000_000,
            max_deadline: Duration::from_secs(86_400),
            callback_gas: 100_000,
            is_strict: false,
            quota: 0,
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        let announce = GatewayCall::AnnounceLane { gateway, lane: lane.clone(), limits };
        carry_out(driver, &target, &announce).await;
        carry_out(driver, &target, &GatewayCall::OpenLane { gateway, lane: lane.id() }).await;
        assert_eq!(target.lane_state(gateway, lane.id()).await, Ok(LaneState::Open));
        let states = vec![chain.anchor()];
        let mut site = Self { driver, chain, gateway, lane, states, headers: BTreeMap::new() };
        site.catch_up().await;
        site
    }

    fn source(&self) -> Arc<dyn Source> {
        self.chain.source()
    }

    fn state(&self) -> &Opaque {
        self.states.last().expect("the anchor's state")
    }

    fn trusted(&self) -> Height {
        self.height_of(self.state())
    }

    fn height_of(&self, state: &Opaque) -> Height {
        self.chain.client().trusted_height(state).expect("a state of this adapter")
    }

    fn flow(&self) -> Flow {
        Flow { lane: self.lane.id(), direction: Direction::Outbox }
    }

    fn verify(&self, state: &Opaque, update: &Opaque) -> VerifiedUpdate<Opaque> {
        self.chain.client().verify_update(self.driver.domain(), state, update, self.driver.now())
    }

    /// Verifies header by header up to the tip, and tells the source who lied.
    async fn catch_up(&mut self) {
        for _ in 0..PATIENCE {
            let after = self.trusted();
            let served = match self.source().next_update(after, 1).await {
                Ok(Some(served)) => served,
                Ok(None) => return,
                Err(error) => {
                    // A node that is found out by the source itself fails once; the next one is asked then.
                    assert!(!matches!(error, NodeError::Refused(_)), "{error}");
                    self.driver.pause().await;
                    continue;
                }
            };
            match self.verify(self.state(), &served.update) {
                VerifiedUpdate::Advanced { state, headers, .. } | VerifiedUpdate::HeldBack { state, headers, .. } => {
                    self.headers.extend(headers.into_iter().map(|header| (header.height(), header)));
                    self.states.push(state);
                }
                VerifiedUpdate::Refused(refusal) => self.source().report_lie(&served.endpoint, refusal.check),
            }
        }
        panic!("the tip was never reached: trusted is {}", self.trusted());
    }

    async fn send(&self, payload: &[u8]) -> GatewayCall {
        let clock = target(&self.chain).clock().await.expect("the chain's clock");
        GatewayCall::Send {
            gateway: self.gateway,
            lane: self.lane.id(),
            receiver: Address::from_20([5; 20]),
            deadline: UnixMillis(clock.0.saturating_add(3_600_000)),
            gas_limit: 100_000,
            payload: payload.to_vec(),
        }
    }

    async fn index(&self) -> Index {
        self.source().head_hint(self.gateway, self.flow()).await.expect("a hint").index
    }
}

fn target(chain: &Arc<dyn Chain>) -> Arc<dyn Target> {
    chain.target().expect("the driver configures an account")
}

async fn prepare(target: &Arc<dyn Target>, call: &GatewayCall, open: &[Intent]) -> Intent {
    target.prepare(call, open, None).await.unwrap_or_else(|error| panic!("{call:?}: {error}"))
}

/// Submits a call and follows it to its block; returns the contract that it created.
async fn carry_out(driver: &dyn Driver, target: &Arc<dyn Target>, call: &GatewayCall) -> Option<Address> {
    let intent = prepare(target, call, &[]).await;
    target.broadcast(&intent).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
    finish(driver, target, &intent).await
}

async fn finish(driver: &dyn Driver, target: &Arc<dyn Target>, intent: &Intent) -> Option<Address> {
    for _ in 0..PATIENCE {
        match target.track(intent).await.expect("a fate") {
            Fate::Pending => driver.pause().await,
            Fate::Final { is_success: true, created, .. } => return created,
            fate => panic!("{}: {fate:?}", intent.hash),
        }
    }
    panic!("{} was not mined", intent.hash);
}

async fn idle_is_no_stall(site: &Site<'_>) {
    let source = site.source();
    let errors = |source: &Arc<dyn Source>| source.endpoints().iter().map(|health| health.errors).sum::<u64>();
    let before = errors(&source);
    for _ in 0..3 {
        let tip = source.tip().await.expect("a tip");
        let served = source.next_update(Height(tip.0.saturating_add(1)), 10).await;
        assert!(matches!(served, Ok(None | Some(_))), "nothing new is no error: {served:?}");
        site.driver.pause().await;
    }
    assert_eq!(errors(&source), before, "nothing new is no error of a node");
    assert!(source.endpoints().iter().all(|health| health.is_usable), "{:?}", source.endpoints());
}

async fn a_stall_shows_in_the_pool(site: &Site<'_>) {
    let (source, target) = (site.source(), target(&site.chain));
    assert_eq!(source.pending().await, Ok(Some(0)), "nothing waits");
    site.driver.stall(true);
    let intent = prepare(&target, &GatewayCall::DeployCode { code: vec![0; 2] }, &[]).await;
    target.broadcast(&intent).await.expect("a broadcast");
    assert_eq!(source.pending().await, Ok(Some(1)), "it waits");
    site.driver.stall(false);
    finish(site.driver, &target, &intent).await;
    assert_eq!(source.pending().await, Ok(Some(0)), "it is in a block");
}

async fn updates_follow_from_every_height(site: &Site<'_>) {
    let tip = site.trusted();
    for state in site.states.iter().filter(|state| site.height_of(state) < tip) {
        let from = site.height_of(state);
        let served = site.source().next_update(from, 1_000).await.expect("an update").expect("newer headers");
        let reached = match site.verify(state, &served.update) {
            VerifiedUpdate::Advanced { state, .. } | VerifiedUpdate::HeldBack { state, .. } => site.height_of(&state),
            VerifiedUpdate::Refused(refusal) => panic!("from {from}: {refusal}"),
        };
        assert!(reached > from, "from {from} the update leads to {reached}");
    }
}

async fn a_changed_byte_leads_nowhere(site: &Site<'_>) {
    let (start, client) = (&site.states[0], site.chain.client());
    let served = site.source().next_update(site.height_of(start), 3).await.expect("an update").expect("headers");
    let VerifiedUpdate::Advanced { state: good, .. } = site.verify(start, &served.update) else {
        panic!("the update without a change");
    };
    let trusted = |state: &Opaque| (client.trusted_height(state), client.trusted_hash(state));
    for at in spread(served.update.bytes.len()) {
        let mut update = served.update.clone();
        update.bytes[at] ^= 1;
        // Where it still advances, what was changed is not part of any header: a seal more than was needed.
        if let VerifiedUpdate::Advanced { state, .. } | VerifiedUpdate::HeldBack { state, .. } =
            site.verify(start, &update)
        {
            let (height, hash) = trusted(&state);
            let known = height.as_ref().ok().and_then(|height| site.headers.get(height)).map(VerifiedHeader::hash);
            let is_start = trusted(&state) == trusted(start);
            assert!(is_start || known == hash.ok(), "byte {at} of the update leads to another header at {height:?}");
            assert!(height.ok() <= trusted(&good).0.ok(), "byte {at} leads further than the update does");
        }
    }
    let length = served.update.bytes.len();
    for (what, left) in [("cut", length.saturating_sub(1)), ("empty", 0)] {
        let mut update = served.update.clone();
        update.bytes.truncate(left);
        assert!(matches!(site.verify(start, &update), VerifiedUpdate::Refused(_)), "an update that is {what}");
    }
    let other = Opaque { adapter: "another".to_owned(), ..served.update };
    assert!(matches!(site.verify(start, &other), VerifiedUpdate::Refused(_)), "an update of another adapter");
}

/// Places evenly spread over a length, the first and the last included.
fn spread(length: usize) -> impl Iterator<Item = usize> {
    let step = (length / CHANGED_BYTES).max(1);
    (0..length).step_by(step).chain(length.checked_sub(1))
}

async fn heads_are_proved(site: &mut Site<'_>) -> Proved {
    let target = target(&site.chain);
    for payload in [&b"one"[..], b"two", b"three"] {
        let send = site.send(payload).await;
        assert!(matches!(target.fits(&send).await, Ok(Fit::Fits { .. })), "a message of {} bytes", payload.len());
        carry_out(site.driver, &target, &send).await;
    }
    let flow = site.flow();
    let hint = site.source().head_hint(site.gateway, flow).await.expect("a hint");
    assert_eq!(hint.index, Index(3), "three messages were sent");
    let mut checkpoints = 0;
    let (height, point, proof) = loop {
        site.catch_up().await;
        let request = HeadProofRequest {
            gateway: site.gateway,
            flow,
            at_least: Index(3),
            oldest: Height(1),
            newest: site.trusted(),
        };
        match site.source().head_proof(&request).await.expect("an answer") {
            HeadProofAnswer::Proof { height, point, proof, .. } if site.headers.contains_key(&height) => {
                break (height, point, proof);
            }
            HeadProofAnswer::NeedsCheckpoint if checkpoints == 0 => {
                checkpoints += 1;
                carry_out(site.driver, &target, &GatewayCall::Checkpoint { gateway: site.gateway, flow }).await;
            }
            HeadProofAnswer::NeedsCheckpoint => panic!("a checkpoint was not enough"),
            // The head was seen by a call, so a later header has it.
            _ => site.driver.pause().await,
        }
    };
    assert_eq!(point, hint, "the head that is proved is the head that the gateway has");
    let beyond =
        HeadProofRequest { gateway: site.gateway, flow, at_least: Index(4), oldest: Height(1), newest: site.trusted() };
    let answer = site.source().head_proof(&beyond).await.expect("an answer");
    assert!(matches!(answer, HeadProofAnswer::NothingNew), "nothing was sent after the third: {answer:?}");

    let request = EntryRequest { gateway: site.gateway, flow, first: Index(1), last: Index(3), newest: height };
    let entries = site.source().entry_hints(&request).await.expect("hints");
    assert_eq!(entries.len(), 3, "an entry for each message");
    let claim = Claim { flow, first: Index(1), entries, tail: Vec::new(), height, proof };
    let proved = Proved { height, claim };
    let extension = prove(site, &proved, &proved.claim, &site.lane).expect("the proof holds");
    assert_eq!(extension.tip(), hint, "the entries lead to the head");
    let header = &site.headers[&height];
    let source = site.source();
    let confirmed = source.confirm_extension(header, site.gateway, &extension, &proved.claim.proof).await;
    assert_eq!(confirmed, Ok(Confirmation::Agrees), "the own nodes have the same head");
    proved
}

/// Verifies a claim at the header where the head was proved.
fn prove(site: &Site<'_>, proved: &Proved, claim: &Claim, lane: &LaneIdentity) -> Result<VerifiedExtension, Refusal> {
    let header = &site.headers[&proved.height];
    site.chain.client().verify_extension(header, lane, ChainPoint::start(claim.flow), claim.clone())
}

fn proofs_are_bound(site: &Site<'_>, proved: &Proved) {
    let others = [
        ("gateway", LaneIdentity { source_gateway: Address::from_20([6; 20]), ..site.lane.clone() }),
        ("salt", LaneIdentity { salt: keccak256(b"other"), ..site.lane.clone() }),
        ("domain", LaneIdentity { source_domain: Domain(keccak256(b"other")), ..site.lane.clone() }),
    ];
    for (what, lane) in others {
        let flow = Flow { lane: lane.id(), ..proved.claim.flow };
        // With its own flow, and with the one that was proved.
        for flow in [flow, proved.claim.flow] {
            let claim = Claim { flow, ..proved.claim.clone() };
            prove(site, proved, &claim, &lane).expect_err(what);
        }
    }
    let flow = Flow { direction: Direction::Inbox, ..proved.claim.flow };
    let claim = Claim { flow, ..proved.claim.clone() };
    prove(site, proved, &claim, &site.lane).expect_err("the other direction");
    let mut short = proved.claim.clone();
    short.entries.pop();
    prove(site, proved, &short, &site.lane).expect_err("an entry left out");

    for (height, header) in site.headers.iter().filter(|(height, _)| **height != proved.height) {
        let claim = Claim { height: *height, ..proved.claim.clone() };
        let base = ChainPoint::start(claim.flow);
        let at_other = site.chain.client().verify_extension(header, &site.lane, base, claim);
        // A state that did not change since has the same root, and proves the same.
        assert!(
            at_other.as_ref().is_ok_and(|extension| *height > proved.height && extension.tip().index == Index(3))
                || at_other.is_err(),
            "the proof of {} at {height}",
            proved.height
        );
    }
    let whole = prove(site, proved, &proved.claim, &site.lane).expect("the proof holds");
    for at in spread(proved.claim.proof.bytes.len()) {
        let mut claim = proved.claim.clone();
        claim.proof.bytes[at] ^= 1;
        if let Ok(extension) = prove(site, proved, &claim, &site.lane) {
            assert_eq!(extension.tip(), whole.tip(), "byte {at} of the proof");
        }
    }
}

async fn a_repeated_broadcast_has_one_effect(site: &Site<'_>) {
    let (driver, before) = (site.driver, site.index().await);
    let target = target(&site.chain);
    let intent = prepare(&target, &site.send(b"once").await, &[]).await;
    target.broadcast(&intent).await.expect("the first broadcast");
    target.broadcast(&intent).await.expect("the second broadcast");
    finish(driver, &target, &intent).await;
    let restarted = driver.chain(BOTH).target().expect("an account");
    // A node may refuse what is in a block already; what counts is that nothing happens.
    drop(restarted.broadcast(&intent).await);
    finish(driver, &restarted, &intent).await;
    let next = prepare(&restarted, &site.send(b"another").await, &[]).await;
    assert_ne!(next.hash, intent.hash, "two messages, two transactions");
    restarted.broadcast(&next).await.expect("another transaction");
    finish(driver, &restarted, &next).await;
    assert_eq!(site.index().await, before.plus(2), "each was taken once");
}

async fn a_dropped_transaction_is_found(site: &Site<'_>) {
    let (driver, before) = (site.driver, site.index().await);
    let target = target(&site.chain);
    let intent = prepare(&target, &site.send(b"dropped").await, &[]).await;
    driver.misbehave(None, Misdeed::DropTransactions).await;
    target.broadcast(&intent).await.expect("the nodes take it");
    driver.behave().await;
    // After a restart no memory of the broadcast helps: only what the nodes know.
    let restarted = driver.chain(BOTH).target().expect("an account");
    let mut fate = restarted.track(&intent).await;
    for _ in 0..PATIENCE {
        if fate == Ok(Fate::Dropped) {
            break;
        }
        driver.pause().await;
        fate = restarted.track(&intent).await;
    }
    assert_eq!(fate, Ok(Fate::Dropped), "no node knows it");
    assert_eq!(site.index().await, before, "it had no effect");
    restarted.broadcast(&intent).await.expect("broadcast again");
    finish(driver, &restarted, &intent).await;
    assert_eq!(site.index().await, before.next(), "it took effect once");
}

async fn a_forger_is_left(site: &mut Site<'_>) {
    let driver = site.driver;
    site.catch_up().await;
    let next = site.trusted().next();
    driver.misbehave(Some(0), Misdeed::Forge(next)).await;
    site.chain = driver.chain(BOTH);
    carry_out(driver, &target(&site.chain), &site.send(b"one block more").await).await;
    site.catch_up().await;
    assert!(site.trusted() >= next, "the other node is enough");
    let forger = driver.name(0);
    let health = site.source().endpoints().into_iter().find(|health| health.name == forger).expect("the node by name");
    // Which node was asked first is the adapter's affair; the one that was asked and lied has it in its record.
    if health.lies == 0 {
        let alone = driver.chain(&[0]);
        let served = alone.source().next_update(Height(next.0 - 1), 1).await;
        if let Ok(Some(served)) = &served {
            let before = &site.states.iter().rev().find(|state| site.height_of(state) < next).expect("a state");
            let VerifiedUpdate::Refused(refusal) = site.verify(before, &served.update) else {
                panic!("a forged header is refused");
            };
            alone.source().report_lie(&served.endpoint, refusal.check);
        }
        let health = &alone.source().endpoints()[0];
        assert!(health.lies > 0 && !health.last_error.is_empty(), "{served:?}: {health:?}");
        assert!(!health.is_usable, "it is left for a while: {health:?}");
    } else {
        assert!(!health.last_error.is_empty(), "{health:?}");
    }
    driver.behave().await;
}

async fn equivocation_is_told_apart(site: &mut Site<'_>) {
    let driver = site.driver;
    site.chain = driver.chain(BOTH);
    site.catch_up().await;
    let height = site.trusted();
    driver.misbehave(Some(1), Misdeed::Equivocate(height)).await;
    let liar = driver.chain(&[1]);
    let served = liar.source().next_update(Height(height.0 - 1), 1).await.expect("an answer").expect("a header");
    let VerifiedUpdate::Refused(refusal) = site.verify(site.state(), &served.update) else {
        panic!("two headers at {height}");
    };
    assert_eq!(refusal.gravity, Gravity::Equivocation, "{refusal}");
    let before = site.states.iter().rev().find(|state| site.height_of(state) < height).expect("a state before it");
    let verdict = site.verify(before, &served.update);
    assert!(matches!(verdict, VerifiedUpdate::Advanced { .. }), "either alone is a header of the chain: {verdict:?}");

    // Nobody has to suspect anything: what follows the trusted header comes with that header, as this node has it.
    carry_out(driver, &target(&site.chain), &site.send(b"one block more").await).await;
    let served = liar.source().next_update(height, 1).await.expect("an answer").expect("what follows");
    let VerifiedUpdate::Refused(refusal) = site.verify(site.state(), &served.update) else {
        panic!("two headers at {height}, in the ordinary course");
    };
    assert_eq!((refusal.gravity, refusal.height), (Gravity::Equivocation, Some(height)), "{refusal}");

    // Beside an honest node it is found out too, whichever of them serves the headers.
    let both = driver.chain(BOTH).source();
    let served = both.next_update(Height(height.0 - 1), 1).await.expect("an answer").expect("a header");
    let VerifiedUpdate::Advanced { state: either, .. } = site.verify(before, &served.update) else {
        panic!("either is a header of the chain: {}", served.endpoint);
    };
    let mut found = None;
    for _ in 0..PATIENCE {
        let served = match both.other_branch(height, 1).await {
            Some(other) => Some(other),
            None => both.next_update(height, 1).await.expect("an answer"),
        };
        if let Some(served) = served
            && let VerifiedUpdate::Refused(refusal) = site.verify(&either, &served.update)
        {
            found = Some(refusal);
            break;
        }
        driver.pause().await;
    }
    let refusal = found.expect("two headers at one height, with both nodes configured");
    assert_eq!((refusal.gravity, refusal.height), (Gravity::Equivocation, Some(height)), "{refusal}");

    let ours = &site.headers[&height];
    let statements = site.source().confirm_header(ours).await;
    let said = |node| statements.iter().find(|said| said.node == driver.name(node)).and_then(|said| said.hash);
    assert_eq!((statements.len(), said(0)), (BOTH.len(), Some(ours.hash())), "{statements:?}");
    assert!(said(1).is_some_and(|theirs| theirs != ours.hash()), "the other one says so when it is asked");
    driver.behave().await;
}

async fn headers_are_confirmed_by_own_nodes(site: &mut Site<'_>) {
    let driver = site.driver;
    site.chain = driver.chain(BOTH);
    site.catch_up().await;
    let header = &site.headers[&site.trusted()];
    let said = |statements: Vec<NodeStatement>| -> BTreeMap<String, Option<Hash32>> {
        statements.into_iter().map(|said| (said.node, said.hash)).collect()
    };
    let all = said(site.source().confirm_header(header).await);
    let expected = BOTH.iter().map(|node| (driver.name(*node), Some(header.hash()))).collect();
    assert_eq!(all, expected, "every own node has it");
    driver.misbehave(Some(1), Misdeed::Vanish).await;
    let left = said(driver.chain(BOTH).source().confirm_header(header).await);
    let silent = BTreeMap::from([(driver.name(0), Some(header.hash())), (driver.name(1), None)]);
    assert_eq!(left, silent, "one that is away states nothing");
    driver.behave().await;
}

async fn all_nodes_away_is_reported(site: &Site<'_>) {
    let driver = site.driver;
    driver.misbehave(None, Misdeed::Vanish).await;
    let chain = driver.chain(BOTH);
    let source = chain.source();
    let tip = source.tip().await;
    assert!(matches!(tip, Err(NodeError::Unreachable { .. })), "{tip:?}");
    let update = source.next_update(site.trusted(), 1).await;
    assert!(matches!(update, Err(NodeError::Unreachable { .. })), "{update:?}");
    let endpoints = source.endpoints();
    let names: Vec<String> = BOTH.iter().map(|node| driver.name(*node)).collect();
    assert_eq!(endpoints.iter().map(|health| health.name.clone()).collect::<Vec<_>>(), names);
    for health in endpoints {
        assert!(!health.is_usable && health.errors > 0 && !health.last_error.is_empty(), "{health:?}");
    }
    driver.behave().await;
    for _ in 0..PATIENCE {
        if source.tip().await.is_ok() {
            return;
        }
        driver.pause().await;
    }
    panic!("the nodes are back and not asked: {:?}", source.endpoints());
}
