//! `freshet plan PATH…` and `freshet apply PATH…`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;
use crate::cli::validate;
use crate::kernel::definition::SourceText;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet plan feature-defs/")]
pub(super) struct PlanArguments {
    /// Files, or folders whose *.yaml and *.yml files are read: all definitions of the project
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print the changes
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    service: LocalOrRemote,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet apply feature-defs/ --yes")]
pub(super) struct ApplyArguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Without asking
    #[arg(long)]
    yes: bool,
}

pub(super) async fn plan(arguments: PlanArguments) -> anyhow::Result<ExitCode> {
    let files = validate::read(&arguments.paths)?;
    let service = arguments.service.connect().await?;
    let planned = planned(&service.client, &files).await;
    service.close().await?;
    print_changes(&planned?, arguments.output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn apply(arguments: ApplyArguments) -> anyhow::Result<ExitCode> {
    let files = validate::read(&arguments.plan.paths)?;
    let service = arguments.plan.service.connect().await?;
    let outcome = plan_ask_apply(&service.client, &files, &arguments).await;
    service.close().await?;
    outcome
}

async fn plan_ask_apply(client: &Client, files: &[SourceText], arguments: &ApplyArguments) -> anyhow::Result<ExitCode> {
    let planned = planned(client, files).await?;
    let format = arguments.plan.output;
    if planned["changes"].as_array().is_none_or(Vec::is_empty) {
        print_changes(&planned, format);
        return Ok(ExitCode::SUCCESS);
    }
    // Standard output has what a program reads: of an apply, what was applied.
    if format == Format::Table {
        print_changes(&planned, format);
    }
    if !arguments.yes && !confirmed()? {
        eprintln!("nothing was applied");
        return Ok(ExitCode::FAILURE);
    }
    let applied = applied(client, files, &planned["revision"]).await?;
    match format {
        Format::Table => println!("applied as revision {}", applied["revision"]),
        Format::Json => println!("{}", output::json(&applied)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn planned(client: &Client, files: &[SourceText]) -> anyhow::Result<Value> {
    client.call("POST", "/v1/definitions/plan", &[], body(files)).await
}

/// Applies on top of the revision that was planned against, or fails.
pub(super) async fn applied(client: &Client, files: &[SourceText], revision: &Value) -> anyhow::Result<Value> {
    let by = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let query = [("revision", revision.to_string()), ("by", by)];
    client.call("POST", "/v1/definitions/apply", &query, body(files)).await
}

fn body(files: &[SourceText]) -> Body {
    let files = files.iter().map(|file| json!({ "path": file.path, "text": file.text }));
    Body::Json(json!({ "files": files.collect::<Vec<_>>() }))
}

fn print_changes(planned: &Value, format: Format) {
    if format == Format::Json {
        println!("{}", output::json(planned));
        return;
    }
    let changes: Vec<&Value> = planned["changes"].as_array().into_iter().flatten().collect();
    if changes.is_empty() {
        println!("nothing to change: this is what is applied");
        return;
    }
    let rows = changes
        .iter()
        .map(|change| ["change", "kind", "name", "detail"].map(|name| output::cell(&change[name])).to_vec());
    println!("{}", output::table(&["change", "kind", "name", "detail"], rows));
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody to ask: give `--yes` to apply without a terminal");
    }
    eprint!("apply? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
