//! `freshet dead-letters list|show|replay`.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Common;
use crate::cli::client::Body;
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet dead-letters list --source purchases")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The newest rejected records of a source
    #[command(after_help = "Example:\n  freshet dead-letters list --source purchases --reason missing_field")]
    List {
        /// Of which source
        #[arg(long)]
        source: String,
        /// Only those with this reason, such as `missing_field`
        #[arg(long)]
        reason: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// One rejected record, with its bytes
    #[command(after_help = "Example:\n  freshet dead-letters show --source purchases 0 1234")]
    Show {
        /// Of which source
        #[arg(long)]
        source: String,
        /// As `list` shows it
        partition: u32,
        /// As `list` shows it
        offset: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Take them into the views of a source, once its schema is mended and takes them; each once
    #[command(after_help = "Example:\n  freshet dead-letters replay --source purchases")]
    Replay {
        /// Of which source
        #[arg(long)]
        source: String,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.action {
        Action::List { source, reason, limit, common } => {
            let mut query = vec![("source", source), ("limit", limit.to_string())];
            query.extend(reason.map(|reason| ("reason", reason)));
            let answer = common.connection.client()?.get("/v1/dead-letters", &query).await?;
            match common.output {
                Format::Json => println!("{}", output::json(&answer)),
                Format::Table => {
                    let columns = ["partition", "offset", "ingestion_time", "reason", "field", "detail", "now"];
                    let rows = answer["dead_letters"].as_array().into_iter().flatten();
                    let row = |letter: &Value| columns.map(|name| output::cell(&letter[name])).to_vec();
                    println!("{}", output::table(&columns, rows.map(row)));
                }
            }
        }
        Action::Show { source, partition, offset, common } => {
            let path = format!("/v1/dead-letters/{source}/{partition}/{offset}");
            let letter = common.connection.client()?.get(&path, &[]).await?;
            println!("{}", output::record(&letter, common.output));
        }
        Action::Replay { source, common } => {
            let path = format!("/v1/dead-letters/{source}/replay");
            let replayed = common.connection.client()?.call("POST", &path, &[], Body::None).await?;
            match common.output {
                Format::Json => println!("{}", output::json(&replayed)),
                Format::Table => print_replayed(&replayed),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_replayed(replayed: &Value) {
    let names = |list: &str| {
        let names: Vec<String> = replayed[list].as_array().into_iter().flatten().map(output::cell).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    println!("{} records are taken now, {} are rejected still", replayed["taken"], replayed["rejected"]);
    println!("views that are rebuilt with them: {} (`/v1/rebuilds` says how far)", names("rebuilding"));
    println!("views that have them already: {}", names("up_to_date"));
}
