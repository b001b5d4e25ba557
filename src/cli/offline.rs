//! `freshet backfill`, `freshet training-set` and `freshet parity`: jobs over the archive.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::WrongUse;
use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format, Progress};
use crate::cli::service::LocalOrRemote;
use crate::kernel::time::{EventTime, Micros};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  freshet backfill household_spend --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --every 1d"
)]
pub(super) struct BackfillArguments {
    /// A feature view
    view: String,
    /// The first instant, RFC 3339
    #[arg(long)]
    from: EventTime,
    /// The instants end before this one, RFC 3339
    #[arg(long)]
    to: EventTime,
    /// From one instant to the next: 1h, 1d
    #[arg(long)]
    every: Micros,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  freshet training-set recommender --spine labels.csv --out training.parquet\n  freshet training-set --again training_set-… --spine labels.csv --out training.parquet"
)]
pub(super) struct TrainingSetArguments {
    /// A feature service
    #[arg(value_name = "SERVICE", required_unless_present = "again", conflicts_with = "again")]
    name: Option<String>,
    /// Cut an earlier training set again, from the same events to the same bytes: the id of its job. The spine has to be
    /// the same, all else is as it was
    #[arg(long, value_name = "ID", conflicts_with_all = ["label_time", "knowledge"])]
    again: Option<String>,
    /// Rows to append features to: Parquet, CSV, Arrow or a JSON array of objects, with the keys and a label time
    #[arg(long, value_name = "FILE")]
    spine: PathBuf,
    /// Where to write the training set: .parquet, .arrow or .csv
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The column of the spine with the label time
    #[arg(long, default_value = "event_timestamp", value_name = "COLUMN")]
    label_time: String,
    /// What a row may know: what a lookup would have known, or all that happened; `both`: the former, and how many
    /// values the latter would change, and why
    #[arg(long, value_parser = ["as_served", "event_time", "both"], default_value = "as_served")]
    knowledge: String,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet parity --last 24h")]
pub(super) struct ParityArguments {
    /// Only lookups of that long ago at most: 24h
    #[arg(long, value_name = "DURATION")]
    last: Option<Micros>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    service: LocalOrRemote,
}

pub(super) async fn backfill(arguments: BackfillArguments) -> anyhow::Result<ExitCode> {
    let BackfillArguments { view, from, to, every, run } = arguments;
    let service = run.service.connect().await?;
    let body =
        Body::Json(json!({ "view": view, "from": from.to_string(), "to": to.to_string(), "every": every.to_string() }));
    let job = run_job(&service.client, "/v1/backfills", &[], body).await;
    service.close().await?;
    let job = job?;
    match run.output {
        Format::Json => println!("{}", output::json(&job)),
        Format::Table => println!("{} rows in {}", job["result"]["rows"], output::cell(&job["result"]["folder"])),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn training_set(arguments: TrainingSetArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.run.service.connect().await?;
    let TrainingSetArguments { spine, out, .. } = &arguments;
    let job = cut(&service.client, &arguments.query(), spine, out).await;
    service.close().await?;
    let job = job?;
    match arguments.run.output {
        Format::Json => println!("{}", output::json(&job)),
        Format::Table => {
            println!("{} rows in {}", job["result"]["rows"], arguments.out.display());
            println!("the same again: --again {}", output::cell(&job["id"]));
            differences(&job["result"]).into_iter().for_each(|table| println!("{table}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl TrainingSetArguments {
    /// As `/v1/training-sets` has it.
    fn query(&self) -> Vec<(&'static str, String)> {
        let TrainingSetArguments { name, again, label_time, knowledge, .. } = self;
        match again {
            Some(job) => vec![("again", job.clone())],
            None => {
                let service = name.iter().map(|name| ("service", name.clone()));
                service.chain([("label_time", label_time.clone()), ("knowledge", knowledge.clone())]).collect()
            }
        }
    }
}

/// Sends the spine, waits for the cut, and writes it to `out`; `query` as `/v1/training-sets` has it.
pub(super) async fn cut(client: &Client, query: &[(&str, String)], spine: &Path, out: &Path) -> anyhow::Result<Value> {
    let format = result_format(out)?;
    // Before the work and not after it.
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
        bail!("cannot write {}: there is no folder {}", out.display(), missing.display());
    }
    let bytes = std::fs::read(spine).with_context(|| format!("cannot read {}", spine.display()))?;
    let body = Body::Bytes { content_type: content_type(spine)?, bytes };
    let job = run_job(client, "/v1/training-sets", query, body).await?;
    let path = format!("/v1/training-sets/{}/data", output::cell(&job["id"]));
    save(client, &path, format, out).await.with_context(|| format!("cannot write {}", out.display()))?;
    Ok(job)
}

/// Written beside as it comes, and renamed: a file of that name is always whole.
async fn save(client: &Client, path: &str, format: &str, out: &Path) -> anyhow::Result<()> {
    let name = out.file_name().context("it is no name of a file")?;
    let partial = out.with_file_name(format!(".{}.partial", name.display()));
    let mut file = File::create(&partial)?;
    let saved = client.save(path, &[("format", format.to_owned())], &mut file).await;
    let saved = saved.and_then(|()| Ok(file.sync_all().and_then(|()| std::fs::rename(&partial, out))?));
    if saved.is_err() {
        // What is left of it is of no use; that it stays would harm nobody.
        let _ = std::fs::remove_file(&partial);
    }
    saved
}

pub(super) async fn parity(arguments: ParityArguments) -> anyhow::Result<ExitCode> {
    let service = arguments.run.service.connect().await?;
    let query: Vec<(&str, String)> = arguments.last.iter().map(|last| ("last", last.to_string())).collect();
    let report = service.client.call("POST", "/v1/parity", &query, Body::None);
    let report = output::patiently("parity", report).await;
    service.close().await?;
    let report = report?;
    match arguments.run.output {
        Format::Json => println!("{}", output::json(&report)),
        Format::Table => println!("{}", parity_table(&report)),
    }
    if report["compared"] == 0 {
        eprintln!(
            "nothing was compared, which proves nothing: of so many looked-up rows as `parity_sample` says one is kept"
        );
    }
    Ok(if report["different"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What another knowledge would change, where that was asked for.
fn differences(result: &Value) -> Option<String> {
    let columns = ["feature", "compared", "different", "not_yet_arrived", "late"];
    let rows = result["differences"].as_array()?.iter();
    Some(output::table(&columns, rows.map(|row| columns.map(|name| output::cell(&row[name])).to_vec())))
}

/// The report in lines for people: a table of the features, some differences, why rows are unchecked, and the sums.
pub(super) fn parity_table(report: &Value) -> String {
    let features = report["features"].as_array().into_iter().flatten();
    let columns = ["feature", "compared", "different", "unchecked"];
    let rows = features.map(|feature| columns.map(|name| output::cell(&feature[name])).to_vec());
    let mut text = output::table(&columns, rows);
    for example in report["examples"].as_array().into_iter().flatten() {
        text.push_str(&format!("\n{}", output::cell(example)));
    }
    for unchecked in report["reasons"].as_array().into_iter().flatten() {
        let [view, reason] = ["view", "reason"].map(|name| output::cell(&unchecked[name]));
        text.push_str(&format!("\n{} rows of {view} are unchecked: {reason}", unchecked["rows"]));
    }
    let sums = ["compared", "different", "unchecked"].map(|name| format!("{} {name}", report[name]));
    format!("{text}\n{} values of {} lookups", sums.join(", "), report["lookups"])
}

/// Starts a job and waits for its end, saying how far it is.
pub(super) async fn run_job(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
    body: Body,
) -> anyhow::Result<Value> {
    let mut job = client.call("POST", path, query, body).await?;
    let url = format!("{path}/{}", output::cell(&job["id"]));
    let mut progress = Progress::of(&output::cell(&job["kind"]), 100);
    let mut pause = Duration::from_millis(10);
    while job["state"] == "running" {
        progress.call_it(pace(&job));
        progress.reach((job["progress"].as_f64().unwrap_or_default() * 100.0) as u64);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
        job = client.get(&url, &[]).await?;
    }
    progress.end();
    if job["state"] != "done" {
        bail!("job {} {}: {}", output::cell(&job["id"]), output::cell(&job["state"]), output::cell(&job["error"]));
    }
    Ok(job)
}

/// `backfill: 1200000 rows, 310000/s, 42 s left`.
fn pace(job: &Value) -> String {
    let number = |name: &str| job[name].as_f64().filter(|it| *it > 0.0).map(f64::round);
    let rows = number("rows").zip(number("rows_per_second")).map(|(rows, each)| format!(": {rows} rows, {each}/s"));
    let left = number("seconds_left").map(|left| format!(", {left} s left"));
    format!("{}{}{}", output::cell(&job["kind"]), rows.unwrap_or_default(), left.unwrap_or_default())
}

fn content_type(spine: &Path) -> anyhow::Result<&'static str> {
    match extension(spine) {
        "csv" => Ok("text/csv"),
        "parquet" => Ok("application/vnd.apache.parquet"),
        "arrow" => Ok("application/vnd.apache.arrow.file"),
        "json" => Ok("application/json"),
        _ => bail!(WrongUse(format!("{} ends in none of .parquet, .csv, .arrow and .json", spine.display()))),
    }
}

fn result_format(out: &Path) -> anyhow::Result<&'static str> {
    match extension(out) {
        "csv" => Ok("csv"),
        "parquet" => Ok("parquet"),
        "arrow" => Ok("arrow"),
        _ => bail!(WrongUse(format!("{} ends in none of .parquet, .arrow and .csv", out.display()))),
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_report_says_of_each_view_why_rows_are_unchecked() {
        let report = json!({
            "lookups": 5, "compared": 2, "different": 1, "unchecked": 3,
            "features": [{ "feature": "visits:visits", "compared": 2, "different": 1, "unchecked": 3 }],
            "reasons": [{ "view": "visits", "reason": "not archived yet", "rows": 2 },
                        { "view": "visits", "reason": "its version was dropped", "rows": 1 }],
            "examples": ["visits:visits of user_id=u1 at 2026-01-01T12:00:00Z: served 3, recomputed 2"],
        });
        expect![[r#"
             FEATURE        COMPARED  DIFFERENT  UNCHECKED
             visits:visits  2         1          3
            visits:visits of user_id=u1 at 2026-01-01T12:00:00Z: served 3, recomputed 2
            2 rows of visits are unchecked: not archived yet
            1 rows of visits are unchecked: its version was dropped
            2 compared, 1 different, 3 unchecked values of 5 lookups"#]]
        .assert_eq(&parity_table(&report));
    }
}
