//! One test for each kind of trouble: what is fine, what is not, and that it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use cityrelay_api::adapter::Adapter as _;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch, Index};
use cityrelay_core::lane::Direction;
use cityrelay_core::machine::CommitteeKey;
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::status::CommitteeStatus;
use cityrelay_core::record::Frozen;
use cityrelay_journal::JournalError;

use super::super::plan::ChainHandles;
use super::super::survey::Space;
use super::*;
use crate::fake_chain::FAKE;

const CHAIN: Domain = Domain(Hash32([1; 32]));
const LANE: LaneId = LaneId(Hash32([2; 32]));
const OUTBOX: Flow = Flow { lane: LANE, direction: Direction::Outbox };

/// Everything that stands, all well.
struct World {
    handles: Handles,
    status: Status,
    endpoints: BTreeMap<Domain, Vec<EndpointHealth>>,
    survey: Survey,
    journal: JournalStats,
    readiness: Readiness,
    now: u64,
    /// Whether the journal is compared with the chain all the time.
    is_audited: bool,
}

impl World {
    fn new() -> Self {
        let handles = Handles {
            chains: BTreeMap::new(),
            lanes: BTreeMap::new(),
            peers: BTreeMap::from([(PeerId(0), "south".to_owned())]),
        };
        let client = ClientStatus {
            domain: CHAIN,
            height: Height(7),
            timestamp: None,
            held: None,
            set_votes: None,
            frozen: None,
            confirmed: Height(7),
        };
        let committee = CommitteeStatus {
            key: CommitteeKey { domain: CHAIN, verifier: Address::from_20([3; 20]), teller: None },
            epoch: Epoch(1),
            members: [1, 2, 3].map(|member| AttesterId([member; 20])).to_vec(),
            threshold: 2,
            reachable: 2,
        };
        let status = Status {
            role: Role::Relay,
            clients: vec![client],
            flows: vec![flow(WaitReason::Idle, 0)],
            peers: vec![
                (PeerId(0), Role::Relay, true),
                (PeerId(1), Role::Attester, true),
                (PeerId(2), Role::Attester, true),
                (PeerId(3), Role::Attester, false),
            ],
            committees: vec![committee],
            open_intents: 0,
        };
        let chain = ChainSurvey {
            pending: Some(0),
            funds: Some(Funds::NotNeeded),
            lanes: BTreeMap::from([(LANE, LaneState::Open)]),
            ..ChainSurvey::default()
        };
        let space = Some(Space { size: 1 << 40, free: 1 << 39 });
        Self {
            handles,
            status,
            endpoints: BTreeMap::from([(CHAIN, vec![endpoint("a", true), endpoint("b", false)])]),
            survey: Survey { chains: BTreeMap::from([(CHAIN, chain)]), space, ..Survey::default() },
            journal: JournalStats::default(),
            readiness: Readiness::default(),
            now: 1_000_000,
            is_audited: true,
        }
    }

    fn chain(&mut self) -> &mut ChainSurvey {
        self.survey.chains.get_mut(&CHAIN).unwrap()
    }

    /// A block at this height is shown by the nodes and verified.
    fn reach(&mut self, height: Height) {
        self.status.clients[0].height = height;
        for node in self.endpoints.get_mut(&CHAIN).unwrap() {
            node.height = height;
        }
    }

    fn troubles(&mut self) -> Vec<TroubleKind> {
        self.described().into_iter().map(|trouble| trouble.kind).collect()
    }

    fn described(&mut self) -> Vec<Trouble> {
        let picture =
            Picture { status: &self.status, endpoints: &self.endpoints, survey: &self.survey, journal: &self.journal };
        self.readiness.troubles(&self.handles, &picture, UnixMillis(self.now))
    }

    fn after(&mut self, wait: Duration) -> Vec<TroubleKind> {
        self.now += u64::try_from(wait.as_millis()).unwrap() + 1;
        if self.is_audited {
            self.chain().audited = Some(UnixMillis(self.now));
        }
        self.troubles()
    }
}

fn flow(waits_for: WaitReason, finished: u64) -> FlowStatus {
    FlowStatus {
        flow: OUTBOX,
        side: Side::Outbound,
        committee: None,
        hint: Index(9),
        durable: Index(9),
        finished: Index(finished),
        voters: Vec::new(),
        oldest: None,
        waits_for,
        next_step: None,
    }
}

fn endpoint(name: &str, is_usable: bool) -> EndpointHealth {
    EndpointHealth {
        name: name.to_owned(),
        is_own: true,
        is_usable,
        latency: Duration::ZERO,
        height: Height(7),
        errors: 0,
        lies: 0,
        last_error: String::new(),
    }
}

#[test]
fn all_well_is_ready_for_ever() {
    let mut world = World::new();
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(Duration::from_secs(86_400)), [], "an idle chain is not stalled");
}

#[test]
fn a_stalled_chain_is_one_with_waiting_transactions_and_no_block() {
    let mut world = World::new();
    world.chain().pending = Some(3);
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(STALLED_AFTER), [TroubleKind::ChainStalled]);
    world.reach(Height(8));
    assert_eq!(world.troubles(), [], "a block came");
    assert_eq!(world.after(STALLED_AFTER / 2), []);
    world.chain().pending = Some(0);
    assert_eq!(world.after(STALLED_AFTER), [], "nothing waits any more");
    world.chain().pending = None;
    assert_eq!(world.after(STALLED_AFTER), [], "no node says");
}

#[test]
fn an_idle_chain_whose_nodes_have_lost_it_is_stalled_after_a_while() {
    let mut world = World::new();
    world.chain().ailment = Some("a: it is alone".to_owned());
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(STALLED_AFTER), [TroubleKind::ChainStalled]);
    world.reach(Height(8));
    assert_eq!(world.troubles(), [], "a block came");
    assert_eq!(world.after(STALLED_AFTER / 2), []);
    world.chain().ailment = None;
    assert_eq!(world.after(STALLED_AFTER), [], "one of them is well");
}

#[test]
fn a_chain_that_makes_blocks_without_transactions_is_not_silent_for_long() {
    let mut world = World::new();
    let longest = Duration::from_secs(300);
    let fake = FAKE.configure(&serde_json::json!({"chain_id": 1}), Path::new("")).unwrap();
    let chain = ChainHandles {
        name: "north".to_owned(),
        client: fake.client(),
        source: None,
        target: None,
        inspect: fake.inspect(),
        longest_silence: Some(longest),
    };
    world.handles.chains.insert(CHAIN, chain);
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(longest / 2), []);
    assert_eq!(world.after(longest), [TroubleKind::ChainStalled]);
    world.chain().pending = Some(1);
    assert_eq!(world.after(Duration::ZERO), [TroubleKind::ChainStalled]);
    assert_eq!(world.after(STALLED_AFTER), [TroubleKind::ChainStalled], "said once");
    world.reach(Height(8));
    assert_eq!(world.troubles(), [], "a block came");
}

#[test]
fn nodes_that_show_less_than_is_verified_are_trouble_after_a_while() {
    let mut world = World::new();
    world.status.clients[0].height = Height(9);
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(BEHIND_AFTER), [TroubleKind::NodesBehind]);
    for node in world.endpoints.get_mut(&CHAIN).unwrap() {
        node.height = Height(8);
    }
    assert_eq!(world.troubles(), [], "they catch up");
    assert_eq!(world.after(BEHIND_AFTER), [TroubleKind::NodesBehind]);
    world.endpoints.get_mut(&CHAIN).unwrap()[0].height = Height(9);
    assert_eq!(world.troubles(), [], "one is enough");
}

#[test]
fn contracts_that_can_not_be_read_are_trouble_after_a_while() {
    let mut world = World::new();
    assert_eq!(world.troubles(), []);
    world.is_audited = false;
    assert_eq!(world.after(UNAUDITED_AFTER), [TroubleKind::AuditStale]);
    world.is_audited = true;
    assert_eq!(world.after(Duration::ZERO), []);
    world.is_audited = false;
    assert_eq!(world.after(UNAUDITED_AFTER / 2), []);
}

#[test]
fn a_frozen_client_is_trouble_at_once() {
    let mut world = World::new();
    let frozen = Frozen { height: Height(7), ours: Hash32([5; 32]), theirs: Hash32([6; 32]) };
    world.status.clients[0].frozen = Some(frozen);
    assert_eq!(world.troubles(), [TroubleKind::ChainFrozen]);
}

#[test]
fn headers_may_be_held_back_for_a_while_only() {
    let mut world = World::new();
    let held = HoldReason::ShortOfQuorum { height: Height(8), expected: 4, got: 3 };
    world.status.clients[0].held = Some(held);
    assert_eq!(world.troubles(), []);
    assert_eq!(world.after(HELD_AFTER), [TroubleKind::ChainHeldBack]);
    // A chain that seals one block late is held back at each height anew.
    world.status.clients[0].height = Height(8);
    assert_eq!(world.troubles(), []);
    let expired = HoldReason::TrustExpired { height: Height(8), age_seconds: 11, period_seconds: 10 };
    world.status.clients[0].held = Some(expired);
    assert_eq!(world.troubles(), [TroubleKind::ChainHeldBack], "it has waited for as long as it can");
}

#[test]
fn one_usable_node_is_enough() {
    let mut world = World::new();
    assert_eq!(world.troubles(), []);
    world.endpoints.get_mut(&CHAIN).unwrap()[0].is_usable = false;
    assert_eq!(world.troubles(), [TroubleKind::NodesUnusable]);
    // It is tried again, and fails again.
    world.endpoints.get_mut(&CHAIN).unwrap()[0].is_usable = true;
    assert_eq!(world.troubles(), [TroubleKind::NodesUnusable]);
    world.endpoints.get_mut(&CHAIN).unwrap()[0].is_usable = false;
    assert_eq!(world.after(REACHED_AFTER), [TroubleKind::NodesUnusable]);
    // It is tried again, and answers.
    world.endpoints.get_mut(&CHAIN).unwrap()[0].is_usable = true;
    assert_eq!(world.troubles(), [TroubleKind::NodesUnusable]);
    assert_eq!(world.after(REACHED_AFTER), []);
    world.endpoints.get_mut(&CHAIN).unwrap()[0].is_usable = false;
    assert_eq!(world.troubles(), [TroubleKind::NodesUnusable]);
    world.endpoints.clear();
    assert_eq!(world.troubles(), [], "headers of a chain without nodes come from the peer");
}

#[test]
fn an_account_must_pay_for_one_more_delivery() {
    let mut world = World::new();
    world.chain().funds = Some(Funds::Left { wei: 5, transactions: 1 });
    assert_eq!(world.troubles(), []);
    world.chain().funds = Some(Funds::Left { wei: 5, transactions: 0 });
    assert_eq!(world.troubles(), [TroubleKind::AccountEmpty]);
}

#[test]
fn a_relay_that_is_away_is_trouble_an_attester_is_not() {
    let mut world = World::new();
    world.status.peers[0].2 = false;
    assert_eq!(world.troubles(), [TroubleKind::PeerDown]);
}

#[test]
fn as_many_attesters_as_must_sign_are_enough() {
    let mut world = World::new();
    // Those with a session who are in no set sign nothing that counts.
    world.status.committees[0].reachable = 1;
    assert_eq!(world.troubles(), [TroubleKind::AttestersFew]);
    // A set that a peer told is that peer's word.
    world.status.committees[0].key.teller = Some(PeerId(0));
    let reason = world.described().remove(0).reason;
    assert!(reason.starts_with("1 of the set of epoch 1 on ") && reason.contains(", as south says, have"), "{reason}");
    world.status.role = Role::Attester;
    assert_eq!(world.troubles(), [], "an attester needs no other one");
}

#[test]
fn a_lane_that_its_gateway_stops_is_trouble() {
    let mut world = World::new();
    for state in [LaneState::Unknown, LaneState::Announced, LaneState::Paused, LaneState::Halted] {
        world.chain().lanes.insert(LANE, state);
        assert_eq!(world.troubles(), [TroubleKind::LaneNotOpen], "{state:?}");
    }
    for state in [LaneState::Closing, LaneState::Closed] {
        world.chain().lanes.insert(LANE, state);
        assert_eq!(world.troubles(), [], "{state:?}: its owner wanted that");
    }
}

#[test]
fn a_flow_may_wait_for_a_while_whatever_for() {
    for reason in WaitReason::ALL {
        let mut world = World::new();
        world.status.flows = vec![flow(reason, 0)];
        let first = world.troubles();
        let later = world.after(STUCK_AFTER);
        match reason {
            WaitReason::Idle | WaitReason::Paused => assert_eq!((first.len(), later.len()), (0, 0)),
            WaitReason::Mute => {
                assert_eq!((&first[..], &later[..]), (&[TroubleKind::AttesterMute][..], &first[..]));
            }
            WaitReason::Dispute => {
                assert_eq!((&first[..], &later[..]), (&[TroubleKind::AuditDifference][..], &first[..]))
            }
            WaitReason::Anchor | WaitReason::Frozen => {
                assert_eq!((first.len(), &later[..]), (1, &[TroubleKind::LaneStuck][..]))
            }
            _ => assert_eq!((first.len(), &later[..]), (0, &[TroubleKind::LaneStuck][..]), "{reason:?}"),
        }
        world.status.flows = vec![flow(reason, 1)];
        if !matches!(reason, WaitReason::Anchor | WaitReason::Dispute | WaitReason::Frozen | WaitReason::Mute) {
            assert_eq!(world.troubles(), [], "{reason:?}: it went on");
        }
    }
}

#[test]
fn new_messages_do_not_hide_that_the_old_ones_stand_still() {
    for is_durable in [true, false] {
        let mut world = World::new();
        for minute in 0..3 {
            let flow = flow(WaitReason::Attestations, 7);
            let (hint, durable) = (Index(9 + minute), Index(if is_durable { 9 + minute } else { 7 }));
            world.status.flows = vec![FlowStatus { hint, durable, ..flow }];
            let expected: &[TroubleKind] = if minute < 2 { &[] } else { &[TroubleKind::LaneStuck] };
            assert_eq!(world.after(STUCK_AFTER / 2), expected, "durable: {is_durable}, {minute}");
        }
        // One step of the end that stood still.
        let (finished, durable) = if is_durable { (Index(8), Index(12)) } else { (Index(7), Index(8)) };
        let flow = flow(WaitReason::Attestations, 7);
        world.status.flows = vec![FlowStatus { hint: Index(12), durable, finished, ..flow }];
        assert_eq!(world.troubles(), [], "durable: {is_durable}");
    }
}

#[test]
fn a_sync_that_does_not_end_is_trouble() {
    let mut world = World::new();
    world.journal.writing_since = Some(Instant::now());
    assert_eq!(world.troubles(), []);
    world.journal.writing_since = Instant::now().checked_sub(SYNCING_AFTER + Duration::from_secs(1));
    assert_eq!(world.troubles(), [TroubleKind::JournalFailing]);
}

#[test]
fn a_difference_between_journal_and_chain_is_trouble_and_is_counted_once() {
    let mut world = World::new();
    world.chain().differences.insert(OUTBOX);
    assert_eq!(world.troubles(), [TroubleKind::AuditDifference]);
    assert_eq!(count_differences(&world.status, &world.survey), 1);
    world.status.flows = vec![flow(WaitReason::Dispute, 0)];
    assert_eq!(count_differences(&world.status, &world.survey), 1);
    world.chain().differences.clear();
    world.status.flows.clear();
    assert_eq!(count_differences(&world.status, &world.survey), 0);
}

#[test]
fn a_journal_that_can_not_be_written_is_trouble() {
    let mut world = World::new();
    world.journal.failure = Some(JournalError::Closed);
    assert_eq!(world.troubles(), [TroubleKind::JournalFailing]);
}

#[test]
fn a_volume_without_room_is_trouble_before_a_write_fails() {
    let mut world = World::new();
    world.survey.space = Some(Space { size: 1 << 40, free: LEAST_FREE_BYTES });
    assert_eq!(world.troubles(), []);
    world.survey.space = Some(Space { size: 1 << 40, free: LEAST_FREE_BYTES - 1 });
    assert_eq!(world.troubles(), [TroubleKind::DiskFull]);
}
