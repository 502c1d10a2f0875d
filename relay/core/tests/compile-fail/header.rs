use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::light_client::Header;
use cityrelay_core::verify::VerifiedHeader;

fn main() {
    let header = Header {
        height: Height(1),
        hash: Hash32::ZERO,
        parent: Hash32::ZERO,
        timestamp: UnixMillis(0),
        detail: Vec::new(),
    };
    let _ = VerifiedHeader { domain: Domain(Hash32::ZERO), header };
}
