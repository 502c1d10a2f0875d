//! The table at the end.

use cityrelay_core::outcome::Status;
use serde_json::{Value, json};

use super::ledger::LaneLedger;

/// One lane in the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub channel: String,
    pub from: String,
    pub to: String,
    pub ledger: LaneLedger,
    /// Milliseconds from a final source block to a final delivery, ascending.
    pub millis: Vec<u64>,
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let count = |status| self.ledger.count(status).to_string();
        [
            self.channel.clone(),
            self.from.clone(),
            self.to.clone(),
            self.ledger.sent.to_string(),
            count(Status::Executed),
            count(Status::Failed),
            count(Status::Expired),
            self.ledger.settled.to_string(),
            seconds(percentile(&self.millis, 50)),
            seconds(percentile(&self.millis, 99)),
        ]
    }

    pub fn json(&self) -> Value {
        json!({
            "channel": self.channel, "from": self.from, "to": self.to, "sent": self.ledger.sent,
            "executed": self.ledger.count(Status::Executed), "failed": self.ledger.count(Status::Failed),
            "expired": self.ledger.count(Status::Expired), "settled": self.ledger.settled,
            "median_millis": percentile(&self.millis, 50), "p99_millis": percentile(&self.millis, 99),
        })
    }
}

const HEADINGS: [&str; 10] =
    ["channel", "from", "to", "sent", "executed", "failed", "expired", "settled", "median", "p99"];

/// The rows with headings, aligned.
pub(super) fn text(rows: &[Row]) -> String {
    let lines: Vec<[String; 10]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; 10];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            // Words to the left, numbers to the right.
            let cell = if column < 3 { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
            out.push_str(&cell);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// The value below which `percent` of the ascending values lie; 0 when there are none.
fn percentile(ascending: &[u64], percent: usize) -> u64 {
    let rank = ascending.len().saturating_mul(percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or(0)
}

fn seconds(millis: u64) -> String {
    format!("{}.{:02} s", millis / 1000, millis % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 99), 198);
        assert_eq!(percentile(&values[..1], 99), 1);
        assert_eq!(percentile(&[], 50), 0);
    }
}
