//! How commands print: tables for people, JSON for programs, and how far long work is.

use std::pin::pin;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, interval_at};

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

/// One thing; for people a line for each field.
pub(super) fn record(fields: &Value, format: Format) -> String {
    let rows = fields.as_object().into_iter().flatten();
    match format {
        Format::Json => json(fields),
        Format::Table => table(&["field", "value"], rows.map(|(name, value)| vec![name.clone(), cell(value)])),
    }
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

/// Between two lines about work that goes on.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How far long work is: a bar on a terminal, a line now and then on standard error elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    told: Instant,
}

impl Progress {
    /// `total` 0: nobody knows.
    pub fn of(what: &str, total: u64) -> Progress {
        let style = "{msg} [{bar:32}] {human_pos}/{human_len} {per_sec} {eta}";
        let style = ProgressStyle::with_template(style).expect("the template is constant").progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
        Progress { bar, told: Instant::now() }
    }

    pub fn call_it(&self, what: String) {
        self.bar.set_message(what);
    }

    pub fn reach(&mut self, position: u64) {
        self.bar.set_position(position);
        if let Some(line) = self.line(Instant::now()).filter(|_| self.bar.is_hidden()) {
            eprintln!("{line}");
        }
    }

    pub fn end(self) {
        self.bar.finish_and_clear();
    }

    /// What is due to be told.
    fn line(&mut self, now: Instant) -> Option<String> {
        if now - self.told < TELL_EVERY {
            return None;
        }
        self.told = now;
        let (what, position) = (self.bar.message(), self.bar.position());
        Some(match self.bar.length().unwrap_or_default() {
            0 => format!("{what}: {position} so far"),
            total => format!("{what}: {} %", 100 * position / total),
        })
    }
}

/// Waits for one answer that may take minutes, and says so now and then.
pub(super) async fn patiently<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let (mut answer, began) = (pin!(answer), Instant::now());
    let mut ticks = interval_at(began + TELL_EVERY, TELL_EVERY);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            now = ticks.tick() => eprintln!("{what}: {} s so far", (now - began).as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_terminal_a_line_every_ten_seconds_says_how_far_it_is() {
        let (mut known, mut unknown) = (Progress::of("backfill", 200), Progress::of("clicks", 0));
        let began = known.told;
        let times = [9, 10, 19, 20].map(|seconds| began + Duration::from_secs(seconds));
        [&known, &unknown].into_iter().for_each(|progress| progress.bar.set_position(150));
        known.call_it("backfill: 42 s left".to_owned());
        let lines = times.map(|now| known.line(now));
        let told = Some("backfill: 42 s left: 75 %".to_owned());
        assert_eq!(lines, [None, told.clone(), None, told]);
        unknown.told = began;
        assert_eq!(unknown.line(times[3]).as_deref(), Some("clicks: 150 so far"));
    }
}
