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
    #[command(after_help = "Example:\n  freshet jobs list")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// One job, with its request and result
    #[command(after_help = "Example:\n  freshet jobs show training_set-6a1f… --output json")]
    Show {
        /// As `list` shows it
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Ask a backfill or a training set to stop
    #[command(after_help = "Example:\n  freshet jobs cancel backfill-6a1f…")]
    Cancel {
        /// As `list` shows it
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// How ids of each kind of job begin, and where they are served.
const KINDS: [(&str, &str); 3] = [("training_set-", "training-sets"), ("backfill-", "backfills"), SEED];

/// What workers begin by themselves, and would begin anew.
const SEED: (&str, &str) = ("seed-", "seeds");

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
            let job = common.connection.client()?.get(&path(&id)?, &[]).await?;
            println!("{}", output::record(&job, common.output));
        }
        Action::Cancel { id, common } => {
            let path = path(&id)?;
            if id.starts_with(SEED.0) {
                bail!(
                    "`{id}` brings the history of a view to the online store, and would be begun anew: `freshet rebuild \
                     --stop` gives up a rebuild, an apply without the view its first version"
                );
            }
            let job = common.connection.client()?.call("DELETE", &path, &[], Body::None).await?;
            println!("{}", output::record(&job, common.output));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> anyhow::Result<String> {
    let Some((_, resource)) = KINDS.into_iter().find(|(beginning, _)| id.starts_with(beginning)) else {
        bail!("no job is called `{id}`: `freshet jobs list` shows what there is");
    };
    Ok(format!("/v1/{resource}/{id}"))
}

async fn all(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut jobs = Vec::new();
    for (_, resource) in KINDS {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_the_kind_that_its_id_begins_with() {
        let of = |id: &str| path(id).ok();
        assert_eq!(of("training_set-6a1f-0").as_deref(), Some("/v1/training-sets/training_set-6a1f-0"));
        assert_eq!(of("backfill-6a1f-0").as_deref(), Some("/v1/backfills/backfill-6a1f-0"));
        assert_eq!(of("seed-6a1f-0").as_deref(), Some("/v1/seeds/seed-6a1f-0"));
        assert_eq!(of("6a1f-0"), None);
        assert_eq!(of("seedling-6a1f-0"), None);
    }
}
