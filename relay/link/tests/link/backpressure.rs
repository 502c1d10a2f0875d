//! Permits that are kept hold up their sender, and nobody else.

use std::time::Duration;

use cityrelay_link::{CloseCode, DownReason, LinkConfig, LinkLimits, Refusal, SendError};

use crate::frames;
use crate::node::{Node, any_port, config, eventually, limits, name, pair_with, peer};

const FRAME: usize = 10_000;

fn small() -> LinkLimits {
    LinkLimits {
        max_frame_bytes: 64 << 10,
        max_inflight_bytes_per_stream: 64 << 10,
        max_inflight_bytes_per_peer: 256 << 10,
        stream_window_bytes: 64 << 10,
        max_unread_bytes_per_peer: 1 << 20,
        ..limits()
    }
}

/// Sends on a lane until there is no room for a while; how many were taken.
async fn fill(node: &Node, lane: u8) -> u64 {
    let mut taken = 0;
    while tokio::time::timeout(
        Duration::from_millis(500),
        node.link.send(&name(2), &frames::extension(lane, taken + 1, FRAME)),
    )
    .await
    .is_ok_and(|sent| sent.is_ok())
    {
        taken += 1;
        assert!(taken < 1000, "nothing holds the sender up");
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_that_are_kept_hold_up_the_sender() {
    let (a, mut b) = pair_with(small(), small()).await;
    let taken = fill(&a, 1).await;
    // In flight here, in QUIC's window, and in the sender's queue: nothing else holds frames.
    let most = 3 * (64 << 10) / FRAME as u64 + 3;
    assert!(taken <= most, "{taken} frames are held somewhere, expected at most {most}");
    assert_eq!(a.link.try_send(&name(2), &frames::extension(1, taken + 1, FRAME)), Err(SendError::Full));
    assert!(b.peer_stats(1).inflight_bytes <= 64 << 10);
    assert!(a.peer_stats(2).queued_bytes <= 64 << 10);

    // Taking the frames out of the queue of events is not enough: the permits count.
    let mut kept = Vec::new();
    while kept.len() < 6 {
        kept.push(b.frame().await);
    }
    b.quiet(Duration::from_millis(300)).await;
    assert_eq!(a.link.try_send(&name(2), &frames::extension(1, taken + 1, FRAME)), Err(SendError::Full));

    drop(kept);
    for index in 7..=taken {
        assert_eq!(b.frame().await.0, frames::extension(1, index, FRAME));
    }
    a.send(2, &frames::extension(1, taken + 1, FRAME)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, taken + 1, FRAME));
    assert_eq!(b.peer_stats(1).inflight_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_stuck_holds_up_no_other_lane_nor_control_nor_requests() {
    let (a, mut b) = pair_with(small(), small()).await;
    fill(&a, 1).await;
    let mut stuck = Vec::new();
    while stuck.len() < 6 {
        stuck.push(b.frame().await);
    }
    for index in 1..=50 {
        for frame in [
            frames::extension(2, index, FRAME),
            frames::accepted(3, index),
            frames::at(index),
            frames::attest_request(1),
        ] {
            a.send(2, &frame).await;
            assert_eq!(b.frame().await.0, frame);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_are_stuck_leave_control_and_requests_room() {
    let (a, mut b) = pair_with(small(), small()).await;
    for lane in 1..=6 {
        fill(&a, lane).await;
    }
    assert!(b.peer_stats(1).inflight_bytes <= 256 << 10);
    let mut stuck = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), b.events.recv()).await {
        stuck.push(event);
    }
    for height in 1..=20 {
        a.send(2, &frames::at(height)).await;
        assert_eq!(b.frame().await.0, frames::at(height));
        a.send(2, &frames::attest_request(1)).await;
        assert_eq!(b.frame().await.0, frames::attest_request(1));
    }
    assert!(b.peer_stats(1).inflight_bytes <= 256 << 10);
    drop(stuck);
    eventually("the lanes go on", || a.link.try_send(&name(2), &frames::extension(1, 1, FRAME)).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_room_can_be_given_up_and_the_stream_goes_on_whole() {
    let (a, mut b) = pair_with(small(), small()).await;
    let taken = fill(&a, 1).await;
    let (peer, frame) = (name(2), frames::extension(1, 999, FRAME));
    for _ in 0..5 {
        let wait = a.link.send(&peer, &frame);
        assert!(tokio::time::timeout(Duration::from_millis(30), wait).await.is_err());
    }
    for index in 1..=taken {
        assert_eq!(b.frame().await.0, frames::extension(1, index, FRAME));
    }
    b.quiet(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_room_ends_with_the_session() {
    let (a, b) = pair_with(small(), small()).await;
    fill(&a, 1).await;
    let link = a.link.clone();
    let waiting = tokio::spawn(async move { link.send(&name(2), &frames::extension(1, 999, FRAME)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    b.link.close().await;
    assert_eq!(waiting.await.unwrap(), Err(SendError::Down { peer: name(2) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_many_streams_does_not_crowd_out_another_peer() {
    let tight = LinkLimits { event_queue: 4, ..limits() };
    let peers = vec![peer(1, None), peer(3, None)];
    let mut b = Node::start(LinkConfig { limits: tight, ..config(2, Some(any_port()), peers) });
    let mut loud = Node::start(config(1, None, vec![peer(2, Some(b.address()))]));
    let mut quiet = Node::start(config(3, None, vec![peer(2, Some(b.address()))]));
    loud.up().await;
    quiet.up().await;
    loud.say_hello(2).await;
    quiet.say_hello(2).await;
    // Two times Up and Hello.
    for _ in 0..4 {
        b.event().await;
    }
    for index in 1..=5 {
        for lane in 1..=100 {
            loud.send(2, &frames::accepted(lane, index)).await;
        }
    }
    eventually("the queue of events is full", || b.events.len() == 4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    quiet.send(2, &frames::at(1)).await;
    eventually("the frame stands in line", || b.peer_stats(3).frames_in.contains_key("client-at")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut before = 0;
    while b.frame().await.0 != frames::at(1) {
        before += 1;
        // Whoever has got room needs a moment to use it.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // In the queue and next in line; without turns all hundred streams would be in line before it.
    assert!(before < 50, "{before} frames of the loud peer came first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_faster_than_they_may_wait_with_the_peer() {
    // Twenty at once, of which the greeting is eight and the stream one, and the next one in a tenth of a second each.
    let slow = LinkLimits { max_frames_per_second: 10, ..limits() };
    let (a, mut b) = pair_with(limits(), slow).await;
    for index in 1..=100 {
        a.send(2, &frames::accepted(1, index)).await;
    }
    for index in 1..=11 {
        assert_eq!(b.frame().await.0, frames::accepted(1, index));
    }
    let taken = b.peer_stats(1).frames_in["accepted"];
    assert!(taken < 60, "{taken} of 100 frames were taken at once");
    // Nothing is lost by waiting, and what is charged besides is waited for too.
    b.link.charge(&name(1), 5);
    assert_eq!(b.frame().await.0, frames::accepted(1, 12));
    assert_eq!(b.frame().await.0, frames::accepted(1, 13));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_shows_above_the_link_ends_the_session_that_it_is_about() {
    let (mut a, mut b) = pair_with(limits(), limits()).await;
    let (current, refusal) = (b.peer_stats(1).session.unwrap(), Refusal::AnswersUnread { limit: 7 });
    b.link.refuse(current, &name(1), refusal.clone());
    assert_eq!(b.down().await, DownReason::Refused(refusal.clone()));
    assert_eq!(a.down().await, DownReason::ClosedByPeer { code: CloseCode::AnswersUnread });
    assert_eq!(b.refusals("answers-unread"), 1);
    // The next one is not meant.
    b.up().await;
    b.link.refuse(current, &name(1), refusal);
    b.quiet(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_no_longer_than_it_may_when_nobody_takes_anything() {
    let brief = LinkLimits { close_timeout: Duration::from_millis(300), ..small() };
    let (a, b) = pair_with(brief.clone(), brief).await;
    fill(&a, 1).await;
    let start = std::time::Instant::now();
    a.link.close().await;
    b.link.close().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_events_nobody_takes_any_more_ends() {
    let (a, b) = pair_with(small(), small()).await;
    let Node { link, events } = b;
    drop(events);
    a.send(2, &frames::at(1)).await;
    eventually("the sessions end", || link.stats().sessions == 0).await;
}
