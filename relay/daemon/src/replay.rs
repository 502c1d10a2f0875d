//! Running a light client over a recording, without a network.
//!
//! Every height of a recording ends in one of three ways. *Verified*: its header is final and everything recorded
//! beside it fits. *Held back*: nothing is wrong with it, but at the end of the recording it still was not final.
//! *Refused*: its header, or what was recorded beside it, failed a check. A refused header ends the recording, since
//! nothing after it can be linked to anything trusted; a refused body does not.

use std::collections::BTreeMap;

use cityrelay_api::Chain;
use cityrelay_api::recording::RecordedStep;
use cityrelay_core::ids::{Domain, Height};
use cityrelay_core::light_client::{HoldReason, Refusal};
use cityrelay_core::verify::VerifiedUpdate;
use serde_json::Value;

/// What became of one recorded height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Final, and everything recorded beside it fits.
    Verified {
        /// Checks made on what was recorded beside the header.
        checks: u64,
        /// Why it had to wait for a later header first, if it had to.
        waited: Option<HoldReason>,
    },
    /// Not final at the end of the recording.
    HeldBack(HoldReason),
    /// A check failed.
    Refused(Refusal),
}

/// What became of one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Every height that was looked at, ascending.
    pub heights: Vec<(Height, Fate)>,
    /// Refused before any height was looked at: the file is no recording of this chain.
    pub unreadable: Option<Refusal>,
    /// Heights after which another validator set was in force.
    pub set_changes: Vec<Height>,
    /// Heights whose validator set was believed because the recording says so.
    pub believed: Vec<Height>,
    /// Heights that were not looked at because an earlier header was refused.
    pub unseen: usize,
}

impl Replay {
    /// Heights that are verified.
    #[must_use]
    pub fn verified(&self) -> usize {
        self.heights.iter().filter(|(_, fate)| matches!(fate, Fate::Verified { .. })).count()
    }

    /// Heights that were held back to the end.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.heights.iter().filter(|(_, fate)| matches!(fate, Fate::HeldBack(_))).count()
    }

    /// Heights that were refused, or 1 for a file that is no recording.
    #[must_use]
    pub fn refused(&self) -> usize {
        let heights = self.heights.iter().filter(|(_, fate)| matches!(fate, Fate::Refused(_))).count();
        heights + usize::from(self.unreadable.is_some())
    }
}

/// Replays one recording from the chain's anchor. A replay takes place when the recording was made: each header is
/// judged at its own time.
#[must_use]
pub fn replay(chain: &dyn Chain, domain: Domain, recording: &Value) -> Replay {
    let (client, reader) = (chain.client(), chain.recording());
    let mut out = Replay::default();
    let steps = match reader.read(recording) {
        Ok(steps) => steps,
        Err(refusal) => {
            out.unreadable = Some(refusal);
            return out;
        }
    };
    let total = steps.len();
    let mut state = chain.anchor();
    let mut waiting: BTreeMap<Height, (RecordedStep, Option<HoldReason>)> = BTreeMap::new();
    let mut fates = BTreeMap::new();
    for (at, step) in steps.into_iter().enumerate() {
        let height = step.height;
        let now = step.time;
        if let Some(refusal) = step.refusal {
            fates.insert(height, Fate::Refused(refusal));
            out.unseen = total - at - 1;
            break;
        }
        let stated = step.statement.map_or(Ok(None), |statement| {
            out.believed.push(height);
            client.apply_set_statement(&state, &statement).map(Some)
        });
        let verdict = match stated {
            Ok(with_statement) => {
                client.verify_update(domain, &with_statement.unwrap_or_else(|| state.clone()), &step.update, now)
            }
            Err(refusal) => VerifiedUpdate::Refused(refusal),
        };
        let (next, headers, set_changes, reason) = match verdict {
            VerifiedUpdate::Advanced { state, headers, set_changes } => (state, headers, set_changes, None),
            VerifiedUpdate::HeldBack { state, headers, set_changes, reason } => {
                (state, headers, set_changes, Some(reason))
            }
            VerifiedUpdate::Refused(refusal) => {
                fates.insert(height, Fate::Refused(refusal));
                out.unseen = total - at - 1;
                break;
            }
        };
        state = next;
        waiting.insert(height, (step, reason));
        for header in headers {
            if let Some((step, waited)) = waiting.remove(&header.height()) {
                let fate = match reader.verify_body(&header, &step) {
                    Ok(checks) => Fate::Verified { checks, waited },
                    Err(refusal) => Fate::Refused(refusal),
                };
                fates.insert(header.height(), fate);
            }
        }
        out.set_changes.extend(set_changes);
    }
    // A height without a reason of its own waits for the reason of the one before it.
    let mut last_reason = None;
    for (height, (_, reason)) in waiting {
        last_reason = reason.or(last_reason);
        if let Some(reason) = last_reason {
            fates.insert(height, Fate::HeldBack(reason));
        }
    }
    out.heights = fates.into_iter().collect();
    out
}

#[cfg(test)]
mod tests {
    use cityrelay_api::Adapter as _;
    use serde_json::json;

    use super::*;
    use crate::fake_chain::FAKE;

    fn run(blocks: Value) -> Replay {
        let chain = FAKE.configure(&json!({"chain_id": 1}), std::path::Path::new("")).unwrap();
        replay(chain.as_ref(), Domain(cityrelay_core::hash::Hash32::ZERO), &json!({"blocks": blocks}))
    }

    fn counts(replay: &Replay) -> (usize, usize, usize, usize) {
        (replay.verified(), replay.held_back(), replay.refused(), replay.set_changes.len())
    }

    #[test]
    fn good_blocks_verify_with_the_checks_of_their_bodies() {
        let replay = run(json!([{}, {}, {}]));
        assert_eq!(counts(&replay), (3, 0, 0, 0));
        assert_eq!(replay.heights[0], (Height(1), Fate::Verified { checks: 2, waited: None }));
    }

    #[test]
    fn a_short_block_that_a_later_one_finalises_counts_as_verified() {
        let replay = run(json!([{}, {"seal": "short"}, {"seal": "short"}, {}]));
        assert_eq!(counts(&replay), (4, 0, 0, 0));
        assert!(matches!(replay.heights[1].1, Fate::Verified { waited: Some(HoldReason::ShortOfQuorum { .. }), .. }));
        assert!(matches!(replay.heights[3].1, Fate::Verified { waited: None, .. }));
    }

    #[test]
    fn short_blocks_at_the_end_are_held_back() {
        let replay = run(json!([{}, {"seal": "short"}, {"seal": "short"}]));
        assert_eq!(counts(&replay), (1, 2, 0, 0));
        assert!(matches!(replay.heights[2].1, Fate::HeldBack(HoldReason::ShortOfQuorum { height: Height(3), .. })));
    }

    #[test]
    fn a_set_change_needs_the_recordings_own_statement() {
        let replay = run(json!([{}, {"seal": "new-set", "stated": true}, {}]));
        assert_eq!(counts(&replay), (3, 0, 0, 1));
        assert_eq!(replay.believed, [Height(2)]);
        let replay = run(json!([{}, {"seal": "new-set"}]));
        assert_eq!(counts(&replay), (1, 1, 0, 0));
        assert!(matches!(replay.heights[1].1, Fate::HeldBack(HoldReason::SetUnconfirmed { .. })));
    }

    #[test]
    fn a_refused_header_ends_the_recording() {
        let replay = run(json!([{}, {"seal": "short"}, {"seal": "bad"}, {}, {}]));
        assert_eq!(counts(&replay), (1, 1, 1, 0));
        assert_eq!(replay.unseen, 2);
        assert!(matches!(&replay.heights[2].1, Fate::Refused(refusal) if refusal.check == "seals"));
    }

    #[test]
    fn a_block_of_a_later_fork_ends_the_recording_by_its_own_name() {
        let replay = run(json!([{}, {"fork": "later"}, {}]));
        assert_eq!(counts(&replay), (1, 0, 1, 0));
        assert_eq!(replay.unseen, 1);
        assert!(matches!(&replay.heights[1].1, Fate::Refused(refusal) if refusal.check == "fork"));
    }

    #[test]
    fn a_refused_body_counts_and_the_headers_go_on() {
        let replay = run(json!([{}, {"body": "bad"}, {}]));
        assert_eq!(counts(&replay), (2, 0, 1, 0));
        assert!(matches!(&replay.heights[1].1, Fate::Refused(refusal) if refusal.check == "receipts-root"));
        assert_eq!(replay.unseen, 0);
    }

    #[test]
    fn a_file_that_is_no_recording_is_refused_once() {
        let replay = run(json!("nothing"));
        assert_eq!(counts(&replay), (0, 0, 1, 0));
        assert_eq!(replay.unreadable.map(|refusal| refusal.check), Some("recording-form"));
    }
}
