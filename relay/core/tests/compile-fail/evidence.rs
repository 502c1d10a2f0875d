use std::collections::BTreeMap;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Epoch, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::verify::VerifiedEvidence;

fn main() {
    let flow = Flow { lane: LaneId(Hash32::ZERO), direction: Direction::Outbox };
    let evidence = Evidence { point: ChainPoint::start(flow), epoch: Epoch(1), signatures: BTreeMap::new() };
    let _ = VerifiedEvidence { evidence };
}
