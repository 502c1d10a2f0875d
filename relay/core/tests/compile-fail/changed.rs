use cityrelay_core::chain::Entry;
use cityrelay_core::verify::VerifiedExtension;

fn change(extension: &mut VerifiedExtension, entry: Entry) {
    extension.entries = vec![entry];
}

fn main() {
    let _ = change;
}
