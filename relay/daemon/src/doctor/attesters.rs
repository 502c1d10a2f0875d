//! Attester sets: what is in force, whether the chains agree, and who could reach the threshold alone.

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::attestation::Committee;
use cityrelay_core::ids::AttesterId;

use super::{Area, Finding};
use crate::config::settings::{ChainConfig, PeerConfig};
use crate::contracts;

/// Looks at the sets of the chains' verifiers, as far as nodes of ours can be asked. Cities are those of the peers that
/// name theirs, with the address that they sign with.
pub async fn sets(chains: &[&ChainConfig], peers: &[PeerConfig]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known: Vec<(&str, Committee)> = Vec::new();
    for chain in chains {
        let Some(verifier) = chain.verifier else { continue };
        let inspect = chain.chain.inspect();
        let subject = format!("verifier {verifier} on {}", chain.name);
        match contracts::committee(inspect.as_ref(), verifier).await {
            Err(error) => {
                findings.push(Area::Attesters.broken(
                    subject,
                    error.to_string(),
                    "mend the chain's nodes or the address",
                ));
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
                findings.extend(reach(&subject, &committee, peers));
                known.push((&chain.name, committee));
            }
        }
    }
    findings.extend(agreement(&known));
    findings
}

/// A threshold that one city reaches alone lets that city forge; a member that nobody asks is a vote less.
fn reach(subject: &str, committee: &Committee, peers: &[PeerConfig]) -> Vec<Finding> {
    let attesters: BTreeMap<AttesterId, &PeerConfig> =
        peers.iter().filter_map(|peer| Some((peer.attester?, peer))).collect();
    if attesters.is_empty() {
        return Vec::new();
    }
    let threshold = committee.quorum();
    let mut cities: BTreeMap<&str, usize> = BTreeMap::new();
    let mut strangers = BTreeSet::new();
    for member in committee.members() {
        match attesters.get(member) {
            None => drop(strangers.insert(*member)),
            Some(peer) => {
                if let Some(city) = &peer.city {
                    *cities.entry(city).or_default() += 1;
                }
            }
        }
    }
    let mut findings = Vec::new();
    for (city, members) in cities {
        if members >= threshold {
            findings.push(Area::Attesters.warning(
                subject,
                format!(
                    "{members} members are of {city}, and {threshold} signatures are enough: that city can forge alone"
                ),
                "cityrelay attesters rotate propose, with more members of other cities or a higher threshold",
            ));
        }
    }
    let members = committee.members().len();
    let reachable = members.saturating_sub(strangers.len());
    if reachable < threshold {
        findings.push(Area::Attesters.broken(
            subject,
            format!("only {reachable} members are among our peers, and {threshold} must sign"),
            "add the missing attesters as [[peers]]",
        ));
    } else if !strangers.is_empty() {
        findings.push(Area::Attesters.warning(
            subject,
            format!("is not asked here, since no peer has that `attester`: {}", list(&strangers)),
            "add them as [[peers]], or set `attester` where they are",
        ));
    }
    let outside = attesters.iter().filter(|(id, _)| !committee.members().contains(id));
    for (id, peer) in outside {
        findings.push(Area::Attesters.warning(
            subject,
            format!("peer {} signs with {id}, which is no member: its signatures do not count", peer.name),
            "cityrelay attesters rotate propose, or mend the peer's `attester`",
        ));
    }
    findings
}

/// In a pair of gateways each side's set vouches for the other's heads: institutions expect them to be one.
fn agreement(known: &[(&str, Committee)]) -> Option<Finding> {
    let (first_name, first) = known.first()?;
    let is_same = |other: &Committee| other.members() == first.members() && other.threshold() == first.threshold();
    let others: Vec<&str> = known.iter().filter(|(_, other)| !is_same(other)).map(|(name, _)| *name).collect();
    if known.len() < 2 {
        return None;
    }
    let subject = "attester sets of the pair";
    Some(if others.is_empty() {
        Area::Attesters.ok(subject, "are the same on all chains")
    } else {
        Area::Attesters.warning(
            subject,
            format!("{} has another set or threshold than {first_name}", others.join(", ")),
            "finish the rotation: cityrelay attesters rotate send, on the chain that is behind",
        )
    })
}

fn list(members: &BTreeSet<AttesterId>) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether the key of this process is a member where it is to sign.
#[must_use]
pub fn membership(own: AttesterId, chain: &str, committee: &Committee) -> Finding {
    let subject = format!("our attester key {own} on {chain}");
    if committee.members().contains(&own) {
        Area::Attesters.ok(subject, format!("is a member in epoch {}", committee.epoch()))
    } else {
        let repair = "cityrelay attesters rotate propose with this member, or use the right attester.key_file";
        Area::Attesters.broken(subject, "is no member: nothing that it signs counts", repair)
    }
}

#[cfg(test)]
mod tests {
    use cityrelay_core::frame::Role;
    use cityrelay_core::ids::Epoch;

    use super::super::Verdict;
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
            attester: Some(id(byte)),
            city: Some(city.to_owned()),
        }
    }

    fn worst(findings: &[Finding]) -> Verdict {
        findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    #[test]
    fn a_city_that_reaches_the_threshold_alone_is_a_warning() {
        let peers = [peer(1, "north"), peer(2, "north"), peer(3, "south"), peer(4, "south")];
        assert_eq!(worst(&reach("v", &committee(&[1, 2, 3, 4], 3), &peers)), Verdict::Ok);
        let peers = [peer(1, "north"), peer(2, "north"), peer(3, "north"), peer(4, "south")];
        let findings = reach("v", &committee(&[1, 2, 3, 4], 3), &peers);
        assert_eq!(worst(&findings), Verdict::Warning);
        assert!(findings[0].words.contains("north"), "{}", findings[0]);
    }

    #[test]
    fn members_that_nobody_asks_and_peers_that_are_no_members_are_named() {
        let peers = [peer(1, "north"), peer(2, "south"), peer(9, "south")];
        let findings = reach("v", &committee(&[1, 2, 3], 2), &peers);
        assert_eq!(worst(&findings), Verdict::Warning);
        assert!(findings.iter().any(|finding| finding.words.contains(&id(3).to_string())));
        assert!(findings.iter().any(|finding| finding.words.contains("attester-9")));
        assert_eq!(worst(&reach("v", &committee(&[1, 3, 4], 2), &peers)), Verdict::Broken);
    }

    #[test]
    fn sets_that_differ_within_a_pair_are_a_warning() {
        let same = [("a", committee(&[1, 2], 2)), ("b", committee(&[1, 2], 2))];
        assert_eq!(agreement(&same).unwrap().verdict, Verdict::Ok);
        let other = [("a", committee(&[1, 2], 2)), ("b", committee(&[1, 3], 2))];
        assert_eq!(agreement(&other).unwrap().verdict, Verdict::Warning);
        assert!(agreement(&same[..1]).is_none());
    }
}
