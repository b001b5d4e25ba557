//! `freshet ingest SOURCE FILE…`: NDJSON, CSV or Parquet into a source, through the service's own ingest call.

mod rows;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::api::IngestAnswer;
use crate::cli::client::{Body, Client};
use crate::cli::definitions;
use crate::cli::output::{self, Format, Progress};
use crate::cli::{Common, WrongUse};
use crate::clock::Clock;
use crate::kernel::time::Micros;

use rows::Row;
pub(super) use rows::{Input, every};
use times::Times;

/// Events in one call.
const CHUNK: usize = 5_000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  freshet ingest purchases purchases.parquet --replay\n  tail -f log | freshet ingest purchases -"
)]
pub(super) struct Arguments {
    /// A source
    source: String,
    /// NDJSON, CSV (.csv) or Parquet (.parquet) files; `-`: NDJSON from standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Stamp records with their event time, as if they had been ingested when they happened
    #[arg(long)]
    replay: bool,
    /// Move all times so that the newest event happens now
    #[arg(long)]
    shift_to_now: bool,
    /// Events a second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let inputs = arguments.files.iter().map(|path| Input::of_path(path)).collect();
    let job = Job { inputs, replay: arguments.replay, shift_to_now: arguments.shift_to_now, rate: arguments.rate };
    let client = arguments.common.connection.client()?;
    let Sent { answer, .. } = send(&client, &arguments.source, &job).await?;
    match arguments.common.output {
        Format::Json => println!("{}", output::json(&serde_json::to_value(&answer)?)),
        Format::Table => print(&answer),
    }
    Ok(if answer.rejected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(answer: &IngestAnswer) {
    println!("{} events accepted, {} rejected", answer.accepted, answer.rejected.len());
    let shown = answer.rejected.iter().take(10);
    shown.for_each(|rejection| println!("  event {}: {}", rejection.index, rejection.detail));
    if answer.rejected.len() > 10 {
        println!("  and {} more: `--output json` names them all", answer.rejected.len() - 10);
    }
}

pub(super) struct Job {
    pub inputs: Vec<Input>,
    pub replay: bool,
    pub shift_to_now: bool,
    pub rate: Option<u32>,
}

pub(super) struct Sent {
    pub answer: IngestAnswer,
    /// By how much all times were moved.
    pub shift: Micros,
}

/// Sends every event, in order; indexes of rejections count over all inputs. What was accepted before an error
/// stays accepted.
pub(super) async fn send(client: &Client, source: &str, job: &Job) -> anyhow::Result<Sent> {
    let definition = definitions::find(client, source, Some("source")).await?;
    let mut times = Times::of_source(&definition)?;
    if job.shift_to_now {
        shift(&mut times, &job.inputs, &definition)?;
    }
    let mut pace = job.rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rate))));
    let mut progress =
        Progress::of(source, job.inputs.iter().map(Input::row_count).sum::<Option<u64>>().unwrap_or_default());
    let mut total = IngestAnswer::default();
    let mut sent = 0;
    // Paced events go out in tenths of a second, not in large bursts.
    let chunk = job.rate.map_or(CHUNK, |rate| (rate as usize / 10).clamp(1, CHUNK));
    for input in &job.inputs {
        for rows in rows::chunks(input, &definition, chunk)? {
            let so_far = || format!("stopped after {} events were accepted, which stay", total.accepted);
            let rows = rows.with_context(so_far)?;
            for _ in 0..rows.len() {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
            }
            let answer = send_chunk(client, source, job.replay, &times, &rows).await.with_context(so_far)?;
            total.accepted += answer.accepted;
            total.rejected.extend(answer.rejected.into_iter().map(|mut rejection| {
                rejection.index += sent;
                rejection
            }));
            sent += rows.len();
            progress.reach(sent as u64);
        }
    }
    progress.end();
    Ok(Sent { answer: total, shift: times.shift() })
}

async fn send_chunk(
    client: &Client,
    source: &str,
    replay: bool,
    times: &Times,
    rows: &[Row],
) -> anyhow::Result<IngestAnswer> {
    let mut bytes = Vec::new();
    for row in rows {
        match row {
            // Passed through to the digit unless its times have to move.
            Row::Line(line) if !times.move_at_all() => bytes.extend(line),
            row => serde_json::to_writer(&mut bytes, &times.moved(row.object())?)?,
        }
        bytes.push(b'\n');
    }
    let query = if replay { vec![("replay", "true".to_owned())] } else { Vec::new() };
    let body = Body::Bytes { content_type: "application/x-ndjson", bytes };
    let answer = client.call("POST", &format!("/v1/sources/{source}/events"), &query, body).await?;
    serde_json::from_value(answer).context("the service answered in an unknown form")
}

fn shift(times: &mut Times, inputs: &[Input], definition: &Value) -> anyhow::Result<()> {
    if inputs.iter().any(|input| matches!(input, Input::Stdin)) {
        let why = "`--shift-to-now` reads its input twice, and standard input can be read once: name a file";
        bail!(WrongUse(why.to_owned()));
    }
    let mut newest = None;
    for input in inputs {
        for rows in rows::chunks(input, definition, CHUNK)? {
            for row in rows? {
                newest = newest.max(times.event_time(&row.object()));
            }
        }
    }
    let newest = newest.context("no event has a time to shift by")?;
    times.shift_by(Clock::System.now().since(newest));
    Ok(())
}
