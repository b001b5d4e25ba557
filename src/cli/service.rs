//! The service that a command talks to: one that runs elsewhere, or (`--local`) one in the command's own process,
//! called over loopback, so that both are the same calls.

use anyhow::Context;

use crate::app::App;
use crate::cli::client::{Client, Key};
use crate::cli::serve::Settings;
use crate::config::Config;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Connection {
    /// The service to talk to
    #[arg(long, env = "FRESHET_URL", default_value = "http://127.0.0.1:6566", value_name = "URL")]
    url: String,
    /// The API key to send
    #[arg(long, env = "FRESHET_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<Key>,
}

impl Connection {
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url, self.api_key.clone())
    }
}

/// For commands that can also run without a service.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LocalOrRemote {
    #[command(flatten)]
    connection: Connection,
    /// Run in this process, on the data folder itself, or where every part is a server of its own on those: for batch machines
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    settings: Settings,
}

/// A client, and the service in this process that it talks to, if any.
pub(super) struct Service {
    pub client: Client,
    app: Option<App>,
}

impl LocalOrRemote {
    /// The settings, where the command works without a service.
    pub fn local_config(&self) -> anyhow::Result<Option<Config>> {
        self.local.then(|| self.settings.config()).transpose()
    }

    /// The service that runs elsewhere.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.connection.client()
    }

    pub async fn connect(&self) -> anyhow::Result<Service> {
        let Some(config) = self.local_config()? else {
            return Ok(Service { client: self.client()?, app: None });
        };
        let (app, key) = App::start_alone(config).await.context("cannot work on the data folder")?;
        Ok(Service { client: Client::new(&app.url(), Some(key.reveal().to_owned().into()))?, app: Some(app) })
    }
}

impl Service {
    /// Stops what runs in this process; what was acknowledged stays.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.app {
            Some(app) => app.stop().await.context("the local service did not stop cleanly"),
            None => Ok(()),
        }
    }
}
