//! What a peer with a session may not do.

use std::time::Duration;

use cityrelay_core::frame::Frame;
use cityrelay_link::{CloseCode, DownReason, LinkConfig, LinkEvent, LinkLimits, Refusal, SendError};
use cityrelay_wire::DecodeError;
use cityrelay_wire::framing::encode_delimited;

use crate::frames;
use crate::node::{Node, any_port, config, eventually, greet, limits, name, peer, peer_with_lanes};
use crate::rogue::{Manners, Rogue, connect, flow_head, listener};

fn bytes(frame: &Frame) -> Vec<u8> {
    encode_delimited(frame).unwrap()
}

/// The session ends on both sides by the same name, and is counted.
async fn assert_refused(mut node: Node, rogue: &Rogue, code: CloseCode) -> Refusal {
    assert_eq!(rogue.closed().await, code);
    let DownReason::Refused(refusal) = node.down().await else { panic!("expected a refusal") };
    assert_eq!(refusal.code(), code);
    assert_eq!(node.refusals(code.as_str()), 1);
    assert_eq!(node.peer_stats(1).refusals[code.as_str()], 1);
    eventually("everything is released", || node.peer_stats(1).inflight_bytes == 0).await;
    refusal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_frame_that_is_not_hello_is_refused() {
    let mut b = listener();
    let mut rogue = Rogue::with_session(&mut b).await;
    rogue.say(&frames::at(1)).await;
    let refusal = assert_refused(b, &rogue, CloseCode::HelloMissing).await;
    assert_eq!(refusal, Refusal::HelloMissing { got: "client-at" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_hello_is_ended() {
    let mut b = listener();
    let rogue = Rogue::with_session(&mut b).await;
    assert_refused(b, &rogue, CloseCode::HelloTimeout).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_can_be_opened_before_hello() {
    let mut b = listener();
    let rogue = Rogue::with_session(&mut b).await;
    let opened = tokio::time::timeout(Duration::from_millis(300), rogue.connection.open_uni()).await;
    assert!(opened.is_err(), "a stream was granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_said_twice_is_refused() {
    let mut b = listener();
    let mut rogue = Rogue::greeted(&mut b).await;
    rogue.say(&frames::hello()).await;
    assert_refused(b, &rogue, CloseCode::HelloRepeated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_spoken_here_is_refused_by_its_number() {
    let mut b = listener();
    let mut rogue = Rogue::with_session(&mut b).await;
    rogue.say(&frames::hello_of(7, 8)).await;
    let refusal = assert_refused(b, &rogue, CloseCode::Version).await;
    assert_eq!(refusal, Refusal::Version { got: 7..=8, expected: 1..=1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_one_version_ahead_is_understood() {
    let mut b = listener();
    let mut rogue = Rogue::with_session(&mut b).await;
    rogue.say(&frames::hello_of(1, 2)).await;
    assert_eq!(b.frame().await.0, frames::hello_of(1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _stream = rogue.stream(&[flow_head(1), vec![0xff; 4]].concat()).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameTooLarge).await;
    assert_eq!(refusal, Refusal::FrameTooLarge { got: u32::MAX, limit: 32 << 20 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_no_bytes_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _stream = rogue.stream(&[flow_head(1), vec![0; 4]].concat()).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameUnreadable).await;
    assert_eq!(refusal, Refusal::FrameUnreadable(DecodeError::Truncated));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_cannot_be_read_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let mut frame = bytes(&frames::accepted(1, 1));
    frame[4] = 99;
    let _stream = rogue.stream(&[flow_head(1), frame].concat()).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameUnreadable).await;
    assert_eq!(refusal, Refusal::FrameUnreadable(DecodeError::Version { expected: 1, got: 99 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_on_the_stream_of_another_lane_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _stream = rogue.stream(&[flow_head(1), bytes(&frames::accepted(2, 1))].concat()).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameMisplaced).await;
    assert_eq!(refusal, Refusal::FrameMisplaced { kind: "accepted", stream: "flow" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_frame_on_the_control_stream_is_refused() {
    let mut b = listener();
    let mut rogue = Rogue::greeted(&mut b).await;
    rogue.say(&frames::accepted(1, 1)).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameMisplaced).await;
    assert_eq!(refusal, Refusal::FrameMisplaced { kind: "accepted", stream: "control" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_an_unknown_kind_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _stream = rogue.stream(&[77]).await;
    let refusal = assert_refused(b, &rogue, CloseCode::StreamKind).await;
    assert_eq!(refusal, Refusal::StreamKind { got: 77 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_stream_for_one_flow_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _first = rogue.stream(&flow_head(1)).await;
    let _second = rogue.stream(&flow_head(1)).await;
    assert_refused(b, &rogue, CloseCode::StreamRepeated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_has_ended_may_be_opened_again() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    for index in 1..=5 {
        let mut stream = rogue.stream(&[flow_head(1), bytes(&frames::accepted(1, index))].concat()).await;
        assert_eq!(b.frame().await.0, frames::accepted(1, index));
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_streams_are_refused() {
    let lanes = [frames::lane(1)];
    let mut b = Node::start(config(2, Some(any_port()), vec![peer_with_lanes(1, None, &lanes)]));
    let rogue = Rogue::greeted(&mut b).await;
    // Two directions and the request stream; none of them says what it is for.
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(rogue.stream(&[3]).await);
    }
    b.quiet(Duration::from_millis(200)).await;
    streams.push(rogue.stream(&[3]).await);
    let refusal = assert_refused(b, &rogue, CloseCode::TooManyStreams).await;
    assert_eq!(refusal, Refusal::TooManyStreams { limit: 3 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_two_way_stream_is_not_granted() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let opened = tokio::time::timeout(Duration::from_millis(300), rogue.connection.open_bi()).await;
    assert!(opened.is_err(), "a stream was granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_inside_a_frame_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let frame = bytes(&frames::accepted(1, 1));
    let mut stream = rogue.stream(&[flow_head(1), frame[..frame.len() - 1].to_vec()].concat()).await;
    stream.finish().unwrap();
    assert_refused(b, &rogue, CloseCode::StreamBroken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let mut stream = rogue.stream(&flow_head(1)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.reset(0u32.into()).unwrap();
    assert_refused(b, &rogue, CloseCode::StreamBroken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_does_not_come_in_time_is_refused_and_its_room_released() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let frame = bytes(&frames::extension(1, 1, 5000));
    let _stream = rogue.stream(&[flow_head(1), frame[..2000].to_vec()].concat()).await;
    eventually("room is taken for the whole of it", || b.peer_stats(1).inflight_bytes > 5000).await;
    let refusal = assert_refused(b, &rogue, CloseCode::FrameTimeout).await;
    assert_eq!(refusal, Refusal::FrameTimeout { stream: "flow" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_does_not_come_in_time_is_refused() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let _stream = rogue.stream(&[flow_head(1), vec![0, 0]].concat()).await;
    assert_refused(b, &rogue, CloseCode::FrameTimeout).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_silent_between_frames_is_left_alone() {
    let mut b = listener();
    let rogue = Rogue::greeted(&mut b).await;
    let mut stream = rogue.stream(&flow_head(1)).await;
    b.quiet(limits().frame_timeout * 2).await;
    stream.write_all(&bytes(&frames::accepted(1, 1))).await.unwrap();
    assert_eq!(b.frame().await.0, frames::accepted(1, 1));
}

/// Two peers with a session, the second of which lets the first carry lane 1 only.
async fn greeted_about_lane_1() -> (Node, Node) {
    let lanes = [frames::lane(1)];
    let mut b = Node::start(config(2, Some(any_port()), vec![peer_with_lanes(1, None, &lanes)]));
    let mut a = Node::start(config(1, None, vec![peer(2, Some(b.address()))]));
    greet(&mut a, &mut b).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_not_allowed_loses_its_stream_and_no_other() {
    let (a, mut b) = greeted_about_lane_1().await;
    let code = u64::from(CloseCode::LaneNotAllowed.code());
    // The stream's head may be refused before the frame is even queued.
    let first = a.link.send(&name(2), &frames::extension(2, 1, 10)).await;
    assert!(first.is_ok() || first == Err(SendError::StreamRefused { code }), "{first:?}");
    assert_eq!(b.refused().await, Refusal::LaneNotAllowed { lane: frames::lane(2) });
    assert_eq!(b.peer_stats(1).refusals["lane-not-allowed"], 1);
    let frame = frames::extension(2, 2, 10);
    eventually("the sender learns of it", || {
        a.link.try_send(&name(2), &frame) == Err(SendError::StreamRefused { code })
    })
    .await;
    assert_eq!(a.link.send(&name(2), &frame).await, Err(SendError::StreamRefused { code }));
    a.send(2, &frames::extension(1, 1, 10)).await;
    assert_eq!(b.frame().await.0, frames::extension(1, 1, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_about_a_lane_that_is_not_allowed_is_left_out() {
    let (a, mut b) = greeted_about_lane_1().await;
    a.send(2, &frames::attest_request(2)).await;
    assert_eq!(b.refused().await, Refusal::LaneNotAllowed { lane: frames::lane(2) });
    a.send(2, &frames::attest_request(1)).await;
    assert_eq!(b.frame().await.0, frames::attest_request(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_again_and_again_is_counted_and_told_now_and_then() {
    let (a, mut b) = greeted_about_lane_1().await;
    for _ in 0..200 {
        a.send(2, &frames::attest_request(2)).await;
    }
    a.send(2, &frames::attest_request(1)).await;
    let mut told = 0;
    loop {
        match b.event().await {
            LinkEvent::Refused { .. } => told += 1,
            LinkEvent::Frame { .. } => break,
            other => panic!("expected a refusal or the frame, got {other:?}"),
        }
    }
    assert_eq!(b.peer_stats(1).refusals["lane-not-allowed"], 200);
    assert!((1..100).contains(&told), "{told} of 200 refusals were told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_has_a_bounded_number_of_sessions_at_a_time() {
    // Nobody takes node 2's events, so that no session can finish telling of its end.
    let limits = LinkLimits { event_queue: 1, ..limits() };
    let b = Node::start(LinkConfig { limits, ..config(2, Some(any_port()), vec![peer(1, None)]) });
    let mut rogues = Vec::new();
    for _ in 0..6 {
        let (endpoint, connection) = connect(b.address(), Manners::default()).await;
        let connection = connection.unwrap();
        // The excess is closed at once, maybe before it has said anything.
        if let Ok((mut control, answers)) = connection.open_bi().await {
            let _ = control.write_all(&[1]).await;
            rogues.push((endpoint, connection, control, answers));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually("the excess is refused", || b.refusals("too-many-sessions") == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_no_longer_listens_to_the_control_stream_is_refused() {
    let mut b = listener();
    let mut rogue = Rogue::greeted(&mut b).await;
    rogue.answers.stop(0u32.into()).unwrap();
    let refusal = assert_refused(b, &rogue, CloseCode::StreamBroken).await;
    assert_eq!(refusal, Refusal::StreamBroken { stream: "control" });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_ends_the_control_stream_and_stays_is_refused() {
    let mut b = listener();
    let mut rogue = Rogue::greeted(&mut b).await;
    rogue.control.finish().unwrap();
    let refusal = assert_refused(b, &rogue, CloseCode::StreamBroken).await;
    assert_eq!(refusal, Refusal::StreamBroken { stream: "control" });
}

/// Bytes that follow from a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngCore, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_any_stream_ends_its_session_and_nothing_else() {
    let mut b = listener();
    let mut ended = 0;
    for seed in 0..60 {
        let mut rogue = Rogue::greeted(&mut b).await;
        let noise = noise(seed, 300);
        match seed % 4 {
            // Noise after a valid length, so that the decoder sees it.
            0 => rogue.control.write_all(&[vec![0, 0, 1, 0], noise].concat()).await.unwrap(),
            1 => drop(rogue.stream(&noise).await),
            2 => drop(rogue.stream(&[flow_head(1), noise].concat()).await),
            _ => drop(rogue.stream(&[vec![2, 0, 0, 1, 0], noise].concat()).await),
        }
        match b.down().await {
            DownReason::Refused(_) => ended += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert_eq!(ended, 60);
    Rogue::greeted(&mut b).await;
    assert_eq!(b.peer_stats(1).inflight_bytes, 0);
}
