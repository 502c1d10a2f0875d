//! A peer that changes its key, while everybody else goes on.

use std::collections::BTreeMap;

use cityrelay_link::{DownReason, LinkConfig, PeerConfig, Pin, PinError, Refusal};

use crate::frames;
use crate::node::{Node, any_port, config, eventually, fingerprint, greet, identity, name, pair, peer};

/// Node 2 after its change: the key of seed 4.
const NEW: u8 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_changed_without_a_word_from_the_other_side() {
    let (mut a, b) = pair().await;
    let address = b.address();
    // The other operator pins the new key beside the old one; the session goes on.
    let both = BTreeMap::from([(name(2), (fingerprint(2), Some(fingerprint(NEW))))]);
    a.link.set_keys(&both).unwrap();
    a.send(2, &frames::extension(1, 1, 10)).await;
    assert_eq!(a.peer_stats(2).pin, Some(Pin::Current));
    // The peer starts anew with the new key, and is taken at once.
    b.link.close().await;
    drop(b);
    a.down().await;
    let mut b = Node::restart(LinkConfig { identity: identity(NEW), ..config(2, Some(address), vec![peer(1, None)]) });
    greet(&mut a, &mut b).await;
    assert_eq!(a.peer_stats(2).pin, Some(Pin::Next));
    // The new key takes the place of the old one: the session is the same.
    a.link.set_keys(&BTreeMap::from([(name(2), (fingerprint(NEW), None))])).unwrap();
    a.send(2, &frames::extension(1, 2, 10)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, 2, 10));
    assert_eq!((a.peer_stats(2).pin, a.peer_stats(2).sessions), (Some(Pin::Current), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_takes_both_keys_too() {
    let both = PeerConfig { next_fingerprint: Some(fingerprint(NEW)), ..peer(1, None) };
    let mut b = Node::start(config(2, Some(any_port()), vec![both]));
    for (seed, pin) in [(1, Pin::Current), (NEW, Pin::Next)] {
        let peers = vec![peer(2, Some(b.address()))];
        let mut a = Node::start(LinkConfig { identity: identity(seed), ..config(1, None, peers) });
        greet(&mut a, &mut b).await;
        assert_eq!(b.peer_stats(1).pin, Some(pin));
        a.link.close().await;
        b.down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_pinned_any_more_ends_its_session() {
    let (mut a, mut b) = pair().await;
    b.link.set_keys(&BTreeMap::from([(name(1), (fingerprint(NEW), None))])).unwrap();
    let refused = Refusal::UnknownFingerprint { got: fingerprint(1) };
    assert_eq!(b.down().await, DownReason::Refused(refused));
    a.down().await;
    eventually("the old key is refused", || a.peer_stats(2).dial_failures.contains_key("refused-by-peer")).await;
    assert_eq!(b.peer_stats(1).sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_pinned_as_a_whole_or_not_at_all() {
    let b = Node::start(config(2, Some(any_port()), vec![peer(1, None), peer(3, None)]));
    let own = (fingerprint(2), None);
    let twice = (fingerprint(NEW), Some(fingerprint(NEW)));
    for (keys, taken) in [
        (BTreeMap::from([(name(1), (fingerprint(3), None))]), fingerprint(3)),
        (BTreeMap::from([(name(1), own)]), fingerprint(2)),
        (BTreeMap::from([(name(1), twice)]), fingerprint(NEW)),
    ] {
        assert_eq!(b.link.set_keys(&keys), Err(PinError::Taken { key: taken }));
    }
    let stranger = BTreeMap::from([(name(9), (fingerprint(9), None))]);
    assert_eq!(b.link.set_keys(&stranger), Err(PinError::UnknownPeer { peer: name(9) }));
    // Two peers may exchange theirs.
    let swapped = BTreeMap::from([(name(1), (fingerprint(3), None)), (name(3), (fingerprint(1), None))]);
    assert_eq!(b.link.set_keys(&swapped), Ok(()));
    let peers = vec![peer(2, Some(b.address()))];
    let a = Node::start(LinkConfig { identity: identity(3), ..config(1, None, peers) });
    eventually("the third key is the first peer's", || b.peer_stats(1).sessions == 1).await;
    drop(a);
}
