use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::light_client::ProofStrength;
use cityrelay_core::verify::VerifiedExtension;

fn main() {
    let flow = Flow { lane: LaneId(Hash32::ZERO), direction: Direction::Outbox };
    let _ = VerifiedExtension {
        flow,
        base: ChainPoint::start(flow),
        points: Vec::new(),
        links: Vec::new(),
        entries: Vec::new(),
        proved_at: Height(1),
        block_hash: Hash32::ZERO,
        strength: ProofStrength::Conclusive,
    };
}
