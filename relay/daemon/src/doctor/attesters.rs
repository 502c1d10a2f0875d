//! Attester sets: what is in force, whether the chains agree, and who could reach the threshold alone.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::attestation::Committee;
use cityrelay_core::ids::AttesterId;

use super::gateways::{Place, unread};
use super::{Area, Finding, Instance, Repair};
use crate::config::settings::{ChainConfig, PeerConfig};
use crate::contracts;

/// Looks at the sets of the chains' verifiers, as far as nodes of ours can be asked. Cities are those of the peers that
/// name theirs, with the address that they sign with.
pub async fn sets(chains: &[&ChainConfig], peers: &[PeerConfig], instance: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known: Vec<(&str, Committee)> = Vec::new();
    for chain in chains {
        let Some(verifier) = chain.verifier else { continue };
        let inspect = chain.chain.inspect();
        let subject = format!("verifier {verifier} on {}", chain.name);
        match contracts::committee(inspect.as_ref(), verifier).await {
            Err(error) => {
                let place = Place { chain: &chain.name, key: "verifier", instance };
                findings.push(unread(Area::Attesters, &subject, &error, place));
            }
            Ok(committee) => {
                findings.push(Area::Attesters.ok(
                    &subject,
                    format!(
                        "epoch {}: {} of {} signatures are enough; members {}",
                        committee.epoch(),
                        committee.threshold(),
                        committee.members().len(),
                        list(committee.members())
                    ),
                ));
                findings.extend(reach(&subject, &chain.name, &committee, peers, instance));
                known.push((&chain.name, committee));
            }
        }
    }
    findings.extend(agreement(&known, instance));
    findings
}

/// A threshold that one city reaches alone lets that city forge; a member that nobody asks is a vote less.
fn reach(subject: &str, chain: &str, committee: &Committee, peers: &[PeerConfig], instance: &Instance) -> Vec<Finding> {
    let attesters: BTreeMap<AttesterId, &PeerConfig> =
        peers.iter().filter_map(|peer| Some((peer.attester?, peer))).collect();
    if attesters.is_empty() {
        return Vec::new();
    }
    let threshold = committee.quorum();
    let mut cities: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut strangers, mut homeless) = (BTreeSet::new(), BTreeSet::new());
    for member in committee.members() {
        match attesters.get(member).map(|peer| &peer.city) {
            None => drop(strangers.insert(*member)),
            Some(None) => drop(homeless.insert(*member)),
            Some(Some(city)) => *cities.entry(city).or_default() += 1,
        }
    }
    let mut findings = Vec::new();
    if let Some(first) = homeless.first().and_then(|member| attesters.get(member)) {
        findings.push(
            Area::Attesters.warning(
                subject,
                format!("nobody can say whether one city could sign alone: no city is known of {}", list(&homeless)),
                instance
                    .edit_peer(&first.name, "city")
                    .advice("`city` of each of these peers is the city of its institution"),
            ),
        );
    }
    for (city, members) in cities {
        if members >= threshold {
            findings.push(Area::Attesters.warning(
                subject,
                format!(
                    "{members} members are of {city}, and {threshold} signatures are enough: that city can forge alone"
                ),
                higher(chain, committee, members, instance),
            ));
        }
    }
    let members = committee.members().len();
    let reachable = members.saturating_sub(strangers.len());
    if reachable < threshold {
        findings.push(Area::Attesters.broken(
            subject,
            format!("only {reachable} members are among our peers, and {threshold} must sign"),
            instance.edit("peers").advice(
                "each attester's card becomes its section: cityrelay init peer NAME.card; or `attester` is missing in one",
            ),
        ));
    } else if !strangers.is_empty() {
        findings.push(Area::Attesters.warning(
            subject,
            format!("is not asked here, since no peer has that `attester`: {}", list(&strangers)),
            instance.edit("peers").advice(
                "each attester's card becomes its section: cityrelay init peer NAME.card; or `attester` is missing in one",
            ),
        ));
    }
    let outside = attesters.iter().filter(|(id, _)| !committee.members().contains(id));
    for (id, peer) in outside {
        findings.push(
            Area::Attesters.warning(
                subject,
                format!("peer {} signs with {id}, which is no member: its signatures do not count", peer.name),
                instance
                    .edit_peer(&peer.name, "attester")
                    .advice("mend `attester`, or take the section out; where it shall be a member, the set is rotated"),
            ),
        );
    }
    findings
}

/// In a pair of gateways each side's set vouches for the other's heads: institutions expect them to be one.
fn agreement(known: &[(&str, Committee)], instance: &Instance) -> Option<Finding> {
    let (first_name, first) = known.first()?;
    let is_same = |other: &Committee| other.members() == first.members() && other.threshold() == first.threshold();
    let others: Vec<&str> = known.iter().filter(|(_, other)| !is_same(other)).map(|(name, _)| *name).collect();
    if known.len() < 2 {
        return None;
    }
    let subject = "attester sets of the pair";
    // The one that was changed last is what the others are to become.
    let newest = known.iter().max_by_key(|(_, committee)| committee.epoch());
    let behind = newest.and_then(|(_, newest)| {
        let differs =
            |other: &Committee| other.members() != newest.members() || other.threshold() != newest.threshold();
        Some((newest, known.iter().find(|(_, other)| differs(other))?.0))
    });
    Some(match behind {
        None => Area::Attesters.ok(subject, "are the same on all chains"),
        Some((newest, behind)) => Area::Attesters.warning(
            subject,
            format!("{} has another set or threshold than {first_name}", others.join(", ")),
            propose(behind, newest.members(), newest.threshold(), instance)
                .advice("a rotation is not finished: where its file is there, have it signed and sent instead"),
        ),
    })
}

/// The command with which a rotation begins; it writes the file that is signed and sent.
fn propose(chain: &str, members: &BTreeSet<AttesterId>, threshold: u32, instance: &Instance) -> Repair {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    let (members, threshold, file) = (members.join(","), threshold.to_string(), format!("{chain}.rotation"));
    instance.cityrelay(
        ["attesters", "rotate", "propose", "--chain", chain, "--members", &members, "--threshold", &threshold]
            .into_iter()
            .chain(["--out", &file]),
    )
}

/// A threshold that `members` of one city do not reach, where there are others.
fn higher(chain: &str, committee: &Committee, members: usize, instance: &Instance) -> Repair {
    let all = committee.members().len();
    let enough = u32::try_from(members.saturating_add(1).min(all)).unwrap_or(u32::MAX);
    let advice = if members < all {
        "a higher threshold; members of other cities instead leave more of them room to be away"
    } else {
        "all members are of one city: name some of others in their place"
    };
    propose(chain, committee.members(), enough, instance).advice(advice)
}

fn list(members: &BTreeSet<AttesterId>) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether the key of this process is a member where it is to sign.
#[must_use]
pub fn membership(own: AttesterId, chain: &str, committee: &Committee, instance: &Instance) -> Finding {
    let subject = format!("our attester key {own} on {chain}");
    if committee.members().contains(&own) {
        Area::Attesters.ok(subject, format!("is a member in epoch {}", committee.epoch()))
    } else {
        let members: BTreeSet<AttesterId> = committee.members().iter().copied().chain([own]).collect();
        // More than half of them must sign.
        let most = u32::try_from(members.len() / 2 + 1).unwrap_or(u32::MAX);
        let repair = propose(chain, &members, committee.threshold().max(most), instance).advice(
            "asks for a set with it; where another key is the right one: attester.key_file, or attester.signer",
        );
        Area::Attesters.broken(subject, "is no member: nothing that it signs counts", repair)
    }
}

#[cfg(test)]
mod tests {
    use cityrelay_core::frame::Role;
    use cityrelay_core::ids::Epoch;

    use super::super::Verdict;
    use super::super::instance::example;
    use super::*;

    fn id(byte: u8) -> AttesterId {
        AttesterId([byte; 20])
    }

    fn committee(members: &[u8], threshold: u32) -> Committee {
        Committee::new(Epoch(1), &members.iter().copied().map(id).collect::<Vec<_>>(), threshold).unwrap()
    }

    fn peer(byte: u8, city: &str) -> PeerConfig {
        PeerConfig {
            name: format!("attester-{byte}"),
            role: Role::Attester,
            address: None,
            fingerprint: [byte; 32],
            next_fingerprint: None,
            attester: Some(id(byte)),
            city: Some(city.to_owned()),
        }
    }

    fn worst(findings: &[Finding]) -> Verdict {
        findings.iter().map(|finding| finding.verdict()).max().unwrap_or(Verdict::Ok)
    }

    #[test]
    fn a_city_that_reaches_the_threshold_alone_is_a_warning() {
        let peers = [peer(1, "north"), peer(2, "north"), peer(3, "south"), peer(4, "south")];
        assert_eq!(worst(&reach("v", "north", &committee(&[1, 2, 3, 4], 3), &peers, &example(false))), Verdict::Ok);
        let peers = [peer(1, "north"), peer(2, "north"), peer(3, "north"), peer(4, "south")];
        let findings = reach("v", "north", &committee(&[1, 2, 3, 4], 3), &peers, &example(false));
        assert_eq!(worst(&findings), Verdict::Warning);
        assert!(findings[0].words().contains("north"), "{}", findings[0]);
    }

    #[test]
    fn a_member_of_no_known_city_is_a_warning() {
        let mut peers = [peer(1, "north"), peer(2, "north"), peer(3, "south"), peer(4, "south")];
        peers[3].city = None;
        let findings = reach("v", "north", &committee(&[1, 2, 3, 4], 3), &peers, &example(false));
        assert_eq!(worst(&findings), Verdict::Warning);
        assert!(findings[0].words().contains(&id(4).to_string()), "{}", findings[0]);
    }

    #[test]
    fn members_that_nobody_asks_and_peers_that_are_no_members_are_named() {
        let peers = [peer(1, "north"), peer(2, "south"), peer(9, "south")];
        let findings = reach("v", "north", &committee(&[1, 2, 3], 2), &peers, &example(false));
        assert_eq!(worst(&findings), Verdict::Warning);
        assert!(findings.iter().any(|finding| finding.words().contains(&id(3).to_string())));
        assert!(findings.iter().any(|finding| finding.words().contains("attester-9")));
        assert_eq!(worst(&reach("v", "north", &committee(&[1, 3, 4], 2), &peers, &example(false))), Verdict::Broken);
    }

    #[test]
    fn sets_that_differ_within_a_pair_are_a_warning() {
        let same = [("a", committee(&[1, 2], 2)), ("b", committee(&[1, 2], 2))];
        assert_eq!(agreement(&same, &example(false)).unwrap().verdict(), Verdict::Ok);
        let other = [("a", committee(&[1, 2], 2)), ("b", committee(&[1, 3], 2))];
        assert_eq!(agreement(&other, &example(false)).unwrap().verdict(), Verdict::Warning);
        assert!(agreement(&same[..1], &example(false)).is_none());
    }
}
