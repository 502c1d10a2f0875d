use cityrelay_core::verify::{VerifiedEvidence, VerifiedExtension, VerifiedHeader};

fn main() {
    let _: VerifiedHeader = Default::default();
    let _: VerifiedExtension = Default::default();
    let _: VerifiedEvidence = Default::default();
}
