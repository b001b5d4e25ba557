//! `freshet serve`: the service, until it is told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::app::{App, asked_to_stop};
use crate::cli::{WrongUse, output};
use crate::config::{Config, File, meant_by};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet serve --data-dir /var/lib/freshet --listen 127.0.0.1:6566")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// How log lines look
    #[arg(long, env = "FRESHET_LOG_FORMAT", value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
}

/// The settings of the service. A flag counts before the environment (`FRESHET_…`), and that before the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Settings {
    /// Where the embedded parts keep their data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// The address to serve on
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Serve beyond loopback without API keys: whoever reaches the address may do anything
    #[arg(long)]
    insecure: bool,
    /// The certificate chain to serve TLS with, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// The name space of this process
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What this process does of the work: api, stream, archive; all where it is not given
    #[arg(long, value_name = "ROLE,…")]
    roles: Option<String>,
    /// Brokers of the event log; embedded where it is not given
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Create topics that Kafka does not have
    #[arg(long)]
    create_topics: bool,
    /// The online store; embedded where it is not given
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// A PostgreSQL for the registry; SQLite where it is not given
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// The offline store, a folder or s3://…; a folder in the data folder where it is not given
    #[arg(long, value_name = "PLACE")]
    offline: Option<String>,
    /// Where history and spines may name files: folders and buckets, separated by `:`; the working folder where it is not given
    #[arg(long = "input-root", value_name = "PLACE:…")]
    input_roots: Option<String>,
    /// Any other setting, by name; `freshet config` lists them
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = output::pair)]
    set: Vec<(String, String)>,
    /// The settings file; ./freshet.yaml where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    pub fn config(&self) -> anyhow::Result<Config> {
        Config::resolve(&self.flags(), |name| std::env::var(name).ok(), self.file()?.as_ref())
            .map_err(|mistakes| WrongUse(mistakes.join("\n")).into())
    }

    fn flags(&self) -> BTreeMap<String, String> {
        let named = [
            ("data_dir", &self.data_dir),
            ("listen", &self.listen),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("project", &self.project),
            ("roles", &self.roles),
            ("kafka", &self.kafka),
            ("redis", &self.redis),
            ("registry", &self.registry),
            ("offline", &self.offline),
            ("input_roots", &self.input_roots),
        ];
        let given = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let switches = [("create_topics", self.create_topics), ("insecure", self.insecure)];
        let switched = switches.into_iter().filter(|(_, on)| *on);
        let switched = switched.map(|(name, _)| (name.to_owned(), "true".to_owned()));
        given.chain(switched).chain(self.set.iter().cloned()).collect()
    }

    fn file(&self) -> anyhow::Result<Option<File>> {
        let usual = PathBuf::from("freshet.yaml");
        let path = match &self.config {
            Some(path) => path,
            None if usual.exists() => &usual,
            None => return Ok(None),
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(File { path: path.display().to_string(), text }))
    }
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let format = if arguments.log_format == "json" { LogFormat::Json } else { LogFormat::Text };
    telemetry::init(format, "info");
    let config = arguments.settings.config()?;
    for (variable, _) in std::env::vars_os() {
        // An orchestrator may set others of our prefix: what is like none of ours is its own.
        if let Some((variable, meant)) = variable.to_str().and_then(|it| Some((it, meant_by(it)?))) {
            tracing::warn!("`{variable}` is not a setting and is not read: did you mean `{meant}`?");
        }
    }
    let app = tokio::select! {
        app = App::start(config) => app?,
        // It may wait for servers that are away; the first process of a container ends for no signal that it does not take.
        () = asked_to_stop() => return Ok(ExitCode::SUCCESS),
    };
    tracing::info!(url = app.url(), "serving; stop with Ctrl-C");
    app.until_stopped().await?;
    Ok(ExitCode::SUCCESS)
}
