//! What is kept of who contradicted whom.

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::Header;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::record::Misbehaviour;

use super::Backend;
use super::orders::entries;
use crate::control::{ControlFault, EvidenceEntry, EvidenceReport, Exhibit, Newest, Undecided};
use crate::observability::EvidenceKind;

/// The most raw bytes in one answer: in hex they still fit into a line.
const MAX_RAW_BYTES: usize = 4 << 20;

impl Backend {
    pub(super) async fn evidence_report(&self, newest: Newest) -> Result<EvidenceReport, ControlFault> {
        let limit = entries(newest)?;
        let status = self.machine_status().await?;
        let undecided = status.clients.iter().filter_map(|client| {
            let frozen = client.frozen?;
            let chain = self.handles.chain_name(client.domain);
            let command = |chosen, other| {
                format!("cityrelay unfreeze --chain {chain} --choose {chosen} --other {other} --reason …")
            };
            Some(Undecided {
                chain: chain.to_owned(),
                height: frozen.height.0,
                ours: frozen.ours.to_string(),
                theirs: frozen.theirs.to_string(),
                commands: vec![command(frozen.ours, frozen.theirs), command(frozen.theirs, frozen.ours)],
            })
        });
        let kept = self.read_journal(|journal| journal.misbehaviour()).await?;
        let mut room = MAX_RAW_BYTES;
        let evidence = kept.iter().rev().take(limit).map(|misbehaviour| self.evidence_entry(misbehaviour, &mut room));
        Ok(EvidenceReport { undecided: undecided.collect(), evidence: evidence.collect() })
    }

    fn evidence_entry(&self, misbehaviour: &Misbehaviour, room: &mut usize) -> EvidenceEntry {
        let chain = |domain| format!("chain {}", self.handles.chain_name(domain));
        let (about, from, ours, theirs) = match misbehaviour {
            Misbehaviour::Equivocation { domain, ours, theirs, theirs_hash, served_by, .. } => {
                let update = raw_update(theirs, room);
                let shown = Exhibit { at: Some(ours.height.0), hash: theirs_hash.to_string(), ..update };
                (chain(*domain), Some(served_by.clone()), of_header(ours, room), shown)
            }
            Misbehaviour::Contradiction { domain, ours, theirs, node, .. } => {
                let said = of_hash(ours, *theirs);
                (chain(*domain), Some(node.clone()), of_header(ours, room), said)
            }
            Misbehaviour::ConflictingHead { flow, ours, theirs, .. } => {
                let signatures = theirs.signatures.iter();
                let signatures =
                    signatures.map(|(attester, signature)| format!("{attester}: {}", hex::encode(signature.0)));
                let shown = Exhibit { signatures: signatures.collect(), ..of_point(theirs.point) };
                let about = format!("{}, {}", self.lane_words(flow.lane), flow.direction.as_str());
                (about, None, of_point(*ours), shown)
            }
            Misbehaviour::AuditDifference { flow, gateway, ours, theirs, .. } => {
                let about = format!("{}, {}", self.lane_words(flow.lane), flow.direction.as_str());
                (about, Some(format!("gateway {gateway}")), of_point(*ours), of_point(*theirs))
            }
        };
        let kind = EvidenceKind::of(misbehaviour);
        let advice = kind.advice().to_owned();
        EvidenceEntry { kind: kind.as_str().to_owned(), at: misbehaviour.at().0, about, from, advice, ours, theirs }
    }
}

fn raw(bytes: &[u8], room: &mut usize) -> (Option<String>, u64) {
    let shown = (bytes.len() <= *room).then(|| hex::encode(bytes));
    if shown.is_some() {
        *room -= bytes.len();
    }
    (shown, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

fn raw_update(update: &Opaque, room: &mut usize) -> Exhibit {
    let (raw, raw_bytes) = raw(&update.bytes, room);
    Exhibit { raw, raw_bytes, ..Exhibit::default() }
}

fn of_header(header: &Header, room: &mut usize) -> Exhibit {
    let (raw, raw_bytes) = raw(&header.detail, room);
    Exhibit {
        at: Some(header.height.0),
        hash: header.hash.to_string(),
        parent: Some(header.parent.to_string()),
        timestamp: Some(header.timestamp.0),
        signatures: Vec::new(),
        raw,
        raw_bytes,
    }
}

fn of_hash(ours: &Header, theirs: Hash32) -> Exhibit {
    Exhibit { at: Some(ours.height.0), hash: theirs.to_string(), ..Exhibit::default() }
}

fn of_point(point: ChainPoint) -> Exhibit {
    Exhibit { at: Some(point.index.0), hash: point.head.to_string(), ..Exhibit::default() }
}
