//! `freshet keys create|list|revoke`: through a running service, or with `--local` in the registry itself. Whoever can
//! write to the registry needs no key: so the first one is made, and one more when the last is lost.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use crate::api::keys::{KeyBody, ScopeName};
use crate::api::{Begun, Problem, keys};
use crate::app;
use crate::cli::client::{Body, Client};
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;
use crate::clock::Clock;
use crate::registry::Registry;

const PATH: &str = "/v1/keys";

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet keys create ops --scope admin --local\n  \
                        export FRESHET_API_KEY=…\n  \
                        freshet keys create ranker --scope read --service recommender")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a key, and print it this once
    #[command(after_help = "Example:\n  freshet keys create ranker --scope read --service recommender")]
    Create {
        /// Who or what will call with it
        name: String,
        /// What it may do: read, ingest, admin
        #[arg(long = "scope", required = true, value_delimiter = ',', value_name = "SCOPE,…")]
        scopes: Vec<ScopeName>,
        /// Let it read this feature service alone; may be given several times
        #[arg(long = "service")]
        services: Vec<String>,
        /// Let it send events to this source alone; may be given several times
        #[arg(long = "source")]
        sources: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// All keys, without their secrets
    #[command(after_help = "Example:\n  freshet keys list")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// End a key; every process refuses it within a second
    #[command(after_help = "Example:\n  freshet keys revoke 0123456789ab")]
    Revoke {
        /// As `list` shows it: the twelve digits within the key
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    service: LocalOrRemote,
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.action {
        Action::Create { name, scopes, services, sources, place } => {
            let body = KeyBody { name, scopes, services, sources };
            let keys = place.open().await?;
            // Who may not list them does not make the first.
            let is_first = keys.list().await.is_ok_and(|listed| listed.as_array().is_some_and(Vec::is_empty));
            let made = keys.create(&body).await?;
            if is_first {
                eprintln!("the project had no keys: from now on every call without one is refused, and that stays so");
            }
            match place.output {
                Format::Json => println!("{}", output::json(&made)),
                Format::Table => {
                    // Alone on standard output, so that a script can keep it.
                    println!("{}", output::cell(&made["key"]));
                    eprintln!("this is key {}: keep it now, it is not shown again", output::cell(&made["id"]));
                }
            }
        }
        Action::List { place } => print(&place.open().await?.list().await?, place.output),
        Action::Revoke { id, place } => print(&json!([place.open().await?.revoke(&id).await?]), place.output),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(keys: &Value, format: Format) {
    let columns = ["id", "name", "scopes", "services", "sources", "created_at", "created_by", "revoked_at"];
    let row = |key: &Value| columns.map(|name| cell(&key[name])).to_vec();
    match format {
        Format::Json => println!("{}", output::json(keys)),
        Format::Table => println!("{}", output::table(&columns, keys.as_array().into_iter().flatten().map(row))),
    }
}

/// A list without brackets.
fn cell(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(output::cell).collect::<Vec<_>>().join(", "),
        other => output::cell(other),
    }
}

/// Where keys are kept: behind a service, or at hand.
enum Keys {
    Remote(Client),
    Local(Arc<dyn Registry>),
}

impl Place {
    async fn open(&self) -> anyhow::Result<Keys> {
        Ok(match self.service.local_config()? {
            Some(config) => Keys::Local(app::registry(&config).await?),
            None => Keys::Remote(self.service.client()?),
        })
    }
}

impl Keys {
    async fn create(&self, body: &KeyBody) -> anyhow::Result<Value> {
        let registry = match self {
            Keys::Remote(client) => return client.call("POST", PATH, &[], Body::Json(plain(body))).await,
            Keys::Local(registry) => &**registry,
        };
        let begun = Begun::begin(registry, &Clock::System, by(), format!("POST {PATH}")).await?;
        let made = keys::add(registry, body, by(), Clock::System.now()).await;
        begun.end(registry, &outcome(&made)).await;
        value(made)
    }

    async fn list(&self) -> anyhow::Result<Value> {
        let listed = match self {
            Keys::Remote(client) => client.get(PATH, &[]).await?,
            Keys::Local(registry) => value(keys::all(&**registry).await)?,
        };
        Ok(listed["keys"].clone())
    }

    async fn revoke(&self, id: &str) -> anyhow::Result<Value> {
        let path = format!("{PATH}/{id}");
        let registry = match self {
            Keys::Remote(client) => return client.call("DELETE", &path, &[], Body::None).await,
            Keys::Local(registry) => &**registry,
        };
        let begun = Begun::begin(registry, &Clock::System, by(), format!("DELETE {path}")).await?;
        let revoked = keys::end(registry, id, &by(), Clock::System.now()).await;
        begun.end(registry, &outcome(&revoked)).await;
        value(revoked)
    }
}

/// Who works on the registry itself, as far as the system tells.
fn by() -> String {
    format!("{}, with --local", output::user())
}

/// As the audit log has it.
fn outcome<T>(answer: &Result<T, Problem>) -> String {
    answer.as_ref().map_or_else(|problem| problem.code.to_owned(), |_| "done".to_owned())
}

fn value<T: serde::Serialize>(answer: Result<T, Problem>) -> anyhow::Result<Value> {
    match answer {
        Ok(answer) => Ok(plain(&answer)),
        Err(problem) => bail!("{}", problem.detail),
    }
}

fn plain(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("it is plain data")
}
