//! `freshet list` and `freshet show NAME`.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet list")]
pub(super) struct ListArguments {
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
    list: ListArguments,
}

pub(super) async fn list(arguments: ListArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.service.connect().await?;
    let answer = service.client.get("/v1/definitions", &[]).await;
    service.close().await?;
    let answer = answer?;
    if arguments.output == Format::Json {
        println!("{}", output::json(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["kind", "name", "state", "owner", "description"];
    let rows = answer["definitions"].as_array().into_iter().flatten();
    println!("{}", output::table(&columns, rows.map(|row| columns.map(|name| output::cell(&row[name])).to_vec())));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(arguments: ShowArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.list.service.connect().await?;
    let found = find(&service.client, &arguments.name, arguments.kind.as_deref()).await;
    service.close().await?;
    let found = found?;
    match arguments.list.output {
        Format::Json => println!("{}", output::json(&found)),
        Format::Table => print_definition(&found),
    }
    Ok(ExitCode::SUCCESS)
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

fn line(item: &Value) -> String {
    let parts = item.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    parts.map(|(name, value)| format!("{name} {}", output::cell(value))).collect::<Vec<_>>().join("  ")
}
