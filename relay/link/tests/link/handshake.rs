//! Who gets a session, and who is told why not.

use std::time::Duration;

use cityrelay_link::{LinkConfig, LinkLimits, PeerConfig, Refusal};

use crate::node::{Node, any_port, config, eventually, fingerprint, greet, limits, peer};
use crate::rogue::{Manners, Rogue, bare_listener, client, connect, listener};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_manners_get_a_session() {
    let mut b = listener();
    Rogue::greeted(&mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_with_an_unknown_key_is_refused() {
    let mut b = listener();
    let a = Node::start(config(3, None, vec![peer(2, Some(b.address()))]));
    assert_eq!(b.refused().await, Refusal::UnknownFingerprint { got: fingerprint(3) });
    assert!(b.refusals("unknown-fingerprint") >= 1);
    eventually("the dialler sees it", || a.peer_stats(2).dial_failures.contains_key("refused-by-peer")).await;
    assert_eq!((a.peer_stats(2).sessions, b.peer_stats(1).sessions), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_with_an_unknown_key_is_refused() {
    let b = listener();
    let expected = PeerConfig { fingerprint: fingerprint(4), ..peer(2, Some(b.address())) };
    let mut a = Node::start(config(1, None, vec![expected]));
    assert_eq!(a.refused().await, Refusal::UnknownFingerprint { got: fingerprint(2) });
    // The dial ends a moment after the refusal is told.
    eventually("the dial has failed", || !a.peer_stats(2).dial_failures.is_empty()).await;
    assert_eq!(a.peer_stats(2).dial_failures.keys().collect::<Vec<_>>(), [&"refused-here"]);
    assert!(a.peer_stats(2).refusals["unknown-fingerprint"] >= 1);
    assert_eq!((a.peer_stats(2).sessions, b.peer_stats(1).sessions), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_name_is_refused() {
    let mut b = listener();
    let (_endpoint, connection) =
        connect(b.address(), Manners { alpn: vec![b"cityrelay/2".to_vec()], ..Manners::default() }).await;
    assert!(connection.is_err());
    assert_eq!(b.refused().await, Refusal::WrongAlpn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_protocol_name_is_refused() {
    let mut b = listener();
    let (_endpoint, connection) = connect(b.address(), Manners { alpn: Vec::new(), ..Manners::default() }).await;
    assert!(connection.is_err());
    assert_eq!(b.refused().await, Refusal::WrongAlpn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_without_a_key_is_refused() {
    let mut b = listener();
    // A TLS 1.3 client only learns of it after its own side is done.
    let (_endpoint, connection) = connect(b.address(), Manners { key: None, ..Manners::default() }).await;
    if let Ok(connection) = connection {
        connection.closed().await;
    }
    assert_eq!(b.refused().await, Refusal::NoClientKey);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_that_wants_a_certificate_is_refused() {
    let mut b = listener();
    let (_endpoint, connection) =
        connect(b.address(), Manners { raw_key_of_server: false, ..Manners::default() }).await;
    assert!(connection.is_err());
    assert!(matches!(b.refused().await, Refusal::Handshake { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_stops_halfway_is_ended() {
    let mut b = listener();
    let (_endpoint, connection) = connect(b.address(), Manners::default()).await;
    let connection = connection.unwrap();
    // No control stream is opened.
    assert_eq!(b.refused().await, Refusal::HandshakeTimeout);
    connection.closed().await;
    assert_eq!(b.link.stats().handshakes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_stream_that_begins_with_something_else_is_refused() {
    let mut b = listener();
    let (_endpoint, connection) = connect(b.address(), Manners::default()).await;
    let connection = connection.unwrap();
    let (mut control, _answers) = connection.open_bi().await.unwrap();
    control.write_all(&[9]).await.unwrap();
    assert_eq!(b.refused().await, Refusal::StreamKind { got: 9 });
    connection.closed().await;
}

fn listener_with_handshakes(max_handshakes: usize) -> Node {
    let limits = LinkLimits { max_handshakes, ..limits() };
    Node::start(LinkConfig { limits, ..config(2, Some(any_port()), vec![peer(1, None)]) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_handshakes_at_a_time_are_refused() {
    let mut b = listener_with_handshakes(1);
    let (_first, half_open) = connect(b.address(), Manners::default()).await;
    let _half_open = half_open.unwrap();
    let (_second, refused) = connect(b.address(), Manners::default()).await;
    assert!(refused.is_err());
    assert_eq!(b.refused().await, Refusal::TooManyHandshakes { limit: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_an_honest_dialler_proves_its_address_and_gets_in() {
    let mut b = listener_with_handshakes(2);
    let (_first, half_open) = connect(b.address(), Manners::default()).await;
    let _half_open = half_open.unwrap();
    let mut a = Node::start(config(1, None, vec![peer(2, Some(b.address()))]));
    greet(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_closed_by_name_and_the_session_stays() {
    // Peer 1 has the session that node 2 dialled; whoever has the larger fingerprint may not replace it by dialling.
    let (small, large) = if fingerprint(1) < fingerprint(2) { (1, 2) } else { (2, 1) };
    let long = LinkLimits { handshake_timeout: Duration::from_secs(60), ..limits() };
    let listening = LinkConfig { limits: long.clone(), ..config(large, Some(any_port()), vec![peer(small, None)]) };
    let mut listening = Node::start(listening);
    let dialling = config(small, Some(any_port()), vec![peer(large, Some(listening.address()))]);
    let mut dialling = Node::start(LinkConfig { limits: long, ..dialling });
    dialling.up().await;
    listening.up().await;
    let (_endpoint, connection) = connect(dialling.address(), Manners { key: Some(large), ..Manners::default() }).await;
    let connection = connection.unwrap();
    let (mut control, _answers) = connection.open_bi().await.unwrap();
    control.write_all(&[1]).await.unwrap();
    let error = connection.closed().await;
    assert!(matches!(error, quinn::ConnectionError::ApplicationClosed(ref close) if close.error_code == 3u32.into()));
    assert_eq!(dialling.refusals("duplicate-session"), 1);
    dialling.quiet(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_resumed_and_nothing_is_sent_early() {
    let mut b = listener();
    let (endpoint, config) = client(Manners::default());
    let connect = || endpoint.connect_with(config.clone(), b.address(), "any").unwrap();
    let first = connect().await.unwrap();
    let (mut control, mut answers) = first.open_bi().await.unwrap();
    control.write_all(&[1]).await.unwrap();
    answers.read_exact(&mut [0]).await.unwrap();
    assert!(connect().into_0rtt().is_err(), "the listener has handed out a ticket");
    b.up().await;
}

// RFC 9001 §4.8: 0x100 and the alert; RFC 8446 §6.2: 51 is decrypt_error, a signature that does not verify.
const BAD_SIGNATURE: Refusal = Refusal::Handshake { code: 0x100 + 51 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_that_shows_a_pinned_key_without_having_it_is_refused() {
    let mut b = listener();
    let (_endpoint, connection) = connect(b.address(), Manners { signs_with: Some(3), ..Manners::default() }).await;
    if let Ok(connection) = connection {
        connection.closed().await;
    }
    assert_eq!(b.refused().await, BAD_SIGNATURE);
    assert_eq!(b.peer_stats(1).sessions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_shows_a_pinned_key_without_having_it_is_refused() {
    let impostor = bare_listener(3);
    let mut a = Node::start(config(1, None, vec![peer(2, Some(impostor.local_addr().unwrap()))]));
    assert_eq!(a.refused().await, BAD_SIGNATURE);
    assert_eq!(a.peer_stats(2).sessions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_shows_a_pinned_key_and_has_it_gets_a_session() {
    let honest = bare_listener(2);
    let mut a = Node::start(config(1, None, vec![peer(2, Some(honest.local_addr().unwrap()))]));
    a.up().await;
}
