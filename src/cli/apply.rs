//! `freshet plan PATH…` and `freshet apply PATH…`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::changes::{self, Paint};
use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;
use crate::cli::validate;
use crate::kernel::definition::SourceText;

/// The exit code of a command that was called in a way that it does not take.
const WRONG_USE: u8 = 2;

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
    /// Without asking: also what changes values, or takes something away
    #[arg(long)]
    yes: bool,
}

pub(super) async fn plan(arguments: PlanArguments) -> anyhow::Result<ExitCode> {
    let files = validate::read(&arguments.paths)?;
    let service = arguments.service.connect().await?;
    let planned = planned(&service.client, &files).await;
    service.close().await?;
    let planned = planned?;
    print_changes(&planned, arguments.output);
    Ok(if changes::is_refused(&planned) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
    let is_settled = planned["changes"].as_array().is_none_or(Vec::is_empty) || changes::is_refused(&planned);
    // Standard output has what a program reads: of an apply, what was applied.
    if format == Format::Table || is_settled {
        print_changes(&planned, format);
    }
    if is_settled {
        return Ok(if changes::is_refused(&planned) { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    match consent(&planned, arguments.yes)? {
        Consent::Given => {}
        Consent::Refused => {
            eprintln!("nothing was applied");
            return Ok(ExitCode::FAILURE);
        }
        Consent::NobodyToAsk => {
            eprintln!(
                "freshet: nothing was applied: values change or something is removed, and there is no terminal to ask \
                 at; give `--yes` to apply it all the same"
            );
            return Ok(ExitCode::from(WRONG_USE));
        }
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
    let query = [("revision", revision.to_string()), ("by", output::user())];
    client.call("POST", "/v1/definitions/apply", &query, body(files)).await
}

fn body(files: &[SourceText]) -> Body {
    let files = files.iter().map(|file| json!({ "path": file.path, "text": file.text }));
    Body::Json(json!({ "files": files.collect::<Vec<_>>() }))
}

fn print_changes(planned: &Value, format: Format) {
    match format {
        Format::Json => println!("{}", output::json(planned)),
        Format::Table => print!("{}", changes::of(planned, Paint::of_standard_output())),
    }
}

/// Whether a plan may be applied.
enum Consent {
    Given,
    Refused,
    NobodyToAsk,
}

/// Asks about what takes something away or changes values, and about nothing else.
fn consent(planned: &Value, yes: bool) -> anyhow::Result<Consent> {
    if yes || !changes::needs_consent(planned) {
        return Ok(Consent::Given);
    }
    if !std::io::stdin().is_terminal() {
        return Ok(Consent::NobodyToAsk);
    }
    eprint!("apply? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(if matches!(answer.trim(), "y" | "Y" | "yes") { Consent::Given } else { Consent::Refused })
}
