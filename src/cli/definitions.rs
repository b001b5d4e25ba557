//! `freshet list` and `freshet show NAME`.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet list\n  freshet list --history")]
pub(super) struct ListArguments {
    /// Who applied and rolled back what, and when, instead
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    form: Form,
}

/// Where to ask, and how to print.
#[derive(Debug, clap::Args)]
struct Form {
    /// How to print the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    service: LocalOrRemote,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet show household_spend")]
pub(super) struct ShowArguments {
    /// An entity, source, feature view or feature service
    name: String,
    /// Which of them, where several kinds share the name
    #[arg(long, value_parser = ["entity", "source", "feature_view", "feature_service"])]
    kind: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn list(arguments: ListArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.form.service.connect().await?;
    let path = if arguments.history { "/v1/definitions/history" } else { "/v1/definitions" };
    let answer = service.client.get(path, &[]).await;
    service.close().await?;
    let answer = answer?;
    match arguments.form.output {
        Format::Json => println!("{}", output::json(&answer)),
        Format::Table if arguments.history => print_history(&answer),
        Format::Table => {
            let columns = ["kind", "name", "state", "owner", "deprecated", "description"];
            let rows = answer["definitions"].as_array().into_iter().flatten();
            let row = |row: &Value| columns.map(|name| output::cell(&row[name])).to_vec();
            println!("{}", output::table(&columns, rows.map(row)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(arguments: ShowArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.form.service.connect().await?;
    let found = find(&service.client, &arguments.name, arguments.kind.as_deref()).await;
    service.close().await?;
    let found = found?;
    match arguments.form.output {
        Format::Json => println!("{}", output::json(&found)),
        Format::Table => print_definition(&found),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a revision changed, below who applied it and when.
fn print_history(answer: &Value) {
    for entry in answer["entries"].as_array().into_iter().flatten() {
        let what = entry["revision"].as_u64().map_or("rollback".to_owned(), |revision| format!("revision {revision}"));
        println!("{}  {what}  by {}", output::cell(&entry["at"]), output::cell(&entry["by"]));
        match entry["changes"].as_array() {
            Some(changes) => changes.iter().for_each(|change| println!("  {}", output::cell(change))),
            None => println!("  (this release does not read it any more)"),
        }
    }
}

/// The definition of that name; where several kinds share it, `kind` tells them apart.
pub(super) async fn find(client: &Client, name: &str, kind: Option<&str>) -> anyhow::Result<Value> {
    let listed = client.get("/v1/definitions", &[]).await?;
    let fits = |row: &&Value| row["name"] == name && kind.is_none_or(|kind| row["kind"] == kind);
    let mut rows = listed["definitions"].as_array().into_iter().flatten().filter(fits);
    let Some(row) = rows.next() else {
        bail!(
            "no {} is called `{name}`: `freshet list` shows what there is",
            kind.unwrap_or("definition").replace('_', " ")
        );
    };
    if let Some(other) = rows.next() {
        let kinds = [row, other].map(|row| output::cell(&row["kind"]));
        bail!("`{name}` is the name of a {} and of a {}: add `--kind`", kinds[0], kinds[1]);
    }
    let kind = row["kind"].as_str().unwrap_or_default();
    client.get(&format!("/v1/definitions/{kind}/{name}"), &[]).await
}

fn print_definition(found: &Value) {
    for (name, value) in found.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(rows) if name == "lineage" => {
                println!("lineage:");
                rows.iter().for_each(|row| println!("  {}", lineage(row)));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                println!("{name}:");
                items.iter().for_each(|item| println!("  {}", line(item)));
            }
            Value::Array(items) => {
                println!("{name}: {}", items.iter().map(output::cell).collect::<Vec<_>>().join(", "))
            }
            Value::Object(_) => println!("{name}: {}", line(value)),
            Value::String(text) if text.contains('\n') => println!("{name}:\n{text}"),
            other => println!("{name}: {}", output::cell(other)),
        }
    }
}

/// `purchases → household_spend → recommender`.
fn lineage(row: &Value) -> String {
    let services = row["services"].as_array().into_iter().flatten().map(output::cell).collect::<Vec<_>>().join(", ");
    let services = if services.is_empty() { "(no service)".to_owned() } else { services };
    format!("{} → {} → {services}", output::cell(&row["source"]), output::cell(&row["view"]))
}

fn line(item: &Value) -> String {
    let parts = item.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    parts.map(|(name, value)| format!("{name} {}", output::cell(value))).collect::<Vec<_>>().join("  ")
}
