//! `freshet get SERVICE key=value…`: a lookup from the shell.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Common;
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet get recommender household_id=2020 product_id=1082185")]
pub(super) struct Arguments {
    /// A feature service
    service: String,
    /// The entity's keys
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = output::pair)]
    keys: Vec<(String, String)>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let keys: Vec<(&str, String)> = arguments.keys.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let client = arguments.common.connection.client()?;
    let answer = client.get(&format!("/v1/online-features/{}", arguments.service), &keys).await?;
    match arguments.common.output {
        Format::Json => println!("{}", output::json(&answer)),
        Format::Table => {
            println!("{}", table(&answer));
            println!("as of {}", output::cell(&answer["as_of"]));
        }
    }
    Ok(ExitCode::SUCCESS)
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
