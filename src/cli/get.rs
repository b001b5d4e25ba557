//! `freshet get SERVICE key=value…`: a lookup from the shell.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::entity::Entity;
use crate::cli::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet get recommender household_id=2020 product_id=1082185")]
pub(super) struct Arguments {
    /// A feature service
    service: String,
    #[command(flatten)]
    entity: Entity,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let text = |answer: &Value| format!("{}\nas of {}", table(answer), output::cell(&answer["as_of"]));
    arguments.entity.ask(&format!("/v1/online-features/{}", arguments.service), text).await
}

/// A line for each column of a lookup of one entity.
pub(super) fn table(answer: &Value) -> String {
    let columns = answer["columns"].as_array().into_iter().flatten();
    let row = |column: &Value| {
        ["name", "values", "statuses", "event_times"]
            .map(|name| match &column[name] {
                Value::Array(items) => items.first().map(output::cell).unwrap_or_default(),
                other => output::cell(other),
            })
            .to_vec()
    };
    output::table(&["feature", "value", "status", "newest event"], columns.map(row))
}
