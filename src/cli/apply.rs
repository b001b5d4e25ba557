//! `freshet plan PATH…` and `freshet apply PATH…`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::WrongUse;
use crate::cli::changes::{self, Paint};
use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;
use crate::cli::validate;
use crate::kernel::definition::SourceText;

/// What has little to read is served within a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// Without waiting, for some seconds at most, until the views that it builds are served
    #[arg(long)]
    no_wait: bool,
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
            let why = "nothing was applied: values change or something is removed, and there is no terminal to ask at; \
                       give `--yes` to apply it all the same";
            bail!(WrongUse(why.to_owned()));
        }
    }
    let applied = applied(client, files, &planned["revision"]).await?;
    match format {
        Format::Table => println!("applied as revision {}", applied["revision"]),
        Format::Json => println!("{}", output::json(&applied)),
    }
    if !arguments.no_wait {
        let waited = until_served(client, &applied).await;
        let building = waited.context("it is applied, and whether it is served yet cannot be told")?;
        if !building.is_empty() {
            eprintln!("building {}: `freshet status` says how far", building.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until lookups see what an apply has built; what they do not see yet when that takes long.
async fn until_served(client: &Client, applied: &Value) -> anyhow::Result<Vec<String>> {
    let (deadline, mut pause) = (Instant::now() + PATIENCE, Duration::from_millis(20));
    loop {
        let building = building(applied, &client.get("/v1/definitions", &[]).await?);
        if building.is_empty() || Instant::now() >= deadline {
            return Ok(building);
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Views that an apply has built, and that are not served by what is `listed`: by a replica, perhaps, that does not know
/// of the apply yet.
fn building(applied: &Value, listed: &Value) -> Vec<String> {
    let knows = listed["revision"].as_u64() >= applied["revision"].as_u64();
    let rows = || listed["definitions"].as_array().into_iter().flatten();
    let is_served = |name: &Value| knows && !rows().any(|it| it["name"] == *name && it["state"] == "building");
    let changes = applied["changes"].as_array().into_iter().flatten();
    let is_built =
        |it: &&Value| it["kind"] == "feature_view" && (it["change"] == "new" || it["change"] == "recomputed");
    let built = changes.filter(is_built).map(|change| &change["name"]);
    built.filter(|name| !is_served(name)).map(|name| format!("`{}`", output::cell(name))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apply_is_waited_for_while_a_view_of_it_is_built_or_nobody_knows_of_it() {
        let change = |change: &str, kind: &str, name: &str| json!({ "change": change, "kind": kind, "name": name });
        let view = |change_word: &str, name: &str| change(change_word, "feature_view", name);
        let changes = [
            view("new", "visits"),
            view("recomputed", "spend"),
            view("described", "old"),
            change("new", "entity", "user"),
        ];
        let applied = json!({ "revision": 4, "changes": changes });
        let listed = |revision: u64, visits: &str| {
            let view = |name: &str, state: &str| json!({ "kind": "feature_view", "name": name, "state": state });
            json!({ "revision": revision,
                    "definitions": [view("visits", visits), view("spend", "live"), view("old", "building"), { "name": "user" }] })
        };
        assert_eq!(building(&applied, &listed(4, "building")), ["`visits`"]);
        assert_eq!(building(&applied, &listed(5, "live")), [""; 0]);
        assert_eq!(building(&applied, &listed(3, "live")), ["`visits`", "`spend`"]);
    }
}
