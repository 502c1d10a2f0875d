//! What a flow says that it waits for.

use super::memory::verified;
use super::sets::final_block;
use super::*;
use crate::machine::effect::UpdateOrigin;
use crate::machine::status::{FlowStatus, WaitReason};
use crate::set_attestation::Attestable;

fn standing(driven: &Driven) -> FlowStatus {
    let flows = driven.machine.status().flows;
    flows.into_iter().find(|found| found.flow == flow(Direction::Outbox)).unwrap()
}

#[test]
fn a_flow_whose_nodes_fail_again_and_again_does_not_look_idle() {
    let mut driven = Bench::new(Some("here")).start();
    driven.effects();
    let flow = flow(Direction::Outbox);
    for failures in 1..=4 {
        driven.give(Input::HintRead { flow, answer: Fetched::Failed });
        let expected = if failures < 3 { WaitReason::Idle } else { WaitReason::Nodes };
        assert_eq!(standing(&driven).waits_for, expected, "after {failures} failures");
        driven.now = UnixMillis(driven.now.0 + 60_000);
        driven.give(Input::Tick);
    }
    driven.give(Input::HintRead { flow, answer: Fetched::Some(point(0)) });
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle, "they answer");
}

#[test]
fn an_attester_that_is_asked_about_a_header_that_it_lacks_does_not_look_idle() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle);
    let claim = extension(0, 3, 11).claim_without_payloads();
    driven.frame(PEER, Frame::AttestRequest { claim, index: Index(3), epoch: Epoch(1) });
    let stands = standing(&driven);
    assert_eq!((stands.waits_for, stands.hint, stands.durable), (WaitReason::Header, Index(3), Index(0)));
    driven.give(Input::PeerDown(PEER));
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle, "nobody asks any more");
}

#[test]
fn an_attester_whose_signer_does_not_sign_says_so_until_it_signs_or_nobody_asks() {
    let mut driven = Bench::new(None).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let verifying = lane().target(Direction::Outbox);
    let statement = Statement { flow: flow(Direction::Outbox), point: point(3), epoch: Epoch(1), verifying };
    let signed = |signature| Input::Signed { what: Attestable::Head(statement), peer: PEER, signature };
    let declined = driven.give(signed(None));
    let mute = |effect: &Effect| {
        matches!(effect, Effect::Send { frame: Frame::Declined(Declined { reason: DeclineReason::Mute, .. }), .. })
    };
    assert!(declined.iter().any(mute), "{declined:?}");
    assert_eq!(standing(&driven).waits_for, WaitReason::Signer);
    driven.give(signed(Some(sign(1, point(3), 1))));
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle, "it signs again");
    driven.give(signed(None));
    driven.now = UnixMillis(driven.now.0 + 15_001);
    driven.give(Input::Tick);
    assert_eq!(standing(&driven).waits_for, WaitReason::Idle, "nobody has asked since");
}

#[test]
fn a_client_that_moves_while_a_session_begins_is_told_as_soon_as_it_stands() {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let begins_anew = |driven: &mut Driven| {
        driven.give(Input::PeerDown(PEER));
        driven.give(Input::PeerUp(PEER))
    };
    let says_hello = |driven: &mut Driven| {
        let hello = Hello { oldest_version: 1, newest_version: 1, role: Role::Relay, clients: vec![], flows: vec![] };
        driven.frame(PEER, Frame::Hello(hello))
    };
    let hello = begins_anew(&mut driven);
    let said = |effect: &Effect| matches!(effect, Effect::Send { frame: Frame::Hello(hello), .. } if hello.clients.iter().any(|at| at.height == Height(10)));
    assert!(hello.iter().any(said), "{hello:?}");
    // Headers that came in the session before become durable now.
    let (update, origin) = (opaque("update"), UpdateOrigin::Peer(PEER));
    let result = final_block(11, vec![]);
    let effects = driven.give(Input::UpdateVerified { domain: domain("here"), update, origin, result });
    let ticket = effects.iter().find_map(|effect| match effect {
        Effect::Append { ticket, .. } => Some(*ticket),
        _ => None,
    });
    assert_eq!(clients_told(&driven.give(Input::Durable(ticket.unwrap()))), [], "its session does not stand yet");
    assert_eq!(
        clients_told(&says_hello(&mut driven)),
        [(PEER, Height(11))],
        "else it would send the same headers for ever"
    );
    begins_anew(&mut driven);
    assert_eq!(clients_told(&says_hello(&mut driven)), [], "our Hello said it");
}

#[test]
fn what_the_disk_did_not_keep_is_verified_anew_when_it_comes_again() {
    let mut driven = Bench::new(Some("there")).start();
    driven.greet(PEER, Role::Relay, vec![]);
    let frame = || Frame::Extension { claim: extension(0, 3, 5).claim(), evidence: vec![evidence(3, 1)] };
    let check = |effects: Vec<Effect>| {
        let check = effects.into_iter().find_map(|effect| match effect {
            Effect::VerifyClaim(check) => Some(check),
            _ => None,
        });
        check.expect("it is verified")
    };
    let first = check(driven.frame(PEER, frame()));
    let effects = driven.give(verified(&first));
    let Some(Effect::Append { ticket, .. }) =
        effects.into_iter().find(|effect| matches!(effect, Effect::Append { .. }))
    else {
        panic!("it is not written down")
    };
    let effects = driven.give(Input::AppendFailed { ticket, is_retryable: true });
    let busy = Declined { flow: flow(Direction::Outbox), index: Index(1), reason: DeclineReason::Busy };
    assert_eq!(declines(&effects), [busy], "the peer sends it again");
    let again = check(driven.frame(PEER, frame()));
    assert_eq!((again.base, again.claim), (first.base, first.claim), "from what is durable");
}
