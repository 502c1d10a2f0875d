//! Reading the vectors.

use cityrelay_core::ids::Height;
use cityrelay_fisco_bcos::codec::json::header_from_json;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::sealer_set::SealerSet;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use serde_json::Value;

pub fn vectors(path: &str) -> Value {
    let path = format!("{}/vectors/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap()
}

pub fn client(suite: CryptoSuite) -> FiscoClient {
    FiscoClient {
        suite,
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        trusting_period: std::time::Duration::from_secs(14 * 86_400),
    }
}

/// The client for a recording, anchored at its block 1.
pub fn anchored(recording: &Value) -> (FiscoClient, TrustedState) {
    let suite = CryptoSuite::from_name(recording["crypto"].as_str().unwrap()).unwrap();
    let block = recording["blocks"].as_array().unwrap().iter().find(|entry| entry["block"]["number"] == 1).unwrap();
    let sealed = header_from_json(&block["block"]).unwrap();
    let set = SealerSet::of_header(&sealed.header).unwrap();
    (client(suite), TrustedState::anchored(Height(1), sealed.header.hash(suite), set))
}
