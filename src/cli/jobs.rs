//! `freshet jobs list|show|cancel`.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;

use crate::cli::Common;
use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet jobs list")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The newest jobs
    List {
        #[command(flatten)]
        common: Common,
    },
    /// One job, with its request and result
    Show {
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a job to stop
    Cancel {
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// Where each kind of job is served.
const RESOURCES: [&str; 2] = ["training-sets", "backfills"];

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.action {
        Action::List { common } => {
            let jobs = all(&common.connection.client()?).await?;
            match common.output {
                Format::Json => println!("{}", output::json(&Value::Array(jobs))),
                Format::Table => println!("{}", table(&jobs)),
            }
        }
        Action::Show { id, common } => {
            println!("{}", output::json(&one(&common.connection.client()?, "GET", &id).await?))
        }
        Action::Cancel { id, common } => {
            println!("{}", output::json(&one(&common.connection.client()?, "DELETE", &id).await?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A job's id begins with its kind.
async fn one(client: &Client, method: &str, id: &str) -> anyhow::Result<Value> {
    let resource =
        RESOURCES.into_iter().find(|resource| id.replace('_', "-").starts_with(resource.trim_end_matches('s')));
    let Some(resource) = resource else {
        bail!("no job is called `{id}`: `freshet jobs list` shows what there is");
    };
    client.call(method, &format!("/v1/{resource}/{id}"), &[], Body::None).await
}

async fn all(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut jobs = Vec::new();
    for resource in RESOURCES {
        let answer = client.get(&format!("/v1/{resource}"), &[]).await?;
        jobs.extend(answer["jobs"].as_array().into_iter().flatten().cloned());
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(output::cell(&job["created_at"])));
    Ok(jobs)
}

fn table(jobs: &[Value]) -> String {
    let columns = ["id", "kind", "state", "progress", "created_at", "error"];
    output::table(&columns, jobs.iter().map(|job| columns.map(|name| output::cell(&job[name])).to_vec()))
}
