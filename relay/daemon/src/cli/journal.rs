//! `journal check` and `journal export`: what is durable, for people, while no daemon holds it.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::ids::{Domain, Index};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::Header;
use cityrelay_core::message::Payload;
use cityrelay_core::order::AuditRecord;
use cityrelay_core::record::Misbehaviour;
use cityrelay_journal::view::{FlowCounts, Timeline, View};
use cityrelay_journal::{FILE_NAME, Journal, JournalError, Options};
use serde_json::{Value, json};

use super::answer::{Answer, Exit, Failure, say};
use super::arguments::{ExportArguments, JournalArguments};
use crate::config::settings::JOURNAL_FOLDER;
use crate::config::{Layers, Sources, check};
use crate::doctor::journal::KEEP_IT;
use crate::observability::EvidenceKind;

/// Recomputes everything; exit 4 names the first place in each flow where something does not hold.
pub(super) fn check(sources: &Sources, arguments: &JournalArguments) -> Result<Answer, Failure> {
    let journal = AtRest::open(sources, arguments)?;
    let (mut entries, mut damaged) = (0, Vec::new());
    let (counts, flows) = journal.read(|view| {
        let flows = view.flows()?;
        for FlowCounts { flow, .. } in &flows {
            match view.verify_flow(*flow) {
                Ok(checked) => entries += checked,
                Err(error) => damaged.push((*flow, error)),
            }
        }
        Ok((view.counts()?, flows))
    })?;
    if !damaged.is_empty() {
        return Err(journal.damage(&damaged, flows.len()));
    }
    let lines = flows.iter().map(|counts| {
        let FlowCounts { flow, tip, peer_accepted, done, signed, .. } = counts;
        let signed = signed.map_or_else(|| "none".to_owned(), |point| point.index.to_string());
        format!(
            "\n{} {}: tip {}, peer holds {}, done {}, signed {signed}",
            flow.lane,
            flow.direction.as_str(),
            tip.index,
            peer_accepted.index,
            done.index
        )
    });
    let summary = format!(
        "{}: all {entries} entries of {} flows hold together; {} records, {} heads released for signing",
        journal.dir.display(),
        counts.flows,
        counts.records,
        counts.signed
    );
    Ok(Answer {
        data: json!({
            "dir": journal.dir.display().to_string(), "entries": entries, "records": counts.records,
            "signed": counts.signed, "flows": flows.iter().map(flow_line).collect::<Vec<_>>(),
        }),
        text: lines.fold(summary, |text, line| text + &line),
    })
}

/// Writes one line for each flow, each entry, each kept misbehaviour and each order of an operator. Payloads are left out:
/// they belong to the institutions; their hashes are there.
pub(super) fn export(sources: &Sources, arguments: &ExportArguments) -> Result<Answer, Failure> {
    let journal = AtRest::open(sources, &arguments.journal)?;
    let path = &arguments.out;
    let broken =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("{}: can't be written: {error}", path.display()));
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(broken)?;
    let mut out = Lines { to: BufWriter::new(file), written: 0, failed: None };
    journal.read(|view| write_all(view, &mut out))?;
    out.finish().map_err(broken).map(|lines| Answer {
        data: json!({ "file": path.display().to_string(), "lines": lines }),
        text: format!("{lines} lines in {}", path.display()),
    })
}

/// A journal that no daemon holds. It closes when it is dropped.
struct AtRest {
    dir: PathBuf,
    journal: Journal,
}

impl AtRest {
    fn open(sources: &Sources, arguments: &JournalArguments) -> Result<Self, Failure> {
        let dir = match &arguments.dir {
            Some(dir) => dir.clone(),
            None => check::data_dir(&Layers::read(sources)?)?.join(JOURNAL_FOLDER),
        };
        // Opening makes a journal where there is none.
        if !dir.join(FILE_NAME).is_file() {
            return Err(Failure::new(Exit::Usage, format!("{}: there is no journal here", dir.display())));
        }
        let options = Options { take_over: arguments.take_over, ..Options::default() };
        let journal = Journal::open(&dir, options).map_err(|error| unreadable(&dir, &error))?;
        Ok(Self { dir, journal })
    }

    /// Says of each flow where it is damaged.
    fn damage(&self, damaged: &[(Flow, JournalError)], flows: usize) -> Failure {
        say(KEEP_IT);
        let summary = format!("{}: {} of {flows} flows do not hold together", self.dir.display(), damaged.len());
        let lines =
            damaged.iter().map(|(Flow { lane, direction }, error)| format!("\n{lane} {}: {error}", direction.as_str()));
        let list: Vec<Value> = damaged
            .iter()
            .map(|(Flow { lane, direction }, error)| {
                json!({ "lane": lane.to_string(), "direction": direction.as_str(), "problem": error.to_string() })
            })
            .collect();
        Failure {
            details: json!({ "damaged": list }),
            ..Failure::new(Exit::Unhealthy, lines.fold(summary, |text, line| text + &line))
        }
    }

    fn read<T>(&self, ask: impl FnOnce(&View<'_>) -> Result<T, JournalError>) -> Result<T, Failure> {
        self.journal.read(ask).map_err(|error| unreadable(&self.dir, &error))
    }
}

fn unreadable(dir: &Path, error: &JournalError) -> Failure {
    let dir = dir.display();
    match error {
        JournalError::AlreadyOpen { .. } => {
            Failure::new(Exit::Refused, format!("{dir}: {error}: stop the daemon, or copy the folder of a stopped one"))
        }
        JournalError::OlderFormat { .. } => {
            Failure::new(Exit::Refused, format!("{dir}: {error}; --take-over does it here and now"))
        }
        JournalError::NewerFormat { .. } | JournalError::UnknownFormat { .. } => {
            Failure::new(Exit::Refused, format!("{dir}: {error}"))
        }
        error => {
            say(KEEP_IT);
            Failure::new(Exit::Unhealthy, format!("{dir}: {error}"))
        }
    }
}

/// Lines of JSON; after a failed write the others are passed over.
struct Lines<W: Write> {
    to: W,
    written: u64,
    failed: Option<std::io::Error>,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, line: &Value) {
        if self.failed.is_none() {
            self.failed = writeln!(self.to, "{line}").err();
            self.written += 1;
        }
    }

    fn finish(mut self) -> std::io::Result<u64> {
        match self.failed {
            Some(error) => Err(error),
            None => self.to.flush().map(|()| self.written),
        }
    }
}

fn write_all(view: &View<'_>, out: &mut Lines<impl Write>) -> Result<(), JournalError> {
    for counts in view.flows()? {
        out.put(&flow_line(&counts));
        let mut index = Index(1);
        while index <= counts.tip.index && out.failed.is_none() {
            let body = match view.entries(counts.flow, index, index) {
                Ok(entries) => entries.into_iter().next(),
                Err(JournalError::Pruned { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some(timeline) = view.timeline(counts.flow, index)? {
                out.put(&entry_line(&timeline, body.as_ref()));
            }
            index = index.next();
        }
    }
    for misbehaviour in view.misbehaviour()? {
        out.put(&misbehaviour_line(&misbehaviour));
    }
    for AuditRecord { order, at } in view.audit(usize::MAX)? {
        out.put(&json!({
            "kind": "order", "at": at.0, "uid": order.who.uid, "user": order.who.name,
            "action": order.action.as_str(), "reason": order.reason,
        }));
    }
    Ok(())
}

fn misbehaviour_line(misbehaviour: &Misbehaviour) -> Value {
    let flow = |flow: &Flow| json!({ "lane": flow.lane.to_string(), "direction": flow.direction.as_str() });
    let block = |domain: &Domain, ours: &Header| json!({ "domain": domain.to_string(), "height": ours.height.0 });
    let (about, from, ours, theirs) = match misbehaviour {
        Misbehaviour::Equivocation { domain, ours, theirs_hash, served_by, .. } => {
            (block(domain, ours), served_by.clone(), ours.hash, *theirs_hash)
        }
        Misbehaviour::Contradiction { domain, ours, theirs, node, .. } => {
            (block(domain, ours), node.clone(), ours.hash, *theirs)
        }
        Misbehaviour::ConflictingHead { flow: of, ours, theirs, .. } => {
            let signers: Vec<String> = theirs.signatures.keys().map(ToString::to_string).collect();
            (flow(of), signers.join(", "), ours.head, theirs.point.head)
        }
        Misbehaviour::AuditDifference { flow: of, gateway, ours, theirs, .. } => {
            (flow(of), format!("gateway {gateway}"), ours.head, theirs.head)
        }
    };
    json!({
        "kind": "misbehaviour", "what": EvidenceKind::of(misbehaviour).as_str(), "about": about, "at": misbehaviour.at().0,
        "from": from,
        "ours": ours.to_string(), "theirs": theirs.to_string(),
    })
}

fn flow_line(counts: &FlowCounts) -> Value {
    json!({
        "kind": "flow", "lane": counts.flow.lane.to_string(), "direction": counts.flow.direction.as_str(),
        "tip": point(counts.tip), "peer_accepted": point(counts.peer_accepted), "done": point(counts.done),
        "signed": counts.signed.map(point), "extensions": counts.extensions,
        "payloads_pruned": counts.payloads_pruned.0, "bodies_pruned": counts.bodies_pruned.0,
    })
}

fn point(point: ChainPoint) -> Value {
    json!({ "index": point.index.0, "head": point.head.to_string() })
}

fn entry_line(timeline: &Timeline, body: Option<&Entry>) -> Value {
    let Flow { lane, direction } = timeline.flow;
    let transactions = timeline.transactions.iter().map(|transaction| {
        json!({
            "hash": transaction.hash.to_string(), "last": transaction.last.0, "made_at": transaction.at.0,
            "end": transaction.end.as_ref().map(|end| format!("{end:?}")),
        })
    });
    json!({
        "kind": "entry", "lane": lane.to_string(), "direction": direction.as_str(),
        "index": timeline.point.index.0, "head": timeline.point.head.to_string(), "link": timeline.link.to_string(),
        "proved_at": timeline.proved_at.0, "block_hash": timeline.block_hash.to_string(),
        "block_time": timeline.block_time.0, "verified_at": timeline.verified_at.0,
        "attested": timeline.attested.map(|(index, epoch, at)| json!({ "by": index.0, "epoch": epoch.0, "at": at.0 })),
        "signed": timeline.signed.map(|(index, epoch)| json!({ "by": index.0, "epoch": epoch.0 })),
        "peer_accepted_at": timeline.peer_accepted.map(|(_, at)| at.0), "done_at": timeline.done.map(|(_, at)| at.0),
        "transactions": transactions.collect::<Vec<_>>(), "body": body.map(body_of),
    })
}

fn body_of(entry: &Entry) -> Value {
    match entry {
        Entry::Message(message) => json!({
            "sender": message.sender.to_string(), "receiver": message.receiver.to_string(),
            "deadline": message.deadline.0, "gas_limit": message.gas_limit,
            "payload_hash": message.payload.hash().to_string(),
            "payload_bytes": matches!(message.payload, Payload::Bytes(_)).then(|| message.payload.len()),
        }),
        Entry::Outcome(outcome) => json!({
            "message": outcome.message.0.to_string(), "status": outcome.status.code(),
            "result_hash": outcome.result_hash.to_string(),
        }),
    }
}
