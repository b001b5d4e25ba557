//! How commands print: tables for people, JSON for programs, progress on a terminal.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Rows under headers, without frames, as wide as the terminal.
pub(super) fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A line for each field of one thing.
pub(super) fn record(fields: &Value) -> String {
    let rows = fields.as_object().into_iter().flatten();
    table(&["field", "value"], rows.map(|(name, value)| vec![name.clone(), cell(value)]))
}

pub(super) fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value is always JSON")
}

/// A JSON value in a cell: text without quotes, a dash for null.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Who calls, as far as the system tells.
pub(super) fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned())
}

/// `name=value`, as arguments give it.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A progress bar on a terminal; nothing elsewhere.
pub(super) fn progress(what: &str, total: u64) -> indicatif::ProgressBar {
    let style = "{msg} [{bar:32}] {human_pos}/{human_len} {per_sec} {eta}";
    let style = indicatif::ProgressStyle::with_template(style).expect("the template is constant").progress_chars("=> ");
    indicatif::ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}
