//! Taking a recording apart into one step for each height.

use cityrelay_api::client::to_opaque;
use cityrelay_api::recording::RecordedStep;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{Refusal, SetStatement};
use serde_json::Value;

use crate::NAME;
use crate::codec::json::{JsonError, header_from_json};
use crate::verify::client::FiscoClient;
use crate::verify::sealer_set::SealerSet;
use crate::verify::state::TrustedState;
use crate::verify::update::{ChainUpdate, UpdateHeader};

/// The most blocks of one recording.
pub const MAX_RECORDED_BLOCKS: usize = 1_000_000;

/// One step for each recorded block above the anchor, ascending.
///
/// A header that lists another set than the block before it gives a statement, from the recording's own word. Blocks at
/// and below the anchor are passed over. A single missing block is passed over too: its child vouches for it.
///
/// # Errors
/// `recording-form` when it is no recording of this kind, `recording-crypto`, `recording-chain` and `recording-group` when
/// it names another chain than the configured one, `recording-header` for a block without a readable header,
/// `recording-order` when heights don't ascend by one (or two, over one
/// missing block).
pub fn read(client: &FiscoClient, anchor: &TrustedState, recording: &Value) -> Result<Vec<RecordedStep>, Refusal> {
    let named = |key: &str| recording.get(key).and_then(Value::as_str);
    for (key, check, expected) in [
        ("crypto", "recording-crypto", client.suite.as_str()),
        ("chain", "recording-chain", &client.chain_id),
        ("group", "recording-group", &client.group_id),
    ] {
        if let Some(got) = named(key).filter(|got| *got != expected) {
            return Err(Refusal::new(check, expected.as_bytes(), got.as_bytes()));
        }
    }
    let blocks = recording.get("blocks").and_then(Value::as_array);
    let Some(blocks) = blocks.filter(|blocks| blocks.len() <= MAX_RECORDED_BLOCKS) else {
        return Err(Refusal::new("recording-form", "an object with a list `blocks`", "something else"));
    };
    let mut steps = Vec::new();
    let mut set = Some(anchor.set.clone());
    let mut last: Option<Height> = None;
    for entry in blocks {
        let sealed = header_from_json(entry.get("block").unwrap_or(&Value::Null)).map_err(header_error)?;
        let height = Height(sealed.header.number);
        let skips_parent = last.is_some_and(|last| last >= anchor.height && height == last.next().next());
        if !skips_parent && last.is_some_and(|last| height != last.next()) {
            return Err(Refusal::new("recording-order", last.unwrap_or_default().next(), height));
        }
        last = Some(height);
        let listed = SealerSet::of_header(&sealed.header).ok();
        if height > anchor.height {
            let statement = match (&set, &listed) {
                (before, Some(listed)) if before.as_ref() != Some(listed) => {
                    Some(SetStatement { height, digest: listed.digest(client.suite) })
                }
                _ => None,
            };
            let time = UnixMillis(sealed.header.timestamp);
            let update = ChainUpdate { headers: vec![UpdateHeader { sealed, skips_parent, evidence: None }] };
            let update = to_opaque(NAME, &update);
            steps.push(RecordedStep { height, time, update, refusal: None, statement, body: entry.clone() });
        }
        if height >= anchor.height && listed.is_some() {
            set = listed;
        }
    }
    Ok(steps)
}

fn header_error(error: JsonError) -> Refusal {
    Refusal::new("recording-header", error.expected, error.field)
}
