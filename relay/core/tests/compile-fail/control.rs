// Reading a verified thing is everybody's right: the other cases fail for their own reason.
use cityrelay_core::hash::Hash32;
use cityrelay_core::verify::{VerifiedEvidence, VerifiedExtension, VerifiedHeader};

fn read(header: &VerifiedHeader, extension: &VerifiedExtension, evidence: VerifiedEvidence) -> Hash32 {
    let _ = (extension.tip(), evidence.into_evidence());
    header.hash()
}

fn main() {
    let _ = read;
}
