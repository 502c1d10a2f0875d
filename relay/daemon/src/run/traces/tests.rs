//! Three processes' journals of the same messages make one tree a message, whatever the collector does.

mod stand_in_collector;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use cityrelay_core::hash::keccak256;
use cityrelay_core::ids::MessageId;
use cityrelay_core::outcome::Status;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

use self::stand_in_collector::StandInCollector;
use self::walk::{LONG, Process, Walk};
use super::exporter::MAX_WAITING;
use super::step::{ROOT, Step};

fn names(spans: &[&Span]) -> BTreeSet<String> {
    spans.iter().map(|span| span.name.clone()).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn two_relays_and_an_attester_make_one_tree_of_each_message() {
    let walk = Walk::new(3);
    let all: Vec<Span> = [Process::Source, Process::Destination, Process::Attester]
        .into_iter()
        .flat_map(|process| walk.open(process).gather())
        .collect();
    let mut trees: BTreeMap<&[u8], Vec<&Span>> = BTreeMap::new();
    for span in &all {
        trees.entry(&span.trace_id).or_default().push(span);
    }
    let ids: BTreeSet<Vec<u8>> = walk.ids().iter().map(|id| id.0.0[..16].to_vec()).collect();
    assert_eq!(trees.keys().map(|id| id.to_vec()).collect::<BTreeSet<_>>(), ids);
    let expected: BTreeSet<String> =
        Step::ALL.iter().map(|step| step.name()).chain([ROOT]).map(str::to_owned).collect();
    for tree in trees.values() {
        assert_eq!((tree.len(), names(tree)), (expected.len(), expected.clone()));
        let span_ids: BTreeSet<&[u8]> = tree.iter().map(|span| span.span_id.as_slice()).collect();
        assert_eq!(span_ids.len(), tree.len());
        let root = tree.iter().find(|span| span.name == ROOT).unwrap();
        assert!(root.parent_span_id.is_empty());
        assert!(attribute(root, "cityrelay.outcome").is_some());
        for span in tree.iter().filter(|span| span.name != ROOT) {
            assert!(span_ids.contains(span.parent_span_id.as_slice()), "{} has no parent", span.name);
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
            assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{}", span.name);
            assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{}", span.name);
        }
    }
}

#[test]
fn a_span_tells_what_the_journal_knows() {
    let walk = Walk::new(2);
    let (source, destination) = (walk.open(Process::Source).gather(), walk.open(Process::Destination).gather());
    let find = |spans: &[Span], name: &str, index: &str| {
        let is_it = |span: &&Span| span.name == name && attribute(span, "cityrelay.index").as_deref() == Some(index);
        spans.iter().find(is_it).cloned().unwrap()
    };
    let verified = find(&source, "message verified", "1");
    assert_eq!(attribute(&verified, "cityrelay.block.height").as_deref(), Some("7"));
    assert_eq!(attribute(&verified, "cityrelay.channel").as_deref(), Some("medical"));
    let delivered = find(&destination, "message delivered", "2");
    let tries: Vec<&str> = delivered.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(tries, ["transaction", "transaction"], "one reverted, one did it");
    // A message that was not executed is an error of its tree.
    for (index, outcome) in [("1", Status::Executed), ("2", Status::Failed)] {
        let root = find(&source, ROOT, index);
        assert_eq!(attribute(&root, "cityrelay.outcome").as_deref(), Some(outcome.as_str()));
        assert_eq!(root.status.unwrap().message.is_empty(), outcome == Status::Executed);
    }
}

#[test]
fn ids_are_the_same_in_every_release() {
    let id = MessageId(keccak256(b"message"));
    let (trace, root, signed) = walk::ids_of(id);
    assert_eq!(trace, id.to_string()[2..34]);
    assert_eq!((root.as_str(), signed.as_str()), ("032353b1e79c2145", "0c948c250778e28f"));
}

#[test]
fn what_was_told_is_not_told_again_and_goes_on_after_a_restart() {
    let walk = Walk::new(3);
    let mut open = walk.open(Process::Source);
    assert!(!open.gather().is_empty());
    open.advance();
    assert_eq!(open.gather(), []);
    // More messages, after a restart.
    let open = open.reopened_with(5);
    let told: BTreeSet<Option<String>> = open.gather().iter().map(|span| attribute(span, "cityrelay.index")).collect();
    assert_eq!(told, ["4", "5"].map(|index| Some(index.to_owned())).into());
}

#[test]
fn one_in_so_many_is_the_same_one_everywhere() {
    let walk = Walk::new(64);
    let traced = |process, one_in| -> BTreeSet<Vec<u8>> {
        let mut open = walk.open(process);
        open.one_in(one_in);
        open.gather_all().into_iter().map(|span| span.trace_id).collect()
    };
    let some = traced(Process::Source, 4);
    assert!((1..64).contains(&some.len()), "{} of 64", some.len());
    assert_eq!(some, traced(Process::Destination, 4));
    assert_eq!(some, traced(Process::Attester, 4));
    assert_eq!(traced(Process::Source, 1).len(), 64);
}

#[tokio::test]
async fn a_collector_that_is_away_or_asks_for_patience_loses_nothing() {
    let walk = Walk::new(3);
    let mut collector = StandInCollector::start().await;
    let open = walk.open(Process::Source);
    let expected = open.gather().len();
    let (mut exporter, metrics) = open.exporter(&collector.url());
    collector.answer(503);
    assert!(exporter.round().await.is_err());
    collector.stop().await;
    assert!(exporter.round().await.is_err());
    assert!(metrics.encode().unwrap().contains(&format!("cityrelay_traces_waiting_spans {expected}")));
    collector.restart().await;
    collector.answer(200);
    exporter.round().await.unwrap();
    assert_eq!(collector.taken().len(), expected);
    exporter.round().await.unwrap();
    assert_eq!(collector.taken().len(), expected, "nothing is sent twice");
    let text = metrics.encode().unwrap();
    for line in [
        format!("cityrelay_traces_sent_spans_total {expected}"),
        "cityrelay_traces_waiting_spans 0".to_owned(),
        "cityrelay_traces_lost_spans_total{reason=\"refused\"} 0".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_holds_nothing_up() {
    let walk = Walk::new(3);
    let collector = StandInCollector::start().await;
    let open = walk.open(Process::Destination);
    let expected = open.gather().len();
    let (mut exporter, metrics) = open.exporter(&collector.url());
    collector.answer(400);
    exporter.round().await.unwrap();
    collector.answer(200);
    exporter.round().await.unwrap();
    assert_eq!(collector.taken().len(), 0);
    let text = metrics.encode().unwrap();
    let line = format!("cityrelay_traces_lost_spans_total{{reason=\"refused\"}} {expected}");
    assert!(text.contains(&line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn what_waits_is_bounded_and_the_rest_is_counted() {
    let walk = Walk::new(LONG);
    let collector = StandInCollector::start().await;
    let (mut exporter, metrics) = walk.open_verified_only().exporter(&collector.url());
    collector.answer(503);
    assert!(exporter.round().await.is_err());
    let lost = LONG as u64 - MAX_WAITING;
    for _ in 0..2 {
        let text = metrics.encode().unwrap();
        let line = format!("cityrelay_traces_lost_spans_total{{reason=\"waited\"}} {lost}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
        // Counted once, however often it is tried.
        assert!(exporter.round().await.is_err());
    }
    collector.answer(200);
    exporter.round().await.unwrap();
    assert_eq!(collector.taken().len() as u64, MAX_WAITING);
}
