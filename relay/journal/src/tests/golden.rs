//! What is on disk after the same records, row by row.

use std::fmt::Write;
use std::path::PathBuf;

use super::crash::batches;
use crate::rows::scan;
use crate::table::Table;
use crate::{FORMAT, MemoryJournal};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_records_leave_the_same_rows() {
    let mut journal = MemoryJournal::new();
    for batch in batches().1 {
        journal.append(&batch).unwrap();
    }
    journal.sync();
    let mut text = String::new();
    for table in Table::ALL {
        scan(journal.rows(), table, &[], &[], |key, row| {
            let row = if row.is_empty() { "-".to_owned() } else { hex(row) };
            writeln!(text, "{} {} {row}", table.name(), hex(key)).unwrap();
            Ok(true)
        })
        .unwrap();
    }
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", &format!("format-{FORMAT}.txt")].iter().collect();
    if !path.exists() && std::env::var_os("CITYRELAY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (line, (got, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "line {}: a journal in the field would be read differently", line + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}
