//! `history:` of a source: files with the events from before an instant, from which on the log has them.

use crate::kernel::definition::fields::{Entry, Fields};
use crate::kernel::definition::findings::Findings;
use crate::kernel::definition::{HistoryFiles, HistoryFormat};
use crate::kernel::time::EventTime;

const EXAMPLE: &str = r#"{ path: "history/*.parquet", format: parquet, until: 2026-01-01T00:00:00Z }"#;

pub(super) fn read(entry: &Entry, found: &mut Findings) -> Vec<HistoryFiles> {
    let items = entry.items(&format!("`history: [{EXAMPLE}]`"), found).unwrap_or_default();
    items.iter().filter_map(|item| files(item, found)).collect()
}

fn files(item: &Entry, found: &mut Findings) -> Option<HistoryFiles> {
    let mut fields = Fields::of(item, "`history`", &format!("`{EXAMPLE}`"), found)?;
    let path = fields.required("path", "\"history/*.parquet\"").and_then(|entry| path(&entry, found));
    let format = fields
        .required("format", HistoryFormat::Parquet.as_str())
        .and_then(|entry| entry.choice(&HistoryFormat::ALL, HistoryFormat::as_str, found));
    let until = fields
        .required("until", "2026-01-01T00:00:00Z")
        .and_then(|entry| entry.parse::<EventTime>("the instant from which on the log has the events", found));
    fields.finish(found);
    Some(HistoryFiles { path: path?, format: format?, until: until? })
}

/// Whether the files may be read is the service's to say; that a path leaves its own folder is never meant.
fn path(entry: &Entry, found: &mut Findings) -> Option<String> {
    let text = entry.text("a path such as `history/*.parquet`", found)?;
    if text.is_empty() || text.split('/').any(|part| part == "..") {
        let help = "name files below an input root, such as `history/*.parquet`, or `s3://bucket/history/*.parquet`";
        found.mistake(entry.node.place, format!("`{text}` is not a path of history files"), help);
        return None;
    }
    Some(text.to_owned())
}
