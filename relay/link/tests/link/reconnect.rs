//! Sessions that are lost, and come again.

use std::time::{Duration, Instant};

use cityrelay_link::{CloseCode, DownReason, LinkConfig, LinkEvent, LinkLimits, PeerAddress, SendError};

use crate::forwarder::Forwarder;
use crate::frames;
use crate::node::{Node, any_port, config, eventually, greet, limits, name, pair, peer};
use crate::rogue::{Manners, Rogue, connect, listener};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_is_dialled_again() {
    let (mut a, b) = pair().await;
    let address = b.address();
    b.link.close().await;
    drop(b);
    assert_eq!(a.down().await, DownReason::ClosedByPeer { code: CloseCode::Shutdown });
    let mut b = Node::restart(config(2, Some(address), vec![peer(1, None)]));
    greet(&mut a, &mut b).await;
    a.send(2, &frames::extension(1, 1, 10)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, 1, 10));
    assert_eq!(a.peer_stats(2).sessions, 2);
}

#[test]
fn a_peer_that_was_killed_and_restarted_is_noticed_long_before_the_idle_timeout() {
    let patient = LinkLimits { idle_timeout: Duration::from_secs(60), ..limits() };
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ours, theirs) = (runtime(), runtime());
    let listener = |address| LinkConfig { limits: patient.clone(), ..config(2, Some(address), vec![peer(1, None)]) };
    let mut b = theirs.block_on(async { Node::start(listener(any_port())) });
    let address = b.address();
    let dialler = LinkConfig { limits: patient.clone(), ..config(1, None, vec![peer(2, Some(address))]) };
    let mut a = ours.block_on(async { Node::start(dialler) });
    ours.block_on(greet(&mut a, &mut b));

    // As kill -9 does it: the tasks are gone before anything could be said.
    theirs.shutdown_timeout(Duration::from_secs(5));
    drop(b);
    let start = Instant::now();
    ours.block_on(async {
        let mut b = Node::restart(listener(address));
        assert_eq!(a.down().await, DownReason::Reset);
        greet(&mut a, &mut b).await;
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_dialled_at_its_address_of_the_moment() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let silent = Forwarder::to(b.address()).await;
    silent.set_silent(true);
    let mut a = Node::start(config(1, None, vec![peer(2, Some(silent.address))]));
    a.link.set_address(&name(2), Some(PeerAddress::Socket(b.address()))).unwrap();
    greet(&mut a, &mut b).await;
    // The session stands on the key, not on the address.
    a.link.set_address(&name(2), None).unwrap();
    a.send(2, &frames::extension(1, 1, 10)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, 1, 10));
    assert_eq!(a.peer_stats(2).sessions, 1);
    assert!(matches!(a.link.set_address(&name(7), None), Err(SendError::UnknownPeer { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_falls_silent_is_given_up_and_dialled_again() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let forwarder = Forwarder::to(b.address()).await;
    let mut a = Node::start(config(1, None, vec![peer(2, Some(forwarder.address))]));
    greet(&mut a, &mut b).await;
    forwarder.set_silent(true);
    assert_eq!(a.down().await, DownReason::TimedOut);
    assert_eq!(b.down().await, DownReason::TimedOut);
    eventually("a dial fails", || a.peer_stats(2).dial_failures.contains_key("timeout")).await;
    forwarder.set_silent(false);
    greet(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_a_change_of_address() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let forwarder = Forwarder::to(b.address()).await;
    let mut a = Node::start(config(1, None, vec![peer(2, Some(forwarder.address))]));
    greet(&mut a, &mut b).await;
    let before = b.peer_stats(1);
    forwarder.change_address().await;
    for index in 1..=20 {
        a.send(2, &frames::extension(1, index, 1000)).await;
        assert_eq!(b.frame().await.0, frames::extension(1, index, 1000));
        b.send(1, &frames::accepted(1, index)).await;
        assert_eq!(a.frame().await.0, frames::accepted(1, index));
    }
    eventually("the change is counted", || b.peer_stats(1).path_changes == 1).await;
    let after = b.peer_stats(1);
    assert_eq!(before.session, after.session);
    assert_ne!(before.remote, after.remote);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_not_there_yet_is_dialled_until_it_is() {
    let address = std::net::UdpSocket::bind(any_port()).unwrap().local_addr().unwrap();
    let mut a = Node::start(LinkConfig {
        limits: LinkLimits { handshake_timeout: Duration::from_millis(200), ..limits() },
        ..config(1, None, vec![peer(2, Some(address))])
    });
    eventually("two dials fail", || a.peer_stats(2).dial_failures.values().sum::<u64>() >= 2).await;
    let mut b = Node::start(config(2, Some(address), vec![peer(1, None)]));
    greet(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_session_is_told_before_the_next_one_begins() {
    let (mut a, mut b) = pair().await;
    // The same peer dials again while its old session stands, as it does when it has lost it without a word.
    let mut again = Node::start(config(1, None, vec![peer(2, Some(b.address()))]));
    again.up().await;
    let LinkEvent::Down { session: old, reason, .. } = b.event().await else { panic!("expected Down") };
    assert_eq!(reason, DownReason::Superseded);
    let LinkEvent::Up { session: new, .. } = b.event().await else { panic!("expected Up") };
    assert!(new > old);
    assert_eq!(a.down().await, DownReason::ClosedByPeer { code: CloseCode::Superseded });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_loses_and_doubles_nothing() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let forwarder = Forwarder::to(b.address()).await;
    let mut a = Node::start(config(1, None, vec![peer(2, Some(forwarder.address))]));
    greet(&mut a, &mut b).await;
    forwarder.set_bad();
    let link = a.link.clone();
    let sender = tokio::spawn(async move {
        for index in 1..=300 {
            link.send(&name(2), &frames::extension(1, index, 1500)).await.unwrap();
        }
    });
    for index in 1..=300 {
        assert_eq!(b.frame().await.0, frames::extension(1, index, 1500));
    }
    sender.await.unwrap();
    assert_eq!(b.peer_stats(1).sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_sessions_in_quick_succession_never_mix() {
    let mut b = listener();
    let address = b.address();
    let storm = tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..30 {
            let (endpoint, connection) = connect(address, Manners::default()).await;
            let Ok(connection) = connection else { continue };
            // What does not get in is closed at once, maybe before it has said anything.
            if let Ok((mut control, answers)) = connection.open_bi().await {
                let _ = control.write_all(&[1]).await;
                kept.push((endpoint, connection, control, answers));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let mut last = None;
    let mut open = None;
    let mut ups = 0;
    storm.await.unwrap();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), b.events.recv()).await {
        match event {
            LinkEvent::Up { session, .. } => {
                assert_eq!(open, None, "a session began before the last one had ended");
                assert!(Some(session) > last);
                (open, last, ups) = (Some(session), Some(session), ups + 1);
            }
            LinkEvent::Down { session, .. } => assert_eq!(open.take(), Some(session)),
            LinkEvent::Refused { .. } => {}
            LinkEvent::Frame { .. } => panic!("nothing was said"),
        }
    }
    assert!(ups >= 1);
    assert_eq!(open, None);
    assert_eq!(b.peer_stats(1).session, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_for_a_session_that_has_been_replaced_is_not_sent_on_the_next() {
    let mut b = listener();
    let first = Rogue::connect(&b).await;
    let old = b.up().await;
    let second = Rogue::connect(&b).await;
    assert_eq!(b.down().await, DownReason::Superseded);
    let new = b.up().await;
    let late = b.link.send_on(old, &name(1), &frames::hello()).await;
    assert_eq!(late, Err(SendError::Down { peer: name(1) }));
    b.link.send_on(new, &name(1), &frames::hello()).await.unwrap();
    drop((first, second));
}
