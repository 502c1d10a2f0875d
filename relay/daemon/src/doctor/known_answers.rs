//! Known-answer tests of deployed contracts: calls that change nothing, and whose right answers are computed here.

use cityrelay_api::inspect::{Ended, Inspect};
use cityrelay_core::ids::{Address, Domain, LaneId};
use cityrelay_core::lane::Direction;
use cityrelay_gateway::Refusal;
use cityrelay_gateway::known_answers::{self, Expected, KnownAnswer};
use cityrelay_gateway::query::{GatewayStatus, LaneStage, LaneStatus};

use super::gateways::{NOBODY, Place, unread};
use super::{Area, Finding};
use crate::clock::unix_millis;
use crate::config::settings::LaneConfig;
use crate::contracts::{self, ReadError};

/// How often a lane is looked at that moves on between two questions.
const LOOKS: usize = 5;

/// Asks a committee whose signature it is given.
pub(super) async fn committee(
    inspect: &dyn Inspect,
    verifier: Address,
    domain: Domain,
    subject: &str,
    place: Place<'_>,
) -> Finding {
    let outcome = async {
        let set = contracts::committee(inspect, verifier).await?;
        // Nobody's name: as good as none, and nobody has ever met such a digest.
        let Ok(known) = known_answers::recovery(verifier, domain, &set) else { return Ok(None) };
        Ok(compare(&known, inspect.try_call(verifier, &known.data, None).await?))
    };
    told(outcome.await, "it hashes and recovers signers", subject, place)
}

/// Asks a gateway for the id of a lane, as its owner, and for the hash of a message on a lane that ends there.
pub(super) async fn gateway(
    inspect: &dyn Inspect,
    gateway: Address,
    status: &GatewayStatus,
    verifier: Option<Address>,
    lanes: &[LaneConfig],
    subject: &str,
    place: Place<'_>,
) -> Vec<Finding> {
    let lane_hash = async {
        let Some(known) = verifier.and_then(|verifier| known_answers::lane_hash(gateway, verifier, status.domain).ok())
        else {
            return Ok(None);
        };
        Ok(compare(&known, inspect.try_call(gateway, &known.data, Some(status.owner)).await?))
    };
    let lane_hash = told(lane_hash.await, "it computes ids of lanes", subject, place);
    let message_hash = message_hash(inspect, gateway, lanes).await;
    vec![lane_hash, told(message_hash, "it hashes payloads, messages and heads", subject, place)]
}

/// On the first lane that is open there: by a delivery that must be refused, or where nodes do not tell why, by sending.
async fn message_hash(
    inspect: &dyn Inspect,
    gateway: Address,
    lanes: &[LaneConfig],
) -> Result<Option<Verdict>, ReadError> {
    for keeps in [Direction::Inbox, Direction::Outbox] {
        for lane in lanes {
            let Some(mut status) = open_lane(inspect, gateway, lane.id, keeps).await? else { continue };
            for _ in 0..LOOKS {
                let known = match keeps {
                    Direction::Inbox => known_answers::message_hash(lane.id, &status),
                    Direction::Outbox => known_answers::sent_message(lane.id, &status, NOBODY, unix_millis()),
                };
                let compared = compare(&known, inspect.try_call(gateway, &known.data, None).await?);
                let Some(now) = open_lane(inspect, gateway, lane.id, keeps).await? else { break };
                match compared {
                    Some(Verdict::Right) => return Ok(compared),
                    Some(Verdict::Wrong { .. }) if now == status => return Ok(compared),
                    None => break,
                    // Somebody has sent or delivered meanwhile.
                    Some(Verdict::Wrong { .. }) => status = now,
                }
            }
        }
    }
    Ok(None)
}

/// A lane on which a message could be delivered, or sent by everybody.
async fn open_lane(
    inspect: &dyn Inspect,
    gateway: Address,
    lane: LaneId,
    keeps: Direction,
) -> Result<Option<LaneStatus>, ReadError> {
    let status = contracts::lane_status(inspect, gateway, lane).await?;
    Ok(status.filter(|status| {
        let is_for_everybody = status.stage == LaneStage::Open
            && !status.terms.has_sender_list
            && !status.terms.has_receiver_list
            && status.terms.quota == 0;
        let is_usable = match keeps {
            Direction::Inbox => matches!(status.stage, LaneStage::Open | LaneStage::Closing),
            Direction::Outbox => is_for_everybody,
        };
        status.keeps == keeps && !status.is_paused && is_usable
    }))
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong { expected: String, got: String },
}

/// `None` where the chain's nodes can't run the call, or do not tell why it reverts.
fn compare(known: &KnownAnswer, ended: Option<Ended>) -> Option<Verdict> {
    let got = ended?;
    let expected = match known.expected.clone() {
        Expected::Returned(answer) => Ended::Returned(answer),
        Expected::Reverted(data) => Ended::Reverted(data),
    };
    if matches!(expected, Ended::Reverted(_)) && got == Ended::Reverted(Vec::new()) {
        return None;
    }
    if got == expected {
        return Some(Verdict::Right);
    }
    Some(Verdict::Wrong { expected: words(&expected), got: words(&got) })
}

fn words(ended: &Ended) -> String {
    match ended {
        Ended::Returned(answer) => format!("0x{}", hex::encode(answer)),
        Ended::Reverted(data) => Refusal::decode(data)
            .map_or_else(|| format!("revert 0x{}", hex::encode(data)), |refusal| refusal.to_string()),
    }
}

fn told(outcome: Result<Option<Verdict>, ReadError>, what: &str, subject: &str, place: Place<'_>) -> Finding {
    match outcome {
        Ok(Some(Verdict::Right)) => Area::Contracts.ok(subject, format!("known answers: {what} as this release does")),
        Ok(Some(Verdict::Wrong { expected, got })) => Area::Contracts.broken(
            subject,
            format!("known answers: asked whether {what}: expected {expected}, got {got}"),
            place.instance.edit(&format!("chains.{}.nodes", place.chain)).advice(
                "take out a node that executes wrongly; where all answer so, the contract is of another flavour than its chain: \
                 its owner deploys another one",
            ),
        ),
        Ok(None) => Area::Contracts.ok(
            subject,
            format!("known answers: whether {what} was tested when it was deployed; these nodes can't be asked again"),
        ),
        Err(error) => unread(Area::Contracts, subject, &error, place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_end_is_right() {
        let reverts = KnownAnswer { data: Vec::new(), expected: Expected::Reverted(vec![1, 2]) };
        assert_eq!(compare(&reverts, Some(Ended::Reverted(vec![1, 2]))), Some(Verdict::Right));
        for wrong in [Ended::Reverted(vec![1, 3]), Ended::Returned(vec![1, 2]), Ended::Returned(Vec::new())] {
            assert!(matches!(compare(&reverts, Some(wrong)), Some(Verdict::Wrong { .. })));
        }
        // Nobody can say where a node does not.
        assert_eq!(compare(&reverts, Some(Ended::Reverted(Vec::new()))), None);
        assert_eq!(compare(&reverts, None), None);
        let returns = KnownAnswer { data: Vec::new(), expected: Expected::Returned(vec![1]) };
        assert!(matches!(compare(&returns, Some(Ended::Reverted(Vec::new()))), Some(Verdict::Wrong { .. })));
        assert_eq!(compare(&returns, Some(Ended::Returned(vec![1]))), Some(Verdict::Right));
    }
}
