//! The command line: a file for each command. A command parses, calls the service (or, with `--local`, a service
//! in its own process), and prints. Exit code 0: done, 1: failed, 2: wrong use.

// First, for its macros are for all that follow.
#[macro_use]
mod stdout;

mod apply;
mod changes;
mod client;
mod config;
mod dead_letters;
mod definitions;
mod demo;
mod entity;
mod explain;
mod get;
mod ingest;
mod init;
mod inspect;
mod jobs;
mod keys;
mod offline;
mod output;
mod ready;
mod rebuild;
mod rollback;
mod schema;
mod serve;
mod service;
mod status;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Format;
use service::Connection;

/// A real-time feature store: one kernel computes a feature in the stream, in backfills, in training sets and in
/// lookups, to the same bits.
#[derive(Debug, Parser)]
#[command(name = "freshet", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do the whole job on bundled real events, and keep serving
    Demo(demo::Arguments),
    /// Run the service
    Serve(serve::Arguments),
    /// Say whether the service does what its roles promise
    Ready(ready::Arguments),
    /// Make a starter project
    Init(init::Arguments),
    /// Name every mistake in definition files; needs no service
    Validate(validate::Arguments),
    /// Print the JSON Schema of definition files, for editors
    Schema(schema::Arguments),
    /// Say what an apply would change
    Plan(apply::PlanArguments),
    /// Make definition files what is served
    Apply(apply::ApplyArguments),
    /// List what is applied
    List(definitions::ListArguments),
    /// Show one definition
    Show(definitions::ShowArguments),
    /// Show the compiled plan of a view: tiles, state, windows
    Explain(explain::Arguments),
    /// Send events from files into a source
    Ingest(ingest::Arguments),
    /// Look features up
    Get(get::Arguments),
    /// Show how the values of one entity came about: tiles, windows, offsets
    Inspect(inspect::Arguments),
    /// Write a view's features at regular instants as Parquet
    Backfill(offline::BackfillArguments),
    /// Cut a point-in-time correct training set
    TrainingSet(offline::TrainingSetArguments),
    /// Compare served values with recomputed ones, bit for bit
    Parity(offline::ParityArguments),
    /// Build the online store anew from archive and log, beside what serves
    Rebuild(rebuild::Arguments),
    /// Serve the version of a view that was served before
    Rollback(rollback::Arguments),
    /// Say how far the service is: lag, events that did not enter, jobs
    Status(status::Arguments),
    /// Look at backfills and training sets, and stop them
    Jobs(jobs::Arguments),
    /// Make, list and revoke API keys
    Keys(keys::Arguments),
    /// Look at rejected events
    DeadLetters(dead_letters::Arguments),
    /// Print the effective settings and where each came from
    Config(config::Arguments),
}

/// What has to be written otherwise for the command to do anything.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUse(String);

/// The exit code of wrong use, as clap has it too.
const WRONG_USE: u8 = 2;

/// Where commands find their service, and how they print.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    connection: Connection,
    /// How to print results
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs the command that the arguments of the process name.
#[tokio::main]
pub async fn run() -> ExitCode {
    // Clap prints usage mistakes itself, and exits with 2.
    let arguments = Arguments::parse();
    match dispatch(arguments.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("freshet: {error:#}");
            if error.is::<WrongUse>() { ExitCode::from(WRONG_USE) } else { ExitCode::FAILURE }
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Ready(arguments) => ready::run(arguments).await,
        Command::Init(arguments) => init::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Schema(arguments) => Ok(schema::run(&arguments)),
        Command::Plan(arguments) => apply::plan(arguments).await,
        Command::Apply(arguments) => apply::apply(arguments).await,
        Command::List(arguments) => definitions::list(arguments).await,
        Command::Show(arguments) => definitions::show(arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Ingest(arguments) => ingest::run(arguments).await,
        Command::Get(arguments) => get::run(arguments).await,
        Command::Inspect(arguments) => inspect::run(arguments).await,
        Command::Backfill(arguments) => offline::backfill(arguments).await,
        Command::TrainingSet(arguments) => offline::training_set(arguments).await,
        Command::Parity(arguments) => offline::parity(arguments).await,
        Command::Rebuild(arguments) => rebuild::run(arguments).await,
        Command::Rollback(arguments) => rollback::run(arguments).await,
        Command::Status(arguments) => status::run(arguments).await,
        Command::Jobs(arguments) => jobs::run(arguments).await,
        Command::Keys(arguments) => keys::run(arguments).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments).await,
        Command::Config(arguments) => config::run(&arguments),
    }
}
