//! `freshet rebuild`: the online store from archive and log.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format, Progress};
use crate::cli::service::LocalOrRemote;

const PATH: &str = "/v1/rebuilds";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  freshet rebuild user_activity\n\nWhat is served stays as it is until the new rows \
                        have caught up with the log. The rebuild goes on if this command is stopped."
)]
pub(super) struct Arguments {
    /// Feature views; none: all
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Give up the rebuilds of these views instead
    #[arg(long, requires = "views")]
    stop: bool,
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    service: LocalOrRemote,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let service = arguments.service.connect().await?;
    let outcome = match arguments.stop {
        true => stop(&service.client, &arguments.views).await,
        false => rebuild(&service.client, &arguments.views).await,
    };
    service.close().await?;
    let rebuilds = outcome?;
    match arguments.output {
        Format::Json => println!("{}", output::json(&Value::Array(rebuilds))),
        Format::Table => {
            let columns = ["view", "version", "generation", "served", "progress"];
            let row = |it: &Value| columns.map(|name| output::cell(&it[name])).to_vec();
            println!("{}", output::table(&columns, rebuilds.iter().map(row)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Begins, and waits until what it began is served. What was built, as it was when it ended.
async fn rebuild(client: &Client, views: &[String]) -> anyhow::Result<Vec<Value>> {
    let answer = client.call("POST", PATH, &[], Body::Json(json!({ "views": views }))).await?;
    let mut begun = listed(&answer);
    begun.retain(|it| views.is_empty() || views.iter().any(|view| it["view"] == **view));
    let mut progress = Progress::of("rebuild", 100);
    let mut pause = Duration::from_millis(10);
    loop {
        let under_way = listed(&client.get(PATH, &[]).await?);
        let of = |it: &Value| under_way.iter().find(|other| is_same(it, other)).map(|it| it["progress"].clone());
        let left: Vec<f64> = begun.iter().filter_map(of).map(|it| it.as_f64().unwrap_or_default()).collect();
        let done = (begun.len() - left.len()) as f64 + left.iter().sum::<f64>();
        progress.reach((100.0 * done / begun.len().max(1) as f64) as u64);
        if left.is_empty() {
            progress.end();
            begun.iter_mut().for_each(|it| (it["served"], it["progress"]) = (json!(true), json!(1.0)));
            return Ok(begun);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// What is left under way.
async fn stop(client: &Client, views: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut left = Vec::new();
    for view in views {
        left = listed(&client.call("DELETE", &format!("{PATH}/{view}"), &[], Body::None).await?);
    }
    Ok(left)
}

fn listed(answer: &Value) -> Vec<Value> {
    answer["rebuilds"].as_array().cloned().unwrap_or_default()
}

fn is_same(one: &Value, other: &Value) -> bool {
    ["view", "version", "generation"].iter().all(|name| one[name] == other[name])
}
