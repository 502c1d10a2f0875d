//! `metrics reference`.

use serde_json::json;

use super::answer::Answer;
use crate::observability::{self, MetricRow, Metrics};

/// Prints every metric.
pub(super) fn reference() -> Answer {
    let metrics = Metrics::new();
    let text = observability::reference(metrics.rows()).trim_end().to_owned();
    let rows: Vec<_> = metrics.rows().iter().map(row).collect();
    Answer { data: json!({ "metrics": rows }), text }
}

fn row(row: &MetricRow) -> serde_json::Value {
    let words: serde_json::Map<_, _> =
        row.words.iter().map(|(label, words)| ((*label).to_owned(), json!(words))).collect();
    json!({
        "name": row.name, "type": row.kind.as_str(), "labels": row.labels, "words": words, "help": row.help,
    })
}
