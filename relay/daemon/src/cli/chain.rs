//! `chain replay` and `chain record`.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use cityrelay_core::ids::Height;
use cityrelay_core::light_client::Refusal;
use serde_json::{Value, json};

use super::answer::{Answer, Exit, Failure, say};
use super::arguments::{RecordArguments, ReplayArguments};
use super::progress::meanwhile;
use crate::config::{Layers, Sources, check};
use crate::replay::{self, Fate, Replay};

/// The largest recording that is read, 1 GiB.
const MAX_RECORDING_BYTES: u64 = 1 << 30;

/// Verifies recordings from the configured anchor.
///
/// Printed: with `--verbose` one line for each height, `<height> verified`, `<height> held back: <reason>` or
/// `<height> refused: <check>: expected …, got …`; always, as the last line of stdout,
/// `N verified, H held back, R refused, S set changes`. The answer is a failure (exit 4) unless H and R are 0.
pub(super) fn replay(sources: &Sources, arguments: &ReplayArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    let mut files = Vec::new();
    for path in &arguments.recordings {
        files.push(Report { name: path.display().to_string(), replay: read(path)? });
    }
    let mut reports = Vec::new();
    for Report { name, replay: text } in files {
        let replay = match serde_json::from_slice::<Value>(&text) {
            Ok(recording) => replay::replay(chain.chain.as_ref(), chain.domain, &recording),
            Err(_) => Replay {
                unreadable: Some(Refusal::new("recording-json", "one JSON value", text.get(..16).unwrap_or(&text))),
                ..Replay::default()
            },
        };
        drop(text);
        explain(&name, &replay);
        reports.push(Report { name, replay });
    }
    summarise(&reports, arguments.verbose)
}

struct Report<T> {
    name: String,
    replay: T,
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let broken = |problem: String| Failure::new(Exit::Usage, format!("{}: {problem}", path.display()));
    let size = fs::metadata(path).map_err(|error| broken(format!("can't be read: {error}")))?.len();
    if size > MAX_RECORDING_BYTES {
        return Err(broken(format!("expected at most {MAX_RECORDING_BYTES} bytes, got {size}")));
    }
    fs::read(path).map_err(|error| broken(format!("can't be read: {error}")))
}

fn explain(name: &str, replay: &Replay) {
    if let Some(refusal) = &replay.unreadable {
        say(format_args!("{name}: refused: {refusal}"));
    }
    for (height, fate) in &replay.heights {
        match fate {
            Fate::Refused(refusal) => say(format_args!("{name}: block {height} refused: {}", without_height(refusal))),
            Fate::HeldBack(reason) => say(format_args!("{name}: block {height} held back: {reason}")),
            Fate::Verified { .. } => {}
        }
    }
    if replay.unseen > 0 {
        say(format_args!("{name}: the {} heights after the refused one can't be verified", replay.unseen));
    }
    if !replay.believed.is_empty() {
        let heights: Vec<String> = replay.believed.iter().map(ToString::to_string).collect();
        say(format_args!(
            "{name}: the headers alone can't prove the validator sets from {}; the recording's word was taken for an own node's",
            heights.join(", ")
        ));
    }
}

fn without_height(refusal: &Refusal) -> Refusal {
    Refusal { height: None, ..refusal.clone() }
}

fn summarise(reports: &[Report<Replay>], is_verbose: bool) -> Result<Answer, Failure> {
    let sum = |count: fn(&Replay) -> usize| reports.iter().map(|report| count(&report.replay)).sum::<usize>();
    let (verified, held_back, refused) = (sum(Replay::verified), sum(Replay::held_back), sum(Replay::refused));
    let set_changes = sum(|replay| replay.set_changes.len());
    let mut text = String::new();
    if is_verbose {
        for report in reports {
            if reports.len() > 1 {
                text.push_str(&format!("# {}\n", report.name));
            }
            report.replay.heights.iter().for_each(|(height, fate)| text.push_str(&line(*height, fate)));
        }
    }
    let summary = format!("{verified} verified, {held_back} held back, {refused} refused, {set_changes} set changes");
    text.push_str(&summary);
    let recordings: Vec<Value> = reports.iter().map(|report| recording_json(report, is_verbose)).collect();
    let data = json!({
        "verified": verified, "held_back": held_back, "refused": refused, "set_changes": set_changes,
        "recordings": recordings,
    });
    if held_back == 0 && refused == 0 {
        Ok(Answer { data, text })
    } else {
        Err(Failure {
            exit: Exit::Unhealthy,
            message: format!("not everything verifies: {summary}"),
            details: data,
            text,
        })
    }
}

fn line(height: Height, fate: &Fate) -> String {
    match fate {
        Fate::Verified { waited: None, .. } => format!("{height} verified\n"),
        Fate::Verified { waited: Some(reason), .. } => format!("{height} verified after waiting: {reason}\n"),
        Fate::HeldBack(reason) => format!("{height} held back: {reason}\n"),
        Fate::Refused(refusal) => format!("{height} refused: {}\n", without_height(refusal)),
    }
}

fn recording_json(report: &Report<Replay>, is_verbose: bool) -> Value {
    let replay = &report.replay;
    let heights: Vec<Value> = replay
        .heights
        .iter()
        .filter(|(_, fate)| is_verbose || !matches!(fate, Fate::Verified { .. }))
        .map(|(height, fate)| match fate {
            Fate::Verified { checks, waited } => {
                json!({"height": height.0, "fate": "verified", "checks": checks, "waited": waited.map(|why| why.as_str())})
            }
            Fate::HeldBack(reason) => {
                json!({"height": height.0, "fate": "held-back", "reason": reason.as_str(), "words": reason.to_string()})
            }
            Fate::Refused(refusal) => {
                json!({"height": height.0, "fate": "refused", "check": refusal.check, "words": refusal.to_string()})
            }
        })
        .collect();
    json!({
        "file": report.name,
        "unreadable": replay.unreadable.as_ref().map(ToString::to_string),
        "heights": heights,
        "set_changes": replay.set_changes.iter().map(|height| height.0).collect::<Vec<_>>(),
        "sets_believed_at": replay.believed.iter().map(|height| height.0).collect::<Vec<_>>(),
        "unseen": replay.unseen,
    })
}

/// Records a range of blocks. The file is written whole or not at all.
pub(super) async fn record(sources: &Sources, arguments: &RecordArguments) -> Result<Answer, Failure> {
    if arguments.from > arguments.to {
        let problem = format!("expected --from at or below --to, got {} and {}", arguments.from, arguments.to);
        return Err(Failure::new(Exit::Usage, problem));
    }
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    if arguments.out.exists() {
        let problem = format!("{} is there already; choose another file", arguments.out.display());
        return Err(Failure::new(Exit::Refused, problem));
    }
    let (from, to, name) = (arguments.from, arguments.to, &arguments.chain);
    let recording = chain.chain.recording();
    let recording = recording.record(Height(from), Height(to));
    let recording =
        meanwhile(|seconds| format!("{name}: reading blocks {from} to {to}, {seconds} s"), recording).await?;
    let bytes = serde_json::to_vec(&recording).map_err(anyhow::Error::from)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&arguments.out).map_err(|error| {
        Failure::new(Exit::Usage, format!("{}: can't be written: {error}", arguments.out.display()))
    })?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", arguments.out.display())))?;
    let name = arguments.out.display().to_string();
    let text = format!("blocks {} to {} of {} written to {name}", arguments.from, arguments.to, arguments.chain);
    Ok(Answer { data: json!({"file": name, "from": arguments.from, "to": arguments.to, "bytes": bytes.len()}), text })
}
