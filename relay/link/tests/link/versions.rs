//! Which builds talk to each other: one protocol version in common is enough, and without one both sides say so by name.

use cityrelay_core::frame::PROTOCOL_VERSIONS;
use cityrelay_link::{CloseCode, DownReason, Refusal};

use crate::frames;
use crate::node::{Node, any_port, config, peer};
use crate::rogue::{Rogue, listener};

const NEWEST: u16 = *PROTOCOL_VERSIONS.end();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_before_and_the_one_after_are_understood() {
    for (oldest, newest) in [(NEWEST - 1, NEWEST), (NEWEST, NEWEST), (NEWEST, NEWEST + 1), (0, NEWEST + 9)] {
        let mut node = listener();
        let mut rogue = Rogue::with_session(&mut node).await;
        rogue.say(&frames::hello_of(oldest, newest)).await;
        assert_eq!(node.frame().await.0, frames::hello_of(oldest, newest));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_without_a_version_in_common_refuse_each_other_by_name() {
    let older = (0, *PROTOCOL_VERSIONS.start() - 1);
    let newer = (NEWEST + 1, NEWEST + 2);
    for (oldest, newest) in [older, newer] {
        let mut here = Node::start(config(2, Some(any_port()), vec![peer(1, None)]));
        let mut there = Node::start(config(1, None, vec![peer(2, Some(here.address()))]));
        here.up().await;
        there.up().await;
        there.send(2, &frames::hello_of(oldest, newest)).await;
        let refusal = Refusal::Version { got: oldest..=newest, expected: PROTOCOL_VERSIONS };
        assert_eq!(here.down().await, DownReason::Refused(refusal.clone()));
        assert!(refusal.to_string().contains(&format!("{oldest}..={newest}")), "{refusal}");
        assert_eq!(there.down().await, DownReason::ClosedByPeer { code: CloseCode::Version });
        assert!(here.refusals("version") >= 1);
    }
}
