//! `freshet status`: how far each partition is, what became of events, and which jobs run.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Common;
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet status")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

/// What is printed of each list: the rest is in the JSON.
const LISTS: [(&str, &[&str]); 4] = [
    ("partitions", &["source", "partition", "lag", "lag_seconds", "archived_to", "newest_event_time", "stopped"]),
    ("sources", &["source", "rejected", "clamped"]),
    ("views", &["view", "version", "generation", "state", "applied", "late", "duplicate", "stopped"]),
    ("jobs", &["id", "kind", "progress", "seconds_left", "created_at"]),
];

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let status = arguments.common.connection.client()?.get("/v1/status", &[]).await?;
    match arguments.common.output {
        Format::Json => println!("{}", output::json(&status)),
        Format::Table => println!("{}", text(&status)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Value) -> String {
    let mut text = format!(
        "project {}, revision {}, roles {}",
        output::cell(&status["project"]),
        status["revision"],
        cell(&status["roles"])
    );
    for (name, columns) in LISTS {
        match &status[name] {
            Value::Array(rows) if rows.is_empty() => {}
            Value::Array(rows) => {
                let row = |row: &Value| columns.iter().map(|column| cell(&row[*column])).collect();
                text += &format!("\n\n{name}\n{}", output::table(columns, rows.iter().map(row)));
            }
            _ => text += &format!("\n\n{name}: not known"),
        }
    }
    let missing = status["unavailable"].as_array().into_iter().flatten().map(output::cell);
    missing.fold(text, |text, missing| text + &format!("\n\nnot all is known: {missing}"))
}

/// Lists and counts without brackets.
fn cell(value: &Value) -> String {
    let parts: Vec<String> = match value {
        Value::Array(items) => items.iter().map(output::cell).collect(),
        Value::Object(counts) => counts.iter().map(|(name, count)| format!("{name} {count}")).collect(),
        other => return output::cell(other),
    };
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_told_in_a_table_for_each_list_that_has_something() {
        let status = json!({
            "project": "default", "revision": 3, "roles": ["api", "stream"],
            "partitions": [{ "source": "clicks", "partition": 0, "lag": 2, "lag_seconds": 0.5, "archived_to": 7,
                             "newest_event_time": "2026-01-01T12:30:00Z", "stopped": null }],
            "sources": [{ "source": "clicks", "rejected": { "missing_field": 2, "wrong_type": 1 }, "clamped": 4 },
                        { "source": "carts", "rejected": {}, "clamped": 0 }],
            "views": [],
            "jobs": null,
            "unavailable": ["the registry is not available: it is shut"],
        });
        expect![[r#"
            project default, revision 3, roles api, stream

            partitions
             SOURCE  PARTITION  LAG  LAG_SECONDS  ARCHIVED_TO  NEWEST_EVENT_TIME     STOPPED
             clicks  0          2    0.5          7            2026-01-01T12:30:00Z  -

            sources
             SOURCE  REJECTED                       CLAMPED
             clicks  missing_field 2, wrong_type 1  4
             carts   -                              0

            jobs: not known

            not all is known: the registry is not available: it is shut"#]]
        .assert_eq(&text(&status));
    }
}
