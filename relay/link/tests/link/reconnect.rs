//! Sessions that are lost, and come again.

use std::time::{Duration, Instant};

use cityrelay_link::{CloseCode, DownReason, LinkConfig, LinkEvent, LinkLimits};

use crate::forwarder::Forwarder;
use crate::frames;
use crate::node::{Node, any_port, config, eventually, greet, limits, pair, peer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_is_dialled_again() {
    let (mut a, b) = pair().await;
    let address = b.address();
    b.link.close().await;
    drop(b);
    assert_eq!(a.down().await, DownReason::ClosedByPeer { code: CloseCode::Shutdown });
    eventually("the port is free", || std::net::UdpSocket::bind(address).is_ok()).await;
    let mut b = Node::start(config(2, Some(address), vec![peer(1, None)]));
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
        let mut b = Node::start(listener(address));
        assert_eq!(a.down().await, DownReason::Reset);
        greet(&mut a, &mut b).await;
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
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
