//! The table of all metrics, made from their registration: what the documentation shows and tests compare with.

use std::fmt::Write as _;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Labelled, MEANINGS};

/// Type of a metric, in the words of OpenMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, and starts at 0 with the process.
    Counter,
    /// Counts by upper bounds.
    Histogram,
}

impl MetricKind {
    /// The word of the `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric as it is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// Its name as the `# TYPE` line has it: without the `_total` that samples of a counter end in.
    pub name: String,
    /// Its type.
    pub kind: MetricKind,
    /// Names of its labels, as they are written.
    pub labels: &'static [&'static str],
    /// The words of the labels that have a closed list.
    pub words: Vec<(&'static str, Vec<&'static str>)>,
    /// What it says, without a full stop.
    pub help: String,
}

/// A metric that knows how it is documented.
pub(super) trait Described {
    const KIND: MetricKind;
    const LABELS: &'static [&'static str] = &[];

    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }
}

impl<N, A> Described for Gauge<N, A> {
    const KIND: MetricKind = MetricKind::Gauge;
}

impl<N, A> Described for Counter<N, A> {
    const KIND: MetricKind = MetricKind::Counter;
}

impl Described for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;
}

impl<L: Labelled, M: Described, C> Described for Family<L, M, C> {
    const KIND: MetricKind = M::KIND;
    const LABELS: &'static [&'static str] = L::NAMES;

    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        L::words()
    }
}

/// The table as it stands in `deploy/prometheus/README.md`.
#[must_use]
pub fn reference(rows: &[MetricRow]) -> String {
    let mut text = String::from("| metric | type | labels | what it says |\n|---|---|---|---|\n");
    for row in rows {
        let total = if row.kind == MetricKind::Counter { "_total" } else { "" };
        let labels: Vec<String> = row.labels.iter().map(|label| label_cell(label, &row.words)).collect();
        // A string takes all that is written to it.
        let _ = writeln!(
            text,
            "| `{}{total}` | {} | {} | {} |",
            row.name,
            row.kind.as_str(),
            labels.join("; "),
            row.help.replace('|', "\\|")
        );
    }
    text.push_str("\n| label | what it is |\n|---|---|\n");
    for (label, meaning) in MEANINGS {
        let _ = writeln!(text, "| `{label}` | {meaning} |");
    }
    text
}

fn label_cell(label: &str, words: &[(&'static str, Vec<&'static str>)]) -> String {
    match words.iter().find(|(of, _)| *of == label) {
        // The two words of a direction, and the sides, stand in the table of labels or repeat too often.
        Some((_, words)) if label != "direction" && label != "side" => format!("`{label}`: {}", words.join(", ")),
        _ => format!("`{label}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    /// Between these lines stands what [`reference`] gives.
    const BEGIN: &str = "<!-- metrics: begin -->\n";
    const END: &str = "<!-- metrics: end -->";

    #[test]
    fn the_readme_has_the_table_that_the_registration_gives() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus/README.md");
        let readme = std::fs::read_to_string(&path).unwrap();
        let (_, rest) = readme.split_once(BEGIN).unwrap();
        let (table, _) = rest.split_once(END).unwrap();
        let expected = reference(Metrics::new().rows());
        assert!(table == expected, "`cityrelay metrics reference` gives another table:\n{expected}");
    }

    #[test]
    fn every_label_is_explained_and_every_explanation_is_needed() {
        let metrics = Metrics::new();
        let used: std::collections::BTreeSet<&str> =
            metrics.rows().iter().flat_map(|row| row.labels.iter().copied()).collect();
        let explained: std::collections::BTreeSet<&str> = MEANINGS.iter().map(|(label, _)| *label).collect();
        assert_eq!(used, explained);
    }
}
