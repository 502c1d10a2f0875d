//! A validator set that no own node can confirm: asked for, attested, applied, and only then believed.

use super::*;
use crate::light_client::{HoldReason, SetStatement};
use crate::machine::effect::{ReceiptId, UpdateOrigin};
use crate::machine::status::ClientStatus;
use crate::set_attestation::{Attestable, SetAttestation, SetEvidence, SetFact};
use crate::verify::{VerifiedHeader, VerifiedUpdate};

fn fact() -> SetFact {
    let statement = SetStatement { height: Height(11), digest: keccak256(b"set") };
    SetFact { domain: domain("here"), parent: keccak256(&10_u64.to_be_bytes()), statement }
}

fn attestation(fact: SetFact, epoch: u64) -> SetAttestation {
    let (verifier_domain, verifier) = lane().target_verifier(Direction::Outbox);
    SetAttestation { fact, epoch: Epoch(epoch), verifier, verifier_domain }
}

fn signed(attestation: SetAttestation, seeds: &[u8]) -> Frame {
    let sign = |seed: &u8| {
        let (signature, recovery) = key(*seed).sign_prehash_recoverable(&attestation.digest().0).unwrap();
        (attester_id(key(*seed).verifying_key()), SignatureBytes::from_parts(&signature, recovery))
    };
    Frame::SetAttested(SetEvidence { attestation, signatures: seeds.iter().map(sign).collect() })
}

/// The client of `here` meets a header under another set.
fn hold(driven: &mut Driven) -> Vec<Effect> {
    let SetStatement { height, digest } = fact().statement;
    driven.give(Input::UpdateVerified {
        domain: domain("here"),
        update: opaque("update"),
        origin: UpdateOrigin::Peer(PEER),
        result: VerifiedUpdate::HeldBack {
            state: opaque("state"),
            headers: vec![],
            set_changes: vec![],
            reason: HoldReason::SetUnconfirmed { height, digest },
        },
    })
}

fn asked(effects: &[Effect]) -> Vec<(PeerId, SetAttestation)> {
    let asked = |effect: &Effect| match effect {
        Effect::Send { peer, frame: Frame::SetRequest(attestation) } => Some((*peer, *attestation)),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn applied(effects: &[Effect]) -> Vec<SetStatement> {
    let applied = |effect: &Effect| match effect {
        Effect::ApplySetStatement { statement, .. } => Some(*statement),
        _ => None,
    };
    effects.iter().filter_map(applied).collect()
}

fn refused(effects: &[Effect]) -> Vec<&'static str> {
    let refused = |effect: &Effect| match effect {
        Effect::Report(Report::SetRefused { refusal, .. }) => Some(refusal.check()),
        _ => None,
    };
    effects.iter().filter_map(refused).collect()
}

fn appended(effects: &[Effect]) -> (Ticket, Vec<Record>) {
    let appended = effects.iter().find_map(|effect| match effect {
        Effect::Append { ticket, records } => Some((*ticket, records.clone())),
        _ => None,
    });
    appended.unwrap()
}

/// A relay without a node on `here`, with sessions to its peer and an attester, whose client waits for a set.
fn waiting() -> (Driven, Vec<Effect>) {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let effects = hold(&mut driven);
    (driven, effects)
}

/// What the client of `here` says of an update by this node.
fn served(driven: &mut Driven, node: &str, result: VerifiedUpdate<Opaque>) -> Vec<Report> {
    let origin = UpdateOrigin::Node(node.to_owned());
    let update = opaque("update");
    let effects = driven.give(Input::UpdateVerified { domain: domain("here"), update, origin, result });
    let report = |effect: &Effect| match effect {
        Effect::Report(report) => Some(report.clone()),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

pub(super) fn final_block(height: u64, set_changes: Vec<Height>) -> VerifiedUpdate<Opaque> {
    let hash = |height: u64| keccak256(&height.to_be_bytes());
    let header = Header {
        height: Height(height),
        hash: hash(height),
        parent: hash(height - 1),
        timestamp: NOW,
        detail: Vec::new(),
    };
    let headers = vec![VerifiedHeader::restored(domain("here"), header)];
    VerifiedUpdate::Advanced { state: opaque("further"), headers, set_changes }
}

#[test]
fn whoever_served_a_set_that_the_chain_does_not_have_lied_and_an_unusual_change_is_nobodys_fault() {
    let SetStatement { height, digest } = fact().statement;
    let unexplained = HoldReason::SetNotFollowed { height, digest, check: "replay" };
    for (reason, check) in [(unexplained, "replay"), (HoldReason::SetUnconfirmed { height, digest }, "set-unconfirmed")]
    {
        for set_changes in [vec![], vec![Height(10)]] {
            let mut driven = Bench::new(None).start();
            let (headers, state) = (vec![], opaque("state"));
            let held = VerifiedUpdate::HeldBack { state, headers, set_changes: vec![], reason };
            let reports = served(&mut driven, "doubted", held);
            assert_eq!(reports, [Report::HeadersHeldBack { domain: domain("here"), reason }], "nobody is blamed yet");
            let reports = served(&mut driven, "other", final_block(11, set_changes.clone()));
            let blamed: Vec<_> = reports
                .iter()
                .filter_map(|report| match report {
                    Report::Lie { origin, refusal, .. } => Some((origin.clone(), refusal.check, refusal.height)),
                    _ => None,
                })
                .collect();
            let liar = (UpdateOrigin::Node("doubted".to_owned()), check, Some(height));
            let expected = if set_changes.is_empty() { vec![liar] } else { vec![] };
            assert_eq!(blamed, expected, "{reason}, with changes after {set_changes:?}");
        }
    }
}

#[test]
fn a_set_that_cannot_be_followed_waits_for_the_operator_and_asks_nobody() {
    let SetStatement { height, digest } = fact().statement;
    let reason = HoldReason::SetNotFollowed { height, digest, check: "replay" };
    let mut driven = Bench::new(None).start();
    let held = VerifiedUpdate::HeldBack { state: opaque("state"), headers: vec![], set_changes: vec![], reason };
    let origin = UpdateOrigin::Node("own".to_owned());
    let update = opaque("update");
    let effects = driven.give(Input::UpdateVerified { domain: domain("here"), update, origin, result: held });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ConfirmSet { .. })), "{effects:?}");
    assert_eq!(asked(&effects), []);
    let status = driven.machine.status();
    let words = status.clients.iter().find_map(ClientStatus::held_words).unwrap();
    assert!(words.contains("anchor the chain anew"), "{words}");
}

#[test]
fn enough_attesters_are_believed_and_the_client_goes_on() {
    let (mut driven, effects) = waiting();
    let wanted = attestation(fact(), 1);
    assert_eq!(asked(&effects), [(PEER, wanted), (ATTESTER, wanted)]);
    assert_eq!(applied(&driven.frame(ATTESTER, signed(wanted, &[1]))), []);
    assert_eq!(applied(&driven.frame(PEER, signed(wanted, &[1, 2]))), [], "the same attester counts once");
    let here = |driven: &Driven| {
        driven.machine.status().clients.iter().find(|client| client.domain == domain("here")).copied()
    };
    assert_eq!(here(&driven).unwrap().set_votes, Some((2, 3)));
    assert!(here(&driven).unwrap().held.is_some(), "too few: it stays held back and says so");
    assert_eq!(applied(&driven.frame(PEER, signed(wanted, &[4]))), [fact().statement]);
    let (domain, statement, result) = (domain("here"), fact().statement, Ok(opaque("state with the set")));
    let effects = driven.give(Input::SetApplied { domain, statement, result });
    let (ticket, records) = appended(&effects);
    let stated = records.iter().find_map(|record| match record {
        Record::SetStated { fact, evidence } => Some((*fact, evidence.iter().map(|one| one.signatures.len()).sum())),
        _ => None,
    });
    assert_eq!(stated, Some((fact(), 3)), "what it was believed for is durable with it");
    driven.give(Input::Durable(ticket));
    assert_eq!((here(&driven).unwrap().held, here(&driven).unwrap().set_votes), (None, None));
}

#[test]
fn what_is_forged_or_replayed_is_refused_by_name() {
    let (mut driven, _) = waiting();
    let other = SetFact { statement: SetStatement { digest: keccak256(b"forged"), ..fact().statement }, ..fact() };
    let forked = SetFact { parent: keccak256(b"fork"), ..fact() };
    let good = attestation(fact(), 1);
    let elsewhere = SetAttestation { verifier: Address::from_20([9; 20]), ..good };
    let cases = [
        (signed(attestation(other, 1), &[1, 2, 3]), "set-attested"),
        (signed(attestation(forked, 1), &[1, 2, 3]), "set-attested"),
        (signed(attestation(fact(), 2), &[1, 2, 3]), "set-epoch"),
        (signed(elsewhere, &[1, 2, 3]), "set-verifier"),
        (signed(good, &[7, 8, 9]), "set-stranger"),
    ];
    for (frame, check) in cases {
        let effects = driven.frame(PEER, frame);
        assert_eq!((refused(&effects), applied(&effects)), (vec![check], vec![]));
    }
    assert_eq!(applied(&driven.frame(PEER, signed(good, &[1, 2, 3]))), [fact().statement]);
}

#[test]
fn a_vote_for_a_set_of_another_height_than_the_one_we_ask_for_is_no_lie() {
    let (mut driven, _) = waiting();
    for height in [fact().statement.height.0 - 1, fact().statement.height.0 + 4] {
        let statement = SetStatement { height: Height(height), digest: keccak256(b"another set") };
        let asked_before = SetFact { statement, parent: keccak256(&(height - 1).to_be_bytes()), ..fact() };
        let effects = driven.frame(PEER, signed(attestation(asked_before, 1), &[1, 2, 3]));
        assert_eq!((refused(&effects), applied(&effects)), (vec![], vec![]), "{height}");
    }
}

#[test]
fn a_rotated_set_of_attesters_is_asked_anew_and_old_votes_do_not_count() {
    let (mut driven, _) = waiting();
    driven.frame(ATTESTER, signed(attestation(fact(), 1), &[1, 2]));
    let answer = Fetched::Some(committee(2));
    driven.give(Input::CommitteeRead { flow: flow(Direction::Outbox), answer });
    driven.now = UnixMillis(NOW.0 + 60_000);
    let effects = driven.give(Input::Tick);
    assert!(asked(&effects).contains(&(ATTESTER, attestation(fact(), 2))), "{effects:?}");
    assert_eq!(applied(&driven.frame(ATTESTER, signed(attestation(fact(), 2), &[3]))), []);
    assert_eq!(applied(&driven.frame(ATTESTER, signed(attestation(fact(), 2), &[1, 2]))), [fact().statement]);
}

/// An attester, or a relay with a node, whose own nodes have confirmed the set.
fn confirmed(target: Option<&str>) -> Driven {
    let mut bench = Bench::new(target);
    bench.recovered.sets = vec![fact()];
    let mut driven = bench.start();
    driven.greet(PEER, Role::Relay, vec![]);
    driven
}

#[test]
fn an_attester_signs_what_its_own_nodes_confirmed_after_the_sign_once_record() {
    let mut driven = confirmed(None);
    let wanted = attestation(fact(), 1);
    let effects = driven.frame(PEER, Frame::SetRequest(wanted));
    let (ticket, records) = appended(&effects);
    assert_eq!(records, [Record::SetSigned(wanted)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Sign { .. })), "not before it is durable");
    let effects = driven.give(Input::Durable(ticket));
    let what = Attestable::Set(wanted);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Sign { what: said, peer: PEER } if *said == what)));
    let Frame::SetAttested(evidence) = signed(wanted, &[1]) else { panic!("no evidence") };
    let signature = Some(*evidence.signatures.values().next().unwrap());
    let effects = driven.give(Input::Signed { what, peer: PEER, signature });
    let sent = |effect: &Effect| matches!(effect, Effect::Send { peer: PEER, frame } if *frame == signed(wanted, &[1]));
    assert!(effects.iter().any(sent), "{effects:?}");
}

#[test]
fn an_attester_signs_no_set_that_its_own_nodes_did_not_confirm() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let receipt = ReceiptId(1);
    let effects = driven.frame(PEER, Frame::SetRequest(attestation(fact(), 1)));
    assert!(matches!(effects[..], [Effect::Release(released)] if released == receipt), "{effects:?}");
    let mut driven = confirmed(None);
    let other = SetFact { statement: SetStatement { digest: keccak256(b"forged"), ..fact().statement }, ..fact() };
    assert_eq!(refused(&driven.frame(PEER, Frame::SetRequest(attestation(other, 1)))), ["set-contradiction"]);
    let forked = SetFact { parent: keccak256(b"fork"), ..fact() };
    assert_eq!(refused(&driven.frame(PEER, Frame::SetRequest(attestation(forked, 1)))), ["set-contradiction"]);
    let stranger = SetAttestation { verifier: Address::from_20([9; 20]), ..attestation(fact(), 1) };
    let effects = driven.frame(PEER, Frame::SetRequest(stranger));
    assert!(matches!(effects[..], [Effect::Release(_)]), "a verifier of no lane of ours: {effects:?}");
}

#[test]
fn a_relay_with_a_node_asks_the_attesters_for_one_without_and_passes_their_votes_on() {
    let mut driven = confirmed(Some("here"));
    driven.greet(ATTESTER, Role::Attester, vec![]);
    let wanted = attestation(fact(), 1);
    assert_eq!(asked(&driven.frame(PEER, Frame::SetRequest(wanted))), [(ATTESTER, wanted)]);
    let passed = |effects: &[Effect]| {
        let passed = |effect: &Effect| match effect {
            Effect::Send { peer: PEER, frame: Frame::SetAttested(evidence) } => Some(evidence.signatures.len()),
            _ => None,
        };
        effects.iter().find_map(passed)
    };
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[9]))), None, "a stranger's is not passed on");
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[1]))), Some(1));
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[1]))), None, "once");
    assert_eq!(passed(&driven.frame(ATTESTER, signed(wanted, &[2, 3]))), Some(3));
    let effects = driven.frame(PEER, Frame::SetRequest(wanted));
    assert_eq!((passed(&effects), asked(&effects).len()), (Some(3), 0), "enough: nobody is asked again");
}

#[test]
fn a_set_that_own_nodes_confirm_is_recorded_and_can_be_attested_from_then_on() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    hold(&mut driven);
    let (domain, statement) = (domain("here"), fact().statement);
    let effects = driven.give(Input::SetConfirmed { domain, statement, agrees: Some(true) });
    assert_eq!(applied(&effects), [statement]);
    let effects = driven.give(Input::SetApplied { domain, statement, result: Ok(opaque("state with the set")) });
    let (ticket, records) = appended(&effects);
    assert!(records.contains(&Record::SetStated { fact: fact(), evidence: vec![] }), "{records:?}");
    driven.give(Input::Durable(ticket));
    let effects = driven.frame(PEER, Frame::SetRequest(attestation(fact(), 1)));
    assert_eq!(appended(&effects).1, [Record::SetSigned(attestation(fact(), 1))]);
}

/// What a machine with the client at block 10 does with an anchor at `height`.
fn started_with_anchor(height: u64) -> (Vec<Effect>, ClientStatus) {
    let mut bench = Bench::new(Some("here"));
    let setup = &mut bench.config.chains[0];
    (setup.height, setup.hash) = (Height(height), keccak256(b"anchor"));
    let mut driven = bench.start();
    let status = driven.machine.status().clients.into_iter().find(|client| client.domain == domain("here")).unwrap();
    (driven.effects(), status)
}

#[test]
fn a_newer_anchor_is_where_the_client_goes_on_and_an_older_one_changes_nothing() {
    let fetches = |effects: &[Effect]| -> Vec<Height> {
        let fetched = |effect: &Effect| match effect {
            Effect::FetchUpdate { domain: of, after, .. } if *of == domain("here") => Some(*after),
            _ => None,
        };
        effects.iter().filter_map(fetched).collect()
    };
    let anchored =
        |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Report(Report::Anchored { .. })));
    for (anchor, expected) in [(0, 10), (9, 10), (10, 10), (50, 50)] {
        let (effects, status) = started_with_anchor(anchor);
        assert_eq!(
            (status.height, fetches(&effects)),
            (Height(expected), vec![Height(expected)]),
            "anchor at {anchor}"
        );
        assert_eq!(anchored(&effects), anchor == 50, "it is said");
    }
}

#[test]
fn headers_before_the_gap_of_a_new_anchor_prove_nothing_any_more() {
    let mut bench = Bench::new(Some("here"));
    bench.recovered.clients[0].headers.retain(|header| header.height != Height(6));
    let driven = bench.start();
    assert_eq!(driven.machine.clients[&domain("here")].header_range(), Some((Height(7), Height(10))));
}

#[test]
fn a_set_that_own_nodes_deny_or_cannot_judge_yet_is_not_believed() {
    for agrees in [Some(false), None] {
        let mut driven = Bench::new(None).start();
        driven.greet(PEER, Role::Relay, vec![]);
        hold(&mut driven);
        let (domain, statement) = (domain("here"), fact().statement);
        let effects = driven.give(Input::SetConfirmed { domain, statement, agrees });
        assert_eq!(applied(&effects), [], "{agrees:?}");
        assert!(driven.machine.poll_timeout().is_some_and(|wake| wake > NOW), "it is asked again, after a wait");
    }
}
