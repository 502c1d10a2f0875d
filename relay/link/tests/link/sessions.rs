//! What two links that keep the rules do.

use std::net::SocketAddr;
use std::time::Duration;

use cityrelay_core::frame::Frame;
use cityrelay_link::{CloseCode, DownReason, LinkEvent, PeerAddress, PeerConfig, SendError};

use crate::frames;
use crate::node::{Node, any_port, config, eventually, fingerprint, greet, limits, name, pair, peer, peer_with_lanes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_frame_crosses_in_both_directions() {
    let (mut a, mut b) = pair().await;
    for frame in frames::of_each_kind().into_iter().skip(1) {
        a.send(2, &frame).await;
        assert_eq!(b.frame().await.0, frame);
        b.send(1, &frame).await;
        assert_eq!(a.frame().await.0, frame);
    }
    let kinds: Vec<_> = frames::of_each_kind().iter().map(Frame::kind).collect();
    for stats in [a.peer_stats(2), b.peer_stats(1)] {
        for kind in &kinds {
            assert_eq!((stats.frames_in[kind], stats.frames_out[kind]), (1, 1), "{kind}");
        }
        assert!(stats.rtt.unwrap() < Duration::from_secs(1));
        assert_eq!(stats.bytes_in, stats.bytes_out);
        assert_eq!(stats.inflight_bytes, 0);
    }
    assert_eq!((a.peer_stats(2).is_dialled_here, b.peer_stats(1).is_dialled_here), (Some(true), Some(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_the_largest_size_crosses() {
    let (mut a, mut b) = pair().await;
    let update = cityrelay_core::opaque::Opaque {
        adapter: "some-chain".to_owned(),
        version: 1,
        bytes: vec![7; cityrelay_core::opaque::MAX_OPAQUE_BYTES],
    };
    let frame = Frame::Update { domain: cityrelay_core::ids::Domain(cityrelay_core::hash::Hash32::ZERO), update };
    a.send(2, &frame).await;
    assert_eq!(b.frame().await.0, frame);
    b.send(1, &frame).await;
    assert_eq!(a.frame().await.0, frame);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_flow_keep_their_order() {
    let (a, mut b) = pair().await;
    for index in 1..=500 {
        a.send(2, &frames::extension(1, index, 2000)).await;
    }
    for index in 1..=500 {
        assert_eq!(b.frame().await.0, frames::extension(1, index, 2000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_before_hello() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let mut a = Node::start(config(1, None, vec![peer(2, Some(b.address()))]));
    a.up().await;
    let sent = a.link.send(&name(2), &frames::accepted(1, 1)).await;
    assert_eq!(sent, Err(SendError::HelloFirst { got: "accepted" }));
    b.up().await;
    b.quiet(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_is_sent_once() {
    let (a, _b) = pair().await;
    assert_eq!(a.link.send(&name(2), &frames::hello()).await, Err(SendError::HelloRepeated));
    assert_eq!(a.link.try_send(&name(2), &frames::hello()), Err(SendError::HelloRepeated));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_for_nobody_is_refused() {
    let a = Node::start(config(1, Some(any_port()), vec![peer(2, None)]));
    let stranger = a.link.send(&name(9), &frames::hello()).await;
    assert_eq!(stranger, Err(SendError::UnknownPeer { peer: name(9) }));
    assert_eq!(a.link.send(&name(2), &frames::hello()).await, Err(SendError::Down { peer: name(2) }));
    assert_eq!(a.link.try_send(&name(2), &frames::hello()), Err(SendError::Down { peer: name(2) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_own_limit_is_not_sent() {
    let small = cityrelay_link::LinkLimits { max_frame_bytes: 1000, ..limits() };
    let (a, _b) = crate::node::pair_with(small, limits()).await;
    let sent = a.link.send(&name(2), &frames::extension(1, 1, 1000)).await;
    assert!(matches!(sent, Err(SendError::TooLarge { got: 1001.., limit: 1000 })), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_not_allowed_is_not_sent_about() {
    let mut b = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
    let lanes = [frames::lane(1)];
    let mut a = Node::start(config(1, None, vec![peer_with_lanes(2, Some(b.address()), &lanes)]));
    greet(&mut a, &mut b).await;
    let sent = a.link.send(&name(2), &frames::extension(2, 1, 10)).await;
    assert_eq!(sent, Err(SendError::LaneNotAllowed { lane: frames::lane(2) }));
    a.send(2, &frames::extension(1, 1, 10)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, 1, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_lets_what_is_queued_leave_first() {
    let (a, mut b) = pair().await;
    for index in 1..=200 {
        a.send(2, &frames::extension(1, index, 10_000)).await;
    }
    a.link.close().await;
    for index in 1..=200 {
        assert_eq!(b.frame().await.0, frames::extension(1, index, 10_000));
    }
    assert_eq!(b.down().await, DownReason::ClosedByPeer { code: CloseCode::Shutdown });
    assert_eq!(b.peer_stats(1).session, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_tells_the_own_user_too_and_ends_the_events() {
    let (mut a, _b) = pair().await;
    a.link.close().await;
    assert_eq!(a.down().await, DownReason::Shutdown);
    assert_eq!(a.link.send(&name(2), &frames::at(1)).await, Err(SendError::Down { peer: name(2) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_link_ends_its_sessions() {
    let (a, mut b) = pair().await;
    drop(a);
    assert_eq!(b.down().await, DownReason::ClosedByPeer { code: CloseCode::Shutdown });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_dialled_by_name() {
    let mut b = Node::start(config(2, Some("127.0.0.1:0".parse().unwrap()), vec![peer(1, None)]));
    let address = PeerAddress::Host { host: "localhost".to_owned(), port: b.address().port() };
    let mut a = Node::start(config(1, None, vec![PeerConfig { address: Some(address), ..peer(2, None) }]));
    greet(&mut a, &mut b).await;
}

/// Free ports, so that each side can know the other's before it starts.
fn two_addresses() -> [SocketAddr; 2] {
    let ports = [0, 1].map(|_| std::net::UdpSocket::bind(any_port()).unwrap());
    ports.map(|port| port.local_addr().unwrap())
}

/// Whether both sides hold a session, and it is the same one.
fn hold_the_same(a: &Node, b: &Node) -> bool {
    match (a.peer_stats(2).is_dialled_here, b.peer_stats(1).is_dialled_here) {
        (Some(here), Some(there)) => here != there,
        _ => false,
    }
}

/// Takes events until this frame has come.
async fn take_until(node: &mut Node, expected: &Frame) {
    loop {
        if let LinkEvent::Frame { frame, .. } = node.event().await
            && frame == *expected
        {
            return;
        }
    }
}

// One thread: neither side gets to do anything before both are bound, so that they dial at the same time.
#[tokio::test]
async fn of_two_sessions_dialled_at_once_one_stays_on_both_sides() {
    let mut contests = 0;
    for round in 0..20 {
        let [first, second] = two_addresses();
        let mut a = Node::restart(config(1, Some(first), vec![peer(2, Some(second))]));
        let mut b = Node::restart(config(2, Some(second), vec![peer(1, Some(first))]));
        eventually("both sides hold one session", || hold_the_same(&a, &b)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(hold_the_same(&a, &b), "round {round}");
        let before = (a.peer_stats(2).session, b.peer_stats(1).session);
        a.say_hello(2).await;
        b.say_hello(1).await;
        a.send(2, &frames::at(round)).await;
        b.send(1, &frames::at(round)).await;
        take_until(&mut a, &frames::at(round)).await;
        take_until(&mut b, &frames::at(round)).await;
        assert_eq!(before, (a.peer_stats(2).session, b.peer_stats(1).session), "round {round}: sessions keep changing");
        if a.refusals("duplicate-session") + b.refusals("duplicate-session") > 0 || a.peer_stats(2).sessions > 1 {
            contests += 1;
            let smaller_is_a = fingerprint(1) < fingerprint(2);
            assert_eq!(a.peer_stats(2).is_dialled_here, Some(smaller_is_a), "round {round}");
        }
    }
    assert!(contests > 0, "the two sides never dialled at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_is_still_under_way_is_given_up_when_the_peer_comes_first() {
    let [first, second] = two_addresses();
    // Nobody is there yet: the first datagrams are lost, and QUIC tries again after a second or so.
    let mut a = Node::restart(config(1, Some(first), vec![peer(2, Some(second))]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut b = Node::restart(config(2, Some(second), vec![peer(1, Some(first))]));
    greet(&mut a, &mut b).await;
    assert_eq!(a.peer_stats(2).is_dialled_here, Some(false));
    a.quiet(Duration::from_secs(2)).await;
    assert_eq!(a.peer_stats(2).dial_failures, [("not-needed", 1)].into());
}
